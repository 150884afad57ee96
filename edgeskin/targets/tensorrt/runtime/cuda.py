"""The GPU through cuda-python: its memory, streams, graphs and events. Every call's answer is checked.

`cuda.bindings.runtime` has the CUDA Runtime's own names and answers each call with a tuple, the error code first (its
documentation; signatures seen in cuda-python 11.8.7, 12.6.2, 12.9.0 and 13.4.4, which agree in what is used here). It
imports without a driver. Then 12.9 and 13 answer with cudaErrorInsufficientDriver (35) and say that the driver is for
CUDA 0; 11.8 and 12.6 raise RuntimeError ("Failed to dlopen libcuda.so.1"). cuda-python before 12.6 has no
`cuda.bindings` and is not used.
"""

import contextlib
import ctypes
import importlib
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeskin import optional
from edgeskin.errors import MissingDependencyError, TargetError
from edgeskin.targets.tensorrt.runtime import Gpu, machine
from edgeskin.targets.tensorrt.runtime.reasons import out_of_memory

MODULE = "cuda.bindings.runtime"
DEVICE = 0
"""The first GPU that CUDA sees; CUDA_VISIBLE_DEVICES chooses another."""

_OLD_DRIVER, _NO_DEVICE, _NO_MEMORY = "cudaErrorInsufficientDriver", "cudaErrorNoDevice", "cudaErrorMemoryAllocation"
_OLDEST_DRIVER = {11: "450", 12: "525", 13: "580"}
"""By major version of CUDA. Source: NVIDIA, CUDA Compatibility, Minor Version Compatibility, table 1."""


@dataclass(frozen=True)
class Cuda:
    """The CUDA Runtime. module: `cuda.bindings.runtime`."""

    module: Any

    @staticmethod
    def load() -> "Cuda":
        """Raises: MissingDependencyError where cuda-python is absent or too old."""
        if not optional.available("cuda"):
            raise MissingDependencyError(
                "cuda-python is not installed. Install it with: pip install 'edgeskin[tensorrt]'"
            )
        try:
            return Cuda(importlib.import_module(MODULE))
        except ImportError as error:
            raise MissingDependencyError(
                f"cuda-python is here without {MODULE}: {error}. It is older than 12.6, or not whole; install it again "
                "with: pip install --upgrade 'edgeskin[tensorrt]'"
            ) from error

    def call(self, name: str, *arguments: object, asked_bytes: int | None = None) -> Any:
        """Call a function of the Runtime: its one value, the tuple of several, None where it has none.

        Raises: TargetError with the error's name, and what to do where that is known.
        """
        try:
            code, *values = getattr(self.module, name)(*arguments)
        except RuntimeError as error:  # cuda-python before 12.9, where there is no driver
            raise TargetError(f"{_NOBODY}: {error}. {_INSTALL_DRIVER}") from error
        if int(code):
            raise TargetError(self._reason(name, code, asked_bytes))
        return None if not values else values[0] if len(values) == 1 else tuple(values)

    def gpu(self) -> Gpu:
        """The GPU of this machine. Raises: TargetError where there is none, or its driver is too old."""
        found = self.call("cudaGetDeviceProperties", DEVICE)
        name = found.name.decode(errors="replace").rstrip("\0")
        return Gpu(
            machine.named(name),
            (int(found.major), int(found.minor)),
            machine.driver(),
            int(found.totalGlobalMem) / 2**20,
        )

    def free_bytes(self) -> int:
        """How much GPU memory is free now. Raises: TargetError as `call`."""
        free, _ = self.call("cudaMemGetInfo")
        return int(free)

    def memory(self) -> str | None:
        """What is free of the GPU's memory, in words; None where CUDA does not say."""
        try:
            free, total = self.call("cudaMemGetInfo")
        except TargetError:
            return None
        return f"{int(free) / 2**20:.1f} MiB of {int(total) / 2**20:.1f} MiB are free"

    def _reason(self, name: str, code: Any, asked_bytes: int | None) -> str:
        word = str(code.name)
        if word == _NO_MEMORY:
            return f"the GPU is {out_of_memory(asked_bytes, self.memory())}"
        if word == _NO_DEVICE:
            return f"{_NOBODY}: {word}. Check that nvidia-smi lists one, and what CUDA_VISIBLE_DEVICES says"
        if word == _OLD_DRIVER:
            supported, needed = int(self.call("cudaDriverGetVersion")), int(self.call("cudaRuntimeGetVersion"))
            if supported:
                return _old_driver(supported, needed)
            return f"{_NOBODY}: {word}, there is no driver. {_INSTALL_DRIVER}"
        said, text = self.module.cudaGetErrorString(code)
        told = "" if int(said) else f": {text.decode(errors='replace')}"
        return f"{name} failed with {word}{told}"


_NOBODY = "no NVIDIA GPU answers"
_INSTALL_DRIVER = "Install NVIDIA's driver, or go on with a machine that has a GPU"


def _old_driver(supported: int, needed: int) -> str:
    """CUDA writes a version as one number: 12040 is 12.4."""
    have, want = (f"{version // 1000}.{version % 1000 // 10}" for version in (supported, needed))
    here = machine.driver()
    oldest = _OLDEST_DRIVER.get(needed // 1000)
    newer = f"to {oldest} or newer" if oldest else f"to one for CUDA {want}"
    return (
        f"the driver{f' {here}' if here else ''} is for CUDA {have}, and cuda-python for {want}: update the driver "
        f"{newer}, or install the cuda-python of the driver: pip install 'cuda-python=={supported // 1000}.*'"
    )


@dataclass(frozen=True)
class Buffer:
    """An array in page-locked memory, and room for it on the GPU. device: its address there."""

    host: npt.NDArray[Any]
    device: int


class Stream:
    """A queue of work for the GPU, and all that is used on it; freed with it.

    Raises: TargetError as `Cuda.call`, here and in every method.
    """

    def __init__(self, cuda: Cuda) -> None:
        self._cuda = cuda
        self._owned = contextlib.ExitStack()
        weakref.finalize(self, self._owned.close)
        # work of the default stream waits for everything else, and TensorRT warns of it
        self._stream = cuda.call("cudaStreamCreateWithFlags", cuda.module.cudaStreamNonBlocking)
        self._own("cudaStreamDestroy", self._stream)
        self._begin, self._end = self._event(), self._event()

    @property
    def handle(self) -> int:
        """What TensorRT calls the stream."""
        return int(self._stream)

    def buffer(self, shape: tuple[int, ...], kind: npt.DTypeLike) -> Buffer:
        """Memory for an array, here and on the GPU."""
        room = np.dtype(kind).itemsize * int(np.prod(shape))
        host = self._cuda.call("cudaMallocHost", room, asked_bytes=room)
        self._own("cudaFreeHost", host)
        device = self._cuda.call("cudaMalloc", room, asked_bytes=room)
        self._own("cudaFree", device)
        content = (ctypes.c_uint8 * room).from_address(int(host))
        return Buffer(np.ctypeslib.as_array(content).view(kind).reshape(shape), int(device))

    def to_gpu(self, buffer: Buffer, rows: int) -> None:
        """Queue the copy of the first rows of an array."""
        self._copy(buffer.device, buffer.host.ctypes.data, buffer.host[:rows].nbytes, "cudaMemcpyHostToDevice")

    def to_host(self, buffer: Buffer, rows: int) -> None:
        """Queue the copy back of the first rows of an array."""
        self._copy(buffer.host.ctypes.data, buffer.device, buffer.host[:rows].nbytes, "cudaMemcpyDeviceToHost")

    def wait(self) -> None:
        """Until all that was queued is done."""
        self._cuda.call("cudaStreamSynchronize", self._stream)

    def record(self, work: Callable[[], None]) -> Callable[[], None]:
        """What queues the same work again in one call: a CUDA graph, whose recording runs nothing."""
        with self._capture() as captured:
            work()
        (graph,) = captured
        ready = self._cuda.call("cudaGraphInstantiateWithFlags", graph, 0)
        self._own("cudaGraphExecDestroy", ready)
        self._cuda.call("cudaGraphDestroy", graph)
        return lambda: self._cuda.call("cudaGraphLaunch", ready, self._stream)

    def timed_ms(self, work: Callable[[], None]) -> float:
        """Queue work, wait for it, and say how long it took by the GPU's clock."""
        self._cuda.call("cudaEventRecord", self._begin, self._stream)
        work()
        self._cuda.call("cudaEventRecord", self._end, self._stream)
        self._cuda.call("cudaEventSynchronize", self._end)
        return float(self._cuda.call("cudaEventElapsedTime", self._begin, self._end))

    @contextlib.contextmanager
    def _capture(self) -> Iterator[list[Any]]:
        mode = self._cuda.module.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        captured: list[Any] = []
        self._cuda.call("cudaStreamBeginCapture", self._stream, mode)
        try:
            yield captured
        except BaseException:
            self._cuda.module.cudaStreamEndCapture(self._stream)  # whatever it answers, the first error is the reason
            raise
        captured.append(self._cuda.call("cudaStreamEndCapture", self._stream))

    def _copy(self, to: int, of: int, room: int, kind: str) -> None:
        self._cuda.call("cudaMemcpyAsync", to, of, room, getattr(self._cuda.module.cudaMemcpyKind, kind), self._stream)

    def _event(self) -> Any:
        event = self._cuda.call("cudaEventCreate")
        self._own("cudaEventDestroy", event)
        return event

    def _own(self, free: str, what: Any) -> None:
        """Free it at the end, last made first; what cannot be freed then is the driver's to clear up."""
        self._owned.callback(getattr(self._cuda.module, free), what)
