"""In which numbers the float phase multiplies."""

import torch


def multiplied_in(device: torch.device) -> torch.dtype:
    """bfloat16 where a device has instructions for it, float32 elsewhere.

    On a processor with them an epoch takes half the time; emulated it would take longer.
    """
    native = device.type == "cuda" or torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return torch.bfloat16 if native else torch.float32
