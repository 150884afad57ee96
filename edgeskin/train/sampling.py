"""What an epoch shows: every case once, every class equally often, or a class so many times."""

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from edgeskin.data.labels import MISSING, Truth
from edgeskin.train.recipe.learning import Sampling

Order: TypeAlias = npt.NDArray[np.int64]
"""Indices of cases in the order in which they are shown."""
Showings: TypeAlias = npt.NDArray[np.float64]
"""How often an epoch shows each case, on average over epochs."""


def epoch_order(labels: Truth, classes: Sequence[str], sampling: Sampling | None, seed: Sequence[int]) -> Order:
    """Which cases an epoch shows, shuffled; its length depends on the labels alone, not on the seed.

    Without sampling each case occurs once. A case without a label always does: other heads learn from it.
    Shapes: labels (N,) of the head `sampling.head`, with the names of its classes -> (epoch's length,).
    Source of `counts`: papers/joint_reverse_mtl_2024.txt, section 3.2, 16 views of a melanoma, 4 of what is benign.
    """
    random = np.random.default_rng([*seed, 0])
    if sampling is not None and sampling.kind == "balanced":
        return random.permutation(_balanced(labels, len(classes), random))
    times = showings(labels, classes, sampling).astype(np.int64)
    return random.permutation(np.repeat(np.arange(len(labels)), times))


def showings(labels: Truth, classes: Sequence[str], sampling: Sampling | None) -> Showings:
    """How often `epoch_order` shows each case; for `balanced` the mean over seeds, a fraction.

    Shapes: labels (N,) -> (N,).
    """
    times = np.ones(len(labels))
    if sampling is None:
        return times
    if sampling.kind == "balanced":
        known = labels != MISSING
        sizes = np.bincount(labels[known], minlength=len(classes))
        times[known] = known.sum() / (len(classes) * sizes[labels[known]])
        return times
    for name, count in sampling.counts.items():
        times[labels == classes.index(name)] = count
    return times


def _balanced(labels: Truth, classes: int, random: np.random.Generator) -> Order:
    """As many cases as have labels, equally many of each class (one more of some, drawn anew), evenly within it.

    A class is gone through in a random order, again and again until its share is reached, so that within an epoch no
    case of it occurs twice more often than another.
    """
    members = [np.flatnonzero(labels == label) for label in range(classes)]
    known = sum(len(cases) for cases in members)
    shares = np.full(classes, known // classes)
    shares[random.permutation(classes)[: known % classes]] += 1
    chosen = [np.flatnonzero(labels == MISSING)]
    for cases, share in zip(members, shares, strict=True):
        assert len(cases) > 0, "an empty class is refused where the labels are read"
        rounds = -(-int(share) // len(cases))
        chosen.append(np.concatenate([random.permutation(cases) for _ in range(rounds)])[:share])
    return np.concatenate(chosen)


def occurrences(order: Order) -> Order:
    """How often each entry's case stood in the order before it: 0 at its first occurrence.

    Shapes: (L,) -> (L,).
    """
    by_case = np.argsort(order, kind="stable")
    sorted_cases = order[by_case]
    starts = np.flatnonzero(np.diff(sorted_cases, prepend=-1))
    before = np.arange(len(order)) - np.repeat(starts, np.diff(starts, append=len(order)))
    found = np.empty(len(order), np.int64)
    found[by_case] = before
    return found
