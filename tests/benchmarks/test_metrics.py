"""Numbers come from hand computation, scikit-learn, and the official scorer isic-challenge-scoring."""

import math
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeskin.benchmarks import metrics
from edgeskin.benchmarks.metrics import PixelCounts

sklearn_metrics = pytest.importorskip("sklearn.metrics")

SIZES = st.integers(2, 60)


def _mask(text: str) -> np.ndarray:
    return np.array([[cell == "#" for cell in row] for row in text.split()])


def _draw(seed: int, n: int, levels: int) -> tuple[np.ndarray, np.ndarray]:
    """Truth and scores with many ties."""
    generator = np.random.default_rng(seed)
    truth = generator.random(n) < 0.4
    truth[0], truth[1] = True, False
    return truth, (generator.integers(0, levels, n) / levels).astype(np.float32)


def _four_masks() -> tuple[list[np.ndarray], list[np.ndarray]]:
    generator = np.random.default_rng(3)
    truth = [generator.random((12, 10)) < 0.5 for _ in range(40)]
    found = [np.where(generator.random((12, 10)) < 0.1 * (i % 8), ~mask, mask) for i, mask in enumerate(truth)]
    empty = np.zeros((12, 10), bool)
    return [*truth, empty, empty, ~empty, truth[0]], [*found, empty, truth[0], ~empty, empty]


def _pixels(truth: list[np.ndarray], found: list[np.ndarray]) -> PixelCounts:
    return PixelCounts.join([PixelCounts.of(a, b) for a, b in zip(truth, found, strict=True)])


def test_mask_metrics_agree_with_a_hand_count():
    pixels = PixelCounts.of(_mask("###. ###. ...."), _mask(".##. .##. .##."))
    # By hand: 4 in both, 2 only found, 2 only true, 4 in neither.
    assert (pixels.tp[0], pixels.fp[0], pixels.fn[0], pixels.tn[0]) == (4, 2, 2, 4)
    assert metrics.jaccard(pixels)[0] == 4 / 8
    assert metrics.thresholded_jaccard(pixels)[0] == 0
    assert metrics.dice(pixels)[0] == 8 / 12
    assert metrics.mcc(pixels)[0] == pytest.approx((4 * 4 - 2 * 2) / 36)
    assert metrics.pixel_sensitivity(pixels)[0] == 4 / 6
    assert metrics.pixel_specificity(pixels)[0] == 4 / 6
    assert metrics.pixel_accuracy(pixels)[0] == 8 / 12


def test_a_jaccard_of_exactly_65_percent_counts():
    truth = np.zeros((1, 100), bool)
    truth[0, :100] = True
    assert metrics.thresholded_jaccard(PixelCounts.of(truth, np.arange(100)[np.newaxis] < 65))[0] == 0.65
    assert metrics.thresholded_jaccard(PixelCounts.of(truth, np.arange(100)[np.newaxis] < 64))[0] == 0


def test_mask_metrics_agree_with_the_official_scorer_empties_included():
    official = pytest.importorskip("isic_challenge_scoring.metrics")
    confusion = pytest.importorskip("isic_challenge_scoring.confusion")
    truth, found = _four_masks()
    pixels = _pixels(truth, found)
    matrices = [confusion.create_binary_confusion_matrix(a, b) for a, b in zip(truth, found, strict=True)]
    for ours, theirs in [
        (metrics.jaccard, official.binary_jaccard),
        (metrics.thresholded_jaccard, official.binary_threshold_jaccard),
        (metrics.dice, official.binary_dice),
        (metrics.pixel_sensitivity, official.binary_sensitivity),
        (metrics.pixel_specificity, official.binary_specificity),
    ]:
        np.testing.assert_array_equal(ours(pixels), [theirs(matrix) for matrix in matrices])


def test_mcc_agrees_with_scikit_learn_where_it_is_defined():
    truth, found = (masks[:40] for masks in _four_masks())
    expected = [sklearn_metrics.matthews_corrcoef(a.ravel(), b.ravel()) for a, b in zip(truth, found, strict=True)]
    np.testing.assert_allclose(metrics.mcc(_pixels(truth, found)), expected, rtol=1e-12)


def test_mcc_of_empty_masks_is_one_where_they_agree_and_zero_where_not():
    empty, some = _mask(".. .."), _mask("#. ..")
    assert metrics.mcc(_pixels([empty, ~empty, empty, some], [empty, ~empty, some, empty])).tolist() == [1, 1, 0, 0]


def test_mcc_of_a_large_photo_does_not_overflow():
    truth = np.zeros((4000, 3000), bool)
    truth[1000:3000] = True
    found = np.roll(truth, 100, axis=0)
    expected = (5_700_000 * 5_700_000 - 300_000 * 300_000) / 6_000_000**2
    assert metrics.mcc(PixelCounts.of(truth, found))[0] == pytest.approx(expected, rel=1e-12)


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 10**6), n=SIZES, levels=st.sampled_from([2, 5, 1000]))
def test_yes_or_no_metrics_agree_with_scikit_learn(seed, n, levels):
    truth, scores = _draw(seed, n, levels)
    assert float(metrics.auroc(truth, scores)) == pytest.approx(sklearn_metrics.roc_auc_score(truth, scores), abs=1e-12)
    decided = scores >= np.float32(0.5)
    assert float(metrics.sensitivity(truth, scores, 0.5)) == sklearn_metrics.recall_score(truth, decided)
    assert float(metrics.specificity(truth, scores, 0.5)) == sklearn_metrics.recall_score(~truth, ~decided)
    false_alarms, found, _ = sklearn_metrics.roc_curve(truth, scores, drop_intermediate=False)
    expected = found[false_alarms <= 0.2 + 1e-9].max()
    assert float(metrics.sensitivity_at_specificity(truth, scores, 0.8)) == pytest.approx(expected, abs=1e-12)


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 10**6), n=SIZES)
def test_counting_a_case_twice_is_the_same_as_having_it_twice(seed, n):
    truth, scores = _draw(seed, n, 7)
    times = np.random.default_rng(seed + 1).integers(0, 4, n)
    times[:2] = 2  # one of each class stays
    counts, repeated = times.astype(float), np.repeat(np.arange(n), times)
    for metric in (metrics.auroc, metrics.calibration_error):
        expected = float(metric(truth[repeated], scores[repeated]))
        assert float(metric(truth, scores, counts)) == pytest.approx(expected, abs=1e-12)
    weighted = sklearn_metrics.roc_auc_score(truth, scores, sample_weight=times)
    assert float(metrics.auroc(truth, scores, counts)) == pytest.approx(weighted, abs=1e-12)
    assert float(metrics.mean(scores, counts)) == pytest.approx(np.average(scores, weights=times), abs=1e-6)


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 10**6), n=SIZES, classes=st.integers(2, 5))
def test_metrics_of_several_classes_agree_with_scikit_learn(seed, n, classes):
    generator = np.random.default_rng(seed)
    truth, found = generator.integers(0, classes, (2, n))
    matrix = metrics.confusion(truth, found, classes)
    labels = list(range(classes))
    np.testing.assert_array_equal(matrix, sklearn_metrics.confusion_matrix(truth, found, labels=labels))
    assert float(metrics.accuracy(matrix)) == pytest.approx(sklearn_metrics.accuracy_score(truth, found))
    for ours, average in ((metrics.macro_f1, "macro"), (metrics.weighted_f1, "weighted")):
        assert float(ours(matrix)) == pytest.approx(sklearn_metrics.f1_score(truth, found, average=average), abs=1e-12)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scikit-learn warns of absent classes, which it leaves out as we do
        balanced = sklearn_metrics.balanced_accuracy_score(truth, found)
        kappa = sklearn_metrics.cohen_kappa_score(truth, found)
    if len(set(truth)) > 1:
        assert float(metrics.balanced_accuracy(matrix)) == pytest.approx(balanced, abs=1e-12)
        assert float(metrics.kappa(matrix)) == pytest.approx(kappa, abs=1e-12)


def test_the_auroc_of_several_classes_agrees_with_scikit_learn_and_needs_every_class():
    generator = np.random.default_rng(8)
    truth = generator.integers(0, 4, 80)
    probabilities = generator.dirichlet(np.ones(4), 80)
    expected = sklearn_metrics.roc_auc_score(truth, probabilities, multi_class="ovr", average="macro")
    assert float(metrics.macro_auroc(truth, probabilities)) == pytest.approx(expected, abs=1e-12)
    twice = np.where(np.arange(80) < 10, 2.0, 1.0)
    once_more = np.concatenate([np.arange(80), np.arange(10)])
    again = sklearn_metrics.roc_auc_score(truth[once_more], probabilities[once_more], multi_class="ovr")
    assert metrics.macro_auroc(truth, probabilities, twice[None]).tolist() == [pytest.approx(again, abs=1e-12)]
    assert math.isnan(metrics.macro_auroc(truth[truth < 3], probabilities[truth < 3]))


def test_classification_agrees_with_the_official_scorer():
    official = pytest.importorskip("isic_challenge_scoring.metrics")
    pandas = pytest.importorskip("pandas")
    generator = np.random.default_rng(5)
    truth = generator.integers(0, 3, 200)
    probabilities = generator.dirichlet(np.ones(3), 200) + np.eye(3)[truth] * 0.3
    probabilities[:50] = probabilities[:50].round(1)  # ties for the AUROC
    labels = ["melanoma", "nevus", "seborrheic_keratosis"]
    weights = pandas.Series(np.ones(200))
    for index, label in enumerate(labels):
        one = pandas.DataFrame(probabilities, columns=labels)[label]
        expected = official.auc(pandas.Series((truth == index).astype(float)), one, weights)
        assert float(metrics.auroc(truth == index, probabilities[:, index])) == pytest.approx(expected, abs=1e-12)
    untied = generator.dirichlet(np.ones(3), 200)
    expected = official.balanced_multiclass_accuracy(
        pandas.DataFrame(np.eye(3)[truth], columns=labels), pandas.DataFrame(untied, columns=labels), weights
    )
    matrix = metrics.confusion(truth, untied.argmax(axis=1), 3)
    assert float(metrics.balanced_accuracy(matrix)) == pytest.approx(expected, abs=1e-12)


def test_what_lacks_a_class_is_undefined():
    scores = np.array([0.1, 0.9])
    for truth in (np.array([True, True]), np.array([False, False])):
        assert math.isnan(metrics.auroc(truth, scores))
    assert math.isnan(metrics.sensitivity(np.array([False, False]), scores, 0.5))
    assert math.isnan(metrics.specificity(np.array([True, True]), scores, 0.5))
    assert math.isnan(metrics.threshold_at_sensitivity(np.array([False, False]), scores, 0.9))
    assert math.isnan(metrics.threshold_at_specificity(np.array([True, True]), scores, 0.9))
    one_class = metrics.confusion(np.array([1, 1]), np.array([1, 1]), 3)
    assert math.isnan(metrics.balanced_accuracy(one_class))
    assert math.isnan(metrics.kappa(one_class))
    assert float(metrics.accuracy(one_class)) == 1


def test_what_has_no_case_is_undefined():
    none = np.array([], dtype=np.int64)
    assert math.isnan(metrics.mean(none.astype(float)))
    assert math.isnan(metrics.calibration_error(none.astype(bool), none.astype(float)))
    for metric in (metrics.accuracy, metrics.balanced_accuracy, metrics.macro_f1, metrics.weighted_f1, metrics.kappa):
        assert math.isnan(metric(metrics.confusion(none, none, 3)))


def test_thresholds_reach_their_target_on_the_cases_they_were_chosen_on():
    truth = np.array([1, 1, 1, 1, 1, 0, 0, 0, 0, 0], bool)
    scores = np.array([0.9, 0.8, 0.7, 0.6, 0.2, 0.65, 0.5, 0.4, 0.3, 0.1])
    # By hand: 4 of 5 positives score at least 0.6; 4 of 5 negatives below 0.6 (the next score above 0.5).
    assert metrics.threshold_at_sensitivity(truth, scores, 0.8) == 0.6
    assert metrics.threshold_at_specificity(truth, scores, 0.8) == 0.6
    assert metrics.threshold_at_sensitivity(truth, scores, 0.81) == 0.2
    assert metrics.threshold_at_specificity(truth, scores, 0.81) == 0.7
    assert metrics.threshold_at_specificity(truth, scores, 0) == 0.1
    assert metrics.threshold_at_sensitivity(truth, scores, 0) == 0.9
    assert float(metrics.sensitivity_at_specificity(truth, scores, 0.8)) == 0.8


def test_a_specificity_that_no_score_reaches_finds_nothing():
    truth, scores = np.array([True, False]), np.array([0.5, 0.5])
    assert metrics.threshold_at_specificity(truth, scores, 0.8) == math.inf
    assert float(metrics.sensitivity_at_specificity(truth, scores, 0.8)) == 0


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 10**6), n=SIZES, target=st.floats(0.01, 1))
def test_a_chosen_threshold_is_the_best_that_reaches_its_target(seed, n, target):
    truth, scores = _draw(seed, n, 9)
    at = metrics.threshold_at_sensitivity(truth, scores, target)
    reaching = [t for t in np.unique(scores) if metrics.sensitivity(truth, scores, t) >= target - 1e-9]
    assert at == max(reaching)
    at = metrics.threshold_at_specificity(truth, scores, target)
    reaching = [t for t in np.unique(scores) if metrics.specificity(truth, scores, t) >= target - 1e-9]
    assert at == min(reaching, default=math.inf)


def test_calibration_error_agrees_with_a_hand_count():
    happened = np.array([1, 0, 1, 1], bool)
    probability = np.array([0.31, 0.32, 0.95, 0.99])
    # Bins of 1/15: (4/15, 5/15] holds the first two, (14/15, 1] the others.
    expected = (abs(1 - 0.31 - 0.32) + abs(2 - 0.95 - 0.99)) / 4
    assert float(metrics.calibration_error(happened, probability)) == pytest.approx(expected)


def test_calibration_bins_hold_their_upper_edge_and_the_first_one_zero():
    happened, probability = np.array([1, 0, 0, 1], bool), np.array([0.0, 1 / 15, 1.0, 1.0])
    assert float(metrics.calibration_error(happened, probability)) == pytest.approx((abs(1 - 1 / 15) + abs(1 - 2)) / 4)


def test_f1_and_kappa_agree_with_a_hand_count():
    matrix = np.array([[4.0, 1.0], [2.0, 3.0]])
    assert float(metrics.macro_f1(matrix)) == pytest.approx((8 / 11 + 6 / 9) / 2)
    assert float(metrics.weighted_f1(matrix)) == pytest.approx((8 / 11 * 5 + 6 / 9 * 5) / 10)
    assert float(metrics.kappa(matrix)) == pytest.approx((0.7 - 0.5) / (1 - 0.5))
    assert float(metrics.mean_performance(np.array(0.7), np.array(0.8))) == pytest.approx(0.75)


def test_the_official_scorer_differs_where_we_say_it_does():
    official = pytest.importorskip("isic_challenge_scoring.metrics")
    pandas = pytest.importorskip("pandas")
    no_positives = pandas.Series({"TP": 0, "FN": 0, "FP": 1, "TN": 1})
    assert official.binary_sensitivity(no_positives) == 1
    assert math.isnan(metrics.sensitivity(np.array([False, False]), np.array([0.9, 0.1]), 0.5))

    def scored(truth: list[int], probabilities: list[list[float]]) -> tuple[float, float]:
        theirs = official.balanced_multiclass_accuracy(
            pandas.DataFrame(np.eye(2)[truth], columns=["no", "yes"]),
            pandas.DataFrame(probabilities, columns=["no", "yes"]),
            pandas.Series(np.ones(len(truth))),
        )
        found = np.argmax(probabilities, axis=1)
        return theirs, float(metrics.balanced_accuracy(metrics.confusion(np.array(truth), found, 2)))

    assert scored([0, 1], [[0.5, 0.5], [0.1, 0.9]]) == (0.5, 1.0)  # a tie
    theirs, ours = scored([0, 0], [[0.9, 0.1], [0.8, 0.2]])  # one class only
    assert theirs == 1
    assert math.isnan(ours)
