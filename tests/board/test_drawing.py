"""Places of labels, ticks, texts and colours that all charts share."""

from __future__ import annotations

import math
import re
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prt_bench.board import contest_chart, drawing
from prt_bench.board.drawing import COLOURS, GREY, GRID, INK, MUTED, PAPER, SHAPES, cut, plain, powers, prefixed, spread
from prt_bench.board.scatter import looks

ASSETS = Path(drawing.__file__).parent / "assets"
DRAWN = (INK, MUTED, GREY, *COLOURS, *contest_chart.COLOURS.values())


@given(
    st.dictionaries(st.text(min_size=1, max_size=3), st.floats(-50, 400), min_size=1, max_size=12),
    st.floats(5, 20),
)
@settings(max_examples=50)
def test_labels_never_cover_each_other_and_stay_in_the_picture(pixels: dict[str, float], apart: float) -> None:
    placed = spread(pixels, apart, (0.0, 300.0))
    order = sorted(pixels, key=lambda label: pixels[label])
    places = [placed[label] for label in order]
    assert all(other - one >= apart - 1e-6 for one, other in pairwise(places))
    assert places[0] >= -1e-6
    assert places[-1] <= 300 + 1e-6


def test_labels_stand_at_their_height_where_there_is_room_and_else_share_the_way() -> None:
    assert spread({"a": 10.0, "b": 100.0}) == {"a": 10.0, "b": 100.0}
    assert spread({"a": 100.0, "b": 100.0}) == {"a": 92.0, "b": 108.0}
    assert spread({"a": 2.0, "b": 2.0}, within=(0.0, 300.0)) == {"a": 0.0, "b": 16.0}


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [(0.9, 40, [1, 2, 5, 10, 20]), (1e6, 1e12, [10.0**n for n in range(6, 13)]), (3, 4, [])],
)
def test_ticks_of_a_log_axis_are_round(low: float, high: float, ticks: list[float]) -> None:
    assert powers(low, high) == pytest.approx(ticks)
    assert len(powers(1, 1e30)) <= 12


@pytest.mark.parametrize(
    ("value", "told"), [(1, "1"), (999, "999"), (1000, "1 k"), (3.53e9, "3.53 G"), (1e33, "1e+03 Q"), (0.5, "0.5")]
)
def test_numbers_have_the_prefix_of_their_size(value: float, told: str) -> None:
    assert prefixed(value) == told


def test_texts_hide_nothing() -> None:
    assert plain("a\u202eb\x00c\ud800 \n d\u2066") == "a\ufffdb\ufffdc\ufffd d\ufffd"
    assert plain("naïve – 東京") == "naïve – 東京"
    assert cut("12345", 5) == "12345"
    assert cut("123456", 5) == "1234…"


def luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(one: str, other: str) -> float:
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def mapped(what: str) -> dict[str, str]:
    """A colour on white paper → the same on a dark screen."""
    style = "".join(path.read_text() for path in ASSETS.glob("*.css"))
    return dict(re.findall(rf'\.picture \[{what}="(#[0-9a-f]{{6}})"\] \{{ {what}: (#[0-9a-f]{{6}}); \}}', style))


def card(dark: bool) -> str:
    style = (ASSETS / "board.css").read_text()
    return re.findall(r"--card: (#[0-9a-f]{6})", style)[dark]


@pytest.mark.parametrize("what", ["fill", "stroke"])
def test_every_colour_can_be_seen_on_light_and_on_dark(what: str) -> None:
    assert set(mapped(what)) == {*DRAWN, GRID, PAPER}
    for colour in DRAWN:
        assert contrast(colour, card(dark=False)) >= 3, colour
        assert contrast(mapped(what)[colour], card(dark=True)) >= 3, colour
    for text in (INK, MUTED):
        assert contrast(text, card(dark=False)) >= 4.5
        assert contrast(mapped(what)[text], card(dark=True)) >= 4.5
    assert mapped(what)[PAPER] == card(dark=True)
    assert mapped("fill") == mapped("stroke")


CONES = {
    "protanopia": ((0.1523, 1.0526, -0.2049), (0.1145, 0.7863, 0.0992), (-0.0039, -0.0481, 1.052)),
    "deuteranopia": ((0.3673, 0.8606, -0.228), (0.2801, 0.6725, 0.0474), (-0.0118, 0.0429, 0.9689)),
}


def seen_by(colour: str, kind: str) -> tuple[float, ...]:
    """Linear red, green and blue as one sees them who lacks a kind of cone (Machado et al. 2009, severity 1)."""
    rows = CONES[kind]
    parts = [(int(colour[at : at + 2], 16) / 255) ** 2.2 for at in (1, 3, 5)]
    return tuple(
        max(0.0, sum(share * part for share, part in zip(row, parts, strict=True))) ** (1 / 2.2) for row in rows
    )


@pytest.mark.parametrize("kind", ["protanopia", "deuteranopia"])
@pytest.mark.parametrize("dark", [False, True])
def test_the_first_colours_differ_for_colour_blind_readers(kind: str, dark: bool) -> None:
    shown = [mapped("fill")[colour] if dark else colour for colour in COLOURS[:4]]
    seen = [seen_by(colour, kind) for colour in shown]
    apart = [math.dist(one, other) for at, one in enumerate(seen) for other in seen[:at]]
    assert min(apart) > 0.1


def test_methods_differ_in_shape_as_in_colour() -> None:
    found = looks([str(n) for n in range(64)])
    assert len(set(found.values())) == 64
    first = [found[str(n)] for n in range(8)]
    assert len({shape for _, shape in first}) == len(SHAPES) == len({colour for colour, _ in first})
