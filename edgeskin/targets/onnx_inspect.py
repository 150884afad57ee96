"""An `.onnx` file for `edgeskin inspect`: every operator of its graph, with the shapes that ONNX infers."""

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np

from edgeskin.errors import GraphError
from edgeskin.optional import require
from edgeskin.targets.inspection import (
    UNLISTED,
    UNRULED,
    UNSHAPED,
    Reading,
    Role,
    Shape,
    Step,
    Value,
    in_words,
    matrix_product,
    product,
    stored_bytes,
)

if TYPE_CHECKING:
    import onnx

STANDARD = frozenset({"", "ai.onnx"})
ROLES: Mapping[str, Role] = {"QuantizeLinear": "quantizes", "DequantizeLinear": "dequantizes"}

FACTORS: Mapping[str, tuple[int, int]] = {
    "Conv": (0, 1),
    "ConvInteger": (0, 1),
    "ConvTranspose": (0, 1),
    "Gemm": (0, 1),
    "MatMul": (0, 1),
    "MatMulInteger": (0, 1),
    "QLinearConv": (0, 3),
    "QLinearMatMul": (0, 3),
}
"""Where x and the weight stand among the inputs of each operator that is counted."""
OUTPUT_SCALE = 6
"""Where QLinearConv and QLinearMatMul take the scale of their output; its zero point follows."""

UNCOUNTED = frozenset(
    {
        "Attention",
        "CausalConvWithState",
        "DFT",
        "DeformConv",
        "Det",
        "Einsum",
        "GRU",
        "LSTM",
        "LinearAttention",
        "MelWeightMatrix",
        "RNN",
        "STFT",
        "SwiGLU",
    }
)
"""Operators that sum products in ways that have no rule here; whatever else the standard knows sums none."""

_WORDS = {"float": "float32", "double": "float64", "undefined": "unknown"}
_LARGE = 4096
"""Bytes from which contents are dropped once counted: shape inference reads small constants only."""


def read(path: Path) -> Reading:
    """Raises: GraphError for a file that is absent, truncated or not ONNX."""
    model = _load(path)
    damaged = f"{path}: damaged: a name in it is no text; copy or export it again"
    try:
        if any(isinstance(name, bytes) for name in _names(model.graph)):
            raise GraphError(damaged)
        return _Reader(model, path).reading()
    except UnicodeDecodeError as error:
        raise GraphError(damaged) from error


def _names(graph: "onnx.GraphProto") -> "Iterator[str | bytes]":
    """Every name that is read here. Protobuf hands out one that is no text as bytes, or raises, by its version."""
    for node in graph.node:
        yield from (node.name, node.op_type, node.domain, *node.input, *node.output)
        yield from (attribute.name for attribute in node.attribute)
    for tensor in (*graph.initializer, *(sparse.values for sparse in graph.sparse_initializer)):
        yield tensor.name
        yield from (word for entry in tensor.external_data for word in (entry.key, entry.value))
    for info in (*graph.input, *graph.value_info, *graph.output):
        yield info.name
        yield from (size.dim_param for size in info.type.tensor_type.shape.dim)


def _load(path: Path) -> "onnx.ModelProto":
    """The file alone, without what it keeps in other files."""
    library = require("onnx")
    message = require("google.protobuf.message")
    try:
        model = library.load_model_from_string(path.read_bytes())
    except OSError as error:
        raise GraphError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (message.DecodeError, UnicodeDecodeError) as error:
        raise GraphError(f"{path}: not an ONNX file, or truncated; copy or export it again") from error
    if not model.graph.node:
        raise GraphError(f"{path}: not an ONNX file, or empty; copy or export it again")
    return cast("onnx.ModelProto", model)


class _Reader:
    """One walk over one model. `values`, `stored`: as in `Reading`; `scalars`: stored tensors of one number."""

    def __init__(self, model: "onnx.ModelProto", path: Path) -> None:
        self.onnx = require("onnx")
        self.model = model
        self.path = path
        self.values: dict[str, Value] = {}
        self.stored: dict[str, int] = {}
        self.scalars: dict[str, float] = {}
        self.elsewhere: dict[str, int] = {}
        """How many bytes each file of external data must have."""
        self.notes: list[str] = []

    def reading(self) -> Reading:
        self._inline()
        for tensor in self._tensors():
            self._store(*tensor)
        asked = self._ends()
        self._infer()
        for info in (*self.model.graph.input, *self.model.graph.value_info, *self.model.graph.output):
            if info.name not in self.stored:
                self.values[info.name] = self._value(info)
        for node in self.model.graph.node:
            self._read_scales(node)
        steps = tuple(
            self._step(node, position)
            for position, node in enumerate(self.model.graph.node)
            if node.op_type != "Constant" or node.domain not in STANDARD
        )
        inputs, outputs = (tuple(self._end(value) for value in side) for side in asked)
        self._note_elsewhere()
        return Reading(
            format="ONNX",
            file_bytes=self.path.stat().st_size,
            inputs=inputs,
            outputs=outputs,
            steps=steps,
            values=self.values,
            stored=self.stored,
            ends=frozenset(info.name for info in self.model.graph.output),
            notes=tuple(self.notes),
        )

    # --- the model, made ready ---

    def _inline(self) -> None:
        if not self.model.functions:
            return
        names = in_words(Counter(f"{each.domain}.{each.name}" for each in self.model.functions))
        try:
            self.model = require("onnx.inliner").inline_local_functions(self.model)
        except (RuntimeError, self.onnx.checker.ValidationError, self.onnx.shape_inference.InferenceError):
            self.notes.append(f"its own functions cannot be put in place, so what they do is not shown: {names}")
        else:
            self.notes.append(f"its own functions are shown as what they do: {names}")

    def _ends(self) -> tuple[tuple[Value, ...], tuple[Value, ...]]:
        """Inputs and outputs as the file has them, before the batch is set to 1."""
        graph = self.model.graph
        given = [info for info in graph.input if info.name not in self.stored]
        found = tuple(map(self._value, given)), tuple(map(self._value, graph.output))
        batches = set()
        for info in given:
            sizes = info.type.tensor_type.shape.dim
            if sizes and not sizes[0].HasField("dim_value"):
                batches.add(sizes[0].dim_param)
                sizes[0].dim_value = 1
        for info in (*graph.input, *graph.value_info, *graph.output):
            for size in info.type.tensor_type.shape.dim:
                if size.dim_param and size.dim_param in batches:
                    size.dim_value = 1
        if batches:
            names = ", ".join(sorted(filter(None, batches))) or "the first dimension"
            self.notes.append(f"{names} is not fixed: shapes and multiply-adds are of 1")
        return found

    def _infer(self) -> None:
        try:
            inferred = self.onnx.shape_inference.infer_shapes(self.model, strict_mode=False, data_prop=True)
            self.model = inferred
        except (RuntimeError, ValueError, self.onnx.shape_inference.InferenceError) as error:
            reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
            self.notes.append(f"its shapes cannot be inferred, so only those written in the file are known: {reason}")
        newest = self.onnx.defs.onnx_opset_version()
        for entry in self.model.opset_import:
            if entry.domain in STANDARD and entry.version > newest:
                self.notes.append(f"opset {entry.version} is newer than {newest}, the newest that the onnx here knows")

    # --- values ---

    def _tensors(self) -> "Iterator[tuple[str, onnx.TensorProto, tuple[int, ...]]]":
        graph = self.model.graph
        for tensor in graph.initializer:
            yield tensor.name, tensor, tuple(tensor.dims)
        for sparse in graph.sparse_initializer:
            yield sparse.values.name, sparse.values, tuple(sparse.dims)
        for node in graph.node:
            if node.op_type == "Constant" and node.domain in STANDARD and node.output and node.attribute:
                tensor = self._constant(node.attribute[0])
                yield node.output[0], tensor, tuple(tensor.dims)

    def _constant(self, attribute: "onnx.AttributeProto") -> "onnx.TensorProto":
        """What a Constant node holds; a number or a list of them as the tensor that it stands for."""
        if attribute.HasField("t"):
            return attribute.t
        if attribute.HasField("sparse_tensor"):
            return attribute.sparse_tensor.values
        value = self.onnx.helper.get_attribute_value(attribute)
        kind = {"value_int": np.int64, "value_float": np.float32}.get(attribute.name.removesuffix("s"), np.str_)
        return cast("onnx.TensorProto", self.onnx.numpy_helper.from_array(np.asarray(value, kind)))

    def _store(self, name: str, tensor: "onnx.TensorProto", shape: tuple[int, ...]) -> None:
        kind = self._type(tensor.data_type)
        external = tensor.data_location == self.onnx.TensorProto.EXTERNAL
        size = stored_bytes(kind, tuple(tensor.dims)) or tensor.ByteSize()
        self.values[name], self.stored[name] = Value(name, kind, shape), size
        if external:
            place = {entry.key: entry.value for entry in tensor.external_data}
            location, offset = place.get("location", ""), place.get("offset", "")
            end = size + (int(offset) if offset.isdigit() else 0)
            self.elsewhere[location] = max(self.elsewhere.get(location, 0), end)
        elif product(shape) == 1 and kind != "string":
            try:
                self.scalars[name] = float(self.onnx.numpy_helper.to_array(tensor).reshape(()))
            except (ValueError, TypeError, KeyError):
                self.notes.append(f"{name}: its contents do not fit its type, {kind}")
        if size > _LARGE:
            for field in ("raw_data", "float_data", "int32_data", "int64_data", "double_data", "uint64_data"):
                tensor.ClearField(field)

    def _value(self, info: "onnx.ValueInfoProto") -> Value:
        kind = info.type.WhichOneof("value")
        if kind != "tensor_type":
            return Value(info.name, (kind or "unknown").removesuffix("_type"), None)
        tensor = info.type.tensor_type
        shape: Shape | None = None
        if tensor.HasField("shape"):
            shape = tuple(
                int(size.dim_value) if size.HasField("dim_value") else size.dim_param or "?"
                for size in tensor.shape.dim
            )
        return Value(info.name, self._type(tensor.elem_type), shape)

    def _end(self, value: Value) -> Value:
        """An input or output as the file has it, completed by what was inferred."""
        found = self.values.get(value.name, value)
        shape = found.shape if value.shape is None else value.shape
        return Value(value.name, found.type, shape, found.scale, found.zero_point)

    def _type(self, number: int) -> str:
        try:
            word = str(self.onnx.TensorProto.DataType.Name(number)).lower()
        except ValueError:
            return "unknown"
        return _WORDS.get(word, word)

    def _read_scales(self, node: "onnx.NodeProto") -> None:
        """The scale of the integers that a node writes, or of those it reads."""
        if node.domain not in STANDARD or not node.input or not node.output:
            return
        name, position = "", 1
        if node.op_type in ("QLinearConv", "QLinearMatMul"):
            name, position = node.output[0], OUTPUT_SCALE
        elif node.op_type == "QuantizeLinear":
            name = node.output[0]
        elif node.op_type == "DequantizeLinear" and node.input[0] not in self.stored:
            name = node.input[0]
        found = self.values.get(name)
        if found is None or len(node.input) <= position:
            return
        zero = node.input[position + 1] if len(node.input) > position + 1 else ""
        scale = self.scalars.get(node.input[position])
        point = self.scalars.get(zero) if zero else 0
        if scale is not None:
            whole = None if point is None else int(point)
            self.values[name] = Value(found.name, found.type, found.shape, scale, whole)
            return
        note = f"{name}: its scale is computed, or each channel has one; none is shown"
        if note not in self.notes:
            self.notes.append(note)

    # --- operators ---

    def _step(self, node: "onnx.NodeProto", position: int) -> Step:
        standard = node.domain in STANDARD
        kind = node.op_type if standard else f"{node.domain}.{node.op_type}"
        name = node.name or next(filter(None, node.output), f"{kind} {position}")
        multiply_adds: int | None = 0
        factors: tuple[str, ...] = ()
        obscure = ""
        if not standard:
            multiply_adds, obscure = None, "an operator of a domain that is not ONNX's own"
        elif not self.onnx.defs.has(node.op_type):
            multiply_adds, obscure = None, "the onnx that is installed here has no such operator"
        elif any(attribute.HasField("g") or attribute.graphs for attribute in node.attribute):
            multiply_adds, obscure = None, UNLISTED
        elif node.op_type in UNCOUNTED:
            multiply_adds, obscure = None, UNRULED
        elif node.op_type in FACTORS:
            factors, multiply_adds = self._cost(node)
            obscure = UNSHAPED if multiply_adds is None else ""
        role: Role = ROLES.get(kind, "computes") if node.input and node.output else "computes"
        return Step(name, kind, tuple(node.input), tuple(node.output), factors, multiply_adds, obscure, role)

    def _cost(self, node: "onnx.NodeProto") -> tuple[tuple[str, ...], int | None]:
        """The keys of the two factors, where their types are known, and the multiply-adds."""
        places = FACTORS[node.op_type]
        if len(node.input) <= max(places) or not node.output:
            return (), None
        keys = tuple(node.input[place] for place in places)
        x, weight, output = (self._shape(name) for name in (*keys, node.output[0]))
        count: int | None
        if x is None or weight is None or output is None:
            count = None
        elif node.op_type == "ConvTranspose":
            # Each input value meets the taps of every output channel of its group.
            count = product(x, weight[1:])
        elif "Conv" in node.op_type:
            count = product(output, weight[1:])
        else:
            count = matrix_product(x, weight, output)
        return keys, count

    def _shape(self, name: str) -> Shape | None:
        return self.values[name].shape if name in self.values else None

    def _note_elsewhere(self) -> None:
        for location, size in self.elsewhere.items():
            path = self.path.parent / location
            if not location or not path.is_file():
                self.notes.append(
                    f"its external data lies in {location or 'a file without a name'}, which is not there"
                )
            elif path.stat().st_size < size:
                self.notes.append(f"its external data in {location} is cut off: {size} bytes are spoken of")
            else:
                self.notes.append(f"its external data in {location} is not part of the file's size")
