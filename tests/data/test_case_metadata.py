"""Clinical fields from the columns of a table."""

import os
from pathlib import Path

import numpy as np
import pytest

from edgeskin.contract.metadata import ChoiceField, MetadataSpec, NumberField
from edgeskin.data.cases import Case, read_cases
from edgeskin.data.metadata import cautions, encode_cases, values_of
from edgeskin.errors import DataError

SPEC = MetadataSpec(
    fields=(
        NumberField(name="age", low=0, high=100),
        ChoiceField(name="gender", values=("FEMALE", "MALE")),
        ChoiceField(name="itch", values=("True", "False")),
    )
)


def case(image_id: str, **labels: str) -> Case:
    return Case(image_id, Path(f"{image_id}.jpg"), None, "", None, labels)


# Two rows as the table of PAD-UFES-20 writes them.
ASKED = case("PAT_46", age="55", gender="FEMALE", itch="True", biopsed="True", region="NECK")
NOT_ASKED = case("PAT_1516", age="8", gender="", itch="UNK", biopsed="False", region="ARM")


def test_cells_are_encoded_as_the_published_table_writes_them() -> None:
    rows = encode_cases((ASKED, NOT_ASKED), SPEC)
    assert rows.dtype == np.float32
    # 128 · 55 / 100 = 70.4 and 128 · 8 / 100 = 10.24 steps, less 64.
    assert rows.tolist() == [
        [6 / 64, 0, 1, 0, 0, 1, 0, 0],
        [-54 / 64, 0, 0, 0, 1, 0, 0, 1],
    ]
    assert values_of(ASKED, SPEC) == {"age": "55", "gender": "FEMALE", "itch": "True"}
    assert encode_cases((), SPEC).shape == (0, 8)


def test_a_column_that_is_not_there_is_unknown_and_said_once() -> None:
    cases = (case("a", age="30"), case("b", age="40"))
    assert encode_cases(cases, SPEC)[:, 2:].tolist() == [[0, 0, 1, 0, 0, 1]] * 2
    assert cautions(cases, SPEC) == ("labels.csv has no column gender, itch: unknown for every image",)
    assert cautions((ASKED, NOT_ASKED), SPEC) == ()


def test_numbers_beyond_their_range_are_counted() -> None:
    cases = [case(str(age), age=str(age), gender="", itch="") for age in (20, 101, 120)]
    (sentence,) = cautions(cases, SPEC)
    assert "age of 2 images" in sentence


def test_every_case_with_a_cell_that_no_field_knows_is_named() -> None:
    with pytest.raises(DataError, match=r"(?s)2 problems.*a: gender is 'F'.*b: age is 'x'"):
        encode_cases((case("a", gender="F"), ASKED, case("b", age="x")), SPEC)


@pytest.mark.data
def test_the_published_table_is_encoded_whole() -> None:
    folder = Path(os.environ.get("EDGESKIN_DATA", "")) / "pad_ufes_20"
    if not os.environ.get("EDGESKIN_DATA") or not folder.is_dir():
        pytest.skip("needs pad_ufes_20 under EDGESKIN_DATA")
    questions = ("smoke", "skin_cancer_history", "itch", "grew", "hurt", "changed", "bleed", "elevation")
    regions = ("FACE", "BACK", "CHEST", "FOREARM", "ARM", "NECK", "NOSE", "THIGH", "ABDOMEN", "HAND", "EAR", "SCALP",
               "FOOT", "LIP")  # fmt: skip
    spec = MetadataSpec(
        fields=(
            NumberField(name="age", low=0, high=100),
            NumberField(name="diameter_1", low=0, high=50),
            ChoiceField(name="gender", values=("female", "male")),
            ChoiceField(name="fitspatrick", values=("1", "2", "3", "4", "5", "6")),
            ChoiceField(name="region", values=regions),
            *(ChoiceField(name=name, values=("true", "false")) for name in questions),
        )
    )
    cases = read_cases(folder).cases
    rows = encode_cases(cases, spec)
    assert rows.shape == (len(cases), spec.width)
    np.testing.assert_array_equal(rows, np.rint(rows * 64) / 64)
    for group, field in zip(spec.groups, spec.fields, strict=True):
        slots = rows[:, group.start : group.stop]
        if isinstance(field, ChoiceField):
            assert (slots.sum(axis=1) == 1).all()
        # The table's own words for what is missing, counted in the file.
        missing = [case.labels[field.name] in ("", "UNK") for case in cases]
        assert slots[:, -1].astype(bool).tolist() == missing
