"""Latency by a clock that the tests wind, so that every expected figure is exact."""

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping

import numpy as np
import numpy.typing as npt
import pytest
from pydantic import ValidationError

from edgeskin.benchmarks import latency
from edgeskin.benchmarks.conditions import Moment, Watch
from edgeskin.benchmarks.measurements import Conditions, LatencyFigure, SpeedRatio
from edgeskin.errors import EdgeskinError
from edgeskin.targets import base
from edgeskin.targets.base import Float32, Times, UInt8

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


def test_what_the_order_within_a_pair_does_cancels() -> None:
    clock = Stopwatch()
    slow = clock.taking([1] * 5 + [24, 30] * 1000)
    fast = clock.taking([1] * 5 + [20, 16] * 1000)
    speed = latency.ratio(slow, fast, "quick", 1, clock=clock)
    # One order gives 1.2, the other 1.875: √(1.2 · 1.875) = 1.5.
    assert (speed.low, speed.speedup_vs_fp32, speed.high) == (pytest.approx(1.5),) * 3
    assert speed.pairs == 50


def test_the_interval_of_the_ratio_is_that_of_the_medians_of_ten_parts() -> None:
    clock = Stopwatch()
    slow = clock.taking([3] * 5 + ([5.6] * 6 + [22.4] * 6) * 10)
    speed = latency.ratio(slow, clock.taking(itertools.repeat(2.8)), "quick", 1, clock=clock)
    # 60 pairs take 1.008 s. The logarithms of the ten medians lie ln 2 off their mean, so their standard error is
    # ln 2 · √(10/9) / √10, or ln 2 / 3; Student's t of 9 degrees of freedom is 2.262.
    factor = 2 ** (2.262 / 3)
    assert (speed.pairs, speed.speedup_vs_fp32) == (60, pytest.approx(5.0))
    assert (speed.low, speed.high) == (pytest.approx(5 / factor), pytest.approx(5 * factor))


def test_the_interval_of_six_slow_pairs_is_wide() -> None:
    clock = Stopwatch()
    slow = clock.taking([8000, 8000, 8000, 7000, 7000, 9000, 9000])
    speed = latency.ratio(slow, clock.taking(itertools.repeat(4000)), "quick", 1, clock=clock)
    assert (speed.pairs, speed.speedup_vs_fp32) == (6, 2.0)
    # 4.303 for 2 degrees of freedom, of the logarithms of 8, 7 and 9.
    assert speed.high == pytest.approx(2 * np.exp(4.303 * np.std(np.log([8, 7, 9]), ddof=1) / 3**0.5))


def by_ranks(ratios: npt.NDArray[np.float64]) -> tuple[float, float]:
    """The interval of the median that takes pairs for independent: ranks n/2 ∓ 1.96·√n/2, rounded outwards."""
    ordered, middle, half = np.sort(ratios), len(ratios) / 2, 1.96 * math.sqrt(len(ratios)) / 2
    return ordered[math.floor(middle - half) - 1], ordered[math.ceil(middle + half)]


def ratios_of_runs(correlation: float, runs: int, pairs: int) -> npt.NDArray[np.float64]:
    """Ratios about 1.5 that scatter by a tenth, each correlated so with the one before; [runs, pairs]."""
    steps = np.random.default_rng(20170).normal(0, 0.1, (runs, pairs))
    for pair in range(1, pairs):
        steps[:, pair] = correlation * steps[:, pair - 1] + math.sqrt(1 - correlation**2) * steps[:, pair]
    return 1.5 * np.exp(steps)


def test_the_interval_holds_the_true_ratio_although_load_comes_in_bursts() -> None:
    runs = ratios_of_runs(0.9, runs=300, pairs=1024)
    ends = [(found.low, found.high) for found in (latency._ratio(list(run), 1, pairs=1024) for run in runs)]
    covered = np.mean([low is not None and high is not None and low <= 1.5 <= high for low, high in ends])
    assert 0.92 <= covered <= 0.98  # 300 runs tell 95 % to within 2.5 %
    # As if pairs were independent, it would have held in less than half of the runs.
    assert np.mean([low <= 1.5 <= high for low, high in map(by_ranks, runs)]) < 0.5


def test_on_a_quiet_machine_the_interval_is_as_narrow_as_independent_pairs_allow() -> None:
    runs = ratios_of_runs(0.0, runs=100, pairs=1024)
    widths = [found.high - found.low for found in (latency._ratio(list(run), 1, pairs=1024) for run in runs)]  # type: ignore[operator]
    assert np.mean(widths) < 1.2 * np.mean([high - low for low, high in map(by_ranks, runs)])


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


# --- clocks that lie ---


@pytest.mark.parametrize("step_ms", [0, -1, -10_000])
def test_a_clock_that_stands_still_or_steps_backwards_gives_no_figure(step_ms: float) -> None:
    clock = Stopwatch()
    with pytest.raises(EdgeskinError, match=rf"^model int8: the clock says that a run took {step_ms:g} ms"):
        latency.measure(clock.taking([10] * 15 + [step_ms] * 100), "quick", "model int8", 1, clock=clock)


@pytest.mark.parametrize("step_ms", [0, -1])
@pytest.mark.parametrize("wrong", ["slow", "fast"])
def test_nor_a_ratio(step_ms: float, wrong: str) -> None:
    clock = Stopwatch()
    times = {"slow": itertools.repeat(10.0), "fast": itertools.repeat(5.0)}
    times[wrong] = itertools.chain([10.0] * 20, itertools.repeat(step_ms))
    with pytest.raises(EdgeskinError, match="the clock says"):
        latency.ratio(clock.taking(times["slow"]), clock.taking(times["fast"]), "quick", 1, clock=clock)


@pytest.mark.parametrize("wrong", [0.0, -1.0, math.nan, math.inf])
def test_nor_do_times_that_an_engine_says_it_took(wrong: float) -> None:
    with pytest.raises(EdgeskinError, match="which no run does; nothing was measured"):
        latency.of([1.0, wrong, 2.0], "quick", "engine", 1)


def test_no_samples_are_no_figure() -> None:
    with pytest.raises(EdgeskinError, match="engine: nothing was timed"):
        latency.of([], "quick", "engine", 1)


@pytest.mark.parametrize("wrong", [0.0, -3.0, math.inf])
def test_a_file_with_a_time_or_ratio_of_nothing_less_or_without_end_is_not_read(wrong: float) -> None:
    good = latency.of([1.0, 2.0], "quick", "m", 1).model_dump()
    with pytest.raises(ValidationError):
        LatencyFigure.model_validate(good | {"p90_ms": wrong})
    with pytest.raises(ValidationError):
        SpeedRatio.model_validate({"threads": 1, "speedup_vs_fp32": wrong, "pairs": 3})


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"samples": 0}, "a time of no samples"),
        ({"p50_ms": 3.0}, "p50, p90 and p99 must rise, and are 3, 1.9, 1.99 ms"),
        ({"p90_ms": None, "p99_ms": 1.0}, "must rise"),
        ({"mode": "release", "samples": 1023}, "release figures have 1024 samples, this one 1023"),
    ],
)
def test_a_figure_that_nothing_measures_is_not_read(changes: dict[str, object], words: str) -> None:
    good = latency.of([1.0, 2.0], "quick", "m", 1).model_dump()
    with pytest.raises(ValidationError, match=words):
        LatencyFigure.model_validate(good | changes)
    assert LatencyFigure.model_validate(good | {"mode": "release", "samples": 1024}).mode == "release"


# --- histograms ---


@pytest.mark.parametrize("samples", [1, 2, 50, 1024, 6000])
def test_every_sample_is_in_a_histogram_of_at_most_40_bins(samples: int) -> None:
    taken = np.random.default_rng(samples).gamma(3, 2, samples) + 1
    found = latency.histogram(taken)
    assert sum(found.counts) == samples
    assert len(found.counts) == len(found.edges_ms) - 1 <= 40
    assert found.edges_ms[0] == pytest.approx(taken.min(), abs=1e-6)
    assert found.edges_ms[-1] == pytest.approx(taken.max(), abs=1e-6)


def test_one_slow_sample_does_not_squeeze_the_others_into_one_bin() -> None:
    found = latency.histogram([*np.linspace(10, 11, 999), 5000.0])
    assert (found.counts[-1], found.edges_ms[-1]) == (10, 5000.0)  # a hundredth lies beyond the 99th percentile
    assert max(found.counts[:-1]) < 50


def test_equal_samples_are_one_bin() -> None:
    found = latency.histogram([3.0] * 70)
    assert (found.edges_ms, found.counts) == ((3.0, 3.0), (70,))


def test_a_figure_holds_the_histogram_of_its_samples() -> None:
    figure = latency.of([1.0, 2.0, 3.0, 4.0], "quick", "m", 1)
    assert figure.histogram == latency.histogram([1.0, 2.0, 3.0, 4.0])


# --- pictures at once ---


class Engine:
    """Tells a time of its own for each batch, and of it what it computed."""

    metadata_width = None
    device_mib = None

    def run(self, image: UInt8, metadata: Float32 | None = None) -> Mapping[str, Float32]:
        return {}

    def times(self, image: UInt8, metadata: Float32 | None, effort: base.Effort) -> Times:
        each_ms = 2.0 + len(image)
        return Times((each_ms - 1,) * effort.iterations, (each_ms,) * effort.iterations)


def test_throughput_is_of_all_pictures_of_a_run() -> None:
    pictures = np.zeros((8, 3, 2, 2), np.uint8)
    whole, alone = latency.of_network(Engine(), (pictures, None), "quick", "model int8, batch 8", 1)
    assert (whole.batch, whole.mean_ms, whole.pictures_per_s) == (8, 10.0, 800.0)
    assert (alone.name, alone.batch, alone.mean_ms) == ("model int8, batch 8, engine alone", 8, 9.0)


# --- what the machine did meanwhile ---


def test_a_figure_tells_what_the_machine_was_like_before_the_warm_up_and_after() -> None:
    clock, looks = Stopwatch(), list[int]()

    def look() -> Moment:
        looks.append(clock.runs)
        return Moment(temperature_c=40.0 + clock.runs, cores_s=float(clock.runs), busy_s=float(clock.runs))

    figure = latency.measure(clock.taking(itertools.repeat(100)), "quick", "m", 1, watch=Watch(look=look), clock=clock)
    assert looks == [0, 55]
    assert figure.conditions is not None
    assert figure.conditions.temperature_c == (40.0, 95.0)
    assert figure.conditions.others_share == 1.0


def doubted(cv: float = 0.01, threads: int = 1, **seen: object) -> str | None:
    conditions = Conditions.model_validate(seen)
    figure = latency.of([1.0, 1.0], "quick", "model int8", threads, conditions=conditions)
    return latency.warning(figure.model_copy(update={"cv": cv}))


def test_a_steady_figure_of_a_quiet_machine_is_not_doubted() -> None:
    assert doubted(0.1, others_share=0.1, throttle_events=(3, 3), cooled=True) is None


@pytest.mark.parametrize(
    ("seen", "words"),
    [
        ({"others_share": 0.37}, "other work took 37% of all cores' time (more than 10%); stop other work"),
        ({"throttle_events": (3, 5)}, "heat slowed the CPU 2 times meanwhile; let it cool down"),
        ({"throttled": ["under-voltage"]}, "the machine was being slowed down (under-voltage); let it cool down"),
        ({"cooled": False, "cool_down_s": 120}, "the machine was still warm after 120 s of rest; let it cool down"),
    ],
)
def test_what_disturbed_a_figure_is_said_although_it_is_steady(seen: dict[str, object], words: str) -> None:
    said = doubted(**seen)
    assert said is not None
    assert said.startswith("model int8: ")
    assert words in said


def test_a_ratio_is_doubted_by_what_else_the_machine_did() -> None:
    seen = SpeedRatio(threads=2, speedup_vs_fp32=1.5, pairs=50, conditions=Conditions(others_share=0.37))
    said = latency.warning(seen)
    assert said is not None
    assert said.startswith("int8 beside fp32, 2 threads: other work took 37% of all cores' time")
    assert latency.warning(seen.model_copy(update={"conditions": None})) is None


def test_all_doubts_of_a_figure_stand_in_one_sentence_with_its_threads() -> None:
    assert doubted(0.5, 4, others_share=0.5, throttle_events=(0, 1)) == (
        "model int8, 4 threads: times scatter by 50% of their mean (more than 10%), other work took 50% of all cores' "
        "time (more than 10%), heat slowed the CPU once meanwhile; stop other work on this machine, let it cool "
        "down and measure again"
    )


def test_a_figure_of_an_older_report_is_read() -> None:
    old = {"name": "m", "threads": 1, "p50_ms": 1, "p90_ms": 2, "p99_ms": 3, "mean_ms": 1.5, "cv": 0.1, "samples": 50}
    figure = LatencyFigure.model_validate(old | {"seconds": 1, "mode": "quick"})
    assert (figure.batch, figure.histogram, figure.conditions) == (1, None, None)
    assert latency.warning(figure) is None
