"""The running average of weights: what is evaluated, kept and exported."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class WeightAverage:
    """An exponential moving average over a module's whole state, batch-norm statistics and quantization ranges included.

    decay: per step, reached gradually so that the first steps do not weigh for ever. Integers are copied, not averaged.
    It begins with the state after the first step: before that an observer has no shape yet and its range is infinite.
    """

    def __init__(self, decay: float) -> None:
        self.decay = decay
        self.steps = 0
        self.tensors: dict[str, Tensor] = {}

    @torch.no_grad()
    def update(self, module: nn.Module) -> None:
        """Take one training step into account."""
        self.steps += 1
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        for name, value in module.state_dict().items():
            if name in self.tensors and value.is_floating_point():
                self.tensors[name].lerp_(value, 1 - decay)
            else:
                self.tensors[name] = value.detach().clone()

    def restore(self, tensors: Mapping[str, Tensor], steps: int, device: torch.device) -> None:
        """Continue from stored averages of so many steps."""
        self.steps = steps
        self.tensors = {name: value.to(device) for name, value in tensors.items()}

    @contextmanager
    def applied(self, module: nn.Module) -> Iterator[None]:
        """The module computes with the averages inside, with its own weights again after."""
        own = {name: value.detach().clone() for name, value in module.state_dict().items()}
        module.load_state_dict(self.tensors)
        try:
            yield
        finally:
            module.load_state_dict(own)
