"""What is promised of every subgroup that is large enough."""

from collections.abc import Iterator

from edgeskin.benchmarks.gate.accuracy import Accuracy, drop_terms, limited_drops, shipped_value
from edgeskin.benchmarks.gate.rules import Limit, Subgroups
from edgeskin.benchmarks.gate.term import Term
from edgeskin.benchmarks.measurements import MetricFigure, SubgroupFigure
from edgeskin.contract.declaration import nearest
from edgeskin.contract.model import ModelCard


def subgroup_terms(counted: Accuracy, rules: Subgroups, card: ModelCard) -> Iterator[Term]:
    """Of each limit, a promise for every subgroup; one that says so where no subgroup, or none of an attribute that is
    asked for, could be judged.
    """
    limits: list[tuple[str, float | Limit]] = [*rules.floor.items(), *limited_drops(rules.drop, card)]
    for metric, limit in limits:
        judged: set[str] = set()
        for one in counted.subgroups:
            if rules.attributes and one.attribute not in rules.attributes:
                continue
            figure, few = one.metrics.get(metric), _too_few(one, metric, rules)
            judged |= set() if few else {one.attribute}
            yield from _of_subgroup(counted, f"{metric}[{one.name}]", limit, figure, few)
        for attribute in rules.attributes or (() if judged else (_ANY,)):
            if attribute not in judged:
                why_not = _unjudged(counted, rules, attribute)
                yield from _of_subgroup(counted, f"{metric}[{attribute}]", limit, None, "", why_not)


def _of_subgroup(
    counted: Accuracy, name: str, limit: float | Limit, figure: MetricFigure | None, few: str, why_not: str = ""
) -> Iterator[Term]:
    if isinstance(limit, Limit):
        yield from drop_terms(counted, name, limit, figure, why_not, few)
    else:
        yield counted.term(name, limit, shipped_value(figure), "at least", why_not, few)


def _too_few(one: SubgroupFigure, metric: str, rules: Subgroups) -> str:
    """In words, where a subgroup has not enough cases for a metric."""
    figure, weakest = one.metrics.get(metric), one.weakest.get(metric, 0)
    n = figure.n if figure else 0
    if n < rules.minimum:
        return f"{n} case{'s'[: n != 1]}, fewer than {rules.minimum}"
    if weakest < rules.minimum_per_class:
        return f"{weakest} case{'s'[: weakest != 1]} of the rarest class, fewer than {rules.minimum_per_class}"
    return ""


_ANY = "any subgroup"


def _unjudged(counted: Accuracy, rules: Subgroups, attribute: str) -> str:
    if counted.report is not None and counted.report.subgroups is None:
        return "accuracy was measured without subgroups. Measure it again: --data DIR, or edgeskin evaluate"
    told = tuple(dict.fromkeys(one.attribute for one in counted.subgroups)) or ("none",)
    if attribute not in (_ANY, *told):
        return f"the data tell no attribute {attribute!r}{nearest(attribute, told)}"
    return (
        f"no subgroup has this metric of {rules.minimum} cases, {rules.minimum_per_class} of the rarest class. "
        f"Attributes that the data tell: {', '.join(told)}"
    )
