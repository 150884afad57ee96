"""How figures and states are spelled, the same in every form of the report."""

import math
from collections import Counter
from collections.abc import Sequence

from edgeskin.benchmarks import board, device, latency
from edgeskin.benchmarks.gate import Promise, Section, State, Verdict
from edgeskin.benchmarks.measurements import (
    DeviceFacts,
    Measurements,
    MetricFigure,
    PlacementFigure,
    SpeedRatio,
    SubgroupFigure,
)
from edgeskin.benchmarks.report.model import Report

NOT_MEASURED = "not measured"
NO_START = f"{NOT_MEASURED}; loading and the first run, which edgeskin attest BUNDLE --release times"
NONE_CLAIMED = "none claimed"
_NO_ENGINES = frozenset({"PIL", "cv2"})
DOUBTED = "⚠"
"""Stands at a figure that what else the machine did makes doubtful."""
FEW = 5
"""So many operators are named; more are counted."""
STATES: tuple[State, ...] = ("passed", "inherited", "reported", "pending", "failed")
MARKS: dict[str, str] = {"passed": "✓", "inherited": "✓", "reported": "·", "pending": "…", "failed": "✗"}


def counts(verdict: Verdict) -> str:
    """How many promises came out how, or that there is none."""
    told = ", ".join(f"{len(verdict.in_state(state))} {state}" for state in STATES if verdict.in_state(state))
    return told or "the gate promises nothing of this network, and that is not a pass"


def number(value: float | None, digits: int = 4) -> str:
    """A figure to so many significant digits; whole numbers from ten on without a point."""
    if value is None or math.isnan(value):
        return NOT_MEASURED
    return str(int(value)) if value == int(value) and abs(value) >= 10 else f"{value:.{digits}g}"


def decimals(value: float | None) -> str:
    """A share to four decimals, so that columns line up."""
    return NOT_MEASURED if value is None else f"{value:.4f}"


def absent(measured: Measurements, section: Section) -> str:
    """That a section was not measured, and why, where that is known."""
    reason = measured.not_measured.get(section)
    return NOT_MEASURED if reason is None else f"{NOT_MEASURED}: {reason}"


def unit(value: float | None, unit: str) -> str:
    """A figure with its unit."""
    return NOT_MEASURED if value is None else f"{number(value)} {unit}"


def claimed(figure: MetricFigure) -> tuple[float, float] | None:
    """Its 95 % interval; None where too few resamples define the metric, or no resample varies it."""
    low, high = figure.ci95 or (None, None)
    return None if low is None or high is None or high - low < 1e-9 else (low, high)


def interval(figure: MetricFigure) -> str:
    """Its 95 % interval, lower to upper end."""
    ends = claimed(figure)
    if ends is None:
        return NOT_MEASURED if figure.int8 is None else NONE_CLAIMED
    return f"{decimals(ends[0])} – {decimals(ends[1])}"


def faster(ratio: SpeedRatio | None) -> tuple[str, str] | None:
    """How many times as fast as fp32, and how that is known; None where it was not measured."""
    if ratio is None or ratio.speedup_vs_fp32 is None:
        return None
    ends = "" if ratio.low is None else f"95 % interval {number(ratio.low, 3)} – {number(ratio.high, 3)}, "
    return (
        f"{ratio.speedup_vs_fp32:.2f}× as fast as fp32",
        f"{ends}{ratio.pairs} interleaved pairs, threads: {ratio.threads}",
    )


def speed(ratio: SpeedRatio | None) -> str:
    """The same in one line, marked where the machine makes it doubtful."""
    told = faster(ratio)
    if ratio is None or told is None:
        return NOT_MEASURED
    return f"{told[0]} ({told[1]}){f' {DOUBTED}' if latency.warning(ratio) else ''}"


def doubts(measured: Measurements) -> tuple[str, ...]:
    """What of the machine makes its times doubtful, or slower than they could be, in sentences."""
    timed = (*measured.latency, *((measured.speed,) if measured.speed is not None else ()))
    found = [sentence for sentence in map(latency.warning, timed) if sentence is not None]
    return (*found, *(board.cautions(measured.device) if measured.device is not None else ()))


def judged(promise: Promise, report: Report, digits: int) -> str:
    """What a promise was judged by, to so many digits; marked where the machine that measured it makes it doubtful."""
    later = {one.name: one.measurements for one in report.attestations}
    measured = later.get(promise.attested_by or "", report.measurements)
    timed = {"speedup_vs_fp32": measured.speed, "latency_p90_ms": measured.model_latency(report.precision)}
    figure = None if promise.measured is None else timed.get(promise.name)
    mark = f" {DOUBTED}" if figure is not None and latency.warning(figure) else ""
    return f"{number(promise.measured, digits)}{mark}"


def of_machine(measured: Measurements) -> tuple[str, ...]:
    """Every sentence that is about the machine alone."""
    note = None if measured.device is None else device.saturation_note(measured.device.flags)
    return (*doubts(measured), *((note,) if note is not None else ()))


def cautions(report: Report) -> tuple[str, ...]:
    """What a reader must know beside the figures, but for what stands beside the times."""
    accuracy, there = report.measurements.accuracy, doubts(report.measurements)
    told = dict.fromkeys([*(accuracy.cautions if accuracy is not None else ()), *report.cautions])
    return tuple(sentence for sentence in told if sentence not in there)


def seen(image_ids: Sequence[str]) -> str:
    """That images were left out because the network knows them from training, and which."""
    more = ", …" if len(image_ids) > FEW else ""
    named = f"{', '.join(image_ids[:FEW])}{more}"
    return f"Left out as seen in training: {many(len(image_ids), 'image')} ({named})."


def subgroup_metrics(subgroups: Sequence[SubgroupFigure]) -> tuple[str, ...]:
    """The metrics that are shown of every subgroup; the others stand in report.json."""
    main = ("mask_jaccard", "_auroc", "_balanced_accuracy", "_sensitivity")
    return tuple(dict.fromkeys(name for one in subgroups for name in one.metrics if name.endswith(main)))


def has_classes(metric: str) -> bool:
    """Whether a metric rests on how many cases of a class there are."""
    return not metric.startswith("mask_")


def rests_on(subgroup: SubgroupFigure, metric: str) -> str:
    """How many cases of the rarest class, or over which part of the classes, where some have no case."""
    classes = subgroup.classes.get(metric.removesuffix("_balanced_accuracy"), {})
    present = sum(count > 0 for count in classes.values())
    if metric.endswith("_balanced_accuracy") and present < len(classes):
        return f"over {present} of {len(classes)} classes"
    return str(subgroup.weakest.get(metric, subgroup.metrics[metric].n))


def outside(place: PlacementFigure) -> str:
    """What a delegate did not take, and why, where that is known."""
    because = "" if place.why_undelegated is None else f"; {place.why_undelegated}"
    return f"{counted(place.undelegated)}{because}"


def counted(operators: Sequence[str]) -> str:
    """A few by name; many by number, with their kinds where each tells its own, as `name (kind)`."""
    if len(operators) <= FEW:
        return ", ".join(operators) or "nothing"
    kinds = Counter(operator.rpartition(" (")[2].rstrip(")") for operator in operators if operator.endswith(")"))
    if kinds.total() < len(operators):
        return f"{', '.join(operators[:FEW])} and {len(operators) - FEW} more"
    return f"{len(operators)} operators: " + ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())


def engines(facts: DeviceFacts) -> str:
    """Those of the machine with their versions; not what opens photos, which an older edgeskin listed among them."""
    known = sorted((name, version) for name, version in facts.engines.items() if name not in _NO_ENGINES)
    return ", ".join(f"{name} {version}" for name, version in known) or "none"


def many(count: int, one: str) -> str:
    """A number and what there are so many of: 1 image, 2 images."""
    return f"{count} {one}" if count == 1 else f"{count} {one}s"
