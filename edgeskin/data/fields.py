"""Clinical fields of a case as raw values, and how they are hidden in training.

In PAD-UFES-20 what is missing tells the class: most fields are known for every cancer and unknown for half or more of
the rest. They are also unknown together, so they must be hidden together: where each was hidden by a draw of its own
until all classes had the same unknown share, a random forest told cancer from the pattern alone with an AUROC of 0.94
(0.84 before); with one draw a case it does no better than a guess.
"""

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import numpy as np

from edgeskin.contract.metadata import REFUSED, is_unknown
from edgeskin.data.cases import Case
from edgeskin.errors import DataError

Fields: TypeAlias = Mapping[str, str | None]
"""Raw values by field; None is unknown."""
Rates: TypeAlias = Mapping[str, float]
"""By field, the probability that a known value is hidden."""


def fields(case: Case, names: Sequence[str]) -> dict[str, str | None]:
    """The raw values of some columns, None where unknown: empty, `unknown`, `UNK`, `nan`, in any case of letters.

    Raises: DataError where a column is not there, or tells the label by how the data were collected.
    """
    for name in names:
        if name in REFUSED:
            raise DataError(f"the field {name} may not be given to a network: {REFUSED[name]}")
    cells = {name: case.value(name) for name in names}
    return {name: None if is_unknown(cell) else cell for name, cell in cells.items()}


def hide(
    values: Fields, probability: float, rng: np.random.Generator, rates: Rates | None = None, *, hide_all: float = 0.0
) -> Fields:
    """The same fields, some of them unknown.

    All of them with `hide_all`; those whose rate (see `hiding_rates`) is above one draw for the whole case; and each on
    its own with `probability`. But for the rates the class plays no part, and the number of draws does not depend on
    the values.
    """
    everything, shared, own = rng.random(), rng.random(), rng.random(len(values))
    return {
        name: None if everything < hide_all or shared < (rates or {}).get(name, 0.0) or draw < probability else value
        for (name, value), draw in zip(values.items(), own, strict=True)
    }


def hiding_rates(records: Sequence[Fields], classes: Sequence[str]) -> dict[str, dict[str, float]]:
    """Class -> the rates at which `hide` makes every class lack each field as often, on average, as the class that
    lacks it most.

    With u the share of unknown values in a class and t the largest of all classes, a known value is hidden with
    (t − u) / (1 − u). Raises: DataError where a class never knows a field: it would be hidden everywhere.
    """
    names = list(records[0])
    unknown = {
        one: {
            name: float(
                np.mean([record[name] is None for record, of in zip(records, classes, strict=True) if of == one])
            )
            for name in names
        }
        for one in sorted(set(classes))
    }
    most = {name: max(shares[name] for shares in unknown.values()) for name in names}
    never = [f"{name} (of {one})" for one, shares in unknown.items() for name in names if shares[name] == 1]
    if never:
        raise DataError(
            f"fields that are unknown for a whole class cannot be made equally unknown for all: {', '.join(never)}. "
            "Take them out of the fields"
        )
    return {
        one: {name: (most[name] - shares[name]) / (1 - shares[name]) for name in names}
        for one, shares in unknown.items()
    }
