"""The balance between classes, and between tasks whose losses differ in size.

A task balance turns the losses of all tasks, each with its recipe's weight in it, into the one number that is
minimised. What it learns or remembers is its module state, which the trainer keeps in the checkpoint.
"""

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from edgeskin.train.recipe.learning import Balance


def balanced_weights(
    labels: npt.NDArray[np.int64], classes: int, showings: npt.NDArray[np.float64] | None = None
) -> npt.NDArray[np.float32]:
    """N / (classes · n_c) for each class c; missing labels (−1) do not count.

    showings: how often each case is shown and therefore counts, once if left out; what sampling has balanced is not
    balanced again. Shapes: labels, showings (N,) -> (classes,). Every class must occur. Source:
    papers/unet_multitask_thesis.txt, class weights.
    """
    known = labels >= 0
    counts = np.bincount(labels[known], None if showings is None else showings[known], classes)
    assert counts.min() > 0, "an empty class is refused where the labels are read"
    return np.asarray(counts.sum() / (classes * counts), np.float32)


class FixedBalance(nn.Module):
    """Each task's loss times its share, which never changes; 1 for a task without one."""

    def __init__(self, shares: Mapping[str, float]) -> None:
        super().__init__()
        self.shares = dict(shares)

    def forward(self, losses: Mapping[str, Tensor]) -> Tensor:
        """Scalars to one scalar."""
        return torch.stack([loss * self.shares.get(task, 1.0) for task, loss in losses.items()]).sum()

    def after_epoch(self, _means: Mapping[str, float], /) -> None:
        """Nothing to learn from an epoch's mean losses."""


class UncertaintyBalance(nn.Module):
    """Σ exp(−s)·L + s/2, with a learnt log-variance s for each task, 0 at first.

    A task none of whose truth is in the batch, its loss exactly 0, is left out: it would only pull its s down. At its
    optimum a task contributes 1/2 whatever its size, so a recipe's weight of a head shifts s and nothing else. Source:
    Kendall et al. 2018, Multi-task learning using uncertainty to weigh losses, equation 10, in its form for
    likelihoods; a squared error has ½·exp(−s) there, which is the same with s smaller by log 2.
    """

    def __init__(self, tasks: Sequence[str]) -> None:
        super().__init__()
        self.tasks = tuple(tasks)
        self.log_variance = nn.Parameter(torch.zeros(len(self.tasks)))

    def forward(self, losses: Mapping[str, Tensor]) -> Tensor:
        """Scalars to one scalar."""
        stacked = torch.stack([losses[task] for task in self.tasks])
        weighed = torch.exp(-self.log_variance) * stacked + 0.5 * self.log_variance
        return (weighed * (stacked.detach() != 0)).sum()

    def after_epoch(self, _means: Mapping[str, float], /) -> None:
        """Nothing: the log-variances are learnt step by step."""


class DynamicAverage(nn.Module):
    """Σ w·L, with w the larger the more slowly a task's loss has fallen over the last two epochs.

    w = K·softmax(r / temperature) over the K tasks, r the ratio of the last epoch's mean loss to that of the one
    before; every w is 1 in the first two epochs. Source: Liu et al. 2019, End-to-end multi-task learning with
    attention, equation 7.
    """

    last: Tensor
    before: Tensor

    def __init__(self, tasks: Sequence[str], temperature: float) -> None:
        super().__init__()
        self.tasks = tuple(tasks)
        self.temperature = temperature
        self.register_buffer("last", torch.zeros(len(self.tasks)))
        self.register_buffer("before", torch.zeros(len(self.tasks)))

    def weights(self) -> Tensor:
        """What each task's loss is multiplied by, (tasks,); a task that has no two epochs behind it has ratio 1."""
        known = self.before > 0
        ratios = torch.where(known, self.last / torch.where(known, self.before, 1), 1)
        return len(self.tasks) * torch.softmax(ratios / self.temperature, 0)

    def forward(self, losses: Mapping[str, Tensor]) -> Tensor:
        """Scalars to one scalar."""
        return (self.weights() * torch.stack([losses[task] for task in self.tasks])).sum()

    def after_epoch(self, means: Mapping[str, float], /) -> None:
        """Remember the tasks' mean losses of one more epoch."""
        self.before.copy_(self.last)
        self.last.copy_(torch.tensor([means[task] for task in self.tasks]))


TaskBalance: TypeAlias = FixedBalance | UncertaintyBalance | DynamicAverage


def balance_for(chosen: Balance | None, tasks: Sequence[str], masks: Sequence[str]) -> TaskBalance:
    """The balance a recipe asks for; without one, the plain sum.

    tasks: names of all losses. masks: those of lesion masks, which `alpha` weighs against the rest: α·L1 + (1 − α)·L2.
    papers/unet_multitask_thesis.txt, equation 4, prints (α − 1)·L2, which would maximise L2; its text (α = 1 disregards
    L2, α = 0.5 gives both the same relevance) means 1 − α.
    """
    if chosen is None:
        return FixedBalance({})
    if chosen.kind == "alpha":
        return FixedBalance({task: chosen.alpha if task in masks else 1 - chosen.alpha for task in tasks})
    if chosen.kind == "uncertainty":
        return UncertaintyBalance(tasks)
    return DynamicAverage(tasks, chosen.temperature)
