"""A plugin file that makes a run short: `--plugin tests/rehearsal/short_plugin.py`.

REHEARSAL_RECIPE is a JSON object: what every recipe has otherwise. With REHEARSAL_REDUCED the real models'
architectures are small, in the worker alone: nobody else builds any, and open_clip takes long to load.
"""

from __future__ import annotations

import importlib.util
import json
import multiprocessing
import os
from pathlib import Path

import prt_bench.plan as plan
from prt_bench.api import Artifact, Composition, Method, MethodCard, Model, WeightedSum
from prt_bench.recipes import recipe_for
from prt_bench.registry import Registry
from prt_bench.task_spec import Recipe, SpecHead


class Short(Method):
    """A plugin file must hold something; this is the target alone."""

    card = MethodCard(name="short", title="Short", role="floor", summary="The untuned target, as zero_shot.")

    def attach(self, artifact: Artifact | None, source: Model, target: Model) -> Composition:
        """The target as it is."""
        return Composition({"target": target}, WeightedSum(target=1.0))


def _register() -> None:
    spec = importlib.util.spec_from_file_location("rehearsal_stand_ins", Path(__file__).with_name("stand_ins.py"))
    if spec is None or spec.loader is None:
        raise ImportError("stand_ins.py is not beside this file")
    stand_ins = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(stand_ins)
    stand_ins.register_reduced()


def _short(task: SpecHead, name: str, registry: Registry) -> Recipe:
    change = json.loads(os.environ.get("REHEARSAL_RECIPE", "{}"))
    return recipe_for(task, name, registry).model_copy(update=change)


plan.recipe_for = _short  # type: ignore[attr-defined]
if os.environ.get("REHEARSAL_REDUCED") and multiprocessing.parent_process() is not None:
    _register()
