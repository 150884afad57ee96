"""Weights in other conventions, turned into ours without changing the function.

Ours is (pixel − 128) / 128. What a file expects of its input is absorbed into the first convolution, and batch norm
that a file does not have is created from what training images make the layers see.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TypeAlias

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from edgeskin.errors import RecipeError
from edgeskin.models.blocks import ConvNormAct
from edgeskin.models.encoder import Encoder
from edgeskin.models.start.files import Convention, Weights, read_folded, read_torchvision

Layer: TypeAlias = ConvNormAct | nn.Conv2d
"""A convolution with batch norm, or one with a bias inside a gate."""


def load_folded(encoder: Encoder, path: Path, images: Iterable[Tensor]) -> None:
    """Load weights without batch norm (TensorFlow's conventions for MobileNetV2, Caffe's for SqueezeNet 1.0).

    images: a few batches (N, 3, S, S) in [−1, 1) from which batch norm's statistics are taken; with those statistics
    the encoder in eval mode computes the same function as without batch norm.

    Raises: RecipeError where the file does not fit the encoder.
    """
    load(encoder, read_folded(encoder.name, path), images)


def load_torchvision(encoder: Encoder, path: Path, images: Iterable[Tensor] = ()) -> None:
    """Load a torchvision state dict (input (pixel/255 − mean) / std) of the encoder's name.

    images: as in `load_folded`; only SqueezeNet, which has no batch norm there, needs them.

    Raises: RecipeError where the file does not fit the encoder.
    """
    load(encoder, read_torchvision(encoder.name, path), images)


def load(encoder: Encoder, weights: Weights, images: Iterable[Tensor]) -> None:
    """Load weights, and create batch norm from `images` where they have none.

    Raises: RecipeError where they do not fit the encoder.
    """
    problem = misfit(encoder, weights)
    if problem is not None:
        raise RecipeError(
            str(weights.path), [f"does not fit this encoder: {problem}. ImageNet weights are for width 1.0"]
        )
    layers = _layers(encoder)
    groups = [list(group) for group in _groups(layers, weights)]
    first, shift = _absorb_input(groups[0][0], weights.convention)
    groups[0][0] = first
    # A bias takes the shift, a running mean, which is subtracted, its negative.
    if weights.normalised:
        groups[0][3] = groups[0][3] - shift
    else:
        groups[0][1] = groups[0][1] + shift
    with torch.no_grad():
        for layer, group in zip(layers, groups, strict=True):
            _assign(layer, group, weights.eps)
    if not weights.normalised:
        recreate_batch_norm(encoder, images)


def misfit(encoder: Encoder, weights: Weights) -> str | None:
    """The first difference in shape between a file and an encoder, or None where it fits."""
    layers = _layers(encoder)
    groups = _groups(layers, weights)
    for index, (layer, (weight, *vectors)) in enumerate(zip(layers, groups, strict=False)):
        ours = _convolution(layer).weight.shape
        if weight.shape != ours or any(vector.shape != ours[:1] for vector in vectors):
            theirs = ", ".join(str(tuple(tensor.shape)) for tensor in (weight, *vectors))
            return f"convolution {index} has the shapes {theirs}, the network's is {tuple(ours)}"
    used = sum(len(group) for group in groups)
    if len(groups) < len(layers) or (used < len(weights.tensors) and not weights.classifier):
        return f"{sum(tensor.ndim == 4 for tensor in weights.tensors)} convolutions, the network has {len(layers)}"
    return None


def recreate_batch_norm(encoder: Encoder, images: Iterable[Tensor]) -> None:
    """Give batch norm the statistics its layers observe, and the gain and bias that keep the function as it was.

    Before: running mean 0, variance 1, gain 1, bias b. After: mean m and variance v observed, gain √v, bias m + b.
    Without any image it stays as it was.
    """
    sums = {layer: torch.zeros(2, layer.conv.out_channels, dtype=torch.float64) for layer in encoder.convolutions()}
    count = dict.fromkeys(sums, 0)

    def observe(layer: ConvNormAct) -> RemovableHandle:
        def hook(_: nn.Module, __: object, output: Tensor) -> None:
            values = output.double()
            sums[layer] += torch.stack([values.sum((0, 2, 3)), (values**2).sum((0, 2, 3))])
            count[layer] += values.numel() // values.shape[1]

        return layer.conv.register_forward_hook(hook)

    handles = [observe(layer) for layer in sums]
    training = encoder.training
    encoder.train(False)
    with torch.no_grad():
        for batch in images:
            encoder(batch)
        for handle in handles:
            handle.remove()
        for layer, (total, squares) in sums.items():
            if count[layer] == 0:
                continue
            mean = total / count[layer]
            variance = (squares / count[layer] - mean**2).clamp_min(1e-6)
            running_mean, running_variance = _statistics(layer.norm)
            running_mean.copy_(mean)
            running_variance.copy_(variance)
            layer.norm.weight.copy_((variance + layer.norm.eps).sqrt())
            layer.norm.bias.add_(mean)
    encoder.train(training)


def _layers(encoder: Encoder) -> list[Layer]:
    """Every convolution, those of gates among them, in the order of files."""
    return [
        module
        for module in encoder.modules()
        if isinstance(module, ConvNormAct) or (isinstance(module, nn.Conv2d) and module.bias is not None)
    ]


def _convolution(layer: Layer) -> nn.Conv2d:
    return layer.conv if isinstance(layer, ConvNormAct) else layer


def _groups(layers: Sequence[Layer], weights: Weights) -> list[tuple[Tensor, ...]]:
    """A file's tensors layer by layer, as far as they reach."""
    groups = []
    first = 0
    for layer in layers:
        size = 5 if weights.normalised and isinstance(layer, ConvNormAct) else 2
        if first + size > len(weights.tensors):
            break
        groups.append(weights.tensors[first : first + size])
        first += size
    return groups


def _absorb_input(weight: Tensor, convention: Convention) -> tuple[Tensor, Tensor]:
    """Weight and bias of a first convolution that sees ours instead of what the file's convention gives it.

    Shapes: weight (O, 3, k, k) -> weight (O, 3, k, k), bias (O,). Exact except where the padding lies: there the file's
    zero and ours differ by the convention's offset.
    """
    weight = weight.flip(1) if convention.reversed_channels else weight
    gain, offset = (torch.tensor(values).reshape(1, 3, 1, 1) for values in (convention.gain, convention.offset))
    return weight * gain, (weight * offset).sum((1, 2, 3))


def _assign(layer: Layer, group: Sequence[Tensor], eps: float) -> None:
    """Set a layer's tensors to a file's; a folded bias becomes that of a batch norm that changes nothing else."""
    weight, *vectors = group
    _convolution(layer).weight.copy_(weight)
    if isinstance(layer, nn.Conv2d):
        assert layer.bias is not None
        layer.bias.copy_(vectors[0])
        return
    if len(vectors) == 1:
        one = torch.ones_like(vectors[0])
        vectors = [one, vectors[0], torch.zeros_like(one), one - layer.norm.eps]
    else:
        # γ / √(v + ε) stays what it was under the file's ε.
        vectors[0] = vectors[0] * ((vectors[3] + layer.norm.eps) / (vectors[3] + eps)).sqrt()
    for ours, theirs in zip((layer.norm.weight, layer.norm.bias, *_statistics(layer.norm)), vectors, strict=True):
        ours.copy_(theirs)


def _statistics(norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """The running mean and variance, which every batch norm of ours tracks; (C,) each."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    return norm.running_mean, norm.running_var
