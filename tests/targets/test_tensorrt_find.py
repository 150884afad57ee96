"""Which TensorRT a machine has, and the sentence for one that has none."""

import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from tensorrt_stand_ins import CudaStandIn, Gpu, TensorrtStandIn, table

from edgeskin import optional
from edgeskin.errors import MissingDependencyError, TargetError
from edgeskin.targets.tensorrt.runtime import cuda, find, trtexec


class Machine:
    """A machine whose modules, driver and program a test decides."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
        self._patch, self._folder = monkeypatch, folder
        self._modules: dict[str, object] = {}
        self.gpu = Gpu()
        monkeypatch.delenv(find.VARIABLE, raising=False)
        monkeypatch.setenv("PATH", str(folder))
        monkeypatch.setattr(trtexec, "JETPACK_PLACE", folder / "nowhere")
        monkeypatch.setattr(find, "_driver", lambda: False)
        monkeypatch.setattr(optional, "available", lambda module: module in self._modules)
        monkeypatch.setattr(find.importlib, "import_module", self._modules.__getitem__)

    def driver(self) -> None:
        self._patch.setattr(find, "_driver", lambda: True)

    def module(self, name: str, generation: str) -> None:
        self._modules["cuda"] = self._modules["cuda.bindings.runtime"] = CudaStandIn(table("cuda-13.4"), self.gpu)
        self._modules[name] = TensorrtStandIn(table(generation), CudaStandIn(table("cuda-13.4"), self.gpu))

    def program(self, version: str) -> None:
        path = self._folder / "trtexec"
        path.write_text(f"#!/bin/sh\necho '&&&& RUNNING TensorRT.trtexec [TensorRT v{version}] # trtexec --help'\n")
        path.chmod(0o755)

    def choose(self, way: str) -> None:
        self._patch.setenv(find.VARIABLE, way)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Machine:
    return Machine(monkeypatch, tmp_path)


def found() -> str | None:
    runtime = find.find()
    return None if runtime is None else runtime.name


def test_a_machine_with_nothing_has_none_and_says_what_was_looked_for(machine: Machine) -> None:
    assert found() is None
    said = find.why_not()
    assert said.startswith(
        "no TensorRT here builds and runs engines: the Python module tensorrt is not installed; no trtexec"
    )
    assert "the Python module tensorrt_rtx is not installed" in said
    assert "sudo apt install nvidia-jetpack" in said
    assert "pip install tensorrt 'edgeskin[tensorrt]'" in said


def test_tensorrt_rtx_without_a_driver_is_none(machine: Machine) -> None:
    machine.module("tensorrt_rtx", "rtx-1.7")
    assert found() is None
    assert "tensorrt_rtx is installed, and no NVIDIA driver: libcuda.so.1 cannot be loaded" in find.why_not()


def test_the_bindings_come_first_then_the_program_then_tensorrt_rtx(machine: Machine) -> None:
    machine.driver()
    machine.module("tensorrt_rtx", "rtx-1.7")
    assert found() == "TensorRT-RTX 1.7.1.116"
    machine.program("8502")
    assert found() == "trtexec of TensorRT 8.5.2"
    machine.module("tensorrt", "10.16")
    assert found() == "TensorRT 10.16.1.11"


@pytest.mark.parametrize(
    ("way", "said"),
    [("bindings", "TensorRT 10.16.1.11"), ("trtexec", "trtexec of TensorRT 8.5.2"), ("rtx", "TensorRT-RTX 1.7.1.116")],
)
def test_the_environment_chooses(way: str, said: str, machine: Machine) -> None:
    machine.driver()
    machine.module("tensorrt_rtx", "rtx-1.7")
    machine.module("tensorrt", "10.16")
    machine.program("8502")
    machine.choose(way)
    assert found() == said


def test_what_the_environment_chooses_and_is_not_there_is_not_replaced(machine: Machine) -> None:
    machine.program("8502")
    machine.choose("bindings")
    assert found() is None
    said = find.why_not()
    assert "the Python module tensorrt is not installed" in said
    assert "trtexec" not in said
    assert said.endswith("or do without EDGESKIN_TENSORRT=bindings")


def test_another_word_in_the_environment_is_refused(machine: Machine) -> None:
    machine.choose("cuda")
    with pytest.raises(TargetError, match="EDGESKIN_TENSORRT=cuda is none that edgeskin knows: bindings, trtexec, rtx"):
        find.find()


def test_a_gpu_whose_driver_is_too_old_for_the_bindings_is_not_passed_over_silently(machine: Machine) -> None:
    machine.driver()
    machine.module("tensorrt", "10.16")
    machine.gpu.supports = 12020
    assert found() is None
    assert "is for CUDA 12.2, and cuda-python for 13.4: update the driver" in find.why_not()


def test_bindings_without_cuda_python_say_what_to_install(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.driver()
    machine.module("tensorrt", "10.16")
    monkeypatch.setattr(optional, "available", lambda module: module == "tensorrt")
    assert found() is None
    assert "cuda-python is not installed. Install it with: pip install 'edgeskin[tensorrt]'" in find.why_not()


def test_a_cuda_python_without_its_new_name_is_told_from_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(optional, "available", lambda module: True)
    monkeypatch.setitem(sys.modules, "cuda", ModuleType("cuda"))
    with pytest.raises(MissingDependencyError, match=r"older than 12\.6, or not whole; .* --upgrade 'edgeskin"):
        cuda.Cuda.load()


def test_a_module_that_cannot_load_its_libraries_is_passed_over_with_the_reason(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.driver()
    machine.module("tensorrt", "10.16")

    def fails(name: str) -> object:
        raise ImportError("libnvinfer.so.10: cannot open shared object file")

    monkeypatch.setattr(find.importlib, "import_module", fails)
    assert found() is None
    assert "tensorrt cannot be imported: libnvinfer.so.10: cannot open" in find.why_not()


def test_a_version_that_nobody_knows_is_passed_over_with_the_reason(machine: Machine) -> None:
    machine.program("8401")
    assert found() is None
    assert "TensorRT 8.4.1 is none that edgeskin knows" in find.why_not()


def test_looking_imports_nothing_heavy_where_no_driver_is() -> None:
    """In a process of its own, which has nothing of what other tests import."""
    script = (
        "import sys\n"
        "from edgeskin.targets.tensorrt.runtime import find\n"
        "find._driver = lambda: False\n"
        "assert find._look()[0] is None or 'trtexec' in find.find().name\n"
        "print(sorted({'tensorrt', 'tensorrt_rtx', 'cuda', 'torch', 'onnx', 'onnxruntime'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
