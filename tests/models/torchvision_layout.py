"""torchvision's MobileNetV3 and SqueezeNet written a second time: state dicts with its keys, and what they compute.

From torchvision 0.20, models/mobilenetv3.py and models/squeezenet.py, and tables 1 and 2 of the papers. Everything is a
function of the state dict, and images are padded by the caller's `pad`, so that no layer of ours is used.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

State = dict[str, Tensor]
Pad = Callable[[Tensor, int, int, float | Tensor], Tensor]

# kernel, expansion, channels out, squeeze-excite, hard-swish, stride
LARGE = (
    (3, 16, 16, 0, 0, 1), (3, 64, 24, 0, 0, 2), (3, 72, 24, 0, 0, 1), (5, 72, 40, 1, 0, 2), (5, 120, 40, 1, 0, 1),
    (5, 120, 40, 1, 0, 1), (3, 240, 80, 0, 1, 2), (3, 200, 80, 0, 1, 1), (3, 184, 80, 0, 1, 1), (3, 184, 80, 0, 1, 1),
    (3, 480, 112, 1, 1, 1), (3, 672, 112, 1, 1, 1), (5, 672, 160, 1, 1, 2), (5, 960, 160, 1, 1, 1),
    (5, 960, 160, 1, 1, 1),
)  # fmt: skip
SMALL = (
    (3, 16, 16, 1, 0, 2), (3, 72, 24, 0, 0, 2), (3, 88, 24, 0, 0, 1), (5, 96, 40, 1, 1, 2), (5, 240, 40, 1, 1, 1),
    (5, 240, 40, 1, 1, 1), (5, 120, 48, 1, 1, 1), (5, 144, 48, 1, 1, 1), (5, 288, 96, 1, 1, 2), (5, 576, 96, 1, 1, 1),
    (5, 576, 96, 1, 1, 1),
)  # fmt: skip
V3 = {"mobilenet_v3_large": LARGE, "mobilenet_v3_small": SMALL}
V3_LEVELS = {"mobilenet_v3_large": (1, 3, 6, 12, 16), "mobilenet_v3_small": (0, 1, 3, 8, 12)}
"""The numbers in `features.N` of the last modules at strides 2 … 32."""
SQUEEZED = {64: 8, 72: 24, 96: 24, 120: 32, 144: 40, 240: 64, 288: 72, 480: 120, 576: 144, 672: 168, 960: 240, 16: 8}
"""_make_divisible(expansion // 4, 8) by hand."""

FIRES = {
    "squeezenet_1_0": (96, 7, {3: 16, 4: 16, 5: 32, 7: 32, 8: 48, 9: 48, 10: 64, 12: 64}, (1, 5, 10, 12)),
    "squeezenet_1_1": (64, 3, {3: 16, 4: 16, 6: 32, 7: 32, 9: 48, 10: 48, 11: 64, 12: 64}, (1, 4, 7, 12)),
}
"""Stem, its kernel, `features.N` -> s1x1 (e1x1 = e3x3 = 4·s1x1), the last modules at strides 2 … 16. What lies between
are pools."""


class _Maker:
    """Random tensors of a sensible size."""

    def __init__(self, seed: int) -> None:
        self.generator = torch.Generator().manual_seed(seed)
        self.state: State = {}

    def conv(self, key: str, outputs: int, inputs: int, kernel: int, *, biased: bool = False) -> None:
        weight = torch.randn(outputs, inputs, kernel, kernel, generator=self.generator)
        self.state[f"{key}.weight"] = weight * math.sqrt(2 / (inputs * kernel**2))
        if biased:
            self.state[f"{key}.bias"] = 0.1 * torch.randn(outputs, generator=self.generator)

    def conv_norm(self, key: str, outputs: int, inputs: int, kernel: int) -> None:
        self.conv(f"{key}.0", outputs, inputs, kernel)
        for name, middle in (("weight", 1.0), ("bias", 0.0), ("running_mean", 0.0), ("running_var", 1.0)):
            noise = torch.randn(outputs, generator=self.generator)
            self.state[f"{key}.1.{name}"] = (middle + 0.2 * noise).abs() if middle else 0.2 * noise
        # A channel that hardly varies is where another epsilon shows.
        self.state[f"{key}.1.running_var"][0] = 1e-4
        self.state[f"{key}.1.num_batches_tracked"] = torch.tensor(3)


def v3_state(name: str, seed: int = 0) -> State:
    """A random state dict of torchvision's `mobilenet_v3_*`."""
    make = _Maker(seed)
    make.conv_norm("features.0", 16, 3, 3)
    inputs = 16
    for number, (kernel, hidden, outputs, gated, _, _) in enumerate(V3[name], start=1):
        block = 0
        if hidden != inputs:
            make.conv_norm(f"features.{number}.block.0", hidden, inputs, 1)
            block = 1
        make.conv_norm(f"features.{number}.block.{block}", hidden, 1, kernel)
        if gated:
            block += 1
            make.conv(f"features.{number}.block.{block}.fc1", SQUEEZED[hidden], hidden, 1, biased=True)
            make.conv(f"features.{number}.block.{block}.fc2", hidden, SQUEEZED[hidden], 1, biased=True)
        make.conv_norm(f"features.{number}.block.{block + 1}", outputs, hidden, 1)
        inputs = outputs
    make.conv_norm(f"features.{len(V3[name]) + 1}", 6 * inputs, inputs, 1)
    last = {"mobilenet_v3_large": 1280, "mobilenet_v3_small": 1024}[name]
    for number, shape in ((0, (last, 6 * inputs)), (3, (1000, last))):
        make.state[f"classifier.{number}.weight"] = torch.zeros(shape)
        make.state[f"classifier.{number}.bias"] = torch.zeros(shape[0])
    return make.state


def v3_maps(name: str, state: State, image: Tensor, pad: Pad, outside: Tensor) -> list[Tensor]:
    """The five maps of torchvision's network, `outside` around the image."""

    def conv_norm(x: Tensor, key: str, stride: int, act: Callable[[Tensor], Tensor] | None, around: object) -> Tensor:
        weight = state[f"{key}.0.weight"]
        padded = pad(x, weight.shape[2], stride, around if isinstance(around, Tensor) else 0.0)
        x = functional.conv2d(padded, weight, stride=stride, groups=x.shape[1] // weight.shape[1])
        vectors = [state[f"{key}.1.{vector}"] for vector in ("running_mean", "running_var", "weight", "bias")]
        x = functional.batch_norm(x, *vectors, eps=0.001)
        return x if act is None else act(x)

    x = conv_norm(image, "features.0", 2, functional.hardswish, outside)
    found = [x]
    for number, (_, hidden, outputs, gated, swish, stride) in enumerate(V3[name], start=1):
        act = functional.hardswish if swish else functional.relu
        start, block = x, 0
        if hidden != x.shape[1]:
            x = conv_norm(x, f"features.{number}.block.0", 1, act, None)
            block = 1
        x = conv_norm(x, f"features.{number}.block.{block}", stride, act, None)
        if gated:
            block += 1
            fc = [state[f"features.{number}.block.{block}.fc{i}.{part}"] for i in (1, 2) for part in ("weight", "bias")]
            squeezed = functional.relu(functional.conv2d(functional.adaptive_avg_pool2d(x, 1), fc[0], fc[1]))
            x = x * functional.hardsigmoid(functional.conv2d(squeezed, fc[2], fc[3]))
        x = conv_norm(x, f"features.{number}.block.{block + 1}", 1, None, None)
        if stride == 1 and start.shape[1] == outputs:
            x = start + x
        found.append(x)
    found.append(conv_norm(x, f"features.{len(V3[name]) + 1}", 1, functional.hardswish, None))
    return [found[level] for level in V3_LEVELS[name]]


def squeezenet_state(name: str, seed: int = 0) -> State:
    """A random state dict of torchvision's `squeezenet1_*`."""
    make = _Maker(seed)
    inputs, kernel, fires, _ = FIRES[name]
    make.conv("features.0", inputs, 3, kernel, biased=True)
    for number, squeezed in fires.items():
        make.conv(f"features.{number}.squeeze", squeezed, inputs, 1, biased=True)
        make.conv(f"features.{number}.expand1x1", 4 * squeezed, squeezed, 1, biased=True)
        make.conv(f"features.{number}.expand3x3", 4 * squeezed, squeezed, 3, biased=True)
        inputs = 8 * squeezed
    make.conv("classifier.1", 1000, 512, 1, biased=True)
    return make.state


def squeezenet_maps(name: str, state: State, image: Tensor) -> list[Tensor]:
    """The last maps at strides 2 … 16 of the published network, which pads nothing but its 3×3 expansions."""

    def conv(x: Tensor, key: str, stride: int = 1, padding: int = 0) -> Tensor:
        weight, bias = state[f"{key}.weight"], state[f"{key}.bias"]
        return functional.conv2d(x, weight, bias, stride, padding).relu()

    _, _, fires, levels = FIRES[name]
    x = conv(image, "features.0", 2)
    found = {1: x}
    for number in range(2, 13):
        if number in fires:
            key = f"features.{number}"
            x = conv(x, f"{key}.squeeze")
            x = torch.cat([conv(x, f"{key}.expand1x1"), conv(x, f"{key}.expand3x3", padding=1)], 1)
        else:
            x = functional.max_pool2d(x, 3, 2, ceil_mode=True)
        found[number] = x
    return [found[level] for level in levels]
