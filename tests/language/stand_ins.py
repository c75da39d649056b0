"""Tiny copies of the language data sets in the layout and columns of their hub repositories; the contents are invented.

`write` is all that a test needs. Where the hub's repository states its configurations in its card, so does the copy.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

__all__ = ["MMLU_SUBJECTS", "REPOSITORIES", "ROWS", "write"]

ROWS = 6
"""Of each split, but for data sets of several subjects in one table, which have two of each."""
LETTERS = "ABCDEFGHIJ"
PRO_TEXT = """
biology business chemistry computer_science economics engineering health history law math other philosophy physics
psychology
"""
PRO_SUBJECTS = tuple(name.replace("_", " ") for name in PRO_TEXT.split())
MMLU_TEXT = """
abstract_algebra anatomy astronomy business_ethics clinical_knowledge college_biology college_chemistry
college_computer_science college_mathematics college_medicine college_physics computer_security conceptual_physics
econometrics electrical_engineering elementary_mathematics formal_logic global_facts high_school_biology
high_school_chemistry high_school_computer_science high_school_european_history high_school_geography
high_school_government_and_politics high_school_macroeconomics high_school_mathematics high_school_microeconomics
high_school_physics high_school_psychology high_school_statistics high_school_us_history high_school_world_history
human_aging human_sexuality international_law jurisprudence logical_fallacies machine_learning management marketing
medical_genetics miscellaneous moral_disputes moral_scenarios nutrition philosophy prehistory professional_accounting
professional_law professional_medicine professional_psychology public_relations security_studies sociology
us_foreign_policy virology world_religions
"""
MMLU_SUBJECTS = tuple(MMLU_TEXT.split())

Row = dict[str, Any]


def write(folder: Path, repository: str, only: Sequence[str] = ()) -> Path:
    """Write a copy of a repository into a folder, and return the folder.

    `only` are the configurations to write, for a data set of many.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _WRITERS[repository](folder, only)
    return folder


# --- forms ---


def _parquet(path: Path, rows: Sequence[Row], features: Mapping[str, Any] | None = None) -> None:
    import datasets

    datasets.disable_progress_bars()
    path.parent.mkdir(parents=True, exist_ok=True)
    table = datasets.Dataset.from_list(list(rows), features=datasets.Features(features) if features else None)
    with path.open("wb") as file:
        table.to_parquet(file)


def _card(folder: Path, configs: Iterable[str], splits: Sequence[str], place: Callable[[str], str] = str) -> None:
    """The part of a repository's card that says where the splits of each configuration are."""
    lines = ["---", "configs:"]
    for config in configs:
        prefix = f"{place(config)}/"
        lines += [f"- config_name: {config}", "  data_files:"]
        for split in splits:
            lines += [f"  - split: {split}", f"    path: {prefix}{split}-*"]
    (folder / "README.md").write_text("\n".join([*lines, "---", ""]), encoding="utf-8")


def _split(split: str) -> str:
    return f"{split}-00000-of-00001.parquet"


def _data(config: str) -> str:
    return "data"


# --- data sets ---


def _gsm8k(folder: Path, only: Sequence[str]) -> None:
    configs, splits = ("main", "socratic"), ("train", "test")
    for config in only or configs:
        for split in splits:
            rows = [
                {
                    "question": f"A {split} box holds {n} pens. How many pens do 3 boxes hold?",
                    "answer": f"3 boxes hold 3*{n}=<<3*{n}={3 * n}>>{3 * n} pens.\n#### {3 * n}",
                }
                for n in range(2, 2 + ROWS)
            ]
            _parquet(folder / config / _split(split), rows)
    _card(folder, only or configs, splits)


def _ifeval(folder: Path, only: Sequence[str]) -> None:
    rows = [
        {
            "key": 1000 + n,
            "prompt": f"Describe hill {n} without a comma, in at least {20 + n} words.",
            "instruction_id_list": ["punctuation:no_comma", "length_constraints:number_words"],
            "kwargs": [{}, {"relation": "at least", "num_words": 20 + n}],
        }
        for n in range(ROWS)
    ]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "ifeval_input_data.jsonl").write_text(text, encoding="utf-8")
    (folder / "README.md").write_text("---\nlicense: apache-2.0\n---\n", encoding="utf-8")


def _arc(folder: Path, only: Sequence[str]) -> None:
    configs, splits = ("ARC-Challenge", "ARC-Easy"), ("train", "validation", "test")
    for config in only or configs:
        for split in splits:
            rows = []
            for n in range(ROWS):
                # As in the original, a few questions number their options instead.
                labels = list("1234" if n == 1 else "ABCD")
                options = [f"stone {n}{place}" for place in range(4)]
                rows.append(
                    {
                        "id": f"{config}_{split}_{n}",
                        "question": f"Which stone of the {split} heap is heaviest, if number {n} is last?",
                        "choices": {"text": options, "label": labels},
                        "answerKey": labels[n % 4],
                    }
                )
            _parquet(folder / config / _split(split), rows)
    _card(folder, only or configs, splits)


def _mmlu(folder: Path, only: Sequence[str]) -> None:
    import datasets

    features = {
        "question": datasets.Value("string"),
        "subject": datasets.Value("string"),
        "choices": datasets.List(datasets.Value("string")),
        "answer": datasets.ClassLabel(names=list("ABCD")),
    }
    splits = ("test", "validation", "dev")
    for config in only or MMLU_SUBJECTS:
        for split in splits:
            rows = [
                {
                    "question": f"In {config}, which of the {split} answers is number {n}?",
                    "subject": config,
                    "choices": [f"answer {n}{letter}" for letter in "wxyz"],
                    "answer": n % 4,
                }
                for n in range(ROWS)
            ]
            _parquet(folder / config / _split(split), rows, features)
    _card(folder, only or MMLU_SUBJECTS, splits)


def _mmlu_pro(folder: Path, only: Sequence[str]) -> None:
    splits = ("test", "validation")
    for split in splits:
        rows = []
        for n, subject in enumerate(subject for subject in PRO_SUBJECTS for _ in range(2)):
            options = [f"option {n}{letter}" for letter in LETTERS[: 10 - n % 3]]
            right = n % len(options)
            thought = f"A: Let's think step by step. It is number {right}. The answer is ({LETTERS[right]})."
            rows.append(
                {
                    "question_id": n,
                    "question": f"In {subject}, which of the {split} options is meant by {n}?",
                    "options": options,
                    "answer": LETTERS[right],
                    "answer_index": right,
                    "cot_content": thought if split == "validation" else "",
                    "category": subject,
                    "src": f"invented-{subject}",
                }
            )
        _parquet(folder / "data" / _split(split), rows)
    _card(folder, ("default",), splits, _data)


def _hellaswag(folder: Path, only: Sequence[str]) -> None:
    splits = ("train", "test", "validation")
    for split in splits:
        rows = [
            {
                "ind": n,
                "activity_label": "Folding paper",
                "ctx_a": f"Somebody takes sheet {n} of the {split} pile.",
                "ctx_b": "the person",
                "ctx": f"Somebody takes sheet {n} of the {split} pile. the person",
                "endings": [f"folds it {times} times. [title] Done [step] again." for times in range(1, 5)],
                "source_id": f"invented~{n}",
                "split": split,
                "split_type": "indomain",
                "label": "" if split == "test" else str(n % 4),
            }
            for n in range(ROWS)
        ]
        _parquet(folder / "data" / _split(split), rows)
    _card(folder, ("default",), splits, _data)


def _truthfulqa(folder: Path, only: Sequence[str]) -> None:
    rows = []
    for n in range(ROWS):
        answers = [f"Nothing happens, says book {n}.", f"It turns into {n} stones.", f"You fall asleep for {n} days."]
        rows.append(
            {
                "question": f"What happens if you whistle {n} times?",
                "mc1_targets": {"choices": answers, "labels": [1, 0, 0]},
                "mc2_targets": {"choices": ["Nothing.", *answers], "labels": [1, 1, 0, 0]},
            }
        )
    _parquet(folder / "multiple_choice" / _split("validation"), rows)
    open_rows = [
        {
            "type": "Adversarial",
            "category": "Misconceptions",
            "question": row["question"],
            "best_answer": row["mc1_targets"]["choices"][0],
            "correct_answers": row["mc1_targets"]["choices"][:1],
            "incorrect_answers": row["mc1_targets"]["choices"][1:],
            "source": "invented",
        }
        for row in rows
    ]
    _parquet(folder / "generation" / _split("validation"), open_rows)
    _card(folder, ("generation", "multiple_choice"), ("validation",))


def _gpqa(folder: Path, only: Sequence[str]) -> None:
    configs = ("gpqa_extended", "gpqa_main", "gpqa_diamond", "gpqa_experts")
    rows = [
        {
            "Record ID": f"rec{n}",
            "Question": f"How many invented particles, of kind {n}, decay first?",
            "Correct Answer": f"{n} of them",
            "Incorrect Answer 1": f"{n + 1} of them",
            "Incorrect Answer 2": f"{n + 2} of them",
            "Incorrect Answer 3": f"{n + 3} of them\n",
            "Explanation": "Invented, so it is known.",
            "High-level domain": "Physics",
            "Subdomain": "Particles",
        }
        for n in range(ROWS)
    ]
    lines = ["---", "configs:"]
    for config in configs:
        lines += [f"- config_name: {config}", f"  data_files: {config}.csv"]
        with (folder / f"{config}.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    (folder / "README.md").write_text("\n".join([*lines, "---", ""]), encoding="utf-8")


def _mbpp(folder: Path, only: Sequence[str]) -> None:
    splits = ("train", "test", "validation", "prompt")
    for split in splits:
        rows = [
            {
                "task_id": n,
                "text": f"Write a function to add {n} to a number.",
                "code": f"def add_{n}(x):\r\n  return x + {n}",
                "test_list": [f"assert add_{n}({x}) == {x + n}" for x in range(3)],
                "test_setup_code": "",
                "challenge_test_list": [],
            }
            for n in range(1, 1 + ROWS)
        ]
        _parquet(folder / "full" / _split(split), rows)
        clean = [
            {
                "source_file": "invented.jsonl",
                "task_id": row["task_id"],
                "prompt": row["text"],
                "code": row["code"],
                "test_imports": [],
                "test_list": row["test_list"],
            }
            for row in rows
        ]
        _parquet(folder / "sanitized" / _split(split), clean)
    _card(folder, ("full", "sanitized"), splits)


def _humaneval(folder: Path, only: Sequence[str]) -> None:
    rows = [
        {
            "task_id": f"HumanEval/{n}",
            "prompt": f'def times_{n}(x: int) -> int:\n    """{n} times x.\n    >>> times_{n}(2)\n    {2 * n}"""\n',
            "canonical_solution": f"    return {n} * x\n",
            "test": f"\n\nMETADATA = {{}}\n\n\ndef check(candidate):\n    assert candidate(2) == {2 * n}\n",
            "entry_point": f"times_{n}",
        }
        for n in range(1, 1 + ROWS)
    ]
    _parquet(folder / "openai_humaneval" / _split("test"), rows)
    _card(folder, ("openai_humaneval",), ("test",))


def _tulu(folder: Path, only: Sequence[str]) -> None:
    rows = []
    for n in range(3 * ROWS):
        turns = [
            {"role": "user", "content": f"Say {n} in words of your own."},
            {"role": "assistant", "content": f"It is {n}, one less than {n + 1}."},
        ]
        if n % 3 == 1:
            turns += [{"role": "user", "content": "Shorter."}, {"role": "assistant", "content": f"{n}."}]
        if n % 3 == 2:
            turns.insert(0, {"role": "system", "content": "Be brief."})
        rows.append({"dataset": "invented", "id": f"invented_{n}", "messages": turns})
    for shard in range(3):
        part = rows[shard * ROWS : (shard + 1) * ROWS]
        _parquet(folder / "data" / f"train-0000{shard}-of-00003-0123456789abcdef.parquet", part)
    _card(folder, ("default",), ("train",), _data)


_WRITERS: dict[str, Callable[[Path, Sequence[str]], None]] = {
    "Idavidrein/gpqa": _gpqa,
    "Rowan/hellaswag": _hellaswag,
    "TIGER-Lab/MMLU-Pro": _mmlu_pro,
    "allenai/ai2_arc": _arc,
    "allenai/tulu-v2-sft-mixture": _tulu,
    "cais/mmlu": _mmlu,
    "google-research-datasets/mbpp": _mbpp,
    "google/IFEval": _ifeval,
    "openai/gsm8k": _gsm8k,
    "openai/openai_humaneval": _humaneval,
    "truthfulqa/truthful_qa": _truthfulqa,
}
REPOSITORIES = tuple(_WRITERS)
"""Those that can be written."""
