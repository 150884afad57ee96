"""What can be told of a case by which of its clinical fields are unknown, and by nothing else: a baseline.

Where such a guess is good, a network with these fields may be good for that reason alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from edgeskin.contract.model import ModelCard
from edgeskin.data.labels import MISSING, Truth
from edgeskin.targets.base import Float32, UInt8

_Seen = tuple[bool, ...]
"""By field, whether it is unknown."""


@dataclass(frozen=True, eq=False)
class Pattern:
    """Answers every head but the mask by how often its labels came with the same fields unknown in training.

    card: of the network it stands beside, without the mask. shares: head -> fields unknown -> [labels]. A pattern that
    training never showed gets the shares of all cases, which also count as one case of every other.
    """

    card: ModelCard
    shares: Mapping[str, Mapping[_Seen, Float32]]
    whole: Mapping[str, Float32]

    @staticmethod
    def of(card: ModelCard, labels: Mapping[str, Truth], fields: Float32) -> "Pattern":
        """Count the training cases.

        labels: head -> [cases]. Shapes: fields (cases, M), as the network is given them.
        """
        heads = tuple(head for head in card.heads if head.kind != "mask")
        seen = [_seen(card, row) for row in fields]
        shares: dict[str, dict[_Seen, Float32]] = {}
        whole: dict[str, Float32] = {}
        for head in heads:
            answers, first = labels[head.name], 1 if head.kind == "sigmoid" else 0  # of no and yes, yes is answered
            counts = np.eye(first + len(head.labels), dtype=np.float32)[answers] * (answers != MISSING)[:, np.newaxis]
            prior = counts.sum(axis=0) / counts.sum()
            whole[head.name] = prior[first:]
            shares[head.name] = {}
            for pattern in dict.fromkeys(seen):
                own = counts[[one == pattern for one in seen]].sum(axis=0) + prior
                shares[head.name][pattern] = (own / own.sum())[first:]
        return Pattern(card.model_copy(update={"heads": heads, "second_pass": None}), shares, whole)

    def run(self, image: UInt8, metadata: Float32 | None = None) -> Mapping[str, Float32]:  # noqa: ARG002  (not looked at)
        """As `Session.run`."""
        assert metadata is not None, "a pattern is that of the fields"
        seen = _seen(self.card, metadata[0])
        return {name: shares.get(seen, self.whole[name])[np.newaxis] for name, shares in self.shares.items()}


def _seen(card: ModelCard, row: Float32) -> _Seen:
    assert card.metadata is not None, "a pattern is that of the fields"
    return tuple(bool(row[group.unknown]) for group in card.metadata.groups)
