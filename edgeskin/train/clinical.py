"""Clinical fields in training: hidden at random, so that what is unknown tells nothing about the diagnosis."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from edgeskin.contract.metadata import Float32, MetadataSpec, is_unknown
from edgeskin.data.cases import Case
from edgeskin.data.fields import Fields, Rates, hide, hiding_rates
from edgeskin.data.metadata import encode_cases, values_of


class Shown(NamedTuple):
    """What the network is given of a batch's fields, and which slots it could learn to fill in.

    Shapes: given (B, M), complete (B, M) as the table has it, hidden (B, M): 1 on the value slots of fields that were
    hidden though they are known.
    """

    given: Float32
    complete: Float32
    hidden: Float32


@dataclass(frozen=True, eq=False)
class ClinicalFields:
    """The fields of a list of cases.

    complete: [cases, M]. records: the raw values of each case. rates: the probability with which each case's fields are
    hidden together. probability: with which each is hidden besides, on its own. hide_all: with which all of a case are.
    """

    spec: MetadataSpec
    complete: Float32
    records: tuple[Fields, ...]
    rates: tuple[Rates, ...]
    probability: float
    hide_all: float = 0.0

    def only(self, rows: npt.NDArray[np.int64]) -> "ClinicalFields":
        """Of some of the cases, by their places."""
        records, rates = (tuple(each[row] for row in rows) for each in (self.records, self.rates))
        return replace(self, complete=self.complete[rows], records=records, rates=rates)

    def whole(self, index: npt.NDArray[np.int64]) -> Shown:
        """Cases as the table has them, as at inference."""
        complete = self.complete[index]
        return Shown(complete, complete, np.zeros_like(complete))

    def draw(self, index: npt.NDArray[np.int64], lots: Sequence[np.random.Generator]) -> Shown:
        """Cases with fields hidden; one generator a case."""
        complete = self.complete[index]
        given = np.stack(
            [
                self.spec.encode(
                    hide(self.records[case], self.probability, lot, self.rates[case], hide_all=self.hide_all)
                )
                for case, lot in zip(index, lots, strict=True)
            ]
        )
        hidden = np.zeros_like(complete)
        for group in self.spec.groups:
            newly = (given[:, group.unknown] == 1) & (complete[:, group.unknown] == 0)
            hidden[newly, group.start : group.unknown] = 1
        return Shown(given, complete, hidden)


def clinical_fields(
    cases: Sequence[Case],
    spec: MetadataSpec,
    probability: float,
    classes: Sequence[str | None] | None,
    hide_all: float = 0.0,
) -> ClinicalFields:
    """The fields of cases; `classes`, one a case, are given where every class is to miss each field equally often.

    A case of no class is hidden by `probability` alone.

    Raises: DataError with every cell that no field knows, or where a class never knows a field.
    """
    complete = encode_cases(cases, spec)
    records: list[Fields] = []
    for case in cases:
        values = values_of(case, spec)
        known = {name: values.get(name) for name in spec.names}
        records.append({name: None if is_unknown(value) else str(value) for name, value in known.items()})
    rates: tuple[Rates, ...] = ({},) * len(cases)
    if classes is not None:
        labelled = [(record, word) for record, word in zip(records, classes, strict=True) if word is not None]
        of_class = hiding_rates([record for record, _ in labelled], [word for _, word in labelled])
        rates = tuple({} if word is None else of_class[word] for word in classes)
    return ClinicalFields(spec, complete, tuple(records), rates, probability, hide_all)
