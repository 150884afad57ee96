"""Subgroups that a data set tells: sex, age band, site, skin type, artefacts, geometry.

An attribute is told by a column of a name that the known data sets use, in whichever data set it stands.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from edgeskin.contract.metadata import is_unknown
from edgeskin.data.cases import Case

AGE_BANDS = ((30, "0-29"), (50, "30-49"), (70, "50-69"), (math.inf, "70+"))
"""The age below which a band ends, and its name."""
MOST_VALUES = 24
"""A column of more values is free text, and divides nothing."""
_ARTEFACT = "artefact_"
_FLAGS = {"0": "no", "1": "yes", "false": "no", "true": "yes", "no": "no", "yes": "yes"}


@dataclass(frozen=True)
class Division:
    """One attribute over some cases. values: the subgroup of each case, '' where it is not known."""

    attribute: str
    values: tuple[str, ...]

    @property
    def subgroups(self) -> tuple[str, ...]:
        """The values that occur, in order."""
        return tuple(sorted({value for value in self.values if value}))


def divisions(cases: Sequence[Case]) -> tuple[tuple[Division, ...], tuple[str, ...]]:
    """The attributes that are told of any of the cases, and a sentence for each cell that could not be understood."""
    found: list[Division] = []
    problems: list[str] = []
    for attribute, column, read in _attributes(cases):
        cells = [case.labels.get(column, "") for case in cases]
        values = tuple("" if is_unknown(cell) else read(cell.strip().casefold()) for cell in cells)
        division = Division(attribute, tuple("" if value is None else value for value in values))
        strange = Counter(cell for cell, value in zip(cells, values, strict=True) if value is None)
        problems += [f"{column} is {cell!r} in {count} cases: in no subgroup" for cell, count in strange.items()]
        if len(division.subgroups) > MOST_VALUES:
            problems.append(f"{column} has {len(division.subgroups)} values: too many for subgroups")
        elif division.subgroups:
            found.append(division)
    return tuple(found), tuple(problems)


def _attributes(cases: Sequence[Case]) -> Iterator[tuple[str, str, Callable[[str], str | None]]]:
    """Attribute, column and what a cell means, None for a cell that means nothing; of two columns the first counts."""
    columns = dict.fromkeys(column for case in cases for column in case.labels)
    taken: set[str] = set()
    for column, (attribute, read) in _COLUMNS.items():
        if column in columns and attribute not in taken:
            taken.add(attribute)
            yield attribute, column, read
    for column in columns:
        if column.startswith(_ARTEFACT):
            yield column, column, _FLAGS.get


def _word(cell: str) -> str | None:
    return cell


def _age_band(cell: str) -> str | None:
    years = _number(cell)
    if years is None or years < 0:
        return None
    return next(name for end, name in AGE_BANDS if years < end)


def _skin_type(cell: str) -> str | None:
    """Fitzpatrick's, 1 to 6, however the number is written."""
    kind = _number(cell)
    return str(int(kind)) if kind is not None and kind in range(1, 7) else None


def _number(cell: str) -> float | None:
    try:
        value = float(cell)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


_COLUMNS: dict[str, tuple[str, Callable[[str], str | None]]] = {
    "sex": ("sex", _word),
    "gender": ("sex", _word),
    "age": ("age", _age_band),
    "site": ("site", _word),
    "localization": ("site", _word),
    "region": ("site", _word),
    "skin_type": ("skin_type", _skin_type),
    "fitspatrick": ("skin_type", _skin_type),
    "geometry": ("geometry", _word),
}
"""Column -> attribute and reading. `gender`, `region` and `fitspatrick` are the columns of PAD-UFES-20, `localization`
that of HAM10000."""
