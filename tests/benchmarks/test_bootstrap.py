"""The vectorised bootstrap against a loop that really draws the images."""

import math
from functools import partial

import numpy as np
import pytest

from edgeskin.benchmarks import metrics
from edgeskin.benchmarks.bootstrap import compare, interval95, resample_counts, upper95


def _two_networks(n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    generator = np.random.default_rng(8)
    truth = generator.random(n) < 0.3
    in_float = np.clip(truth * 0.3 + generator.random(n) * 0.7, 0, 1)
    return truth, in_float, np.round(np.clip(in_float + generator.normal(0, 0.1, n), 0, 1), 2)


def test_equal_seeds_draw_equal_resamples_and_other_seeds_others():
    first = resample_counts(50, 20, seed=1)
    np.testing.assert_array_equal(first, resample_counts(50, 20, seed=1))
    assert not np.array_equal(first, resample_counts(50, 20, seed=2))


def test_every_resample_holds_as_many_cases_as_there_are():
    counts = resample_counts(30, 200)
    assert counts.shape == (200, 30)
    assert set(counts.sum(axis=1)) == {30}
    assert counts.mean() == 1


def test_cases_of_one_patient_are_drawn_together():
    counts = resample_counts(6, 50, groups=["a", "b", "a", "c", "b", "a"])
    np.testing.assert_array_equal(counts[:, 0], counts[:, 2])
    np.testing.assert_array_equal(counts[:, 0], counts[:, 5])
    np.testing.assert_array_equal(counts[:, 1], counts[:, 4])
    assert set(counts[:, [0, 1, 3]].sum(axis=1)) == {3}


def test_the_paired_bound_equals_that_of_a_loop_over_drawn_images():
    truth, in_float, in_int8 = _two_networks(80)
    counts = resample_counts(80, 300)
    drops, int8_values = [], []
    for row in counts.astype(int):
        drawn = np.repeat(np.arange(80), row)
        a, b = (float(metrics.auroc(truth[drawn], scores[drawn])) for scores in (in_float, in_int8))
        drops.append(a - b)
        int8_values.append(b)
    figure = compare(partial(metrics.auroc, truth, in_float), partial(metrics.auroc, truth, in_int8), counts)
    assert figure.drop_upper95 == pytest.approx(np.percentile(drops, 95), abs=1e-12)
    assert figure.ci95 == pytest.approx(tuple(np.percentile(int8_values, [2.5, 97.5])), abs=1e-12)
    assert figure.smallest_detectable_drop == pytest.approx(1.645 * np.std(drops, ddof=1), abs=1e-12)
    assert figure.n == 80


def test_the_interval_of_a_mean_is_that_of_the_normal_approximation():
    values = np.random.default_rng(2).random(400)
    figure = compare(partial(metrics.mean, values), partial(metrics.mean, values), resample_counts(400, 2000))
    half = 1.96 * values.std(ddof=1) / math.sqrt(400)
    assert figure.ci95 == pytest.approx((values.mean() - half, values.mean() + half), abs=0.003)


def test_a_network_that_is_equal_drops_nothing():
    truth, scores, _ = _two_networks(60)
    statistic = partial(metrics.auroc, truth, scores)
    figure = compare(statistic, statistic, resample_counts(60, 100))
    assert (figure.drop, figure.drop_upper95, figure.smallest_detectable_drop) == (0, 0, 0)


def test_a_rise_of_something_where_less_is_better_is_a_drop():
    worse = compare(
        partial(metrics.mean, np.full(10, 0.1)),
        partial(metrics.mean, np.full(10, 0.3)),
        resample_counts(10, 50),
        lower_is_better=True,
    )
    assert worse.drop == pytest.approx(0.2)
    assert worse.drop_upper95 == pytest.approx(0.2)


def test_resamples_without_a_class_are_left_out_while_they_are_few():
    values = np.array([0.1, 0.2, 0.3, 0.4] * 25)
    values[0] = math.nan
    assert interval95(values) == pytest.approx(tuple(np.nanquantile(values, [0.025, 0.975])))
    assert upper95(values) == pytest.approx(np.nanquantile(values, 0.95))
    values[:6] = math.nan
    assert all(map(math.isnan, interval95(values)))
    assert math.isnan(upper95(values))


def test_a_class_of_one_case_has_an_estimate_but_no_bound():
    truth = np.zeros(40, bool)
    truth[3] = True
    scores = np.linspace(0, 1, 40)
    figure = compare(partial(metrics.auroc, truth, scores), partial(metrics.auroc, truth, scores), resample_counts(40))
    assert figure.int8 is not None
    assert figure.ci95 == (None, None)
    assert figure.drop_upper95 is None
    assert figure.smallest_detectable_drop is None


def test_a_class_of_no_case_has_no_figure_at_all():
    statistic = partial(metrics.auroc, np.zeros(5, bool), np.linspace(0, 1, 5))
    figure = compare(statistic, statistic, resample_counts(5, 20))
    assert (figure.float, figure.int8, figure.drop, figure.drop_upper95) == (None, None, None, None)
