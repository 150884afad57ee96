"""What the gates of both sides said, by the limits of the older one."""

from collections.abc import Iterator

from edgeskin.benchmarks.baseline import Subject
from edgeskin.benchmarks.compare.machine import other_machine
from edgeskin.benchmarks.compare.row import EQUAL, GONE, IN_OLD, Outcome, Row, close, not_comparable
from edgeskin.benchmarks.gate import Promise, State

_RANK: dict[State, int] = {"failed": 0, "pending": 1, "reported": 2, "inherited": 2, "passed": 2}


def promises(old: Subject, new: Subject) -> Iterator[Row]:
    """Every promise of the older gate that the newer one makes too; those of one machine where both are of its kind."""
    later = {promise.name: promise for promise in new.promises}
    apart = other_machine(old.measurements.device, new.measurements.device)
    if not later:
        return
    for before in old.promises:
        after = later.get(before.name)
        if after is None:
            yield not_comparable(before.name, "promise", GONE, before.measured)
        elif apart and before.section in {"latency", "memory", "placement"}:
            yield not_comparable(before.name, "promise", apart, before.measured, after.measured)
        else:
            yield _promise(before, after, new.same_target(old))


def _promise(before: Promise, after: Promise, same_target: bool) -> Row:
    now: State = after.state
    if (before.state == "reported") != (now == "reported"):
        reason = "of too few cases to be judged, on one side"
        return not_comparable(before.name, "promise", reason, before.measured, after.measured)
    # What numerics may differ by is measured anew each time, so there each side's own limit counts.
    if before.section != "numerics" and after.measured is not None and now not in {"pending", "reported"}:
        over = after.measured - before.limit if before.comparison == "at most" else before.limit - after.measured
        now = "failed" if over > EQUAL else "passed"
    was = _RANK[before.state]
    outcome: Outcome = "same" if was == _RANK[now] else "better" if was < _RANK[now] else "worse"
    if after.measured is None and (outcome == "better" or (outcome == "worse" and not same_target)):
        return not_comparable(
            before.name, "promise", "not measured" if before.measured is None else IN_OLD, before.measured
        )
    moved = "" if close(before.limit, after.limit) else f"; its limit is now {after.limit:.6g}, and {after.state}"
    return Row(
        name=before.name,
        part="promise",
        old=before.measured,
        new=after.measured,
        outcome=outcome,
        reason=f"{before.state} → {now}, {before.comparison} {before.limit:.6g}{moved}"
        if outcome != "same" or moved
        else before.state,
    )
