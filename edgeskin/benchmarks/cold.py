"""Cold start: from an artifact on disk to its first answer, each time in a process of its own."""

from statistics import median

from edgeskin.benchmarks import memory
from edgeskin.benchmarks.latency import Mode
from edgeskin.benchmarks.measurements import ColdStart
from edgeskin.benchmarks.memory import Alone, NotMeasured
from edgeskin.targets.base import Artifact

STARTS: dict[Mode, int] = {"quick": 5, "release": 20}
"""How many processes are started."""


def measure(artifact: Artifact, size: int, mode: Mode, *, threads: int = 1) -> ColdStart | NotMeasured:
    """Start, load and run `artifact` again and again. size: side S of the square input.

    One start more comes first and does not count: with it the files are in the page cache, and what an engine makes of
    an artifact for this machine alone is there.
    """
    starts = list[Alone]()
    for _ in range(1 + STARTS[mode]):
        told = memory.alone(artifact, size, threads=threads)
        if isinstance(told, NotMeasured):
            return told
        if told.load_ms <= 0 or told.first_run_ms <= 0:
            return NotMeasured("the clock of this machine stands still or steps backwards")
        starts.append(told)
    counted = starts[1:]
    totals = [start.load_ms + start.first_run_ms for start in counted]
    return ColdStart(
        threads=threads,
        load_ms=median(start.load_ms for start in counted),
        first_run_ms=median(start.first_run_ms for start in counted),
        total_ms=median(totals),
        slowest_ms=max(totals),
        starts=len(counted),
    )
