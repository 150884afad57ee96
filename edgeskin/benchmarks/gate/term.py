"""A promise before it is judged."""

from typing import Literal, TypeAlias

from edgeskin.benchmarks.measurements import Measured
from edgeskin.contract.model import Frozen

Section: TypeAlias = Literal["accuracy", "numerics", "latency", "size", "memory", "placement"]
Comparison: TypeAlias = Literal["at most", "at least"]


class Term(Frozen):
    """One figure, and what it is held against.

    source: where the limit comes from, if not from the gate, or what it stands for. why_not: why there is no number.
    where: what a bad number should send the reader to. too_few: of how few cases it is, where they are too few to
    judge. unsure: why another run may come out otherwise.
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
    unsure: str = ""
