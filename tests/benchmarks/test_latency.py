"""Latency by a clock that the tests wind, so that every expected figure is exact."""

import itertools
from collections.abc import Iterable, Iterator

import pytest

from edgeskin.benchmarks import latency

MS = 1_000_000


class Stopwatch:
    """A clock that only moves when something is run."""

    def __init__(self) -> None:
        self.now_ns = 0
        self.runs = 0

    def __call__(self) -> int:
        return self.now_ns

    def taking(self, milliseconds: Iterable[float]) -> latency.Run:
        times: Iterator[float] = iter(milliseconds)

        def run() -> None:
            self.runs += 1
            self.now_ns += int(next(times) * MS)

        return run


def test_percentiles_are_those_of_the_samples_without_the_warm_up() -> None:
    clock = Stopwatch()
    # 5 warm-up runs of 500 ms, then 1, 2, …, 100 ms: 50 samples reach 1.275 s, so exactly 1…50 ms are sampled.
    figure = latency.measure(clock.taking([500] * 5 + list(range(1, 101))), "quick", "model int8", 1, clock=clock)
    assert figure.samples == 50
    assert figure.seconds == pytest.approx(1.275)
    assert figure.mean_ms == pytest.approx(25.5)
    # Linear interpolation between order statistics: 1 + q·49.
    assert figure.p50_ms == pytest.approx(25.5)
    assert figure.p90_ms == pytest.approx(45.1)
    assert figure.p99_ms == pytest.approx(49.51)
    # Sample standard deviation of 1…n is √(n(n+1)/12).
    assert figure.cv == pytest.approx((50 * 51 / 12) ** 0.5 / 25.5)


def test_a_quick_figure_lasts_a_second_where_runs_are_short() -> None:
    clock = Stopwatch()
    figure = latency.measure(clock.taking(itertools.repeat(4)), "quick", "m", 1, clock=clock)
    assert (figure.samples, figure.seconds) == (250, 1.0)


def test_a_quick_figure_of_something_slow_is_capped() -> None:
    clock = Stopwatch()
    figure = latency.measure(clock.taking(itertools.repeat(8000)), "quick", "m", 1, clock=clock)
    assert figure.samples == 3  # 24 s, past the cap of 20 s
    assert clock.runs == 4  # and one warm-up run instead of five


@pytest.mark.parametrize(("each_ms", "samples"), [(10, 6000), (100, 1024)])
def test_a_release_figure_has_1024_samples_and_a_minute(each_ms: int, samples: int) -> None:
    clock = Stopwatch()
    figure = latency.measure(clock.taking(itertools.repeat(each_ms)), "release", "m", 2, clock=clock)
    assert figure.samples == samples
    assert figure.seconds >= 60
    assert (figure.mode, figure.threads) == ("release", 2)


def test_scattered_times_are_warned_of_and_steady_ones_are_not() -> None:
    clock = Stopwatch()
    steady = latency.measure(clock.taking(itertools.repeat(10)), "quick", "steady", 1, clock=clock)
    scattered = latency.measure(clock.taking(itertools.cycle([10, 20])), "quick", "scattered", 1, clock=clock)
    assert latency.warning(steady) is None
    # Standard deviation of an even mix of 10 and 20 is 5, a third of the mean of 15.
    assert "scattered: times scatter by 33% of their mean" in (latency.warning(scattered) or "")


def test_noise_that_slows_both_cancels_in_the_ratio() -> None:
    clock = Stopwatch()
    # The machine slows both sides of each pair tenfold now and then; warm-ups come first on both sides.
    noise = [1, 1, 10, 3, 1, 7] * 1000
    slow = clock.taking([30] * 5 + [30 * factor for factor in noise])
    fast = clock.taking([20] * 5 + [20 * factor for factor in noise])
    speed = latency.ratio(slow, fast, "quick", 1, clock=clock)
    assert (speed.speedup_vs_fp32, speed.low, speed.high) == (1.5, 1.5, 1.5)
    assert speed.pairs == 50


def test_the_interval_of_the_ratio_is_that_of_the_median_by_ranks() -> None:
    clock = Stopwatch()
    slow = clock.taking([1] * 5 + list(range(1, 51)))
    fast = clock.taking(itertools.repeat(1))
    speed = latency.ratio(slow, fast, "quick", 1, clock=clock)
    # Ratios 1…50. Tables of the binomial (n = 50, p = 1/2) give ranks 18 and 33 for 95 %.
    assert (speed.low, speed.speedup_vs_fp32, speed.high) == (18, 25.5, 33)


def test_pairs_alternate_which_side_goes_first() -> None:
    clock = Stopwatch()
    order: list[str] = []

    def side(name: str) -> latency.Run:
        def run() -> None:
            order.append(name)
            clock.now_ns += 100 * MS

        return run

    latency.ratio(side("slow"), side("fast"), "quick", 1, clock=clock)
    assert order[10:18] == ["slow", "fast", "fast", "slow", "slow", "fast", "fast", "slow"]
