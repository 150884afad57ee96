"""ImageNet weight files: what they hold, and what they expect of their input."""

import pickle
import struct
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

import numpy as np
import torch
from torch import Tensor

from edgeskin.errors import RecipeError
from edgeskin.models.spec import EncoderName

_NPZ_DAMAGE = (OSError, ValueError, EOFError, RuntimeError, TypeError, AttributeError, zipfile.BadZipFile, zlib.error)
_STATE_DAMAGE = (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, LookupError, TypeError, AttributeError,
                 AssertionError, struct.error)  # fmt: skip
"""What NumPy and torch raise on damaged files, found by cutting and flipping bytes; on a single array (.npy), a
TypeError or AttributeError."""


@dataclass(frozen=True)
class Convention:
    """What the first convolution of a file sees where ours sees x = (pixel − 128) / 128: x · gain + offset a channel.

    gain, offset: of red, green, blue. reversed_channels: the file's channels are blue, green, red.
    """

    gain: tuple[float, float, float]
    offset: tuple[float, float, float]
    reversed_channels: bool = False


def _torchvision() -> Convention:
    """(pixel / 255 − mean) / std, with the mean and standard deviation that torchvision documents."""
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    red, green, blue = ((128 / 255 / s, (128 / 255 - m) / s) for m, s in zip(mean, std, strict=True))
    return Convention((red[0], green[0], blue[0]), (red[1], green[1], blue[1]))


TENSORFLOW = Convention((128 / 127.5,) * 3, (0.5 / 127.5,) * 3)
"""pixel / 127.5 − 1."""
CAFFE = Convention((128.0,) * 3, (128 - 123.0, 128 - 117.0, 128 - 104.0), reversed_channels=True)
"""Blue, green, red minus (104, 117, 123)."""
TORCHVISION = _torchvision()


@dataclass(frozen=True)
class Published:
    """A file of the weights folder whose batch norm is folded away or never was, and its convention."""

    file: str
    convention: Convention


PUBLISHED: Mapping[EncoderName, Published] = MappingProxyType(
    {
        "mobilenet_v2": Published("mobilenet_v2_1.0_imagenet.npz", TENSORFLOW),
        "squeezenet_1_0": Published("squeezenet_1.0_imagenet.npz", CAFFE),
    }
)
_TORCHVISION_EPS: Mapping[EncoderName, float] = MappingProxyType(
    {"mobilenet_v3_small": 1e-3, "mobilenet_v3_large": 1e-3}
)


@dataclass(frozen=True)
class Weights:
    """The arrays of one file, in its order.

    tensors: a convolution's weight, then its bias, or batch norm's gain, bias, running mean and running variance where
    `normalised`. Only convolutions inside gates have a bias of their own in a normalised file.
    eps: what batch norm adds to the variance there. classifier: whether arrays of a classifier stand behind them.
    """

    path: Path
    tensors: tuple[Tensor, ...] = field(repr=False)
    convention: Convention
    normalised: bool = False
    eps: float = 1e-5
    classifier: bool = False


def read_folded(name: EncoderName, path: Path) -> Weights:
    """A `.npz` file of the weights folder. Raises: RecipeError where it is not one."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            tensors = tuple(torch.from_numpy(archive[key].astype(np.float32)) for key in archive.files)
    except _NPZ_DAMAGE as error:
        raise RecipeError(str(path), [f"cannot be read as ImageNet weights (.npz): {error}"]) from error
    return Weights(path, tensors, PUBLISHED[name].convention, classifier=True)


def read_torchvision(name: EncoderName, path: Path) -> Weights:
    """The encoder's part of a torchvision state dict, batch norm's step counters left out.

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
    features = [value for key, value in state.items() if str(key).startswith("features.")]
    tensors = tuple(value for value in features if isinstance(value, Tensor) and value.ndim > 0)
    normalised = not name.startswith("squeezenet")
    return Weights(path, tensors, TORCHVISION, normalised, _TORCHVISION_EPS.get(name, 1e-5))


def _not_a_state_dict(path: Path) -> RecipeError:
    return RecipeError(
        str(path),
        [
            "is not a state dict of tensors alone, and nothing else is unpickled, because it could run code. "
            "Write it with: torch.save(model.state_dict(), path)"
        ],
    )
