"""The metrics, in NumPy: masks image by image, classification over a set of cases.

Every case-level metric takes `counts`: how often each case counts, shape [..., n], by default once. One formula so
serves the point estimate (shape [n] -> one number, as a 0-d array) and all bootstrap resamples at once ([B, n] -> [B]).

Undefined is nan: an AUROC, sensitivity or specificity that lacks a class, a mean of nothing. Undefined is never a good
value; the gate reads it as not measured.

Against the official scorer (isic-challenge-scoring 5.6): Jaccard, thresholded Jaccard, Dice, pixel sensitivity, pixel
specificity, AUROC and balanced accuracy agree to the last digit, with three differences. It scores a case-level
sensitivity or specificity without positives or negatives as 1, here it is nan; it counts a tie for the largest class
probability as wrong, here the first class wins, as on the phone; and its balanced accuracy of a single class is that
recall, here nan.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Floats: TypeAlias = npt.NDArray[np.float64]
Counts: TypeAlias = npt.NDArray[np.float64]
Bools: TypeAlias = npt.NDArray[np.bool_]
Integers: TypeAlias = npt.NDArray[np.int64]
Scores: TypeAlias = npt.NDArray[np.floating]

ECE_BINS = 15
JACCARD_THRESHOLD = 0.65
"""Below it an image scores 0 in the ISIC 2018 challenge: about the agreement of two dermatologists."""


# --- masks, one value an image ---


@dataclass(frozen=True, eq=False)
class PixelCounts:
    """Pixels of each image by truth and prediction; int64 [n], in the images' own sizes."""

    tp: Integers
    fp: Integers
    fn: Integers
    tn: Integers

    @staticmethod
    def of(truth: Bools, predicted: Bools) -> "PixelCounts":
        """Count one image; shapes [H, W], the same for both -> counts of shape [1]."""
        both, lesion, found = (int(np.count_nonzero(mask)) for mask in (truth & predicted, truth, predicted))
        cells = (both, found - both, lesion - both, truth.size - lesion - found + both)
        return PixelCounts(*(np.array([cell], np.int64) for cell in cells))

    @staticmethod
    def join(parts: Sequence["PixelCounts"]) -> "PixelCounts":
        """The images of several, one after the other."""
        fields = ("tp", "fp", "fn", "tn")
        return PixelCounts(
            *(np.array([cell for part in parts for cell in getattr(part, name)], np.int64) for name in fields)
        )


def jaccard(pixels: PixelCounts) -> Floats:
    """Intersection over union of each image; 1 where both masks are empty."""
    return _ratio(pixels.tp, pixels.tp + pixels.fp + pixels.fn, empty=1.0)


def thresholded_jaccard(pixels: PixelCounts) -> Floats:
    """Jaccard, counted as 0 below 0.65 (ISIC 2018 task 1)."""
    values = jaccard(pixels)
    return np.where(values >= JACCARD_THRESHOLD, values, 0.0)


def dice(pixels: PixelCounts) -> Floats:
    """Twice the intersection over the sum of both areas; 1 where both masks are empty."""
    return _ratio(2 * pixels.tp, 2 * pixels.tp + pixels.fp + pixels.fn, empty=1.0)


def pixel_sensitivity(pixels: PixelCounts) -> Floats:
    """Fraction of the lesion that was found; 1 where there is no lesion, as the official scorer has it."""
    return _ratio(pixels.tp, pixels.tp + pixels.fn, empty=1.0)


def pixel_specificity(pixels: PixelCounts) -> Floats:
    """Fraction of the skin that was left out; 1 where there is no skin, as the official scorer has it."""
    return _ratio(pixels.tn, pixels.tn + pixels.fp, empty=1.0)


def pixel_accuracy(pixels: PixelCounts) -> Floats:
    """Fraction of the pixels of each image that are called what they are."""
    return _ratio(pixels.tp + pixels.tn, pixels.tp + pixels.fp + pixels.fn + pixels.tn)


def mcc(pixels: PixelCounts) -> Floats:
    """Matthews correlation of each image, −1 to 1.

    Where a mask is empty or full it is undefined; then 1 if the masks are equal, else 0 (scikit-learn has 0 for both).
    """
    tp, fp, fn, tn = (cell.astype(np.float64) for cell in (pixels.tp, pixels.fp, pixels.fn, pixels.tn))
    scale = np.sqrt(tp + fp) * np.sqrt(tp + fn) * np.sqrt(tn + fp) * np.sqrt(tn + fn)
    equal = (fp + fn == 0).astype(np.float64)
    return np.where(scale > 0, np.divide(tp * tn - fp * fn, scale, out=np.zeros_like(scale), where=scale > 0), equal)


# --- cases: yes or no ---


def mean(values: Scores, counts: Counts | None = None) -> Floats:
    """Mean over the cases; nan where none counts."""
    weights = _weights(len(values), counts)
    return _ratio(weights @ values.astype(np.float64), weights.sum(axis=-1))


def auroc(truth: Bools, scores: Scores, counts: Counts | None = None) -> Floats:
    """Chance that a positive scores above a negative, ties counting half (midranks).

    It is nan where a class is absent or a score is no number.

    Shapes: truth, scores [n]; counts [..., n] -> [...]. Source: Hanley and McNeil, Radiology 143, 1982 (Mann-Whitney
    form).
    """
    weights = _weights(len(scores), counts)
    negatives = np.flatnonzero(~truth)[np.argsort(scores[~truth], kind="stable")]
    below = np.cumsum(weights[..., negatives], axis=-1)
    below = np.concatenate([np.zeros((*below.shape[:-1], 1)), below], axis=-1)
    first, last = (np.searchsorted(scores[negatives], scores[truth], side) for side in ("left", "right"))
    wins = (below[..., first] + below[..., last]) / 2
    wins = wins if np.isfinite(scores).all() else wins * math.nan
    positives = weights[..., truth]
    return _ratio((wins * positives).sum(axis=-1), positives.sum(axis=-1) * below[..., -1])


def sensitivity(truth: Bools, scores: Scores, threshold: float, counts: Counts | None = None) -> Floats:
    """Fraction of the positives that score at or above `threshold`; nan without positives."""
    weights = _weights(len(scores), counts)
    return _ratio(weights @ (truth & (scores >= threshold)), weights @ truth)


def specificity(truth: Bools, scores: Scores, threshold: float, counts: Counts | None = None) -> Floats:
    """Fraction of the negatives that score below `threshold`; nan without negatives."""
    weights = _weights(len(scores), counts)
    return _ratio(weights @ (~truth & (scores < threshold)), weights @ ~truth)


def threshold_at_sensitivity(truth: Bools, scores: Scores, target: float) -> float:
    """The largest score that, as a threshold, finds at least `target` of the positives; nan without positives."""
    positives = np.sort(scores[truth])[::-1]
    if not len(positives):
        return math.nan
    return float(positives[max(_at_least(target, len(positives)), 1) - 1])


def threshold_at_specificity(truth: Bools, scores: Scores, target: float) -> float:
    """The smallest score that, as a threshold, clears at least `target` of the negatives; nan without negatives.

    It is inf where no score is high enough, that is, where only finding nothing would do.
    """
    negatives = np.sort(scores[~truth])
    if not len(negatives):
        return math.nan
    needed = _at_least(target, len(negatives))
    enough = scores > negatives[needed - 1] if needed else np.ones(len(scores), bool)
    return float(np.min(scores, where=enough, initial=math.inf))


def sensitivity_at_specificity(truth: Bools, scores: Scores, target: float, counts: Counts | None = None) -> Floats:
    """Sensitivity where at least `target` of the negatives are cleared: the ROC curve read at one point.

    The threshold is found once on all cases and held for every row of `counts`.
    """
    return sensitivity(truth, scores, threshold_at_specificity(truth, scores, target), counts)


def calibration_bins(probability: Scores) -> Integers:
    """In which of the 15 equal-width bins (a, b] each probability lies; 0 lies in the first."""
    bins: Integers = np.ceil(probability.astype(np.float64) * ECE_BINS).astype(np.int64) - 1
    return np.clip(bins, 0, ECE_BINS - 1)


def calibration_error(happened: Bools, probability: Scores, counts: Counts | None = None) -> Floats:
    """Expected calibration error over 15 equal-width bins (a, b]; nan where no case counts.

    A yes-or-no head: `happened` is the truth and `probability` that of yes. A softmax head, top-label: `happened` is
    whether the largest probability named the truth, `probability` that largest one. Source: Guo et al., ICML 2017,
    eq. 3.
    """
    weights, bins = _weights(len(probability), counts), calibration_bins(probability)
    gaps = np.zeros((len(bins), ECE_BINS))
    gaps[np.arange(len(bins)), bins] = happened - probability.astype(np.float64)
    return _ratio(np.abs(weights @ gaps).sum(axis=-1), weights.sum(axis=-1))


# --- cases: one of several ---


def confusion(truth: Integers, predicted: Integers, classes: int, counts: Counts | None = None) -> Floats:
    """How often each class (row) was called each class (column); [..., classes, classes]."""
    weights = _weights(len(truth), counts)
    cells = np.zeros((len(truth), classes * classes))
    cells[np.arange(len(truth)), truth * classes + predicted] = 1
    return np.asarray(weights @ cells).reshape(*weights.shape[:-1], classes, classes)


def accuracy(matrix: Floats) -> Floats:
    """Fraction named correctly; nan for no cases."""
    return _ratio(_hits(matrix).sum(axis=-1), matrix.sum(axis=(-2, -1)))


def balanced_accuracy(matrix: Floats) -> Floats:
    """Mean recall over the classes that occur; nan where fewer than two do.

    Source: papers/unet_multitask_thesis.txt, eq. 9; the ISIC 2018 task 3 metric.
    """
    support = matrix.sum(axis=-1)
    present = np.count_nonzero(support, axis=-1)
    recall = _ratio(_hits(matrix), support, empty=0.0)
    return _ratio(recall.sum(axis=-1), np.where(present > 1, present, 0))


def macro_auroc(truth: Integers, probabilities: Scores, counts: Counts | None = None) -> Floats:
    """Mean over the classes of the AUROC of each against the rest; nan where a class or its rest is absent.

    Shapes: truth [n] of 0 … classes − 1, probabilities [n, classes], counts [..., n] -> [...].
    """
    classes = range(probabilities.shape[1])
    return np.asarray(np.mean([auroc(truth == c, probabilities[:, c], counts) for c in classes], axis=0), np.float64)


def macro_f1(matrix: Floats) -> Floats:
    """Mean F1 over the classes that occur in truth or prediction; nan for no cases."""
    size = matrix.sum(axis=-1) + matrix.sum(axis=-2)
    return _ratio(_f1(matrix).sum(axis=-1), np.count_nonzero(size, axis=-1))


def weighted_f1(matrix: Floats) -> Floats:
    """Mean F1 over the classes, weighted by how often each is the truth; nan for no cases."""
    support = matrix.sum(axis=-1)
    return _ratio((_f1(matrix) * support).sum(axis=-1), support.sum(axis=-1))


def kappa(matrix: Floats) -> Floats:
    """Cohen's kappa, agreement beyond chance; nan where chance alone agrees always (one class in both)."""
    total = matrix.sum(axis=(-2, -1))
    chance = (matrix.sum(axis=-1) * matrix.sum(axis=-2)).sum(axis=-1)
    return _ratio(_hits(matrix).sum(axis=-1) * total - chance, total * total - chance)


def mean_performance(bacc: Floats, jac: Floats) -> Floats:
    """(BACC + JAC) / 2. Source: papers/unet_multitask_thesis.txt, eq. 11."""
    return (bacc + jac) / 2


def _weights(n: int, counts: Counts | None) -> Counts:
    return np.ones(n) if counts is None else counts


def _ratio(numerator: npt.ArrayLike, denominator: npt.ArrayLike, empty: float = math.nan) -> Floats:
    below = np.asarray(denominator, np.float64)
    result: Floats = np.full(below.shape, empty)
    return np.divide(np.asarray(numerator, np.float64), below, out=result, where=below > 0)


def _at_least(fraction: float, n: int) -> int:
    """How many of n make at least `fraction`; 0.8 of 5 is 4, whatever 0.8 · 5 is in binary."""
    return math.ceil(fraction * n - 1e-9)


def _hits(matrix: Floats) -> Floats:
    hits: Floats = np.einsum("...cc->...c", matrix)
    return hits


def _f1(matrix: Floats) -> Floats:
    return _ratio(2 * _hits(matrix), matrix.sum(axis=-1) + matrix.sum(axis=-2), empty=0.0)
