"""The gate: every promise is one number against one limit, and what was not measured has failed.

A gate file (benchmarks/gates/*.toml) says what must hold; the profile says which sections may stay pending until a
device has measured them, and whether accuracy may be inherited from evidence.
"""

import difflib
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, TypeAlias

from pydantic import AfterValidator, Field

from edgeskin import shipped
from edgeskin.benchmarks.budget import Budget, Ceiling, NamedDevice, of_device
from edgeskin.benchmarks.measurements import (
    AccuracyReport,
    Equivalence,
    Measured,
    Measurements,
    MetricFigure,
    PlacementFigure,
    SubgroupFigure,
    Verified,
)
from edgeskin.contract import declaration
from edgeskin.contract.model import Frozen, ModelCard, Name
from edgeskin.targets.base import Precision

Section: TypeAlias = Literal["accuracy", "numerics", "latency", "size", "memory", "placement"]
State: TypeAlias = Literal["passed", "inherited", "reported", "pending", "failed"]
"""`reported`: of too few cases to be judged, and shown all the same."""
Outcome: TypeAlias = Literal["passed", "pending", "failed"]
Comparison: TypeAlias = Literal["at most", "at least"]
Positive: TypeAlias = Annotated[float, Field(gt=0)]
Share: TypeAlias = Annotated[float, Field(ge=0, le=1)]

_EXIT_CODES: dict[Outcome, Literal[0, 3, 4]] = {"passed": 0, "failed": 3, "pending": 4}
_NAMED = 5
"""So many operators are named; more are counted."""
_ROUNDING = 1e-9
"""0.85 − 0.83 is 0.020000000000000018 in binary, and that is a drop of 0.02."""


class Limit(Frozen):
    """How much worse int8 may be than float: the drop itself, and its one-sided 95 % paired bootstrap bound."""

    estimate: Share
    bound: Share


class Drops(Frozen):
    """Limits from float to int8 on the same images; each holds for every head of the kind it fits."""

    mask_jaccard: Limit | None = None
    mask_dice: Limit | None = None
    auroc: Limit | None = None
    sensitivity: Limit | None = None
    sensitivity_at_specificity_80: Limit | None = None
    balanced_accuracy: Limit | None = None
    ece: Limit | None = None


_FITS: dict[str, tuple[str, ...]] = {
    "mask_jaccard": ("mask",),
    "mask_dice": ("mask",),
    "auroc": ("sigmoid",),
    "sensitivity": ("sigmoid",),
    "sensitivity_at_specificity_80": ("sigmoid",),
    "balanced_accuracy": ("softmax",),
    "ece": ("sigmoid", "softmax"),
}
"""The kinds of head each limit of `Drops` speaks of."""


def _higher_is_better(name: str) -> str:
    if name.endswith("_ece"):
        raise ValueError(
            f"{name}: a floor is for metrics where more is better; write ceiling.{name}, or limit drop.ece"
        )
    return name


def _lower_is_better(name: str) -> str:
    if not name.endswith("_ece"):
        raise ValueError(f"{name}: a ceiling is for metrics where less is better, as <head>_ece; write floor.{name}")
    return name


Floors: TypeAlias = dict[Annotated[Name, AfterValidator(_higher_is_better)], Share]
"""The least value of a metric of the network that ships, by its full name (`melanoma_auroc`)."""


class Subgroups(Frozen):
    """What must hold of every subgroup that is large enough to be judged; a smaller one is reported.

    minimum: so many cases must count for a metric. minimum_per_class: and so many of each class that it needs.
    attributes: those that must be told and judged; where none is named, all that the data set tells, of which one
    subgroup at least must be large enough for each limit.
    """

    minimum: Annotated[int, Field(ge=1)] = 50
    minimum_per_class: Annotated[int, Field(ge=1)] = 10
    attributes: tuple[Name, ...] = ()
    floor: Floors = Field(default_factory=dict)
    drop: Drops = Drops()


class Gate(Frozen):
    """What must hold of one bundle; what is left out is not promised.

    drop: float → int8. floor: as `Floors`. ceiling: the same for what is better where it is less (`melanoma_ece`).
    subgroup: besides, of every subgroup.
    equivalent: the artifact computes what the network it was built from computes, as `Equivalence` defines it; where
    the machine that built it cannot run it, a device must have computed it besides.
    integer_convolutions_min: share of the convolutions that must run as integer kernels (int8 only).
    float_operators_max: how many operators may run in float although the network quantizes them (int8 only).
    undelegated_max: how many operators a delegate may leave to the processor; not measured where an engine has none.
    speedup_vs_fp32_min: not asked of an fp32 artifact. latency_p90_ms_max: of the network alone, at the profile's
    threads.
    """

    description: str = ""
    drop: Drops = Drops()
    floor: Floors = Field(default_factory=dict)
    ceiling: dict[Annotated[Name, AfterValidator(_lower_is_better)], Share] = Field(default_factory=dict)
    subgroup: Subgroups = Subgroups()
    equivalent: bool = False
    speedup_vs_fp32_min: Positive | None = None
    latency_p90_ms_max: Positive | None = None
    size_mib_max: Positive | None = None
    peak_memory_mib_max: Positive | None = None
    integer_convolutions_min: Share | None = None
    float_operators_max: Annotated[int, Field(ge=0)] | None = None
    undelegated_max: Annotated[int, Field(ge=0)] | None = None

    @staticmethod
    def read(path: Path) -> "Gate":
        """Read a gate file. Raises: RecipeError with all its mistakes, each with the nearest valid key."""
        return declaration.read(path, Gate)

    @staticmethod
    def find(name: str) -> "Gate":
        """A gate by path or shipped name. Raises: EdgeskinError that lists the shipped ones; RecipeError as `read`."""
        return Gate.read(shipped.find("gates", name))


_ABSOLUTE: tuple[tuple[str, Comparison], ...] = (("floor", "at least"), ("ceiling", "at most"))


class Promise(Frozen):
    """One number against one limit, and how it came out.

    measured: None where it was not measured. attested_by: the attestation that it was measured by, None where that was
    when the bundle was made. sentence: the same for a reader.
    """

    name: str
    section: Section
    comparison: Comparison
    limit: float
    measured: Measured
    state: State
    sentence: str
    attested_by: str | None = None


class Verdict(Frozen):
    """How a bundle came out of its gate. Passed means that every promise that was judged passed or was inherited, and
    that there was one.
    """

    state: Outcome
    promises: tuple[Promise, ...]

    @property
    def exit_code(self) -> Literal[0, 3, 4]:
        """0 passed, 3 failed, 4 pending on a device."""
        return _EXIT_CODES[self.state]

    def in_state(self, state: State) -> tuple[Promise, ...]:
        """The promises that came out as `state`."""
        return tuple(promise for promise in self.promises if promise.state == state)


class _Term(Frozen):
    """A promise before it is judged.

    source: where the limit comes from, if not from the gate. why_not: why there is no number. where: what a bad number
    should send the reader to. too_few: of how few cases it is, where they are too few to judge.
    """

    name: str
    section: Section
    comparison: Comparison
    limit: float
    measured: Measured
    source: str = ""
    why_not: str = ""
    where: str = ""
    inherited_from: str | None = None
    too_few: str = ""


def judge(
    measurements: Measurements,
    gate: Gate,
    card: ModelCard,
    precision: Precision,
    *,
    may_be_pending: Collection[Section] = (),
    accept_inherited: bool = False,
    attested: Mapping[str, Measurements] | None = None,
    budget: Budget | None = None,
    device: NamedDevice | None = None,
) -> Verdict:
    """Hold what was measured against the gate.

    budget: limits of the device besides; of two limits on one figure the tighter holds. device: the machine whose
    latency, memory and placement count, as `of_device` has it; any, where none is named.
    attested: what devices measured of the same bytes later, by the name of the attestation. A promise that was measured
    anywhere and is bad there has failed; otherwise one that was measured anywhere is good.

    Measured and bad is failed. Not measured is failed, or pending where its section is in `may_be_pending`. Accuracy
    that rests on evidence counts only where `accept_inherited` says so and the artifact is equivalent on the golden
    cases, wherever it was run; otherwise it was not measured. Nor was it on images that the network has learnt from.
    Failed beats pending. A gate that promises nothing of this network, or nothing that could be judged, is not a pass.
    """
    measurements = of_device(measurements, device)
    overlaid = {name: measurements.overlaid(of_device(later, device)) for name, later in (attested or {}).items()}
    equivalent = all(figures.equivalent is True for figures in (measurements, *overlaid.values()))

    def settled(figures: Measurements, attested_by: str | None = None) -> Iterator[Promise]:
        terms = [
            *_accuracy(counted := _counted(figures, card, accept_inherited, equivalent), gate, card),
            *_subgroups(counted, gate.subgroup, card),
            *(_numerics(figures, card, measurements.verified) if gate.equivalent else ()),
            *_resources(figures, gate, precision, budget or Budget()),
        ]
        return (_settle(term, may_be_pending, attested_by) for term in terms)

    later = (settled(figures, name) for name, figures in overlaid.items())
    promises = tuple(map(_weightiest, zip(settled(measurements), *later, strict=True)))
    states = {promise.state for promise in promises}
    if states <= {"reported"} or "failed" in states:
        return Verdict(state="failed", promises=promises)
    return Verdict(state="pending" if "pending" in states else "passed", promises=promises)


def _weightiest(same: Sequence[Promise]) -> Promise:
    """One promise as it came out by every machine: a bad figure, else a good one, else what the last to try says."""
    measured = [promise for promise in same if promise.measured is not None]
    return next((promise for promise in measured if promise.state == "failed"), measured[0] if measured else same[-1])


def _settle(term: _Term, may_be_pending: Collection[Section], attested_by: str | None) -> Promise:
    limit = f"{term.comparison} {term.limit:.6g}{f' ({term.source})' if term.source else ''}"
    measured, why_not = term.measured, term.why_not
    if measured is not None and not _possible(term.section, measured):
        measured, why_not = None, f"{measured:.6g} is no measurement"
    state: State
    if term.too_few:
        state = "reported"
        figure = "not measured" if measured is None else f"{measured:.6g}"
        sentence = f"{figure}, of {term.too_few}: reported and not judged; it would have to be {limit}"
    elif measured is None:
        state = "pending" if term.section in may_be_pending else "failed"
        sentence = f"not measured{': ' + why_not if why_not else ''}; it must be {limit}"
    else:
        over = measured - term.limit if term.comparison == "at most" else term.limit - measured
        good = over <= _ROUNDING
        state = ("inherited" if term.inherited_from else "passed") if good else "failed"
        source = f", from the evidence of {term.inherited_from}" if term.inherited_from else ""
        sentence = f"{measured:.6g}{source}; {'is' if good else 'must be'} {limit}"
        sentence += f" ({term.where})" if term.where and not good else ""
        sentence = f"on {attested_by}: {sentence}" if attested_by else sentence
    return Promise(
        name=term.name,
        section=term.section,
        comparison=term.comparison,
        limit=term.limit,
        measured=measured,
        state=state,
        sentence=sentence,
        attested_by=None if measured is None else attested_by,
    )


def _possible(section: Section, figure: float) -> bool:
    """Whether anything can measure so: no time, size or memory is nothing or less, as by a clock that steps back."""
    return math.isfinite(figure) and (section not in {"latency", "size", "memory"} or figure > 0)


@dataclass(frozen=True)
class _Accuracy:
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

    def term(self, name: str, limit: float, value: float | None, at: Comparison, why_not: str, few: str = "") -> _Term:
        """A promise on one figure. why_not: why there is none, where accuracy counts."""
        return _Term(
            name=name,
            section="accuracy",
            comparison=at,
            limit=limit,
            measured=value,
            why_not=self.why_not or why_not,
            inherited_from=None if self.report is None else self.report.inherited_from,
            too_few=few,
        )


def _counted(measurements: Measurements, card: ModelCard, accept_inherited: bool, equivalent: bool) -> _Accuracy:
    """equivalent: whether the artifact is on the golden cases, by everybody who ran it."""
    report = measurements.accuracy
    if report is None:
        return _Accuracy(None, measurements.not_measured.get("accuracy", ""))
    why_not = ""
    if report.inherited_from is not None and not accept_inherited:
        why_not = "this profile does not accept inherited accuracy; give --data"
    elif report.inherited_from is not None and not equivalent:
        why_not = "evidence counts only for an artifact that is equivalent on all golden cases"
    elif report.dataset in card.provenance.data and "train" in report.split.split("+"):
        why_not = f"the network was trained on {report.split}; give another --split"
    return _Accuracy(None if why_not else report, why_not)


def _accuracy(counted: _Accuracy, gate: Gate, card: ModelCard) -> Iterator[_Term]:
    figures = counted.metrics
    for metric, limit in _drops(gate.drop, card):
        why_not, figure = _undefined_or_unknown(metric, figures), figures.get(metric)
        yield from _drop(counted, metric, limit, figure, why_not)
    for limits, at in _ABSOLUTE:
        for metric, value in getattr(gate, limits).items():
            figure = figures.get(metric)
            yield counted.term(metric, value, _shipped(figure), at, _undefined_or_unknown(metric, figures))


def _drop(
    counted: _Accuracy, name: str, limit: Limit, figure: MetricFigure | None, why_not: str, few: str = ""
) -> Iterator[_Term]:
    drop, bound = (figure.drop, figure.drop_upper95) if figure and figure.n else (None, None)
    metric, _, subgroup = name.partition("[")
    subgroup = subgroup and f"[{subgroup}"
    yield counted.term(f"{metric}_drop{subgroup}", limit.estimate, drop, "at most", why_not, few)
    yield counted.term(f"{metric}_drop_upper95{subgroup}", limit.bound, bound, "at most", why_not, few)


def _shipped(figure: MetricFigure | None) -> float | None:
    """The value of the network that ships; of no image there is none."""
    return figure.int8 if figure is not None and figure.n else None


def _drops(drops: Drops, card: ModelCard) -> Iterator[tuple[str, Limit]]:
    """The full name of every metric whose drop is limited, with its limit."""
    for key, kinds in _FITS.items():
        limit: Limit | None = getattr(drops, key)
        for head in card.heads:
            if limit is not None and head.kind in kinds:
                yield (key if head.kind == "mask" else f"{head.name}_{key}"), limit


def _undefined_or_unknown(metric: str, figures: Collection[str]) -> str:
    if metric in figures:
        return "undefined on these images, which lack a class"
    near = difflib.get_close_matches(metric, figures, n=1)
    return f"there is no metric {metric}" + (f", did you mean {near[0]}?" if near else " for these images")


def _numerics(measurements: Measurements, card: ModelCard, made_by: Verified) -> Iterator[_Term]:
    """made_by: who answered where the bundle was made; after our executor, a device must answer too."""
    rule, hops = Equivalence(), measurements.artifact_hops
    unseen = sorted({head.name for head in card.heads} - {hop.tensor for hop in hops})
    judged = () if unseen else tuple(hop for hop in measurements.numerics if hop.equivalent is not None)
    unrun = measurements.not_measured.get("numerics", "")
    why_not = f"the artifact was not compared on {', '.join(unseen)}" if unseen else unrun
    first = measurements.first_divergence
    where = f"it first diverges at {first.name}, {first.tensor}" if first is not None else ""

    def term(name: str, at: Comparison, limit: float, value: float | None) -> _Term:
        return _Term(
            name=name, section="numerics", comparison=at, limit=limit, measured=value, why_not=why_not, where=where
        )

    differing = None if measurements.reads_back is None else float(not measurements.reads_back)
    yield term("read_back_differences", "at most", 0, differing)
    if card.mask is not None:
        shares = [
            (hop.mask_agreement, rule.mask_agreement_limit(hop.engine_gap))
            for hop in judged
            if hop.mask_agreement is not None
        ]
        least, needed = max(
            shares, key=lambda share: (1 - share[0]) / (1 - share[1]), default=(None, rule.mask_agreement)
        )
        yield term("mask_agreement", "at least", needed, least)
    gaps = [(hop.mean_abs, rule.mean_abs_limit(hop.engine_gap)) for hop in judged if hop.mean_abs is not None]
    worst, allowed = max(gaps, key=lambda gap: gap[0] / gap[1], default=(None, rule.mean_abs))
    yield term("mean_probability_difference", "at most", allowed, worst)
    if any(head.kind != "mask" for head in card.heads):
        equal = [hop.labels_equal for hop in judged if hop.labels_equal is not None]
        yield term("outputs_with_other_decisions", "at most", 0, float(equal.count(False)) if equal else None)
    if made_by != "device":
        ran = measurements.verified == "device" and not unseen
        yield term("device_numerics", "at least", 1, float(measurements.equivalent is True) if ran else None)


def _subgroups(counted: _Accuracy, rules: Subgroups, card: ModelCard) -> Iterator[_Term]:
    """Of each limit, a promise for every subgroup; one that says so where no subgroup, or none of an attribute that is
    asked for, could be judged.
    """
    limits: list[tuple[str, float | Limit]] = [*rules.floor.items(), *_drops(rules.drop, card)]
    for metric, limit in limits:
        judged: set[str] = set()
        for one in counted.subgroups:
            if rules.attributes and one.attribute not in rules.attributes:
                continue
            figure, few = one.metrics.get(metric), _too_few(one, metric, rules)
            judged |= set() if few else {one.attribute}
            yield from _of_subgroup(counted, f"{metric}[{one.name}]", limit, figure, few)
        for attribute in rules.attributes or (() if judged else ("any subgroup",)):
            if attribute not in judged:
                yield from _of_subgroup(counted, f"{metric}[{attribute}]", limit, None, "", _unjudged(counted, rules))


def _of_subgroup(
    counted: _Accuracy, name: str, limit: float | Limit, figure: MetricFigure | None, few: str, why_not: str = ""
) -> Iterator[_Term]:
    if isinstance(limit, Limit):
        yield from _drop(counted, name, limit, figure, why_not, few)
    else:
        yield counted.term(name, limit, _shipped(figure), "at least", why_not, few)


def _too_few(one: SubgroupFigure, metric: str, rules: Subgroups) -> str:
    """In words, where a subgroup has not enough cases for a metric."""
    figure, weakest = one.metrics.get(metric), one.weakest.get(metric, 0)
    n = figure.n if figure else 0
    if n < rules.minimum:
        return f"{n} cases, fewer than {rules.minimum}"
    if weakest < rules.minimum_per_class:
        return f"{weakest} cases of the rarest class, fewer than {rules.minimum_per_class}"
    return ""


def _unjudged(counted: _Accuracy, rules: Subgroups) -> str:
    if counted.report is not None and counted.report.subgroups is None:
        return "accuracy was measured without subgroups. Measure it again: --data DIR, or edgeskin evaluate"
    told = ", ".join(dict.fromkeys(one.attribute for one in counted.subgroups)) or "none"
    return (
        f"no subgroup has this metric of {rules.minimum} cases, {rules.minimum_per_class} of the rarest class. "
        f"Attributes that the data tell: {told}"
    )


_Bound: TypeAlias = tuple[float | None, str]
"""A limit, and where it comes from if not from the gate."""


def _tighter(limit: float | None, ceiling: Ceiling | None) -> _Bound:
    if ceiling is None or (limit is not None and limit < ceiling.at_most):
        return limit, ""
    return ceiling.at_most, ceiling.source


def _resources(measured: Measurements, gate: Gate, precision: Precision, budget: Budget) -> Iterator[_Term]:
    speed, memory, placement = measured.speed, measured.memory, measured.placement
    latency = measured.model_latency(precision)
    speedup = gate.speedup_vs_fp32_min if precision != "fp32" else None
    integer, in_float = (
        (gate.integer_convolutions_min, gate.float_operators_max) if precision == "int8" else (None, None)
    )
    names_in_float = placement.float_operators if placement else None
    within = {
        "latency": _tighter(gate.latency_p90_ms_max, budget.latency_p90_ms),
        "size": _tighter(gate.size_mib_max, budget.size_mib),
        "memory": _tighter(gate.peak_memory_mib_max, budget.peak_memory_mib),
    }
    rows: tuple[tuple[str, Section, Comparison, _Bound, float | None], ...] = (
        ("speedup_vs_fp32", "latency", "at least", (speedup, ""), speed.speedup_vs_fp32 if speed else None),
        ("latency_p90_ms", "latency", "at most", within["latency"], latency.p90_ms if latency else None),
        ("size_mib", "size", "at most", within["size"], measured.size_mib),
        ("peak_memory_mib", "memory", "at most", within["memory"], memory.total_mib if memory else None),
        (
            "integer_convolutions",
            "placement",
            "at least",
            (integer, ""),
            placement.integer_fraction if placement else None,
        ),
        (
            "float_operators",
            "placement",
            "at most",
            (in_float, ""),
            None if names_in_float is None else len(names_in_float),
        ),
        ("undelegated_operators", "placement", "at most", (gate.undelegated_max, ""), _undelegated(placement)),
    )
    where = {
        "float_operators": names_in_float or (),
        "undelegated_operators": placement.undelegated if placement else (),
    }
    for name, section, comparison, (limit, source), value in rows:
        if limit is not None:
            yield _Term(
                name=name,
                section=section,
                comparison=comparison,
                limit=limit,
                measured=value,
                source=source,
                why_not=measured.not_measured.get(section, ""),
                where=", ".join(where.get(name, ())[:_NAMED]),
            )


def _undelegated(placement: PlacementFigure | None) -> float | None:
    """How many operators a delegate left; None where nobody told, or the engine has no delegate."""
    return None if placement is None or placement.partitions is None else len(placement.undelegated)
