"""ImageNet starts for MobileNetV2: files in other conventions, turned into ours without changing the function.

Ours is (pixel − 128) / 128. What a start expects of its input is absorbed into the first convolution, and batch norm
that a file has folded away is re-created from what training images make the layers see.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from edgeskin.errors import RecipeError
from edgeskin.models.mobilenet import MobileNetV2

TORCHVISION_MEAN = (0.485, 0.456, 0.406)
TORCHVISION_STD = (0.229, 0.224, 0.225)


def _absorb_input(weight: Tensor, gain: Tensor, offset: Tensor) -> tuple[Tensor, Tensor]:
    """Weight and bias of a first convolution that sees x instead of x·gain + offset.

    Shapes: weight (O, 3, k, k), gain and offset (3,) -> weight (O, 3, k, k), bias (O,). Exact except where the padding
    lies: there the file's zero and ours differ by `offset`.
    """
    return weight * gain.reshape(1, 3, 1, 1), (weight * offset.reshape(1, 3, 1, 1)).sum((1, 2, 3))


def load_folded(encoder: MobileNetV2, path: Path, images: Iterable[Tensor]) -> None:
    """Load weights whose batch norm was folded (TensorFlow conventions: input pixel/127.5 − 1, SAME padding).

    images: a few batches (N, 3, S, S) in [−1, 1) from which batch norm's statistics are taken; with those statistics the
    encoder in eval mode computes the same function as without batch norm.

    Raises: RecipeError where the file does not fit the encoder.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = [torch.from_numpy(archive[key].astype(np.float32)) for key in archive.files]
    except (OSError, ValueError) as error:
        raise RecipeError(str(path), [f"cannot be read as ImageNet weights: {error}"]) from error
    layers = encoder.convolutions()
    weights = [array for array in arrays if array.ndim == 4][: len(layers)]
    biases = [array for array in arrays if array.ndim == 1][: len(layers)]
    _demand_equal_shapes(path, [layer.conv.weight.shape for layer in layers], [weight.shape for weight in weights])
    weights[0], shift = _absorb_input(weights[0], torch.full((3,), 128 / 127.5), torch.full((3,), 0.5 / 127.5))
    biases[0] = biases[0] + shift
    with torch.no_grad():
        for layer, weight, bias in zip(layers, weights, biases, strict=True):
            layer.conv.weight.copy_(weight)
            norm = layer.norm
            norm.running_mean, norm.running_var = torch.zeros_like(bias), torch.full_like(bias, 1 - norm.eps)
            norm.weight.fill_(1)
            norm.bias.copy_(bias)
    recreate_batch_norm(encoder, images)


def recreate_batch_norm(encoder: MobileNetV2, images: Iterable[Tensor]) -> None:
    """Give batch norm the statistics its layers observe, and the gain and bias that make it the same function as before.

    Before: running mean 0, variance 1, gain 1, bias b. After: mean m and variance v observed, gain √v, bias m + b.
    """
    sums = {layer: torch.zeros(2, layer.conv.out_channels, dtype=torch.float64) for layer in encoder.convolutions()}
    count = dict.fromkeys(sums, 0)

    def observe(layer: nn.Module) -> torch.utils.hooks.RemovableHandle:
        def hook(_: nn.Module, __: object, output: Tensor) -> None:
            values = output.double()
            sums[layer] += torch.stack([values.sum((0, 2, 3)), (values**2).sum((0, 2, 3))])
            count[layer] += values.numel() // values.shape[1]

        return layer.conv.register_forward_hook(hook)

    handles = [observe(layer) for layer in sums]
    training = encoder.training
    encoder.eval()
    with torch.no_grad():
        for batch in images:
            encoder(batch)
        for handle in handles:
            handle.remove()
        for layer, (total, squares) in sums.items():
            mean = total / count[layer]
            variance = (squares / count[layer] - mean**2).clamp_min(1e-6)
            norm = layer.norm
            norm.running_mean.copy_(mean)
            norm.running_var.copy_(variance)
            norm.weight.copy_((variance + norm.eps).sqrt())
            norm.bias.add_(mean)
    encoder.train(training)


def load_torchvision(encoder: MobileNetV2, path: Path) -> None:
    """Load a torchvision `mobilenet_v2` state dict (input (pixel/255 − mean) / std, symmetric padding).

    Raises: RecipeError where the file does not fit the encoder.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        assert isinstance(state, dict)
    except Exception as error:
        raise RecipeError(str(path), [f"cannot be read as a torchvision state dict: {error}"]) from error
    tensors = [value for key, value in state.items() if key.startswith("features.") and value.ndim > 0]
    groups = [tensors[index : index + 5] for index in range(0, len(tensors), 5)]
    layers = encoder.convolutions()
    _demand_equal_shapes(path, [layer.conv.weight.shape for layer in layers], [group[0].shape for group in groups])
    std = torch.tensor(TORCHVISION_STD)
    gain = 128 / 255 / std
    offset = (128 / 255 - torch.tensor(TORCHVISION_MEAN)) / std
    with torch.no_grad():
        for layer, (weight, gamma, beta, mean, variance) in zip(layers, groups, strict=True):
            layer.conv.weight.copy_(weight)
            layer.norm.weight.copy_(gamma)
            layer.norm.bias.copy_(beta)
            layer.norm.running_mean.copy_(mean)
            layer.norm.running_var.copy_(variance)
        stem = encoder.stem
        weight, shift = _absorb_input(stem.conv.weight, gain, offset)
        stem.conv.weight.copy_(weight)
        stem.norm.running_mean.sub_(shift)


def _demand_equal_shapes(path: Path, ours: Sequence[torch.Size], theirs: Sequence[torch.Size]) -> None:
    if list(ours) != list(theirs):
        differing = next((i for i, pair in enumerate(zip(ours, theirs, strict=False)) if pair[0] != pair[1]), None)
        where = f"{len(theirs)} convolutions, the network has {len(ours)}"
        if differing is not None:
            where = f"convolution {differing} is {tuple(theirs[differing])}, the network's is {tuple(ours[differing])}"
        raise RecipeError(str(path), [f"does not fit this encoder: {where}. ImageNet weights are for width 1.0"])
