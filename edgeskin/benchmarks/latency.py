"""How long one thing takes, and how much faster one thing is than another on the same threads.

Source of the release rule: MLPerf Mobile, at least 1024 samples and at least 60 seconds.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from edgeskin.benchmarks.measurements import LatencyFigure, SpeedRatio

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
    samples_ms = np.array(spent_ns) / 1e6
    p50, p90, p99 = (float(value) for value in np.percentile(samples_ms, (50, 90, 99)))
    mean = float(samples_ms.mean())
    return LatencyFigure(
        name=name,
        threads=threads,
        p50_ms=p50,
        p90_ms=p90,
        p99_ms=p99,
        mean_ms=mean,
        cv=float(samples_ms.std(ddof=1)) / mean if mean > 0 else None,
        samples=len(samples_ms),
        seconds=total_ns / 1e9,
        mode=mode,
    )


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
