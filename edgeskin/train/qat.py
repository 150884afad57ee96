"""Quantization-aware training under the QAT contract, through torchao's PT2E.

The quantizer is our own: torchao's ready-made ones are asymmetric, private, or silently leave operators in float. It
annotates every tensor of the network by one table of operator kinds (`train/rules.py`), refuses an operator that is
not in the table, and so makes an undeclared float island impossible from the start.

    prepared = prepare(network, image)       # or (network, image, metadata): batch norm fused for training, fake
    …train…                                  # quantization everywhere
    freeze_observers(prepared)               # near the end; activation scales become fp16-representable
    freeze_batch_norm(prepared)
    to_evaluation(prepared)                  # to_training leads back

A network returns the logits of its heads, then whatever else training wants of it. It may run a convolution twice; its
batch norm must be one for each run, because the two runs see different values.
"""

# mypy: allow-subclassing-any
# torchao has no type information, and its Quantizer is made to be subclassed.

from dataclasses import replace

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

from edgeskin.contract.metadata import METADATA_SCALE
from edgeskin.errors import GraphError
from edgeskin.graph.ir import PIXEL_SCALE
from edgeskin.train.fake_quantize import ActivationFakeQuantize
from edgeskin.train.rules import (
    ABSORBING,
    GATES,
    MEANS,
    SHARED_SCALE,
    WEIGHT_AXIS,
    check,
    is_absorbed,
    is_parameter,
    is_real,
    tensor_inputs,
)

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
    observer_or_fake_quant_ctr=ActivationFakeQuantize.with_args(
        observer=MovingAverageMinMaxObserver, eps=SMALLEST_SCALE
    ),
)


def _weight(axis: int) -> QuantizationSpec:
    """A weight's range is that of the weight itself at every step, never a memory of older ones: the file that is
    written then holds exactly what was trained.

    axis: of the output channels. The observer is told by name; torchao drops `ch_axis` of a specification.
    """
    return QuantizationSpec(
        dtype=torch.int8,
        quant_min=-127,
        quant_max=127,
        qscheme=torch.per_channel_symmetric,
        ch_axis=axis,
        observer_or_fake_quant_ctr=FakeQuantize.with_args(
            observer=MovingAveragePerChannelMinMaxObserver, averaging_constant=1.0, eps=2.0**-20, ch_axis=axis
        ),
    )


WEIGHTS = {operator: _weight(axis) for operator, axis in WEIGHT_AXIS.items()}
PIXEL = FixedQParamsQuantizationSpec(
    dtype=torch.int8, scale=PIXEL_SCALE, zero_point=0, quant_min=-128, quant_max=127, qscheme=torch.per_tensor_symmetric
)
GATE = PIXEL
METADATA = replace(PIXEL, scale=METADATA_SCALE)
INPUTS = (PIXEL, METADATA)
"""Of `image` and `metadata`, in the order of the network's arguments."""


class ContractQuantizer(Quantizer):
    """Annotates a whole exported network with the QAT contract of the architecture.

    Symmetric int8 activations and per-channel weights; one scale for what meets in a concatenation, resizes and pools
    included; quantization after the activation, never before it; each head's logits the last quantized tensor.
    """

    def __init__(self) -> None:
        super().__init__()
        self.written: dict[fx.Node, QuantizationSpecBase] = {}
        """How each tensor is quantized where it is written; equal where it is read, so that torchao shares them."""

    def annotate(self, model: fx.GraphModule) -> fx.GraphModule:
        """Attach the specification of every tensor to its node.

        Raises: GraphError naming the first operator the contract has no rule for.
        """
        inputs = [node for node in model.graph.nodes if node.op == "placeholder"]
        if len(inputs) > len(INPUTS):
            raise GraphError(f"{inputs[len(INPUTS)].name}: a third input; a network takes an image, and metadata")
        for node, specification in zip(inputs, INPUTS, strict=False):
            self._annotate(node, {}, specification)
        for node in model.graph.nodes:
            if node.op == "call_function" and is_real(node) and not is_parameter(node):
                check(node)
                self._annotate_operator(node)
        return model

    def _annotate_operator(self, node: fx.Node) -> None:
        sources = tensor_inputs(node)
        if node.target in SHARED_SCALE:
            self._annotate_shared(node, sources)
            return
        absorbs_its_input = node.target in ABSORBING and is_absorbed(node.args[0])
        inputs = {} if absorbs_its_input else {source: self._read(source) for source in sources}
        if node.target in WEIGHTS:
            weight = node.args[1]
            assert isinstance(weight, fx.Node)
            inputs[weight] = WEIGHTS[node.target]
        if node.target in GATES:
            self._annotate(node, inputs, GATE)
        else:
            self._annotate(node, inputs, None if is_absorbed(node) else ACTIVATION)

    def _annotate_shared(self, node: fx.Node, sources: list[fx.Node]) -> None:
        """One scale on all sides. What has another, fixed one, as metadata has, is quantized again before it joins."""
        first, *others = dict.fromkeys(sources)
        alike = all(self._read(source) == self._read(first) for source in others)
        shared = SharedQuantizationSpec((first, node))
        root = self._read(first) if alike else ACTIVATION
        self._annotate(node, {first: root, **dict.fromkeys(others, shared)}, shared)
        self.written[node] = root

    def _annotate(
        self,
        node: fx.Node,
        inputs: dict[fx.Node, QuantizationSpecBase],
        output: QuantizationSpecBase | None,
    ) -> None:
        node.meta["quantization_annotation"] = QuantizationAnnotation(
            input_qspec_map=inputs, output_qspec=output, _annotated=True
        )
        if output is not None:
            self.written[node] = output

    def _read(self, source: fx.Node) -> QuantizationSpecBase:
        return self.written.get(source, ACTIVATION)

    def validate(self, model: fx.GraphModule) -> None:
        """Nothing is left to check: an operator without a rule was refused while annotating."""


def prepare(network: nn.Module, *example: Tensor) -> fx.GraphModule:
    """A network with fake quantization on every tensor of the contract and batch norm fused for training.

    Shapes: example image (B, 3, S, S), and metadata (B, M) if the network takes it, B ≥ 2; the batch stays dynamic. The
    float network is used up: both hold the same parameters.

    Raises: GraphError naming the first operator the contract has no rule for.
    """
    batch = torch.export.Dim("batch", min=1, max=4096)
    network.train()
    exported = torch.export.export(network, example, dynamic_shapes=tuple({0: batch} for _ in example)).module()
    assert isinstance(exported, fx.GraphModule)
    prepared: fx.GraphModule = prepare_qat_pt2e(exported, ContractQuantizer())
    _leave_dropout_unquantized(prepared)
    return prepared


def _leave_dropout_unquantized(prepared: fx.GraphModule) -> None:
    """Take fake quantization from behind dropout, but not its modules, so that older states still fit.

    What dropout scales up, by 1/(1 − p), exists in training alone; observed, it widens a range of what devices compute.
    """
    for dropout in [node for node in prepared.graph.nodes if node.target == aten.dropout.default]:
        for reader in [node for node in dropout.users if node.op == "call_module"]:
            reader.replace_all_uses_with(dropout)
            prepared.graph.erase_node(reader)
    prepared.recompile()


def materialise(prepared: fx.GraphModule, size: int, metadata: int | None = None) -> None:
    """Give every observer's tensors their shape, which they otherwise take at the first batch, before loading a state.

    metadata: width of the second input, if there is one. What the observers and batch norm learn from this one grey
    image is wrong, and is meant to be overwritten.
    """
    example = [torch.zeros(2, 3, size, size)] + ([] if metadata is None else [torch.zeros(2, metadata)])
    with torch.no_grad():
        prepared(*example)


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
        _set_scale(module, module.scale.half())
    _tell_means_apart(prepared)


def _set_scale(module: FakeQuantizeBase, scale: Tensor) -> None:
    """A scale (1,) of fp16, for good. Conversion derives it from the range again: ±127.5 steps, exact in fp32."""
    module.scale.copy_(scale.float())
    observer = module.activation_post_process
    observer.max_val.copy_(module.scale.reshape(observer.max_val.shape) * 127.5)
    observer.min_val.copy_(-observer.max_val)


def _tell_means_apart(prepared: fx.GraphModule) -> None:
    """A mean whose scale came out as its input's, by chance, takes the next wider one of fp16.

    The contract wants another than the input's, at which means of integers are ties.
    """
    for mean in [node for node in prepared.graph.nodes if node.target in MEANS]:
        before, after = (prepared.get_submodule(str(each.target)) for each in (mean.args[0], *mean.users))
        assert isinstance(before, FakeQuantizeBase)
        assert isinstance(after, FakeQuantizeBase)
        if after is not before and torch.equal(after.scale, before.scale):
            _set_scale(after, (after.scale.half().view(torch.int16) + 1).view(torch.half))


def freeze_batch_norm(prepared: fx.GraphModule) -> None:
    """Batch norm uses its running statistics from now on, in training as it will in the exported file."""
    for node in prepared.graph.nodes:
        if node.target == aten.batch_norm.default:
            node.update_arg(5, False)
    prepared.recompile()


def to_training(prepared: fx.GraphModule) -> None:
    """Dropout drops, and batch norm learns from every batch, that of `freeze_batch_norm` too: freeze it again after.

    torchao's own switch puts dropout at 0.5, whatever the network's was.
    """
    _switch(prepared, training=True)


def to_evaluation(prepared: fx.GraphModule) -> None:
    """Dropout off, batch norm on its statistics; what is converted is in this state."""
    _switch(prepared, training=False)


def _switch(prepared: fx.GraphModule, *, training: bool) -> None:
    flags = {aten.batch_norm.default: 5, aten.dropout.default: 2}
    for node in prepared.graph.nodes:
        if node.target in flags:
            node.update_arg(flags[node.target], training)
        elif _is_fold(node):
            node.target = _standing_still if training else aten.div.Tensor
    prepared.recompile()


def _is_fold(node: fx.Node) -> bool:
    """Whether a node is γ/σ: weights are multiplied by it before they are quantized, and the result divided after."""
    divides = node.target in {aten.div.Tensor, _standing_still}
    return divides and isinstance(node.args[1], fx.Node) and node.args[1].target == aten.sqrt.default


def _standing_still(gain: Tensor, deviation: Tensor) -> Tensor:
    """γ/σ as a constant. Each channel's weights are quantized by their own range, which grows with this factor, so that
    multiplying and dividing by it cancel, and the derivative is zero.

    torchao's graph follows it all the same, in passes over the result of every convolution that take a fifth of a step,
    and gives γ the rounding of its weights for a gradient.
    """
    return (gain / deviation).detach()
