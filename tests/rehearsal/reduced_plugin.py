"""A plugin file under which the real models' architectures are small: `--plugin tests/rehearsal/reduced_plugin.py`."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from prt_bench.api import Artifact, Composition, Method, MethodCard, Model, WeightedSum


class Rehearsal(Method):
    """A plugin file must hold something; this is the target alone."""

    card = MethodCard(name="rehearsal", title="Rehearsal", role="floor", summary="The untuned target, as zero_shot.")

    def attach(self, artifact: Artifact | None, source: Model, target: Model) -> Composition:
        """The target as it is."""
        return Composition({"target": target}, WeightedSum(target=1.0))


def _register() -> None:
    """By its path: workers that load this file need not have the tests on their path."""
    spec = importlib.util.spec_from_file_location("rehearsal_stand_ins", Path(__file__).with_name("stand_ins.py"))
    if spec is None or spec.loader is None:
        raise ImportError("stand_ins.py is not beside this file")
    stand_ins = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(stand_ins)
    stand_ins.register_reduced()


_register()
