"""Two reports beside each other: what became better or worse by more than noise.

Every kind of figure has its own noise, and none is compared where a difference would say nothing:

- accuracy, on the same split of the same data set. A figure's standard error is its interval's width / 3.92; where
  images and float network are the same, that of its drop instead, `smallest_detectable_drop` / 1.645, which is far
  smaller because it is paired. Two figures differ where they are further apart than z × √(se² + se²), z so wide that
  among all m figures of a comparison one stands out by chance in 5 % (Bonferroni: the quantile at 1 − 0.025 / m). On
  the same images two networks' errors go together, which reports do not tell, so there the noise is taken too wide.
  A figure that is gone is worse, if both compute in the same form.
- time, memory and placement, on the same kind of machine alone. Samples of one run share one moment of the machine, so
  their standard error says nothing of the next run: the noise is 1.96 × √(sd² + sd²) of single samples, and at least
  `BETWEEN_RUNS`; of memory `MEMORY_TOLERANCE`. How much faster than fp32 is compared between machines too whose CPUs
  have the same instructions.
- size, which has no noise: less than `SIZE_TOLERANCE` is called the same.
- promises, by the limits that the older side was held against: who loosens a gate does not get better.

Subgroups are compared by their promises alone: among so many figures of so few cases, noise is all there would be.
"""

from collections.abc import Iterator, Sequence
from typing import Literal

from edgeskin.benchmarks.baseline import Subject
from edgeskin.benchmarks.compare.answers import accuracy, numerics
from edgeskin.benchmarks.compare.machine import machines, size
from edgeskin.benchmarks.compare.promises import promises
from edgeskin.benchmarks.compare.row import SHARED, Outcome, Row
from edgeskin.contract.frozen import Frozen
from edgeskin.errors import EdgeskinError

__all__ = ["SHARED", "Compared", "Outcome", "Row", "compare"]


class Compared(Frozen):
    """Everything that two sides have, the regressions first.

    changed: what else is not the same, and may be why, as `onnxruntime 1.22 → 1.31`.
    """

    format: Literal[1] = 1
    old: str
    new: str
    changed: tuple[str, ...] = ()
    rows: tuple[Row, ...]

    def of(self, outcome: Outcome) -> tuple[Row, ...]:
        """The rows that came out so."""
        return tuple(row for row in self.rows if row.outcome == outcome)

    @property
    def exit_code(self) -> Literal[0, 3]:
        """3 where anything became worse."""
        return 3 if self.of("worse") else 0


def compare(old: Subject, new: Subject) -> Compared:
    """Everything of `new` beside the same of `old`.

    Raises: EdgeskinError where nothing of them can be compared: that would not mean that nothing became worse.
    """
    rows = (
        *promises(old, new),
        *accuracy(old.measurements.accuracy, new.measurements.accuracy, new.same_form(old)),
        *numerics(old.measurements, new.measurements, new.same_form(old)),
        *size(old, new),
        *machines(old, new),
    )
    if all(row.outcome == "not comparable" for row in rows):
        why = "; ".join(dict.fromkeys(f"{row.name}: {row.reason}" for row in rows)) or "neither holds a figure"
        raise EdgeskinError(f"{old.source} and {new.source}: nothing of them can be compared: {why}")
    order: Sequence[Outcome] = ("worse", "better", "same", "not comparable")
    return Compared(
        old=old.title,
        new=new.title,
        changed=tuple(_changed(old, new)),
        rows=tuple(sorted(rows, key=lambda row: order.index(row.outcome))),
    )


def _changed(old: Subject, new: Subject) -> Iterator[str]:
    """Versions, gate and system that are not the same on both sides."""
    before, after = (_circumstances(side) for side in (old, new))
    for name, was in before.items():
        now = after.get(name)
        if now is not None and was != now:
            yield f"{name} {was} → {now}"


def _circumstances(side: Subject) -> dict[str, str]:
    report, device = side.report, side.measurements.device
    told = {"edgeskin": report.edgeskin_version, "gate": report.gate} if report is not None else {}
    machine = {"python": device.python, "os": device.os} | device.engines if device is not None else {}
    return told | machine
