"""Clinical fields as the network's second input: `metadata`, float32 [N, M] beside `image`.

Every field has slots, and the last of them says "unknown", so that a missing value is never mistaken for a zero:

- a number: its value, scaled so that `low` is −1 and `high` is 1 and clipped there, and the unknown flag;
- a choice: one slot a value, and the unknown slot; exactly one of them is 1.

Whatever is encoded is a multiple of 1/64 from −1 to 1, so int8 at the fixed scale 1/64 holds it exactly, as it holds a
pixel. Source: papers/metadata_superresolution_pad_ufes_2024.txt, section 2.1, which has no slot for what is missing.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from edgeskin.contract.declaration import nearest
from edgeskin.contract.frozen import Frozen, Name
from edgeskin.errors import DataError

Float32: TypeAlias = npt.NDArray[np.float32]
Value: TypeAlias = str | float | None
"""What a table or a program says of a field: text, a number, a boolean, or nothing."""
Values: TypeAlias = Mapping[str, Value]
"""By field name; a field that is left out is unknown."""

STEPS = 64
METADATA_SCALE = 1 / STEPS
"""The scale of the `metadata` input; exact in float32 and float16."""

UNKNOWN_WORDS = frozenset({"", "unk", "unknown", "na", "n/a", "nan"})
"""How tables write that a value is missing, in any case of letters; None and the number nan say the same."""

_ANSWERS = ("diagnosis", "melanoma", "seborrheic_keratosis", "isic2016_malignant", "isic2019_class")
REFUSED = {
    **dict.fromkeys(_ANSWERS, "it is what the network is asked"),
    "biopsed": "it is true for every cancer, because a biopsy is how a cancer was confirmed",
    "dx_type": "it says how the diagnosis was made; what was only followed up is a nevus",
    "geometry": "it says how the file was cropped, which differs by diagnosis",
    "has_mask": "which images have a mask differs by diagnosis",
    "image_source": "it says where the file was copied from, not what a patient would tell",
    "mask_source": "it says where the file was copied from, not what a patient would tell",
}
"""Columns of the known data sets that tell the label by how the data were collected, and why."""


def is_unknown(value: Value) -> bool:
    """Whether a value says that nothing is known."""
    if isinstance(value, str):
        return value.strip().casefold() in UNKNOWN_WORDS
    return value is None or (isinstance(value, float) and math.isnan(value))


class NumberField(Frozen):
    """A quantity. low, high: what becomes −1 and 1; a value beyond them counts as the nearer one (`clipped`)."""

    kind: Literal["number"] = "number"
    name: Name
    low: Annotated[float, Field(allow_inf_nan=False)]
    high: Annotated[float, Field(allow_inf_nan=False)]

    @model_validator(mode="after")
    def _range_is_one(self) -> "NumberField":
        if not 0 < self.high - self.low < math.inf:
            raise ValueError(f"{self.name}: high must be above low, not {self.high:g} above {self.low:g}")
        return self

    @property
    def slots(self) -> tuple[str, ...]:
        """The value and the unknown flag."""
        return (self.name, f"{self.name}=unknown")

    def encode(self, value: Value) -> tuple[float, ...]:
        """Shapes: -> [2]. Steps of 1/64, halves up: floor(128·(v − low)/(high − low) + 1/2) − 64 of them, in doubles.

        Raises: DataError for what is neither a number nor an unknown word.
        """
        if is_unknown(value):
            return (0.0, 1.0)
        inside = min(max(self._number(value), self.low), self.high)
        return ((math.floor(2 * STEPS * (inside - self.low) / (self.high - self.low) + 0.5) - STEPS) / STEPS, 0.0)

    def clips(self, value: Value) -> bool:
        """Whether a known value lies beyond `low` or `high`. Raises: DataError as `encode`."""
        return not is_unknown(value) and not self.low <= self._number(value) <= self.high

    def _number(self, value: Value) -> float:
        number = None if isinstance(value, bool) else _number(value)
        if number is None:
            raise DataError(
                f"{self.name} is {value!r}, which is no number; write one from {self.low:g} to {self.high:g}, or "
                "nothing where it is unknown"
            )
        return number


class ChoiceField(Frozen):
    """One of several words, numbers or truths, compared as `true` with True, `2` with 2.0, and in any case of letters.

    A yes-or-no question has the values true and false.
    """

    kind: Literal["choice"] = "choice"
    name: Name
    values: Annotated[tuple[str, ...], Field(min_length=2)]

    @model_validator(mode="after")
    def _values_differ(self) -> "ChoiceField":
        unknown = [value for value in self.values if is_unknown(value)]
        if unknown:
            raise ValueError(
                f"{self.name}: {unknown[0]!r} stands for a value that is missing; every field has a slot for that"
            )
        if len({_comparable(value) for value in self.values}) < len(self.values):
            raise ValueError(f"{self.name}: two of its values are the same")
        return self

    @property
    def slots(self) -> tuple[str, ...]:
        """One a value, then the unknown slot."""
        return (*(f"{self.name}={value}" for value in self.values), f"{self.name}=unknown")

    def encode(self, value: Value) -> tuple[float, ...]:
        """Shapes: -> [values + 1], one of them 1. Raises: DataError that names the nearest value."""
        chosen = len(self.values) if is_unknown(value) else self._index(value)
        return tuple(float(index == chosen) for index in range(len(self.slots)))

    def clips(self, value: Value) -> bool:
        """Never; it is one of the values or an error. Raises: DataError as `encode`."""
        self.encode(value)
        return False

    def _index(self, value: Value) -> int:
        known = [_comparable(one) for one in self.values]
        wanted = _comparable(value)
        if wanted not in known:
            raise DataError(f"{self.name} is {value!r}{nearest(str(value), self.values)}")
        return known.index(wanted)


MetadataField: TypeAlias = Annotated[NumberField | ChoiceField, Field(discriminator="kind")]


@dataclass(frozen=True)
class SlotGroup:
    """The slots of one field: from `start` up to `stop`, of which `unknown`, the last, says that it is missing."""

    field: str
    start: int
    stop: int

    @property
    def unknown(self) -> int:
        """The index of the unknown slot."""
        return self.stop - 1


class MetadataSpec(Frozen):
    """The fields that a network is given, in the order of its slots."""

    fields: Annotated[tuple[MetadataField, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _fields_are_fit(self) -> "MetadataSpec":
        names = [field.name for field in self.fields]
        if len(set(names)) < len(names):
            raise ValueError("two metadata fields have the same name")
        for name in names:
            if name in REFUSED:
                raise ValueError(f"the field {name} may not be given to a network: {REFUSED[name]}")
        return self

    @property
    def names(self) -> tuple[str, ...]:
        """The fields' names."""
        return tuple(field.name for field in self.fields)

    @property
    def slots(self) -> tuple[str, ...]:
        """What each of the M numbers stands for, as `age`, `age=unknown`, `sex=female`."""
        return tuple(slot for field in self.fields for slot in field.slots)

    @property
    def width(self) -> int:
        """M, the number of slots."""
        return len(self.slots)

    @property
    def groups(self) -> tuple[SlotGroup, ...]:
        """Which slots belong to which field, in the order of the fields; what hides or imputes a field reads it."""
        found, start = list[SlotGroup](), 0
        for field in self.fields:
            found.append(SlotGroup(field.name, start, start + len(field.slots)))
            start = found[-1].stop
        return tuple(found)

    def encode(self, values: Values) -> Float32:
        """The network's input for one photo; a field that is left out is unknown.

        Shapes: -> [M]. Raises: DataError that names every field not in the spec and every value no field knows, with
        the nearest valid one.
        """
        problems = [f"no field {name!r}{nearest(name, self.names)}" for name in values if name not in self.names]
        encoded: list[float] = []
        for field in self.fields:
            try:
                encoded += field.encode(values.get(field.name))
            except DataError as error:
                problems.append(str(error))
        if problems:
            raise DataError("; ".join(problems))
        return np.array(encoded, np.float32)

    def unknown(self) -> Float32:
        """The input of a photo about which nothing is known. Shapes: -> [M]."""
        return self.encode({})

    def known(self, values: Values) -> tuple[str, ...]:
        """Names of the fields that `values` tells something about."""
        return tuple(name for name in self.names if not is_unknown(values.get(name)))

    def clipped(self, values: Values) -> tuple[str, ...]:
        """Names of the fields whose number lies beyond its range and was encoded as the nearer end.

        Raises: DataError as `encode`.
        """
        return tuple(field.name for field in self.fields if field.clips(values.get(field.name)))


def _number(value: Value) -> float | None:
    """A finite number, or one written as text with a decimal point; else None."""
    try:
        number = math.nan if value is None or (isinstance(value, str) and "_" in value) else float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _comparable(value: Value) -> str:
    """Equal for values that mean the same, however a table writes them."""
    number = None if isinstance(value, bool) else _number(value)
    return str(value).strip().casefold() if number is None else repr(number + 0.0)
