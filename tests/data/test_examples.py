"""Images of any mode become RGB; digests follow contents."""

from __future__ import annotations

import warnings
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from prt_bench.data.examples import ArrayExamples, FileExamples, open_rgb, to_rgb
from prt_bench.errors import RequestError

RAMP = np.arange(64, dtype=np.uint8).reshape(8, 8) * 4


def saved(folder: Path, image: Image.Image, name: str, **options: Any) -> Path:
    path = folder / name
    image.save(path, **options)
    return path


def test_16_bit_grey_keeps_its_range(tmp_path: Path) -> None:
    values = (np.arange(64, dtype=np.uint16) * 1040).reshape(8, 8)
    path = saved(tmp_path, Image.fromarray(values), "deep.png")
    shown = np.asarray(open_rgb(path)).astype(int)
    assert shown.shape == (8, 8, 3)
    assert abs(shown[..., 0] - values / 257).max() <= 1
    assert shown.max() > 250


def test_a_palette_with_transparency_lies_on_black(tmp_path: Path) -> None:
    image = Image.fromarray(np.array([[0, 1], [1, 0]], dtype=np.uint8), mode=None).convert("P")
    image.putpalette([255, 0, 0, 0, 255, 0])
    path = saved(tmp_path, image, "palette.png", transparency=1)
    shown = np.asarray(open_rgb(path))
    assert shown[0, 0].tolist() == [255, 0, 0]
    assert shown[0, 1].tolist() == [0, 0, 0]


def test_half_transparent_pixels_are_darkened(tmp_path: Path) -> None:
    path = saved(tmp_path, Image.new("RGBA", (2, 2), (200, 100, 50, 128)), "half.png")
    assert np.asarray(open_rgb(path))[0, 0].tolist() == pytest.approx([100, 50, 25], abs=1)


def test_a_cmyk_jpeg_shows_its_colours(tmp_path: Path) -> None:
    path = saved(tmp_path, Image.new("CMYK", (16, 16), (0, 255, 255, 0)), "print.jpg")
    red, green, blue = np.asarray(open_rgb(path))[8, 8].tolist()
    assert red > 200
    assert max(green, blue) < 50


@pytest.mark.parametrize("mode", ["L", "1", "LA", "RGB", "RGBA", "P", "I", "F", "CMYK", "YCbCr", "HSV", "LAB"])
def test_every_mode_becomes_rgb_of_the_same_size(mode: str) -> None:
    grey = Image.fromarray(RAMP)
    image = grey.convert("RGB").convert(mode) if mode not in {"LAB"} else Image.new("LAB", (8, 8))
    shown = to_rgb(image)
    assert (shown.mode, shown.size) == ("RGB", (8, 8))


def test_grey_is_three_equal_channels(tmp_path: Path) -> None:
    shown = np.asarray(open_rgb(saved(tmp_path, Image.fromarray(RAMP), "grey.png")))
    assert (shown == RAMP[..., None]).all()


def test_of_an_animation_the_first_frame_counts(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (4, 4), colour) for colour in ((255, 0, 0), (0, 0, 255))]
    path = saved(tmp_path, frames[0], "moves.gif", save_all=True, append_images=frames[1:])
    assert np.asarray(open_rgb(path))[0, 0].tolist() == [255, 0, 0]


def encoded(kind: str) -> bytes:
    out = BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (24, 24, 3), dtype=np.uint8)).save(out, kind)
    return out.getvalue()


ENCODED = {kind: encoded(kind) for kind in ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM")}


@settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    kind=st.sampled_from(sorted(ENCODED)),
    changes=st.lists(st.tuples(st.integers(0, 4000), st.integers(0, 255)), max_size=5),
    keep=st.integers(0, 4000),
)
def test_a_damaged_file_is_decoded_or_named(
    tmp_path: Path, kind: str, changes: list[tuple[int, int]], keep: int
) -> None:
    content = bytearray(ENCODED[kind])
    for place, value in changes:
        content[place % len(content)] = value
    path = tmp_path / f"image.{kind.lower()}"
    path.write_bytes(content[: keep or None])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            said = ""
            assert open_rgb(path).mode == "RGB"
        except RequestError as error:
            said = str(error)
    assert not said or said.startswith(f"{path}: cannot be decoded: ")


def test_a_picture_too_large_to_hold_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(tmp_path, Image.new("L", (100, 100)), "bomb.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(RequestError, match=r"bomb\.png: cannot be decoded: .*decompression bomb"):
        open_rgb(path)


def arrays(values: int = 0) -> ArrayExamples:
    pixels = np.arange(4 * 6, dtype=np.uint8).reshape(4, 2, 3) + np.uint8(values)
    return ArrayExamples(pixels, np.array([0, 1, 0, 1]), list("abcd"))


def test_a_digest_follows_pixels_labels_and_order() -> None:
    same, base = arrays(), arrays()
    assert same.sha256 == base.sha256
    others = [arrays(1), base.relabelled(np.array([1, 1, 0, 1])), base.subset([0, 1, 2]), base.subset([1, 0, 2, 3])]
    assert len({base.sha256, *(other.sha256 for other in others)}) == 5


def test_a_subset_keeps_images_with_their_labels_and_names() -> None:
    part = arrays().subset([3, 0])
    assert (part.ids, part.labels.tolist(), len(part)) == (["d", "a"], [1, 0], 2)
    assert np.array_equal(np.asarray(part.image(0)), np.asarray(arrays().image(3)))


def test_files_are_the_same_under_any_folder(tmp_path: Path) -> None:
    """The digest is of contents, so that two people with the same data get the same one."""
    labels = np.array([0, 1])
    here, there = (
        FileExamples([tmp_path / name / "x.png", tmp_path / name / "y.png"], ["x.png", "y.png"], ["d1", "d2"], labels)
        for name in "ab"
    )
    assert here.sha256 == there.sha256
    assert here.subset([1]).sha256 == there.subset([1]).sha256 != here.subset([0]).sha256
    assert here.relabelled(np.array([1, 1])).sha256 != here.sha256
