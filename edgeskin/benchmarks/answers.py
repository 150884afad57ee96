"""What both networks answered, beside the truth: what every figure of the accuracy is made of."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from edgeskin.benchmarks import metrics
from edgeskin.benchmarks.bootstrap import Statistic, compare
from edgeskin.benchmarks.measurements import Confusion, MetricFigure
from edgeskin.benchmarks.metrics import Bools, Counts, Floats, Integers, PixelCounts
from edgeskin.contract.model import HeadSpec
from edgeskin.data.cases import Case
from edgeskin.data.labels import MISSING, truth
from edgeskin.targets.base import Float32


@dataclass(frozen=True, eq=False)
class Predictions:
    """What one network answered on a set of cases.

    probabilities: by head other than the mask, float32 [cases, labels]. masked: which cases were compared with a mask;
    cleaned, raw: their pixel counts with and without clean-up, at the photos' own sizes, in the cases' order.
    """

    image_ids: tuple[str, ...]
    probabilities: Mapping[str, Float32]
    masked: Bools
    cleaned: PixelCounts
    raw: PixelCounts


@dataclass(frozen=True, eq=False)
class Answers:
    """What both networks answered to one head, on the cases (`rows` of all) whose truth is known.

    truth: int64 [rows]. in_float, in_int8: probabilities, float32 [rows, labels]. counts: [resamples, rows].
    """

    head: HeadSpec
    rows: Integers
    truth: Integers
    in_float: Float32
    in_int8: Float32
    counts: Counts

    @staticmethod
    def of(
        head: HeadSpec, cases: Sequence[Case], in_float: Predictions, in_int8: Predictions, counts: Counts
    ) -> "Answers":
        """Raises: DataError for a label that the head does not know."""
        known = truth(cases, head, head.truth_column, head.values)
        rows = np.flatnonzero(known != MISSING)
        a, b = (one.probabilities[head.name][rows] for one in (in_float, in_int8))
        return Answers(head, rows, known[rows], a, b, counts[:, rows])

    def only(self, chosen: Bools) -> "Answers":
        """The same on some of the rows."""
        return Answers(
            self.head,
            self.rows[chosen],
            self.truth[chosen],
            self.in_float[chosen],
            self.in_int8[chosen],
            self.counts[:, chosen],
        )

    def figure(self, statistic: Callable[[Float32], Statistic], *, lower_is_better: bool = False) -> MetricFigure:
        """One metric; `statistic` makes it of the probabilities of one network."""
        return compare(statistic(self.in_float), statistic(self.in_int8), self.counts, lower_is_better=lower_is_better)

    @property
    def threshold(self) -> float:
        """The stored threshold of a sigmoid head."""
        assert self.head.threshold is not None, "the model card demands a threshold of a sigmoid head"
        return self.head.threshold

    @property
    def positive(self) -> Bools:
        """Of a sigmoid head: where the truth is yes."""
        return np.equal(self.truth, 1)

    @property
    def classes(self) -> dict[str, int]:
        """How many rows are of each class; of a sigmoid head, no and yes."""
        labels = self.head.labels if self.head.kind == "softmax" else ("no", "yes")
        return {label: int(np.count_nonzero(self.truth == index)) for index, label in enumerate(labels)}

    @property
    def weakest(self) -> dict[str, int]:
        """How many rows a metric that needs a class rests on at its weakest, by the metric's full name."""
        name, classes = self.head.name, self.classes
        rarest = {f"{name}_{kind}": min(classes.values()) for kind in ("auroc", "balanced_accuracy")}
        if self.head.kind == "softmax":
            return rarest
        rarest[f"{name}_sensitivity_at_specificity_80"] = min(classes.values())
        return rarest | {f"{name}_sensitivity": classes["yes"], f"{name}_specificity": classes["no"]}

    def auroc(self) -> MetricFigure:
        """Of a sigmoid head its own; of a softmax head the mean over the classes, each against the rest."""
        if self.head.kind == "softmax":
            return self.figure(lambda p: partial(metrics.macro_auroc, self.truth, p))
        return self.figure(lambda p: partial(metrics.auroc, self.positive, p[:, 0]))

    def sensitivity(self) -> MetricFigure:
        """Of a sigmoid head at its threshold."""
        return self.figure(lambda p: partial(metrics.sensitivity, self.positive, p[:, 0], self.threshold))

    def specificity(self) -> MetricFigure:
        """Of a sigmoid head at its threshold."""
        return self.figure(lambda p: partial(metrics.specificity, self.positive, p[:, 0], self.threshold))

    def calibration_error(self) -> MetricFigure:
        """Of yes, or of the largest probability of a softmax head."""
        return self.figure(
            lambda p: partial(metrics.calibration_error, self.happened(p), self.probability(p)), lower_is_better=True
        )

    def of_confusion(self, metric: Callable[[Floats], Floats]) -> MetricFigure:
        """A metric of the confusion matrix; that of a sigmoid head at its threshold."""
        return self.figure(lambda p: _of(metric, self.matrix(p)))

    def matrix(self, probabilities: Float32) -> Statistic:
        """The confusion matrix as a function of how often each case counts."""
        if self.head.kind == "softmax":
            return partial(metrics.confusion, self.truth, probabilities.argmax(axis=1), len(self.head.labels))
        decided = (probabilities[:, 0] >= self.threshold).astype(np.int64)
        return partial(metrics.confusion, self.truth, decided, 2)

    def confusion(self) -> Confusion:
        """The confusion matrices of a softmax head, each case counted once."""
        once = np.ones(len(self.rows))
        in_float, in_int8 = (
            tuple(tuple(int(cell) for cell in row) for row in self.matrix(one)(once))
            for one in (self.in_float, self.in_int8)
        )
        return Confusion(labels=self.head.labels, float=in_float, int8=in_int8)

    def happened(self, probabilities: Float32) -> Bools:
        """Whether what `probability` is about is true."""
        return self.positive if self.head.kind == "sigmoid" else probabilities.argmax(axis=1) == self.truth

    def probability(self, probabilities: Float32) -> Float32:
        """That of yes, or the largest of a softmax head."""
        return probabilities[:, 0] if self.head.kind == "sigmoid" else probabilities.max(axis=1)

    def of_truth(self, probabilities: Float32) -> Float32:
        """The probability that each row's truth was given."""
        if self.head.kind == "sigmoid":
            return np.where(self.positive, probabilities[:, 0], 1 - probabilities[:, 0])
        return np.take_along_axis(probabilities, self.truth[:, np.newaxis], axis=1)[:, 0]


def _of(metric: Callable[[Floats], Floats], matrix: Statistic) -> Statistic:
    return lambda counts: metric(matrix(counts))
