"""ImageNet starts for MobileNetV2: files in other conventions, turned into ours without changing the function.

Ours is (pixel − 128) / 128. What a start expects of its input is absorbed into the first convolution, and batch norm
that a file has folded away is re-created from what training images make the layers see.
"""

import pickle
import struct
import zipfile
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from edgeskin.errors import RecipeError
from edgeskin.models.blocks import ConvNormAct
from edgeskin.models.mobilenet import MobileNetV2

TORCHVISION_MEAN = (0.485, 0.456, 0.406)
TORCHVISION_STD = (0.229, 0.224, 0.225)

_NPZ_DAMAGE = (OSError, ValueError, EOFError, RuntimeError, TypeError, AttributeError, zipfile.BadZipFile, zlib.error)
_STATE_DAMAGE = (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, LookupError, TypeError, AttributeError,
                 AssertionError, struct.error)  # fmt: skip
"""What NumPy and torch raise on damaged files, found by cutting and flipping bytes; on a single array (.npy), a
TypeError or AttributeError."""


def load_folded(encoder: MobileNetV2, path: Path, images: Iterable[Tensor]) -> None:
    """Load weights whose batch norm was folded (TensorFlow conventions: input pixel/127.5 − 1, SAME padding).

    images: a few batches (N, 3, S, S) in [−1, 1) from which batch norm's statistics are taken; with those statistics
    the encoder in eval mode computes the same function as without batch norm.

    Raises: RecipeError where the file does not fit the encoder.
    """
    layers = encoder.convolutions()
    arrays = _read_arrays(path)
    weights = [array for array in arrays if array.ndim == 4]
    biases = [array for array in arrays if array.ndim == 1]
    pairs = list(zip(weights, biases, strict=False))[: len(layers)]  # behind them stands ImageNet's classifier
    _demand_fit(path, layers, pairs)
    weight, bias = pairs[0]
    weight, shift = _absorb_input(weight, torch.full((3,), 128 / 127.5), torch.full((3,), 0.5 / 127.5))
    pairs[0] = (weight, bias + shift)
    with torch.no_grad():
        for layer, (weight, bias) in zip(layers, pairs, strict=True):
            layer.conv.weight.copy_(weight)
            mean, variance = _statistics(layer.norm)
            mean.zero_()
            variance.fill_(1 - layer.norm.eps)
            layer.norm.weight.fill_(1)
            layer.norm.bias.copy_(bias)
    recreate_batch_norm(encoder, images)


def recreate_batch_norm(encoder: MobileNetV2, images: Iterable[Tensor]) -> None:
    """Give batch norm the statistics its layers observe, and the gain and bias that keep the function as it was.

    Before: running mean 0, variance 1, gain 1, bias b. After: mean m and variance v observed, gain √v, bias m + b.
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
    encoder.eval()
    with torch.no_grad():
        for batch in images:
            encoder(batch)
        for handle in handles:
            handle.remove()
        for layer, (total, squares) in sums.items():
            mean = total / count[layer]
            variance = (squares / count[layer] - mean**2).clamp_min(1e-6)
            running_mean, running_variance = _statistics(layer.norm)
            running_mean.copy_(mean)
            running_variance.copy_(variance)
            layer.norm.weight.copy_((variance + layer.norm.eps).sqrt())
            layer.norm.bias.add_(mean)
    encoder.train(training)


def load_torchvision(encoder: MobileNetV2, path: Path) -> None:
    """Load a torchvision `mobilenet_v2` state dict (input (pixel/255 − mean) / std, symmetric padding).

    Raises: RecipeError where the file does not fit the encoder.
    """
    layers = encoder.convolutions()
    tensors = _read_features(path)
    groups = [tensors[first : first + 5] for first in range(0, len(tensors) - 4, 5)]
    _demand_fit(path, layers, groups)
    std = torch.tensor(TORCHVISION_STD)
    gain = 128 / 255 / std
    offset = (128 / 255 - torch.tensor(TORCHVISION_MEAN)) / std
    with torch.no_grad():
        for layer, (weight, gamma, beta, mean, variance) in zip(layers, groups, strict=True):
            running_mean, running_variance = _statistics(layer.norm)
            layer.conv.weight.copy_(weight)
            layer.norm.weight.copy_(gamma)
            layer.norm.bias.copy_(beta)
            running_mean.copy_(mean)
            running_variance.copy_(variance)
        stem = encoder.stem
        weight, shift = _absorb_input(stem.conv.weight, gain, offset)
        stem.conv.weight.copy_(weight)
        _statistics(stem.norm)[0].sub_(shift)


def _read_arrays(path: Path) -> list[Tensor]:
    """Every array of a .npz file in its order. Raises: RecipeError where it is not one."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            return [torch.from_numpy(archive[key].astype(np.float32)) for key in archive.files]
    except _NPZ_DAMAGE as error:
        raise RecipeError(str(path), [f"cannot be read as ImageNet weights (.npz): {error}"]) from error


def _read_features(path: Path) -> list[Tensor]:
    """The tensors of a torchvision state dict's encoder in its order, step counters left out.

    Raises: RecipeError where the file holds anything but tensors by name: unpickling more could run code.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise RecipeError(str(path), [f"cannot be read: {error}"]) from error
    except _STATE_DAMAGE as error:
        raise _not_a_state_dict(path) from error
    if not isinstance(state, dict):
        raise _not_a_state_dict(path)
    features = {name: value for name, value in state.items() if str(name).startswith("features.")}
    return [value for value in features.values() if isinstance(value, Tensor) and value.ndim > 0]


def _not_a_state_dict(path: Path) -> RecipeError:
    return RecipeError(
        str(path),
        [
            "is not a state dict of tensors alone, and nothing else is unpickled, because it could run code. "
            "Write it with: torch.save(model.state_dict(), path)"
        ],
    )


def _absorb_input(weight: Tensor, gain: Tensor, offset: Tensor) -> tuple[Tensor, Tensor]:
    """Weight and bias of a first convolution that sees x instead of x·gain + offset.

    Shapes: weight (O, 3, k, k), gain and offset (3,) -> weight (O, 3, k, k), bias (O,). Exact except where the padding
    lies: there the file's zero and ours differ by `offset`.
    """
    return weight * gain.reshape(1, 3, 1, 1), (weight * offset.reshape(1, 3, 1, 1)).sum((1, 2, 3))


def _statistics(norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """The running mean and variance, which every batch norm of ours tracks; (C,) each."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    return norm.running_mean, norm.running_var


def _demand_fit(path: Path, layers: Sequence[ConvNormAct], groups: Sequence[Sequence[Tensor]]) -> None:
    """Refuse groups that are not, layer by layer, its weight and vectors with one number an output channel."""
    for index, (layer, (weight, *vectors)) in enumerate(zip(layers, groups, strict=False)):
        ours = layer.conv.weight.shape
        if weight.shape != ours or any(vector.shape != ours[:1] for vector in vectors):
            theirs = ", ".join(str(tuple(tensor.shape)) for tensor in (weight, *vectors))
            raise _misfit(path, f"convolution {index} has the shapes {theirs}, the network's is {tuple(ours)}")
    if len(groups) != len(layers):
        raise _misfit(path, f"{len(groups)} convolutions, the network has {len(layers)}")


def _misfit(path: Path, where: str) -> RecipeError:
    return RecipeError(str(path), [f"does not fit this encoder: {where}. ImageNet weights are for width 1.0"])
