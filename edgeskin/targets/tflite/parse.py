"""A `.tflite` file as a program, by the published schema: ours, or anybody's."""

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any, TypeAlias

import numpy as np

from edgeskin.errors import GraphError
from edgeskin.graph.ir import Array
from edgeskin.optional import require
from edgeskin.targets.tflite.note import ENTRY, Note
from edgeskin.targets.tflite.program import Operation, Option, Program, Scale, Value
from edgeskin.targets.tflite.schema import FORMS, TYPES
from edgeskin.targets.tflite.serialize import IDENTIFIER

_KINDS = {number: kind for kind, number in TYPES.items()}
_DAMAGE = (struct.error, IndexError, ValueError, TypeError, AttributeError, OverflowError)
"""What reading a flatbuffer beyond its bytes raises, by where it is damaged."""

Doubt: TypeAlias = Callable[[str], None]
"""Told what a program cannot hold; it raises, or makes a note."""


@dataclass(frozen=True)
class Survey:
    """A file of anybody's, as far as a program can hold it.

    subgraphs: how many there are; the program is the first. signatures: by tensor, the shapes whose sizes of −1 a
    caller may choose. behind: by tensor, the bytes of contents that stand behind the flatbuffer, where they are not
    read. doubts: one sentence each on what the program leaves out.
    """

    program: Program
    subgraphs: int
    signatures: Mapping[int, tuple[int, ...]]
    behind: Mapping[int, int]
    doubts: tuple[str, ...]


def parse(path: Path) -> Program:
    """Read a file; operators get their owners where the file is one of ours.

    Raises: GraphError for a file that is absent, no TensorFlow Lite file, or damaged; for one that a program cannot
    hold.
    """

    def refuse(sentence: str) -> None:
        raise GraphError(sentence)

    return _read(path, refuse).program


def survey(path: Path) -> Survey:
    """Read a file whatever it holds. Raises: GraphError for one that is absent, no TensorFlow Lite file, or damaged."""
    doubts: list[str] = []
    found = _read(path, doubts.append)
    return replace(found, doubts=tuple(doubts))


def _read(path: Path, doubt: Doubt) -> Survey:
    try:
        raw = path.read_bytes()
    except FileNotFoundError as error:
        raise GraphError(f"{path}: no such file") from error
    except OSError as error:
        raise GraphError(f"{path}: cannot be read: {error.strerror or error}") from error
    if raw[4:8] != IDENTIFIER:
        raise GraphError(f"{path}: not a TensorFlow Lite file; copy or export it again")
    try:
        parser = _Parser(raw, doubt)
        subgraphs = int(parser.model.SubgraphsLength())
        found = Survey(parser.program(), subgraphs, parser.signatures(), parser.behind(len(raw)), ())
    except GraphError as error:
        raise GraphError(f"{path}: {error}") from error
    except _DAMAGE as error:
        raise GraphError(f"{path}: damaged or truncated; copy or export it again") from error
    return found


class _Parser:
    """One flatbuffer. What the schema's classes hand out has no types, hence `Any`."""

    def __init__(self, raw: bytes, doubt: Doubt) -> None:
        self.doubt = doubt
        self.schema: ModuleType = require("tflite")
        self.model: Any = self.schema.Model.GetRootAsModel(raw, 0)
        if self.model.SubgraphsLength() != 1:
            doubt(f"holds {self.model.SubgraphsLength()} subgraphs; networks of one are read")
        self.graph: Any = self.model.Subgraphs(0)
        self.kinds = _names(self.schema.BuiltinOperator)
        self.types = _names(self.schema.TensorType)

    def program(self) -> Program:
        notes = {
            _text(entry.Name()): bytes(np.asarray(self.model.Buffers(entry.Buffer()).DataAsNumpy(), np.uint8))
            for entry in map(self.model.Metadata, range(self.model.MetadataLength()))
        }
        tensors = tuple(self._tensor(self.graph.Tensors(index)) for index in range(self.graph.TensorsLength()))
        operations = tuple(
            self._operation(self.graph.Operators(index)) for index in range(self.graph.OperatorsLength())
        )
        for operation in operations:
            for index in (*operation.inputs, *operation.outputs):
                if not -1 <= index < len(tensors):
                    raise GraphError(f"an operator reads tensor {index} of {len(tensors)}; copy or export it again")
        inputs, outputs = (self._named(side, tensors) for side in ("Inputs", "Outputs"))
        for index in (*inputs.values(), *outputs.values()):
            if not 0 <= index < len(tensors):
                raise GraphError(f"its ends name tensor {index} of {len(tensors)}; copy or export it again")
        if ENTRY in notes:
            operations = self._owned(operations, notes[ENTRY])
        return Program(tensors, operations, inputs, outputs, notes)

    def signatures(self) -> dict[int, tuple[int, ...]]:
        found = {}
        for index in range(self.graph.TensorsLength()):
            tensor = self.graph.Tensors(index)
            if tensor.ShapeSignatureLength():
                shape = tuple(int(size) for size in np.atleast_1d(tensor.ShapeSignatureAsNumpy()))
                if min(shape) < 0:
                    found[index] = shape
        return found

    def behind(self, end: int) -> dict[int, int]:
        found = {}
        for index in range(self.graph.TensorsLength()):
            buffer = self.model.Buffers(self.graph.Tensors(index).Buffer())
            if buffer.Offset() > 1:  # 0 and 1 are placeholders, by the schema
                if buffer.Offset() + buffer.Size() > end:
                    raise GraphError("truncated; copy or export it again")
                found[index] = int(buffer.Size())
        return found

    def _owned(self, operations: tuple[Operation, ...], note: bytes) -> tuple[Operation, ...]:
        try:
            owners = Note.read(note).owners
        except GraphError as error:
            self.doubt(str(error))
            return operations
        if len(owners) != len(operations):
            self.doubt(f"its note speaks of {len(owners)} operators, there are {len(operations)}")
            return operations
        return tuple(replace(operation, owner=owner) for operation, owner in zip(operations, owners, strict=True))

    def _named(self, side: str, tensors: tuple[Value, ...]) -> dict[str, int]:
        """By the names of the signature; a file without one knows its tensors' own."""
        if self.model.SignatureDefsLength() and self.model.SignatureDefs(0).SubgraphIndex() == 0:
            signature = self.model.SignatureDefs(0)
            maps = map(getattr(signature, side), range(getattr(signature, f"{side}Length")()))
            return {_text(entry.Name()): int(entry.TensorIndex()) for entry in maps}
        if not getattr(self.graph, f"{side}Length")():
            return {}
        return {tensors[index].name: int(index) for index in np.atleast_1d(getattr(self.graph, f"{side}AsNumpy")())}

    def _tensor(self, tensor: Any) -> Value:
        kind = _KINDS.get(tensor.Type(), self.types.get(tensor.Type(), "unknown").lower())
        shape = tuple(int(size) for size in np.atleast_1d(tensor.ShapeAsNumpy())) if tensor.ShapeLength() else ()
        return Value(_text(tensor.Name()), shape, kind, self._scale(tensor), self._contents(tensor, kind, shape))

    def _scale(self, tensor: Any) -> Scale | None:
        found = tensor.Quantization()
        if found is None or not found.ScaleLength():
            return None
        points = np.unique(found.ZeroPointAsNumpy()) if found.ZeroPointLength() else np.zeros(1, np.int64)
        if points.size != 1:
            self.doubt(f"{_text(tensor.Name())}: has {points.size} different zero points")
        return Scale(np.array(found.ScaleAsNumpy(), np.float32), int(points[0]), int(found.QuantizedDimension()))

    def _contents(self, tensor: Any, kind: str, shape: tuple[int, ...]) -> Array | None:
        buffer = self.model.Buffers(tensor.Buffer())
        if not buffer.DataLength():
            return None
        data = buffer.DataAsNumpy()
        if kind not in TYPES:
            return np.asarray(data)
        values = np.frombuffer(data.tobytes(), kind)
        if values.size != int(np.prod(shape)):
            self.doubt(f"{_text(tensor.Name())}: {values.size} values do not fill the shape {list(shape)}")
            return values
        return values.reshape(shape)

    def _operation(self, operator: Any) -> Operation:
        code = self.model.OperatorCodes(operator.OpcodeIndex())
        number = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
        kind = self.kinds.get(number, f"operator {number}")
        if kind == "CUSTOM":
            kind = (code.CustomCode() or b"custom").decode()
        inputs, outputs = (
            tuple(int(index) for index in np.atleast_1d(getattr(operator, f"{side}AsNumpy")()))
            if getattr(operator, f"{side}Length")()
            else ()
            for side in ("Inputs", "Outputs")
        )
        return Operation(kind, inputs, outputs, self._options(operator, kind))

    def _options(self, operator: Any, kind: str) -> dict[str, Option]:
        form, union = FORMS.get(kind), operator.BuiltinOptions()
        if form is None or form.table is None or union is None:
            return {}
        table = getattr(self.schema, form.table)()
        table.Init(union.Bytes, union.Pos)
        options: dict[str, Option] = {}
        for name in form.fields:
            if hasattr(table, f"{name}AsNumpy"):
                options[name] = tuple(int(size) for size in np.atleast_1d(getattr(table, f"{name}AsNumpy")()))
            else:
                options[name] = getattr(table, name)()
        return options


def _text(name: bytes | None) -> str:
    """The schema lets every name be left out."""
    return (name or b"").decode()


def _names(enumeration: type) -> dict[int, str]:
    return {number: name for name, number in vars(enumeration).items() if isinstance(number, int)}
