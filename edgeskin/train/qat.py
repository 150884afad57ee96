"""Quantization-aware training under the QAT contract, through torchao's PT2E.

The quantizer is our own: torchao's ready-made ones are asymmetric, private, or silently leave operators in float. It
annotates every tensor of the network by one table of operator kinds, refuses an operator that is not in the table, and
so makes an undeclared float island impossible from the start.

    prepared = prepare(network, example)     # batch norm fused for training, fake quantization everywhere
    …train…
    freeze_observers(prepared)               # near the end; activation scales become fp16-representable
    freeze_batch_norm(prepared)
"""

# mypy: allow-subclassing-any
# torchao has no type information, and its Quantizer is made to be subclassed.

from collections.abc import Mapping
from types import MappingProxyType

import torch
from torch import Tensor, fx, nn
from torchao.quantization.pt2e import (
    FakeQuantize,
    FakeQuantizeBase,
    FixedQParamsFakeQuantize,
    MovingAverageMinMaxObserver,
    MovingAveragePerChannelMinMaxObserver,
)
from torchao.quantization.pt2e.quantize_pt2e import prepare_qat_pt2e
from torchao.quantization.pt2e.quantizer import (
    FixedQParamsQuantizationSpec,
    QuantizationAnnotation,
    QuantizationSpec,
    QuantizationSpecBase,
    Quantizer,
    SharedQuantizationSpec,
)

from edgeskin.errors import GraphError
from edgeskin.graph.ir import PIXEL_SCALE

aten = torch.ops.aten

SMALLEST_SCALE = 2.0**-12
"""Keeps a scale normal in fp16, whose smallest normal number is 2^−14, whatever a dead tensor observes."""

# Not torchao's fused module: its kernel divides by 127 or 128 where conversion divides by 127.5, so that the file would
# hold other scales than were trained.
ACTIVATION = QuantizationSpec(
    dtype=torch.int8,
    quant_min=-128,
    quant_max=127,
    qscheme=torch.per_tensor_symmetric,
    observer_or_fake_quant_ctr=FakeQuantize.with_args(observer=MovingAverageMinMaxObserver, eps=SMALLEST_SCALE),
)
WEIGHT = QuantizationSpec(
    dtype=torch.int8,
    quant_min=-127,
    quant_max=127,
    qscheme=torch.per_channel_symmetric,
    ch_axis=0,
    observer_or_fake_quant_ctr=FakeQuantize.with_args(
        observer=MovingAveragePerChannelMinMaxObserver, averaging_constant=1.0, eps=2.0**-20
    ),
)
"""A weight's range is that of the weight itself at every step, never a memory of older ones: the file that is written
then holds exactly what was trained."""


PIXEL = FixedQParamsQuantizationSpec(
    dtype=torch.int8, scale=PIXEL_SCALE, zero_point=0, quant_min=-128, quant_max=127, qscheme=torch.per_tensor_symmetric
)

# How each operator's output is quantized. An operator absent here is refused.
OWN_SCALE = {
    aten.conv2d.default,
    aten.linear.default,
    aten.batch_norm.default,
    aten.relu.default,
    aten.relu_.default,
    aten.hardtanh.default,
    aten.hardtanh_.default,
    aten.add.Tensor,
    aten.mul.Tensor,
    aten.mean.dim,
}
SHARED_SCALE = {
    aten.cat.default,
    aten.upsample_bilinear2d.vec,
    aten.max_pool2d.default,
    aten.pad.default,
    aten.dropout.default,
    aten.flatten.using_ints,
}
WEIGHTED = {aten.conv2d.default, aten.linear.default}
ABSORBING: Mapping[object, frozenset[object]] = MappingProxyType(
    {
        aten.batch_norm.default: frozenset({aten.conv2d.default}),
        **{
            clip: frozenset({aten.conv2d.default, aten.linear.default, aten.batch_norm.default, aten.add.Tensor})
            for clip in (aten.relu.default, aten.relu_.default, aten.hardtanh.default, aten.hardtanh_.default)
        },
    }
)
"""Which operator absorbs its producer, so that quantization stands behind both and not between them."""


class ContractQuantizer(Quantizer):
    """Annotates a whole exported network with the QAT contract of the architecture.

    Symmetric int8 activations and per-channel weights; one scale for what meets in a concatenation, resizes and pools
    included; quantization after the activation, never before it; each head's logits the last quantized tensor.
    """

    def annotate(self, model: fx.GraphModule) -> fx.GraphModule:
        """Attach the specification of every tensor to its node.

        Raises: GraphError naming the first operator the contract has no rule for.
        """
        for node in model.graph.nodes:
            if node.op == "placeholder":
                node.meta["quantization_annotation"] = QuantizationAnnotation(output_qspec=PIXEL, _annotated=True)
            elif node.op == "call_function" and _is_real(node):
                self._annotate_operator(node)
        return model

    def _annotate_operator(self, node: fx.Node) -> None:
        if node.target not in OWN_SCALE | SHARED_SCALE:
            raise GraphError(f"{node.name}: operator {node.target} has no rule in the QAT contract (train/qat.py)")
        absorbs_its_input = node.target in ABSORBING and _is_absorbed(node.args[0])
        inputs: dict[fx.Node, QuantizationSpecBase] = {}
        sources = _tensor_inputs(node)
        if not absorbs_its_input:
            for source in sources:
                inputs[source] = _output_spec(source)
        if node.target in WEIGHTED:
            weight = node.args[1]
            assert isinstance(weight, fx.Node)
            inputs[weight] = WEIGHT
        output: QuantizationSpecBase | None = None
        if node.target in SHARED_SCALE:
            first = (sources[0], node)
            for source in sources[1:]:
                inputs[source] = SharedQuantizationSpec(first)
            output = SharedQuantizationSpec(first)
        elif not _is_absorbed(node):
            output = ACTIVATION
        node.meta["quantization_annotation"] = QuantizationAnnotation(
            input_qspec_map=inputs, output_qspec=output, _annotated=True
        )

    def validate(self, model: fx.GraphModule) -> None:
        """Nothing is left to check: an operator without a rule was refused while annotating."""


def _is_real(node: fx.Node) -> bool:
    """Whether a node computes real numbers; batch norm's step counter and symbolic sizes do not."""
    value = node.meta.get("val")
    return isinstance(value, Tensor) and value.is_floating_point()


def _tensor_inputs(node: fx.Node) -> list[fx.Node]:
    first = node.args[0]
    if isinstance(first, (list, tuple)):
        return [item for item in first if isinstance(item, fx.Node)]
    limit = 2 if node.target in (aten.add.Tensor, aten.mul.Tensor) else 1
    return [item for item in node.args[:limit] if isinstance(item, fx.Node)]


def _is_absorbed(node: object) -> bool:
    """Whether `node`'s only reader is an activation or batch norm that absorbs it."""
    if not isinstance(node, fx.Node) or len(node.users) != 1:
        return False
    (user,) = node.users
    return node.target in ABSORBING.get(user.target, frozenset())


def _output_spec(node: fx.Node) -> QuantizationSpecBase:
    """The specification of a tensor where it is read; equal to that where it is written, so torchao shares them."""
    while node.target in SHARED_SCALE:
        node = _tensor_inputs(node)[0]
    return PIXEL if node.op == "placeholder" else ACTIVATION


def prepare(network: nn.Module, example: Tensor) -> fx.GraphModule:
    """A network with fake quantization on every tensor of the contract and batch norm fused for training.

    Shapes: example (B, 3, S, S), B ≥ 2; the batch stays dynamic. The float network is used up: both hold the same
    parameters.
    """
    batch = torch.export.Dim("batch", min=1, max=4096)
    network.train()
    exported = torch.export.export(network, (example,), dynamic_shapes=({0: batch},)).module()
    assert isinstance(exported, fx.GraphModule)
    prepared: fx.GraphModule = prepare_qat_pt2e(exported, ContractQuantizer())
    return prepared


def materialise(prepared: fx.GraphModule, size: int) -> None:
    """Give every observer's tensors their shape, which they otherwise take at the first batch, before loading a state.

    What the observers and batch norm learn from this one grey image is wrong, and is meant to be overwritten.
    """
    with torch.no_grad():
        prepared(torch.zeros(2, 3, size, size))


def fake_quantizers(prepared: fx.GraphModule) -> list[FakeQuantizeBase]:
    """Every fake-quantization module once."""
    return [module for module in prepared.modules() if isinstance(module, FakeQuantizeBase)]


def freeze_observers(prepared: fx.GraphModule) -> None:
    """Activation ranges stop following the data, and their scales round to fp16, so that fp16 targets hold them too.

    A weight's range goes on being that of the weight.
    """
    for module in fake_quantizers(prepared):
        if isinstance(module, FixedQParamsFakeQuantize) or module.is_per_channel:
            continue
        module.disable_observer()
        module.scale.copy_(module.scale.half().float())
        # Conversion derives the scale from the observed range again: ±127.5 steps, exact in fp32 for an fp16 scale.
        observer = module.activation_post_process
        observer.max_val.copy_(module.scale.reshape(observer.max_val.shape) * 127.5)
        observer.min_val.copy_(-observer.max_val)


def freeze_batch_norm(prepared: fx.GraphModule) -> None:
    """Batch norm uses its running statistics from now on, in training as it will in the exported file."""
    for node in prepared.graph.nodes:
        if node.target == aten.batch_norm.default:
            node.update_arg(5, False)
    prepared.recompile()
