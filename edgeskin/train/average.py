"""The running average of weights: what is evaluated, kept and exported."""

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class WeightAverage:
    """An exponential moving average over a module's whole state: batch-norm statistics and quantization ranges too.

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
        load_state(module, self.tensors)
        try:
            yield
        finally:
            load_state(module, own)


def load_state(module: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Load plain tensors into a module, all of them and nothing else.

    They carry no versions, and torchao's observers take a state without one for an old format and put their smallest
    scale back to 1e-7; so the versions of the module itself go along.

    Raises: RuntimeError from torch where names or shapes differ.
    """
    state = OrderedDict(tensors)
    vars(state)["_metadata"] = vars(module.state_dict())["_metadata"]
    module.load_state_dict(state)
