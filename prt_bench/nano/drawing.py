"""Drawing in greyscale: shapes, pen strokes and printed characters as 32x32 masks.

Every function takes its own numpy generator; nothing is read from disk. Masks are float64 arrays (32, 32)
in 0..1, 1 where something is drawn.
"""

from collections.abc import Mapping
from functools import cache
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

FloatArray = NDArray[np.float64]

SIDE = 32
_CANVAS = 96  # drawn three times as large and averaged down: smooth edges

# Pen strokes in a unit box, x to the right and y down, "xy" in tenths; a point written twice is a corner.
STROKES: Mapping[str, tuple[tuple[str, ...], ...]] = MappingProxyType(
    {
        "0": (("50 21 13 16 29 50 79 87 84 71 50",),),
        "1": (("50 50 59 59",), ("33 50 50 5A 5A",), ("33 50 50 5A 5A", "2A 2A 8A 8A")),
        "2": (("23 41 70 83 65 2A 2A 9A 9A",), ("23 51 82 75 38 2A 28 57 9A",)),
        "3": (("21 50 82 74 45 45 76 88 5A 19",), ("21 21 80 80 44 44 86 78 4A 19",)),
        "4": (("60 60 16 16 96 96", "60 60 6A 6A"), ("20 20 25 25 85", "80 80 8A 8A")),
        "5": (("80 80 20 20 25 25 64 87 69 4A 19",),),
        "6": (("70 32 17 39 6A 88 66 35 17",),),
        "7": (("10 10 80 80 4A 4A",), ("10 10 80 80 4A 4A", "35 35 75 75")),
        "8": (("50 22 24 55 87 69 5A 29 17 45 73 81 50",),),
        "9": (("82 50 21 24 45 74 82 82 79 5A",), ("82 50 21 24 45 74 82 82 7A 7A",)),
        "A": (("0A 0A 50 50 9A 9A", "26 26 76 76"),),
        "C": (("82 60 31 15 29 6A 88",),),
        "E": (("80 80 20 20 2A 2A 8A 8A", "25 25 65 65"),),
        "H": (("10 10 1A 1A", "90 90 9A 9A", "15 15 95 95"),),
        "K": (("20 20 2A 2A", "80 80 25 25 8A 8A"),),
        "L": (("20 20 2A 2A 8A 8A",),),
        "N": (("1A 1A 10 10 9A 9A 90 90",),),
        "S": (("81 50 22 34 65 87 6A 3A 18",),),
        "T": (("10 10 90 90", "50 50 5A 5A"),),
        "V": (("10 10 5A 5A 90 90",),),
        "X": (("10 10 9A 9A", "90 90 1A 1A"),),
        "Z": (("10 10 90 90 1A 1A 9A 9A",),),
    }
)


# --- geometry ---


def _star(points: int, inner: float) -> FloatArray:
    angle = np.arange(2 * points) * np.pi / points - np.pi / 2
    radius = np.where(np.arange(2 * points) % 2 == 0, 1.0, inner)
    return np.stack([np.cos(angle), np.sin(angle)], 1) * radius[:, None]


def _ngon(corners: int, start: float) -> FloatArray:
    angle = np.arange(corners) * 2 * np.pi / corners + start
    return np.stack([np.cos(angle), np.sin(angle)], 1)


def _heart() -> FloatArray:
    t = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    y = 13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)
    return np.stack([np.sin(t) ** 3, -y / 16], 1)


def _crescent() -> FloatArray:
    outer = np.linspace(0.25 * np.pi, 1.75 * np.pi, 24)
    inner = np.linspace(1.66 * np.pi, 0.34 * np.pi, 24)
    hollow = np.stack([0.45 + 0.75 * np.cos(inner), 0.75 * np.sin(inner)], 1)
    return np.concatenate([np.stack([np.cos(outer), np.sin(outer)], 1), hollow])


def _points(text: str) -> FloatArray:
    return np.array([[int(pair[0], 16), int(pair[1], 16)] for pair in text.split()], np.float64) / 10.0


POLYGONS: Mapping[str, FloatArray] = MappingProxyType(
    {
        "circle": _ngon(40, 0.0),
        "square": _ngon(4, np.pi / 4),
        "triangle": _ngon(3, -np.pi / 2),
        "star": _star(5, 0.42),
        "cross": np.array(
            [
                (-3, -9),
                (3, -9),
                (3, -3),
                (9, -3),
                (9, 3),
                (3, 3),
                (3, 9),
                (-3, 9),
                (-3, 3),
                (-9, 3),
                (-9, -3),
                (-3, -3),
            ]
        )
        / 9.0,
        "crescent": _crescent(),
        "pentagon": _ngon(5, -np.pi / 2),
        "arrow": np.array([(-9, -3), (1, -3), (1, -8), (10, 0), (1, 8), (1, 3), (-9, 3)]) / 10.0,
        "heart": _heart(),
        "ring": _ngon(40, 0.0),
    }
)


def _affine(
    rng: np.random.Generator, size: float, spread: float, turn: float, shear: float
) -> tuple[FloatArray, FloatArray]:
    """A random 2x2 matrix and offset (canvas pixels) for points in the unit circle; `turn` is in degrees."""
    angle = np.deg2rad(rng.uniform(-turn, turn))
    scale = size * _CANVAS * rng.uniform(0.8, 1.2) * rng.uniform(0.9, 1.1, 2)
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    slant = np.array([[1.0, rng.uniform(-shear, shear)], [0.0, 1.0]])
    offset = _CANVAS * (0.5 + rng.uniform(-spread, spread, 2))
    return rotation @ slant @ np.diag(scale), offset


def _spline(points: FloatArray) -> FloatArray:
    """A Catmull-Rom curve through the points, five samples per span."""
    padded = np.concatenate([points[:1], points, points[-1:]])
    t = np.linspace(0, 1, 5, endpoint=False)[None, :, None]
    p0, p1, p2, p3 = (padded[i : len(padded) - 3 + i][:, None, :] for i in range(4))
    curve = 0.5 * (2 * p1 + (p2 - p0) * t + (2 * p0 - 5 * p1 + 4 * p2 - p3) * t**2 + (3 * p1 - p0 - 3 * p2 + p3) * t**3)
    return np.concatenate([curve.reshape(-1, 2), points[-1:]])


def _stroke(draw: ImageDraw.ImageDraw, points: FloatArray, width: float) -> None:
    flat = [(float(x), float(y)) for x, y in points]
    draw.line(flat, fill=255, width=max(1, round(width)), joint="curve")
    for x, y in (flat[0], flat[-1]):
        draw.ellipse((x - width / 2, y - width / 2, x + width / 2, y + width / 2), fill=255)


# --- masks: what is drawn, as float64 (32, 32) in 0..1 ---


def _mask(canvas: Image.Image, coarse: int = 0) -> FloatArray:
    """Average the canvas down to 32x32, by way of `coarse` pixels a side if that is not 0."""
    if coarse:
        small = canvas.resize((coarse, coarse), Image.Resampling.BOX)
        canvas = small.resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    else:
        canvas = canvas.resize((SIDE, SIDE), Image.Resampling.BOX)
    return np.asarray(canvas, np.float64) / 255.0


def shape_mask(rng: np.random.Generator, name: str, size: float, turn: float, outline: float = 0.0) -> FloatArray:
    """A shape of radius `size` (share of the picture), turned by up to `turn` degrees; `outline`: a width."""
    matrix, offset = _affine(rng, size, 0.5 - min(size * 1.25, 0.45), turn, 0.15)
    points = POLYGONS[name] @ matrix.T + offset
    canvas = Image.new("L", (_CANVAS, _CANVAS), 0)
    draw = ImageDraw.Draw(canvas)
    rings = [points] if name != "ring" else [points, (points - offset) * 0.55 + offset]
    if outline:
        for ring in rings:
            _stroke(draw, np.concatenate([ring, ring[:1]]), outline)
    else:
        for fill, ring in zip((255, 0), rings, strict=False):
            draw.polygon([(float(x), float(y)) for x, y in ring], fill=fill)
    return _mask(canvas)


def pen_mask(rng: np.random.Generator, character: str, wobble: float, turn: float, coarse: int) -> FloatArray:
    """A character drawn with strokes whose points are moved by `wobble` (standard deviation, unit box)."""
    forms = STROKES[character]
    form = forms[int(rng.integers(len(forms)))]
    matrix, offset = _affine(rng, 0.4, 0.05, turn, 0.3)
    matrix = matrix @ np.diag([rng.uniform(0.6, 0.95), 1.0])
    width = rng.uniform(6, 14)
    canvas = Image.new("L", (_CANVAS, _CANVAS), 0)
    draw = ImageDraw.Draw(canvas)
    for text in form:
        points = _points(text)
        # A corner is one point written twice: both copies must move alike.
        same = np.concatenate([[0], np.cumsum((np.diff(points, axis=0) != 0).any(1))])
        points = points + rng.normal(0, wobble, (len(points), 2))[same]
        _stroke(draw, _spline(2 * points - 1) @ matrix.T + offset, width)
    return _mask(canvas, coarse)


def print_mask(rng: np.random.Generator, character: str, turn: float, coarse: int) -> FloatArray:
    """A character set in Pillow's bundled typeface, in random weight, slant and width."""
    canvas = Image.new("L", (_CANVAS, _CANVAS), 0)
    middle = _CANVAS / 2
    weight = int(rng.integers(0, 5))
    ImageDraw.Draw(canvas).text((middle, middle), character, 255, _font(), anchor="mm", stroke_width=weight)
    matrix, offset = _affine(rng, 1.0 / _CANVAS, 0.06, turn, 0.25)
    back = np.linalg.inv(matrix)
    shift = middle - back @ offset
    data = (back[0, 0], back[0, 1], shift[0], back[1, 0], back[1, 1], shift[1])
    return _mask(canvas.transform((_CANVAS, _CANVAS), Image.Transform.AFFINE, data, Image.Resampling.BILINEAR), coarse)


@cache
def _font() -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(92)
    if not isinstance(font, ImageFont.FreeTypeFont):
        raise RuntimeError("this build of Pillow has no FreeType, so characters cannot be printed")
    return font
