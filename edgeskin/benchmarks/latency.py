"""How long one thing takes, and how much faster one thing is than another on the same threads.

Source of the release rule: MLPerf Mobile, at least 1024 samples and at least 60 seconds.
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from edgeskin.benchmarks.measurements import LatencyFigure, SpeedRatio
from edgeskin.targets import base
from edgeskin.targets.base import Accelerated, Float32, Runnable, UInt8

Run: TypeAlias = Callable[[], None]
Clock: TypeAlias = Callable[[], int]
"""Nanoseconds from any origin."""
Mode: TypeAlias = Literal["quick", "release"]

UNSTEADY_CV = 0.1
"""Above this coefficient of variation a figure says more about the machine's other work than about the network."""


@dataclass(frozen=True)
class Effort:
    """How long to measure: until both `samples` and `seconds` are reached, or `cap_seconds` ends it early."""

    warm_up: int
    samples: int
    seconds: float
    cap_seconds: float


EFFORTS: dict[Mode, Effort] = {
    "quick": Effort(warm_up=5, samples=50, seconds=1.0, cap_seconds=20.0),
    "release": Effort(warm_up=50, samples=1024, seconds=60.0, cap_seconds=float("inf")),
}
ACCELERATED: Mapping[Mode, base.Effort] = {"quick": base.Effort(200, 1, 50), "release": base.Effort(1000, 60, 1024)}
"""The same for an engine that times itself."""
_BLOCK = ACCELERATED["quick"]
_BLOCKS: Mapping[Mode, int] = {"quick": 5, "release": 31}
"""How many blocks of each network are compared."""


def measure(run: Run, mode: Mode, name: str, threads: int, *, clock: Clock = time.perf_counter_ns) -> LatencyFigure:
    """Time `run` again and again after a warm-up.

    threads: what `run` was set up with; recorded, not set here. A quick figure of something slow has fewer than 50
    samples, never fewer than 3.
    """
    effort = EFFORTS[mode]
    _warm_up(run, effort, clock)
    spent_ns: list[int] = []
    total_ns = 0
    while not _enough(len(spent_ns), total_ns, effort):
        spent_ns.append(_time(run, clock))
        total_ns += spent_ns[-1]
    return of([spent / 1e6 for spent in spent_ns], mode, name, threads)


def of(samples_ms: Sequence[float], mode: Mode, name: str, threads: int) -> LatencyFigure:
    """The figure of times that were taken already, in milliseconds."""
    taken = np.array(samples_ms)
    p50, p90, p99 = (float(value) for value in np.percentile(taken, (50, 90, 99)))
    mean = float(taken.mean())
    return LatencyFigure(
        name=name,
        threads=threads,
        p50_ms=p50,
        p90_ms=p90,
        p99_ms=p99,
        mean_ms=mean,
        cv=float(taken.std(ddof=1)) / mean if mean > 0 and len(taken) > 1 else None,
        samples=len(taken),
        seconds=float(taken.sum()) / 1e3,
        mode=mode,
    )


def of_network(
    runnable: Runnable, inputs: tuple[UInt8, Float32 | None], mode: Mode, name: str, threads: int
) -> tuple[LatencyFigure, ...]:
    """How long a network takes from inputs in memory to outputs in memory.

    Where it runs on an accelerator, the engine's own clock tells that, and what of it the engine alone takes.
    """
    if not isinstance(runnable, Accelerated):
        return (measure(_once(runnable, inputs), mode, name, threads),)
    times = runnable.times(*inputs, ACCELERATED[mode])
    alone = of(times.compute_ms, mode, f"{name}, engine alone", threads)
    return of(times.latency_ms, mode, name, threads), alone


def speedup(
    slow: Runnable, fast: Runnable, inputs: tuple[UInt8, Float32 | None], mode: Mode, threads: int
) -> SpeedRatio:
    """How many times faster one network is than another: by `ratio`, and where both run on an accelerator by blocks of
    queries, one of each after the other, timed by the engines' own clock.
    """
    if not isinstance(slow, Accelerated) or not isinstance(fast, Accelerated):
        return ratio(_once(slow, inputs), _once(fast, inputs), mode, threads)

    def median(engine: Accelerated) -> float:
        return float(np.median(engine.times(*inputs, _BLOCK).latency_ms))

    ratios = []
    for number in range(_BLOCKS[mode]):
        if number % 2:
            fast_ms, slow_ms = median(fast), median(slow)
        else:
            slow_ms, fast_ms = median(slow), median(fast)
        ratios.append(slow_ms / fast_ms)
    return _ratio(ratios, threads)


def _once(runnable: Runnable, inputs: tuple[UInt8, Float32 | None]) -> Run:
    def run() -> None:
        runnable.run(*inputs)

    return run


def warning(figure: LatencyFigure) -> str | None:
    """One sentence where the samples scatter too much to be trusted, or None."""
    if figure.cv is None or figure.cv <= UNSTEADY_CV:
        return None
    return (
        f"{figure.name}: times scatter by {figure.cv:.0%} of their mean (more than {UNSTEADY_CV:.0%}); "
        "stop other work on this machine and measure again"
    )


def ratio(slow: Run, fast: Run, mode: Mode, threads: int, *, clock: Clock = time.perf_counter_ns) -> SpeedRatio:
    """How many times faster `fast` is than `slow`, from pairs run one right after the other.

    Each pair is exposed to the same moment of the machine, and the order within pairs alternates, so what slows both
    cancels. The interval is the median's by order statistics, which assumes no distribution: of n sorted ratios those
    of ranks n/2 ∓ 1.96·√n/2, rounded outwards (the normal approximation of the binomial).
    """
    effort = EFFORTS[mode]
    _warm_up(slow, effort, clock)
    _warm_up(fast, effort, clock)
    ratios: list[float] = []
    total_ns = 0
    while not _enough(len(ratios), total_ns, effort):
        if len(ratios) % 2:
            fast_ns, slow_ns = _time(fast, clock), _time(slow, clock)
        else:
            slow_ns, fast_ns = _time(slow, clock), _time(fast, clock)
        ratios.append(slow_ns / max(fast_ns, 1))
        total_ns += slow_ns + fast_ns
    return _ratio(ratios, threads)


def _ratio(ratios: Sequence[float], threads: int) -> SpeedRatio:
    ordered = np.sort(ratios)
    middle, half_width = len(ordered) / 2, 1.96 * math.sqrt(len(ordered)) / 2
    return SpeedRatio(
        threads=threads,
        speedup_vs_fp32=float(np.median(ordered)),
        low=float(ordered[max(math.floor(middle - half_width) - 1, 0)]),
        high=float(ordered[min(math.ceil(middle + half_width), len(ordered) - 1)]),
        pairs=len(ordered),
    )


def _time(run: Run, clock: Clock) -> int:
    begin = clock()
    run()
    return clock() - begin


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
