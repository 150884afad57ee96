"""A `.tflite` file as a program, by the published schema: ours, or anybody's."""

import struct
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

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


def parse(path: Path) -> Program:
    """Read a file; operators get their owners where the file is one of ours.

    Raises: GraphError for a file that is absent, no TensorFlow Lite file, or damaged.
    """
    try:
        raw = path.read_bytes()
    except FileNotFoundError as error:
        raise GraphError(f"{path}: no such file") from error
    except OSError as error:
        raise GraphError(f"{path}: cannot be read: {error.strerror or error}") from error
    if raw[4:8] != IDENTIFIER:
        raise GraphError(f"{path}: not a TensorFlow Lite file; copy or export it again")
    try:
        program = _Parser(raw).program()
    except GraphError as error:
        raise GraphError(f"{path}: {error}") from error
    except _DAMAGE as error:
        raise GraphError(f"{path}: damaged or truncated; copy or export it again") from error
    return program


class _Parser:
    """One flatbuffer. What the schema's classes hand out has no types, hence `Any`."""

    def __init__(self, raw: bytes) -> None:
        self.schema: ModuleType = require("tflite")
        self.model: Any = self.schema.Model.GetRootAsModel(raw, 0)
        if self.model.SubgraphsLength() != 1:
            raise GraphError(f"holds {self.model.SubgraphsLength()} subgraphs; networks of one are read")
        self.graph: Any = self.model.Subgraphs(0)
        self.kinds = _names(self.schema.BuiltinOperator)
        self.types = _names(self.schema.TensorType)

    def program(self) -> Program:
        notes = {
            entry.Name().decode(): bytes(np.asarray(self.model.Buffers(entry.Buffer()).DataAsNumpy(), np.uint8))
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
        if ENTRY in notes:
            owners = Note.read(notes[ENTRY]).owners
            if len(owners) != len(operations):
                raise GraphError(f"its note speaks of {len(owners)} operators, there are {len(operations)}")
            operations = tuple(
                replace(operation, owner=owner) for operation, owner in zip(operations, owners, strict=True)
            )
        return Program(tensors, operations, inputs, outputs, notes)

    def _named(self, side: str, tensors: tuple[Value, ...]) -> dict[str, int]:
        """By the names of the signature; a file without one knows its tensors' own."""
        if self.model.SignatureDefsLength():
            signature = self.model.SignatureDefs(0)
            maps = map(getattr(signature, side), range(getattr(signature, f"{side}Length")()))
            return {entry.Name().decode(): int(entry.TensorIndex()) for entry in maps}
        return {tensors[index].name: int(index) for index in np.atleast_1d(getattr(self.graph, f"{side}AsNumpy")())}

    def _tensor(self, tensor: Any) -> Value:
        kind = _KINDS.get(tensor.Type(), self.types.get(tensor.Type(), "unknown").lower())
        shape = tuple(int(size) for size in np.atleast_1d(tensor.ShapeAsNumpy())) if tensor.ShapeLength() else ()
        return Value(tensor.Name().decode(), shape, kind, self._scale(tensor), self._contents(tensor, kind, shape))

    def _scale(self, tensor: Any) -> Scale | None:
        found = tensor.Quantization()
        if found is None or not found.ScaleLength():
            return None
        points = np.unique(found.ZeroPointAsNumpy()) if found.ZeroPointLength() else np.zeros(1, np.int64)
        if points.size != 1:
            raise GraphError(f"{tensor.Name().decode()}: has {points.size} different zero points")
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
            raise GraphError(f"{tensor.Name().decode()}: {values.size} values do not fill the shape {list(shape)}")
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


def _names(enumeration: type) -> dict[int, str]:
    return {number: name for name, number in vars(enumeration).items() if isinstance(number, int)}
