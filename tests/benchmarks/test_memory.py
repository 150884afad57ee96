"""Peak memory in a process of its own, by a target that allocates a known amount."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edgeskin.benchmarks import memory
from edgeskin.benchmarks.measurements import MemoryFigure
from edgeskin.benchmarks.memory import Alone, NotMeasured
from edgeskin.graph.ir import Conv, Network, Node, Pixels, Sigmoid, Tensor
from edgeskin.graph.write import write_onnx
from edgeskin.targets.base import Artifact

ALLOCATES_64_MIB = """
import numpy as np
from edgeskin import targets
from edgeskin.benchmarks import memory

class Hungry:
    metadata_width = 5

    def open(self, artifact, *, threads):
        self.weights = np.ones(32 * 2**20, np.uint8)
        return self

    def run(self, image, metadata):
        assert metadata.shape == (1, 5)
        np.ones(32 * 2**20, np.uint8)

targets.get = lambda name: Hungry()
memory.main()
"""

needs_peak = pytest.mark.skipif(memory.high_water_mib() is None, reason="this system does not tell the peak memory")


@needs_peak
def test_the_figure_is_what_opening_and_running_allocate() -> None:
    asked = {"path": "none", "target": "hungry", "precision": "int8", "graph_sha256": "0", "size": 64, "threads": 1}
    ballast = bytearray(200 * 2**20)  # this process is large; the child must not inherit its peak
    done = subprocess.run(
        [sys.executable, "-c", ALLOCATES_64_MIB, json.dumps(asked)], capture_output=True, text=True, check=True
    )
    marks = json.loads(done.stdout)
    assert marks["peak_mib"] - marks["baseline_mib"] == pytest.approx(64, abs=4)
    assert marks["baseline_mib"] < len(ballast) / 2**20


@needs_peak
def test_an_artifact_is_measured_in_its_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("onnxruntime")
    tensors = (
        Tensor("image", ("N", 3, 64, 64)),
        Tensor("x", ("N", 3, 64, 64)),
        Tensor("weight", (1, 3, 1, 1), data=np.ones((1, 3, 1, 1), np.float32)),
        Tensor("logit", ("N", 1, 64, 64)),
        Tensor("lesion", ("N", 1, 64, 64)),
    )
    nodes = (
        Node("door", Pixels(), ("image",), "x"),
        Node("convolve", Conv((1, 1), (0, 0, 0, 0), (1, 1), 1), ("x", "weight"), "logit"),
        Node("tail", Sigmoid(), ("logit",), "lesion"),
    )
    network = Network(("image",), ("lesion",), nodes, {tensor.name: tensor for tensor in tensors})
    write_onnx(network, tmp_path / "model.onnx")
    told = memory.alone(Artifact(tmp_path / "model.onnx", "onnx", "fp32", "0" * 64), 64)
    assert isinstance(told, Alone)
    assert told.load_ms > told.first_run_ms > 0, "loading a library takes longer than 4096 multiplications"
    monkeypatch.setattr(memory, "alone", lambda *_, **__: told)
    figure = memory.measure(Artifact(tmp_path / "model.onnx", "onnx", "fp32", "0" * 64), 64)
    assert isinstance(figure, MemoryFigure)
    # onnxruntime's shared library alone is over 10 MiB, and a network this small cannot need half a gigabyte.
    assert figure.peak_mib is not None
    assert 10 < figure.peak_mib < 500


def test_a_users_module_called_like_one_of_pythons_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "random.py").write_text("raise SystemExit('the wrong module')")
    monkeypatch.chdir(tmp_path)
    figure = memory.measure(Artifact(tmp_path / "absent.onnx", "no-such-target", "int8", "0" * 64), 64)
    assert isinstance(figure, NotMeasured)
    assert "no-such-target" in figure.reason


def test_a_process_that_fails_gives_its_reason_and_no_figure(tmp_path: Path) -> None:
    figure = memory.measure(Artifact(tmp_path / "absent.onnx", "no-such-target", "int8", "0" * 64), 64)
    assert isinstance(figure, NotMeasured)
    assert "no-such-target" in figure.reason


def test_a_system_that_tells_no_peak_gives_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "alone", lambda *_, **__: Alone(None, None, None, 100.0, 10.0))
    figure = memory.measure(Artifact(Path("none"), "onnx", "int8", "0" * 64), 64)
    assert figure == NotMeasured("this system does not tell the peak memory of a process")


RUNS_ON_A_GPU = """
from edgeskin import targets
from edgeskin.benchmarks import memory

class Engine:
    metadata_width, device_mib = None, {device_mib}
    times = run = lambda *_: {{}}

    def open(self, artifact, *, threads):
        return self

targets.get = lambda name: Engine()
memory.main()
"""


@needs_peak
@pytest.mark.parametrize(
    ("device_mib", "figure"),
    [
        (12.5, 12.5),
        (None, "what runs gpu on this machine does not tell how much memory it takes there"),
    ],
)
def test_what_runs_on_an_accelerator_has_a_figure_only_where_it_tells_what_it_takes_there(
    device_mib: float | None, figure: float | str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "_PROGRAM", RUNS_ON_A_GPU.format(device_mib=device_mib))
    found = memory.measure(Artifact(Path("none"), "gpu", "int8", "0" * 64), 64)
    if isinstance(found, NotMeasured):
        assert found.reason == figure
    else:
        assert found.device_mib == figure


def test_the_high_water_mark_is_read_in_mib(tmp_path: Path) -> None:
    status = tmp_path / "status"
    status.write_text("Name:\tpython\nVmPeak:\t  999999 kB\nVmHWM:\t   51200 kB\nVmRSS:\t   1 kB\n")
    assert memory.high_water_mib(status) == 50.0


@pytest.mark.skipif(sys.platform == "darwin", reason="macOS tells it by another call")
def test_a_system_that_does_not_tell_gives_none(tmp_path: Path) -> None:
    assert memory.high_water_mib(tmp_path / "absent") is None
