"""Symmetry of a lesion's outline, and the voted cases that are kept from a network whose symmetry is reported.

The two sources of symmetry never mix: votes are the column `symmetry`, geometry the column `mask_symmetry`; what agrees
with an outline says nothing about colour or texture.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cache
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from edgeskin.data.cases import Case, cells, read_mask
from edgeskin.data.splits import carve_select
from edgeskin.data.votes import SYMMETRY, WORDS

Mask: TypeAlias = npt.NDArray[np.bool_]
Float64: TypeAlias = npt.NDArray[np.float64]

MASK_SYMMETRY = "mask_symmetry"
ASYMMETRIC = 0.08
"""From this `mask_asymmetry` on a mask is called asymmetric.

On the 1834 voted ISIC 2017 images, asymmetry has an AUROC of 0.70 for the votes (0.68 for the crowd's alone; 0.68 where
the better axis decides), and this limit, among steps of 0.02, the best balanced accuracy: 0.65.
"""
HELD_OUT = 0.2
"""The share of the voted cases that no network may see whose symmetry is reported."""


def mask_asymmetry(mask: Mask) -> float:
    """The share of a lesion that lands outside it when it is folded over a principal axis: the mean of both axes.

    Shapes: mask [H, W], true on the lesion -> 0 (mirror images about both axes) to 1; 0 for an empty mask. The axes are
    the eigenvectors of the pixels' covariance, through their centroid: rows and columns where its eigenvalues are
    equal. Beyond the frame is skin. Source: papers/se_lcn_symmetry_cascade_2024.txt, section 3.4 (its reference 87).
    """
    pixels = np.argwhere(mask).astype(np.float64)
    if not len(pixels):
        return 0.0
    centroid = pixels.mean(axis=0)
    centred = pixels - centroid
    _, axes = np.linalg.eigh(centred.T @ centred)
    return float(np.mean([_outside_when_folded(mask, centred, centroid, axis) for axis in axes.T]))


def _outside_when_folded(mask: Mask, centred: Float64, centroid: Float64, axis: Float64) -> float:
    """Shapes: mask [H, W], centred [pixels, 2] about the centroid [2], axis [2] of length 1."""
    mirrored = np.rint(2 * np.outer(centred @ axis, axis) - centred + centroid).astype(np.int64)
    inside = ((mirrored >= 0) & (mirrored < mask.shape)).all(axis=1)
    rows, columns = mirrored[inside].T
    return 1 - float(np.count_nonzero(mask[rows, columns])) / len(centred)


def with_mask_symmetry(cases: Sequence[Case]) -> tuple[Case, ...]:
    """The cases with the column `mask_symmetry`: symmetric or asymmetric by outline, empty without a mask.

    Each mask is measured once a process, and again when its file has changed. Raises: DataError where a mask is
    unreadable.
    """

    def one(case: Case) -> Case:
        if case.mask is None:
            return case.noting(MASK_SYMMETRY, "")
        changed_ns = case.mask.stat().st_mtime_ns if case.mask.exists() else 0  # read_mask says what is wrong with it
        return case.noting(MASK_SYMMETRY, _outline(replace(case, split="", group=None, labels={}), changed_ns))

    with ThreadPoolExecutor() as pool:
        return tuple(pool.map(one, cases))


@cache
def _outline(case: Case, _changed_ns: int) -> str:
    """The word for a case's mask; when its file was written is a part of the key."""
    return WORDS[mask_asymmetry(read_mask(case)) >= ASYMMETRIC]


def hold_out_voted(cases: Sequence[Case], *, seed: int) -> tuple[tuple[Case, ...], tuple[Case, ...]]:
    """Divide training cases into (rest, held out): a fifth of those with a vote on symmetry.

    Both classes keep their shares; groups stay whole; the draw depends on seed and ids alone. Raises: DataError where
    the column `symmetry` is absent, or fewer than two cases have a vote.
    """
    voted = [case for case, word in zip(cases, cells(cases, SYMMETRY), strict=True) if word]
    _, held = carve_select(voted, round(HELD_OUT * len(voted)), seed=seed, stratify=SYMMETRY)
    out = {case.image_id for case in held}
    groups = {case.group for case in held} - {None}
    rest = tuple(case for case in cases if case.image_id not in out and case.group not in groups)
    return rest, held
