"""A plugin file under which real language models are stand-ins and their runs short: `--plugin` with its path."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from prt_bench.api import Artifact, Composition, Method, MethodCard, Model, WeightedSum


class RehearsalOfText(Method):
    """A plugin file must hold something; this is the target alone."""

    card = MethodCard(name="rehearsal-of-text", title="Rehearsal", role="floor", summary="The target, as zero-shot.")

    def attach(self, artifact: Artifact | None, source: Model, target: Model) -> Composition:
        """The target as it is."""
        return Composition({"target": target}, WeightedSum(target=1.0))


def _reduce() -> None:
    """By its path: workers that load this file need not have the tests on their path."""
    path = Path(__file__).with_name("language_stand_ins.py")
    spec = importlib.util.spec_from_file_location("rehearsal_language_stand_ins", path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is not beside this file")
    stand_ins = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(stand_ins)
    stand_ins.reduce_all(setattr)


_reduce()
