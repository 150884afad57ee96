"""Which TensorRT a machine has, and the sentence for one that has none."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from tensorrt_stand_ins import CudaStandIn, Gpu, TensorrtStandIn, table

from edgeskin import optional
from edgeskin.errors import MissingDependencyError, TargetError
from edgeskin.targets.tensorrt.runtime import cuda, find, trtexec
from edgeskin.targets.tensorrt.target import TensorrtTarget


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

    def program(self, version: str, says: str = "Selected Device: Orin") -> None:
        path = self._folder / "trtexec"
        banner = f"&&&& RUNNING TensorRT.trtexec [TensorRT v{version}] # trtexec --help"
        path.write_text(f"#!/bin/sh\necho '{banner}'\necho '[I] {says}'\n")
        path.chmod(0o755)

    def choose(self, way: str) -> None:
        self._patch.setenv(find.VARIABLE, way)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Machine]:
    find.forget()
    yield Machine(monkeypatch, tmp_path)
    find.forget()


def found() -> str | None:
    find.forget()
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


def test_what_is_preferred_comes_first_and_is_not_demanded(machine: Machine) -> None:
    machine.driver()
    machine.module("tensorrt", "10.16")
    assert (runtime := find.find("rtx")) is not None
    assert runtime.name == "TensorRT 10.16.1.11"
    machine.module("tensorrt_rtx", "rtx-1.7")
    find.forget()
    assert (runtime := find.find("rtx")) is not None
    assert runtime.name.startswith("TensorRT-RTX 1.7")
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
    with pytest.raises(TargetError) as refusal:
        found()
    said = str(refusal.value)
    assert "the Python module tensorrt is not installed" in said
    assert "trtexec" not in said
    assert said.endswith("or do without EDGESKIN_TENSORRT=bindings")
    with pytest.raises(TargetError, match="do without EDGESKIN_TENSORRT=bindings"):
        TensorrtTarget().processors()


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


def test_what_is_not_there_at_all_is_not_called_passed_over(machine: Machine) -> None:
    machine.module("tensorrt_rtx", "rtx-1.7")  # which is here to parse, where there is no driver
    assert found() is None
    assert find.refused() is None
    assert "cannot be used" not in TensorrtTarget().here()


def test_what_is_here_and_cannot_be_used_is_said_with_the_reason(machine: Machine) -> None:
    machine.driver()
    machine.module("tensorrt", "10.16")
    machine.gpu.supports = 12020
    assert found() is None
    said = TensorrtTarget().here()
    assert "What is here cannot be used: the driver" in said
    assert "is for CUDA 12.2, and cuda-python for 13.4" in said
    machine.program("8401")
    assert found() is None
    refused = find.refused()
    assert refused is not None
    assert "; TensorRT 8.4.1 is none that edgeskin knows" in refused
    assert refused in TensorrtTarget().here()


def test_another_way_is_taken_and_why_is_said(machine: Machine) -> None:
    machine.driver()
    machine.module("tensorrt", "10.16")
    machine.gpu.supports = 12020
    machine.program("8502")
    assert found() == "trtexec of TensorRT 8.5.2"
    said = TensorrtTarget().here()
    assert said.startswith("trtexec of TensorRT 8.5.2 and Orin: the engine is built, run and measured here. ")
    assert "It is used, because the driver" in said
    assert "is for CUDA 12.2, and cuda-python for 13.4" in said


def test_a_program_that_finds_no_gpu_is_passed_over_with_its_words(machine: Machine) -> None:
    machine.program("100300", says="Cuda failure: no CUDA-capable device is detected")
    assert found() is None
    assert find.refused() == (
        "trtexec of TensorRT 10.3.0 finds no GPU: Cuda failure: no CUDA-capable device is detected"
    )


def test_a_machine_is_looked_at_once(machine: Machine) -> None:
    machine.program("8502")
    first = find.find()
    machine.program("100300")
    assert find.find() is first
    find.forget()
    assert found() == "trtexec of TensorRT 10.3.0"


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
        "assert find.find() is None or 'trtexec' in find.find().name\n"
        "print(sorted({'tensorrt', 'tensorrt_rtx', 'cuda', 'torch', 'onnx', 'onnxruntime'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
