"""Rewrites from network to network that keep what is computed: the normal form, the bias grid, readable names.

`normalise` brings what an exporter left behind into the one form that lint and every target expect: quantization on
tensors, activations fused into the operator before them, padding inside the convolution behind it.
"""

import itertools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from edgeskin.errors import GraphError
from edgeskin.graph.ir import (
    Activate,
    Add,
    Conv,
    ConvTranspose,
    HardSigmoid,
    HardSwish,
    Linear,
    Mul,
    Network,
    Node,
    Pad,
    Quantization,
    Requantize,
    Shape,
    Sigmoid,
    Softmax,
    Tensor,
)

FUSING = (Conv, ConvTranspose, Linear, Add, Mul)
"""The operators that can carry an activation."""

WEIGHTED = (Conv, ConvTranspose, Linear)
"""The operators with a weight and perhaps a bias."""

INT32 = np.iinfo(np.int32)


def normalise(network: Network) -> Network:
    """The same function in normal form; idempotent, exact on the quantized values."""
    for rewrite in (
        _tie_weights,
        _part_tails,
        _settle_quantization,
        _fuse_bias,
        _fuse_activations,
        _fuse_hard_swish,
        _absorb_padding,
    ):
        network = rewrite(network)
    return network


def _rebuild(
    network: Network,
    nodes: Iterable[Node],
    *,
    renamed: Mapping[str, str] | None = None,
    changed: Iterable[Tensor] = (),
) -> Network:
    """The network with other nodes; `renamed` redirects readers, `changed` tensors replace their namesakes."""
    redirect = dict(renamed or {})

    def resolve(name: str) -> str:
        while name in redirect:
            name = redirect[name]
        return name

    kept = tuple(replace(node, inputs=tuple(resolve(name) for name in node.inputs)) for node in nodes)
    used = {name for node in kept for name in (*node.inputs, node.output)} | {*network.inputs, *network.outputs}
    tensors = {**network.tensors, **{tensor.name: tensor for tensor in changed}}
    return replace(network, nodes=kept, tensors={name: tensors[name] for name in tensors if name in used})


def _until_stable(step: Callable[[Network], Network | None], network: Network) -> Network:
    while (found := step(network)) is not None:
        network = found
    return network


def untie_weights(network: Network) -> Network:
    """Every layer with a quantized weight of its own, a copy where several read one; `normalise` ties them again.

    Where the CPU has no VNNI, onnxruntime turns int8 weights beyond ±64 into uint8 ones under a name of the weight's:
    the second reader of one (CBAM, a mask read early as a gate) ends its start with "Attempt to replace the existing
    tensor" (1.31 and 1.32).
    """
    nodes, copies, seen = [], list[Tensor](), set[str]()
    for node in network.nodes:
        inputs = list(node.inputs)
        for position, tensor in enumerate(network.operands(node)):
            if not _is_weight(tensor):
                continue
            if tensor.name in seen:
                inputs[position] = next(
                    name for name in _numbered(tensor.name) if name not in seen and name not in network.tensors
                )
                copies.append(replace(tensor, name=inputs[position]))
            seen.add(inputs[position])
        nodes.append(replace(node, inputs=tuple(inputs)))
    return _rebuild(network, nodes, changed=copies) if copies else network


def _tie_weights(network: Network) -> Network:
    """Quantized weights of equal contents and scales -> one, under the name of the first."""
    first: dict[tuple[Quantization | None, Shape, bytes], str] = {}
    renamed: dict[str, str] = {}
    for node in network.nodes:
        for tensor in network.operands(node):
            if tensor.data is not None and _is_weight(tensor):
                known = first.setdefault((tensor.quantization, tensor.shape, tensor.data.tobytes()), tensor.name)
                if known != tensor.name:
                    renamed[tensor.name] = known
    return _rebuild(network, network.nodes, renamed=renamed) if renamed else network


def _is_weight(tensor: Tensor) -> bool:
    return tensor.is_constant and tensor.quantization is not None and tensor.quantization.axis is not None


def _part_tails(network: Network) -> Network:
    """A sigmoid or softmax that is an output and is read inside too -> one for each.

    An exporter joins what computes the same; but the output's stays float, and the gate inside has a scale.
    """
    nodes: list[Node] = []
    renamed: dict[str, str] = {}
    inner: list[Tensor] = []
    for node in network.nodes:
        nodes.append(node)
        output = node.output
        if output in network.outputs and isinstance(node.operator, (Sigmoid, Softmax)) and network.consumers(output):
            name = next(name for name in _numbered(f"{output}_inside") if name not in network.tensors)
            nodes.append(replace(node, name=f"{node.name}_inside", output=name))
            inner.append(replace(network.tensors[output], name=name))
            renamed[output] = name
    return _rebuild(network, nodes, renamed=renamed, changed=inner) if renamed else network


def _settle_quantization(network: Network) -> Network:
    """Move the scale of a Requantize onto the tensor it reads, wherever that changes nothing."""
    renamed: dict[str, str] = {}
    changed: dict[str, Tensor] = {}
    gone: set[str] = set()
    for name, tensor in network.tensors.items():
        readers = network.consumers(name)
        scales = [network.result(node).quantization for node in readers if isinstance(node.operator, Requantize)]
        if tensor.is_constant or not scales:
            continue
        settled = tensor.quantization
        private = len(scales) == len(readers) and name not in network.outputs
        if settled is None and private and scales[0] is not None and all(scale == scales[0] for scale in scales):
            settled = scales[0]
            changed[name] = replace(tensor, quantization=settled)
        for node in readers:
            redundant = isinstance(node.operator, Requantize) and network.result(node).quantization == settled
            if redundant and settled is not None and node.output not in network.outputs:
                renamed[node.output] = name
                gone.add(node.name)
    if not gone:
        return network
    rebuilt = _rebuild(
        network,
        (node for node in network.nodes if node.name not in gone),
        renamed=renamed,
        changed=changed.values(),
    )
    return _settle_quantization(rebuilt)


def _private(network: Network, tensor: str) -> bool:
    """Whether exactly one node, and nothing outside, reads `tensor`."""
    return len(network.consumers(tensor)) == 1 and tensor not in network.outputs


def _fuse_bias(network: Network) -> Network:
    """Linear without bias, then Add of a constant row -> Linear with bias."""

    def step(network: Network) -> Network | None:
        for node in network.nodes:
            if not isinstance(node.operator, Add):
                continue
            for position, name in enumerate(node.inputs):
                producer = network.producer(name)
                other = network.tensors[node.inputs[1 - position]]
                if (
                    producer is not None
                    and isinstance(producer.operator, Linear)
                    and len(producer.inputs) == 2
                    and producer.activation is None
                    and other.is_constant
                    and network.tensors[name].quantization is None
                    and _private(network, name)
                    and other.real().size == network.tensors[name].shape[1]
                ):
                    row = other.real().reshape(-1)
                    bias = Tensor(other.name, row.shape, None, row)
                    fused = replace(node, name=producer.name, operator=Linear(), inputs=(*producer.inputs, bias.name))
                    nodes = (fused if each is node else each for each in network.nodes if each is not producer)
                    return _rebuild(network, nodes, changed=[bias])
        return None

    return _until_stable(step, network)


def _fuse_activations(network: Network) -> Network:
    """Operator, then ReLU or ReLU6 -> one node, unless the tensor between them has another scale or other readers.

    With one scale s on both sides the fused form is exact: rounding is monotonic and keeps 0, so
    quantize(clip(x)) = clip(quantize(x)).
    """

    def step(network: Network) -> Network | None:
        for node in network.nodes:
            if not isinstance(node.operator, Activate):
                continue
            before = network.tensors[node.inputs[0]]
            producer = network.producer(before.name)
            if (
                producer is not None
                and isinstance(producer.operator, FUSING)
                and producer.activation is None
                and _private(network, before.name)
                and before.quantization in (None, network.result(node).quantization)
            ):
                fused = replace(producer, output=node.output, activation=node.activation)
                return _rebuild(
                    network, (fused if each is producer else each for each in network.nodes if each is not node)
                )
        return None

    return _until_stable(step, network)


def _fuse_hard_swish(network: Network) -> Network:
    """Mul(x, HardSigmoid(x)) -> HardSwish(x), where nothing between them is quantized."""

    def step(network: Network) -> Network | None:
        for gate in network.nodes:
            if not isinstance(gate.operator, HardSigmoid) or not _private(network, gate.output):
                continue
            product = network.consumers(gate.output)[0]
            if (
                isinstance(product.operator, Mul)
                and network.result(gate).quantization is None
                and sorted(product.inputs) == sorted((gate.inputs[0], gate.output))
                and product.activation is None
            ):
                fused = replace(product, operator=HardSwish(), inputs=gate.inputs)
                return _rebuild(
                    network, (fused if each is product else each for each in network.nodes if each is not gate)
                )
        return None

    return _until_stable(step, network)


def _absorb_padding(network: Network) -> Network:
    """Zero padding that only convolutions read, at the scale of its input -> their own (asymmetric) pads."""

    def step(network: Network) -> Network | None:
        for node in network.nodes:
            if not isinstance(node.operator, Pad) or node.operator.value != 0 or node.output in network.outputs:
                continue
            readers = network.consumers(node.output)
            source = network.tensors[node.inputs[0]]
            if (
                all(isinstance(reader.operator, Conv) for reader in readers)
                and min(node.operator.pads) >= 0
                and network.result(node).quantization in (None, source.quantization)
            ):
                return _rebuild(
                    network,
                    (_padded(each, node) if each in readers else each for each in network.nodes if each is not node),
                    renamed={node.output: source.name},
                )
        return None

    return _until_stable(step, network)


def _padded(conv: Node, padding: Node) -> Node:
    assert isinstance(conv.operator, Conv)
    assert isinstance(padding.operator, Pad)
    top, left, bottom, right = (a + b for a, b in zip(conv.operator.pads, padding.operator.pads, strict=True))
    return replace(conv, operator=replace(conv.operator, pads=(top, left, bottom, right)))


def saturated(value: float, quantization: Quantization) -> int:
    """The integer that stands for a real value: rounded half to even, saturated to int8."""
    return int(np.clip(np.rint(np.float32(value) / quantization.scale), -128, 127))


def bias_grid(x: Quantization, weight: Quantization) -> npt.NDArray[np.float32]:
    """The step of an integer accumulator, s_in · s_w as a float32 product: shape () or (O,)."""
    return np.asarray(x.scale * weight.scale, np.float32)


def bias_integers(bias: Tensor, grid: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """A bias in steps of its grid, rounded to whole numbers; float64, so that a lint can see what leaves int32."""
    return np.rint(bias.real().astype(np.float64) / grid.astype(np.float64))


def snap_biases(network: Network) -> Network:
    """Move every bias of an integer convolution or linear layer to its grid, so that every target holds it exactly.

    Raises: GraphError where a bias leaves int32, which means that a weight channel is all but dead.
    """
    changed: dict[str, Tensor] = {}
    for node in network.nodes:
        grid = node_grid(network, node)
        if grid is None or len(node.inputs) < 3:
            continue
        bias = network.tensors[node.inputs[2]]
        integers = bias_integers(bias, grid)
        if np.abs(integers).max(initial=0) > INT32.max:
            channel = int(np.abs(integers).argmax())
            raise GraphError(
                f"{node.name} ({node.kind}): bias {float(bias.real()[channel]):g} of channel {channel} leaves int32 "
                "in steps of s_in·s_w. Its weights are all but zero: give the weight observer a smallest scale"
            )
        snapped = Tensor(bias.name, bias.shape, None, (integers.astype(np.float32) * grid).astype(np.float32))
        if changed.setdefault(bias.name, snapped) != snapped:
            raise GraphError(
                f"{node.name} ({node.kind}): {bias.name} serves two layers with different scales; untie it"
            )
    return replace(network, tensors={**network.tensors, **changed})


def halve_weights(network: Network) -> Network:
    """Every float weight as the nearest float16 has it: what a network is when its weights are stored so."""
    weights = {node.inputs[1] for node in network.nodes if isinstance(node.operator, WEIGHTED)}
    halved = {
        name: replace(tensor, data=tensor.data.astype(np.float16).astype(np.float32))
        for name, tensor in network.tensors.items()
        if name in weights and tensor.data is not None and tensor.quantization is None
    }
    return replace(network, tensors={**network.tensors, **halved})


def halve(network: Network) -> Network:
    """Every float constant and every scale as the nearest float16 has it: a network where all that is float is float16.

    Weights stay the integers they are; biases leave their grid.
    """
    nodes = tuple(
        replace(node, operator=replace(node.operator, value=float(np.float16(node.operator.value))))
        if isinstance(node.operator, Pad)
        else node
        for node in network.nodes
    )
    return replace(network, nodes=nodes, tensors={name: _halved(tensor) for name, tensor in network.tensors.items()})


def _halved(tensor: Tensor) -> Tensor:
    quantization, data = tensor.quantization, tensor.data
    if quantization is not None:
        return replace(tensor, quantization=replace(quantization, scale=_nearest_half(quantization.scale)))
    return tensor if data is None else replace(tensor, data=_nearest_half(data))


def _nearest_half(values: npt.NDArray[np.generic]) -> npt.NDArray[np.float32]:
    with np.errstate(over="ignore"):
        return np.asarray(values.astype(np.float16), np.float32)


def weights_only(network: Network) -> Network:
    """The same weights, their integers and scales, and every activation float: what was rounded for activations is not.

    A requantization changes nothing then, and is gone.
    """
    network = without(network, lambda node: isinstance(node.operator, Requantize))
    weights = {node.inputs[1] for node in network.nodes if isinstance(node.operator, WEIGHTED)}
    tensors = {name: tensor if name in weights else _dequantized(tensor) for name, tensor in network.tensors.items()}
    return replace(network, tensors=tensors)


def without(network: Network, is_idle: Callable[[Node], bool]) -> Network:
    """Without the nodes that change nothing: who reads what they write reads what they read. Outputs stay."""
    behind: dict[str, str] = {}
    nodes = []
    for node in network.nodes:
        inputs = tuple(behind.get(name, name) for name in node.inputs)
        if node.output not in network.outputs and is_idle(node):
            behind[node.output] = inputs[0]
        else:
            nodes.append(replace(node, inputs=inputs))
    tensors = {name: tensor for name, tensor in network.tensors.items() if name not in behind}
    return replace(network, nodes=tuple(nodes), tensors=tensors)


def _dequantized(tensor: Tensor) -> Tensor:
    data = None if tensor.data is None else tensor.real()
    return replace(tensor, quantization=None, data=data)


def node_grid(network: Network, node: Node) -> npt.NDArray[np.float32] | None:
    """The bias grid of an integer convolution or linear layer; None for any other node."""
    if not isinstance(node.operator, WEIGHTED):
        return None
    x, weight = network.operands(node)[:2]
    if x.quantization is None or weight.quantization is None:
        return None
    return bias_grid(x.quantization, weight.quantization)


def rename(network: Network) -> Network:
    """Stable, readable names: a weighted layer after the module its bias came from, any other node by kind and number.

    A node that computes an output is called `<output>.<kind>`; its tensor keeps the output's name, inputs keep theirs.
    The float and the quantized export of one network get the same names.
    """
    modules = _module_names(network)
    taken = {*network.inputs, *network.outputs}
    counts: dict[str, int] = {}
    node_names: dict[str, str] = {}
    tensor_names = {name: name for name in (*network.inputs, *network.outputs)}
    for node in network.nodes:
        kind = re.sub(r"(?<!^)(?=[A-Z])", "_", node.kind).lower()
        if node.output in network.outputs:
            name = f"{node.output}.{kind}"
        elif node.name in modules:
            name = modules[node.name]
        else:
            counts[kind] = counts.get(kind, 0) + 1
            name = f"{kind}_{counts[kind]}"
        name = _unique(name, taken)
        node_names[node.name] = name
        tensor_names.setdefault(node.output, name)
        for role, operand in zip(
            _ROLES.get(type(node.operator), ("left", "right")), network.operands(node), strict=False
        ):
            if operand.is_constant:
                tensor_names.setdefault(operand.name, _unique(f"{name}.{role}", taken))
    nodes = (
        replace(
            node,
            name=node_names[node.name],
            inputs=tuple(tensor_names[name] for name in node.inputs),
            output=tensor_names[node.output],
        )
        for node in network.nodes
    )
    tensors = {tensor_names[name]: replace(tensor, name=tensor_names[name]) for name, tensor in network.tensors.items()}
    return replace(network, nodes=tuple(nodes), tensors=tensors)


_ROLES = dict.fromkeys(WEIGHTED, ("input", "weight", "bias"))


def _unique(name: str, taken: set[str]) -> str:
    """`name`, or `name_2` and so on; the answer is taken from then on."""
    chosen = next(candidate for candidate in _numbered(name) if candidate not in taken)
    taken.add(chosen)
    return chosen


def _numbered(name: str) -> Iterator[str]:
    return (name if number == 1 else f"{name}_{number}" for number in itertools.count(1))


def _module_names(network: Network) -> dict[str, str]:
    """Node name -> the module path in its bias's name, without what all paths begin with (`network.`).

    torch calls a bias `<module>.bias`, or `<module>.weight_bias` where batch norm was folded into a layer without one;
    `<module>.bias_2` and `<module>.weight_2_bias` belong to the second run of a layer.
    """
    paths: dict[str, str] = {}
    for node in network.nodes:
        if isinstance(node.operator, WEIGHTED) and len(node.inputs) > 2:
            path = re.sub(r"\.(weight_(\d+_)?)?bias(_\d+)?$", "", node.inputs[2])
            if path != node.inputs[2]:
                paths[node.name] = path
    parents = [path.split(".")[:-1] for path in paths.values()]
    shared = sum(1 for _ in itertools.takewhile(lambda level: len(set(level)) == 1, zip(*parents, strict=False)))
    return {name: ".".join(path.split(".")[shared:]) for name, path in paths.items()}
