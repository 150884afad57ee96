"""Which of an encoder's layers make which of its levels, seen from running it once."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from edgeskin.models.encoder import Encoder


@dataclass(frozen=True)
class EncoderLevel:
    """The layers that run for one level and for none before it, and its map's shape: (C, h, w)."""

    layers: tuple[nn.Module, ...]
    shape: tuple[int, ...]


def encoder_levels(encoder: Encoder, image: Tensor) -> tuple[EncoderLevel, ...]:
    """The five levels. Every map of an encoder is what one of its modules gave; there its level ends."""
    ran: list[tuple[nn.Module, object]] = []

    def note(module: nn.Module, _: tuple[object, ...], output: object) -> None:
        ran.append((module, output))

    hooks = [module.register_forward_hook(note) for module in encoder.modules()]
    try:
        with torch.no_grad():
            maps = encoder(image)
    finally:
        for hook in hooks:
            hook.remove()
    levels: list[EncoderLevel] = []
    start, seen = 0, set[nn.Module]()
    for level in maps:
        stop = max(index for index, (_, output) in enumerate(ran) if output is level) + 1
        layers = [module for module, _ in ran[start:stop] if not any(True for _ in module.children())]
        levels.append(
            EncoderLevel(tuple(layer for layer in dict.fromkeys(layers) if layer not in seen), level.shape[1:])
        )
        start = stop
        seen.update(layers)
    return tuple(levels)
