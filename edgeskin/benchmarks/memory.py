"""Peak memory of loading and running an artifact, measured in a process of its own.

The figure is the rise of that process' high-water mark: from Python and NumPy loaded to the artifact opened by its
engine and run. It is what the artifact and its engine cost.
"""

import importlib
import json
import subprocess
import sys
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


def measure(artifact: Artifact, size: int, *, threads: int = 1) -> MemoryFigure | NotMeasured:
    """Load and run `artifact` in a fresh process and read its peak.

    size: side S of the square input. The figure counts the engine's own code and buffers, not Python's and NumPy's.
    """
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
    marks = json.loads(done.stdout)
    if marks["baseline_mib"] is None:
        return NotMeasured("this system does not tell the peak memory of a process")
    return MemoryFigure(peak_mib=marks["peak_mib"] - marks["baseline_mib"], device_mib=marks["device_mib"])


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


def _load_and_run(artifact: Artifact, size: int, threads: int) -> dict[str, float | None]:
    """The high-water marks before the artifact is opened and after it has run, and what it took of an accelerator's
    memory; for a process of its own.
    """
    image = np.full((1, 3, size, size), 128, np.uint8)
    baseline = high_water_mib()
    session = targets.get(artifact.target).open(artifact, threads=threads)
    width = session.metadata_width
    metadata = None if width is None else np.zeros((1, width), np.float32)
    for _ in range(_RUNS):
        session.run(image, metadata)
    device_mib = session.device_mib if isinstance(session, Accelerated) else None
    return {"baseline_mib": baseline, "peak_mib": high_water_mib(), "device_mib": device_mib}


def main() -> None:
    """The process of its own: what to run comes as JSON in the first argument, the marks go to stdout as JSON."""
    asked = json.loads(sys.argv[1])
    artifact = Artifact(Path(asked["path"]), asked["target"], asked["precision"], asked["graph_sha256"])
    sys.stdout.write(json.dumps(_load_and_run(artifact, asked["size"], asked["threads"])))
