"""A composition as a language model of lm-eval: its tasks score and generate through the same members and rule."""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
import torch
from jinja2 import TemplateError
from lm_eval.api.instance import Instance
from lm_eval.api.model import TemplateLM
from lm_eval.models.utils import (
    handle_stop_sequences,
    has_bos_prefix,
    normalize_gen_kwargs,
    postprocess_generated_text,
)
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window
from numpy.typing import NDArray

from prt_bench.api import Composition, Model, TextNetwork
from prt_bench.errors import CellError, RequestError
from prt_bench.generation import PADDING, Decoding, Lockstep, decode

__all__ = ["CompositionLM"]

MOST_LOGITS = 2**25
"""Logits that a network is asked for at once, over all rows: 128 MiB in fp32."""
MOST_SUMMED = 2**22
"""Logits under one log-sum-exp, which copies them."""
DEFAULT_NEW_TOKENS = 256
NEUTRAL: dict[str, tuple[Any, ...]] = {
    "do_sample": (True, False, None),
    "num_beams": (1, None),
    "repetition_penalty": (1, None),
    "top_k": (0, None),
    "use_cache": (True, None),
}
"""Settings of generation that change nothing at these values; at others there is no such thing here."""
TOO_LONG = (float("-inf"), False)
"""The answer to a request that does not fit. Known by being this very object, as a sum may be -inf too."""

Item = TypeVar("Item")
Scored = tuple[float, bool]
"""Log-probability of a continuation, and whether greedy decoding would have given it."""
Tokens = tuple[Any, list[int], list[int]]
"""A request of lm-eval: its texts, the tokens of its context, and those of its continuation."""


class CompositionLM(TemplateLM):  # type: ignore[misc]
    """A composition, asked as lm-eval asks a language model.

    For one plain model the answers are those of lm-eval's HFLM, but for two things: nothing is truncated to fit
    the context (such a request is wrong, and counted), and padding rows of the vocabulary have no probability.
    """

    def __init__(
        self,
        composition: Composition,
        network_of: Callable[[Model], TextNetwork],
        *,
        batch_size: int = 16,
        prefix: str = "",
        chat: Callable[[list[dict[str, str]]], str] | None = None,
        add_bos: bool | None = None,
        seed: int = 0,
        report: Callable[[str, int, int], None] | None = None,
    ) -> None:
        """
        Args:
            prefix: stands before every context, such as worked examples; a text whose every token is scored
                (`loglikelihood_rolling`) has no context.
            chat: renders a chat history; without it the tokenizer's own chat template does.
            add_bos: whether texts are tokenised with special tokens; None leaves it to the tokenizer.
            report: told what is done, how much of it, and of how much.
        """
        super().__init__()
        self.lockstep = Lockstep(composition, network_of)
        self.tokenizer = self.lockstep.first.tokenizer
        self.batch_size, self.prefix, self.add_bos, self.seed = batch_size, prefix, add_bos, seed
        self._chat, self._report = chat, report or (lambda title, done, total: None)
        self.too_long: set[tuple[str, int]] = set()
        """Task and document of requests that did not fit the context."""
        self.requests_seen = 0
        self.prompt_tokens = 0
        """Of the requests that fitted."""
        self.output_tokens = 0
        """Generated, or scored."""

    @property
    def max_length(self) -> int:
        """The smallest context of the members, in tokens."""
        return self.lockstep.context_length

    @property
    def max_gen_toks(self) -> int:
        """New tokens where a task does not say how many."""
        return DEFAULT_NEW_TOKENS

    @property
    def device(self) -> torch.device:
        """Where logits are combined."""
        return self.lockstep.device

    @property
    def eot_token_id(self) -> int | None:
        """The token that ends a text."""
        token: int | None = self.tokenizer.eos_token_id
        return token

    @property
    def prefix_token_id(self) -> int:
        """The token that stands where there is no context."""
        first = self.tokenizer.bos_token_id
        token: int | None = self.eot_token_id if first is None else first
        if token is None:
            raise RequestError("the tokenizer has no token that starts or ends a text; none can stand for no context")
        return token

    @property
    def tokenizer_name(self) -> str:
        """Name of the first member's tokenizer."""
        return str(self.tokenizer.name_or_path).replace("/", "__")

    def chat_template(self, chat_template: bool | str = False) -> str | None:
        """The tokenizer's template, where it is what renders a chat."""
        if chat_template is False or self._chat is not None:
            return None
        template: str | None = super().chat_template(chat_template)
        return template

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        """A chat as one text, up to where the model is to speak; without `add_generation_prompt`, to go on with
        the last turn.

        Raises:
            RequestError: nothing says how to render a chat, or the template refuses this one.
        """
        if self._chat is not None:
            return self._chat(chat_history)
        if not self.tokenizer.chat_template:
            raise RequestError(
                f"the tokenizer of {self.lockstep.first_model.name} has no chat template; ask for plain text, or use a "
                "model that was made for chat"
            )
        try:
            return str(
                self.tokenizer.apply_chat_template(
                    chat_history,
                    tokenize=False,
                    add_generation_prompt=add_generation_prompt,
                    continue_final_message=not add_generation_prompt,
                )
            )
        except TemplateError as error:
            raise RequestError(f"the chat template refuses this chat: {error}") from error

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **_: Any) -> list[int]:
        """Tokens of a text; special tokens are not added twice."""
        if add_special_tokens is None:
            add_special_tokens = self.add_bos
            if has_bos_prefix(string, self.tokenizer.decode(self.prefix_token_id)):
                add_special_tokens = False
        options = {} if add_special_tokens is None else {"add_special_tokens": add_special_tokens}
        return list(self.tokenizer.encode(string, **options))

    def loglikelihood(self, requests: list[Instance], disable_tqdm: bool = True) -> list[Scored]:
        """Log-probability of each continuation after its context."""
        asked = [replace(one, arguments=(self.prefix + one.args[0], one.args[1])) for one in requests]
        answers: list[Scored] = super().loglikelihood(asked, disable_tqdm=True)
        self._note(requests, [answer is TOO_LONG for answer in answers])
        return answers

    def loglikelihood_rolling(self, requests: list[Instance], disable_tqdm: bool = True) -> list[float]:
        """Log-probability of each text, all of its tokens, in windows of the context's length."""
        windows: list[Tokens] = []
        owners: list[int] = []
        for owner, request in enumerate(requests):
            tokens = self.tok_encode(request.args[0])
            for window in get_rolling_token_windows(tokens, self.prefix_token_id, self.max_length, context_len=1):
                windows.append((None, *make_disjoint_window(window)))
                owners.append(owner)
        sums = [0.0] * len(requests)
        for owner, (log_probability, _) in zip(owners, self._loglikelihood_tokens(windows), strict=True):
            sums[owner] += log_probability
        self._note(requests, [False] * len(requests))
        return sums

    def _loglikelihood_tokens(self, requests: Sequence[Tokens], **_: Any) -> list[Scored]:
        """Log-probability and greediness of each continuation. What reads the same tokens is read once."""
        answers: list[Scored] = [TOO_LONG] * len(requests)
        alike: dict[tuple[int, ...], list[int]] = defaultdict(list)
        for place, (texts, context, continuation) in enumerate(requests):
            if not continuation:
                raise CellError(f"an answer has no tokens of its own after its context: {texts!r:.200}")
            if len(context) + len(continuation) <= self.max_length + 1:
                alike[(*context, *continuation[:-1])].append(place)
                self.prompt_tokens += len(context)
                self.output_tokens += len(continuation)
        self.lockstep.check([requests[place][2][-1:] for places in alike.values() for place in places])
        self.lockstep.check(alike)
        done = len(requests) - sum(map(len, alike.values()))
        # The longest first: a batch that does not fit fails at the start, and estimates of time are not too short.
        reads = sorted(alike, key=lambda read: (-len(read), read))
        for batch in _batches(reads, self.batch_size):
            asked = [(row, place) for row, read in enumerate(batch) for place in alike[read]]
            wanted = _Wanted.of(batch, [(row, requests[place][2]) for row, place in asked])
            for (_row, place), answer in zip(asked, _scores(self.lockstep, wanted), strict=True):
                answers[place] = answer
            done += len(asked)
            self._report("log-likelihoods", done, len(requests))
        return answers

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = True) -> list[str]:
        """The text that each context is continued with, up to a stop."""
        texts = [""] * len(requests)
        prompts = [self.tok_encode(self.prefix + one.args[0]) or [self.prefix_token_id] for one in requests]
        self.lockstep.check(prompts)
        numbers = _numbers(requests)
        long = [len(prompt) >= self.max_length for prompt in prompts]
        self._note(requests, long)
        done = sum(long)
        alike: dict[str, list[int]] = defaultdict(list)
        for place in sorted(range(len(requests)), key=lambda place: (-len(prompts[place]), prompts[place])):
            if not long[place]:
                alike[json.dumps(requests[place].args[1], sort_keys=True)].append(place)
        # All settings are looked at before the first is worked through: a wrong one is said at once.
        plans = [(*self._decoding(json.loads(settings)), places) for settings, places in alike.items()]
        for decoding, until, places in plans:
            for batch in _batches(places, self.batch_size):
                outputs = decode(
                    self.lockstep,
                    [prompts[place] for place in batch],
                    decoding,
                    numbers=[numbers[place] for place in batch],
                )
                for place, output in zip(batch, outputs, strict=True):
                    text = self.tokenizer.decode(output, skip_special_tokens=True)
                    texts[place] = postprocess_generated_text(text, until, None)
                    self.prompt_tokens += len(prompts[place])
                    self.output_tokens += len(output)
                done += len(batch)
                self._report("generations", done, len(requests))
        return texts

    def _decoding(self, settings: dict[str, Any]) -> tuple[Decoding, list[str]]:
        """How to decode, and the texts at which an answer is cut.

        Raises:
            RequestError: a setting asks for what is not done here.
        """
        given: dict[str, Any] = dict(normalize_gen_kwargs(settings, self.max_gen_toks))
        end = self.eot_token_id
        asked = [stop for stop in given.pop("until") if stop]
        until = handle_stop_sequences(list(asked), None if end is None else self.tokenizer.decode(end))
        decoding = Decoding(
            max_new_tokens=given.pop("max_gen_toks"),
            temperature=float(given.pop("temperature", 0.0)),
            top_p=float(given.pop("top_p", 1.0)),
            # The end token ends an output by its id; to look for its text at every step would cost time.
            stops=tuple(asked if end in self.lockstep.first.stop_ids else until),
            seed=self.seed,
        )
        for name, value in given.items():
            if value not in NEUTRAL.get(name, ()):
                raise RequestError(f"generation setting {name}={value!r} of a task is not supported; remove it")
        return decoding, until

    def _note(self, requests: Sequence[Instance], long: Sequence[bool]) -> None:
        self.requests_seen += len(requests)
        self.too_long |= {
            (str(one.task_name), int(one.doc_id or 0)) for one, is_long in zip(requests, long, strict=True) if is_long
        }


@dataclass
class _Wanted:
    """Tokens that B sequences read, and E tokens whose log-probabilities are wanted after some of them."""

    ids: torch.Tensor
    """(B, T), padded on the right."""
    places: NDArray[np.int64]
    """(E,) places in the flattened (B × T)."""
    tokens: NDArray[np.int64]
    """(E,) what is to follow there."""
    owners: list[tuple[int, int]]
    """First and last of the E that make up one answer."""

    @staticmethod
    def of(reads: Sequence[Sequence[int]], asked: Sequence[tuple[int, list[int]]]) -> _Wanted:
        """From what is read, and continuations of which read: the last of one is not read itself."""
        width = max(map(len, reads))
        places: list[int] = []
        tokens: list[int] = []
        owners = []
        for row, continuation in asked:
            end = row * width + len(reads[row])
            owners.append((len(places), len(places) + len(continuation)))
            places.extend(range(end - len(continuation), end))
            tokens.extend(continuation)
        ids = torch.tensor([[*read, *[PADDING] * (width - len(read))] for read in reads])
        return _Wanted(ids, np.array(places), np.array(tokens), owners)


@torch.inference_mode()
def _scores(lockstep: Lockstep, wanted: _Wanted) -> list[Scored]:
    """Log-probability and greediness of each answer; the device is waited for once."""
    width = wanted.ids.shape[1]
    columns = wanted.places % width
    needed = np.bincount(np.unique(wanted.places) % width, minlength=width).tolist()
    pieces = list(_pieces(needed, max(1, MOST_LOGITS // lockstep.shared.size)))
    pasts = lockstep.new_pasts() if len(pieces) > 1 else None
    found, order = [], []
    for start, end in pieces:
        chosen = np.flatnonzero((columns >= start) & (columns < end))
        places = wanted.places[chosen] // width * (end - start) + columns[chosen] - start
        rows, back = np.unique(places, return_inverse=True)
        # Padding stands on the right, where no token looks: to call it tokens changes nothing and needs no mask.
        mask = None if pasts is None else wanted.ids.new_ones(len(wanted.ids), end)
        logits = lockstep.logits(wanted.ids[:, start:end], mask, torch.from_numpy(rows), pasts)
        asked = torch.from_numpy(np.stack((back, wanted.tokens[chosen]))).to(logits.device)
        found.append(_log_probabilities(logits, *asked))
        order.append(chosen)
    log_probabilities, greedy = torch.cat(found, dim=1).cpu().numpy()[:, np.argsort(np.concatenate(order))]
    return [(float(log_probabilities[start:end].sum()), bool(greedy[start:end].all())) for start, end in wanted.owners]


def _log_probabilities(logits: torch.Tensor, rows: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    """(2, E) in fp64: log-probabilities of tokens (E,) in rows of (R, K) logits, and whether they are the likeliest."""
    height = max(1, MOST_SUMMED // logits.shape[1])
    parts = [logits[start : start + height] for start in range(0, len(logits), height)]
    sums = torch.cat([part.logsumexp(-1) for part in parts])[rows]
    likeliest = torch.cat([part.argmax(-1) for part in parts])[rows]
    return torch.stack(((logits[rows, tokens] - sums).double(), (likeliest == tokens).double()))


def _pieces(needed: Sequence[int], most: int) -> Iterator[tuple[int, int]]:
    """Spans of columns that need at most so many rows of logits together, each as long as can be."""
    start, held = 0, 0
    for column, count in enumerate(needed):
        if held and held + count > most:
            yield start, column
            start, held = column, 0
        held += count
    yield start, len(needed)


def _batches(items: Sequence[Item], size: int) -> Iterator[Sequence[Item]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]


def _numbers(requests: Sequence[Instance]) -> list[int]:
    """A number for each request by what it asks and how often that was asked before, not by what else is asked."""
    before: Counter[str] = Counter()
    numbers = []
    for one in requests:
        name = json.dumps([one.task_name, one.doc_id, one.idx, one.args[0]])
        numbers.append(int.from_bytes(hashlib.sha256(f"{name} {before[name]}".encode()).digest()[:8]))
        before[name] += 1
    return numbers
