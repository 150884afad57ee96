"""The clinical fields of cases, encoded from the columns of labels.csv: the same for trainer and evaluator.

A field is the column of its name. A column that a table lacks is unknown for all its cases.
"""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from edgeskin.contract.metadata import Float32, MetadataSpec, Values
from edgeskin.data.cases import Case
from edgeskin.data.listing import gathered
from edgeskin.errors import DataError


def values_of(case: Case, spec: MetadataSpec) -> Values:
    """The raw cells of the fields that the case's table has."""
    return {name: case.labels[name] for name in spec.names if name in case.labels}


def encode_cases(cases: Sequence[Case], spec: MetadataSpec) -> Float32:
    """The metadata of every case.

    Shapes: -> [cases, M]. Raises: DataError with every case whose cell no field knows, before any image is read.
    """
    rows, problems = [], []
    for case in cases:
        try:
            rows.append(spec.encode(values_of(case, spec)))
        except DataError as error:
            problems.append(f"{case.image_id}: {error}")
    if problems:
        raise DataError(gathered("clinical fields that a network is to be given", problems))
    return np.array(rows, np.float32).reshape(len(cases), spec.width)


def cautions(cases: Sequence[Case], spec: MetadataSpec) -> tuple[str, ...]:
    """What must be said beside figures with this metadata: columns that are not there, numbers beyond their range.

    Raises: DataError as `encode_cases`.
    """
    found = list[str]()
    absent = [name for name in spec.names if cases and not any(name in case.labels for case in cases)]
    if absent:
        found.append(f"{cases[0].table} has no column {', '.join(absent)}: unknown for every image")
    clipped = Counter(name for case in cases for name in spec.clipped(values_of(case, spec)))
    if clipped:
        what = ", ".join(f"{name} of {count}" for name, count in clipped.items())
        found.append(f"metadata beyond the range that was trained, taken as its end: {what} images")
    return tuple(found)
