"""One phase of training: epochs of steps over one module, float or fake-quantized, resumable at every epoch."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict

import torch
from torch import Tensor, nn

from edgeskin.errors import RunError
from edgeskin.train.average import WeightAverage, load_state
from edgeskin.train.balance import FixedBalance, TaskBalance
from edgeskin.train.distributed import Processes
from edgeskin.train.loader import Batch
from edgeskin.train.objective import Objective, objective_for
from edgeskin.train.precision import multiplied_in
from edgeskin.train.recipe import Phase
from edgeskin.train.schedule import COSINE, Watch, rate

__all__ = ["Losses", "Objective", "Trainer", "objective_for", "optimizer_for", "rate"]

Losses = dict[str, float]


def optimizer_for(module: nn.Module, phase: Phase, balance: nn.Module | None = None) -> torch.optim.Optimizer:
    """The phase's optimizer: the encoder at its own rate, no decay on gains and biases, nor on a balance's parameters.

    Names decide, so both phases agree. Decay is decoupled in AdamW and part of the gradient in Adam and SGD.
    """
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, parameter in module.named_parameters():
        groups.setdefault((name.startswith("encoder."), parameter.ndim > 1), []).append(parameter)
    settings: list[dict[str, object]] = [
        {
            "params": parameters,
            "lr": phase.learning_rate * (phase.encoder_rate if encoder else 1),
            "weight_decay": phase.decay if decays else 0.0,
        }
        for (encoder, decays), parameters in groups.items()
    ]
    learnt = [] if balance is None else list(balance.parameters())
    if learnt:
        settings.append({"params": learnt, "lr": phase.learning_rate, "weight_decay": 0.0})
    if phase.optimizer == "sgd":
        return torch.optim.SGD(settings, momentum=phase.momentum)
    return torch.optim.Adam(settings) if phase.optimizer == "adam" else torch.optim.AdamW(settings)


class Trainer:
    """A module, its optimizer and its running average, advanced epoch by epoch.

    balance: how the tasks' losses become one; their plain sum if it is left out. processes: those that train together;
    the first one alone averages weights.
    """

    def __init__(
        self,
        module: nn.Module,
        phase: Phase,
        steps_per_epoch: int,
        device: torch.device,
        balance: TaskBalance | None = None,
        processes: Processes | None = None,
    ) -> None:
        self.processes = processes or Processes()
        self.module = module.to(device)
        self.phase = phase
        self.device = device
        self.balance = (FixedBalance({}) if balance is None else balance).to(device)
        self.optimizer = optimizer_for(module, phase, self.balance)
        self.peaks = [group["lr"] for group in self.optimizer.param_groups]
        self.schedule = phase.schedule or COSINE
        self.epoch_steps = steps_per_epoch
        self.steps = phase.epochs * steps_per_epoch
        self.step = 0
        self.average = WeightAverage(phase.ema)
        self.epoch = 0
        self.watch = Watch()

    def run_epoch(
        self,
        batches: Iterator[Batch],
        objective: Callable[[Sequence[Tensor], Batch], Mapping[str, Tensor]],
        seed: Sequence[int],
        on_step: Callable[[Losses], None],
        *,
        mixed_precision: bool,
    ) -> Losses:
        """Train over one epoch; the mean of each task's loss, before the balance.

        seed: what dropout depends on, so that a resumed epoch is the same epoch.

        Raises: RunError where a loss is no longer a number.
        """
        own = list(self.processes.seed(seed))
        torch.manual_seed(int.from_bytes(bytes(f"{own}", "ascii"), "big") % 2**63)
        totals: Losses = {}
        steps = 0
        for batch in batches:
            on_device = batch.to(self.device)
            with self._autocast(mixed_precision):
                losses = objective(self.module(*on_device.inputs), on_device)
                total: Tensor = self.balance(losses)
            if not torch.isfinite(total):
                raise RunError(
                    f"epoch {self.epoch + 1}, step {steps + 1}: the loss is {float(total.detach())}. Lower the phase's "
                    f"learning_rate ({self.phase.learning_rate:g}) and train again; finished epochs are kept"
                )
            self._descend(total)
            steps += 1
            figures = {name: float(loss.detach()) for name, loss in losses.items()}
            for name, value in figures.items():
                totals[name] = totals.get(name, 0.0) + value
            on_step(figures)
        self.epoch += 1
        means = {name: value / max(1, steps) for name, value in totals.items()}
        self.balance.after_epoch(means)
        return means

    def _descend(self, total: Tensor) -> None:
        self.optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(total)
        self.processes.combine(self.module, self.balance)
        nn.utils.clip_grad_norm_(self.module.parameters(), 5.0)
        share = rate(self.step, self.steps, self.phase.warmup, self.schedule, self.epoch_steps, self.watch.reductions)
        for group, peak in zip(self.optimizer.param_groups, self.peaks, strict=True):
            group["lr"] = peak * share
        self.optimizer.step()
        if self.processes.first:
            self.average.update(self.module)
        self.step += 1

    def observe(self, score: float) -> None:
        """Take note of an epoch's score on `select`: a plateau lowers the rate, and patience may end the phase.

        Only for epochs that may be kept; else the phase could end on scores that nothing exported will have.
        """
        self.watch = self.watch.after(score, self.schedule.every)

    @property
    def finished(self) -> bool:
        """Whether all epochs are done, or `select` has not improved for as many as the phase's patience."""
        patience = self.phase.patience
        return self.epoch >= self.phase.epochs or (patience is not None and self.watch.epochs_since_best >= patience)

    def _autocast(self, mixed_precision: bool) -> AbstractContextManager[object]:
        if mixed_precision and multiplied_in(self.device) == torch.bfloat16:
            return torch.autocast(self.device.type, dtype=torch.bfloat16)
        return nullcontext()

    def state(self) -> dict[str, Tensor]:
        """Everything needed to go on exactly: weights, average, balance, optimizer moments, counters as bytes."""
        optimizer = self.optimizer.state_dict()["state"]
        moments = {
            f"optimizer.{index}.{key}": torch.as_tensor(value)
            for index, entry in optimizer.items()
            for key, value in entry.items()
        }
        counters = {"epoch": self.epoch, "step": self.step, "average": self.average.steps, "watch": asdict(self.watch)}
        return {
            **{f"module.{name}": value for name, value in self.module.state_dict().items()},
            **{f"average.{name}": value for name, value in self.average.tensors.items()},
            **{f"balance.{name}": value for name, value in self.balance.state_dict().items()},
            **moments,
            "counters": torch.tensor(list(json.dumps(counters).encode()), dtype=torch.uint8),
        }

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Go on from `state()`."""
        counters = json.loads(bytes(tensors["counters"].tolist()))
        load_state(self.module, _under("module.", tensors))
        self.average.restore(_under("average.", tensors), counters["average"], self.device)
        self.balance.load_state_dict(_under("balance.", tensors))
        entries: dict[int, dict[str, Tensor]] = {}
        for name, value in _under("optimizer.", tensors).items():
            index, key = name.split(".", 1)
            entries.setdefault(int(index), {})[key] = value
        blank = self.optimizer.state_dict()
        self.optimizer.load_state_dict({"state": entries, "param_groups": blank["param_groups"]})
        self.epoch = counters["epoch"]
        self.step = counters["step"]
        self.watch = Watch(**counters["watch"])

    def inherit(self, tensors: Mapping[str, Tensor]) -> None:
        """Begin with the balance between tasks that another phase's `state()` ended with."""
        self.balance.load_state_dict(_under("balance.", tensors))


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
