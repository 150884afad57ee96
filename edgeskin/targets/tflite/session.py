"""Run a `.tflite` file of ours: through LiteRT, or through tflite-runtime where only that is installed."""

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeskin import optional
from edgeskin.errors import MissingDependencyError, TargetError
from edgeskin.graph.ir import Array
from edgeskin.targets.base import IMAGE, METADATA, Float32, Inputs, Placement, UInt8, one_by_one
from edgeskin.targets.tflite import note
from edgeskin.targets.tflite.note import Tail
from edgeskin.targets.tflite.parse import parse
from edgeskin.targets.tflite.program import Operation, Program, Value
from edgeskin.targets.tflite.schema import CONVOLUTIONS, WEIGHTED

RUNTIMES = ("ai_edge_litert", "tflite_runtime")
"""The packages that hold an interpreter, the better one first."""
DELEGATE = "DELEGATE"
"""The interpreter's word for a part of the program that a delegate took over."""


def missing() -> str | None:
    """One sentence where no interpreter can be used here, or None."""
    if not any(map(optional.available, RUNTIMES)):
        return optional.missing(RUNTIMES[0])
    if runtime() == "tflite_runtime" and np.lib.NumpyVersion(np.__version__) >= "2.0.0":
        return f"tflite_runtime does not work with numpy {np.__version__}: pip install 'edgeskin[tflite-runtime]'"
    return None


def runtime() -> str:
    """The interpreter's package here. Raises: MissingDependencyError where there is none."""
    for name in RUNTIMES:
        if optional.available(name):
            return name
    raise MissingDependencyError(str(missing()))


class TfliteSession:
    """A `.tflite` file of ours in an interpreter, on the CPU.

    threads: within an operator. plain: without XNNPACK, by the interpreter's own kernels.

    Raises: GraphError for a file that is not ours or damaged; TargetError where the interpreter refuses it.
    """

    def __init__(self, path: Path, *, threads: int = 1, plain: bool = False) -> None:
        self.path = path
        self._plain = plain
        program = parse(path)
        written = note.of(program, path)
        # Its contents are the interpreter's business; kept here too, they would count twice.
        self._program = replace(program, tensors=tuple(replace(tensor, data=None) for tensor in program.tensors))
        self._tails = {tail.output: tail for tail in written.tails}
        self._interpreter = start(path, threads, plain)
        self._runner = self._interpreter.get_signature_runner()
        image = self._program.tensors[self._program.inputs[IMAGE]].shape
        metadata = self._program.inputs.get(METADATA)
        width = None if metadata is None else self._program.tensors[metadata].shape[-1]
        self._inputs = Inputs(str(path), _channels_first(image), width)
        self._shapes = {
            name: _channels_first(self._program.tensors[place].shape) for name, place in self._program.outputs.items()
        }

    @property
    def metadata_width(self) -> int | None:
        """M of the input `metadata`, read from the file; None where the network takes the image alone."""
        return self._inputs.metadata_width

    def run(self, image: UInt8, metadata: Float32 | None = None) -> Mapping[str, Float32]:
        """Shapes: image uint8 [N, 3, S, S], metadata float32 [N, M] exactly where the network takes it -> a mask output
        [N, 1, S, S], any other [N, labels]; probabilities.

        The file takes one image at a time; so does this. Raises: TargetError as `Session` says.
        """
        self._inputs.demand(image, metadata)
        return one_by_one(self._one, self._shapes, image, metadata)

    def _one(self, image: UInt8, metadata: Float32 | None) -> dict[str, Float32]:
        feeds: dict[str, Array] = {IMAGE: np.ascontiguousarray(image.transpose(0, 2, 3, 1))}
        if metadata is not None:
            feeds[METADATA] = metadata
        found: dict[str, Array] = self._runner(**feeds)
        return {name: self._answer(name, found[name]) for name in self._program.outputs}

    def _answer(self, name: str, value: Array) -> Float32:
        """An output as probabilities, channels first."""
        scale = self._program.tensors[self._program.outputs[name]].scale
        if scale is not None:
            value = _behind(self._tails[name], value.astype(np.float64) * float(scale.steps[0]))
        channels_first = value.transpose(0, 3, 1, 2) if value.ndim == 4 else value
        return np.ascontiguousarray(channels_first, np.float32)

    def placement(self) -> Placement:
        """Read from the interpreter: which operators its delegate took, and in how many parts."""
        operations = self._program.operations
        outside = [operations[place] for place in sorted(_outside(self._interpreter, self._program))]
        taken = len(operations) - len(outside)
        convolutions = [operation for operation in operations if operation.kind in CONVOLUTIONS]
        partitions = sum(detail["op_name"] == DELEGATE for detail in _details(self._interpreter))
        return Placement(
            provider=f"{runtime()}, XNNPACK for {taken} of {len(operations)} operators",
            convolutions=len(convolutions),
            integer_convolutions=sum(_kinds(self._program, each) == {"int8"} for each in convolutions),
            float_operators=tuple(dict.fromkeys(_left_in_float(self._program))),
            partitions=partitions,
            undelegated=tuple(f"{each.owner} ({each.kind})" for each in outside),
            why_undelegated=self._why(partitions) if outside else None,
        )

    def _why(self, partitions: int) -> str:
        """Why operators are left to the interpreter, which itself gives no reasons."""
        if self._plain:
            return "it was asked for its own kernels"
        taken = "takes no operator of their kinds and types" if partitions else "is absent or takes nothing"
        return f"the XNNPACK in {runtime()} {taken}"


@contextmanager
def _without_chatter() -> Iterator[None]:
    """The interpreter tells the process's own stderr of each delegate it makes, and has no switch for that."""
    try:
        kept = os.dup(2)
    except OSError:  # a service may have none
        yield
        return
    if sys.stderr is not None:
        sys.stderr.flush()
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def _channels_first(shape: tuple[int, ...]) -> tuple[int, ...]:
    """A shape of the program as a session has it, without the batch."""
    return (shape[3], shape[1], shape[2]) if len(shape) == 4 else shape[1:]


def start(path: Path, threads: int, plain: bool) -> Any:
    """An interpreter of a file, its tensors allocated. Raises: TargetError where it refuses the file."""
    module = optional.require(f"{runtime()}.interpreter")
    resolver = module.OpResolverType
    kind = resolver.BUILTIN_WITHOUT_DEFAULT_DELEGATES if plain else resolver.AUTO
    try:
        with _without_chatter():
            interpreter = module.Interpreter(
                model_path=str(path), num_threads=threads, experimental_op_resolver_type=kind
            )
            interpreter.allocate_tensors()
    except (ImportError, RuntimeError, SystemError, ValueError) as error:
        raise TargetError(f"{path}: {runtime()} cannot run it: {error}") from error
    return interpreter


def _behind(tail: Tail, logits: npt.NDArray[np.float64]) -> Array:
    """What the note says an app computes from logits, over the last axis."""
    if tail.kind == "sigmoid":
        return np.asarray(0.5 * (1 + np.tanh(logits / 2)))
    powers = np.exp(logits - logits.max(-1, keepdims=True))
    return np.asarray(powers / powers.sum(-1, keepdims=True))


# --- where operators run ---


def _details(interpreter: Any) -> list[dict[str, Any]]:
    """Every operator of the interpreter: those of the file, and one for each part that a delegate took over."""
    details: list[dict[str, Any]] = interpreter._get_ops_details()
    return details


def _outside(interpreter: Any, program: Program) -> Iterator[int]:
    """The places of the operators that the interpreter runs itself.

    It lists the file's operators, delegated or not, and the delegates behind them, without saying which is taken. But
    what is needed for an output comes either from a delegate, which then lists it among its outputs, or from the file's
    own operator: so the plan is found by walking back from the outputs.
    """
    writers: dict[int, tuple[int | None, tuple[int, ...]]] = {
        operation.outputs[0]: (place, operation.inputs) for place, operation in enumerate(program.operations)
    }
    for detail in _details(interpreter):
        if detail["op_name"] == DELEGATE:
            for output in detail["outputs"]:
                writers[int(output)] = (None, tuple(int(each) for each in detail["inputs"]))
    wanted, seen = list(program.outputs.values()), set[int]()
    while wanted:
        index = wanted.pop()
        if index in seen or index not in writers:
            continue
        seen.add(index)
        place, inputs = writers[index]
        if place is not None:
            yield place
        wanted.extend(inputs)


def _kinds(program: Program, operation: Operation) -> set[str]:
    """The types of its data: what it reads first and what it writes, without shapes and biases."""
    data = 2 if operation.kind == "TRANSPOSE_CONV" else 0
    tensors: list[Value] = [program.tensors[index] for index in (operation.inputs[data], operation.outputs[0])]
    return {tensor.kind for tensor in tensors}


def _left_in_float(program: Program) -> Iterator[str]:
    """Names of the nodes between quantized tensors that the program computes in float32.

    Not those that the network keeps in float itself, whose weights are; nor the door, which computes nothing.
    """
    of_node: dict[str, list[Operation]] = {}
    for operation in program.operations:
        of_node.setdefault(operation.owner, []).append(operation)
    for owner, operations in of_node.items():
        kinds = [operation.kind for operation in operations]
        between = kinds[0] == "DEQUANTIZE" and kinds[-1] == "QUANTIZE" and len(kinds) > 2
        if between and not WEIGHTED & set(kinds):
            yield owner
