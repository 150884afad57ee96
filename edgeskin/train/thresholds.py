"""Stored thresholds of sigmoid heads: by `select`, or by what teachers answer to training images they had not met."""

from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from edgeskin.benchmarks import metrics
from edgeskin.contract.model import HeadSpec
from edgeskin.data.labels import MISSING
from edgeskin.train.distill import Teacher
from edgeskin.train.loader import Samples
from edgeskin.train.recipe import Recipe
from edgeskin.train.score import Network

Answers: TypeAlias = dict[str, npt.NDArray[np.float32]]
Ask: TypeAlias = Callable[[Network, Samples], Answers]
"""Every head's answers of a network on samples: `score.probabilities`."""


def thresholds(answers: Answers, samples: Samples, heads: Sequence[HeadSpec], recipe: Recipe) -> dict[str, float]:
    """The threshold of every sigmoid head that has none of its own, by its answers on these samples.

    The largest that reaches the head's `target_sensitivity`; without one, where sensitivity + specificity is largest.
    """
    chosen: dict[str, float] = {}
    for head in heads:
        if head.kind != "sigmoid" or recipe.heads[head.name].threshold is not None:
            continue
        truth = samples.labels[head.name]
        known = truth != MISSING
        positive, score = truth[known] == 1, answers[head.name][known, 0]
        target = recipe.heads[head.name].target_sensitivity
        if target is not None:
            chosen[head.name] = metrics.threshold_at_sensitivity(positive, score, target)
        else:
            candidates = np.unique(score)
            youden = [
                float(metrics.sensitivity(positive, score, t) + metrics.specificity(positive, score, t))
                for t in candidates
            ]
            chosen[head.name] = float(candidates[int(np.argmax(youden))])
    return chosen


def cross_validated(
    answers: Answers, samples: Samples, select: Samples, teacher: Teacher, recipe: Recipe, ask: Ask
) -> dict[str, float]:
    """The threshold of every sigmoid head by what each teacher answers to the samples that it had not met.

    Those are many more cases than `select` has. A network is as sure of itself as it is, so a teacher's threshold
    itself is of no use to its student: what is carried over is the share of `select` that it flags, which none of them
    has met. The student's threshold is the largest that flags as much of it as the teachers do on average.

    answers: of the student, to `select`. samples: those that `teacher.asked` divides.
    """
    heads = recipe.head_specs()
    assert teacher.asked is not None, "teachers of folds"
    asked = teacher.asked.cpu().numpy()
    shares: dict[str, list[float]] = {}
    for number, network in enumerate(teacher.networks):
        unseen = samples.only(np.flatnonzero(asked == number))
        theirs = ask(network, select)
        for name, threshold in thresholds(ask(network, unseen), unseen, heads, recipe).items():
            shares.setdefault(name, []).append(float((theirs[name][:, 0] >= threshold).mean()))
    found = {}
    for name, flagged in shares.items():
        scores = np.sort(answers[name][:, 0])[::-1]
        found[name] = float(scores[max(1, round(float(np.mean(flagged)) * len(scores))) - 1])
    return found
