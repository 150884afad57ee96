"""Prints find other copies of the images that they are of, and no others."""

import csv
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from edgeskin.data import fingerprint
from edgeskin.data.cases import read_cases
from edgeskin.data.duplicates import thumbnail
from edgeskin.errors import GraphError

Pixels = npt.NDArray[np.uint8]
Draw = Callable[[int], Pixels]


def recoloured(pixels: Pixels) -> Pixels:
    return (255 * (pixels / 255 * np.array([0.8, 0.9, 1.0])) ** 1.3).astype(np.uint8)


CHANGES: dict[str, Callable[[Pixels], Pixels]] = {
    "the same": lambda pixels: pixels,
    "recoloured": recoloured,
    "grey": lambda pixels: np.repeat(pixels.mean(axis=2, keepdims=True), 3, axis=2).astype(np.uint8),
    "mirrored": lambda pixels: recoloured(pixels[:, ::-1]),
    "turned": lambda pixels: recoloured(np.rot90(pixels)),
    "turned and mirrored": lambda pixels: recoloured(np.rot90(pixels[:, ::-1], 3)),
    "smaller": lambda pixels: np.asarray(cv2.resize(pixels, (50, 50), interpolation=cv2.INTER_AREA)),
    "larger, of another shape": lambda pixels: np.asarray(cv2.resize(pixels, (400, 300))),
    "cropped": lambda pixels: pixels[3:-2, 2:-3],
    "compressed": lambda pixels: cv2.imdecode(cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, 30])[1], 1),
}


@pytest.mark.parametrize("change", CHANGES)
def test_each_copy_is_found_and_nothing_else(lesion: Draw, change: str) -> None:
    prints = np.stack([fingerprint.of(thumbnail(lesion(seed))) for seed in range(40)])
    shown = [CHANGES[change](lesion(seed)) for seed in range(30, 60)]
    found = fingerprint.copies([thumbnail(one) for one in shown], prints)
    assert found == tuple(range(10)), "30 to 39 are kept, 40 to 59 are not"


def test_a_flat_image_is_a_copy_of_no_lesion_and_no_lesion_of_it(lesion: Draw) -> None:
    flat = thumbnail(np.full((96, 96, 3), 180, np.uint8))
    lesions = [thumbnail(lesion(seed)) for seed in range(30)]
    assert fingerprint.copies([flat], np.stack([fingerprint.of(one) for one in lesions])) == ()
    assert fingerprint.copies(lesions, fingerprint.of(flat)[None]) == ()


def test_the_file_is_in_the_order_of_the_ids_and_of_one_kind(phantom_data: Path, tmp_path: Path) -> None:
    cases = read_cases(phantom_data).split("val")
    for name, given in (("a.npy", cases), ("b.npy", cases[::-1])):
        fingerprint.write(tmp_path / name, given)
    assert (tmp_path / "a.npy").read_bytes() == (tmp_path / "b.npy").read_bytes()
    assert len(fingerprint.read(tmp_path / "a.npy", 9)) == 9
    with pytest.raises(GraphError, match=r"a\.npy: is not uint8 of the shape \(8, 98\)"):
        fingerprint.read(tmp_path / "a.npy", 8)


@pytest.mark.data
def test_the_listed_pairs_of_isic_2017_are_found_whichever_is_kept(isic2017: Path) -> None:
    with (isic2017 / "near_duplicates.csv").open() as stream:
        pairs = [(row["image_a"], row["image_b"]) for row in csv.DictReader(stream)]
    small = {
        name: thumbnail(cv2.imread(str(isic2017 / "images" / f"{name}.jpg"))[..., ::-1])
        for pair in pairs
        for name in pair
    }
    for kept, shown in (*pairs, *((b, a) for a, b in pairs)):
        # Among the prints of all others but its own.
        prints = np.stack([fingerprint.of(small[kept]), *(fingerprint.of(small[one]) for one in small if one != shown)])
        assert fingerprint.copies([small[shown]], prints) == (0,), (kept, shown)
    assert len(pairs) == 22
