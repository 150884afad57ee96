"""Lower a network to an ML program: every scale as it is, all arithmetic in floats between `dequantize` and `quantize`.

That is how Core ML has integers: a device that multiplies integers joins what stands between the two, any other
computes the floats as written. Weights stay int8 in the file, with a scale a channel. Nothing here is left to a pass of
the converter: one of them drops a change of scale between two quantizations without a word.

Source of the rules: the operators of MIL for iOS 17, in coremltools' own documentation of each.
"""

from dataclasses import dataclass
from typing import Any

from edgeskin.graph.ir import Network, Node
from edgeskin.optional import require
from edgeskin.targets.coreml.lower.rules import FLOAT16, rule_of
from edgeskin.targets.coreml.lower.site import Draft, Site, fixed, own_name

FLOAT32 = "fp32"


@dataclass(frozen=True)
class Lowered:
    """A program of MIL, as coremltools has it, and what its values are called in the network.

    nodes: the node behind the value that it ends in. tensors: those whose identifier is not their name.
    """

    program: Any
    nodes: dict[str, str]
    tensors: dict[str, str]


def lower(network: Network, *, half: bool = False) -> Lowered:
    """The program that computes `network`, its inputs and outputs under their own names.

    half: in float16 between the operators. Raises: TargetError that names the node which the format has no exact words
    for, and says what to do.
    """
    mil = require("coremltools.converters.mil.mil")
    target = require("coremltools").target.iOS17
    draft = Draft(network, half)
    inputs = {
        name: draft.build.placeholder(shape=fixed(network.tensors[name]), dtype=mil.types.fp32)
        for name in network.inputs
    }
    program = mil.Program()
    with mil.Function(inputs, opset_version=target) as function:
        for name in network.inputs:
            _enter(draft, name, function.inputs[name])
        ends = {node.output: _lower(draft, node) for node in network.nodes}
        function.set_outputs([ends[name] for name in network.outputs])
    program.add_function("main", function)
    nodes = {draft.identifiers[node.output]: node.name for node in network.nodes}
    names = {identifier: name for name, identifier in draft.identifiers.items() if identifier != name}
    return Lowered(program, nodes, names)


def _enter(draft: Draft, name: str, value: Any) -> None:
    """An input as an app hands it over; metadata in the program's float, and quantized, at once."""
    tensor = draft.network.tensors[name]
    if len(tensor.shape) == 2:
        if draft.half:
            value = draft.build.cast(x=value, dtype=FLOAT16, name=own_name(name, "half"))
        if tensor.quantization is not None:
            value = draft.quantize(value, tensor.quantization, own_name(name, "quantized"))
    draft.values[name] = value


def _lower(draft: Draft, node: Node) -> Any:
    """Write a node; the value that carries its result's identifier."""
    network = draft.network
    site = Site(draft, node, network.operands(node), network.result(node))
    result = site.result
    value = rule_of(node.operator)(site)
    if node.activation is not None:
        value = getattr(draft.build, node.activation)(x=value, name=site.name(node.activation))
    if result.quantization is not None:
        if result.name in network.outputs:
            raise site.refuse("an output must be float; export the graph again")
        value = draft.quantize(value, result.quantization, site.name("quantized"))
    draft.values[result.name] = end = value
    if draft.half and result.name in network.outputs:
        end = draft.build.cast(x=value, dtype=FLOAT32, name=site.name("whole"))
    if end.name in draft.network.inputs or not end.name.startswith(own_name(draft.identifiers[result.name], "")):
        raise site.refuse("computes nothing; export the graph again")
    end.name = end.op.name = draft.identifiers[result.name]
    return end
