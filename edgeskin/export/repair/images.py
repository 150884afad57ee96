"""What networks are compared on while layers are chosen, and how far one is from another there."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from edgeskin.contract.model import ModelCard
from edgeskin.contract.preprocess import network_input
from edgeskin.contract.second_pass import Float32, Outputs, UInt8, second_view
from edgeskin.data.cases import Case, read_image
from edgeskin.data.metadata import encode_cases
from edgeskin.export.golden import Golden
from edgeskin.targets.base import Runnable

_BATCH = 8

Errors: TypeAlias = npt.NDArray[np.float64]
"""The error of a network, image by image."""


@dataclass(frozen=True, eq=False)
class Images:
    """What networks are compared on, the same for each.

    words: which they are. image: uint8 [n, 3, S, S]. metadata: float32 [n, M] or None. second: what the second pass
    gets of those that have one, uint8 [1, 3, S, S] by number.
    """

    words: str
    card: ModelCard
    image: UInt8
    metadata: Float32 | None
    second: Mapping[int, UInt8]

    @staticmethod
    def of_golden(cases: Golden) -> "Images":
        """The golden cases."""
        rows = [case.metadata for case in cases.cases if case.metadata is not None]
        second = {number: case.second for number, case in enumerate(cases.cases) if case.second is not None}
        image = np.stack([case.image for case in cases.cases])
        return Images("the golden cases", cases.card, image, np.stack(rows) if rows else None, second)

    @staticmethod
    def of_cases(words: str, card: ModelCard, cases: Sequence[Case], fp32: Runnable) -> "Images":
        """Photos of a data set. fp32: its masks decide what a second pass is shown. Raises: DataError."""
        squares = [network_input(read_image(case), card.size, card.preprocessing) for case in cases]
        image = np.stack([square for square, _ in squares])
        metadata = None if card.metadata is None else encode_cases(cases, card.metadata)
        seconds = dict[int, UInt8]()
        for number, (square, box) in enumerate(squares) if card.second_pass is not None else ():
            told = None if metadata is None else metadata[number : number + 1]
            view = second_view(fp32.run(square[None], told), card, box, square[None])
            if view is not None:
                seconds[number] = view
        return Images(words, card, image, metadata, seconds)

    @property
    def first(self) -> tuple[UInt8, Float32 | None]:
        """One image, to time a network with."""
        return self.image[:1], None if self.metadata is None else self.metadata[:1]

    def answers(self, session: Runnable) -> Outputs:
        """The probabilities of a network by head, each head from its own pass."""
        first = self._run(session, self.image, self.metadata)
        if self.card.second_pass is None or not self.second:
            return first
        rows = list(self.second)
        told = None if self.metadata is None else self.metadata[rows]
        second = self._run(session, np.concatenate([self.second[row] for row in rows]), told)
        joined = dict(first)
        for name in self.card.second_pass.heads:
            joined[name] = first[name].copy()
            joined[name][rows] = second[name]
        return joined

    def _run(self, session: Runnable, image: UInt8, metadata: Float32 | None) -> dict[str, Float32]:
        parts = [slice(start, start + _BATCH) for start in range(0, len(image), _BATCH)]
        answers = [session.run(image[part], None if metadata is None else metadata[part]) for part in parts]
        return {head.name: np.concatenate([answer[head.name] for answer in answers]) for head in self.card.heads}


def errors_of(answers: Outputs, reference: Outputs, card: ModelCard) -> Errors:
    """How far a network is from another, image by image: the mean over its heads."""
    total = np.zeros(len(next(iter(answers.values()))))
    for head in card.heads:
        one, other = answers[head.name], reference[head.name]
        axes = tuple(range(1, one.ndim))
        total += np.abs(one.astype(np.float64) - other).mean(axis=axes)
        if head.kind == "mask":
            assert head.threshold is not None, "the model card demands a threshold of a mask head"
            total += ((one >= head.threshold) != (other >= head.threshold)).mean(axis=axes)
    return total / len(card.heads)


def is_worse(other: Errors, errors: Errors, least: float) -> bool:
    """Whether the other is worse than chance between images explains, and by at least so much in the mean.

    Chance is twice the standard error of the difference, image by image.
    """
    cost = other - errors
    chance = 2 * float(cost.std(ddof=1)) / len(cost) ** 0.5 if len(cost) > 1 else 0.0
    return bool(cost.mean() > max(chance, least, _EQUAL))


_EQUAL = 1e-6
"""Sums in another order differ by less."""
