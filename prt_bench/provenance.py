"""Where a record's number comes from, and how a record gets into its place."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Literal

from prt_bench.api import Network
from prt_bench.cards import Cards, TaskFacts
from prt_bench.environment import describe, git_revision, impersonal, now, packages
from prt_bench.files import digest, write_atomically
from prt_bench.models import sharing, weights_sha256
from prt_bench.plan import Plan, PlannedCell
from prt_bench.records import Failure, ModelProvenance, Provenance, Record, TaskProvenance

__all__ = ["absent_provenance", "cards", "failed_record", "provenance", "whole", "write_record"]


def provenance(plan: Plan, planned: PlannedCell, networks: Mapping[str, Network], started: str) -> Provenance:
    """Digests of everything a cell stands on; `networks` holds the loaded models by alias, where there are any."""
    models = {}
    for model in (planned.source, planned.target):
        network = networks.get(model.card.alias)
        models[model.card.alias] = ModelProvenance(
            revision=model.card.revision,
            sha256=weights_sha256(model.card, plan.registry.family(model.card), plan.request.places),
            head_sha256=network.head_sha256 if network else None,
            preprocessing_sha256=digest(dict(network.preprocessing)) if network and network.preprocessing else None,
            embedded=model.card.embedded,
        )
    task = planned.task
    return Provenance(
        models=models,
        task=TaskProvenance(
            version=task.version,
            data_sha256=task.data_sha256,
            split_sha256=task.split_sha256,
            template_sha256=task.template_sha256,
            contamination=task.spec.contamination,
        ),
        vocabulary=sharing(planned.source, planned.target),
        method_source_sha256=planned.method.source_sha256,
        git=git_revision(),
        packages=packages(),
        request=impersonal(plan.request.words),
        started=started,
        finished=now(),
    )


def cards(planned: PlannedCell) -> Cards:
    """What the cell speaks of, on paper."""
    spec = planned.task.spec
    return Cards(
        methods={planned.method.name: planned.method.method.card.facts()},
        models={model.card.alias: model.card for model in (planned.source, planned.target)},
        task=TaskFacts(
            title=spec.title, summary=spec.summary, licence=spec.licence, citation=spec.citation, reads=spec.reads
        ),
    )


def absent_provenance(found: Provenance) -> dict[str, str]:
    """Dotted path → why a field of the provenance is null."""
    absent: dict[str, str] = {}
    for name, model in found.models.items():
        reasons = {
            "revision": "ships with the package" if model.embedded else "the card pins no revision",
            "sha256": "the family makes its weights in code",
            "head_sha256": "the family states no digest of its head",
            "preprocessing_sha256": "the family states no preprocessing",
        }
        facts = model.model_dump()
        absent |= {f"provenance.models.{name}.{key}": why for key, why in reasons.items() if facts[key] is None}
    if found.git is None:
        absent["provenance.git"] = "not run from a git checkout"
    return absent


def failed_record(
    plan: Plan, planned: PlannedCell, failure: Failure, started: str, status: Literal["failed", "skipped"]
) -> Record:
    """A record that says why a cell does not hold, or does not apply."""
    origin = provenance(plan, planned, {}, started)
    why = f"the cell {'failed' if status == 'failed' else 'was skipped'}"
    absent = {**absent_provenance(origin), "quality": why, "cost": why}
    return Record(
        cell=planned.cell,
        status=status,
        error=failure.model_copy(update={"message": impersonal(failure.message)}),
        quality=None,
        cost=None,
        environment=describe(plan.request.device),
        provenance=origin,
        partial=planned.cell.limit is not None,
        absent=absent | whole(planned),
        cards=cards(planned),
    )


def whole(planned: PlannedCell) -> dict[str, str]:
    """Why a cell has no limit, where it has none."""
    return {"cell.limit": "the whole test split"} if planned.cell.limit is None else {}


def write_record(planned: PlannedCell, record: Record) -> None:
    """Put the record in its place, atomically."""
    write_atomically(planned.path, json.dumps(record.model_dump(mode="json"), indent=1, allow_nan=False) + "\n")
