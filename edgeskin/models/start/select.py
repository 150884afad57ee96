"""A narrower encoder from a wide one: the strongest channels are kept, wherever they are read.

A channel's strength is the size of its gain in batch norm, |γ|: the standard deviation of what it gives before its
activation (Liu et al. 2017, "Learning efficient convolutional networks through network slimming", which prunes by it).
Where a sum ties several layers to the same channels, it is the L1 norm of all their gains; a depthwise convolution
speaks for the expansion before it; a gate's hidden layer, which has no batch norm, is judged by the L1 norm of its
filters.
"""

from collections.abc import Sequence
from typing import TypeAlias

import torch
from torch import Tensor, nn

from edgeskin.models.blocks import ConvNormAct, Gate, InvertedResidual
from edgeskin.models.encoder import Encoder
from edgeskin.models.mobilenet import MobileNetV2
from edgeskin.models.mobilenet_v3 import MobileNetV3
from edgeskin.models.squeezenet import SqueezeNet

MobileNet: TypeAlias = MobileNetV2 | MobileNetV3


def select_channels(wide: Encoder, narrow: Encoder) -> None:
    """Fill an encoder from one of the same name and no less width with the wide one's strongest channels.

    Each layer keeps its channels in their order, so equal widths give an equal network. What the channels left out had
    contributed is lost, and running statistics are those of the wide network until training renews them.
    """
    assert wide.name == narrow.name
    with torch.no_grad():
        if isinstance(wide, SqueezeNet) and isinstance(narrow, SqueezeNet):
            _select_fires(wide, narrow)
        elif isinstance(wide, MobileNetV2 | MobileNetV3) and isinstance(narrow, MobileNetV2 | MobileNetV3):
            _select_blocks(wide, narrow)


def _select_blocks(wide: MobileNet, narrow: MobileNet) -> None:
    kept = [_strongest(group, _width(layers[0])) for group, layers in zip(_sums(wide), _sums(narrow), strict=True)]
    outputs = kept.pop(0)
    _copy(wide.stem, narrow.stem, torch.arange(3), outputs)
    for source, target in zip(wide.blocks(), narrow.blocks(), strict=True):
        inputs = outputs
        if not source.residual:
            outputs = kept.pop(0)
        _copy_block(source, target, inputs, outputs)
    _copy(wide.last, narrow.last, outputs, _strongest([wide.last], _width(narrow.last)))


def _sums(encoder: MobileNet) -> list[list[ConvNormAct]]:
    """The layers whose outputs are the same channels because sums join them; by order of the first of each."""
    groups = [[encoder.stem]]
    for block in encoder.blocks():
        if not block.residual:
            groups.append([])
        groups[-1].append(_convolutions(block)[-1])
    return groups


def _convolutions(block: InvertedResidual) -> list[ConvNormAct]:
    """The expansion where there is one, the depthwise convolution, the projection."""
    return [layer for layer in block.layers if isinstance(layer, ConvNormAct)]


def _copy_block(source: InvertedResidual, target: InvertedResidual, inputs: Tensor, outputs: Tensor) -> None:
    *before, projection = zip(_convolutions(source), _convolutions(target), strict=True)
    *expansion, depthwise = before
    hidden = _strongest([depthwise[0]], _width(depthwise[1])) if expansion else inputs
    for layers in expansion:
        _copy(*layers, inputs, hidden)
    _copy(*depthwise, hidden, hidden)
    for gate, narrow_gate in zip(source.layers, target.layers, strict=True):
        if isinstance(gate, Gate) and isinstance(narrow_gate, Gate):
            _copy_gate(gate, narrow_gate, hidden)
    _copy(*projection, hidden, outputs)


def _copy_gate(source: Gate, target: Gate, channels: Tensor) -> None:
    strength = source.reduce.weight[:, channels].abs().sum((1, 2, 3))
    hidden = _largest(strength, target.reduce.out_channels)
    _copy_biased(source.reduce, target.reduce, channels, hidden)
    _copy_biased(source.expand, target.expand, hidden, channels)


def _select_fires(wide: SqueezeNet, narrow: SqueezeNet) -> None:
    outputs = _strongest([wide.stem], _width(narrow.stem))
    _copy(wide.stem, narrow.stem, torch.arange(3), outputs)
    for source, target in zip(wide.fires(), narrow.fires(), strict=True):
        squeezed = _strongest([source.squeeze], _width(target.squeeze))
        left = _strongest([source.expand_1x1], _width(target.expand_1x1))
        right = _strongest([source.expand_3x3], _width(target.expand_3x3))
        _copy(source.squeeze, target.squeeze, outputs, squeezed)
        _copy(source.expand_1x1, target.expand_1x1, squeezed, left)
        _copy(source.expand_3x3, target.expand_3x3, squeezed, right)
        outputs = torch.cat([left, right + _width(source.expand_1x1)])


def _width(layer: ConvNormAct) -> int:
    return layer.conv.out_channels


def _strongest(layers: Sequence[ConvNormAct], count: int) -> Tensor:
    """The `count` channels with the largest gains, in ascending order."""
    return _largest(torch.stack([layer.norm.weight.abs() for layer in layers]).sum(0), count)


def _largest(strength: Tensor, count: int) -> Tensor:
    # A stable order, so that equal strengths keep the first everywhere.
    return strength.argsort(descending=True, stable=True)[:count].sort().values


def _copy(source: ConvNormAct, target: ConvNormAct, inputs: Tensor, outputs: Tensor) -> None:
    weight = source.conv.weight[outputs]
    target.conv.weight.copy_(weight if source.conv.groups > 1 else weight[:, inputs])
    theirs, ours = source.norm.state_dict(), target.norm.state_dict()
    for name in ("weight", "bias", "running_mean", "running_var"):
        ours[name].copy_(theirs[name][outputs])


def _copy_biased(source: nn.Conv2d, target: nn.Conv2d, inputs: Tensor, outputs: Tensor) -> None:
    assert source.bias is not None
    assert target.bias is not None
    target.weight.copy_(source.weight[outputs][:, inputs])
    target.bias.copy_(source.bias[outputs])
