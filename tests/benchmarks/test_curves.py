"""Curves against figures made by hand and by scikit-learn's definition of a ROC curve."""

import numpy as np
import pytest

from edgeskin.benchmarks import metrics
from edgeskin.benchmarks.answers import Answers, Predictions
from edgeskin.benchmarks.curves import POINTS, WORST, curves, reliability, roc, worst
from edgeskin.benchmarks.metrics import PixelCounts
from edgeskin.contract.model import HeadSpec

YES = HeadSpec(name="melanoma", kind="sigmoid", labels=("melanoma",), threshold=0.5)
KINDS = HeadSpec(name="diagnosis", kind="softmax", labels=("melanoma", "nevus", "seborrheic_keratosis"))


def answers(head: HeadSpec, truth: list[int], scores: list, in_int8: list | None = None) -> Answers:
    a, b = (
        np.array(each, np.float32).reshape(len(truth), -1) for each in (scores, scores if in_int8 is None else in_int8)
    )
    return Answers(head, np.arange(len(truth)), np.array(truth, np.int64), a, b, np.ones((3, len(truth))))


def predictions(jaccards: list[tuple[int, int]]) -> Predictions:
    """tp: intersection, fp: what was found besides."""
    tp, fp = (np.array(each, np.int64) for each in zip(*jaccards, strict=True))
    counts = PixelCounts(tp, fp, np.zeros_like(tp), np.zeros_like(tp))
    ids = tuple(f"p{number}" for number in range(len(jaccards)))
    return Predictions(ids, {}, np.ones(len(jaccards), bool), counts, counts)


def test_a_roc_curve_goes_through_the_corners_that_ties_leave():
    # By hand: at 0.9 one of two positives; at 0.6 the other, and one of two negatives with the same score; then all.
    curve = roc(answers(YES, [1, 1, 0, 0], [0.9, 0.6, 0.6, 0.2]))
    assert curve.int8 == ((0.0, 0.0), (0.0, 0.5), (0.5, 1.0), (1.0, 1.0))
    assert (curve.threshold, curve.int8_at_threshold) == (0.5, (0.5, 1.0))


def test_each_network_has_a_curve_of_its_own():
    curve = roc(answers(YES, [1, 0], [0.9, 0.2], [0.1, 0.2]))
    assert (curve.float, curve.float_at_threshold) == (((0.0, 0.0), (0.0, 1.0), (1.0, 1.0)), (0.0, 1.0))
    assert (curve.int8, curve.int8_at_threshold) == (((0.0, 0.0), (1.0, 0.0), (1.0, 1.0)), (0.0, 0.0))


def test_a_long_curve_is_thinned_and_keeps_its_area():
    rng = np.random.default_rng(1)
    truth = rng.random(3000) < 0.2
    scores = (truth * 0.3 + rng.random(3000) * 0.7).astype(np.float32)
    curve = roc(answers(YES, truth.astype(int).tolist(), scores.tolist()))
    x, y = np.array(curve.int8).T
    assert 90 < len(x) <= POINTS
    assert (curve.int8[0], curve.int8[-1]) == ((0.0, 0.0), (1.0, 1.0))
    assert (np.diff(x) >= 0).all()
    assert (np.diff(y) >= 0).all()
    assert np.trapezoid(y, x) == pytest.approx(float(metrics.auroc(truth, scores)), abs=0.002)


def test_reliability_has_the_bins_of_the_calibration_error():
    own = answers(YES, [1, 0, 0, 1], [0.95, 0.94, 0.1, 0.0])
    found = reliability(own)
    assert len(found.int8) == 15
    assert (found.int8[14].n, found.int8[14].probability, found.int8[14].happened) == (2, 0.945, 0.5)
    assert (found.int8[0].n, found.int8[0].happened) == (1, 1.0)
    assert (found.int8[7].n, found.int8[7].probability, found.int8[7].happened) == (0, None, None)
    total = sum(one.n * abs(one.happened - one.probability) for one in found.int8 if one.n) / 4
    assert total == pytest.approx(own.calibration_error().int8, abs=1e-4)


def test_reliability_of_several_classes_is_that_of_the_largest():
    found = reliability(answers(KINDS, [0, 2], [[0.7, 0.2, 0.1], [0.2, 0.7, 0.1]]))
    assert (found.int8[10].n, found.int8[10].happened) == (2, 0.5)


def test_jaccards_are_counted_in_twenty_bins():
    found = curves([], predictions([(1, 0), (1, 0), (0, 1), (1, 1)]), predictions([(1, 0)] * 4))
    assert found.jaccard.float == (1, *[0] * 9, 1, *[0] * 8, 2)
    assert found.jaccard.int8 == (*[0] * 19, 4)
    assert (found.roc, found.reliability) == ({}, {})


def test_a_head_without_both_classes_has_no_roc_curve():
    found = curves([answers(YES, [1, 1], [0.9, 0.1])], predictions([(1, 0)]), predictions([(1, 0)]))
    assert (found.roc, set(found.reliability)) == ({}, {"melanoma"})


def test_the_worst_cases_are_named_worst_first():
    mask = HeadSpec(name="mask", kind="mask", labels=("lesion",), threshold=0.5)
    heads = [
        answers(YES, [1, 0, 0], [0.5] * 3, [0.3, 0.9, 0.2]),
        answers(KINDS, [0, 1, 2], [[0.8, 0.1, 0.1], [0.1, 0.8, 0.1], [0.8, 0.1, 0.1]]),
    ]
    found = worst(heads, mask, predictions([(1, 0), (1, 3), (1, 1)]))
    told = {name: [(one.image_id, one.score) for one in cases] for name, cases in found.items()}
    assert told == {
        "mask": [("p1", 0.25), ("p2", 0.5), ("p0", 1.0)],
        "melanoma": [("p1", 0.1), ("p0", 0.3), ("p2", 0.8)],
        "diagnosis": [("p2", 0.1), ("p0", 0.8), ("p1", 0.8)],
    }


def test_no_more_of_the_worst_are_named_than_can_be_looked_at():
    many = predictions([(1, number) for number in range(40)])
    found = worst([answers(YES, [1] * 40, [0.5] * 40)], None, many)
    assert {name: len(cases) for name, cases in found.items()} == {"melanoma": WORST}
