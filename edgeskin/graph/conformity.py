"""A Graph folder held against the whole QAT contract: its files, its networks and its model card.

`lint` judges a network; here stands what a network alone cannot show: how the file spells it, and whether the card
speaks of the same heads.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from edgeskin.contract.model import ModelCard
from edgeskin.errors import ContractError
from edgeskin.graph import lint
from edgeskin.graph.folder import Graph
from edgeskin.graph.ir import Network, Sigmoid, Softmax
from edgeskin.graph.lint import Finding
from edgeskin.graph.load import load
from edgeskin.graph.read import read
from edgeskin.graph.write import OPSET

if TYPE_CHECKING:
    import onnx

_TENSOR_TYPES = {2: "uint8", 3: "int8", 6: "int32"}


def integer_network(graph: Graph) -> Network:
    """The network of `int8.onnx`. Raises: ContractError with every broken rule; GraphError where it cannot be read."""
    model = load(graph.int8)
    network = read(graph.int8)
    findings = (*file_findings(model), *lint.lint(network, frozenset(graph.card.kept_float)))
    _demand(graph.int8, (*findings, *card_findings(network, graph.card)))
    return network


def float_network(graph: Graph) -> Network:
    """The network of `fp32.onnx`. Raises: ContractError with every broken rule; GraphError where it cannot be read."""
    network = read(graph.fp32)
    card = graph.card.model_copy(update={"float_tail": ()})
    _demand(graph.fp32, (*lint.lint_float(network), *card_findings(network, card)))
    return network


def _demand(path: Path, findings: tuple[Finding, ...]) -> None:
    if findings:
        raise ContractError(f"{path} breaks the QAT contract:\n" + "\n".join(f"  {each}" for each in findings))


def file_findings(model: "onnx.ModelProto") -> Iterator[Finding]:
    """What only the file shows: opset 21, int8 activations at zero point 0, float biases, as TensorRT demands."""
    for entry in model.opset_import:
        if entry.domain in ("", "ai.onnx") and entry.version != OPSET:
            yield Finding("opset", "the file", f"is opset {entry.version}, the contract says {OPSET}")
    types = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "DequantizeLinear" and _TENSOR_TYPES.get(types.get(node.input[0], 0)) == "int32":
            yield Finding(
                "float-bias", node.name, "its bias is stored as int32; store it as float32 on the integer grid"
            )
        elif node.op_type in ("QuantizeLinear", "DequantizeLinear") and len(node.input) > 2:
            kind = _TENSOR_TYPES.get(types.get(node.input[2], 0), "another type")
            if kind != "int8":
                yield Finding(
                    "int8-activations", node.name, f"quantizes to {kind}; the contract says int8 at zero point 0"
                )


def card_findings(network: Network, card: ModelCard) -> Iterator[Finding]:
    """Where the model card speaks of another network: outputs, their kinds and order, inputs, the float tail."""
    heads = tuple(head.name for head in card.heads)
    if network.outputs != heads:
        yield Finding(
            "card-heads", "model.json", f"its heads are {', '.join(heads)}; the outputs {', '.join(network.outputs)}"
        )
        return
    for head in card.heads:
        producer = network.producer(head.name)
        expected = Softmax if head.kind == "softmax" else Sigmoid
        if producer is None or not isinstance(producer.operator, expected):
            found = "nothing" if producer is None else producer.kind
            yield Finding("card-heads", head.name, f"is a {head.kind} head, but {found} computes it")
            continue
        shape = network.tensors[head.name].shape[1:]
        wanted = (1, card.size, card.size) if head.kind == "mask" else (len(head.labels),)
        if shape != wanted:
            yield Finding("card-heads", head.name, f"has the shape {shape}, the card says {wanted}")
    yield from _card_inputs(network, card)
    tail = {node.name for node in lint.float_tail(network)}
    if card.float_tail and not set(card.float_tail) <= tail:
        unknown = ", ".join(sorted(set(card.float_tail) - tail))
        yield Finding("card-float-tail", "model.json", f"names {unknown}, which is not in the float tail")


def _card_inputs(network: Network, card: ModelCard) -> Iterator[Finding]:
    door = network.tensors[network.inputs[0]].shape[1:]
    if door != (3, card.size, card.size):
        yield Finding("card-size", network.inputs[0], f"has the shape {door}, the card says size {card.size}")
    names = ("image",) if card.metadata is None else ("image", "metadata")
    if network.inputs != names:
        yield Finding(
            "card-inputs", "model.json", f"says the inputs {', '.join(names)}; they are {', '.join(network.inputs)}"
        )
    elif card.metadata is not None:
        shape = network.tensors["metadata"].shape[1:]
        if shape != (card.metadata.width,):
            yield Finding(
                "card-inputs", "metadata", f"has the shape {shape}, the card's fields have {card.metadata.width} slots"
            )
