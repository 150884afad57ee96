"""Clinical fields as numbers: every slot by hand, every missing value explicit, every mistake named."""

import math

import numpy as np
import pytest
from pydantic import ValidationError

from edgeskin.contract.metadata import (
    METADATA_SCALE,
    ChoiceField,
    MetadataSpec,
    NumberField,
    SlotGroup,
    Value,
)
from edgeskin.errors import DataError

AGE = NumberField(name="age", low=0, high=100)
SEX = ChoiceField(name="sex", values=("female", "male"))
ITCH = ChoiceField(name="itch", values=("true", "false"))
SKIN_TYPE = ChoiceField(name="fitspatrick", values=("1", "2", "3", "4", "5", "6"))
SPEC = MetadataSpec(fields=(AGE, SEX, ITCH))


def test_every_slot_has_a_name_and_every_field_an_unknown_slot_at_its_end() -> None:
    assert SPEC.slots == (
        *("age", "age=unknown"),
        *("sex=female", "sex=male", "sex=unknown"),
        *("itch=true", "itch=false", "itch=unknown"),
    )
    assert SPEC.width == 8
    assert SPEC.groups == (SlotGroup("age", 0, 2), SlotGroup("sex", 2, 5), SlotGroup("itch", 5, 8))
    assert [SPEC.slots[group.unknown] for group in SPEC.groups] == ["age=unknown", "sex=unknown", "itch=unknown"]


def test_known_values_are_encoded_as_computed_by_hand() -> None:
    encoded = SPEC.encode({"age": "75", "sex": "male", "itch": "True"})
    assert encoded.dtype == np.float32
    # 75 of 0 … 100 is 0.5 on the way from −1 to 1.
    assert encoded.tolist() == [0.5, 0, 0, 1, 0, 1, 0, 0]


def test_what_is_missing_is_an_explicit_unknown_and_not_a_zero() -> None:
    nothing = [0, 1, 0, 0, 1, 0, 0, 1]
    assert SPEC.unknown().tolist() == nothing
    assert SPEC.encode({"age": "", "sex": "UNK", "itch": None}).tolist() == nothing
    # The middle of the range has the same value slot, and another flag.
    assert SPEC.encode({"age": 50}).tolist()[:2] == [0, 0]


@pytest.mark.parametrize("word", ["", "  ", "UNK", "unknown", "NA", "n/a", "NaN", None, math.nan])
@pytest.mark.parametrize("field", [AGE, SEX, ITCH])
def test_every_way_to_write_that_nothing_is_known(field: NumberField | ChoiceField, word: Value) -> None:
    encoded = field.encode(word)
    assert encoded[-1] == 1
    assert not any(encoded[:-1])


@pytest.mark.parametrize(
    ("value", "expected"),
    # By hand, in steps of 1/64: 128 · 55 / 100 = 70.4 → 70 − 64; 128 · 0.4 / 100 = 0.512 → 1 − 64; halves go up.
    [(0, -64), (100, 64), (55, 6), ("55.0", 6), (0.4, -63), (100 / 256, -63), (300 / 256, -62), (64, 18)],
)
def test_a_number_is_rounded_to_64_steps_either_side_of_its_middle(value: Value, expected: int) -> None:
    assert AGE.encode(value) == (expected / 64, 0)


def test_a_number_beyond_its_range_is_the_nearer_end_and_is_named() -> None:
    assert SPEC.encode({"age": 113})[0] == 1
    assert SPEC.encode({"age": -5})[0] == -1
    assert SPEC.clipped({"age": 113, "sex": "male"}) == ("age",)
    assert SPEC.clipped({"age": 100}) == SPEC.clipped({"age": None}) == ()


def test_int8_at_the_contracts_scale_holds_every_encoded_value_exactly() -> None:
    rng = np.random.default_rng(0)
    rows = np.stack([SPEC.encode({"age": float(age), "sex": "male"}) for age in rng.uniform(-20, 130, 500)])
    integers = np.clip(np.rint(rows / np.float32(METADATA_SCALE)), -128, 127).astype(np.int8)
    np.testing.assert_array_equal(integers.astype(np.float32) * np.float32(METADATA_SCALE), rows)
    assert len(np.unique(integers[:, 0])) > 100
    assert float(np.float16(METADATA_SCALE)) == METADATA_SCALE == 1 / 64


@pytest.mark.parametrize(
    ("field", "values", "index"),
    [
        (ITCH, ("True", "true", "TRUE", True), 0),
        (ITCH, ("False", False), 1),
        (SEX, ("FEMALE", "female", " Female "), 0),
        (SKIN_TYPE, ("2.0", "2", 2, 2.0), 1),
    ],
)
def test_values_that_mean_the_same_are_the_same_however_a_table_writes_them(
    field: ChoiceField, values: tuple[Value, ...], index: int
) -> None:
    for value in values:
        assert field.encode(value).index(1) == index


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"sex": "femal"}, r"sex is 'femal'; did you mean 'female'\?"),
        ({"itch": "1"}, r"itch is '1'. Known: true, false"),
        ({"itch": 1}, "itch is 1. Known: true, false"),
        ({"age": "fifty"}, "age is 'fifty', which is no number; write one from 0 to 100"),
        ({"age": "5_5"}, "age is '5_5', which is no number"),
        ({"age": "65,5"}, "age is '65,5', which is no number"),
        ({"age": math.inf}, "age is inf, which is no number"),
        ({"age": 10**400}, "which is no number"),
        ({"age": True}, "age is True, which is no number"),
        ({"gender": "male"}, "no field 'gender'. Known: age, sex, itch"),
        ({"itsh": "True"}, r"no field 'itsh'; did you mean 'itch'\?"),
    ],
)
def test_a_mistake_names_the_field_and_the_nearest_valid_value(values: dict[str, Value], said: str) -> None:
    with pytest.raises(DataError, match=said):
        SPEC.encode(values)


def test_all_mistakes_come_at_once() -> None:
    with pytest.raises(DataError, match=r"no field 'x'.*age is 'old'.*sex is 'w'"):
        SPEC.encode({"x": 1, "age": "old", "sex": "w"})


def test_known_fields_are_told_from_unknown_ones() -> None:
    assert SPEC.known({"age": 0, "sex": "unk", "itch": False}) == ("age", "itch")


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (lambda: NumberField(name="age", low=5, high=5), "high must be above low"),
        (lambda: NumberField(name="age", low=0, high=math.inf), "finite"),
        (lambda: ChoiceField(name="sex", values=("male", "Male")), "two of its values are the same"),
        (lambda: ChoiceField(name="type", values=("2", "2.0")), "two of its values are the same"),
        (lambda: ChoiceField(name="sex", values=("male", "UNK")), "stands for a value that is missing"),
        (lambda: ChoiceField(name="sex", values=("male",)), "at least 2"),
        (lambda: MetadataSpec(fields=()), "at least 1"),
        (lambda: MetadataSpec(fields=(AGE, AGE)), "the same name"),
        (
            lambda: MetadataSpec(fields=(ChoiceField(name="biopsed", values=("true", "false")),)),
            "biopsed may not be given to a network: it is true for every cancer",
        ),
    ],
)
def test_a_specification_that_cannot_be_is_refused(made: object, said: str) -> None:
    assert callable(made)
    with pytest.raises(ValidationError, match=said):
        made()


def test_a_specification_survives_json_and_its_fields_are_told_apart_by_kind() -> None:
    again = MetadataSpec.model_validate_json(SPEC.model_dump_json())
    assert again == SPEC
    assert again.slots == SPEC.slots
    with pytest.raises(ValidationError, match="kind"):
        MetadataSpec.model_validate({"fields": [{"kind": "word", "name": "age"}]})
