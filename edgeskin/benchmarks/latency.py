"""How long one thing takes, and how much faster one thing is than another on the same threads.

Sources: MLPerf Mobile for the release rule, at least 1024 samples and at least 60 seconds; Schmeiser, Batch size
effects in the analysis of simulation output, Operations Research 30, 1982, for the interval of a ratio.
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from edgeskin.benchmarks.conditions import Watch
from edgeskin.benchmarks.measurements import RELEASE_SAMPLES, Conditions, Histogram, LatencyFigure, SpeedRatio
from edgeskin.errors import EdgeskinError
from edgeskin.targets import base
from edgeskin.targets.base import Accelerated, Float32, Runnable, UInt8

Run: TypeAlias = Callable[[], None]
Float64: TypeAlias = npt.NDArray[np.float64]
Clock: TypeAlias = Callable[[], int]
"""Nanoseconds from any origin."""
Mode: TypeAlias = Literal["quick", "release"]

UNSTEADY_CV = 0.1
"""Above this coefficient of variation a figure says more about the machine's other work than about the network."""
OTHERS_SHARE = 0.1
"""Above this part of all cores' time, what else runs on the machine may have slowed the network."""
BINS = 40
"""The most that a histogram has."""


@dataclass(frozen=True)
class Effort:
    """How long to measure: until both `samples` and `seconds` are reached, or `cap_seconds` ends it early."""

    warm_up: int
    samples: int
    seconds: float
    cap_seconds: float


EFFORTS: dict[Mode, Effort] = {
    "quick": Effort(warm_up=5, samples=50, seconds=1.0, cap_seconds=20.0),
    "release": Effort(warm_up=50, samples=RELEASE_SAMPLES, seconds=60.0, cap_seconds=float("inf")),
}
ACCELERATED: Mapping[Mode, base.Effort] = {
    "quick": base.Effort(200, 1, 50),
    "release": base.Effort(1000, 60, RELEASE_SAMPLES),
}
"""The same for an engine that times itself."""
_BLOCK = ACCELERATED["quick"]
_BLOCKS: Mapping[Mode, int] = {"quick": 5, "release": 31}
"""How many blocks of each network are compared."""
_PAIRS = "int8 beside fp32"
_PARTS = 10
"""Into so many parts, one behind the other, the pairs of a run are put, for the interval of their median."""
_STUDENT_T = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)
"""Its 97.5 % quantiles, of 1 to 9 degrees of freedom."""


def measure(
    run: Run,
    mode: Mode,
    name: str,
    threads: int,
    *,
    batch: int = 1,
    watch: Watch | None = None,
    clock: Clock = time.perf_counter_ns,
) -> LatencyFigure:
    """Time `run` again and again after a warm-up.

    threads: what `run` was set up with; batch: how many pictures it takes; recorded, not set here. watch: of the whole
    measuring. A quick figure of something slow has fewer than 50 samples, never fewer than 3.

    Raises: EdgeskinError for a clock that stands still or steps backwards.
    """
    effort = EFFORTS[mode]
    begun = (watch or Watch()).begin()
    _warm_up(run, effort, clock)
    spent_ns: list[int] = []
    total_ns = 0
    while not _enough(len(spent_ns), total_ns, effort):
        spent_ns.append(_time(run, clock, name))
        total_ns += spent_ns[-1]
    return of([spent / 1e6 for spent in spent_ns], mode, name, threads, batch=batch, conditions=begun.end())


def of(
    samples_ms: Sequence[float],
    mode: Mode,
    name: str,
    threads: int,
    *,
    batch: int = 1,
    conditions: Conditions | None = None,
) -> LatencyFigure:
    """The figure of times that were taken already, in milliseconds.

    Raises: EdgeskinError where there are none, or one of them is no time: nothing, less, without end, or not a number.
    """
    taken = np.array(samples_ms, np.float64)
    if not taken.size:
        raise EdgeskinError(f"{name}: nothing was timed. Measure again")
    for spent in taken.tolist():
        _sure(spent, name)
    p50, p90, p99 = (float(value) for value in np.percentile(taken, (50, 90, 99)))
    mean = float(taken.mean())
    return LatencyFigure(
        name=name,
        threads=threads,
        p50_ms=p50,
        p90_ms=p90,
        p99_ms=p99,
        mean_ms=mean,
        cv=float(taken.std(ddof=1)) / mean if len(taken) > 1 else None,
        samples=len(taken),
        seconds=float(taken.sum()) / 1e3,
        mode=mode,
        batch=batch,
        histogram=histogram(taken),
        conditions=conditions,
    )


def histogram(samples_ms: Sequence[float] | Float64) -> Histogram:
    """How the samples are spread, see `Histogram`; √n bins of n samples, at most `BINS`."""
    taken = np.asarray(samples_ms, np.float64)
    usual, bins = float(np.percentile(taken, 99)), min(math.ceil(math.sqrt(len(taken))), BINS - 1)
    edges = np.unique([*np.linspace(taken.min(), usual, bins + 1), taken.max()])
    edges = edges if len(edges) > 1 else np.repeat(edges, 2)
    return Histogram(
        edges_ms=tuple(round(float(edge), 6) for edge in edges),
        counts=tuple(int(count) for count in np.histogram(taken, edges)[0]),
    )


def of_network(
    runnable: Runnable,
    inputs: tuple[UInt8, Float32 | None],
    mode: Mode,
    name: str,
    threads: int,
    *,
    watch: Watch | None = None,
) -> tuple[LatencyFigure, ...]:
    """How long a network takes from inputs in memory to outputs in memory, all pictures of `inputs` at once.

    Where it runs on an accelerator, the engine's own clock tells that, and what of it the engine alone takes.

    Raises: EdgeskinError as `measure`; TargetError for more pictures than an engine was built for.
    """
    batch = len(inputs[0])
    if not isinstance(runnable, Accelerated):
        return (measure(_once(runnable, inputs), mode, name, threads, batch=batch, watch=watch),)
    begun = (watch or Watch()).begin()
    times = runnable.times(*inputs, ACCELERATED[mode])
    seen = begun.end()
    whole = of(times.latency_ms, mode, name, threads, batch=batch, conditions=seen)
    return whole, of(times.compute_ms, mode, f"{name}, engine alone", threads, batch=batch, conditions=seen)


def speedup(
    slow: Runnable,
    fast: Runnable,
    inputs: tuple[UInt8, Float32 | None],
    mode: Mode,
    threads: int,
    *,
    watch: Watch | None = None,
) -> SpeedRatio:
    """How many times faster one network is than another: by `ratio`, and where both run on an accelerator by blocks of
    queries, one of each after the other, timed by the engines' own clock.

    watch: of the whole measuring. Raises: EdgeskinError as `measure`.
    """
    begun = (watch or Watch()).begin()
    return _speedup(slow, fast, inputs, mode, threads).model_copy(update={"conditions": begun.end()})


def _speedup(
    slow: Runnable, fast: Runnable, inputs: tuple[UInt8, Float32 | None], mode: Mode, threads: int
) -> SpeedRatio:
    if not isinstance(slow, Accelerated) or not isinstance(fast, Accelerated):
        return ratio(_once(slow, inputs), _once(fast, inputs), mode, threads)

    def median(engine: Accelerated) -> float:
        return _sure(float(np.median(engine.times(*inputs, _BLOCK).latency_ms)), _PAIRS)

    ratios = []
    for number in range(_BLOCKS[mode]):
        if number % 2:
            fast_ms, slow_ms = median(fast), median(slow)
        else:
            slow_ms, fast_ms = median(slow), median(fast)
        ratios.append(slow_ms / fast_ms)
    return _ratio(ratios, threads, pairs=len(ratios))


def _once(runnable: Runnable, inputs: tuple[UInt8, Float32 | None]) -> Run:
    def run() -> None:
        runnable.run(*inputs)

    return run


def label(figure: LatencyFigure | SpeedRatio) -> str:
    """What was timed, with its threads where they are more than one."""
    name = figure.name if isinstance(figure, LatencyFigure) else _PAIRS
    return name if figure.threads == 1 else f"{name}, {figure.threads} threads"


def warning(figure: LatencyFigure | SpeedRatio) -> str | None:
    """One sentence where a figure cannot be trusted, because it scatters or the machine was busy or hot; or None."""
    busy, hot = list[str](), list[str]()
    if isinstance(figure, LatencyFigure) and figure.cv is not None and figure.cv > UNSTEADY_CV:
        busy.append(f"times scatter by {figure.cv:.0%} of their mean (more than {UNSTEADY_CV:.0%})")
    seen = figure.conditions or Conditions()
    if seen.others_share is not None and seen.others_share > OTHERS_SHARE:
        busy.append(f"other work took {seen.others_share:.0%} of all cores' time (more than {OTHERS_SHARE:.0%})")
    if seen.newly_throttled:
        times = "once" if seen.newly_throttled == 1 else f"{seen.newly_throttled} times"
        hot.append(f"heat slowed the CPU {times} meanwhile")
    if seen.throttled:
        hot.append(f"the machine was being slowed down ({', '.join(seen.throttled)})")
    if seen.cooled is False:
        hot.append(f"the machine was still warm after {seen.cool_down_s:.0f} s of rest")
    if not busy and not hot:
        return None
    advice = ["stop other work on this machine"] * bool(busy) + ["let it cool down"] * bool(hot)
    return f"{label(figure)}: {', '.join([*busy, *hot])}; {', '.join(advice)} and measure again"


def ratio(slow: Run, fast: Run, mode: Mode, threads: int, *, clock: Clock = time.perf_counter_ns) -> SpeedRatio:
    """How many times faster `fast` is than `slow`, from pairs run one right after the other.

    Each pair is exposed to the same moment of the machine, so what slows both cancels. The order within pairs
    alternates, so each network runs twice in a row, the second time with its weights still in the caches: of two pairs,
    one of each order, counts the geometric mean. In 240 quick runs on a busy machine one order gave 1.56 and the other
    1.82, and this figure scattered half as much as the median of single pairs.

    What slows one more than the other comes in bursts over many pairs, so these are no independent witnesses: the
    interval is that of the medians of ten parts of the run, by Student's t of their logarithms. It knows nothing of
    what lasts longer than the run.

    Raises: EdgeskinError as `measure`.
    """
    effort = EFFORTS[mode]
    _warm_up(slow, effort, clock)
    _warm_up(fast, effort, clock)
    ratios: list[float] = []
    total_ns = 0
    while len(ratios) < 3 or not _enough(2 * len(ratios), total_ns, effort):
        first_slow, first_fast = _time(slow, clock, _PAIRS), _time(fast, clock, _PAIRS)
        then_fast, then_slow = _time(fast, clock, _PAIRS), _time(slow, clock, _PAIRS)
        ratios.append(math.sqrt(first_slow / first_fast * (then_slow / then_fast)))
        total_ns += first_slow + first_fast + then_fast + then_slow
    return _ratio(ratios, threads, pairs=2 * len(ratios))


def _ratio(ratios: Sequence[float], threads: int, *, pairs: int) -> SpeedRatio:
    middle = float(np.median(ratios))
    parts = np.array_split(np.log(ratios), min(_PARTS, len(ratios)))
    scatter = float(np.std([np.median(part) for part in parts], ddof=1)) / math.sqrt(len(parts))
    factor = math.exp(_STUDENT_T[len(parts) - 2] * scatter)
    return SpeedRatio(threads=threads, speedup_vs_fp32=middle, low=middle / factor, high=middle * factor, pairs=pairs)


def _time(run: Run, clock: Clock, name: str) -> int:
    """How long one run takes, in ns. Raises: EdgeskinError where the clock did not move forwards."""
    begin = clock()
    run()
    spent_ns = clock() - begin
    if spent_ns <= 0:
        raise _no_time(name, spent_ns / 1e6)
    return spent_ns


def _sure(spent_ms: float, name: str) -> float:
    if not (math.isfinite(spent_ms) and spent_ms > 0):
        raise _no_time(name, spent_ms)
    return spent_ms


def _no_time(name: str, spent_ms: float) -> EdgeskinError:
    return EdgeskinError(
        f"{name}: the clock says that a run took {spent_ms:g} ms, which no run does; nothing was measured. "
        "Measure again, and where it says so again, on another machine"
    )


def _warm_up(run: Run, effort: Effort, clock: Clock) -> None:
    """Run until caches and memory pools are filled; something slow is run once."""
    begin = clock()
    for _ in range(effort.warm_up):
        run()
        if (clock() - begin) / 1e9 > effort.cap_seconds / 10:
            break


def _enough(samples: int, total_ns: int, effort: Effort) -> bool:
    seconds = total_ns / 1e9
    return (samples >= effort.samples and seconds >= effort.seconds) or (samples >= 3 and seconds >= effort.cap_seconds)
