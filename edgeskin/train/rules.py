"""What the QAT contract says of every operator that training may meet, by the name that torch.export gives it.

An operator absent from these tables is refused: nothing falls back to float.

Hard-swish is an operator with a scale of its own on either side, the sum before it included, not an activation that a
convolution absorbs: no target's integer convolution ends in one, while all of them can lower it alone (TFLite as
depthwise 1×1 and multiply). A gate, hard-sigmoid or sigmoid, has the fixed scale 1/128, at which 1.0 is stored as
127/128; training saturates as devices do, so the network learns with that gate.

What only moves or selects values keeps their scale; the maximum over an axis too, to which TFLite gives no other. A
mean, of a map or of a window, has a scale of its own: at its input's it is coarse, and the mean of four integers is a
tie one time in four, which every engine rounds its own way.
"""

from collections.abc import Mapping
from types import MappingProxyType

import torch
from torch import Tensor, fx

from edgeskin.errors import GraphError

aten = torch.ops.aten

CLIPS = frozenset(
    {
        aten.relu.default,
        aten.relu_.default,
        aten.relu6.default,
        aten.relu6_.default,
        aten.hardtanh.default,
        aten.hardtanh_.default,
        aten.clamp.default,
    }
)
"""ReLU and ReLU6 as torch spells them."""

_BOUNDED = frozenset({aten.hardtanh.default, aten.hardtanh_.default, aten.clamp.default})

GATES = frozenset({aten.sigmoid.default, aten.hardsigmoid.default, aten.hardsigmoid_.default})

MEANS = frozenset({aten.avg_pool2d.default, aten.mean.dim})
"""Of a window, and of a map."""

ELEMENTWISE = frozenset({aten.add.Tensor, aten.mul.Tensor})

WEIGHT_AXIS: Mapping[object, int] = MappingProxyType(
    {aten.conv2d.default: 0, aten.linear.default: 0, aten.conv_transpose2d.input: 1}
)
"""The operators with a weight, and along which of its axes the output channels lie."""

OWN_SCALE = frozenset(
    {
        *WEIGHT_AXIS,
        *CLIPS,
        *ELEMENTWISE,
        *MEANS,
        aten.batch_norm.default,
        aten.hardswish.default,
        aten.hardswish_.default,
    }
)

SHARED_SCALE = frozenset(
    {
        aten.amax.default,
        aten.cat.default,
        aten.dropout.default,
        aten.flatten.using_ints,
        aten.max_pool2d.default,
        aten.pad.default,
        aten.reshape.default,
        aten.slice.Tensor,
        aten.unsqueeze.default,
        aten.upsample_bilinear2d.vec,
        aten.upsample_nearest2d.vec,
        aten.view.default,
    }
)

_CONVOLUTIONS = frozenset({aten.conv2d.default, aten.conv_transpose2d.input})

ABSORBING: Mapping[object, frozenset[object]] = MappingProxyType(
    {
        aten.batch_norm.default: _CONVOLUTIONS,
        **dict.fromkeys(CLIPS, frozenset({*WEIGHT_AXIS, *ELEMENTWISE, aten.batch_norm.default})),
    }
)
"""Which operator absorbs its producer, so that quantization stands behind both and not between them."""


def check(node: fx.Node) -> None:
    """Refuse what the contract has no rule for, or what torchao would change without a word.

    Raises: GraphError that names the node and its operator.
    """
    if node.target not in OWN_SCALE | SHARED_SCALE | GATES:
        raise GraphError(f"{node.name}: operator {node.target} has no rule in the QAT contract (train/rules.py)")
    if node.target in ELEMENTWISE and sum(not is_parameter(source) for source in tensor_inputs(node)) < 2:
        raise GraphError(f"{node.name}: {node.target} with a constant; fold it into the weights before or behind it")
    if node.target in WEIGHT_AXIS and any(
        isinstance(bias, fx.Node) and bias.op != "get_attr" for bias in node.args[2:3]
    ):
        raise GraphError(f"{node.name}: its bias is computed; store it, so that it can move to its integer grid")
    if node.target in _BOUNDED and tuple(node.args[1:3]) != (0, 6):
        raise GraphError(
            f"{node.name}: {node.target} clips to {list(node.args[1:3])}; only relu and relu6 are supported"
        )
    if node.target == aten.conv_transpose2d.input and (*node.args, *(1,) * 7)[6] != 1:
        raise GraphError(f"{node.name}: a transposed convolution in groups, which TFLite lacks; use one group")
    if node.target == aten.batch_norm.default:
        _check_batch_norm(node)


def _check_batch_norm(node: fx.Node) -> None:
    """Batch norm must be one that torchao folds as it is. Raises: GraphError."""
    if not is_absorbed(node.args[0]):
        raise GraphError(
            f"{node.name}: batch norm folds only into a convolution directly before it that nothing else reads; "
            "move it there, or leave it out"
        )
    statistics = node.args[3]
    if isinstance(statistics, fx.Node) and sum(user.target == node.target for user in statistics.users) > 1:
        raise GraphError(
            f"{node.name}: this batch norm runs twice; the runs see different values, so give each run its own and let "
            "them share the convolution"
        )
    momentum, eps = node.args[6:8]
    if (momentum, eps) != (0.1, 1e-5):
        raise GraphError(
            f"{node.name}: batch norm with momentum {momentum} and eps {eps}; torchao trains and folds with 0.1 and "
            "1e-05 whatever stands there. Use these; add another eps, less 1e-05, to the running variance at the start"
        )


def is_parameter(node: fx.Node) -> bool:
    """Whether a node is stored, or computed from what is stored alone (a weight seen in another shape)."""
    if node.op != "call_function":
        return node.op == "get_attr"
    sources = tensor_inputs(node)
    return bool(sources) and all(is_parameter(source) for source in sources)


def is_real(node: fx.Node) -> bool:
    """Whether a node computes real numbers; batch norm's step counter and symbolic sizes do not."""
    value = node.meta.get("val")
    return isinstance(value, Tensor) and value.is_floating_point()


def tensor_inputs(node: fx.Node) -> list[fx.Node]:
    """The tensors that flow into an operator, in its order; not its weights."""
    first = node.args[0] if node.args else None
    items = first if isinstance(first, (list, tuple)) else node.args[: 2 if node.target in ELEMENTWISE else 1]
    return [item for item in items if isinstance(item, fx.Node)]


def is_absorbed(node: object) -> bool:
    """Whether `node`'s only reader is an activation or batch norm that absorbs it."""
    if not isinstance(node, fx.Node) or len(node.users) != 1:
        return False
    (user,) = node.users
    return node.target in ABSORBING.get(user.target, frozenset())
