import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import roc_auc_score

from edgeskin.data.cases import Case, read_cases, read_mask
from edgeskin.data.symmetry import hold_out_voted, mask_asymmetry, with_mask_symmetry
from edgeskin.errors import DataError

ROWS, COLUMNS = np.mgrid[0:300, 0:300]


def disc(row: float = 150.0, column: float = 150.0, radius: float = 90.0) -> np.ndarray:
    return np.hypot(ROWS - row, COLUMNS - column) <= radius


def ell() -> np.ndarray:
    """Three squares of 60 pixels."""
    mask = np.zeros((300, 300), bool)
    mask[60:180, 60:180] = True
    mask[60:120, 120:180] = False
    return mask


@pytest.mark.parametrize(
    ("mask", "expected"),
    [
        (disc(), 0.0),
        ((np.abs(ROWS - 150) < 40) & (np.abs(COLUMNS - 140) < 100), 0.0),
        # Half a disc of radius 1: about its axis nothing is left over. The other axis is parallel to the diameter, at
        # d = 4 / 3π; what lies above it is half of the overlap, ∫ 2√(1 − y²) dy from d to 2d = 0.640, of an area of
        # π/2: 1 − 1.280 / 1.571 = 0.185. Mean: 0.093.
        (disc() & (ROWS >= 150), 0.0926),
        # An L of three unit squares is a mirror image about its diagonal. About the other axis, through its centroid
        # (5/6, 5/6), the overlap is (5/3)² − 2 · (2/3)² = 17/9 of 3: 1 − 17/27 = 10/27. Mean: 5/27.
        (ell(), 5 / 27),
    ],
)
def test_asymmetry_by_hand(mask: np.ndarray, expected: float) -> None:
    assert mask_asymmetry(mask) == pytest.approx(expected, abs=0.01)  # the raster: 1 pixel of about 100


def test_an_empty_mask_is_symmetric_and_a_single_pixel_too() -> None:
    assert mask_asymmetry(np.zeros((40, 40), bool)) == 0
    one = np.zeros((40, 40), bool)
    one[3, 5] = True
    assert mask_asymmetry(one) == 0


def test_turning_and_mirroring_changes_nothing() -> None:
    random = np.random.default_rng(0)
    mask = disc(120, 130, 60) | disc(*random.uniform(90, 200, 2), 50)
    for copy in (np.rot90(mask), mask[::-1], mask.T):
        assert mask_asymmetry(copy) == pytest.approx(mask_asymmetry(mask), abs=0.005)


def test_a_lesion_at_the_edge_of_the_frame_folds_onto_skin() -> None:
    cut = (disc() & (ROWS >= 150))[150:]
    assert mask_asymmetry(cut) == pytest.approx(mask_asymmetry(disc() & (ROWS >= 150)))


def test_the_outline_becomes_a_column(tmp_path: Path) -> None:
    cases = []
    for name, mask in (("disc", disc()), ("ell", ell())):
        Image.fromarray(np.zeros((300, 300, 3), np.uint8)).save(tmp_path / f"{name}.png")
        Image.fromarray(mask).save(tmp_path / f"{name}_mask.png")
        cases.append(Case(name, tmp_path / f"{name}.png", tmp_path / f"{name}_mask.png", "train", None, {}))
    cases.append(Case("bare", tmp_path / "disc.png", None, "train", None, {}))
    assert [case.value("mask_symmetry") for case in with_mask_symmetry(cases)] == ["symmetric", "asymmetric", ""]


def test_a_mask_is_measured_once_until_its_file_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.fromarray(np.zeros((300, 300, 3), np.uint8)).save(tmp_path / "a.png")
    mask, read = tmp_path / "a_mask.png", []
    Image.fromarray(disc()).save(mask)
    case = Case("a", tmp_path / "a.png", mask, "train", None, {})
    monkeypatch.setattr("edgeskin.data.symmetry.read_mask", lambda case: read.append(case) or read_mask(case))
    for seen in (case, replace(case, split="", group="g", labels={"age": "50"})):
        (noted,) = with_mask_symmetry([seen])
        assert noted.labels == {**seen.labels, "mask_symmetry": "symmetric"}
    assert len(read) == 1
    Image.fromarray(ell()).save(mask)
    os.utime(mask, ns=(0, mask.stat().st_mtime_ns + 1))
    assert with_mask_symmetry([case])[0].labels["mask_symmetry"] == "asymmetric"
    mask.unlink()
    with pytest.raises(DataError, match=r"a_mask\.png: the mask or its image is unreadable"):
        with_mask_symmetry([case])


def table(folder: Path, *rows: str) -> Path:
    (folder / "images").mkdir(exist_ok=True)
    for row in rows:
        Image.new("RGB", (40, 40)).save(folder / "images" / f"{row.partition(',')[0]}.png")
    header = "image_id,split,asym_crowd_median,asym_student_median"
    (folder / "labels.csv").write_text("\n".join([header, *rows]) + "\n")
    return folder


def test_the_crowd_votes_before_the_students_and_two_or_more_is_asymmetric(tmp_path: Path) -> None:
    folder = table(tmp_path, "a,train,2.0,0.0", "b,train,1.0,5.0", "c,train,,3.0", "d,train,,0.0", "e,test,,")
    cases = read_cases(folder)
    assert cases.column("symmetry") == ("asymmetric", "symmetric", "asymmetric", "symmetric", "")


def test_a_vote_that_is_no_number_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"labels\.csv: the median vote on asymmetry is 'many'"):
        read_cases(table(tmp_path, "a,train,many,"))


def test_a_fifth_of_the_voted_is_held_out_with_their_groups() -> None:
    words = ("symmetric", "symmetric", "asymmetric", "")
    cases = [
        Case(
            f"c{n:03}", Path("unread.png"), None, "train", f"g{n // 4}" if n < 80 else None, {"symmetry": words[n % 4]}
        )
        for n in range(200)
    ]
    rest, held = hold_out_voted(cases, seed=3)
    assert 27 <= len(held) <= 30  # a fifth of 150 voted cases; groups of three may not fill the last places
    assert all(case.labels["symmetry"] for case in held)
    assert not {case.image_id for case in rest} & {case.image_id for case in held}
    assert not {case.group for case in rest} & {case.group for case in held} - {None}
    assert hold_out_voted(cases[::-1], seed=3)[1] == held
    assert hold_out_voted(cases, seed=4)[1] != held


@pytest.mark.data
def test_the_outline_agrees_with_the_votes_better_than_chance(isic2017: Path) -> None:
    voted = [case for case in read_cases(isic2017).split("train") if case.value("symmetry")][::6]
    found = [mask_asymmetry(read_mask(case)) for case in voted if case.mask]
    word = [case.value("symmetry") == "asymmetric" for case in voted if case.mask]
    # 0.70 on all 1834; on 300 of them the AUROC has a standard deviation of about 0.035.
    assert 0.6 < roc_auc_score(word, found) < 0.8


@pytest.mark.data
def test_every_vote_is_in_train(isic2017: Path) -> None:
    cases = read_cases(isic2017)
    assert {case.split for case in cases.cases if case.value("symmetry")} == {"train"}
    rest, held = hold_out_voted(cases.split("train"), seed=1)
    assert len(held) == 367  # a fifth of 1834
    assert len(rest) == 2000 - 367
