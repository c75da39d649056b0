"""Text: lm-eval's tasks answered by a composition, and the likelihood of the validation dialogues."""

from __future__ import annotations

import csv
import io
import json
import math
import statistics
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from prt_bench.api import Composition, Model, TextNetwork, TokenBatch
from prt_bench.benchmarks import build_tasks, seeded
from prt_bench.composing import Shared, shared_outputs
from prt_bench.costs import CompositionMeter
from prt_bench.data.text import Dialogues, Documents
from prt_bench.errors import CellError, RequestError
from prt_bench.evaluating import Scores, Validated
from prt_bench.feeds import Batch, Step
from prt_bench.generation import Decoding, Lockstep, decode
from prt_bench.language_spec import LanguageSpec, metric_name
from prt_bench.lm_eval_bridge import CompositionLM
from prt_bench.meters.queries import TextQuery
from prt_bench.networks import Networks, Progress
from prt_bench.records import Metric
from prt_bench.rendering import Encoded, rendering
from prt_bench.stats import bootstrap_interval, wilson_interval
from prt_bench.text_feed import pad_right
from prt_bench.work import Work

__all__ = ["TextEvaluator"]

TOKENS_AT_ONCE, MOST_AT_ONCE = 8192, 128
"""Requests go through the networks together: about so many tokens, and at most so many requests."""
ABSENT = {
    "quality.nll": "text is scored by the metrics of its benchmark; the likelihood of answers is under validation",
    "quality.nll_calibrated": "text is scored by the metrics of its benchmark",
    "quality.ece": "text is scored by the metrics of its benchmark",
    "quality.temperature": "text is scored by the metrics of its benchmark: no likelihood is calibrated",
    "quality.reliability": "text is scored by the metrics of its benchmark",
    "quality.per_class": "text has no classes",
}


class TextEvaluator:
    """Whatever lm-eval measures."""

    def __init__(
        self,
        spec: LanguageSpec,
        validation: Dialogues,
        test: Documents,
        networks: Networks,
        meter: CompositionMeter,
        report: Progress,
        allow_code: bool,
    ) -> None:
        self._spec = spec
        self._validation = validation
        self._test = test
        self._networks = networks
        self._meter = meter
        self._report = report
        self._allow_code = allow_code
        self._rendering = rendering(spec.template)
        self._tasks: dict[str, Any] | None = None
        self._validating: dict[int, float] = {}
        """Seconds that reading the validation dialogues took, by composition, which lives until it is asked for."""

    def query(self, composition: Composition) -> TextQuery:
        shape = self._spec.query
        before = self._prefix(composition)
        extra = len(self._first(composition).tokenizer(before)["input_ids"]) if before else 0
        return TextQuery(shape.prompt_tokens + extra, shape.output_tokens)

    def system(self, composition: Composition, batch_size: int) -> TextSystem:
        return TextSystem(composition, self.query(composition), batch_size, self._networks.text)

    def steps(self, model: Model, frozen: Mapping[str, Model], batch_size: int, live: bool) -> Callable[[], Step]:
        shape, held = self._spec.query, {name: self._networks.text(other) for name, other in frozen.items()}
        device, generator = self._networks.device, torch.Generator().manual_seed(0)
        length = shape.prompt_tokens + shape.output_tokens
        usable = _usable(shared_outputs([model, *frozen.values()]))
        ids = usable[torch.randint(len(usable), (batch_size, length), generator=generator)]
        # The last tokens are the answer: each is told from the one before it.
        answered = torch.arange(shape.prompt_tokens - 1, length - 1)
        rows = (torch.arange(batch_size)[:, None] * length + answered).flatten().to(device)
        truth = ids[:, shape.prompt_tokens :].flatten().to(device)
        inputs = TokenBatch(ids.to(device), torch.ones_like(ids).to(device), rows)

        @torch.no_grad()
        def answers() -> dict[str, torch.Tensor]:
            return {name: network.module(inputs) for name, network in held.items()}

        known = {} if live else answers()
        return lambda: Step(len(truth), iter([Batch(inputs, answers() if live else known, truth)]))

    def validate(self, composition: Composition) -> Validated:
        started = time.perf_counter()
        likelihoods, right = self._answers(composition)
        self._validating[id(composition)] = time.perf_counter() - started
        n = len(likelihoods)
        if not n:
            # With what stands before it no dialogue fits; nothing is preferred to this.
            return Validated(0.0, {})
        likelihood = math.exp(float(likelihoods.mean()))
        metrics = {
            "token_likelihood": Metric(value=likelihood, ci95=None, n=n, split="validation"),
            "token_accuracy": Metric(
                value=float(right.mean()), ci95=wilson_interval(int(right.sum()), n), n=n, split="validation"
            ),
        }
        return Validated(likelihood, metrics)

    def reading(self, compositions: Sequence[Composition]) -> tuple[int | None, float]:
        prices: list[int | None] = []
        for composition in compositions:
            entries = self._encoded(composition)
            work = Work(
                lengths=Counter(len(entry.ids) for entry in entries), rows=sum(len(entry.rows) for entry in entries)
            )
            # A network that is two members reads once.
            networks = {model.key: model for model in composition.members.values()}
            prices += [self._meter.price(model).of(work) for model in networks.values()]
        known = [price for price in prices if price is not None]
        seconds = sum(self._validating.get(id(composition), 0.0) for composition in compositions)
        return sum(known) if len(known) == len(prices) else None, seconds

    def test(self, composition: Composition, validated: Validated) -> Scores:
        from lm_eval.evaluator import evaluate

        spec, seed = self._spec.benchmark, self._spec.benchmark.seed
        lm = CompositionLM(
            composition,
            self._networks.text,
            batch_size=self._at_once(composition),
            prefix=self._prefix(composition),
            chat=self._chat if spec.chat else None,
            seed=seed,
            report=lambda title, done, total: self._report(f"{self._spec.name}: {title}", done, total),
        )
        with seeded(seed):
            found = evaluate(
                lm=lm,
                task_dict={"tasks": self._built()},
                samples=self._test.chosen,
                bootstrap_iters=0,
                log_samples=True,
                apply_chat_template=spec.chat,
            )
        items = _items(found["samples"], lm.too_long)
        if self._spec.primary not in items.values:
            raise CellError(
                f"task {self._spec.name}: lm-eval measured {', '.join(items.values)}, not {self._spec.primary}"
            )
        return Scores(
            metrics={name: _metric(values) for name, values in items.values.items()},
            predictions=items.csv(self._spec.primary),
            absent=ABSENT,
            notes={
                "requests": lm.requests_seen,
                "too_long": len(lm.too_long),
                "prompt_tokens": lm.prompt_tokens,
                "output_tokens": lm.output_tokens,
            },
        )

    def refuse_unscored(self) -> None:
        """Raise SkipError where scoring runs what a model wrote, and that was not allowed."""
        self._built()

    def refuse_unfit(self, model: Model) -> None:
        """Raise RequestError where not one request fits what the model can read."""
        network = self._networks.text(model)
        longest = 0
        for name, task in self._built().items():
            task.build_all_requests(
                samples=self._test.chosen[name],
                apply_chat_template=self._spec.benchmark.chat,
                chat_template=self._chat_template,
                tokenizer_name=model.card.alias,
            )
            for one in task.instances:
                length = len(network.tokenizer(one.args[0])["input_ids"])
                if length < network.context_length:
                    return
                longest = max(longest, length)
        raise RequestError(
            f"model {model.card.alias} reads {network.context_length} tokens; every request of task "
            f"{self._spec.name} is longer (up to {longest})"
        )

    def _at_once(self, composition: Composition) -> int:
        """How many requests go through the networks together: by the task's stated lengths, so always the same."""
        query = self.query(composition)
        return max(1, min(MOST_AT_ONCE, TOKENS_AT_ONCE // (query.prompt_tokens + query.output_tokens)))

    def _built(self) -> dict[str, Any]:
        if self._tasks is None:
            self._tasks = build_tasks(self._spec, self._test, self._allow_code)
        return self._tasks

    def _first(self, composition: Composition) -> TextNetwork:
        network = self._networks.text(next(iter(composition.members.values())))
        if network.tokenizer is None:
            raise CellError("what stands before a request cannot be counted without the model's own tokenizer")
        return network

    def _prefix(self, composition: Composition) -> str:
        if not composition.dialogue:
            return ""
        return self._rendering.worked(composition.dialogue, self._first(composition).tokenizer.eos_token or "")

    def _chat(self, messages: list[dict[str, str]]) -> str:
        return self._rendering.request([(message["role"], message["content"]) for message in messages])  # type: ignore[misc]

    def _chat_template(self, messages: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        return self._chat(messages)

    def _encoded(self, composition: Composition) -> list[Encoded]:
        network, before = self._first(composition), self._prefix(composition)
        found = [
            self._rendering.encode(turns, network.tokenizer, network.context_length, before)
            for turns in map(self._validation.dialogue, range(len(self._validation)))
        ]
        return [entry for entry in found if not entry.cut]

    @torch.inference_mode()
    def _answers(self, composition: Composition) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Log-probability of every token of the answers, and whether it was the likeliest, (tokens,)."""
        lockstep = Lockstep(composition, self._networks.text)
        entries = sorted(self._encoded(composition), key=lambda entry: len(entry.ids))
        likelihoods, right = [], []
        together = self._at_once(composition)
        for at in range(0, len(entries), together):
            ids, mask, rows, truth = pad_right(entries[at : at + together])
            logits = lockstep.logits(ids, mask, rows)
            truth = truth.to(logits.device)
            chosen = logits.gather(1, truth[:, None])[:, 0] - logits.logsumexp(-1)
            likelihoods.append(chosen.double().cpu())
            right.append((logits.argmax(-1) == truth).double().cpu())
            self._report("validation", min(at + together, len(entries)), len(entries))
        none = torch.empty(0, dtype=torch.float64)
        return torch.cat([none, *likelihoods]).numpy(), torch.cat([none, *right]).numpy()


@dataclass
class _Items:
    """What was measured of each document: metric → value by document, and the answers."""

    values: dict[str, dict[str, NDArray[np.float64]]] = field(default_factory=dict)
    answers: dict[str, str] = field(default_factory=dict)

    def csv(self, primary: str) -> str:
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["id", "score", *self.values, "answer"])
        for name, answer in self.answers.items():
            scores = [f"{values[name].mean():.6g}" for values in self.values.values()]
            writer.writerow([name, f"{self.values[primary][name].mean():.6g}", *scores, answer])
        return text.getvalue()


def _items(samples: dict[str, list[dict[str, Any]]], too_long: set[tuple[str, int]]) -> _Items:
    """Values of every document; where a request did not fit, all are 0."""
    found = _Items()
    for task, entries in samples.items():
        for entry in entries:
            name = f"{task}/{entry['doc_id']}"
            found.answers[name] = json.dumps(_plain(entry["resps"]), ensure_ascii=False)
            for metric in entry["metrics"]:
                values = np.atleast_1d(np.asarray(entry[metric], dtype=np.float64))
                if (task, entry["doc_id"]) in too_long:
                    values = np.zeros_like(values)
                found.values.setdefault(metric_name(metric, entry["filter"]), {})[name] = values
    return found


def _plain(responses: Sequence[Any]) -> Any:
    """Answers as text, or the log-likelihoods of options."""
    first = [part[0] for part in responses]
    if all(isinstance(part, str) for part in first):
        return first[0] if len(first) == 1 else first
    return [part[0] if isinstance(part, tuple | list) else part for part in first]


def _metric(values: dict[str, NDArray[np.float64]]) -> Metric:
    """The mean over documents, or over the parts of each where a metric has several."""
    flat = np.concatenate(list(values.values()))
    mean = float(flat.mean())
    if set(np.unique(flat)) <= {0.0, 1.0}:
        interval = wilson_interval(int(flat.sum()), len(flat))
    else:
        interval = bootstrap_interval(flat)
    low, high = min(interval[0], mean), max(interval[1], mean)
    return Metric(value=mean, ci95=(low, high), n=len(flat), split="test")


def _usable(shared: Shared) -> torch.Tensor:
    """Tokens that all have."""
    return torch.tensor([token for token in range(shared.size) if shared.has(token)])


class TextSystem:
    """Requests of a given length, answered to a given length whatever is said."""

    def __init__(
        self, composition: Composition, query: TextQuery, batch_size: int, network_of: Callable[[Model], TextNetwork]
    ) -> None:
        self._lockstep = Lockstep(composition, lambda model: replace(network_of(model), stop_ids=()))
        self._batch_size = batch_size
        self._decoding = Decoding(query.output_tokens)
        generator = torch.Generator().manual_seed(0)
        longest = query.prompt_tokens + query.output_tokens
        if longest > self._lockstep.context_length:
            raise CellError(f"a request of {longest} tokens does not fit a context of {self._lockstep.context_length}")
        usable = _usable(self._lockstep.shared)
        drawn = torch.randint(len(usable), (batch_size, query.prompt_tokens), generator=generator)
        self._prompts: list[list[int]] = usable[drawn].tolist()
        self._stamps: list[list[float]] = []

    def __call__(self) -> object:
        stamps = [time.perf_counter()]
        out = decode(self._lockstep, self._prompts, self._decoding, lambda: stamps.append(time.perf_counter()))
        self._stamps.append(stamps)
        return out

    def times(self, rounds: int) -> tuple[float, float | None, float]:
        kept = self._stamps[-rounds:]
        first = statistics.median(stamps[1] - stamps[0] for stamps in kept)
        gaps = [later - earlier for stamps in kept for earlier, later in pairwise(stamps[1:])]
        whole = statistics.median(stamps[-1] - stamps[0] for stamps in kept)
        tokens = self._batch_size * self._decoding.max_new_tokens
        return 1000 * first, 1000 * statistics.median(gaps) if gaps else None, tokens / whole
