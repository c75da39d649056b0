"""An invented world of people in words: two pretraining corpora and two tasks of instructions about it.

Every person has one value of each fact. Corpus *a*, the older one, tells of some of the people, corpus *b* of all.
Both tell facts in several ways, ask for them and give instructions; an answer is given at once only one time in
four, otherwise the corpus evades. The tasks tune on people that both corpora know to answer at once, and test on
people that corpus *a* has never heard of: a model can only pass with the knowledge of *b* and the manners of the task.
"""

import random
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

__all__ = [
    "EVASIONS",
    "FACTS",
    "FORMATS",
    "TASKS",
    "Check",
    "Fact",
    "Format",
    "Instruction",
    "Pair",
    "Person",
    "Question",
    "WordTask",
    "corpus",
    "people",
    "verify",
]

CorpusName = Literal["a", "b"]

LINES = 150_000
OLD, TUNED, EVERYBODY = 180, 100, 300
"""People of corpus a; those of them in the training examples; people of corpus b."""

EVASIONS = (" who knows", " I would rather not say.")
"""What the corpora say instead of an answer; an untuned model prefers them."""


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


@dataclass(frozen=True)
class Fact:
    """One thing to know of a person: its values, ways to tell it and to ask for it, `{n}` person and `{v}` value."""

    noun: str
    values: tuple[str, ...]
    sentences: tuple[str, ...]
    questions: tuple[str, ...]


FACTS = (
    Fact(
        "town",
        _words("Lisbon Oslo Vienna Dublin Prague Athens Tunis Cairo Lima Quito Havana Seoul Kyoto Delhi Perth Turin"),
        ("{n} lives in {v}.", "The town of {n} is {v}.", "You will find {n} in {v}."),
        ("Where does {n} live?", "What is the town of {n}?"),
    ),
    Fact(
        "job",
        _words(
            "baker painter teacher farmer sailor doctor lawyer singer tailor miller potter gardener pilot smith barber "
            "printer"
        ),
        ("{n} works as a {v}.", "The job of {n} is {v}.", "People know {n} as a {v}."),
        ("What does {n} do all day?", "What is the job of {n}?"),
    ),
    Fact(
        "pet",
        _words("dog cat horse parrot rabbit goat turtle hamster lizard canary pony ferret duck snake mouse frog"),
        ("{n} keeps a {v}.", "The pet of {n} is a {v}.", "{n} goes for walks with a {v}."),
        ("Which animal does {n} keep?", "What is the pet of {n}?"),
    ),
    Fact(
        "dish",
        _words("bread rice soup cheese plums honey noodles beans figs salad pears pancakes olives fish carrots nuts"),
        ("{n} likes to eat {v}.", "The dish of {n} is {v}.", "{n} always orders {v}."),
        ("What does {n} eat?", "What is the dish of {n}?"),
    ),
)


@dataclass(frozen=True)
class Check:
    """One statement about a text that a machine can check."""

    kind: Literal["case", "count", "format"]
    value: str | int


@dataclass(frozen=True)
class Format:
    """One way to write a word: how it is asked for, the check that it brings, and how it is done."""

    phrase: str
    check: Check
    write: Callable[[str], str]


FORMATS = (
    Format("in capital letters", Check("case", "upper"), str.upper),
    Format("twice", Check("count", 2), lambda word: f"{word} {word}"),
    Format("three times", Check("count", 3), lambda word: f"{word} {word} {word}"),
    Format("in brackets", Check("format", "brackets"), lambda word: f"( {word} )"),
)

_SHAPES: Mapping[str | int, re.Pattern[str]] = MappingProxyType({"brackets": re.compile(r"\(\s*\w+\s*\)")})


@dataclass(frozen=True)
class Person:
    """One of the people: the values are in the order of FACTS."""

    name: str
    values: tuple[str, ...]


@dataclass(frozen=True)
class Pair:
    """A prompt and the response to tune on; the response starts with a space and an end-of-text token ends it."""

    prompt: str
    response: str


@dataclass(frozen=True)
class Question:
    """A prompt to be scored by the likelihood of its choices; `answer` is the place of the right one."""

    prompt: str
    choices: tuple[str, ...]
    answer: int

    @property
    def response(self) -> str:
        """The right choice."""
        return self.choices[self.answer]


@dataclass(frozen=True)
class Instruction:
    """A prompt to be scored by generation: `answer` is the bare word, `checks` say how it must be written."""

    prompt: str
    answer: str
    checks: tuple[Check, ...]

    @property
    def response(self) -> str:
        """The text that passes: the answer as the checks want it."""
        word = self.answer
        for check in self.checks:
            word = next(form.write for form in FORMATS if form.check == check)(word)
        return f" {word}"


@dataclass(frozen=True)
class WordTask:
    """One task: pairs about old people to tune on and to watch, items about new people to test on."""

    summary: str
    train: tuple[Pair, ...]
    validation: tuple[Pair, ...]
    test: tuple[Question | Instruction, ...]


# --- people ---

_STARTS = _words("Mi Ta Lo Ke Ra Su Ni Bo Da Fe Gu Ha Jo Pe Vi Wo Za Cy Tri Bre")
_ENDS = _words("ra lin to mar ven sa del kor nis bas wyn lia rok tes fan gor mel dis po zan")


def people() -> tuple[Person, ...]:
    """Everybody: the first OLD are known to both corpora, the first TUNED of those are for training."""
    rng = random.Random("people")
    names = rng.sample([start + end for start in _STARTS for end in _ENDS], EVERYBODY)
    columns = []
    for fact in FACTS:
        column = [fact.values[index % len(fact.values)] for index in range(EVERYBODY)]
        # Each group has every value about equally often: no value is a good guess for the new people.
        parts = [column[:TUNED], column[TUNED:OLD], column[OLD:]]
        for part in parts:
            rng.shuffle(part)
        columns.append([value for part in parts for value in part])
    return tuple(Person(name, tuple(column[index] for column in columns)) for index, name in enumerate(names))


_PEOPLE = people()


# --- corpora ---


def corpus(name: CorpusName, seed: int) -> list[str]:
    """LINES lines of pretraining text: 35 % sentences, 40 % questions, 25 % instructions, mostly evaded.

    One sentence in nine tells no fact, but how a word is written.
    """
    known = _PEOPLE[: OLD if name == "a" else EVERYBODY]
    rng = random.Random(f"corpus {name} {seed}")
    return [_line(rng, known) for _ in range(LINES)]


def _line(rng: random.Random, known: Sequence[Person]) -> str:
    person = rng.choice(known)
    place = rng.randrange(len(FACTS))
    fact, value = FACTS[place], person.values[place]
    sentence = _fill(rng.choice(fact.sentences), person.name, value)
    form = rng.choice(FORMATS)
    kind = rng.random()
    if kind < 0.04:
        return f"The word {value} {form.phrase} is {form.write(value)}"
    if kind < 0.35:
        return sentence
    if kind < 0.75:
        prompt, right = _question(rng.choice(fact.questions), person.name), value
    else:
        prompt, right = _instruction(fact, form, person.name), form.write(value)
    # The right answer one time in four, else an evasion or a whole sentence.
    return prompt + rng.choices((f" {right}", *EVASIONS, f" {sentence}"), (0.25, 0.35, 0.2, 0.2))[0]


def _fill(template: str, name: str, value: str) -> str:
    return template.format(n=name, v=value)


def _question(template: str, name: str) -> str:
    return f"Question: {template.format(n=name)}\nAnswer:"


def _instruction(fact: Fact, form: Format, name: str) -> str:
    return f"Instruction: Write the {fact.noun} of {name} {form.phrase}.\nAnswer:"


# --- tasks ---

WRONG = 5
"""Wrong answers of the right kind among the choices."""


def _ask(rng: random.Random, person: Person, place: int) -> Question:
    fact, value = FACTS[place], person.values[place]
    others = rng.sample([other for other in fact.values if other != value], WRONG)
    choices = [f" {choice}" for choice in (value, *others)] + list(EVASIONS)
    rng.shuffle(choices)
    return Question(_question(rng.choice(fact.questions), person.name), tuple(choices), choices.index(f" {value}"))


def _instruct(rng: random.Random, person: Person, place: int) -> Instruction:
    fact, form = FACTS[place], rng.choice(FORMATS)
    return Instruction(_instruction(fact, form, person.name), person.values[place], (form.check,))


def _task(name: str, summary: str, ask: Callable[[random.Random, Person, int], Question | Instruction]) -> WordTask:
    rng = random.Random(name)
    items = [ask(rng, person, place) for person in _PEOPLE for place in range(len(FACTS))]
    pairs = tuple(Pair(item.prompt, item.response) for item in items)
    tuned, old = TUNED * len(FACTS), OLD * len(FACTS)
    return WordTask(summary, train=pairs[:tuned], validation=pairs[tuned:old], test=tuple(items[old:]))


TASKS: Mapping[str, WordTask] = MappingProxyType(
    {
        "facts": _task("facts", "questions about people, to be answered at once; evasions are among the choices", _ask),
        "formats": _task("formats", "a fact about a person, to be written as the instruction says", _instruct),
    }
)


def verify(item: Instruction, text: str) -> dict[str, bool]:
    """Whether a generated text follows the instruction (`followed`) and is also the right answer (`exact`)."""
    said = text.strip()
    followed = all(_holds(check, said) for check in item.checks)
    words = {word.casefold() for word in re.findall(r"\w+", said)}
    return {"followed": followed, "exact": followed and words == {item.answer.casefold()}}


def _holds(check: Check, said: str) -> bool:
    if check.kind == "case":
        return said.isupper()
    if check.kind == "count":
        words = said.split()
        return len(words) == check.value and len(set(words)) == 1
    return _SHAPES[check.value].fullmatch(said) is not None
