"""What stands in a file of any target's format, ours or anybody's: operators, shapes, scales, sizes, multiply-adds.

A format's reader gives a `Reading`, the file in this module's words; the rows and totals are made of it here, so that
files of two formats compare. Nothing is refused because it is not ours: what is not known becomes a note.
"""

import dataclasses
import importlib
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Literal, TypeAlias, cast

from edgeskin.contract import bundle
from edgeskin.errors import GraphError

Shape: TypeAlias = tuple[int | str, ...]
"""In the file's own layout; a word is a dimension that is not fixed."""

READERS: Mapping[str, str] = {
    "onnx": "edgeskin.targets.onnx_inspect",
    "tflite": "edgeskin.targets.tflite.inspect",
    "mlpackage": "edgeskin.targets.coreml.inspect",
}
"""The format -> the module whose `read` reads it, imported at use."""

UNLISTED = "it holds graphs of its own, which are not listed"
UNRULED = "edgeskin has no rule to count it by"
UNSHAPED = "its shapes are not known"
"""Why the multiply-adds of an operator are not known, in every format."""

Role: TypeAlias = Literal["computes", "quantizes", "dequantizes"]

_INTEGER = re.compile(r"u?int([1-9]|1[0-6])")
"""The types in which networks are quantized; wider integers count and point."""


# --- what a reader gives ---


@dataclass(frozen=True)
class Value:
    """A value of the network.

    type: NumPy's word for it; the format's own where NumPy has none. shape: None where nobody knows.
    scale, zero_point: real = scale × (integer − zero_point); None for floats, and where each channel has its own.
    """

    name: str
    type: str
    shape: Shape | None
    scale: float | None = None
    zero_point: int | None = None


UNKNOWN = Value("", "unknown", None)


@dataclass(frozen=True)
class Step:
    """An operator as it stands in the file.

    reads, writes: keys of values. factors: the two values whose products it sums; none where it sums none.
    multiply_adds: None where they are not known, for the reason in `obscure`.
    role: one that quantizes or dequantizes may only say how a value is stored, and then is no row of its own.
    """

    name: str
    kind: str
    reads: tuple[str, ...]
    writes: tuple[str, ...]
    factors: tuple[str, ...] = ()
    multiply_adds: int | None = 0
    obscure: str = ""
    role: Role = "computes"


@dataclass(frozen=True)
class Reading:
    """A file as its reader found it.

    values: by key, which need not be the name. stored: the bytes of each value that the file holds, by key.
    ends: keys of the network's outputs.
    """

    format: str
    file_bytes: int
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    steps: tuple[Step, ...]
    values: Mapping[str, Value]
    stored: Mapping[str, int]
    ends: frozenset[str]
    notes: tuple[str, ...]


# --- what a person gets ---


@dataclass(frozen=True)
class Row:
    """One operator and the first of its outputs.

    type, shape, scale, zero_point: of the output, as in `Value`; behind a quantization, of the integers.
    weight_bytes: of the stored values it reads; one that several read counts in the first.
    multiply_adds: of one image; None where they are not known.
    on_integers: whether both factors are integers in the file; None where it sums no products or nobody knows.
    """

    name: str
    kind: str
    type: str
    shape: Shape | None
    scale: float | None
    zero_point: int | None
    weight_bytes: int
    multiply_adds: int | None
    on_integers: bool | None


@dataclass(frozen=True)
class Totals:
    """kinds: operators by kind, the most frequent first. uncounted: operators whose multiply-adds are not known.

    integer_share: of the multiply-adds that are counted, 0 to 1; None where there are none.
    """

    operators: int
    kinds: Mapping[str, int]
    multiply_adds: int
    uncounted: int
    integer_share: float | None
    weight_bytes: int


@dataclass(frozen=True)
class Inspection:
    """What is in a file. notes: one sentence each on what it does not show or know."""

    format: str
    file_bytes: int
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    operators: tuple[Row, ...]
    totals: Totals
    notes: tuple[str, ...]

    def facts(self) -> dict[str, object]:
        """All of it for machines."""
        return dataclasses.asdict(self)


def inspect(path: Path) -> Inspection:
    """Look into a `.tflite`, `.onnx` or `.mlpackage`, by its suffix and content; into the artifact of a bundle.

    Raises: GraphError for anything else, for what is absent, damaged or truncated; BundleError for a bundle that was
    changed; MissingDependencyError.
    """
    if (path / bundle.MANIFEST).is_file():
        path = bundle.Bundle.open(path).artifact
    reader = importlib.import_module(READERS[_format(path)])
    return _assemble(cast("Reading", reader.read(path)))


def _format(path: Path) -> str:
    """A key of READERS."""
    try:
        if path.is_dir():
            if path.suffix == ".mlpackage" or (path / "Manifest.json").is_file():
                return "mlpackage"
            raise GraphError(f"{path}: a folder, and no .mlpackage; name a .tflite, .onnx or .mlpackage")
        with path.open("rb") as file:
            start = file.read(8)
    except FileNotFoundError as error:
        raise GraphError(f"{path}: no such file") from error
    except OSError as error:
        raise GraphError(f"{path}: cannot be read: {error.strerror or error}") from error
    if not start:
        raise GraphError(f"{path}: is empty; copy or export it again")
    if path.suffix == ".mlpackage":
        raise GraphError(f"{path}: a .mlpackage is a folder, and this is a file; copy or export it again")
    if start[4:] == b"TFL3" or path.suffix == ".tflite":
        return "tflite"
    if path.suffix == ".onnx" or start[0] == 8:  # protobuf's tag of a number in the first field, ONNX's version
        return "onnx"
    raise GraphError(f"{path}: neither a .tflite, an .onnx nor an .mlpackage; nothing else can be inspected")


# --- what every reader counts with ---


def size(shape: Shape | None) -> int | None:
    """How many numbers a shape has; None where nobody knows."""
    if shape is None:
        return None
    sizes = [size for size in shape if isinstance(size, int)]
    return prod(sizes) if len(sizes) == len(shape) else None


def stored_bytes(kind: str, shape: Shape | None) -> int:
    """How many bytes a value takes, by its type's name: 0 where the name has no width."""
    width = re.search(r"\d+", kind.replace("bool", "8"))
    return -(-(size(shape) or 0) * int(width.group()) // 8) if width else 0


def product(*shapes: Shape | None) -> int | None:
    """The product of all sizes of all shapes; None where one is not known."""
    sizes = [size(shape) for shape in shapes]
    return None if None in sizes else prod(size for size in sizes if size is not None)


def matrix_product(x: Shape | None, y: Shape | None, output: Shape | None) -> int | None:
    """Multiply-adds of x · y, in which either matrix may stand transposed; a shape may have batches in front."""
    if not x or not y or output is None:
        return None
    if len(x) == 1 or len(y) == 1:
        return product(output, x if len(x) == 1 else y)
    rows = output[-2] if len(output) > 1 else None
    total = product(output, x[-2:])
    if total is None or not isinstance(rows, int):
        return None
    return total // rows if rows else 0


# --- from a reading to rows ---


def _assemble(reading: Reading) -> Inspection:
    hidden = _hidden(reading)
    table = _Table(reading, hidden)
    passed = frozenset(hidden)
    rows = tuple(table.row(step) for step in reading.steps if step not in passed)
    notes = (*_folded(hidden), *reading.notes, *_obscure(reading.steps))
    if table.mixed:
        notes += (
            f"operators that multiply floats by integers: {table.mixed}, counted as float; an engine may quantize "
            "those floats as it runs",
        )
    return Inspection(
        format=reading.format,
        file_bytes=reading.file_bytes,
        inputs=reading.inputs,
        outputs=reading.outputs,
        operators=rows,
        totals=_totals(rows),
        notes=notes,
    )


class _Table:
    """Rows in the order of the file. `mixed`: those so far that multiply floats by integers."""

    def __init__(self, reading: Reading, hidden: Iterable[Step]) -> None:
        self.reading = reading
        self.mixed = 0
        self._integers_of = {step.writes[0]: step.reads[0] for step in reading.steps if step.role == "dequantizes"}
        self._made_of = {step.writes[0]: step.reads[0] for step in reading.steps if step.role == "quantizes"}
        self._shown_as = {step.reads[0]: step.writes[0] for step in hidden if step.role == "quantizes"}
        self._seen: set[str] = set()

    def row(self, step: Step) -> Row:
        first = step.writes[0] if step.writes else ""
        output = self.reading.values.get(self._shown_as.get(first, first), UNKNOWN)
        integers = [_INTEGER.fullmatch(self._type(key)) is not None for key in step.factors]
        self.mixed += any(integers) and not all(integers)
        return Row(
            name=step.name,
            kind=step.kind,
            type=output.type,
            shape=output.shape,
            scale=output.scale,
            zero_point=output.zero_point,
            weight_bytes=sum(map(self._weight, step.reads)),
            multiply_adds=step.multiply_adds,
            on_integers=all(integers) if integers and step.multiply_adds is not None else None,
        )

    def _type(self, key: str) -> str:
        return self.reading.values.get(self._integers_of.get(key, key), UNKNOWN).type

    def _weight(self, key: str) -> int:
        """The bytes that the file holds of a value, when it is first asked."""
        kept = self._integers_of.get(key, key)
        if kept not in self.reading.stored:
            kept = self._made_of.get(kept, kept)
        if kept in self._seen:
            return 0
        self._seen.add(kept)
        return self.reading.stored.get(kept, 0)


def _hidden(reading: Reading) -> list[Step]:
    """The steps that only say how a value is stored.

    They are each that dequantizes for another operator, and each that quantizes what the file holds or what an operator
    computes for it alone. A change of scale, the quantization of an input and the floats of an output are work.
    """
    readers = Counter(key for step in reading.steps for key in step.reads)
    computed = {key for step in reading.steps if step.role == "computes" for key in step.writes[:1]} - reading.ends
    return [
        step
        for step in reading.steps
        if (step.role == "dequantizes" and step.writes[0] not in reading.ends)
        or (
            step.role == "quantizes"
            and (step.reads[0] in reading.stored or (step.reads[0] in computed and readers[step.reads[0]] == 1))
        )
    ]


def _folded(hidden: Iterable[Step]) -> tuple[str, ...]:
    counts = Counter(step.kind for step in hidden)
    if not counts:
        return ()
    return (f"{in_words(counts)} are shown as the types and scales of the values they stand on",)


def _obscure(steps: Iterable[Step]) -> tuple[str, ...]:
    found: dict[str, Counter[str]] = {}
    for step in steps:
        if step.multiply_adds is None:
            found.setdefault(step.obscure, Counter())[step.kind] += 1
    return tuple(f"multiply-adds of {in_words(counts)} are not known: {reason}" for reason, counts in found.items())


def in_words(counts: Mapping[str, int]) -> str:
    """`3 Conv, 1 Add`."""
    return ", ".join(f"{count} {kind}" for kind, count in counts.items())


def _totals(rows: Sequence[Row]) -> Totals:
    known = sum(row.multiply_adds or 0 for row in rows)
    return Totals(
        operators=len(rows),
        kinds=dict(Counter(row.kind for row in rows).most_common()),
        multiply_adds=known,
        uncounted=sum(row.multiply_adds is None for row in rows),
        integer_share=sum(row.multiply_adds or 0 for row in rows if row.on_integers) / known if known else None,
        weight_bytes=sum(row.weight_bytes for row in rows),
    )
