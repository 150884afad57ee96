"""The form in which an artifact computes its network, and that form in onnxruntime: the judge of both."""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from edgeskin import files
from edgeskin.benchmarks.measurements import Form
from edgeskin.graph.folder import Graph
from edgeskin.graph.ir import Network
from edgeskin.graph.read import read
from edgeskin.graph.rewrite import halve, weights_only
from edgeskin.graph.write import to_onnx
from edgeskin.optional import require
from edgeskin.targets.base import METADATA, Compute, Precision
from edgeskin.targets.onnx import OnnxSession

if TYPE_CHECKING:
    import onnx


def form_of(precision: Precision, compute: Compute) -> Form:
    """The form of an artifact. compute: the float between its operators."""
    return "int8-float16" if (precision, compute) == ("int8", "float16") else precision


def network_of(graph: Graph, form: Form) -> Network:
    """What a form computes, before any float is rounded to float16."""
    match form:
        case "fp32" | "fp16":
            return read(graph.fp32)
        case "int8" | "int8-float16":
            return read(graph.int8)
        case "w8a16":
            return weights_only(read(graph.int8))


def session_of(network: Network, *, half: bool = False, threads: int = 1) -> OnnxSession:
    """A network in the reference engine, every operator as written. half: in float16 between the operators."""
    model = to_onnx(halve(network) if half else network)
    if half:
        _round_to_float16(model)
    with tempfile.TemporaryDirectory(prefix="edgeskin-") as folder:
        path = Path(folder) / "network.onnx"
        files.write_bytes(path, model.SerializeToString())
        return OnnxSession(path, threads=threads, plain=True)


def _round_to_float16(model: "onnx.ModelProto") -> None:
    """Cast every float that is handed in or computed to float16 and back, so that whoever reads it reads float16."""
    helper, kinds = require("onnx.helper"), require("onnx").TensorProto
    graph = model.graph
    rounded: list[onnx.NodeProto] = []

    def round_off(exact: str, name: str) -> None:
        rounded.append(helper.make_node("Cast", [exact], [f"{name}:half"], to=kinds.FLOAT16))
        rounded.append(helper.make_node("Cast", [f"{name}:half"], [name], to=kinds.FLOAT))

    handed_in = {given.name: f"{given.name}:rounded" for given in graph.input if given.name == METADATA}
    for name, other in handed_in.items():
        round_off(name, other)
    floats = {each.name for each in (*graph.input, *graph.initializer) if _holds_float(each)} | {*handed_in.values()}
    for node in graph.node:
        node.input[:] = [handed_in.get(name, name) for name in node.input]
        rounded.append(node)
        makes_float = node.op_type in _MAKES_FLOAT or node.input[0] in floats
        if makes_float and node.op_type not in _MAKES_INTEGERS:
            (name,) = node.output
            floats.add(name)
            node.output[0] = f"{name}:exact"
            round_off(f"{name}:exact", name)
    del graph.node[:]
    graph.node.extend(rounded)


_MAKES_FLOAT = {"Cast", "DequantizeLinear"}
"""What makes floats of anything, in a file of ours: only the picture is cast."""
_MAKES_INTEGERS = {"QuantizeLinear", "Shape"}
"""What makes integers of floats."""


def _holds_float(named: "onnx.ValueInfoProto | onnx.TensorProto") -> bool:
    kind = named.data_type if hasattr(named, "data_type") else named.type.tensor_type.elem_type
    return bool(kind == require("onnx").TensorProto.FLOAT)
