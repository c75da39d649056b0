"""The tasks and baselines that ship with prt-bench; reached only through the registry, as a stranger's are."""
