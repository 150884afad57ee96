import random
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeskin.data.cases import Case, Cases, read_cases
from edgeskin.data.datasets import HAM10000, ISIC2017
from edgeskin.data.splits import assign_splits, carve_select, folds, largest_remainder
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


# --- a split for data sets that have none, and folds ---


def grouped(sizes: list[tuple[int, str]]) -> list[Case]:
    """Cases of groups of one class each."""
    members = [(group, name) for group, (size, name) in enumerate(sizes) for _ in range(size)]
    return [case(number, name, f"lesion_{group}") for number, (group, name) in enumerate(members)]


GROUPS = st.lists(st.tuples(st.integers(1, 6), st.sampled_from(["nv", "mel", "df"])), min_size=5, max_size=60)


@settings(max_examples=60, deadline=None)
@given(GROUPS, st.integers(2, 5), st.integers(0, 3))
def test_folds_are_even_in_every_class_and_never_divide_a_group(
    sizes: list[tuple[int, str]], k: int, seed: int
) -> None:
    cases = grouped(sizes)
    parts = folds(cases, k, seed=seed, stratify="diagnosis")
    assert sorted(one.image_id for part in parts for one in part) == [one.image_id for one in cases]
    of_group = {one.group: index for index, part in enumerate(parts) for one in part}
    assert all(of_group[one.group] == index for index, part in enumerate(parts) for one in part)
    for name in {name for _, name in sizes}:
        counts = [sum(one.labels["diagnosis"] == name for one in part) for part in parts]
        # List scheduling: the fullest part was the emptiest before its last group came.
        assert max(counts) - min(counts) <= max(size for size, of in sizes if of == name)


@settings(max_examples=60, deadline=None)
@given(GROUPS, st.integers(0, 3))
def test_a_drawn_split_loses_nothing_divides_no_group_and_keeps_the_shares(
    sizes: list[tuple[int, str]], seed: int
) -> None:
    cases = grouped(sizes)
    drawn = assign_splits(
        Cases(Path("ham"), HAM10000, ("image_id", "diagnosis"), tuple(cases)), seed=seed, stratify="diagnosis"
    )
    assert [one.image_id for one in drawn.cases] == [one.image_id for one in cases]
    assert all(one.split == one.value("split") for one in drawn.cases)
    groups = {one.group: one.split for one in drawn.cases}
    assert all(groups[one.group] == one.split for one in drawn.cases)
    for name in {name for _, name in sizes}:
        here = [one for one in drawn.cases if one.labels["diagnosis"] == name]
        for split, share in (("train", 0.8), ("val", 0.1), ("test", 0.1)):
            off = sum(one.split == split for one in here) - share * len(here)
            # Sainte-Laguë with three parties: a part may be off by a group or so, train by one for each of the others.
            assert abs(off) <= 2 * max(size for size, of in sizes if of == name)


def test_the_drawn_split_depends_on_seed_and_ids_alone() -> None:
    cases = grouped([(1 + n % 4, "nv" if n % 3 else "mel") for n in range(90)])
    shuffled = random.Random(1).sample(cases, len(cases))
    assert folds(cases, 5, seed=1, stratify="diagnosis") == folds(shuffled, 5, seed=1, stratify="diagnosis")
    assert folds(cases, 5, seed=1) != folds(cases, 5, seed=2)


def test_a_patient_with_two_diagnoses_stays_whole_and_both_are_spread() -> None:
    mixed = [case(2 * n + side, ("mel", "nv")[side], f"patient_{n}") for n in range(40) for side in (0, 1)]
    for part in folds(mixed, 4, seed=0, stratify="diagnosis"):
        assert Counter(one.labels["diagnosis"] for one in part) == {"mel": 10, "nv": 10}


def test_folds_need_a_group_each() -> None:
    cases = grouped([(3, "nv"), (3, "mel")])
    assert [len(part) for part in folds(cases, 2, seed=0)] == [3, 3]
    for k in (1, 3):
        with pytest.raises(DataError, match=f"cannot make {k} folds of 2 groups"):
            folds(cases, k, seed=0)


def test_an_official_split_is_not_drawn_again() -> None:
    with pytest.raises(DataError, match="isic2017 has a split, in the column 'isic2017_split'"):
        assign_splits(Cases(Path("isic"), ISIC2017, (), (case(1, "nevus"),)), seed=0)


@pytest.mark.data
@pytest.mark.parametrize("name", ["ham10000", "pad_ufes_20"])
def test_the_real_sets_keep_their_class_shares(name: str, request: pytest.FixtureRequest) -> None:
    cases = assign_splits(read_cases(request.getfixturevalue(name)), seed=0, stratify="diagnosis")
    total = Counter(cases.column("diagnosis"))
    for split, share in (("train", 0.8), ("val", 0.1), ("test", 0.1)):
        counts = Counter(one.value("diagnosis") for one in cases.split(split))
        for value, count in total.items():
            assert counts[value] == pytest.approx(share * count, abs=3)
    groups = [{one.group for one in cases.split(split)} for split in ("train", "val", "test")]
    assert sum(map(len, groups)) == len(set.union(*groups))
    for part in folds(cases.cases, 5, seed=0, stratify="diagnosis"):
        counts = Counter(one.value("diagnosis") for one in part)
        assert all(counts[value] == pytest.approx(count / 5, abs=2) for value, count in total.items())
