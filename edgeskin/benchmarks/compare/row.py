"""One figure of both sides, and how it came out."""

import math
from typing import Literal, TypeAlias

from edgeskin.benchmarks.measurements import Measured
from edgeskin.contract.frozen import Frozen

Outcome: TypeAlias = Literal["better", "worse", "same", "not comparable"]
Part: TypeAlias = Literal["promise", "accuracy", "numerics", "latency", "size", "memory", "placement"]

TWO_SIDED = 1.96
EQUAL = 1e-9
IN_OLD, IN_NEW, GONE = "measured in OLD alone", "measured in NEW alone", "no longer promised"
SHARED = (IN_OLD, IN_NEW, GONE)
"""Reasons that many figures share, and that say all there is to say of each."""


class Row(Frozen):
    """One figure of both sides.

    old, new: None where it was not measured. noise: a change up to it says nothing; None where there is no number to
    compare. reason: why it came out so, where the figures do not say that themselves.
    """

    name: str
    part: Part
    old: Measured = None
    new: Measured = None
    noise: Measured = None
    outcome: Outcome
    reason: str = ""


def of_both(
    name: str, part: Part, old: float, new: float, noise: float, *, lower_is_better: bool, reason: str = ""
) -> Row:
    """A figure that both sides have."""
    change = old - new if lower_is_better else new - old
    outcome: Outcome = "same" if abs(change) <= noise + EQUAL else "better" if change > 0 else "worse"
    return Row(name=name, part=part, old=old, new=new, noise=noise, outcome=outcome, reason=reason)


def not_comparable(name: str, part: Part, reason: str, old: float | None = None, new: float | None = None) -> Row:
    """A figure of which a difference would say nothing, and why."""
    return Row(name=name, part=part, old=old, new=new, outcome="not comparable", reason=reason)


def alone(old: object, new: object) -> str:
    """Who alone has a figure, where one side has none."""
    return IN_OLD if new is None else IN_NEW if old is None else ""


def close(a: float | None, b: float | None) -> bool:
    """Whether two figures are one, but for the rounding of sums."""
    return a is not None and b is not None and math.isclose(a, b, rel_tol=0, abs_tol=EQUAL)
