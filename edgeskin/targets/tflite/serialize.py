"""A program as the bytes of a `.tflite` file, by the published schema; equal programs give equal bytes."""

from collections.abc import Iterable, Mapping
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np

from edgeskin.graph.ir import Array
from edgeskin.optional import require
from edgeskin.targets.tflite.program import Operation, Option, Program, Value
from edgeskin.targets.tflite.schema import ACTIVATIONS, FORMS, TYPES, version

if TYPE_CHECKING:
    import flatbuffers

IDENTIFIER = b"TFL3"
SIGNATURE = "serving_default"
"""The name under which every converter puts the one signature of a file, and under which tools look for it."""
_ALIGNMENT = 16
"""Kernels read weights in place, by vectors of that many bytes."""


def serialize(program: Program, description: str) -> bytes:
    """The file. description: one line that says who made it, shown by tools."""
    return _Serializer(program).file(description)


class _Serializer:
    """One program on its way into one flatbuffer, which is written from its leaves up."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.schema: ModuleType = require("tflite")
        self.library: ModuleType = require("flatbuffers")
        self.builder: flatbuffers.Builder = self.library.Builder(1 << 20)
        self.contents: list[Array | bytes] = [b""]
        """Buffers by index; the first is empty, by the schema."""
        self.vectors: dict[tuple[str, bytes], int] = {}
        """Vectors of numbers by content: one of zero points alone stands behind each weight, eight bytes a channel."""

    def file(self, description: str) -> bytes:
        program = self.program
        tensors = [self._tensor(value) for value in program.tensors]
        codes, operators = self._operators()
        subgraph = self._table(
            "SubGraph",
            Tensors=self._tables(tensors),
            Inputs=self._numbers(program.inputs.values(), np.int32),
            Outputs=self._numbers(program.outputs.values(), np.int32),
            Operators=self._tables(operators),
            Name=self.builder.CreateString("main"),
        )
        signature = self._table(
            "SignatureDef",
            Inputs=self._named(program.inputs),
            Outputs=self._named(program.outputs),
            SignatureKey=self.builder.CreateString(SIGNATURE),
            SubgraphIndex=0,
        )
        notes = [
            self._table("Metadata", Name=self.builder.CreateString(name), Buffer=self._store(content))
            for name, content in program.notes.items()
        ]
        model = self._table(
            "Model",
            Version=3,
            OperatorCodes=self._tables(codes),
            Subgraphs=self._tables([subgraph]),
            Description=self.builder.CreateString(description),
            SignatureDefs=self._tables([signature]),
            Metadata=self._tables(notes),
            Buffers=self._tables([self._buffer(content) for content in self.contents]),
        )
        self.builder.Finish(model, IDENTIFIER)
        return bytes(self.builder.Output())

    # --- the parts of a program ---

    def _tensor(self, value: Value) -> int:
        quantization = None
        if value.scale is not None:
            steps = value.scale.steps
            quantization = self._table(
                "QuantizationParameters",
                Scale=self._numbers(steps, np.float32),
                ZeroPoint=self._numbers(np.full(steps.shape, value.scale.zero_point), np.int64),
                QuantizedDimension=value.scale.axis,
            )
        return self._table(
            "Tensor",
            Shape=self._numbers(value.shape, np.int32),
            Type=TYPES[value.kind],
            Buffer=0 if value.data is None else self._store(value.data),
            Name=self.builder.CreateString(value.name),
            Quantization=quantization,
            HasRank=True,
        )

    def _operators(self) -> tuple[list[int], list[int]]:
        """The table of operator codes, each with its version once, and the operators that point into it."""
        codes: dict[tuple[int, int], int] = {}
        operators = []
        for operation in self.program.operations:
            code = (getattr(self.schema.BuiltinOperator, operation.kind), self._version(operation))
            form = FORMS[operation.kind]
            options = None if form.table is None else self._options(form.table, operation.options)
            operators.append(
                self._table(
                    "Operator",
                    OpcodeIndex=codes.setdefault(code, len(codes)),
                    Inputs=self._numbers(operation.inputs, np.int32),
                    Outputs=self._numbers(operation.outputs, np.int32),
                    BuiltinOptionsType=None if form.table is None else getattr(self.schema.BuiltinOptions, form.table),
                    BuiltinOptions=options,
                )
            )
        # Interpreters from before 2020 read the first field, in which a code above 127 has no room.
        tables = [
            self._table("OperatorCode", DeprecatedBuiltinCode=min(code, 127), BuiltinCode=code, Version=number)
            for code, number in codes
        ]
        return tables, operators

    def _version(self, operation: Operation) -> int:
        tensors = [self.program.tensors[index] for index in (*operation.inputs, *operation.outputs) if index >= 0]
        grouped = operation.kind == "CONV_2D" and tensors[1].shape[-1] != tensors[0].shape[-1]
        return version(
            operation.kind,
            frozenset(tensor.kind for tensor in tensors),
            activated=operation.options.get("FusedActivationFunction", 0) != ACTIVATIONS[None],
            grouped=grouped,
        )

    def _options(self, table: str, options: Mapping[str, Option]) -> int:
        return self._table(
            table,
            **{
                name: self._numbers(value, np.int32) if isinstance(value, tuple) else value
                for name, value in options.items()
            },
        )

    def _named(self, indices: Mapping[str, int]) -> int:
        return self._tables(
            [
                self._table("TensorMap", Name=self.builder.CreateString(name), TensorIndex=index)
                for name, index in indices.items()
            ]
        )

    # --- contents ---

    def _store(self, content: "Array | bytes") -> int:
        self.contents.append(content)
        return len(self.contents) - 1

    def _buffer(self, content: "Array | bytes") -> int:
        raw = content if isinstance(content, bytes) else np.ascontiguousarray(content).tobytes()
        return self._table("Buffer", Data=self._aligned(raw) if raw else None)

    def _aligned(self, raw: bytes) -> int:
        self.builder.StartVector(1, len(raw), _ALIGNMENT)
        # The builder has no public way to copy a block that is to be aligned; byte by byte it takes seconds.
        self.builder.head -= len(raw)
        self.builder.Bytes[self.builder.head : self.builder.head + len(raw)] = raw
        return int(self.builder.EndVector())

    # --- flatbuffers ---

    def _table(self, name: str, **fields: int | float | bool | None) -> int:
        getattr(self.schema, f"{name}Start")(self.builder)
        for field, value in fields.items():
            if value is not None:
                getattr(self.schema, f"{name}Add{field}")(self.builder, value)
        return int(getattr(self.schema, f"{name}End")(self.builder))

    def _numbers(self, values: "Iterable[int] | Array", kind: type[np.generic]) -> int:
        data = np.asarray(tuple(values), kind)
        key = (data.dtype.str, data.tobytes())
        if key not in self.vectors:
            self.vectors[key] = int(self.builder.CreateNumpyVector(data))
        return self.vectors[key]

    def _tables(self, offsets: list[int]) -> int:
        self.builder.StartVector(4, len(offsets), 4)
        for offset in reversed(offsets):
            self.builder.PrependUOffsetTRelative(offset)
        return int(self.builder.EndVector())
