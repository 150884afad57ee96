"""In which numbers the float phase multiplies."""

from collections.abc import Callable

import torch
from torch import Tensor, nn


def multiplied_in(device: torch.device) -> torch.dtype:
    """bfloat16 where a device has instructions for it, float32 elsewhere.

    On a processor with them an epoch takes less time, half of it on some; emulated it would take longer.
    """
    native = device.type == "cuda" or torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return torch.bfloat16 if native else torch.float32


def spare_strided_depthwise(module: nn.Module) -> None:
    """Let depthwise convolutions with a stride multiply in float32 wherever autocast is on.

    oneDNN has no fast kernel for their gradients in bfloat16: the four of MobileNetV2 took a sixth of a step.
    """
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d) and layer.groups == layer.in_channels > 1 and max(layer.stride) > 1:
            layer.forward = _in_float32(layer.forward)  # type: ignore[assignment,method-assign]


def _in_float32(plain: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    def forward(x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            return plain(x.float()).to(x.dtype)

    return forward
