"""Latencies of torch and onnxruntime beside TensorRT's: their names, what they run, and why one is not there."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from small_graphs import hasty, write_small_graph

from edgeskin import optional
from edgeskin.benchmarks import beside as room
from edgeskin.benchmarks.beside import beside
from edgeskin.errors import TargetError
from edgeskin.graph.folder import Graph
from edgeskin.targets.base import Precision


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory, phantom_data: Path) -> Graph:
    folder = tmp_path_factory.mktemp("beside") / "graph"
    write_small_graph(folder, phantom_data)
    return Graph.open(folder)


def picture(graph: Graph) -> tuple[np.ndarray, None]:
    return np.full((1, 3, graph.card.size, graph.card.size), 100, np.uint8), None


@pytest.mark.parametrize(
    ("precision", "names"),
    [
        ("int8", ("torch fp32, cpu", "onnxruntime int8, CPU")),
        ("fp16", ("torch fp16, cpu", "onnxruntime fp32, CPU")),
        ("fp32", ("torch fp32, cpu", "onnxruntime fp32, CPU")),
    ],
)
def test_each_engine_is_timed_under_its_own_name(graph: Graph, precision: Precision, names: tuple[str, ...]) -> None:
    if not optional.available("torch"):
        pytest.skip(str(optional.missing("torch")))
    with hasty():
        found = beside(graph, precision, picture(graph), "quick", 1, device="cpu")
    assert found.not_measured == {}
    assert tuple(figure.name for figure in found.figures) == names
    assert all(figure.samples >= 3 and figure.p50_ms for figure in found.figures)


def test_without_a_driver_nothing_is_imported(graph: Graph) -> None:
    program = f"""
import sys
import numpy as np
from pathlib import Path
from edgeskin.benchmarks import beside
from edgeskin.graph.folder import Graph
beside._DRIVERS = ("libno.so.1",)
graph = Graph.open(Path({str(graph.folder)!r}))
found = beside.beside(graph, "int8", (np.zeros((1, 3, 32, 32), np.uint8), None), "quick", 1)
assert found.figures == (), found
assert set(found.not_measured) == {{"torch fp32, cuda", "onnxruntime int8, CUDA"}}, found
assert set(found.not_measured.values()) == {{"there is no NVIDIA driver on this machine"}}, found
assert not {{"torch", "onnxruntime"}} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", program], check=True)


def test_a_driver_without_engines_says_what_is_missing(graph: Graph, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "_has_driver", lambda: True)
    monkeypatch.setattr(optional, "available", lambda module: False)
    found = beside(graph, "fp32", picture(graph), "quick", 1)
    assert found.figures == ()
    assert found.not_measured["torch fp32, cuda"].startswith("torch is not installed. Install it with: pip install")
    assert found.not_measured["onnxruntime fp32, CUDA"].startswith("onnxruntime is not installed.")


def test_a_driver_and_engines_that_use_none_say_so(graph: Graph, monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed: pip install 'edgeskin[train]'")
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    monkeypatch.setattr(room, "_has_driver", lambda: True)
    found = beside(graph, "int8", picture(graph), "quick", 1)
    assert "finds no NVIDIA GPU" in found.not_measured["torch fp32, cuda"]
    assert "has no CUDAExecutionProvider" in found.not_measured["onnxruntime int8, CUDA"]


def test_an_onnxruntime_that_falls_back_is_no_gpu(graph: Graph, monkeypatch: pytest.MonkeyPatch) -> None:
    import onnxruntime

    class Fallen:
        def __init__(self, *given: object, **named: object) -> None: ...

        def get_providers(self) -> list[str]:
            return ["CPUExecutionProvider"]

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider"])
    monkeypatch.setattr(onnxruntime, "InferenceSession", Fallen)
    with pytest.raises(TargetError, match=r"runs int8\.onnx on CPUExecutionProvider, not on CUDAExecutionProvider"):
        room._onnxruntime(graph, "int8", picture(graph), 1, "cuda")


@pytest.mark.gpu
def test_on_a_gpu_torch_is_measured_there(graph: Graph) -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed: pip install 'edgeskin[train]'")
    if not torch.cuda.is_available():
        pytest.skip(f"torch {torch.__version__} finds no NVIDIA GPU")
    with hasty():
        found = beside(graph, "int8", picture(graph), "quick", 1)
    assert "torch fp32, cuda" in [figure.name for figure in found.figures]
