"""What a head should have answered: a column of labels.csv decoded to integers, the same for trainer and evaluator."""

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from edgeskin.contract.declaration import nearest
from edgeskin.contract.model import HeadSpec
from edgeskin.data.cases import Case, cells
from edgeskin.data.listing import gathered
from edgeskin.errors import DataError

Truth: TypeAlias = npt.NDArray[np.int64]

Words: TypeAlias = Mapping[str, Sequence[str]]
"""Which words of a column mean a head's label: label -> words. A sigmoid head's labels are `no` and `yes`.

The words under the label '' say nothing about the head: such a case is `MISSING`.
"""

MISSING = -1
"""Stands in a `Truth` where the cell is empty: such a case neither trains nor measures that head."""
_BINARY = {"0": 0, "1": 1, "false": 0, "true": 1, "no": 0, "yes": 1, "benign": 0, "malignant": 1,
           "symmetric": 0, "asymmetric": 1}  # fmt: skip
_NO_YES = ("no", "yes")


def class_index(case: Case, column: str, labels: Sequence[str], words: Words | None = None) -> int | None:
    """Which of a softmax head's labels a case has, None where the cell is empty.

    words: what the column calls a label, in place of the label itself. Raises: DataError on any other value.
    """
    value = case.value(column)
    if not value:
        return None
    label_of = {label: label for label in labels if label not in (words or {})} | _label_of(words)
    if value not in label_of:
        raise DataError(f"{case.image_id}: {column} is {value!r}{nearest(value, label_of)}")
    return labels.index(label_of[value]) if label_of[value] else None


def binary(case: Case, column: str, words: Words | None = None) -> int | None:
    """The answer to a sigmoid head's question: 0 or 1, None where the cell is empty.

    Without `words` the cell holds 0, 1, false, true, no, yes, benign, malignant, symmetric or asymmetric, in any case
    of letters. With words for `yes` alone every other word is no, as in melanoma against the rest; with words for `no`
    alone every other is yes. Raises: DataError on any other value.
    """
    value = case.value(column)
    if not value:
        return None
    if words is None:
        if value.lower() not in _BINARY:
            raise DataError(
                f"{case.image_id}: {column} is {value!r}; write 0 or 1, false or true, no or yes, or nothing"
            )
        return _BINARY[value.lower()]
    label_of, named = _label_of(words), [label for label in _NO_YES if label in words]
    if value not in label_of and len(named) == 1:
        return 1 - _NO_YES.index(named[0])
    if value not in label_of:
        raise DataError(f"{case.image_id}: {column} is {value!r}{nearest(value, label_of)}")
    return _NO_YES.index(label_of[value]) if label_of[value] else None


def _label_of(words: Words | None) -> dict[str, str]:
    """The label of each word."""
    return {word: label for label, several in (words or {}).items() for word in several}


def truth(cases: Sequence[Case], head: HeadSpec, column: str, words: Words | None = None) -> Truth:
    """The classes that a softmax or sigmoid head should have found; `MISSING` where the cell is empty, and for the
    cases of a data set that has no such column.

    words: what the column calls the head's labels, where it does not use them. Shapes: -> [cases]. Raises: DataError
    with every word that is not a value of the head, or where no case has the column.
    """
    assert head.kind != "mask", "a mask head's truth is a picture: read_mask"
    decode: Callable[[Case], int | None] = (
        (lambda case: class_index(case, column, head.labels, words))
        if head.kind == "softmax"
        else (lambda case: binary(case, column, words))
    )
    cells(cases, column)  # A missing column is one mistake, not one a case.
    values: list[int] = []
    wrong: dict[str, list[str]] = {}
    for case in cases:
        try:
            answer = decode(case) if column in case.labels else None
        except DataError as error:
            wrong.setdefault(case.value(column), []).append(str(error))
        else:
            values.append(MISSING if answer is None else answer)
    if wrong:
        tables = " or ".join(dict.fromkeys(case.table for case in cases))
        raise DataError(
            gathered(f"{tables}, column {column}, head {head.name}", [_once(each) for each in wrong.values()])
        )
    return np.array(values, dtype=np.int64)


def _once(sentences: Sequence[str]) -> str:
    """The first of the cases that have the same wrong word, and how many more do."""
    more = len(sentences) - 1
    return sentences[0] + (f"; so in {more} more case{'s'[: more > 1]}" if more else "")


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
