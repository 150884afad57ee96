"""A `.mlpackage` for `edgeskin inspect`: its specification, and of its weights the sizes alone."""

import struct
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from edgeskin.errors import GraphError
from edgeskin.optional import require
from edgeskin.targets.coreml import package
from edgeskin.targets.coreml.package import AGAIN
from edgeskin.targets.inspection import (
    UNLISTED,
    UNRULED,
    UNSHAPED,
    Reading,
    Role,
    Shape,
    Step,
    Value,
    matrix_product,
    product,
    stored_bytes,
)

ROLES: Mapping[str, Role] = {"quantize": "quantizes", "dequantize": "dequantizes"}

FACTORS: Mapping[str, tuple[str, str]] = {
    "conv": ("x", "weight"),
    "conv_transpose": ("x", "weight"),
    "linear": ("x", "weight"),
    "matmul": ("x", "y"),
}
"""The arguments whose products each operator sums that is counted."""
UNCOUNTED = frozenset(
    {"conv_quantized", "einsum", "gru", "inverse", "lstm", "rnn", "scaled_dot_product_attention", "resample"}
)
"""Operators that sum products in ways that have no rule here; whatever else MIL knows sums none."""

INTEGER_WEIGHTS: Mapping[str, str] = {
    "constexpr_affine_dequantize": "quantized_data",
    "constexpr_blockwise_shift_scale": "data",
}
"""Operators that turn stored integers into the floats they stand for, and their argument that holds the integers."""

_PARAMETERS = frozenset({"int32", "int64", "bool", "string"})
"""Types of what sets an operator up (strides, axes); as they weigh next to nothing, they count as no weights."""


def read(path: Path) -> Reading:
    """Raises: GraphError for a package that is incomplete or damaged; MissingDependencyError."""
    place = package.specification(path)
    return _Reader(package.model(place), path, place).reading()


class _Reader:
    """One walk over one model. What its protobuf classes hand out has no types, hence `Any`."""

    def __init__(self, model: Any, path: Path, place: Path) -> None:
        self.model = model
        self.path = path
        self.place = place
        self.mil: ModuleType = require("coremltools.proto.MIL_pb2")
        self.features: ModuleType = require("coremltools.proto.FeatureTypes_pb2")
        registry = require("coremltools.converters.mil.mil.ops.registry").SSAOpRegistry
        self.known = frozenset(registry.core_ops)
        self.values: dict[str, Value] = {}
        self.stored: dict[str, int] = {}
        self.numbers: dict[str, float] = {}
        """Stored values of one number."""
        self.steps: list[Step] = []
        self.notes: list[str] = []
        self.outputs: tuple[str, ...] = ()

    def reading(self) -> Reading:
        kind = self.model.WhichOneof("Type")
        if kind == "mlProgram":
            self._program()
        elif kind.startswith("neuralNetwork"):
            self._layers(getattr(self.model, kind).layers)
        else:
            self.notes.append(f"it is of the kind {kind}, whose parts are not listed")
        described = self.model.description
        return Reading(
            format=f"Core ML {kind}, specification {self.model.specificationVersion}",
            file_bytes=sum(each.stat().st_size for each in self.path.rglob("*") if each.is_file()),
            inputs=tuple(map(self._feature, described.input)),
            outputs=tuple(map(self._feature, described.output)),
            steps=tuple(self.steps),
            values=self.values,
            stored=self.stored,
            ends=frozenset(self.outputs),
            notes=tuple(self.notes),
        )

    # --- networks of layers, the form before iOS 15 ---

    def _layers(self, layers: Iterable[Any]) -> None:
        for layer in layers:
            kind = layer.WhichOneof("layer") or "unknown"
            obscure = "layers of a neuralNetwork are listed by kind alone, neither shapes nor weights are read"
            self.steps.append(
                Step(layer.name or kind, kind, tuple(layer.input), tuple(layer.output), (), None, obscure)
            )

    # --- programs ---

    def _program(self) -> None:
        functions = self.model.mlProgram.functions
        name = self.model.description.defaultFunctionName or "main"
        if name not in functions:
            name = next(iter(sorted(functions)), "")
        if not name:
            raise GraphError(f"{self.place}: a program without functions; {AGAIN}")
        function = functions[name]
        if len(functions) > 1:
            others = ", ".join(sorted(set(functions) - {name}))
            self.notes.append(f"only the function {name} is listed, there are also {others}")
        blocks = function.block_specializations
        if function.opset not in blocks:
            raise GraphError(f"{self.place}: no code for {function.opset}; {AGAIN}")
        block = blocks[function.opset]
        for given in function.inputs:
            self.values[given.name] = self._value(given)
        self.outputs = tuple(block.outputs)
        for operation in block.operations:
            if operation.type == "const" or operation.type.startswith("constexpr_"):
                self._constant(operation)
            else:
                self.steps.append(self._step(operation))

    def _constant(self, operation: Any) -> None:
        """What the file holds; of integers that stand for floats, the integers."""
        output = next(iter(operation.outputs), None)
        if output is None:
            return
        value = self._value(output)
        self.values[value.name] = value
        if operation.type in INTEGER_WEIGHTS:
            self._integers(operation, value)
            return
        reads = (argument.name for each in operation.inputs.values() for argument in each.arguments)
        kept = sum(self.stored.get(name, 0) for name in reads)
        self.stored[value.name] = kept + sum(self._held(each) for _, each in self._given(operation))
        if operation.type == "const":
            number = self._number(operation.attributes["val"]) if "val" in operation.attributes else None
            if number is not None:
                self.numbers[value.name] = number

    def _integers(self, operation: Any, value: Value) -> None:
        """Integers that stand for the floats of a value: the argument of the operation, or the constant it names."""
        wanted, key = INTEGER_WEIGHTS[operation.type], f"{value.name} as stored"
        kind, kept = "unknown", 0
        for name, given in self._given(operation):
            if name == wanted:
                kind, kept = self._type(given.type), self._held(given)
        for argument in operation.inputs[wanted].arguments if wanted in operation.inputs else ():
            if argument.name in self.stored:
                kind, kept = self.values[argument.name].type, self.stored[argument.name]
        self.values[key], self.stored[key] = Value(key, kind, value.shape), kept
        self.steps.append(Step(value.name, operation.type, (key,), (value.name,), role="dequantizes"))

    def _given(self, operation: Any) -> Iterator[tuple[str, Any]]:
        """What an operation holds itself: attributes, and arguments that are no names."""
        for name, value in operation.attributes.items():
            if name != "name":
                yield name, value
        for name, argument in operation.inputs.items():
            for binding in argument.arguments:
                if binding.WhichOneof("binding") == "value":
                    yield name, binding.value

    def _held(self, value: Any) -> int:
        """The bytes of a value. Raises: GraphError where no whole blob lies where it says."""
        where = value.WhichOneof("value")
        if where != "blobFileValue":
            kind = self._type(value.type)
            return 0 if kind in _PARAMETERS else stored_bytes(kind, self._shape(value.type))
        return package.blob(self.place, value.blobFileValue.fileName, value.blobFileValue.offset).size_bytes

    def _step(self, operation: Any) -> Step:
        kind = operation.type
        for output in operation.outputs:
            self.values[output.name] = self._value(output)
        named = {
            key: next((each.name for each in argument.arguments if each.name), "")
            for key, argument in operation.inputs.items()
        }
        writes = tuple(output.name for output in operation.outputs)
        name = writes[0] if writes else kind
        role: Role = ROLES.get(kind, "computes") if writes and named.get("input") else "computes"
        if role != "computes":
            self._read_scale(operation, named, writes[0] if role == "quantizes" else named["input"])
            return Step(name, kind, (named["input"],), writes, role=role)
        multiply_adds: int | None = 0
        factors: tuple[str, ...] = ()
        obscure = ""
        if kind not in self.known:
            multiply_adds, obscure = None, "not an operator of the MIL that is installed here"
        elif operation.blocks:
            multiply_adds, obscure = None, UNLISTED
        elif kind in UNCOUNTED:
            multiply_adds, obscure = None, UNRULED
        elif kind in FACTORS:
            factors = tuple(named.get(key, "") for key in FACTORS[kind])
            multiply_adds = self._cost(kind, factors, name)
            obscure = UNSHAPED if multiply_adds is None else ""
        reads = [each.name for argument in operation.inputs.values() for each in argument.arguments if each.name]
        inline = sum(self._held(value) for _, value in self._given(operation))
        if inline:
            reads.append(f"{name} holds")
            self.stored[reads[-1]] = inline
        return Step(name, kind, tuple(reads), writes, factors, multiply_adds, obscure)

    def _cost(self, kind: str, factors: tuple[str, ...], output: str) -> int | None:
        x, weight, result = (self.values[key].shape if key in self.values else None for key in (*factors, output))
        if weight is None:
            return None
        if kind == "conv":
            return product(result, weight[1:])
        if kind == "conv_transpose":
            # Each input value meets the taps of every output channel of its group.
            return product(x, weight[1:])
        if kind == "linear":
            return product(result, weight[-1:])
        return matrix_product(x, weight, result)

    def _read_scale(self, operation: Any, named: Mapping[str, str], integers: str) -> None:
        found = self.values.get(integers)
        if found is None or integers in self.stored:
            return
        own = {key: self._number(value) for key, value in self._given(operation)}
        scale, point = (self.numbers.get(named.get(key, ""), own.get(key)) for key in ("scale", "zero_point"))
        if scale is None:
            self.notes.append(f"{integers}: each channel has a scale; none is shown")
            return
        self.values[integers] = Value(found.name, found.type, found.shape, scale, int(point or 0))

    # --- values ---

    def _number(self, value: Any) -> float | None:
        """A stored value of one number."""
        if value.WhichOneof("value") != "immediateValue" or product(self._shape(value.type)) != 1:
            return None
        tensor = value.immediateValue.tensor
        field = tensor.WhichOneof("value")
        if field == "bytes":
            layout = {"int8": "<b", "uint8": "<B", "float16": "<e"}.get(self._type(value.type))
            raw = tensor.bytes.values
            return float(struct.unpack(layout, raw)[0]) if layout and len(raw) == struct.calcsize(layout) else None
        if field not in ("floats", "doubles", "ints", "longInts"):
            return None
        return next(map(float, getattr(tensor, field).values), None)

    def _value(self, named: Any) -> Value:
        return Value(named.name, self._type(named.type), self._shape(named.type))

    def _type(self, kind: Any) -> str:
        form = kind.WhichOneof("type")
        if form != "tensorType":
            return str(form or "unknown").removesuffix("Type")
        return _word(self.mil.DataType, kind.tensorType.dataType)

    def _shape(self, kind: Any) -> Shape | None:
        if kind.WhichOneof("type") != "tensorType" or kind.tensorType.rank < 0:
            return None
        return tuple(
            int(size.constant.size) if size.WhichOneof("dimension") == "constant" else "?"
            for size in kind.tensorType.dimensions
        )

    def _feature(self, feature: Any) -> Value:
        """An input or output: as the program has it, else as the description promises it."""
        if feature.name in self.values:
            return self.values[feature.name]
        form = feature.type.WhichOneof("Type") or "unknown"
        if form == "imageType":
            image = feature.type.imageType
            return Value(feature.name, "image", (int(image.height), int(image.width)))
        if form == "multiArrayType":
            array = feature.type.multiArrayType
            kind = _word(self.features.ArrayFeatureType.ArrayDataType, array.dataType).replace("double", "float64")
            return Value(feature.name, kind, tuple(map(int, array.shape)) or None)
        return Value(feature.name, form.removesuffix("Type"), None)


def _word(enumeration: Any, number: int) -> str:
    try:
        return str(enumeration.Name(number)).lower()
    except ValueError:
        return "unknown"
