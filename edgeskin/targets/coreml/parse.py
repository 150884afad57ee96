"""Read a package as data, strictly: every value is where the specification says, of the type and size that it says.

Nothing of it is believed before it was checked, as a package may be truncated, damaged or made by anybody.
"""

import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from edgeskin.errors import GraphError
from edgeskin.graph.ir import Array
from edgeskin.optional import require
from edgeskin.targets.coreml import package
from edgeskin.targets.coreml.package import AGAIN
from edgeskin.targets.coreml.program import Constant, Integers, Operation, Program, Value

OPSET = "CoreML7"
"""The operator set whose operators are understood: that of iOS 17."""
SPECIFICATION = 8
"""The version of the specification that has it."""
AFFINE = "constexpr_affine_dequantize"
"""The operator behind integers that stand for floats."""
_STORED: Mapping[str, frozenset[str]] = {
    "const": frozenset({"val"}),
    AFFINE: frozenset({"quantized_data", "scale", "zero_point", "axis"}),
}
"""The attributes of what the package holds; an operator that computes has none but its name."""
_KINDS = {
    "BOOL": "bool", "STRING": "str", "FLOAT16": "float16", "FLOAT32": "float32", "INT8": "int8", "UINT8": "uint8",
    "INT16": "int16", "UINT16": "uint16", "INT32": "int32", "UINT32": "uint32", "INT64": "int64",
}  # fmt: skip
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_@]*")
"""What MIL lets a value or operator be called."""
_LARGEST = 1 << 31
"""More numbers than any network here has in one tensor; a damaged file may ask for any."""


def parse(folder: Path) -> Program:
    """A package's program.

    Raises: GraphError that names the file, and for weights the offset, where something is not as it must be;
    MissingDependencyError.
    """
    place = package.specification(folder)
    model = package.model(place)
    if model.WhichOneof("Type") != "mlProgram":
        raise GraphError(f"{place}: is a {model.WhichOneof('Type')}, not an ML program; `edgeskin inspect` shows it")
    try:
        return _Parser(place, model).program()
    except (AttributeError, IndexError, KeyError, OverflowError, TypeError, UnicodeDecodeError, ValueError) as error:
        raise GraphError(f"{place}: says what no ML program says ({error}); {AGAIN}") from error


class _Parser:
    """One walk over one model. What its protobuf classes hand out has no types, hence `Any`."""

    def __init__(self, place: Path, model: Any) -> None:
        self.place = place
        self.model = model
        self.types = require("coremltools.proto.MIL_pb2").DataType
        self.described = require("coremltools.proto.FeatureTypes_pb2")
        self.constants: dict[str, Constant] = {}
        self.integers: dict[str, Integers] = {}
        self.names: set[str] = set()
        """What there is so far."""

    def program(self) -> Program:
        function = self._function()
        version = self.model.specificationVersion
        if (version, function.opset) != (SPECIFICATION, OPSET):
            raise GraphError(
                f"{self.place}: its operators are those of {function.opset!r} in specification {version}, this "
                f"edgeskin reads those of {OPSET!r} in {SPECIFICATION}; `edgeskin inspect` shows what is in it"
            )
        if OPSET not in function.block_specializations:
            raise GraphError(f"{self.place}: holds no code for {OPSET}; {AGAIN}")
        block = function.block_specializations[OPSET]
        inputs = {given.name: self._defined(given) for given in function.inputs}
        operations = tuple(self._operations(block.operations))
        description = self.model.description
        features = tuple(self._feature(each) for each in (*description.input, *description.output))
        notes = dict(description.metadata.userDefined)
        return Program(inputs, tuple(block.outputs), operations, self.constants, self.integers, features, notes)

    def _function(self) -> Any:
        functions = self.model.mlProgram.functions
        if list(functions) != ["main"]:
            raise GraphError(f"{self.place}: its functions are {sorted(functions)}, not main alone; {AGAIN}")
        return functions["main"]

    def _operations(self, operations: Any) -> Iterator[Operation]:
        for operation in operations:
            if len(operation.outputs) != 1 or operation.blocks:
                raise GraphError(f"{self.place}: {operation.type!r} is no operator that edgeskin reads; {AGAIN}")
            self._demand_known(operation)
            # What it reads stands before it, so it is not there yet itself.
            inputs = {
                word: tuple(self._argument(operation, word, binding) for binding in argument.arguments)
                for word, argument in operation.inputs.items()
            }
            output = self._defined(operation.outputs[0])
            if operation.type == "const":
                value = operation.attributes["val"]
                if operation.outputs[0].type != value.type:
                    raise GraphError(f"{self.place}: {output.name} holds another type than it says; {AGAIN}")
                self.constants[output.name] = self._constant(value)
            elif operation.type == AFFINE:
                self.integers[output.name] = self._integers(operation, output)
            else:
                yield Operation(_identifier(operation.type), inputs, output)

    def _demand_known(self, operation: Any) -> None:
        """Raises: GraphError where an operator says more than such an operator of ours."""
        known = _STORED.get(operation.type, frozenset())
        more = set(operation.attributes) - known - {"name"} or (set(operation.inputs) if known else set())
        if more:
            name, words = operation.outputs[0].name, ", ".join(sorted(map(repr, more)))
            raise GraphError(f"{self.place}: {name} says {words}, which no program of ours says; {AGAIN}")

    def _defined(self, named: Any) -> Value:
        """A value that begins here, and nowhere else."""
        value = self._value(named)
        if value.name in self.names:
            raise GraphError(f"{self.place}: {value.name} is defined twice; {AGAIN}")
        self.names.add(value.name)
        return value

    def _argument(self, operation: Any, word: str, binding: Any) -> str:
        """The name of what an operator reads; a constant that stands at its place gets a name."""
        if binding.WhichOneof("binding") == "name":
            name = _identifier(binding.name)
            if name not in self.names:
                raise GraphError(f"{self.place}: a {operation.type} reads {name}, which stands behind it; {AGAIN}")
            return name
        name = f"{operation.outputs[0].name}({word})"
        self.constants[name] = self._constant(binding.value)
        return name

    # --- constants ---

    def _integers(self, operation: Any, output: Value) -> Integers:
        parts = {word: self._constant(value) for word, value in operation.attributes.items() if word != "name"}
        data, scale, zero = (_numbers(parts[word]) for word in ("quantized_data", "scale", "zero_point"))
        place = _numbers(parts["axis"])
        axis = int(place)
        many = scale.ndim == 1 and scale.shape != (data.shape[axis],)
        typed = str(scale.dtype) == output.kind and place.dtype == np.int32
        if data.shape != output.shape or not typed or scale.ndim > 1 or many:
            raise GraphError(f"{self.place}: {output.name}: its integers and scales do not make its floats; {AGAIN}")
        return Integers(data, output.kind, scale.astype(np.float32), axis, zero)

    def _constant(self, value: Any) -> Constant:
        described = value.type
        if described.WhichOneof("type") != "tensorType":
            raise GraphError(f"{self.place}: a constant is a {described.WhichOneof('type')}, not a tensor; {AGAIN}")
        kind, shape = self._kind(described), self._shape(described)
        if value.WhichOneof("value") == "blobFileValue":
            stored = value.blobFileValue
            return package.blob(self.place, stored.fileName, stored.offset).numbers(kind, shape)
        return self._immediate(value.immediateValue.tensor, kind, shape)

    def _immediate(self, tensor: Any, kind: str, shape: tuple[int, ...]) -> Constant:
        held = tensor.WhichOneof("value")
        if held == "strings":
            (word,) = tensor.strings.values
            return str(word)
        if held == "bytes":
            numbers = np.frombuffer(tensor.bytes.values, kind)
        else:
            numbers = np.asarray(getattr(tensor, held).values, kind)
        return numbers.reshape(shape)

    # --- types ---

    def _feature(self, feature: Any) -> Value:
        """An input or output as an app sees it; its kind is a word of protobuf where it has not one shape."""
        held, form = feature.type, feature.type.WhichOneof("Type")
        if form == "imageType" and not held.isOptional and not held.imageType.WhichOneof("SizeFlexibility"):
            colours = self.described.ImageFeatureType.ColorSpace.Name(held.imageType.colorSpace)
            return Value(feature.name, colours.lower(), (1, 3, held.imageType.height, held.imageType.width))
        if form == "multiArrayType" and not held.isOptional and not held.multiArrayType.WhichOneof("ShapeFlexibility"):
            numbers = self.described.ArrayFeatureType.ArrayDataType.Name(held.multiArrayType.dataType)
            return Value(feature.name, numbers.lower(), tuple(held.multiArrayType.shape))
        return Value(feature.name, str(form), ())

    def _value(self, named: Any) -> Value:
        return Value(_identifier(named.name), self._kind(named.type), self._shape(named.type))

    def _kind(self, described: Any) -> str:
        return _KINDS[self.types.Name(described.tensorType.dataType)]

    def _shape(self, described: Any) -> tuple[int, ...]:
        dimensions = described.tensorType.dimensions
        sizes = tuple(int(each.constant.size) for each in dimensions)
        if len(sizes) != described.tensorType.rank or any(
            each.WhichOneof("dimension") != "constant" for each in dimensions
        ):
            raise GraphError(f"{self.place}: a tensor has no fixed shape, and no network of ours is without; {AGAIN}")
        if math.prod(sizes) > _LARGEST:
            raise GraphError(f"{self.place}: a tensor has the shape {list(sizes)}; {AGAIN}")
        return sizes


def _identifier(name: str) -> str:
    if not _IDENTIFIER.fullmatch(name):
        raise ValueError(f"{name!r} is no name")
    return name


def _numbers(constant: Constant) -> Array:
    if not isinstance(constant, np.ndarray):
        raise TypeError("a word stands where numbers belong")
    return constant
