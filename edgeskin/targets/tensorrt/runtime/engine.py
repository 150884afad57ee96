"""An engine on the GPU of this machine: pictures in, arrays out, and how long that takes.

Sources: TensorRT's Python API, which says the same of all this from 8.6 to 11.4 and in TensorRT-RTX (tests/targets/
tensorrt_api/); NVIDIA's documentation on CUDA graphs, which wants one run after a change of shapes before a recording.

Nothing here has met a GPU yet (tests/targets/test_tensorrt_gpu.py waits for one). No source says whether TensorRT-RTX
lets an engine of several batch sizes be recorded, so it is asked; nor what a real TensorRT does with a file that was
cut off behind its header, so the cache never hands it one.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from edgeskin.contract.model import ModelCard
from edgeskin.errors import TargetError
from edgeskin.targets.base import IMAGE, METADATA, Effort, Float32, Inputs, Times, UInt8
from edgeskin.targets.tensorrt.log import log
from edgeskin.targets.tensorrt.runtime.cuda import Buffer, Cuda, Stream
from edgeskin.targets.tensorrt.runtime.inputs import input_shapes, output_shapes
from edgeskin.targets.tensorrt.runtime.reasons import NOT_STARTED, why

_NUMBERS = {"FLOAT": np.float32, "HALF": np.float16, "UINT8": np.uint8}
"""What goes in and out, by TensorRT's word for it."""


@dataclass(frozen=True)
class Tensor:
    """What goes in or out of an engine. shape: without the batch. largest_batch: that it may have at once."""

    name: str
    into: bool
    kind: npt.DTypeLike
    shape: tuple[int, ...]


def reason(library: Any, mark: int, cuda: Cuda) -> str:
    """Why TensorRT failed and what to do: what it said from the `mark`th error on, or what CUDA says of the GPU."""
    kept = log(library)
    said = kept.since(mark)
    if told := why(said, cuda.memory()):
        return told
    try:
        cuda.gpu()
    except TargetError as error:
        return str(error)
    return why("\n".join(kept.errors[mark:])) or said  # `since` leaves out what only says that there is no driver


def start(library: Any, cuda: Cuda, kind: Literal["Builder", "Runtime"]) -> Any:
    """A builder or a runtime of TensorRT. Raises: TargetError where CUDA does not start."""
    try:
        return getattr(library, kind)(log(library).logger)
    except TypeError as error:  # pybind11's "factory function returned nullptr"; why is a warning, and not kept
        cuda.gpu()  # which says more, where it is not TensorRT alone
        raise TargetError(NOT_STARTED) from error


def deserialize(library: Any, cuda: Cuda, content: bytes) -> Any:
    """An engine file's bytes as TensorRT's engine. Raises: TargetError for bytes that it refuses here."""
    mark = len(log(library).errors)
    engine = start(library, cuda, "Runtime").deserialize_cuda_engine(content)  # and keeps its runtime alive
    if engine is None:
        raise TargetError(reason(library, mark, cuda))
    return engine


class LoadedEngine:
    """An engine that was built for this very machine.

    device_mib: by how much less GPU memory was free once it was ready to run, and no less than TensorRT says that it
    needs; the engine, its work space, inputs and outputs at the largest batch, without what CUDA itself takes.

    Raises: TargetError for a file that TensorRT refuses, or that holds another network; for memory that is not there.
    """

    def __init__(self, library: Any, cuda: Cuda, path: Path, card: ModelCard) -> None:
        self._path, self._library, self._cuda = path, library, cuda
        self._shapes = output_shapes(card)
        width = None if card.metadata is None else card.metadata.width
        self._inputs = Inputs(str(path), input_shapes(card)[IMAGE], width)
        try:
            content = path.read_bytes()
        except OSError as error:
            raise TargetError(f"{path}: cannot be read: {error.strerror or error}. Build the engine again") from error
        free = cuda.free_bytes()
        try:
            engine = deserialize(library, cuda, content)
        except TargetError as error:
            raise TargetError(f"{path}: {error}") from error
        self._tensors = _tensors(path, engine)
        self._demand_network(card)
        self.largest_batch = int(next(iter(engine.get_tensor_profile_shape(IMAGE, 0)[-1])))
        """The most pictures in one run; more are split."""
        mark = len(log(library).errors)
        self._context = engine.create_execution_context()
        if self._context is None:
            raise self._failed(mark)
        self._stream = Stream(cuda)
        self._buffers: Mapping[str, Buffer] = {
            each.name: self._stream.buffer((self.largest_batch, *each.shape), each.kind) for each in self._tensors
        }
        for name, buffer in self._buffers.items():
            self._sure(self._context.set_tensor_address(name, buffer.device), mark)
        self._batch = 0
        stated = _work_space(engine) + sum(buffer.host.nbytes for buffer in self._buffers.values())
        self._device_mib = max(free - cuda.free_bytes(), stated) / 2**20

    @property
    def device_mib(self) -> float | None:
        """The GPU memory that the engine takes."""
        return self._device_mib

    def run(self, image: UInt8, metadata: Float32 | None = None) -> Mapping[str, Float32]:
        """Shapes: image uint8 [N, 3, S, S], metadata float32 [N, M] exactly where the network takes it -> a mask output
        [N, 1, S, S], any other [N, labels].

        Raises: TargetError for an input of another shape or type, and where TensorRT or CUDA fails.
        """
        given = self._given(image, metadata)
        size = self.largest_batch
        parts = [
            self._answer({name: values[begin : begin + size] for name, values in given.items()})
            for begin in range(0, len(image), size)
        ]
        return {
            name: np.concatenate([np.zeros((0, *shape), np.float32), *(part[name] for part in parts)])
            for name, shape in self._shapes.items()
        }

    def times(self, image: UInt8, metadata: Float32 | None, effort: Effort) -> Times:
        """Run one batch again and again, each time as a CUDA graph from page-locked memory to page-locked memory, and
        once more without the copies.

        Where TensorRT-RTX says that an engine cannot be recorded, its calls are queued one by one instead.

        Raises: TargetError as `run`, for a batch larger than the engine's, and where the graph answers otherwise than
        the run that it was recorded from.
        """
        given = self._given(image, metadata)
        if not 0 < len(image) <= self.largest_batch:
            raise TargetError(
                f"{self._path}: was built for 1 to {self.largest_batch} pictures at once, and {len(image)} are to be "
                "timed. Build it for a larger batch"
            )
        expected = self._answer(given)
        whole, compute = self._again(self._pass), self._again(self._enqueue)
        whole()
        answered = self._answers()
        if not all(np.array_equal(answered[name], expected[name], equal_nan=True) for name in expected):
            raise TargetError(f"{self._path}: answers otherwise when its CUDA graph is replayed; its times say nothing")
        _for(effort.warm_up_ms / 1000, 0, lambda: self._stream.timed_ms(whole))
        compute_ms: list[float] = []
        latency_ms: list[float] = []

        def both() -> None:
            latency_ms.append(self._stream.timed_ms(whole))
            compute_ms.append(self._stream.timed_ms(compute))

        _for(effort.duration_s, max(effort.iterations, 1), both)
        return Times(tuple(compute_ms), tuple(latency_ms))

    def _given(self, image: UInt8, metadata: Float32 | None) -> dict[str, UInt8 | Float32]:
        self._inputs.demand(image, metadata)
        return {IMAGE: image} if metadata is None else {IMAGE: image, METADATA: metadata}

    def _answer(self, given: Mapping[str, UInt8 | Float32]) -> dict[str, Float32]:
        """Of one batch that fits."""
        mark = len(log(self._library).errors)
        batch = len(given[IMAGE])
        for each in self._tensors:
            if each.into:
                self._buffers[each.name].host[:batch] = given[each.name]  # float pixels are whole numbers
                if batch != self._batch:
                    self._sure(self._context.set_input_shape(each.name, (batch, *each.shape)), mark)
        self._batch = batch
        self._pass()
        return self._answers()

    def _answers(self) -> dict[str, Float32]:
        """What the work that is queued leaves."""
        self._stream.wait()
        return {name: self._buffers[name].host[: self._batch].astype(np.float32) for name in self._shapes}

    def _pass(self) -> None:
        """Queue one run: copies to the GPU, the network, copies back."""
        for each in self._tensors:
            if each.into:
                self._stream.to_gpu(self._buffers[each.name], self._batch)
        self._enqueue()
        for each in self._tensors:
            if not each.into:
                self._stream.to_host(self._buffers[each.name], self._batch)

    def _enqueue(self) -> None:
        mark = len(log(self._library).errors)
        self._sure(self._context.execute_async_v3(self._stream.handle), mark)

    def _again(self, work: Callable[[], None]) -> Callable[[], None]:
        able = getattr(self._context, "is_stream_capturable", None)
        return work if able is not None and not able(self._stream.handle) else self._stream.record(work)

    def _sure(self, done: bool, mark: int) -> None:
        if not done:
            raise self._failed(mark)

    def _failed(self, mark: int) -> TargetError:
        return TargetError(f"{self._path}: TensorRT fails: {reason(self._library, mark, self._cuda)}")

    def _demand_network(self, card: ModelCard) -> None:
        found = {(each.name, each.into, each.shape) for each in self._tensors}
        wanted = {(name, True, shape) for name, shape in input_shapes(card).items()}
        wanted |= {(name, False, shape) for name, shape in self._shapes.items()}
        if found != wanted:
            raise TargetError(
                f"{self._path}: holds another network than {card.name}: it has {_listed(found)}, and not "
                f"{_listed(wanted)}. Build the engine of {card.name}"
            )


def _tensors(path: Path, engine: Any) -> tuple[Tensor, ...]:
    found = []
    for place in range(engine.num_io_tensors):
        name = engine.get_tensor_name(place)
        word = engine.get_tensor_dtype(name).name
        if word not in _NUMBERS:
            raise TargetError(f"{path}: {name} is {word}, which no network of edgeskin takes or gives")
        shape = tuple(int(size) for size in tuple(engine.get_tensor_shape(name))[1:])
        found.append(Tensor(name, engine.get_tensor_mode(name).name == "INPUT", _NUMBERS[word], shape))
    return tuple(found)


def _work_space(engine: Any) -> int:
    """The bytes that a run needs besides weights, inputs and outputs; 8.6 has it under the older name alone."""
    if hasattr(engine, "device_memory_size_v2"):
        return int(engine.device_memory_size_v2)
    return int(engine.device_memory_size)


def _listed(tensors: set[tuple[str, bool, tuple[int, ...]]]) -> str:
    return ", ".join(f"{name} [N, {', '.join(map(str, shape))}]" for name, _, shape in sorted(tensors))


def _for(seconds: float, times: int, work: Callable[[], object]) -> None:
    """Work at least so long and so often."""
    end, done = time.perf_counter() + seconds, 0
    while done < times or time.perf_counter() < end:
        work()
        done += 1
