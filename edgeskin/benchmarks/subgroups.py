"""Accuracy by subgroup: the metrics that a gate may ask of women and men, of every age band, site and skin type."""

from collections.abc import Iterable, Iterator, Sequence
from functools import partial

import numpy as np

from edgeskin.benchmarks import metrics
from edgeskin.benchmarks.answers import Answers, Predictions
from edgeskin.benchmarks.bootstrap import compare
from edgeskin.benchmarks.measurements import MetricFigure, SubgroupFigure
from edgeskin.benchmarks.metrics import Bools, Counts
from edgeskin.data.subgroups import Division


def subgroup_figures(
    divisions: Iterable[Division],
    answers: Sequence[Answers],
    in_float: Predictions,
    in_int8: Predictions,
    counts: Counts,
) -> tuple[SubgroupFigure, ...]:
    """Every subgroup of every attribute, by the resamples of all images.

    Shapes: counts [resamples, cases].
    """
    return tuple(
        _subgroup(division, value, answers, in_float, in_int8, counts)
        for division in divisions
        for value in division.subgroups
    )


def _subgroup(
    division: Division,
    value: str,
    answers: Sequence[Answers],
    in_float: Predictions,
    in_int8: Predictions,
    counts: Counts,
) -> SubgroupFigure:
    inside = np.array([own == value for own in division.values], bool)
    heads = [each for each in (one.only(inside[one.rows]) for one in answers) if len(each.rows)]
    found = [*_mask(inside, in_float, in_int8, counts), *(row for each in heads for row in _of_head(each))]
    return SubgroupFigure(
        attribute=division.attribute,
        value=value,
        n=int(np.count_nonzero(inside)),
        classes={each.head.name: each.classes for each in heads},
        metrics={name: figure for name, figure, _ in found},
        weakest={name: weakest for name, _, weakest in found},
    )


def _mask(
    inside: Bools, in_float: Predictions, in_int8: Predictions, counts: Counts
) -> Iterator[tuple[str, MetricFigure, int]]:
    if not (inside & in_int8.masked).any():
        return
    a, b = (metrics.jaccard(one.cleaned)[inside[one.masked]] for one in (in_float, in_int8))
    figure = compare(partial(metrics.mean, a), partial(metrics.mean, b), counts[:, inside & in_int8.masked])
    yield "mask_jaccard", figure, figure.n


def _of_head(own: Answers) -> Iterator[tuple[str, MetricFigure, int]]:
    """Name, figure, and how many cases it rests on at its weakest."""
    name = own.head.name
    if own.head.kind == "softmax":
        figures = {f"{name}_balanced_accuracy": own.of_confusion(metrics.balanced_accuracy)}
    else:
        figures = {
            f"{name}_auroc": own.auroc(),
            f"{name}_sensitivity": own.sensitivity(),
            f"{name}_specificity": own.specificity(),
        }
    for metric, figure in figures.items():
        yield metric, figure, own.weakest[metric]
