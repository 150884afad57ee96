"""What the pictures of a report are drawn from, small enough to be kept: curves, histograms, and the worst cases."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from edgeskin.benchmarks import metrics
from edgeskin.benchmarks.answers import Answers, Predictions
from edgeskin.benchmarks.measurements import (
    Curves,
    JaccardCounts,
    Point,
    Reliability,
    ReliabilityBin,
    RocCurve,
    WorstCase,
)
from edgeskin.benchmarks.metrics import ECE_BINS, Bools, Floats, PixelCounts, Scores
from edgeskin.contract.model import HeadSpec

POINTS = 101
"""The most that a curve has."""
JACCARD_BINS = 20
WORST = 12
"""How many of the worst cases are named."""
_DECIMALS = 5


def curves(answers: Sequence[Answers], in_float: Predictions, in_int8: Predictions) -> Curves:
    """The curves of all heads. A head without both classes has no ROC curve."""
    return Curves(
        roc={
            one.head.name: roc(one)
            for one in answers
            if one.head.kind == "sigmoid" and 0 < one.positive.sum() < len(one.rows)
        },
        reliability={one.head.name: reliability(one) for one in answers if len(one.rows)},
        jaccard=JaccardCounts(float=_jaccards(in_float.cleaned), int8=_jaccards(in_int8.cleaned))
        if in_int8.masked.any()
        else None,
    )


def worst(answers: Sequence[Answers], mask: HeadSpec | None, shipped: Predictions) -> dict[str, tuple[WorstCase, ...]]:
    """By head, the cases that the network that ships answered worst, worst first; of equal ones the first."""
    ids = np.array(shipped.image_ids)
    found = {} if mask is None else {mask.name: _worst(ids[shipped.masked], metrics.jaccard(shipped.cleaned))}
    return found | {one.head.name: _worst(ids[one.rows], one.of_truth(one.in_int8)) for one in answers}


def roc(answers: Answers) -> RocCurve:
    """Of a sigmoid head whose truth has both classes."""
    truth, threshold = answers.positive, answers.threshold
    (a, a_at), (b, b_at) = (
        (_staircase(truth, scores[:, 0]), _operating(truth, scores[:, 0] >= threshold))
        for scores in (answers.in_float, answers.in_int8)
    )
    return RocCurve(threshold=threshold, float=a, int8=b, float_at_threshold=a_at, int8_at_threshold=b_at)


def reliability(answers: Answers) -> Reliability:
    """Of a sigmoid or softmax head, in the bins of its calibration error."""
    a, b = (_bins(answers.happened(each), answers.probability(each)) for each in (answers.in_float, answers.in_int8))
    return Reliability(float=a, int8=b)


def _staircase(truth: Bools, scores: Scores) -> tuple[Point, ...]:
    """The curve's corners; of more than fit, those nearest to even steps along it."""
    order = np.argsort(-scores, kind="stable")
    last_of_ties = np.append(np.flatnonzero(np.diff(scores[order])), len(order) - 1)
    found, alarms = (np.cumsum(hits[order])[last_of_ties] / np.count_nonzero(hits) for hits in (truth, ~truth))
    x, y = np.append(0.0, alarms), np.append(0.0, found)
    if len(x) > POINTS:
        along = x + y
        kept = np.unique(np.searchsorted(along, np.linspace(0, along[-1], POINTS)).clip(0, len(x) - 1))
        x, y = x[kept], y[kept]
    return tuple(zip(_rounded(x), _rounded(y), strict=True))


def _operating(truth: Bools, called: Bools) -> Point:
    alarms, found = _rounded(np.array([called[~truth].mean(), called[truth].mean()]))
    return alarms, found


def _bins(happened: Bools, probability: Scores) -> tuple[ReliabilityBin, ...]:
    own = metrics.calibration_bins(probability)
    n = np.bincount(own, minlength=ECE_BINS)
    sums = (np.bincount(own, weights, ECE_BINS) for weights in (probability, happened))
    means = (np.divide(each, n, out=np.full(ECE_BINS, np.nan), where=n > 0) for each in sums)
    return tuple(
        ReliabilityBin(n=int(count), probability=mean, happened=share)
        for count, mean, share in zip(n, *map(_rounded, means), strict=True)
    )


def _jaccards(pixels: PixelCounts) -> tuple[int, ...]:
    counts, _ = np.histogram(metrics.jaccard(pixels), JACCARD_BINS, (0, 1))
    return tuple(map(int, counts))


def _worst(ids: npt.NDArray[np.str_], scores: Scores) -> tuple[WorstCase, ...]:
    order = np.argsort(scores, kind="stable")[:WORST]
    return tuple(
        WorstCase(image_id=str(image_id), score=score)
        for image_id, score in zip(ids[order], _rounded(scores[order]), strict=True)
    )


def _rounded(values: Floats | Scores) -> list[float]:
    return [round(float(value), _DECIMALS) for value in values]
