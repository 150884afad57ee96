"""Attributes of a case by the columns that the known data sets have; what is not understood is said."""

from pathlib import Path

import pytest

from edgeskin.data.cases import Case
from edgeskin.data.subgroups import Division, divisions


def cases(**columns: tuple[str, ...]) -> list[Case]:
    rows = [dict(zip(columns, cells, strict=True)) for cells in zip(*columns.values(), strict=True)]
    return [Case(f"p{number}", Path(), None, "val", None, row) for number, row in enumerate(rows)]


def only(found: tuple[tuple[Division, ...], tuple[str, ...]]) -> Division:
    ((division,), problems) = found
    assert problems == ()
    return division


@pytest.mark.parametrize(
    ("column", "cells", "attribute", "values"),
    [
        ("sex", ("female", "Male", "unknown", ""), "sex", ("female", "male", "", "")),
        ("gender", ("FEMALE", "MALE"), "sex", ("female", "male")),
        ("age", ("0", "29.9", "30", "49", "50", "69", "70", "95.0"), "age",
         ("0-29", "0-29", "30-49", "30-49", "50-69", "50-69", "70+", "70+")),
        ("localization", ("back", "unknown"), "site", ("back", "")),
        ("region", ("NOSE",), "site", ("nose",)),
        ("fitspatrick", ("2.0", "6", ""), "skin_type", ("2", "6", "")),
        ("geometry", ("centre-crop", "squashed-square"), "geometry", ("centre-crop", "squashed-square")),
        ("artefact_hair", ("0", "1", ""), "artefact_hair", ("no", "yes", "")),
    ],
)  # fmt: skip
def test_a_column_divides_the_cases(column, cells, attribute, values):
    assert only(divisions(cases(**{column: cells}))) == Division(attribute, values)


def test_subgroups_are_the_values_that_occur_in_order():
    assert Division("sex", ("male", "", "female", "male")).subgroups == ("female", "male")


def test_of_two_columns_for_one_attribute_the_first_counts():
    assert only(divisions(cases(gender=("male",), sex=("female",)))) == Division("sex", ("female",))


def test_an_attribute_that_is_known_of_nobody_divides_nothing():
    assert divisions(cases(sex=("", "unknown"), diagnosis=("nevus", "melanoma"))) == ((), ())
    assert divisions([]) == ((), ())


def test_cases_of_a_table_without_the_column_are_in_no_subgroup():
    mixed = [*cases(sex=("female",)), *cases(age=("44",))]
    found, problems = divisions(mixed)
    assert found == (Division("sex", ("female", "")), Division("age", ("", "30-49")))
    assert problems == ()


def test_a_cell_that_is_not_understood_is_said_and_in_no_subgroup():
    found, problems = divisions(cases(age=("44", "old", "old", "-1", "inf"), fitspatrick=("7", "2.5", "1", "0", "2")))
    assert found == (Division("age", ("30-49", "", "", "", "")), Division("skin_type", ("", "", "1", "", "2")))
    assert problems == (
        "age is 'old' in 2 cases: in no subgroup",
        "age is '-1' in 1 cases: in no subgroup",
        "age is 'inf' in 1 cases: in no subgroup",
        "fitspatrick is '7' in 1 cases: in no subgroup",
        "fitspatrick is '2.5' in 1 cases: in no subgroup",
        "fitspatrick is '0' in 1 cases: in no subgroup",
    )


def test_free_text_divides_nothing_and_that_is_said():
    found, problems = divisions(cases(site=tuple(f"place {number}" for number in range(25))))
    assert (found, problems) == ((), ("site has 25 values: too many for subgroups",))
