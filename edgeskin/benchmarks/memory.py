"""An artifact loaded and run in a process of its own, and the peak memory of that.

The memory is the rise of that process' high-water mark: from Python, NumPy and edgeskin loaded to the artifact opened
by its engine and run. It is what the artifact and its engine cost.
"""

import dataclasses
import importlib
import json
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import edgeskin
from edgeskin import targets
from edgeskin.benchmarks.measurements import MemoryFigure
from edgeskin.targets.base import Accelerated, Artifact

_PROGRAM = """import sys
sys.path = [*filter(None, sys.path), sys.argv[2]]
from edgeskin.benchmarks.memory import main
main()
"""
"""Modules are not looked for in the working folder, where a user's `random.py` would stand in for Python's."""
_RUNS = 3
_TIMEOUT_S = 300


@dataclass(frozen=True)
class NotMeasured:
    """Why there is no figure; a gate treats it as absent, a report prints the reason."""

    reason: str


@dataclass(frozen=True)
class Alone:
    """What a process tells that loaded and ran an artifact.

    baseline_mib, peak_mib: its high-water mark before and behind, None where the system does not tell. device_mib: what
    it took of an accelerator's memory, None where there is none or the engine does not tell; accelerated: whether there
    is one. load_ms: until the artifact was open; first_run_ms: of the first run.
    """

    baseline_mib: float | None
    peak_mib: float | None
    device_mib: float | None
    load_ms: float
    first_run_ms: float
    accelerated: bool = False


def measure(artifact: Artifact, size: int, *, threads: int = 1) -> MemoryFigure | NotMeasured:
    """Load and run `artifact` in a fresh process and read its peak.

    size: side S of the square input. The figure counts the engine's own code and buffers, not Python, NumPy, edgeskin.
    What runs on an accelerator and does not tell what it takes there has no figure: the rest may be next to nothing.
    """
    told = alone(artifact, size, threads=threads)
    if isinstance(told, NotMeasured):
        return told
    if told.baseline_mib is None or told.peak_mib is None:
        return NotMeasured("this system does not tell the peak memory of a process")
    if told.accelerated and told.device_mib is None:
        return NotMeasured(f"what runs {artifact.target} on this machine does not tell how much memory it takes there")
    return MemoryFigure(peak_mib=told.peak_mib - told.baseline_mib, device_mib=told.device_mib)


def alone(artifact: Artifact, size: int, *, threads: int = 1) -> Alone | NotMeasured:
    """Load and run `artifact` in a fresh process. size: side S of the square input."""
    asked = {
        "path": str(artifact.path.absolute()),
        "target": artifact.target,
        "precision": artifact.precision,
        "graph_sha256": artifact.graph_sha256,
        "size": size,
        "threads": threads,
    }
    try:
        done = subprocess.run(  # noqa: S603  (our own module with our own arguments, and no shell reads them)
            [sys.executable, "-c", _PROGRAM, json.dumps(asked), str(Path(edgeskin.__file__).parents[1])],
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return NotMeasured(f"the measuring process did not finish: {error}")
    if done.returncode != 0:
        last = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
        return NotMeasured(f"the measuring process failed: {last[0]}")
    return Alone(**json.loads(done.stdout))


def high_water_mib(status: Path = Path("/proc/self/status")) -> float | None:
    """The largest resident memory of this process so far, or None where the system does not tell.

    Linux: VmHWM, because ru_maxrss of a forked child begins at its parent's. macOS: ru_maxrss, in bytes there.
    """
    try:
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return float(line.split()[1]) / 1024
    except OSError:
        pass
    if sys.platform == "darwin":
        resource = importlib.import_module("resource")  # absent on Windows
        return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss) / 2**20
    return None


def _load_and_run(artifact: Artifact, size: int, threads: int) -> Alone:
    """What `alone` tells, for a process of its own."""
    image = np.full((1, 3, size, size), 128, np.uint8)
    baseline = high_water_mib()
    begin_ns = time.perf_counter_ns()
    session = targets.get(artifact.target).open(artifact, threads=threads)
    open_ns = time.perf_counter_ns()
    width = session.metadata_width
    metadata = None if width is None else np.zeros((1, width), np.float32)
    session.run(image, metadata)
    first_ns = time.perf_counter_ns()
    for _ in range(_RUNS - 1):
        session.run(image, metadata)
    accelerator = session if isinstance(session, Accelerated) else None
    return Alone(
        baseline_mib=baseline,
        peak_mib=high_water_mib(),
        device_mib=None if accelerator is None else accelerator.device_mib,
        load_ms=(open_ns - begin_ns) / 1e6,
        first_run_ms=(first_ns - open_ns) / 1e6,
        accelerated=accelerator is not None,
    )


def main() -> None:
    """The process of its own: what to run comes as JSON in the first argument, what it tells goes to stdout as JSON."""
    asked = json.loads(sys.argv[1])
    artifact = Artifact(Path(asked["path"]), asked["target"], asked["precision"], asked["graph_sha256"])
    told = _load_and_run(artifact, asked["size"], asked["threads"])
    sys.stdout.write(json.dumps(dataclasses.asdict(told)))
