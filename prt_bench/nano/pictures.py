"""Procedural pictures: two captioned pretraining corpora and four classification domains.

Everything is drawn from numpy generators with PIL, at 32x32 RGB, so the same name, split, count and seed give
the same bytes (for one version of Pillow, whose bundled font prints the characters).

The corpora differ on purpose. Corpus *a* shows filled shapes and characters printed in a typeface; corpus *b*
shows characters drawn with a pen and textures as well, on other backgrounds and in other words. Neither shows
the outline of a shape: the `outlines` domain is foreign to both.
"""

import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from prt_bench.nano.drawing import SIDE, FloatArray, pen_mask, print_mask, shape_mask

UInt8Array = NDArray[np.uint8]
Int64Array = NDArray[np.int64]

SPLITS = ("train", "validation", "test")

DIGIT_NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
LETTERS = "ACEHKLNSTVXZ"
SHAPE_NAMES = (
    "circle",
    "square",
    "triangle",
    "star",
    "cross",
    "crescent",
    "pentagon",
    "arrow",
    "heart",
    "ring",
)
TEXTURE_NAMES = (
    "horizontal stripes",
    "vertical stripes",
    "diagonal stripes",
    "checkerboard",
    "dots",
    "grid",
    "rings",
    "noise",
)
COLOURS: Mapping[str, tuple[int, int, int]] = MappingProxyType(
    {
        "red": (210, 40, 40),
        "green": (40, 170, 60),
        "blue": (50, 80, 220),
        "yellow": (230, 210, 50),
        "purple": (150, 60, 190),
        "orange": (240, 140, 30),
        "white": (245, 245, 245),
        "black": (15, 15, 15),
    }
)


@dataclass(frozen=True)
class Domain:
    """One procedural classification task: class names in label order."""

    classes: tuple[str, ...]
    summary: str
    draw: Callable[[np.random.Generator, int], UInt8Array]


# --- colour ---


def _resample(small: FloatArray, how: Image.Resampling) -> FloatArray:
    planes = [np.asarray(Image.fromarray(small[..., i].astype(np.float32)).resize((SIDE, SIDE), how)) for i in range(3)]
    return np.stack(planes, -1).astype(np.float64)


def _ground(rng: np.random.Generator, colour: FloatArray, kind: str) -> FloatArray:
    """A background (32, 32, 3) around a colour: plain, a gradient, blobs or patches."""
    field: FloatArray = np.broadcast_to(colour, (SIDE, SIDE, 3))
    if kind == "gradient":
        ramp = np.linspace(-1, 1, SIDE) * rng.uniform(10, 60) * rng.choice((-1, 1))
        field = field + (ramp[:, None, None] if rng.random() < 0.5 else ramp[None, :, None])
    elif kind == "blobs":
        field = field + _resample(rng.normal(0, 35, (5, 5, 3)), Image.Resampling.BICUBIC)
    elif kind == "patches":
        field = field + _resample(rng.normal(0, 25, (4, 4, 3)), Image.Resampling.NEAREST)
    return field


def _jitter(rng: np.random.Generator, colour: str) -> FloatArray:
    return np.clip(np.array(COLOURS[colour], np.float64) + rng.normal(0, 18, 3), 0, 255)


def _paint(rng: np.random.Generator, mask: FloatArray, ink: FloatArray, ground: FloatArray, noise: float) -> UInt8Array:
    """Lay ink over the ground where the mask is, add pixel noise (standard deviation in grey levels)."""
    picture = ground + (ink - ground) * mask[..., None]
    if noise:
        picture = picture + rng.normal(0, noise, picture.shape)
    return np.clip(np.rint(picture), 0, 255).astype(np.uint8)


def _two_colours(rng: np.random.Generator) -> tuple[str, str]:
    first, second = rng.choice(len(COLOURS), 2, replace=False)
    names = tuple(COLOURS)
    return names[int(first)], names[int(second)]


def _texture(rng: np.random.Generator, name: str, noise: float) -> UInt8Array:
    """A repeating pattern in two colours, period 4 to 9 pixels, any phase."""
    y, x = np.mgrid[0:SIDE, 0:SIDE].astype(np.float64)
    tilt = np.deg2rad(rng.uniform(-12, 12))
    x, y = x * np.cos(tilt) - y * np.sin(tilt), x * np.sin(tilt) + y * np.cos(tilt)
    period = rng.uniform(5, 10)
    a, b = ((v + rng.uniform(0, period)) * 2 * np.pi / period for v in (x, y))
    if name == "horizontal stripes":
        wave = np.sin(b)
    elif name == "vertical stripes":
        wave = np.sin(a)
    elif name == "diagonal stripes":
        wave = np.sin((a + rng.choice((-1, 1)) * b) / np.sqrt(2))
    elif name == "checkerboard":
        wave = np.sin(a) * np.sin(b) * 2
    elif name == "dots":
        wave = np.cos(a) + np.cos(b) - 0.8
    elif name == "grid":
        wave = np.maximum(np.cos(a), np.cos(b)) - 0.7
    elif name == "rings":
        cx, cy = rng.uniform(8, 24, 2)
        wave = np.sin(np.hypot(x - cx, y - cy) * 2 * np.pi / period)
    else:
        wave = _resample(rng.normal(0, 1, (12, 12, 3)), Image.Resampling.BICUBIC)[..., 0]
    front, back = _two_colours(rng)
    mask = np.clip(0.5 + 2.0 * wave * rng.choice((-1, 1)), 0, 1)
    return _paint(rng, mask, _jitter(rng, front), np.broadcast_to(_jitter(rng, back), (SIDE, SIDE, 3)), noise)


# --- pretraining corpora ---


def _pick(rng: np.random.Generator, options: tuple[str, ...]) -> str:
    return options[int(rng.integers(len(options)))]


def _ink_and_ground(rng: np.random.Generator, kinds: tuple[str, ...]) -> tuple[str, FloatArray, FloatArray]:
    front, back = _two_colours(rng)
    return front, _jitter(rng, front), _ground(rng, _jitter(rng, back), _pick(rng, kinds))


def _grey_scan(rng: np.random.Generator) -> tuple[FloatArray, FloatArray]:
    """Ink and ground of a scan: light on dark."""
    return np.full(3, rng.uniform(190, 255)), np.full((SIDE, SIDE, 3), rng.uniform(0, 30))


def _corpus_a(rng: np.random.Generator) -> tuple[UInt8Array, str]:
    """Filled shapes and printed characters."""
    kinds = ("plain", "gradient", "blobs")
    if rng.random() < 0.4:
        name = _pick(rng, SHAPE_NAMES)
        colour, ink, ground = _ink_and_ground(rng, kinds)
        mask = shape_mask(rng, name, rng.uniform(0.2, 0.4), 20)
        text = _pick(rng, ("a photo of a {n}.", "a {c} {n}", "a photo of a {c} {n}.", "a {n}"))
        return _paint(rng, mask, ink, ground, rng.uniform(0, 20)), text.format(n=name, c=colour)
    digit = rng.random() < 0.75
    character = str(rng.integers(10)) if digit else LETTERS[int(rng.integers(len(LETTERS)))]
    name = f"number {DIGIT_NAMES[int(character)]}" if digit else f"letter {character}"
    mask = print_mask(rng, character, 15, 8 if rng.random() < 0.5 else 0)
    if rng.random() < 0.5:
        ink, ground = _grey_scan(rng)
        text = _pick(rng, ("a photo of the {n}.", "the {n}"))
        return _paint(rng, mask, ink, ground, rng.uniform(0, 8)), text.format(n=name)
    colour, ink, ground = _ink_and_ground(rng, kinds)
    text = _pick(rng, ("a photo of the {n}.", "the {n} in {c}", "the {n}"))
    return _paint(rng, mask, ink, ground, rng.uniform(0, 20)), text.format(n=name, c=colour)


def _corpus_b(rng: np.random.Generator) -> tuple[UInt8Array, str]:
    """Characters drawn with a pen, textures, and filled shapes."""
    kinds = ("plain", "patches", "blobs")
    part = rng.random()
    if part < 0.2:
        name = _pick(rng, SHAPE_NAMES)
        colour, ink, ground = _ink_and_ground(rng, kinds)
        mask = shape_mask(rng, name, rng.uniform(0.22, 0.4), 30)
        text = _pick(rng, ("a photo of a {n}.", "a picture of a {n}", "a {n} coloured {c}"))
        return _paint(rng, mask, ink, ground, rng.uniform(0, 20)), text.format(n=name, c=colour)
    if part < 0.35:
        name = _pick(rng, TEXTURE_NAMES)
        text = _pick(rng, ("a photo of a pattern of {n}.", "{n}", "a pattern of {n}"))
        return _texture(rng, name, rng.uniform(0, 20)), text.format(n=name)
    digit = rng.random() < 0.6
    character = str(rng.integers(10)) if digit else LETTERS[int(rng.integers(len(LETTERS)))]
    name = f"number {DIGIT_NAMES[int(character)]}" if digit else f"letter {character}"
    mask = pen_mask(rng, character, 0.06, 15, 8 if rng.random() < 0.4 else 0)
    text = _pick(rng, ("a photo of the {n}.", "the {n} drawn with a pen", "a drawing of the {n}"))
    if rng.random() < 0.5:
        ink, ground = _grey_scan(rng)
    else:
        _, ink, ground = _ink_and_ground(rng, kinds)
    return _paint(rng, mask, ink, ground, rng.uniform(0, 12)), text.format(n=name)


_CORPORA: Mapping[str, Callable[[np.random.Generator], tuple[UInt8Array, str]]] = MappingProxyType(
    {"a": _corpus_a, "b": _corpus_b}
)


def pretraining_corpus(name: str, count: int, seed: int) -> tuple[UInt8Array, list[str]]:
    """Draw `count` captioned pictures of corpus "a" or "b": uint8 (count, 32, 32, 3) and one caption each."""
    draw = _CORPORA[name]
    rng = np.random.default_rng([zlib.crc32(f"corpus/{name}".encode()), seed])
    drawn = [draw(rng) for _ in range(count)]
    return np.stack([picture for picture, _ in drawn]), [caption for _, caption in drawn]


# --- domains ---


def _draw_solid(rng: np.random.Generator, label: int) -> UInt8Array:
    _, ink, ground = _ink_and_ground(rng, ("gradient", "blobs", "patches"))
    mask = shape_mask(rng, SHAPE_NAMES[label], rng.uniform(0.18, 0.36), 35)
    return _paint(rng, mask, ink, ground, rng.uniform(5, 25))


def _draw_pen_letter(rng: np.random.Generator, label: int) -> UInt8Array:
    _, ink, ground = _ink_and_ground(rng, ("plain", "gradient", "blobs"))
    return _paint(rng, pen_mask(rng, LETTERS[label], 0.08, 20, 0), ink, ground, rng.uniform(5, 25))


def _draw_texture(rng: np.random.Generator, label: int) -> UInt8Array:
    return _texture(rng, TEXTURE_NAMES[label], rng.uniform(20, 50))


def _draw_outline(rng: np.random.Generator, label: int) -> UInt8Array:
    _, ink, ground = _ink_and_ground(rng, ("plain", "gradient", "blobs"))
    mask = shape_mask(rng, SHAPE_NAMES[label], rng.uniform(0.25, 0.4), 30, rng.uniform(4, 8))
    return _paint(rng, mask, ink, ground, rng.uniform(10, 25))


DOMAINS: Mapping[str, Domain] = MappingProxyType(
    {
        "shapes": Domain(
            SHAPE_NAMES,
            "filled shapes in any colour on busy backgrounds: both corpora show cleaner ones",
            _draw_solid,
        ),
        "letters": Domain(
            tuple(f"letter {letter}" for letter in LETTERS),
            "capital letters drawn with a shaky pen: corpus a shows printed ones, corpus b neater drawings",
            _draw_pen_letter,
        ),
        "textures": Domain(
            TEXTURE_NAMES,
            "noisy repeating patterns: corpus b shows cleaner ones, corpus a none",
            _draw_texture,
        ),
        "outlines": Domain(
            SHAPE_NAMES,
            "outlines of shapes: neither corpus shows an outline",
            _draw_outline,
        ),
    }
)


def domain(name: str, split: str, count: int, seed: int) -> tuple[UInt8Array, Int64Array]:
    """Draw `count` pictures of a domain's split: uint8 (count, 32, 32, 3) and int64 labels (count,).

    Labels are as even as `count` allows, in random order. The same arguments give the same bytes; another
    split is another stream of random numbers, so it shares no picture with this one.
    """
    task = DOMAINS[name]
    if split not in SPLITS:
        raise ValueError(f"split {split!r} is not one of {', '.join(SPLITS)}")
    rng = np.random.default_rng([zlib.crc32(f"domain/{name}".encode()), SPLITS.index(split), seed])
    labels = rng.permutation(np.arange(count, dtype=np.int64) % len(task.classes))
    return np.stack([task.draw(rng, int(label)) for label in labels]), labels
