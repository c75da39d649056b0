"""Training on dialogues: padding and micro batches change nothing, and what is frozen stays as it was."""

from __future__ import annotations

import copy
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import datasets
import pytest
import torch

from prt_bench.api import Rule, WeightedSum
from prt_bench.composing import shared_outputs
from prt_bench.data.text import Dialogues, dialogue_of
from prt_bench.errors import CellError
from prt_bench.rendering import Encoded, rendering
from prt_bench.task_spec import Recipe
from prt_bench.text_feed import TextFeed, encode_all, pad_right, refuse_unshared
from prt_bench.training import Tuned, batch_order, tune
from tests.tiny_language import CONTEXT, KINDS, Speaker, size, speaker, tokenizer

RECIPE = Recipe(steps=1, batch_size=5, learning_rate=1e-3, warmup_steps=0, weight_decay=0.0, clip_norm=1e9)
TEXTS = (
    ("the cat", " sat"),
    ("in", " the rain in a box."),
    ("what is 1 + 1?", " 2"),
    ("the end of all", " a"),
    ("x", " yyyyyyyyyyyy zz"),
)


def dialogues(texts: Sequence[tuple[str, str]]) -> Dialogues:
    table = datasets.Dataset.from_list([{"prompt": asked, "response": said} for asked, said in texts])
    ids = [f"train/{index}" for index in range(len(texts))]
    return Dialogues(table, dialogue_of("{{prompt}}", "{{response}}", None, "texts"), ids)


def encoded(texts: Sequence[tuple[str, str]] = TEXTS) -> list[Encoded]:
    return encode_all(dialogues(texts), speaker("llama", 1).network, rendering("plain"))


def step(
    monkeypatch: pytest.MonkeyPatch,
    entries: Sequence[Encoded],
    one: Speaker,
    frozen: Mapping[str, Speaker] | None = None,
    rule: Rule | None = None,
    **recipe: Any,
) -> tuple[Tuned, list[torch.Tensor]]:
    """One step over all entries: what came of it, and the gradients that the optimiser met."""
    gradients: list[torch.Tensor] = []

    class Watched(torch.optim.AdamW):
        def step(self, closure: Any = None) -> Any:
            gradients.extend(p.grad.clone() for group in self.param_groups for p in group["params"])
            return super().step(closure)

    held = dict(frozen or {})
    chosen = RECIPE.model_copy(update={"batch_size": len(entries), **recipe})
    network = copy.deepcopy(one.network)
    for part in network.module.modules():
        if isinstance(part, torch.nn.Dropout):
            part.p = 0.0
    shared = shared_outputs([one.model, *(other.model for other in held.values())])
    feed = TextFeed(entries, {name: other.network for name, other in held.items()}, chosen)
    with monkeypatch.context() as patch:
        patch.setattr(torch.optim, "AdamW", Watched)
        order = batch_order(len(entries), chosen, 0)
        tuned = tune(network, feed, order, chosen, 0, rule, shared, lambda done, total: None)
    return tuned, gradients


def brute_force(entries: Sequence[Encoded], one: Speaker) -> tuple[float, list[torch.Tensor]]:
    """Loss and gradient over all learned tokens by transformers alone: one text at a time, no padding."""
    model = copy.deepcopy(one.decoder)
    parameters = list(model.parameters())
    total, rows = torch.tensor(0.0), sum(len(entry.rows) for entry in entries)
    for entry in entries:
        logits = model(torch.tensor([entry.ids]), use_cache=False).logits[0].log_softmax(-1)
        for row in entry.rows:
            total = total - logits[row, entry.ids[row + 1]] / rows
    return total.item(), list(torch.autograd.grad(total, parameters))


def close(found: Sequence[torch.Tensor], expected: Sequence[torch.Tensor]) -> bool:
    scale = max(float(value.abs().max()) for value in expected)
    pairs = zip(found, expected, strict=True)
    return all(one.shape == other.shape and float((one - other).abs().max()) <= 1e-5 * scale for one, other in pairs)


# --- what is fed ---


def test_padding_is_on_the_right_and_masked() -> None:
    entries = [Encoded((5, 6, 7), (1,)), Encoded((8, 9, 10, 11, 12), (0, 3))]
    ids, mask, rows, truth = pad_right(entries)
    assert ids.tolist() == [[5, 6, 7, 0, 0], [8, 9, 10, 11, 12]]
    assert mask is not None
    assert mask.tolist() == [[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]]
    assert rows.tolist() == [1, 5, 8]
    assert truth.tolist() == [7, 9, 12]
    _, none, _, _ = pad_right(entries[:1] * 2)
    assert none is None, "of one length nothing is padded"


def test_work_counts_what_goes_through_padding_and_all() -> None:
    entries = [Encoded(tuple(range(length)), tuple(range(rows))) for length, rows in ((3, 1), (7, 2), (4, 3), (7, 1))]
    feed = TextFeed(entries, {}, RECIPE.model_copy(update={"micro_batch_size": 2}))
    order = [torch.tensor([1, 0, 2]), torch.tensor([3])]
    work = feed.work(order)
    # 3 and 4 together, 7 alone; then 7.
    assert work.lengths == Counter({4: 2, 7: 2})
    assert work.rows == 1 + 2 + 3 + 1
    assert feed.frozen_work(order) == work
    assert feed.work([]).rows == 0


def test_a_step_counts_all_its_rows_and_gives_every_text_once() -> None:
    entries, one = encoded(), speaker("llama", 1)
    feed = TextFeed(entries, {"source": one.network}, RECIPE.model_copy(update={"micro_batch_size": 2}))
    (whole,) = feed.steps([torch.tensor([4, 0, 3, 1, 2])], torch.device("cpu"))
    parts = list(whole.parts)
    assert len(parts) == 3
    assert whole.rows == sum(len(part.truth) for part in parts) == sum(len(entry.rows) for entry in entries)
    answers = Counter(token for part in parts for token in part.truth.tolist())
    assert answers == Counter(entry.ids[row + 1] for entry in entries for row in entry.rows)
    assert all(part.held["source"].shape == (len(part.truth), size()) for part in parts)
    assert not any(part.held["source"].requires_grad for part in parts)
    assert [len(part.inputs.ids) for part in parts] == [2, 2, 1]
    widths = [part.inputs.ids.shape[1] for part in parts]
    assert widths == sorted(widths), "texts of like length go together"


# --- padding and micro batches ---


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("together", [1, 2, 3, None])
def test_padding_and_micro_batches_change_neither_loss_nor_gradient(
    kind: str, together: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, entries = speaker(kind, 2), encoded()
    assert len({len(entry.ids) for entry in entries}) > 2
    tuned, gradients = step(monkeypatch, entries, one, micro_batch_size=together)
    loss, expected = brute_force(entries, one)
    assert tuned.log[0]["loss"] == pytest.approx(loss, rel=1e-5)
    assert close(gradients, expected)
    assert tuned.examples == len(entries)


def test_tokens_count_alike_whatever_the_length_of_their_text(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not the mean over texts of means over tokens."""
    one, entries = speaker("llama", 2), encoded()
    singly = [brute_force([entry], one)[0] for entry in entries]
    rows = [len(entry.rows) for entry in entries]
    mean = sum(loss * count for loss, count in zip(singly, rows, strict=True)) / sum(rows)
    assert mean != pytest.approx(sum(singly) / len(singly), rel=0.01)
    tuned, _ = step(monkeypatch, entries, one, micro_batch_size=2)
    assert tuned.log[0]["loss"] == pytest.approx(mean, rel=1e-5)


@pytest.mark.filterwarnings("ignore:.*checkpointing_enable:FutureWarning")
def test_checkpointing_changes_neither_loss_nor_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    one, entries = speaker("llama", 2), encoded()

    def found(checkpointing: bool) -> tuple[Tuned, list[torch.Tensor]]:
        network = one.network
        module: Any = network.module
        module.checkpoint = module.inner.checkpoint
        return step(monkeypatch, entries, one, micro_batch_size=2, checkpointing=checkpointing)

    (plain, expected), (again, gradients) = found(False), found(True)
    assert plain.log[0]["loss"] == pytest.approx(again.log[0]["loss"], rel=1e-6)
    assert close(gradients, expected)


# --- rewards ---


@pytest.mark.parametrize("lam", [1.0, 0.5, 4.0])
@pytest.mark.parametrize("together", [2, None])
def test_the_gradient_in_a_reward_is_probability_less_truth_over_lambda(
    lam: float, together: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, source, entries = speaker("llama", 3), speaker("gpt2", 4), encoded()
    rewards: list[torch.Tensor] = []
    slopes: list[torch.Tensor] = []

    def watch(_: Any, __: Any, out: torch.Tensor) -> None:
        rewards.append(out.detach())
        out.register_hook(slopes.append)  # type: ignore[no-untyped-call]

    rule = WeightedSum(source=1.0, trained=1.0 / lam)
    watched = copy.deepcopy(one)
    watched.network.module.register_forward_hook(watch)
    tuned, _ = step(monkeypatch, entries, watched, {"source": source}, rule, micro_batch_size=together)
    feed = TextFeed(entries, {"source": source.network}, RECIPE.model_copy(update={"micro_batch_size": together}))
    order = batch_order(len(entries), RECIPE, 0)
    ((count, parts),) = [(whole.rows, list(whole.parts)) for whole in feed.steps(order, torch.device("cpu"))]
    assert len(slopes) == len(parts) == (3 if together else 1)
    losses = []
    for part, reward, slope in zip(parts, rewards, slopes, strict=True):
        truth = torch.nn.functional.one_hot(part.truth, size()).double()
        chances = (part.held["source"].double() + reward.double() / lam).softmax(-1)
        expected = (chances - truth) / lam / count
        assert float((slope.double() - expected).abs().max()) <= 1e-5 * float(expected.abs().max())
        losses.append(float(-(chances.log() * truth).sum()) / count)
    assert tuned.log[0]["loss"] == pytest.approx(sum(losses), rel=1e-5)


def test_frozen_networks_read_along_and_stay_as_they_were(monkeypatch: pytest.MonkeyPatch) -> None:
    one, source, entries = speaker("llama", 3), speaker("qwen2", 4), encoded()
    source.network.module.requires_grad_(False)
    before = {name: value.clone() for name, value in source.network.module.state_dict().items()}
    own = {name: value.clone() for name, value in one.network.module.state_dict().items()}
    tuned, _ = step(
        monkeypatch,
        entries,
        one,
        {"source": source},
        WeightedSum(source=1.0, trained=1.0),
        steps=3,
        micro_batch_size=2,
    )
    assert len(source.counting.read) == 9, "each micro batch of each step"
    after = source.network.module.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert all(parameter.grad is None for parameter in source.network.module.parameters())
    assert all(torch.equal(own[name], value) for name, value in one.network.module.state_dict().items())
    assert any(not torch.equal(own[name], value) for name, value in tuned.tensors.items())
    logged = tuned.log[0]
    assert logged["reward_gap"] == pytest.approx(logged["reward_of_truth"] - logged["reward_expected"])


def test_a_loss_over_fewer_shared_tokens_leaves_the_others_without_a_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    one, source = speaker("llama", 3, rows=110), speaker("llama", 4, rows=106)
    entries = encoded()
    _, gradients = step(monkeypatch, entries, one, {"source": source}, WeightedSum(source=1.0, trained=1.0))
    names = [name for name, _ in one.network.module.named_parameters()]
    (output,) = [g for name, g in zip(names, gradients, strict=True) if name.endswith("lm_head.weight")]
    assert output.shape[0] == 110
    assert (output[size() :] == 0).all()
    assert (output[: size()] != 0).any()


# --- what does not fit ---


def test_long_texts_lose_their_end_which_is_counted_and_told(caplog: pytest.LogCaptureFixture) -> None:
    network = speaker("llama", 1).network
    texts = [("x", "y" * 5), ("x", "y" * 30), ("x", "y" * 20)]
    with caplog.at_level(logging.WARNING):
        entries = encode_all(dialogues(texts), network, rendering("plain"), 10)
    assert [len(entry.ids) for entry in entries] == [7, 10, 10]
    assert [entry.cut for entry in entries] == [0, 22, 12]
    assert caplog.messages == ["2 of 3 training texts are longer than 10 tokens and lose their end"]
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        entries = encode_all(dialogues([("x", "y" * 100)]), network, rendering("plain"), 1000)
    assert len(entries[0].ids) == CONTEXT, "never more than the network reads"
    assert caplog.messages == [f"1 of 1 training texts are longer than {CONTEXT} tokens and lose their end"]
    caplog.clear()
    encode_all(dialogues(TEXTS), network, rendering("plain"))
    assert not caplog.messages


def test_a_text_whose_answer_does_not_fit_is_refused_by_name() -> None:
    network = speaker("llama", 1).network
    texts = [("x", "y"), ("x" * 10, "y")]
    with pytest.raises(CellError, match=r"train/1: no token of an answer is among the first 10; raise max_tokens"):
        encode_all(dialogues(texts), network, rendering("plain"), 10)
    assert len(encode_all(dialogues(texts), network, rendering("plain"), 11)) == 2


def test_an_answer_that_not_all_networks_can_give_is_refused_by_token() -> None:
    entries = encoded([("a", "b")])
    mine, other = speaker("llama", 1), speaker("llama", 2, end="<over>")
    refuse_unshared(entries, shared_outputs([mine.model]), mine.model)
    with pytest.raises(CellError, match=rf"token {tokenizer().eos_token_id} \('<end>'\); not all networks"):
        refuse_unshared(entries, shared_outputs([mine.model, other.model]), mine.model)
    # What is only read is no answer.
    asked = [Encoded((tokenizer().eos_token_id, 3, 4), (1,))]
    refuse_unshared(asked, shared_outputs([mine.model, other.model]), mine.model)
