"""What is promised of accuracy on all images, and which accuracy counts."""

import difflib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from edgeskin.benchmarks.gate.rules import FITS, Drops, Gate, Limit
from edgeskin.benchmarks.gate.term import Comparison, Term
from edgeskin.benchmarks.measurements import AccuracyReport, Measurements, MetricFigure, SubgroupFigure
from edgeskin.contract.model import ModelCard

_ABSOLUTE: tuple[tuple[str, Comparison], ...] = (("floor", "at least"), ("ceiling", "at most"))


@dataclass(frozen=True)
class Accuracy:
    """The accuracy that counts, None where none does, and why not."""

    report: AccuracyReport | None
    why_not: str

    @property
    def metrics(self) -> Mapping[str, MetricFigure]:
        """The figures of all images."""
        return {} if self.report is None else self.report.metrics

    @property
    def subgroups(self) -> tuple[SubgroupFigure, ...]:
        """All subgroups; none where nobody looked."""
        return () if self.report is None else self.report.subgroups or ()

    def term(self, name: str, limit: float, value: float | None, at: Comparison, why_not: str, few: str = "") -> Term:
        """A promise on one figure. why_not: why there is none, where accuracy counts."""
        return Term(
            name=name,
            section="accuracy",
            comparison=at,
            limit=limit,
            measured=value,
            why_not=self.why_not or why_not,
            inherited_from=None if self.report is None else self.report.inherited_from,
            too_few=few,
        )


def counted_accuracy(measurements: Measurements, card: ModelCard, accept_inherited: bool, equivalent: bool) -> Accuracy:
    """equivalent: whether the artifact is on the golden cases, by everybody who ran it."""
    report = measurements.accuracy
    if report is None:
        return Accuracy(None, measurements.not_measured.get("accuracy", ""))
    why_not = ""
    if report.inherited_from is not None and not accept_inherited:
        why_not = "this profile does not accept inherited accuracy; give --data"
    elif report.inherited_from is not None and not equivalent:
        why_not = "evidence counts only for an artifact that is equivalent on all golden cases"
    elif report.dataset in card.provenance.data and "train" in report.split.split("+"):
        why_not = f"the network was trained on {report.split}; give another --split"
    elif report.seen_in_training is None and report.subgroups is not None:  # an older edgeskin told neither
        why_not = (
            "it is not known which images the network was trained on. Put its training_ids.txt back into the Graph "
            "folder, and measure again"
        )
    return Accuracy(None if why_not else report, why_not)


def accuracy_terms(counted: Accuracy, gate: Gate, card: ModelCard) -> Iterator[Term]:
    """Drops, floors and ceilings of all images."""
    for metric, limit in limited_drops(gate.drop, card):
        figure, why_not = _of_enough(counted, metric, gate, card)
        yield from drop_terms(counted, metric, limit, figure, why_not)
    for limits, at in _ABSOLUTE:
        for metric, value in getattr(gate, limits).items():
            figure, why_not = _of_enough(counted, metric, gate, card)
            yield counted.term(metric, value, shipped_value(figure), at, why_not)


def drop_terms(
    counted: Accuracy, name: str, limit: Limit, figure: MetricFigure | None, why_not: str, few: str = ""
) -> Iterator[Term]:
    """The two numbers of one limit. name: of the metric, with its subgroup in brackets if it has one."""
    drop, bound = (figure.drop, figure.drop_upper95) if figure and figure.n else (None, None)
    metric, _, subgroup = name.partition("[")
    subgroup = subgroup and f"[{subgroup}"
    yield counted.term(f"{metric}_drop{subgroup}", limit.estimate, drop, "at most", why_not, few)
    yield counted.term(f"{metric}_drop_upper95{subgroup}", limit.bound, bound, "at most", why_not, few)


def shipped_value(figure: MetricFigure | None) -> float | None:
    """The value of the network that ships; of no image there is none."""
    return figure.int8 if figure is not None and figure.n else None


def limited_drops(drops: Drops, card: ModelCard) -> Iterator[tuple[str, Limit]]:
    """The full name of every metric whose drop is limited, with its limit."""
    for key, kinds in FITS.items():
        limit: Limit | None = getattr(drops, key)
        for head in card.heads:
            if limit is not None and head.kind in kinds:
                yield (key if head.kind == "mask" else f"{head.name}_{key}"), limit


def _of_enough(counted: Accuracy, metric: str, gate: Gate, card: ModelCard) -> tuple[MetricFigure | None, str]:
    """The figure of a metric, None where it rests on fewer images than the gate demands; and why there is no value."""
    figure = counted.metrics.get(metric)
    if counted.report is None or figure is None or not figure.n:
        return None, _undefined_or_unknown(metric, counted.metrics, card)
    if figure.n < gate.minimum:
        return None, f"only {figure.n} images count for it, and the gate demands {gate.minimum} (minimum)"
    weakest = (counted.report.weakest or {}).get(metric)
    if weakest and weakest < gate.minimum_per_class:
        demanded = f"the gate demands {gate.minimum_per_class} (minimum_per_class)"
        return None, f"only {weakest} images are of a class that it needs, and {demanded}"
    return figure if weakest != 0 else None, _undefined_or_unknown(metric, counted.metrics, card)


def _undefined_or_unknown(metric: str, figures: Collection[str], card: ModelCard) -> str:
    if metric in figures:
        return "undefined on these images, which lack a class"
    for head in card.heads if figures else ():
        if metric.startswith(f"{head.name}_") and not any(name.startswith(f"{head.name}_") for name in figures):
            return f"none of these images has a truth for {head.name}"
    near = difflib.get_close_matches(metric, figures, n=1)
    return f"there is no metric {metric} for these images" + (f"; did you mean {near[0]}?" if near else "")
