"""Why values of a record are null: every one of them has its reason under `absent`."""

from __future__ import annotations

from prt_bench.meters import energy
from prt_bench.records import CostTerm, LatencyRow, PerQuery
from prt_bench.session import ABSENT
from prt_bench.session_records import PEAK_FIELDS, CostSession

__all__ = ["ALWAYS_ABSENT", "absent_costs", "copied_latency"]

ALWAYS_ABSENT = {
    "error": "the cell holds",
    **{f"cost.per_query.memory.{name}": ABSENT["peak"] for name in PEAK_FIELDS},
    "quality.components": "the split into gains takes other cells: it is in `prt-bench results` and on the page",
}
NO_TRAINING = "nothing was trained here"
OTHERS = "others did the tuning, and have not published it"
SHORT = "a counter cannot tell what takes less than five seconds, or stands still"
NO_CLOSED_FORM = "a family has no closed form of its architecture"


def copied_latency(label: str, session: CostSession | str) -> tuple[list[LatencyRow] | None, dict[str, str]]:
    """What a session says of a method's latency, or None; and under their dotted paths why values are null."""
    path = "cost.per_query.latency"
    if isinstance(session, str):
        return None, {path: session}
    entry = session.compositions.get(label)
    if entry is None:
        return None, {path: f"the method is not in session {session.id}"}
    reasons = {
        **dict.fromkeys(("ttft_ms", "tpot_ms", "tokens_per_s"), ABSENT["text"]),
        "p90_ms": ABSENT["p90_ms"],
        "energy_joules": session.energy_source or "it was not measured",
    }
    missing = {name for row in entry.latency for name in reasons if getattr(row, name) is None}
    return entry.latency, {f"{path}.*.{name}": reason for name, reason in reasons.items() if name in missing}


def absent_costs(once: CostTerm, per_upgrade: CostTerm, per_query: PerQuery, device: str) -> dict[str, str]:
    """Dotted path of every cost that is null → why."""
    absent = {}
    if per_query.memory.kv is None:
        absent["cost.per_query.memory.kv"] = ABSENT["kv"]
        absent["cost.per_query.flops.causal"] = ABSENT["causal"]
        absent |= {f"cost.per_query.flops.{name}": ABSENT["text"] for name in ("prefill", "per_token")}
    if per_query.flops.analytic is None:
        absent["cost.per_query.flops.analytic"] = NO_CLOSED_FORM
    for name, term in (("once", once), ("per_upgrade", per_upgrade)):
        unmeasured = OTHERS if term.seconds is None else "" if term.examples else NO_TRAINING
        reasons = {
            "train_flops": OTHERS if term.seconds is None else "an operation of the network has no FLOP formula",
            "seconds": OTHERS,
            "peak_memory_bytes": unmeasured or "only passes were made, or the kernel does not tell it here",
            "energy_joules": unmeasured or energy.find_counter(device)[1] or SHORT,
        }
        values = term.model_dump()
        absent |= {f"cost.{name}.{part}": reason for part, reason in reasons.items() if values[part] is None}
    if per_query.flops.total is None:
        reason = f"operations without a FLOP formula: {', '.join(per_query.flops.uncounted_ops)}"
        absent |= {
            f"cost.per_query.flops.{name}": reason for name in ("total", "counted", "prefill", "per_token", "causal")
        }
        members = per_query.flops.by_member
        absent |= {f"cost.per_query.flops.by_member.{name}": reason for name in members if members[name] is None}
    return absent
