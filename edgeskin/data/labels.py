"""What a head should have answered: a column of labels.csv decoded to integers, the same for trainer and evaluator."""

from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from edgeskin.contract.model import HeadSpec
from edgeskin.data.cases import Case, gathered, nearest
from edgeskin.errors import DataError

Truth: TypeAlias = npt.NDArray[np.int64]

MISSING = -1
"""Stands in a `Truth` where the cell is empty: such a case neither trains nor measures that head."""
_BINARY = {"0": 0, "1": 1, "false": 0, "true": 1, "no": 0, "yes": 1}


def class_index(case: Case, column: str, labels: Sequence[str]) -> int | None:
    """Which of a softmax head's labels a case has, None where the cell is empty.

    Raises: DataError on any other value.
    """
    value = case.value(column)
    if not value:
        return None
    if value not in labels:
        raise DataError(f"{case.image_id}: {column} is {value!r}{nearest(value, labels)}")
    return labels.index(value)


def binary(case: Case, column: str) -> int | None:
    """The answer to a sigmoid head's question: 0 or 1, None where the cell is empty.

    The cell holds 0, 1, false, true, no or yes, in any case of letters. Raises: DataError on any other value.
    """
    value = case.value(column)
    if not value:
        return None
    if value.lower() not in _BINARY:
        raise DataError(f"{case.image_id}: {column} is {value!r}; write 0 or 1, false or true, no or yes, or nothing")
    return _BINARY[value.lower()]


def truth(cases: Sequence[Case], head: HeadSpec, column: str) -> Truth:
    """The classes that a softmax or sigmoid head should have found; `MISSING` where the cell is empty.

    Shapes: -> [cases]. Raises: DataError with every case whose cell is not a value of the head.
    """
    assert head.kind != "mask", "a mask head's truth is a picture: read_mask"
    decode: Callable[[Case], int | None] = (
        (lambda case: class_index(case, column, head.labels))
        if head.kind == "softmax"
        else (lambda case: binary(case, column))
    )
    if cases:
        cases[0].value(column)  # A missing column is one mistake, not one a case.
    values, problems = [], []
    for case in cases:
        try:
            answer = decode(case)
        except DataError as error:
            problems.append(str(error))
        else:
            values.append(MISSING if answer is None else answer)
    if problems:
        raise DataError(gathered(f"labels.csv, column {column}, head {head.name}", problems))
    return np.array(values, dtype=np.int64)


def demand_every_class(answers: Truth, head: HeadSpec, column: str, split: str) -> None:
    """Refuse to train on a split in which a class has no case.

    Raises: DataError that names each such class and the split.
    """
    names = head.labels if head.kind == "softmax" else ("0 (no)", "1 (yes)")
    empty = [name for index, name in enumerate(names) if not (answers == index).any()]
    if empty:
        raise DataError(
            f"head {head.name}: the split {split!r} has no case of the class {', '.join(empty)} (labels.csv, column "
            f"{column}). Add cases, or take the class out of the recipe's labels"
        )
