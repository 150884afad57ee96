"""Whether a head looks at the lesion: its activation map against the lesion's true mask.

Source: papers/se_lcn_symmetry_cascade_2024.txt, section 5.3.2, equations 1, 8 and 9, figure 8: activation points are
those above 0.5 of a map from 0 to 1; the mask is dilated twice, so that the rim of the lesion counts as lesion. The
thesis names no structuring element; ours is the 3×3 square, at the resolution of the network's input.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgeskin.benchmarks.spread import Spread
from edgeskin.contract.model import Frozen

ACTIVATION_THRESHOLD = 0.5
DILATIONS = 2


@dataclass(frozen=True)
class Localisation:
    """One image. iou: 0 to 1. overlap: share of the activation points inside the mask, None where there are none.

    hit: whether the highest activation lies inside the mask.
    """

    iou: float
    overlap: float | None
    hit: bool


class LocalisationSummary(Frozen):
    """All images of a split.

    n: those scored. without_lesion: those left out because they have no mask, or an empty one. without_activation:
    those of n whose map has no activation point; they have an IoU of 0, miss the pointing game, and have no overlap.
    """

    n: int
    without_lesion: int
    without_activation: int
    iou: Spread
    overlap: Spread
    pointing_game: float | None


def normalise(activation: npt.NDArray[np.floating]) -> npt.NDArray[np.float32]:
    """A map from 0 to 1: evidence against is cut off, then the least becomes 0 and the most 1.

    A map that is the same everywhere says nothing about place and becomes 0 everywhere. Shapes: [H, W] -> [H, W].
    """
    positive = np.maximum(activation, 0).astype(np.float64)
    span = positive.max() - positive.min()
    if span <= 0:
        return np.zeros(positive.shape, np.float32)
    return np.asarray((positive - positive.min()) / span, np.float32)


def dilate(mask: npt.NDArray[np.bool_], times: int = DILATIONS) -> npt.NDArray[np.bool_]:
    """Grow a mask by the 3×3 square, so many times; outside the frame is skin. Shapes: [H, W] -> [H, W]."""
    for _ in range(times):
        for axis in (0, 1):
            framed = np.pad(mask, [(1, 1) if axis == side else (0, 0) for side in (0, 1)])
            length = mask.shape[axis]
            shifted = [np.take(framed, range(start, start + length), axis) for start in range(3)]
            mask = np.asarray(shifted[0] | shifted[1] | shifted[2], bool)
    return mask


def score(activation: npt.NDArray[np.floating], mask: npt.NDArray[np.bool_]) -> Localisation | None:
    """Judge one map, None where the mask is empty: there is nothing to find then.

    Of equal highest activations the first counts, row by row. A map without any activation misses.

    Shapes: activation [H, W] from 0 to 1, mask [H, W].
    """
    assert activation.shape == mask.shape, "map and mask are compared pixel by pixel"
    if not mask.any():
        return None
    lesion, points = dilate(mask), activation > ACTIVATION_THRESHOLD
    both, found = np.count_nonzero(points & lesion), np.count_nonzero(points)
    highest = np.unravel_index(int(activation.argmax()), activation.shape)
    return Localisation(
        iou=both / np.count_nonzero(points | lesion),
        overlap=both / found if found else None,
        hit=bool(found and lesion[highest]),
    )


def summarise(scores: Sequence[Localisation | None]) -> LocalisationSummary:
    """The scores of a split; the pointing game is hits over hits and misses."""
    scored = [one for one in scores if one is not None]
    overlaps = [one.overlap for one in scored if one.overlap is not None]
    return LocalisationSummary(
        n=len(scored),
        without_lesion=len(scores) - len(scored),
        without_activation=len(scored) - len(overlaps),
        iou=Spread.of([one.iou for one in scored]),
        overlap=Spread.of(overlaps),
        pointing_game=sum(one.hit for one in scored) / len(scored) if scored else None,
    )
