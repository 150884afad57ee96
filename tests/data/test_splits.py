import random
from collections import Counter
from pathlib import Path

import pytest

from edgeskin.data.cases import Case
from edgeskin.data.splits import carve_select, largest_remainder
from edgeskin.errors import DataError


def case(number: int, diagnosis: str, group: str | None = None) -> Case:
    return Case(f"case_{number:04}", Path("unread.jpg"), None, "train", group, {"diagnosis": diagnosis})


TRAIN = [case(number, "nevus" if number < 686 else "melanoma" if number < 873 else "sk") for number in range(1000)]
"""The class shares of ISIC 2017 train, 1372 : 374 : 254, halved."""


def ids(cases: tuple[Case, ...]) -> list[str]:
    return [case.image_id for case in cases]


def test_every_class_keeps_its_share() -> None:
    _, select = carve_select(TRAIN, 100, seed=1, stratify="diagnosis")
    # 68.6, 18.7, 12.7: whole parts 68, 18, 12; the two missing go to the largest remainders, 0.7 and 0.7.
    assert Counter(case.labels["diagnosis"] for case in select) == {"nevus": 68, "melanoma": 19, "sk": 13}


def test_nothing_is_lost_or_on_both_sides() -> None:
    train, select = carve_select(TRAIN, 100, seed=1, stratify="diagnosis")
    assert not set(ids(train)) & set(ids(select))
    assert sorted(ids(train) + ids(select)) == [case.image_id for case in TRAIN]


def test_the_draw_depends_on_the_seed_but_not_on_the_order() -> None:
    shuffled = random.Random(3).sample(TRAIN, len(TRAIN))
    first = carve_select(TRAIN, 100, seed=1, stratify="diagnosis")
    assert carve_select(shuffled, 100, seed=1, stratify="diagnosis") == first
    assert ids(carve_select(TRAIN, 100, seed=2, stratify="diagnosis")[1]) != ids(first[1])


def test_a_case_left_out_changes_little_of_the_draw() -> None:
    _, before = carve_select(TRAIN, 100, seed=1, stratify="diagnosis")
    _, after = carve_select(TRAIN[1:], 100, seed=1, stratify="diagnosis")
    assert len(set(ids(before)) ^ set(ids(after))) <= 4


def test_lesions_stay_whole() -> None:
    # Groups of 1 to 4 images, as in HAM10000 (10015 images of 7470 lesions).
    grouped, number = [], 0
    for lesion in range(200):
        for _ in range(1 + lesion % 4):
            grouped.append(case(number, "nevus" if lesion % 3 else "melanoma", f"lesion_{lesion}"))
            number += 1
    train, select = carve_select(grouped, 100, seed=5, stratify="diagnosis")
    assert not {case.group for case in train} & {case.group for case in select}
    assert 97 <= len(select) <= 100
    melanomas = sum(case.labels["diagnosis"] == "melanoma" for case in grouped) / len(grouped)
    assert sum(case.labels["diagnosis"] == "melanoma" for case in select) == pytest.approx(100 * melanomas, abs=3)


def test_missing_values_are_drawn_in_proportion_too() -> None:
    cases = [case(number, "" if number % 2 else "nevus") for number in range(40)]
    _, select = carve_select(cases, 10, seed=0, stratify="diagnosis")
    assert Counter(case.labels["diagnosis"] for case in select) == {"": 5, "nevus": 5}


def test_without_a_column_the_draw_is_plain() -> None:
    assert len(carve_select(TRAIN, 200, seed=0)[1]) == 200


@pytest.mark.parametrize("count", [0, 1000, 1001])
def test_both_sides_need_a_case(count: int) -> None:
    with pytest.raises(DataError, match=f"cannot carve {count} cases"):
        carve_select(TRAIN, count, seed=0)


def test_an_unknown_column_is_named() -> None:
    with pytest.raises(DataError, match="no column 'diagnose'"):
        carve_select(TRAIN, 10, seed=0, stratify="diagnose")


def test_largest_remainders_by_hand() -> None:
    # 7 · 47/100 = 3.29, 7 · 33/100 = 2.31, 7 · 20/100 = 1.40: one seat is left, for 0.40.
    assert largest_remainder({"a": 47, "b": 33, "c": 20}, 7) == {"a": 3, "b": 2, "c": 2}
    assert largest_remainder({"b": 1, "a": 1}, 1) == {"a": 1, "b": 0}
