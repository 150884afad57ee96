"""MobileNetV2 written a second time, as plain functions from table 2 of the paper, to compare weight loaders with."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional

TABLE = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
"""Expansion, channels, repeats, stride."""

Layer = tuple[int, int, int, int, int, bool]
"""Inputs, outputs, kernel, stride, groups, whether ReLU6 follows."""


def blocks() -> list[list[Layer]]:
    """The convolutions of stem, 17 blocks and last layer, in the order in which they run."""
    found: list[list[Layer]] = [[(3, 32, 3, 2, 1, True)]]
    inputs = 32
    for expansion, channels, repeats, stride in TABLE:
        for repeat in range(repeats):
            hidden = inputs * expansion
            expand: list[Layer] = [(inputs, hidden, 1, 1, 1, True)] if expansion > 1 else []
            depthwise = (hidden, hidden, 3, stride if repeat == 0 else 1, hidden, True)
            found.append([*expand, depthwise, (hidden, channels, 1, 1, 1, False)])
            inputs = channels
    return [*found, [(inputs, 1280, 1, 1, 1, True)]]


def tensorflow_same(x: Tensor, kernel: int, stride: int, value: float | Tensor) -> Tensor:
    """TensorFlow's SAME padding: as little as needed, the odd row at the end."""
    pads: list[int] = []
    for size in (x.shape[3], x.shape[2]):
        total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
        pads += [total // 2, total - total // 2]
    return _padded(x, pads, value)


def symmetric(x: Tensor, kernel: int, stride: int, value: float | Tensor) -> Tensor:
    """torchvision's padding: one on every side of a 3×3."""
    return _padded(x, [kernel // 2] * 4, value)


def _padded(x: Tensor, pads: Sequence[int], value: float | Tensor) -> Tensor:
    offset = torch.as_tensor(value).reshape(1, -1, 1, 1)
    return functional.pad(x - offset, list(pads)) + offset


def features(
    image: Tensor,
    weights: Sequence[Tensor],
    norm: Callable[[int, Tensor], Tensor],
    pad: Callable[[Tensor, int, int, float | Tensor], Tensor],
    outside: float | Tensor = 0.0,
) -> list[Tensor]:
    """The outputs of stem, every block and the last layer.

    norm: (index of the convolution, its output) -> after bias or batch norm. outside: what surrounds the image.
    """
    found: list[Tensor] = []
    x, index = image, 0
    for block in blocks():
        start = x
        for inputs, outputs, kernel, stride, groups, activated in block:
            assert weights[index].shape == (outputs, inputs // groups, kernel, kernel)
            padded = pad(x, kernel, stride, outside if index == 0 else 0.0)
            x = norm(index, functional.conv2d(padded, weights[index], stride=stride, groups=groups))
            x = x.clamp(0, 6) if activated else x
            index += 1
        if len(block) > 1 and start.shape == x.shape:
            x = start + x
        found.append(x)
    return found


LEVELS = (1, 3, 6, 13, 18)
"""The blocks (0 is the stem) whose outputs are the encoder's five maps."""
