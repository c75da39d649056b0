"""Speed of texts, as ratios of two things timed in turns in one process, and the memory that scoring takes.

`python -m pytest tests/bench --benchmark-enable` prints them; no assertion depends on a clock.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from lm_eval.api.instance import Instance
from pytest_benchmark.fixture import BenchmarkFixture

from prt_bench.api import Composition, Vocabulary, WeightedSum
from prt_bench.generation import Decoding, generate
from prt_bench.lm_eval_bridge import CompositionLM
from prt_bench.meters.latency import interleave, ratio_interval
from tests.tiny_language import Cast, Speaker, size, speaker

SHAPE: dict[str, Any] = {"hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": 6, "num_attention_heads": 4}
PROMPT, NEW, BATCH = 96, 32, 4
RULES = {
    "target": {"target": 1.0},
    "PRT": {"target": 1.0, "reward": 1.0},
    "EFT": {"target": 1.0, "tuned": 1.0, "source": -1.0},
}


def ratios(systems: dict[str, Callable[[], object]], reference: str, seconds: float) -> dict[str, str]:
    timings = interleave(systems, reference, max_seconds=seconds)
    told = {}
    for name in systems:
        low, middle, high = ratio_interval(timings.rounds[name], timings.rounds[reference])
        told[f"{name} / {reference}"] = f"{middle:.2f} ({low:.2f} to {high:.2f})"
    return told


@pytest.mark.parametrize("stops", [(), ("no such text", "\n\n")], ids=["free", "stops"])
def test_compositions_against_generate_of_the_target(benchmark: BenchmarkFixture, stops: tuple[str, ...]) -> None:
    """Members of equal size: two cost two forwards and three cost three; what is above is the harness's own."""
    members = [speaker("llama", seed, context=256, **SHAPE) for seed in range(3)]
    for one in members:
        one.network.stop_ids = ()
    target, cast = members[0].decoder, Cast(*members)
    target.generation_config.eos_token_id = None
    ids = torch.randint(0, 90, (BATCH, PROMPT), generator=torch.Generator().manual_seed(0))
    mask = torch.ones_like(ids)
    for row in range(BATCH):
        ids[row, : 5 * row], mask[row, : 5 * row] = 0, 0
    prompts = [ids[row, 5 * row :].tolist() for row in range(BATCH)]

    def theirs() -> torch.Tensor:
        found: torch.Tensor = target.generate(
            ids, attention_mask=mask, max_new_tokens=NEW, do_sample=False, pad_token_id=0
        )
        return found

    def ours(rule: str) -> list[list[int]]:
        mix = Composition(
            {name: one.model for name, one in zip(RULES[rule], members, strict=False)}, WeightedSum(**RULES[rule])
        )
        return generate(mix, cast, prompts, Decoding(NEW, stops=stops))

    assert ours("target") == theirs()[:, PROMPT:].tolist()
    if benchmark.enabled:
        systems: dict[str, Callable[[], object]] = {"generate": theirs}
        systems |= {rule: partial(ours, rule) for rule in RULES}
        benchmark.extra_info.update(ratios(systems, "generate", 60))
    benchmark.pedantic(ours, args=("PRT",), rounds=1)


def wide(rows: int) -> Speaker:
    """A narrow decoder with many outputs."""
    one = speaker("llama", 1, rows=rows, context=128)
    space = Vocabulary((*one.model.space.labels[: size()], *(f"word {index}" for index in range(size(), rows))))
    return replace(one, model=replace(one.model, space=space))


def questions(count: int = 16) -> list[Instance]:
    """Four options of several tokens to each, after a context of some fifty."""
    texts = [
        (f"Q: what is {number} + {number} and why should it be so?\nA:", f" option {option} of it")
        for number in range(10, 10 + count)
        for option in "abcd"
    ]
    return [Instance("loglikelihood", {}, text, 0, metadata=("pairs", 0, 1)) for text in texts]


def scorers(one: Speaker) -> dict[str, Callable[[], list[tuple[float, bool]]]]:
    from lm_eval.models.huggingface import HFLM

    mine = CompositionLM(Composition({"target": one.model}, WeightedSum(target=1.0)), Cast(one), batch_size=16)
    theirs: Any = HFLM(pretrained=one.decoder, tokenizer=one.network.tokenizer, batch_size=16)
    return {
        "ours": lambda: mine.loglikelihood(questions()),
        "HFLM": lambda: theirs.loglikelihood(questions(), disable_tqdm=True),
    }


@pytest.mark.parametrize("rows", [64_000, 150_000])
def test_scoring_against_hflm(benchmark: BenchmarkFixture, rows: int) -> None:
    """Outputs are computed where they are wanted, not at every place of the prompt."""
    if not benchmark.enabled:
        rows = 1000
    systems = scorers(wide(rows))
    assert [one for one, _ in systems["ours"]()] == pytest.approx([one for one, _ in systems["HFLM"]()], abs=1e-3)
    if benchmark.enabled:
        benchmark.extra_info.update(ratios({**systems}, "HFLM", 90))
    benchmark.pedantic(systems["ours"], rounds=1)


MEASURE = """
import json, logging, resource, sys
logging.disable()
from tests.bench.test_generation_speed import scorers, wide
scorer = scorers(wide(int(sys.argv[2])))[sys.argv[1]]
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
before = peak()
scorer()
print(json.dumps(peak() - before))
"""


@pytest.mark.parametrize("system", ["ours", "HFLM"])
def test_memory_of_scoring_at_150_000_tokens(benchmark: BenchmarkFixture, system: str) -> None:
    """What scoring adds to the peak of a fresh process, in MiB."""
    rows = 150_000 if benchmark.enabled else 1000

    def measure() -> float:
        command = [sys.executable, "-c", MEASURE, system, str(rows)]
        folder = Path(__file__).resolve().parents[2]
        found: float = json.loads(subprocess.run(command, cwd=folder, check=True, capture_output=True).stdout)
        return found

    benchmark.extra_info["MiB"] = round(benchmark.pedantic(measure, rounds=1))
