"""What is promised of time, size, memory and placement, by the gate and by the device's budget."""

from collections.abc import Iterator
from typing import TypeAlias

from edgeskin.benchmarks.budget import Budget, Ceiling
from edgeskin.benchmarks.gate.rules import Gate
from edgeskin.benchmarks.gate.term import Comparison, Section, Term
from edgeskin.benchmarks.measurements import Measurements, PlacementFigure, SpeedRatio
from edgeskin.targets.base import Precision

_NAMED = 5
"""So many operators are named; more are counted."""

_Bound: TypeAlias = tuple[float | None, str]
"""A limit, and where it comes from if not from the gate."""


def _tighter(limit: float | None, ceiling: Ceiling | None) -> _Bound:
    if ceiling is None or (limit is not None and limit < ceiling.at_most):
        return limit, ""
    return ceiling.at_most, ceiling.source


def resource_terms(measured: Measurements, gate: Gate, precision: Precision, budget: Budget) -> Iterator[Term]:
    """One promise a limit; of two limits on one figure the tighter."""
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
            yield Term(
                name=name,
                section=section,
                comparison=comparison,
                limit=limit,
                measured=value,
                source=source,
                why_not=measured.not_measured.get(section, ""),
                where=", ".join(where.get(name, ())[:_NAMED]),
                unsure=_unsure(speed, limit) if name == "speedup_vs_fp32" and speed else "",
            )


def _unsure(speed: SpeedRatio, limit: float) -> str:
    """In words, where the interval of a ratio holds its limit.

    The ratio itself is judged all the same: its low end would fail a good network on a busy machine.
    """
    if speed.low is None or speed.high is None or not speed.low < limit <= speed.high:
        return ""
    interval = f"its 95 % interval, {speed.low:.3g} to {speed.high:.3g}, holds {limit:.6g}"
    return f"{interval}, so another run may come out otherwise. On a quiet machine it is narrower"


def _undelegated(placement: PlacementFigure | None) -> float | None:
    """How many operators a delegate left; None where nobody told, or the engine has no delegate."""
    return None if placement is None or placement.partitions is None else len(placement.undelegated)
