"""Stand-ins for NVIDIA's modules: each has what the pinned tables say that its generation has, and nothing else.

A name that a generation lacks raises AttributeError, arguments that it does not take raise TypeError, as pybind11 does;
a name that it has and no stand-in carries out fails the test. What they do is the least that can be told apart: the
GPU's memory is counted, work is queued and runs when it is waited for, a plan holds its ONNX file, whose network
onnxruntime computes. What TensorRT says when it refuses is quoted from issues of NVIDIA/TensorRT.
"""

import ctypes
import inspect
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import onnxruntime

TABLES = Path(__file__).parent / "tensorrt_api"
MAGIC = b"stand-in plan\n"
COPY_MS, COMPUTE_MS = 0.25, 2.0
"""How long a copy and a run take by the GPU's clock."""
MIB = 2**20


def table(name: str) -> dict[str, Any]:
    """A pinned table, by the name of its file."""
    found: dict[str, Any] = json.loads((TABLES / f"{name}.json").read_text())
    return found


class Strict:
    """A value of a class of which only the pinned members can be used. does: who carries them out."""

    def __init__(self, kind: str, said: dict[str, Any], does: object) -> None:
        object.__setattr__(self, "_kind", kind)
        object.__setattr__(self, "_said", said)
        object.__setattr__(self, "does", does)

    def __getattr__(self, name: str) -> Any:
        if name not in self._said:
            raise AttributeError(f"{self._kind} has no {name}")
        assert hasattr(self.does, name), f"no stand-in carries out {self._kind}.{name}"
        found = getattr(self.does, name)
        return found if isinstance(self._said[name], str) else _checked(f"{self._kind}.{name}", self._said[name], found)

    def __setattr__(self, name: str, value: object) -> None:
        if self._said.get(name) != "rw":
            raise AttributeError(f"{self._kind} has no {name} that can be set")
        setattr(self.does, name, value)


def _checked(where: str, overloads: Sequence[Sequence[str]], call: Callable[..., Any]) -> Callable[..., Any]:
    def checked(*arguments: object, **named: object) -> Any:
        for overload in overloads:
            parameters = [
                inspect.Parameter(
                    each.rstrip("?"),
                    inspect.Parameter.POSITIONAL_OR_KEYWORD,
                    default=None if each.endswith("?") else inspect.Parameter.empty,
                )
                for each in overload
            ]
            try:
                bound = inspect.Signature(parameters).bind(*arguments, **named)
            except TypeError:
                continue
            return call(*bound.args, **bound.kwargs)
        raise TypeError(f"{where}(): incompatible function arguments; it takes {overloads}")

    return checked


# --- CUDA ---


@dataclass
class Gpu:
    """The GPU of a test.

    supports: the CUDA that its driver is for, as 12040; 0 where there is no driver. tensorrt_wants: the CUDA that
    TensorRT is for, where it is not cuda-python's. engine_takes: the bytes that an engine takes besides its buffers.
    dlopen: whether cuda-python loads the driver itself and raises where there is none, as it did before 12.9.
    """

    name: str = "NVIDIA GeForce RTX 3060"
    capability: tuple[int, int] = (8, 6)
    total: int = 64 * MIB
    taken: int = 1 * MIB
    supports: int = 13040
    runtime: int = 13040
    tensorrt_wants: int = 0
    engine_takes: int = 0
    dlopen: bool = False
    capturable: bool = True
    clock_ms: float = 0.0
    alive: dict[int, Any] = field(default_factory=dict)
    """Everything that was made and not freed yet, by address or handle."""

    @property
    def free(self) -> int:
        return self.total - self.taken - sum(size for kind, size, _ in self.alive.values() if kind == "device")


class CudaStandIn:
    """`cuda.bindings.runtime`. said: a pinned table of it."""

    def __init__(self, said: dict[str, Any], gpu: Gpu) -> None:
        self._said, self.gpu = said, gpu
        self._queues: dict[int, list[Callable[[], None]]] = {}
        self._recorded: dict[int, list[Callable[[], None]]] = {}
        self._next = 0x1000
        self.enums = {kind: IntEnum(kind, words) for kind, words in said["enums"].items()}
        self._error: Any = self.enums["cudaError_t"]

    def __getattr__(self, name: str) -> Any:
        said = self._said
        if name in said["enums"]:
            return self.enums[name]
        if name in said["constants"]:
            return said["constants"][name]
        if name not in said["functions"]:
            raise AttributeError(f"cuda.bindings.runtime has no {name}")
        return _checked(name, [said["functions"][name]], lambda *arguments: self._call(name, *arguments))

    def _call(self, name: str, *arguments: Any) -> tuple[Any, ...]:
        done = getattr(self, f"_{name}", None)
        assert done is not None, f"no stand-in carries out {name}"
        if not self.gpu.supports and self.gpu.dlopen and name != "cudaRuntimeGetVersion":
            raise RuntimeError("Failed to dlopen libcuda.so.1")
        if self.gpu.supports // 1000 < self.gpu.runtime // 1000 and name not in (
            "cudaDriverGetVersion", "cudaRuntimeGetVersion", "cudaGetErrorString"
        ):  # fmt: skip
            return self._error.cudaErrorInsufficientDriver, None
        answer = done(*arguments)
        if isinstance(answer, self._error):
            return answer, None
        return (
            self._error.cudaSuccess,
            *(answer if isinstance(answer, tuple) else () if answer is None else (answer,)),
        )

    def _new(self, kind: str, size: int = 0, what: object = None) -> int:
        self._next += 0x1000
        self.gpu.alive[self._next] = (kind, size, what)
        return self._next

    def _gone(self, kind: str, handle: Any) -> None:
        assert self.gpu.alive.pop(int(handle))[0] == kind

    def _cudaDriverGetVersion(self) -> int:
        return self.gpu.supports

    def _cudaRuntimeGetVersion(self) -> int:
        return self.gpu.runtime

    def _cudaGetErrorString(self, error: Any) -> bytes:
        return f"words of {error.name}".encode()

    def _cudaGetDeviceProperties(self, device: int) -> Any:
        assert device == 0
        if not self.gpu.name:
            return self._error.cudaErrorNoDevice
        known = {
            "name": self.gpu.name.encode() + b"\0",
            "major": self.gpu.capability[0],
            "minor": self.gpu.capability[1],
            "totalGlobalMem": self.gpu.total,
        }
        return SimpleNamespace(**{name: known[name] for name in self._said["properties"]})

    def _cudaMemGetInfo(self) -> tuple[int, int]:
        return self.gpu.free, self.gpu.total

    def _memory(self, kind: str, size: int) -> Any:
        if kind == "device" and size > self.gpu.free:
            return self._error.cudaErrorMemoryAllocation
        content = (ctypes.c_uint8 * size)()
        address = ctypes.addressof(content)
        self.gpu.alive[address] = (kind, size, content)
        return address

    def _cudaMalloc(self, size: int) -> Any:
        return self._memory("device", size)

    def _cudaMallocHost(self, size: int) -> Any:
        return self._memory("host", size)

    def _cudaFree(self, address: int) -> None:
        self._gone("device", address)

    def _cudaFreeHost(self, address: int) -> None:
        self._gone("host", address)

    def _cudaStreamCreateWithFlags(self, flags: int) -> int:
        assert flags == self._said["constants"]["cudaStreamNonBlocking"]
        stream = self._new("stream")
        self._queues[stream] = []
        return stream

    def _cudaStreamDestroy(self, stream: int) -> None:
        self._gone("stream", stream)

    def submit(self, stream: int, work: Callable[[], None]) -> None:
        """Queue work, or record it where the stream is captured."""
        (self._recorded if stream in self._recorded else self._queues)[stream].append(work)

    def captured(self, stream: int) -> bool:
        return stream in self._recorded

    def _cudaStreamSynchronize(self, stream: int) -> Any:
        if stream in self._recorded:
            return self._error.cudaErrorStreamCaptureUnsupported
        queue = self._queues[stream]
        while queue:
            queue.pop(0)()
        return None

    def _cudaMemcpyAsync(self, to: int, of: int, size: int, kind: Any, stream: int) -> None:
        ends = {"cudaMemcpyHostToDevice": ("host", "device"), "cudaMemcpyDeviceToHost": ("device", "host")}
        for address, place in zip((of, to), ends[kind.name], strict=True):
            assert self.gpu.alive[address][0] == place
            assert self.gpu.alive[address][1] >= size

        def copy() -> None:
            self.gpu.clock_ms += COPY_MS
            ctypes.memmove(to, of, size)

        self.submit(stream, copy)

    def _cudaStreamBeginCapture(self, stream: int, mode: Any) -> None:
        assert mode.name == "cudaStreamCaptureModeThreadLocal"
        assert not self._queues[stream], "what was queued before is not waited for"
        self._recorded[stream] = []

    def _cudaStreamEndCapture(self, stream: int) -> Any:
        recorded = self._recorded.pop(stream)
        return (
            self._new("graph", what=recorded) if self.gpu.capturable else self._error.cudaErrorStreamCaptureInvalidated
        )

    def _cudaGraphInstantiateWithFlags(self, graph: int, flags: int) -> int:
        assert flags == 0
        return self._new("ready graph", what=self.gpu.alive[graph][2])

    def _cudaGraphDestroy(self, graph: int) -> None:
        self._gone("graph", graph)

    def _cudaGraphExecDestroy(self, graph: int) -> None:
        self._gone("ready graph", graph)

    def _cudaGraphLaunch(self, graph: int, stream: int) -> None:
        self._queues[stream].extend(self.gpu.alive[graph][2])

    def _cudaEventCreate(self) -> int:
        return self._new("event", what=[0.0])

    def _cudaEventDestroy(self, event: int) -> None:
        self._gone("event", event)

    def _cudaEventRecord(self, event: int, stream: int) -> None:
        (moment,) = (self.gpu.alive[event][2],)

        def note() -> None:
            moment[0] = self.gpu.clock_ms

        self.submit(stream, note)

    def _cudaEventSynchronize(self, event: int) -> None:
        assert self.gpu.alive[event][0] == "event"
        for stream in self._queues:
            self._cudaStreamSynchronize(stream)

    def _cudaEventElapsedTime(self, begin: int, end: int) -> float:
        return float(self.gpu.alive[end][2][0] - self.gpu.alive[begin][2][0])


# --- TensorRT ---


class TensorrtStandIn:
    """`tensorrt` or `tensorrt_rtx`, as a pinned table says it. cuda: whose GPU it builds for and runs on.

    fails: what it is to say instead of building or running, by the name of the call. calls: what was called.
    """

    def __init__(self, said: dict[str, Any], cuda: CudaStandIn) -> None:
        self._said, self.cuda = said, cuda
        self.__version__ = said["version"]
        self.fails: dict[str, str] = {}
        self.built: dict[str, Any] = {}
        """What the last engine was built with."""
        self._logger: Any = None
        for kind, words in said["enums"].items():
            setattr(self, kind, IntEnum(kind, words, start=0))

        class ILogger:
            Severity = IntEnum("Severity", ["INTERNAL_ERROR", "ERROR", "WARNING", "INFO", "VERBOSE"], start=0)

            def __init__(self) -> None:
                pass

        self.ILogger = ILogger

    def make(self, kind: str, does: object) -> Strict:
        return Strict(kind, self._said["classes"][kind], does)

    def log(self, text: str, severity: str = "ERROR") -> None:
        self._logger.log(self.ILogger.Severity[severity], text)

    def failing(self, call: str) -> bool:
        """Whether a call is to fail; then it is logged why."""
        if call in self.fails:
            self.log(self.fails[call])
        return call in self.fails

    def _started(self, logger: Any) -> None:
        """NVIDIA/TensorRT issue 2913."""
        self._logger = self._logger or logger
        gpu = self.cuda.gpu
        if gpu.supports // 1000 < (gpu.tensorrt_wants or gpu.runtime) // 1000:
            self.log("CUDA initialization failure with error: 35. Please check your CUDA installation", "WARNING")
            raise TypeError("pybind11::init(): factory function returned nullptr")

    def Builder(self, logger: Any) -> Strict:
        self._started(logger)
        return self.make("Builder", _Builder(self))

    def OnnxParser(self, network: Strict, logger: Any) -> Strict:
        assert logger is self._logger
        return self.make("OnnxParser", _Parser(self, network.does))

    def Runtime(self, logger: Any) -> Strict:
        self._started(logger)
        return self.make("Runtime", _Runtime(self))


class _Builder:
    def __init__(self, library: TensorrtStandIn) -> None:
        self.library = library

    def create_network(self, flags: int | None = None) -> Strict:
        kinds: Any = self.library.NetworkDefinitionCreationFlag
        asked = {kind.name for kind in kinds if (flags or 0) & (1 << int(kind))}
        always = int(self.library.__version__.split(".")[0]) not in (8, 10)
        assert always or asked & {"STRONGLY_TYPED", "EXPLICIT_BATCH"}, "an implicit batch, which no ONNX file has"
        return self.library.make("INetworkDefinition", _Network(self.library, always or "STRONGLY_TYPED" in asked))

    def create_builder_config(self) -> Strict:
        return self.library.make("IBuilderConfig", _Config(self.library))

    def create_optimization_profile(self) -> Strict:
        return self.library.make("IOptimizationProfile", _Profile())

    def build_serialized_network(self, network: Strict, config: Strict) -> bytearray | None:
        if self.library.failing("build_serialized_network"):
            return None
        does, how = network.does, config.does
        assert not (does.typed and {"FP16", "INT8"} & how.said), "a strongly typed network with flags of precision"
        header = {
            "version": self.library.__version__,
            "capability": self.library.cuda.gpu.capability,
            "shapes": how.profiles[0].does.shapes,
            "size": len(does.content),
        }
        self.library.built = {
            "typed": does.typed,
            "flags": how.said,
            "verbosity": how.profiling_verbosity.name,
            "capabilities": how.capabilities,
            **header,
        }
        if how.cache is not None:
            how.cache.does.content += b"timed "
        return bytearray(MAGIC + json.dumps(header).encode() + b"\n" + does.content)


class _Network:
    def __init__(self, library: TensorrtStandIn, typed: bool) -> None:
        self.library, self.typed, self.content = library, typed, b""

    @property
    def num_inputs(self) -> int:
        return len(onnx.load_from_string(self.content).graph.input)

    def get_input(self, index: int) -> Strict:
        given = onnx.load_from_string(self.content).graph.input[index]
        shape = tuple(each.dim_value or -1 for each in given.type.tensor_type.shape.dim)
        return self.library.make("ITensor", SimpleNamespace(name=given.name, shape=shape))


class _Parser:
    def __init__(self, library: TensorrtStandIn, network: _Network) -> None:
        self.library, self.network = library, network
        self.num_errors = 0

    def parse(self, model: bytes, path: str | None = None) -> bool:
        self.num_errors = int("parse" in self.library.fails)
        if self.num_errors:
            return False
        try:
            onnx.load_from_string(model)
        except Exception:  # noqa: BLE001  (protobuf's own)
            self.library.log("Failed to parse ONNX model from buffer")
            return False
        self.network.content = model
        return True

    def get_error(self, index: int) -> Strict:
        assert index == 0
        does = SimpleNamespace(
            desc=lambda: self.library.fails["parse"], node_name=lambda: "stem.conv", node_operator=lambda: "Conv"
        )
        return self.library.make("ParserError", does)


class _Profile:
    def __init__(self) -> None:
        self.shapes: dict[str, list[tuple[int, ...]]] = {}

    def set_shape(self, name: str, *shapes: tuple[int, ...]) -> None:
        self.shapes[name] = list(shapes)


class _Config:
    def __init__(self, library: TensorrtStandIn) -> None:
        self.library = library
        self.said = {"TF32"}
        """The flags; TF32 is enabled by default."""
        self.profiling_verbosity: Any = None
        self.profiles: list[Strict] = []
        self.cache: Strict | None = None
        self.num_compute_capabilities = 0
        self.capabilities: list[str] = []

    def set_flag(self, flag: Any) -> None:
        self.said.add(flag.name)

    def clear_flag(self, flag: Any) -> None:
        self.said.discard(flag.name)

    def set_compute_capability(self, compute_capability: Any, index: int) -> bool:
        assert index == len(self.capabilities) < self.num_compute_capabilities
        self.capabilities.append(compute_capability.name)
        return True

    def add_optimization_profile(self, profile: Strict) -> int:
        self.profiles.append(profile)
        return len(self.profiles) - 1

    def create_timing_cache(self, serialized: bytes) -> Strict | None:
        cache = SimpleNamespace(content=serialized)
        cache.serialize = lambda: bytearray(cache.content)
        return self.library.make("ITimingCache", cache)

    def set_timing_cache(self, cache: Strict, ignore_mismatch: bool) -> bool:
        if b"another machine" in cache.does.content and not ignore_mismatch:
            return False
        self.cache = cache
        return True

    def get_timing_cache(self) -> Strict | None:
        return self.cache


class _Runtime:
    def __init__(self, library: TensorrtStandIn) -> None:
        self.library = library

    def deserialize_cuda_engine(self, serialized: bytes) -> Strict | None:
        library, gpu = self.library, self.library.cuda.gpu
        if library.failing("deserialize_cuda_engine"):
            return None
        if not serialized.startswith(MAGIC):
            library.log(
                "Error Code 1: Serialization (Serialization assertion plan->header.magicTag == rt::kPLAN_MAGIC_TAG "
                "failed.)"
            )
            return None
        head, end, content = serialized[len(MAGIC) :].partition(b"\n")
        header = json.loads(head) if end else {"version": library.__version__, "capability": gpu.capability, "size": -1}
        if header["version"] != library.__version__:
            library.log(
                "Error Code 6: The engine plan file is not compatible with this version of TensorRT, expecting library "
                f"version {library.__version__} got {header['version']}, please rebuild."
            )
        elif tuple(header["capability"]) != gpu.capability:
            here, there = (".".join(map(str, each)) for each in (gpu.capability, header["capability"]))
            library.log(
                "Error Code 6: The engine plan file is generated on an incompatible device, expecting compute "
                f"{here} got compute {there}, please rebuild."
            )
        elif len(content) != header["size"]:
            library.log("Error Code 1: Serialization (Serialization assertion sizeRead == static_cast<uint64_t>(size))")
        else:
            return library.make("ICudaEngine", _Engine(library, header, content))
        return None


class _Engine:
    device_memory_size = device_memory_size_v2 = 3 * MIB

    def __init__(self, library: TensorrtStandIn, header: dict[str, Any], content: bytes) -> None:
        self.library, self.shapes = library, header["shapes"]
        graph = onnx.load_from_string(content).graph
        self.tensors = {each.name: each.type.tensor_type for each in [*graph.input, *graph.output]}
        self.inputs = {each.name for each in graph.input}
        self.session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
        self.num_io_tensors = len(self.tensors)
        library.cuda.gpu.taken += library.cuda.gpu.engine_takes

    def get_tensor_name(self, index: int) -> str:
        return list(self.tensors)[index]

    def get_tensor_mode(self, name: str) -> Any:
        modes: Any = self.library.TensorIOMode
        return modes.INPUT if name in self.inputs else modes.OUTPUT

    def get_tensor_dtype(self, name: str) -> Any:
        kinds: Any = self.library.DataType
        words = {onnx.TensorProto.FLOAT: "FLOAT", onnx.TensorProto.UINT8: "UINT8", onnx.TensorProto.FLOAT16: "HALF"}
        return kinds[words.get(self.tensors[name].elem_type, "INT32")]

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return tuple(each.dim_value or -1 for each in self.tensors[name].shape.dim)

    def get_tensor_profile_shape(self, name: str, profile_index: int) -> list[tuple[int, ...]]:
        assert profile_index == 0
        return [tuple(each) for each in self.shapes[name]]

    def create_execution_context(self, strategy: Any = None) -> Strict | None:
        if self.library.failing("create_execution_context"):
            return None
        return self.library.make("IExecutionContext", _Context(self))

    def create_engine_inspector(self) -> Strict:
        inspector = SimpleNamespace(execution_context=None)

        def say(how: Any) -> str:
            batch = inspector.execution_context.does.given["image"][0]
            return json.dumps({"Layers": [{"Name": "stem.conv"}], "batch": batch, "format": how.name})

        inspector.get_engine_information = say
        return self.library.make("EngineInspector", inspector)


class _Context:
    def __init__(self, engine: _Engine) -> None:
        self.engine, self.library = engine, engine.library
        self.given: dict[str, tuple[int, ...]] = {}
        self.addresses: dict[str, int] = {}

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        smallest, _, largest = self.engine.shapes[name]
        if not all(low <= size <= high for low, size, high in zip(smallest, shape, largest, strict=True)):
            self.library.log(f"Error Code 3: set_input_shape: {name} {shape} is outside of the profile")
            return False
        self.given[name] = shape
        return True

    def set_tensor_address(self, name: str, memory: int) -> bool:
        self.addresses[name] = memory
        return name in self.engine.tensors

    def is_stream_capturable(self, stream: int) -> bool:
        assert self.library.cuda.gpu.alive[stream][0] == "stream"
        return "is_stream_capturable" not in self.library.fails

    def execute_async_v3(self, stream: int) -> bool:
        assert self.addresses.keys() == self.engine.tensors.keys()
        assert self.given.keys() == self.engine.inputs
        if self.library.failing("execute_async_v3"):
            return False
        if self.library.cuda.captured(stream) and self.library.failing("capture"):
            return False
        self.library.cuda.submit(stream, self._compute)
        return True

    def _compute(self) -> None:
        self.library.cuda.gpu.clock_ms += COMPUTE_MS
        kinds = {"UINT8": np.uint8, "FLOAT": np.float32, "HALF": np.float16}
        feed = {}
        for name, shape in self.given.items():
            kind: Any = kinds[self.engine.get_tensor_dtype(name).name]
            feed[name] = self._array(name, shape, kind).copy()
        names = [name for name in self.engine.tensors if name not in self.engine.inputs]
        for name, values in zip(names, self.engine.session.run(names, feed), strict=True):
            self._array(name, values.shape, values.dtype)[...] = values

    def _array(self, name: str, shape: tuple[int, ...], kind: Any) -> Any:
        place, size, content = self.library.cuda.gpu.alive[self.addresses[name]]
        assert place == "device"
        room = int(np.prod(shape)) * np.dtype(kind).itemsize
        assert room <= size
        return np.ctypeslib.as_array(content)[:room].view(kind).reshape(shape)
