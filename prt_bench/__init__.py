"""prt-bench: the benchmark of portable fine-tuning."""

from importlib.metadata import version

__version__ = version("prt-bench")
