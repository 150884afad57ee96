"""The learning rate over a phase, and how long `select` has not improved."""

import math
from dataclasses import dataclass

from edgeskin.train.recipe.learning import Schedule

COSINE = Schedule()


def rate(
    step: int, steps: int, warmup: float, schedule: Schedule = COSINE, epoch_steps: int = 1, reductions: int = 0
) -> float:
    """The share of the peak learning rate at a step: linear warm-up, times what the schedule says.

    step: from 0, of `steps`. warmup: a share of them. epoch_steps: steps of an epoch, for `step`. reductions: how often
    a plateau has been met.
    """
    warm = max(1, round(warmup * steps))
    done, rest = max(0, step - warm), max(1, steps - warm)
    share = 1.0 if step >= warm else (step + 1) / warm
    if schedule.kind == "cosine":
        return share * 0.5 * (1 + math.cos(math.pi * done / rest))
    exponents: dict[str, float] = {
        "step": step // epoch_steps // schedule.every,
        "plateau": reductions,
        "exponential": done / rest,
        "constant": 0,
    }
    return share * math.pow(schedule.gamma, exponents[schedule.kind])


@dataclass(frozen=True)
class Watch:
    """How `select` has developed: the best score, the epochs since, those since the last reduction, the reductions."""

    best: float | None = None
    epochs_since_best: int = 0
    epochs_since_change: int = 0
    reductions: int = 0

    def after(self, score: float, every: int) -> "Watch":
        """After one more epoch; `every` epochs without a better score make a reduction, and the count begins again.

        Source: papers/unet_multitask_thesis.txt (× 0.8 whenever five epochs bring no better loss; here the score that
        chooses the epoch).
        """
        if self.best is None or score > self.best:
            return Watch(score, 0, 0, self.reductions)
        waited = self.epochs_since_change + 1
        reduced = waited >= every
        return Watch(
            self.best, self.epochs_since_best + 1, 0 if reduced else waited, self.reductions + (1 if reduced else 0)
        )
