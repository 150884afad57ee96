"""A `.tflite` file for `edgeskin inspect`: the first subgraph, whoever wrote it."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeAlias

from edgeskin.optional import require
from edgeskin.targets.inspection import UNLISTED, UNRULED, UNSHAPED, Reading, Step, Value, matrix_product, product
from edgeskin.targets.tflite.fold import pixels_of
from edgeskin.targets.tflite.note import ENTRY
from edgeskin.targets.tflite.parse import Survey, survey
from edgeskin.targets.tflite.program import Operation, Program

Sizes: TypeAlias = tuple[int, ...]
Count: TypeAlias = Callable[[Sizes, Sizes, Sizes], int | None]
"""Multiply-adds from the shapes of x, the weight and the output."""


def _of_rank(rank: int, count: Count) -> Count:
    """Only for weights of that rank; another is not what the schema says."""
    return lambda x, weight, output: count(x, weight, output) if len(weight) == rank else None


COUNTS: Mapping[str, tuple[int, int, Count]] = {
    "CONV_2D": (0, 1, _of_rank(4, lambda _, weight, output: product(output, weight[1:]))),
    "CONV_3D": (0, 1, _of_rank(5, lambda _, weight, output: product(output, weight[:4]))),
    "DEPTHWISE_CONV_2D": (0, 1, _of_rank(4, lambda _, weight, output: product(output, weight[1:3]))),
    # Each input value meets the taps of every output channel.
    "TRANSPOSE_CONV": (2, 1, _of_rank(4, lambda x, weight, _: product(x, weight[:3]))),
    "CONV_3D_TRANSPOSE": (2, 1, _of_rank(5, lambda x, weight, _: product(x, weight[:4]))),
    "FULLY_CONNECTED": (0, 1, _of_rank(2, lambda _, weight, output: product(output, weight[1:]))),
    "BATCH_MATMUL": (0, 1, matrix_product),
}
"""Where x and the weight stand among the inputs, and what they cost. Layouts: the comments of the schema's options."""

NESTED = frozenset({"CALL", "CALL_ONCE", "IF", "WHILE", "STABLEHLO_COMPOSITE", "STABLEHLO_WHILE"})
UNCOUNTED = frozenset(
    {
        "BIDIRECTIONAL_SEQUENCE_LSTM",
        "BIDIRECTIONAL_SEQUENCE_RNN",
        "DELEGATE",
        "LSTM",
        "RFFT2D",
        "RNN",
        "STABLEHLO_CONVOLUTION",
        "STABLEHLO_CUSTOM_CALL",
        "STABLEHLO_DOT_GENERAL",
        "SVDF",
        "UNIDIRECTIONAL_SEQUENCE_LSTM",
        "UNIDIRECTIONAL_SEQUENCE_RNN",
    }
)
"""Operators that sum products in ways that have no rule here; whatever else the schema knows sums none."""

SHOWN = 5
"""Notes of one file's doubts; a foreign file may give one for each of a thousand tensors."""


def read(path: Path) -> Reading:
    """Raises: GraphError for a file that is absent, no TensorFlow Lite file, or damaged."""
    found = survey(path)
    program = found.program
    known = vars(require("tflite").BuiltinOperator)
    values = {str(index): _value(found, index) for index in range(len(program.tensors))}
    stored = {str(index): tensor.data.nbytes for index, tensor in enumerate(program.tensors) if tensor.data is not None}
    steps = tuple(_step(program, operation, operation.kind in known) for operation in program.operations)
    return Reading(
        format="TensorFlow Lite",
        file_bytes=path.stat().st_size,
        inputs=tuple(_value(found, index, name) for name, index in program.inputs.items()),
        outputs=tuple(_value(found, index, name) for name, index in program.outputs.items()),
        steps=steps,
        values=values,
        stored=stored | {str(index): size for index, size in found.behind.items()},
        ends=frozenset(map(str, program.outputs.values())),
        notes=_notes(found),
    )


def _notes(found: Survey) -> tuple[str, ...]:
    notes = found.doubts[:SHOWN]
    if len(found.doubts) > SHOWN:
        notes += (f"{len(found.doubts) - SHOWN} more sentences of that kind",)
    if found.subgraphs > 1:
        notes += ("only the first subgraph is listed",)
    folded = sum(_together(found.program, index) > 1 for index in range(len(found.program.tensors)))
    if folded:
        told = f"{folded // 2}; the zeros in their weights count as bytes alone"  # a weight and a bias each
        notes += (f"convolutions that take several pixels at once: {told}",)
    if found.behind:
        notes += (f"contents of {len(found.behind)} values stand behind the program: their bytes count, none is read",)
    if found.signatures:
        notes += (
            f"{len(found.signatures)} values have sizes that a caller may choose (?); multiply-adds are of the sizes "
            "that the file sets at first",
        )
    return notes


def _value(found: Survey, index: int, name: str | None = None) -> Value:
    tensor = found.program.tensors[index]
    scale = tensor.scale
    single = scale is not None and scale.steps.size == 1
    return Value(
        tensor.name if name is None else name,
        tensor.kind,
        tuple("?" if size < 0 else size for size in found.signatures.get(index, tensor.shape)),
        float(scale.steps[0]) if scale is not None and single else None,
        scale.zero_point if scale is not None and single else None,
    )


def _step(program: Program, operation: Operation, known: bool) -> Step:
    kind = operation.kind
    name = operation.owner or next((program.tensors[index].name for index in operation.outputs if index >= 0), kind)
    factors, multiply_adds = _cost(program, operation)
    obscure = ""
    if not known:
        multiply_adds, obscure = None, "not an operator of the schema that is installed here"
    elif kind in NESTED:
        multiply_adds, obscure = None, UNLISTED
    elif kind in UNCOUNTED:
        multiply_adds, obscure = None, UNRULED
    elif multiply_adds is None:
        obscure = UNSHAPED
    reads, writes = (
        tuple("" if index < 0 else str(index) for index in side) for side in (operation.inputs, operation.outputs)
    )
    return Step(name, kind, reads, writes, factors, multiply_adds, obscure)


def _cost(program: Program, operation: Operation) -> tuple[tuple[str, ...], int | None]:
    """The keys of the two factors and the multiply-adds; nothing and 0 for an operator that sums no products."""
    if operation.kind not in COUNTS:
        return (), 0
    x, weight, count = COUNTS[operation.kind]
    if not operation.outputs or len(operation.inputs) <= max(x, weight):
        return (), None
    indices = (operation.inputs[x], operation.inputs[weight], operation.outputs[0])
    if min(indices) < 0:
        return (), None
    shapes = [program.tensors[index].shape for index in indices]
    cost = count(*shapes)
    return (str(indices[0]), str(indices[1])), cost if cost is None else cost // _together(program, indices[1])


def _together(program: Program, weight: int) -> int:
    """How many pixels a weight of ours takes at once; its zeros beside the diagonal are no multiply-adds."""
    return pixels_of(program.tensors[weight].name) if ENTRY in program.notes else 1
