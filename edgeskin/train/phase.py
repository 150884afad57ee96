"""One phase of training: epochs of steps over one module, float or fake-quantized, resumable at every epoch."""

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from edgeskin.contract.model import HeadSpec
from edgeskin.errors import RunError
from edgeskin.train.average import WeightAverage, load_state
from edgeskin.train.loader import Batch
from edgeskin.train.losses import mask_loss, sigmoid_loss, softmax_loss
from edgeskin.train.recipe import Phase, Recipe

Losses = dict[str, float]


@dataclass(frozen=True)
class Objective:
    """What is minimised: each head's loss times its weight.

    class_weights: head name -> (classes,), for softmax and sigmoid heads.
    """

    heads: tuple[HeadSpec, ...]
    weights: Mapping[str, float]
    class_weights: Mapping[str, Tensor] = field(hash=False)
    label_smoothing: float = 0.0

    def __call__(self, outputs: Sequence[Tensor], batch: Batch) -> dict[str, Tensor]:
        """Each head's weighted loss, scalars."""
        losses: dict[str, Tensor] = {}
        for head, logits in zip(self.heads, outputs, strict=True):
            if head.kind == "mask":
                loss = mask_loss(logits, batch.mask, batch.has_mask)
            elif head.kind == "softmax":
                loss = softmax_loss(
                    logits, batch.labels[head.name], self.class_weights[head.name], self.label_smoothing
                )
            else:
                loss = sigmoid_loss(
                    logits, batch.labels[head.name], self.class_weights[head.name], self.label_smoothing
                )
            losses[head.name] = loss * self.weights[head.name]
        return losses


def optimizer_for(module: nn.Module, phase: Phase) -> torch.optim.AdamW:
    """AdamW: the encoder at its own rate, no decay on gains and biases. Names decide, so both phases agree."""
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, parameter in module.named_parameters():
        groups.setdefault((name.startswith("encoder."), parameter.ndim > 1), []).append(parameter)
    return torch.optim.AdamW(
        [
            {
                "params": parameters,
                "lr": phase.learning_rate * (phase.encoder_rate if encoder else 1),
                "weight_decay": phase.weight_decay if decays else 0.0,
            }
            for (encoder, decays), parameters in groups.items()
        ]
    )


def rate(step: int, steps: int, warmup: float) -> float:
    """The share of the peak learning rate at a step: linear warm-up, then half a cosine to zero."""
    warm = max(1, round(warmup * steps))
    if step < warm:
        return (step + 1) / warm
    return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))


class Trainer:
    """A module, its optimizer and its running average, advanced epoch by epoch."""

    def __init__(self, module: nn.Module, phase: Phase, steps_per_epoch: int, device: torch.device) -> None:
        self.module = module.to(device)
        self.phase = phase
        self.device = device
        self.optimizer = optimizer_for(module, phase)
        self.peaks = [group["lr"] for group in self.optimizer.param_groups]
        self.steps = phase.epochs * steps_per_epoch
        self.step = 0
        self.average = WeightAverage(phase.ema)
        self.epoch = 0

    def run_epoch(
        self,
        batches: Iterator[Batch],
        objective: Objective,
        seed: Sequence[int],
        on_step: Callable[[Losses], None],
        *,
        mixed_precision: bool,
    ) -> Losses:
        """Train over one epoch; the mean of each head's loss.

        seed: what dropout depends on, so that a resumed epoch is the same epoch.

        Raises: RunError where a loss is no longer a number.
        """
        torch.manual_seed(int.from_bytes(bytes(f"{list(seed)}", "ascii"), "big") % 2**63)
        totals: Losses = {}
        steps = 0
        for batch in batches:
            on_device = batch.to(self.device)
            with self._autocast(mixed_precision):
                losses = objective(self.module(on_device.image), on_device)
                total = torch.stack(list(losses.values())).sum()
            if not torch.isfinite(total):
                raise RunError(
                    f"epoch {self.epoch + 1}, step {steps + 1}: the loss is {float(total.detach())}. Lower the phase's "
                    f"learning_rate ({self.phase.learning_rate:g}) and train again; finished epochs are kept"
                )
            self.optimizer.zero_grad(set_to_none=True)
            torch.autograd.backward(total)
            nn.utils.clip_grad_norm_(self.module.parameters(), 5.0)
            share = rate(self.step, self.steps, self.phase.warmup)
            for group, peak in zip(self.optimizer.param_groups, self.peaks, strict=True):
                group["lr"] = peak * share
            self.optimizer.step()
            self.average.update(self.module)
            self.step += 1
            steps += 1
            figures = {name: float(loss.detach()) for name, loss in losses.items()}
            for name, value in figures.items():
                totals[name] = totals.get(name, 0.0) + value
            on_step(figures)
        self.epoch += 1
        return {name: value / max(1, steps) for name, value in totals.items()}

    def _autocast(self, mixed_precision: bool) -> AbstractContextManager[object]:
        if mixed_precision and self.device.type == "cuda":
            return torch.autocast("cuda", dtype=torch.bfloat16)
        return nullcontext()

    def state(self) -> dict[str, Tensor]:
        """Everything needed to go on exactly: weights, average, optimizer moments, counters as a tensor of bytes."""
        optimizer = self.optimizer.state_dict()["state"]
        moments = {
            f"optimizer.{index}.{key}": torch.as_tensor(value)
            for index, entry in optimizer.items()
            for key, value in entry.items()
        }
        counters = json.dumps({"epoch": self.epoch, "step": self.step, "average": self.average.steps})
        return {
            **{f"module.{name}": value for name, value in self.module.state_dict().items()},
            **{f"average.{name}": value for name, value in self.average.tensors.items()},
            **moments,
            "counters": torch.tensor(list(counters.encode()), dtype=torch.uint8),
        }

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Go on from `state()`."""
        counters = json.loads(bytes(tensors["counters"].tolist()))
        load_state(self.module, _under("module.", tensors))
        self.average.restore(_under("average.", tensors), counters["average"], self.device)
        entries: dict[int, dict[str, Tensor]] = {}
        for name, value in _under("optimizer.", tensors).items():
            index, key = name.split(".", 1)
            entries.setdefault(int(index), {})[key] = value
        blank = self.optimizer.state_dict()
        self.optimizer.load_state_dict({"state": entries, "param_groups": blank["param_groups"]})
        self.epoch = counters["epoch"]
        self.step = counters["step"]


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def objective_for(
    recipe: Recipe, heads: tuple[HeadSpec, ...], class_weights: Mapping[str, Tensor], phase: Phase
) -> Objective:
    """The objective a recipe asks for in a phase."""
    weights = {name: head.weight for name, head in recipe.heads.items()}
    return Objective(heads, weights, class_weights, phase.label_smoothing)
