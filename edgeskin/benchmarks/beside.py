"""What a GPU does with the same network without TensorRT: latencies of torch and of onnxruntime, under their own names.

They say what TensorRT is worth, and are all that a GPU without it can tell. No promise rests on them.
"""

import ctypes
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from edgeskin import optional
from edgeskin.benchmarks import latency
from edgeskin.benchmarks.measurements import LatencyFigure
from edgeskin.errors import EdgeskinError, TargetError
from edgeskin.graph.folder import Graph
from edgeskin.targets.base import IMAGE, METADATA, Float32, Precision, UInt8

Device: TypeAlias = Literal["cuda", "cpu"]
Inputs: TypeAlias = tuple[UInt8, Float32 | None]

_DRIVERS = ("libcuda.so.1", "nvcuda.dll")
"""NVIDIA's driver as a library, on Linux and on Windows."""
_PROVIDERS: Mapping[Device, str] = {"cuda": "CUDAExecutionProvider", "cpu": "CPUExecutionProvider"}


@dataclass(frozen=True)
class Beside:
    """figures: what was measured. not_measured: why not, by the name that the figure would have had."""

    figures: tuple[LatencyFigure, ...] = ()
    not_measured: Mapping[str, str] = field(default_factory=dict)


def beside(
    graph: Graph, precision: Precision, inputs: Inputs, mode: latency.Mode, threads: int, *, device: Device = "cuda"
) -> Beside:
    """Time the graph's network in torch and in onnxruntime, from inputs in memory to outputs in memory.

    precision: of the artifact that they stand beside. Torch multiplies no int8 on a GPU, and runs the float network
    then; onnxruntime has no float16 file of ours. Both keep their own settings, TF32 among them. Nothing is imported
    where there is no NVIDIA driver.
    """
    in_torch: Precision = "fp16" if precision == "fp16" else "fp32"
    in_onnx: Precision = "int8" if precision == "int8" else "fp32"
    engines: dict[str, Callable[[], Callable[[], None]]] = {
        f"torch {in_torch}, {device}": lambda: _torch(graph, in_torch, inputs, device),
        f"onnxruntime {in_onnx}, {device.upper()}": lambda: _onnxruntime(graph, in_onnx, inputs, threads, device),
    }
    if device == "cuda" and not _has_driver():
        return Beside(not_measured=dict.fromkeys(engines, "there is no NVIDIA driver on this machine"))
    figures, not_measured = list[LatencyFigure](), dict[str, str]()
    for name, engine in engines.items():
        try:
            figures.append(latency.measure(engine(), mode, name, threads))
        except EdgeskinError as error:
            not_measured[name] = str(error)
    return Beside(tuple(figures), not_measured)


def _has_driver() -> bool:
    for name in _DRIVERS:
        try:
            ctypes.CDLL(name)
        except OSError:
            continue
        return True
    return False


def _torch(graph: Graph, precision: Precision, inputs: Inputs, device: Device) -> Callable[[], None]:
    """One pass in torch. Raises: TargetError where it has no such device, MissingDependencyError."""
    from edgeskin.targets.tensorrt.torch_tensorrt import in_torch

    session = in_torch(graph, precision, device)

    def run() -> None:
        session.run(*inputs)

    run()
    return run


def _onnxruntime(
    graph: Graph, precision: Precision, inputs: Inputs, threads: int, device: Device
) -> Callable[[], None]:
    """One pass in onnxruntime. Raises: TargetError where it does not run there, MissingDependencyError."""
    runtime = optional.require("onnxruntime")
    provider, path = _PROVIDERS[device], graph.int8 if precision == "int8" else graph.fp32
    if provider not in runtime.get_available_providers():
        raise TargetError(
            f"this onnxruntime {runtime.__version__} has no {provider}. Install onnxruntime-gpu in its place"
        )
    options = runtime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = threads
    errors = runtime.capi.onnxruntime_pybind11_state
    feeds = {IMAGE: inputs[0]} | ({} if inputs[1] is None else {METADATA: inputs[1]})
    try:
        session = runtime.InferenceSession(str(path), options, providers=[provider])
        used = session.get_providers()[0]
        if used != provider:
            raise TargetError(f"onnxruntime {runtime.__version__} runs {path.name} on {used}, not on {provider}")
        session.run(None, feeds)
    except (errors.EPFail, errors.Fail, errors.InvalidGraph, errors.NotImplemented, errors.RuntimeException) as error:
        told = str(error).splitlines()[0]
        raise TargetError(f"onnxruntime {runtime.__version__} cannot run {path.name} on {provider}: {told}") from error

    def run() -> None:
        session.run(None, feeds)

    return run
