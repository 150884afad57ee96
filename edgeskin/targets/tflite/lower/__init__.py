"""Lower a network to a TensorFlow Lite program: the same integers, in NHWC, without a transpose left inside.

A node whose tensors are all quantized becomes integer operators; any other runs in float32 between DEQUANTIZE and
QUANTIZE, which every delegate takes along. So do the few kinds that have no exact integer operator (`Site.integer`):
what one of them rounds otherwise, fifty layers behind it make larger.

Source of the rules: the quantization specification of TensorFlow Lite, and what its kernels demand.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

import numpy as np

from edgeskin.errors import TargetError
from edgeskin.graph.ir import (
    PIXEL_SCALE,
    Activate,
    Add,
    AveragePool,
    Concat,
    Conv,
    ConvTranspose,
    HardSigmoid,
    HardSwish,
    Linear,
    Max,
    MaxPool,
    Mean,
    Mul,
    Network,
    Node,
    Pad,
    Pixels,
    Requantize,
    Reshape,
    Resize,
    Sigmoid,
    Slice,
    Softmax,
)
from edgeskin.targets.tflite.lower.elementwise import (
    activate,
    hard_sigmoid,
    hard_swish,
    pair,
    rescale,
    sigmoid,
    softmax,
)
from edgeskin.targets.tflite.lower.layers import conv, conv_transpose, linear
from edgeskin.targets.tflite.lower.moves import concat, pad, pool, reduce, reshape, resize, slice_
from edgeskin.targets.tflite.lower.site import Draft, Site, own_name, scale
from edgeskin.targets.tflite.note import Tail
from edgeskin.targets.tflite.program import Program, Scale, Value, nhwc


def lower(network: Network, *, half: bool = False, raw_outputs: bool = False) -> Program:
    """The program that computes `network`, its outputs under their own names.

    half: weights of float layers are stored as float16. raw_outputs: every output ends at its integer logits. Raises:
    TargetError that names the node which the format has no exact words for, and says what to do.
    """
    logits: Mapping[str, str] = {}
    if raw_outputs:
        behind = {tail.node for tail in logits_of(network)}
        nodes = [node for node in network.nodes if node.name in behind]
        logits = {node.output: node.inputs[0] for node in nodes}
        network = replace(network, nodes=tuple(node for node in network.nodes if node.name not in behind))
    draft = Draft(network, half)
    for name in network.inputs:
        _enter(draft, name)
    for node in network.nodes:
        draft.owner = node.name
        _lower(draft, node)
    return draft.program({name: logits.get(name, name) for name in network.outputs})


def logits_of(network: Network) -> Iterator[Tail]:
    """What stands behind the integer logits of every output.

    Raises: TargetError where an output's logits are float, or more than a sigmoid or softmax stands behind them.
    """
    for output in network.outputs:
        node = network.producer(output)
        if node is None or not isinstance(node.operator, (Sigmoid, Softmax)):
            raise TargetError(f"{output}: does not end in a sigmoid or softmax; export it without raw outputs")
        if network.operands(node)[0].quantization is None:
            raise TargetError(f"{output}: its logits are kept in float; export it without raw outputs")
    for place, node in enumerate(network.nodes):
        if node.output in network.outputs:
            yield Tail(node.output, node.name, "softmax" if isinstance(node.operator, Softmax) else "sigmoid", place)


def _enter(draft: Draft, name: str) -> None:
    """An input as an app hands it over; quantized metadata is quantized at once."""
    tensor = draft.network.tensors[name]
    shape = nhwc(tensor.shape)
    if len(shape) == 4:
        draft.put(Value(name, shape, "uint8", Scale(np.asarray([PIXEL_SCALE], np.float32), 128)))
        return
    given = draft.put(Value(name, shape, "float32"))
    if tensor.quantization is not None:
        draft.owner = name
        draft.emit("QUANTIZE", (given,), draft.computed(own_name(name, "quantized"), shape, scale(tensor.quantization)))


def _lower(draft: Draft, node: Node) -> None:
    if node.name in draft.network.inputs:
        raise TargetError(f"{node.name} ({node.kind}): is called like an input; give the node another name")
    site = Site(draft, node, draft.network.operands(node), draft.network.result(node))
    rule = _RULES[type(node.operator)]
    if site.integer or site.result.quantization is None or rule in (_pixels, _requantize):
        rule(site)
        return
    linear = replace(site.result, name=draft.own("linear"), quantization=None)
    rule(replace(site, result=linear))
    site.emit("QUANTIZE", (draft.places[linear.name],), site.y())


def _pixels(site: Site) -> None:
    """(pixel − 128) / 128, exactly; integers by way of it.

    QUANTIZE would make int8 of uint8 at once, but no delegate takes it, and the interpreter's own took 0.14 ms for 224²
    pixels where these two take 0.02 (XNNPACK, AVX-512).
    """
    if site.result.quantization is None:
        site.emit("DEQUANTIZE", (site.here(0),), site.y())
        return
    real = site.inner("float", nhwc(site.result.shape), None)
    site.emit("QUANTIZE", (site.emit("DEQUANTIZE", (site.here(0),), real),), site.y())


def _requantize(site: Site) -> None:
    before, after = site.tensors[0].quantization, site.result.quantization
    if before is None and after is None:
        raise site.refuse("changes nothing; export the graph again")
    if before is not None and after is not None:
        rescale(site)
        return
    site.emit("DEQUANTIZE" if after is None else "QUANTIZE", (site.here(0),), site.y())


_RULES: Mapping[type, Callable[[Site], None]] = {
    Pixels: _pixels,
    Requantize: _requantize,
    Conv: conv,
    ConvTranspose: conv_transpose,
    Linear: linear,
    Add: pair,
    Mul: pair,
    Concat: concat,
    Resize: resize,
    MaxPool: pool,
    AveragePool: pool,
    Mean: reduce,
    Max: reduce,
    Sigmoid: sigmoid,
    Softmax: softmax,
    HardSigmoid: hard_sigmoid,
    HardSwish: hard_swish,
    Activate: activate,
    Pad: pad,
    Reshape: reshape,
    Slice: slice_,
}
"""How each kind is said in operators of TensorFlow Lite."""
