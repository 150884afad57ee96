import csv
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from edgeskin.data.check import check
from edgeskin.data.duplicates import THRESHOLD, DuplicatePair, Print, exact_duplicates, near_duplicates, thumbnail

Pixels = npt.NDArray[np.uint8]
Draw = Callable[[int], Pixels]


def recoloured(pixels: Pixels) -> Pixels:
    """A colour cast, a gamma, and a light from the left: what separates the copies in ISIC 2017."""
    light = np.linspace(1.0, 0.7, pixels.shape[1])[None, :, None]
    return (255 * (pixels / 255 * np.array([0.8, 0.9, 1.0]) * light) ** 1.3).astype(np.uint8)


def cropped(pixels: Pixels) -> Pixels:
    return np.asarray(cv2.resize(pixels[4:-2, 3:-1], pixels.shape[1::-1], interpolation=cv2.INTER_AREA))


def unsquashed(pixels: Pixels) -> Pixels:
    """The centre crop of the 4:3 photo whose squashed copy `pixels` is."""
    return np.asarray(cv2.resize(pixels[:, 12:-12], pixels.shape[1::-1], interpolation=cv2.INTER_LINEAR))


def fingerprint(name: str, split: str, pixels: Pixels) -> Print:
    return Print(name, split, f"file of {name}", str(hash(pixels.tobytes())), thumbnail(pixels))


def collection(lesion: Draw, *others: Print) -> list[Print]:
    """Thirty different lesions of train, and what is to be found among them."""
    return [fingerprint(f"train_{seed}", "train", lesion(seed)) for seed in range(30)] + list(others)


CHANGES: dict[str, Callable[[Pixels], Pixels]] = {
    "recoloured": recoloured,
    "cropped": lambda pixels: cropped(recoloured(pixels)),
    "squash undone": lambda pixels: unsquashed(recoloured(pixels)),
    **{
        f"turned {turn * 90}°{' and mirrored' if mirror else ''}": lambda pixels, turn=turn, mirror=mirror: recoloured(
            np.rot90(pixels[:, ::-1] if mirror else pixels, turn)
        )
        for turn in range(4)
        for mirror in (False, True)
        if turn or mirror
    },
}


def test_only_the_images_of_one_split_are_looked_for_where_one_is_given(lesion: Draw) -> None:
    mine = fingerprint("mine", "judged", recoloured(lesion(7)))
    of_others = fingerprint("theirs", "extra", cropped(recoloured(lesion(3))))
    prints = collection(lesion, mine, of_others)
    found = {(pair.first, pair.second) for pair in near_duplicates(prints, split="judged")}
    assert found == {("mine", "train_7")}
    assert {(pair.first, pair.second) for pair in near_duplicates(prints)} == found | {("theirs", "train_3")}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_a_copy_in_another_split_is_found_however_it_was_changed(
    lesion: Draw, change: Callable[[Pixels], Pixels]
) -> None:
    copy = fingerprint("copy", "test", change(lesion(7)))
    stranger = fingerprint("stranger", "test", recoloured(lesion(100)))
    pairs = near_duplicates(collection(lesion, copy, stranger))
    assert [(pair.first, pair.second, pair.first_split, pair.likeness) for pair in pairs] == [
        ("copy", "train_7", "test", "photograph")
    ]
    assert THRESHOLD <= pairs[0].correlation <= 1


def test_different_lesions_are_not_called_copies(lesion: Draw) -> None:
    strangers = [fingerprint(f"test_{seed}", "test", lesion(seed)) for seed in range(100, 130)]
    assert near_duplicates(collection(lesion, *strangers)) == ()


def test_copies_within_a_split_are_not_looked_for(lesion: Draw) -> None:
    assert near_duplicates(collection(lesion, fingerprint("copy", "train", recoloured(lesion(7))))) == ()


def test_flat_pictures_resemble_nothing() -> None:
    flat = [
        fingerprint(str(tone), "train" if tone < 3 else "val", np.full((64, 64, 3), tone * 40, np.uint8))
        for tone in range(6)
    ]
    assert near_duplicates(flat) == ()


def test_equal_pixels_are_found_within_and_across_splits_and_are_no_look_alikes() -> None:
    blank = np.zeros((64, 64), np.float32)
    prints = [
        Print("a", "train", "file 1", "pixels 1", blank),
        Print("b", "test", "file 2", "pixels 1", blank),
        Print("c", "test", "file 2", "pixels 1", blank),
        Print("d", "", "file 3", "pixels 2", blank),
    ]
    assert exact_duplicates(prints) == (
        DuplicatePair("a", "train", "b", "test", "pixels", 1.0),
        DuplicatePair("a", "train", "c", "test", "pixels", 1.0),
        DuplicatePair("b", "test", "c", "test", "file", 1.0),
    )
    assert [pair.crosses_splits for pair in exact_duplicates(prints)] == [True, True, False]
    assert near_duplicates(prints) == ()


def test_progress_reaches_the_end_of_each_stage(lesion: Draw) -> None:
    seen: dict[str, tuple[int, int]] = {}
    near_duplicates(
        collection(lesion, fingerprint("copy", "test", lesion(7))),
        lambda stage, done, total: seen.update({stage: (done, total)}),
    )
    assert len(seen) == 2
    assert all(done == total > 0 for done, total in seen.values())


@pytest.mark.data
@pytest.mark.slow
def test_all_published_pairs_of_isic_2017_are_found(isic2017: Path) -> None:
    with (isic2017 / "near_duplicates.csv").open(newline="") as stream:
        published = {frozenset((row["image_a"], row["image_b"])) for row in csv.DictReader(stream)}
    assert len(published) == 22
    report = check(isic2017)
    assert report.ok
    found = {frozenset((pair.first, pair.second)) for pair in report.duplicates}
    assert published <= found
    # 14 further pairs across splits, each looked at and found to be the same photograph; no false alarm.
    assert len(found) == 36
