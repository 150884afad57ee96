"""How figures and states are spelled, the same in every form of the report."""

import math
from collections import Counter
from collections.abc import Sequence

from edgeskin.benchmarks.gate import Section, State, Verdict
from edgeskin.benchmarks.measurements import Interval, Measurements, SubgroupFigure

NOT_MEASURED = "not measured"
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


def interval(ends: Interval | None) -> str:
    """Lower to upper end."""
    if ends is None or None in ends:
        return NOT_MEASURED
    return f"{decimals(ends[0])} – {decimals(ends[1])}"


def seen(image_ids: Sequence[str]) -> str:
    """That images were left out because the network knows them from training, and which."""
    more = ", …" if len(image_ids) > FEW else ""
    named = f"{', '.join(image_ids[:FEW])}{more}"
    return f"Left out as seen in training: {len(image_ids)} images ({named})."


def subgroup_metrics(subgroups: Sequence[SubgroupFigure]) -> tuple[str, ...]:
    """The metrics that are shown of every subgroup; the others stand in report.json."""
    main = ("mask_jaccard", "_auroc", "_balanced_accuracy")
    return tuple(dict.fromkeys(name for one in subgroups for name in one.metrics if name.endswith(main)))


def counted(operators: Sequence[str]) -> str:
    """A few by name, many by kind and number."""
    if len(operators) <= FEW:
        return ", ".join(operators) or "nothing"
    kinds = Counter(operator.rpartition("(")[2].rstrip(")") for operator in operators)
    return f"{len(operators)}: " + ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())
