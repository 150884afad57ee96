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
  `BETWEEN_RUNS`; of memory `MEMORY_TOLERANCE`. How much faster than fp32 is compared between machines too
  whose CPUs have the same instructions.
- size, which has no noise: less than `SIZE_TOLERANCE` is called the same.
- promises, by the limits that the older side was held against: who loosens a gate does not get better.

Subgroups are compared by their promises alone: among so many figures of so few cases, noise is all there would be.
"""

import math
from collections.abc import Iterator, Sequence
from statistics import NormalDist
from typing import Literal, TypeAlias

from edgeskin.benchmarks.baseline import Subject
from edgeskin.benchmarks.gate import Promise, State
from edgeskin.benchmarks.latency import OTHERS_SHARE, UNSTEADY_CV
from edgeskin.benchmarks.measurements import (
    AccuracyReport,
    DeviceFacts,
    LatencyFigure,
    Measured,
    Measurements,
    MetricFigure,
    SpeedRatio,
)
from edgeskin.contract.frozen import Frozen
from edgeskin.errors import EdgeskinError

Outcome: TypeAlias = Literal["better", "worse", "same", "not comparable"]
Part: TypeAlias = Literal["promise", "accuracy", "numerics", "latency", "size", "memory", "placement"]

SIZE_TOLERANCE = 0.01
MEMORY_TOLERANCE = 0.05
BETWEEN_RUNS = 0.1
"""Two runs of the same on a shared machine: of the twelve pairs in benchmarks/README.md all but two are within it."""
_TWO_SIDED = 1.96
_ONE_SIDED = 1.645
_CHANCE = 0.05
_EQUAL = 1e-9
_RANK: dict[State, int] = {"failed": 0, "pending": 1, "reported": 2, "inherited": 2, "passed": 2}
_PROPERTIES = {
    "cpu": "CPU",
    "cores": "number of cores",
    "flags": "CPU flags",
    "board": "board",
    "gpu": "GPU",
    "gpu_driver": "GPU driver",
    "governor": "CPU governor",
    "power_mode": "power mode",
}
"""What makes two machines differ in speed; nothing tells two machines of one kind apart."""


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
        *_promises(old, new),
        *_accuracy(old.measurements.accuracy, new.measurements.accuracy, new.same_form(old)),
        *_numerics(old.measurements, new.measurements, new.same_form(old)),
        *_size(old, new),
        *_machines(old, new),
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


def _row(
    name: str, part: Part, old: float, new: float, noise: float, *, lower_is_better: bool, reason: str = ""
) -> Row:
    """A figure that both sides have."""
    change = old - new if lower_is_better else new - old
    outcome: Outcome = "same" if abs(change) <= noise + _EQUAL else "better" if change > 0 else "worse"
    return Row(name=name, part=part, old=old, new=new, noise=noise, outcome=outcome, reason=reason)


def _not(name: str, part: Part, reason: str, old: float | None = None, new: float | None = None) -> Row:
    return Row(name=name, part=part, old=old, new=new, outcome="not comparable", reason=reason)


def _only(old: object, new: object) -> str:
    """Who alone has a figure, where one side has none."""
    return "measured in OLD alone" if new is None else "measured in NEW alone" if old is None else ""


# --- promises ---


def _promises(old: Subject, new: Subject) -> Iterator[Row]:
    later = {promise.name: promise for promise in new.promises}
    apart = other_machine(old.measurements.device, new.measurements.device)
    if not later:
        return
    for before in old.promises:
        after = later.get(before.name)
        if after is None:
            yield _not(before.name, "promise", "no longer promised", before.measured)
        elif apart and before.section in {"latency", "memory", "placement"}:
            yield _not(before.name, "promise", apart, before.measured, after.measured)
        else:
            yield _promise(before, after, new.same_target(old))


def _promise(before: Promise, after: Promise, same_target: bool) -> Row:
    now: State = after.state
    if (before.state == "reported") != (now == "reported"):
        reason = "of too few cases to be judged, on one side"
        return _not(before.name, "promise", reason, before.measured, after.measured)
    # What numerics may differ by is measured anew each time, so there each side's own limit counts.
    if before.section != "numerics" and after.measured is not None and now not in {"pending", "reported"}:
        over = after.measured - before.limit if before.comparison == "at most" else before.limit - after.measured
        now = "failed" if over > _EQUAL else "passed"
    was = _RANK[before.state]
    outcome: Outcome = "same" if was == _RANK[now] else "better" if was < _RANK[now] else "worse"
    if after.measured is None and (outcome == "better" or (outcome == "worse" and not same_target)):
        return _not(before.name, "promise", "not measured in NEW", before.measured)
    moved = "" if _close(before.limit, after.limit) else f"; its limit is now {after.limit:.6g}, and {after.state}"
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


# --- what it answers ---


def _accuracy(old: AccuracyReport | None, new: AccuracyReport | None, same_form: bool) -> Iterator[Row]:
    if old is None or new is None:
        if old is not new:
            yield _not("accuracy", "accuracy", _only(old, new))
        return
    for what in ("dataset", "split", "metadata"):
        was, now = getattr(old, what), getattr(new, what)
        if was != now:
            yield _not("accuracy", "accuracy", f"another {what}: {was} → {now}")
            return
    names = list(dict.fromkeys((*old.metrics, *new.metrics)))
    z = NormalDist().inv_cdf(1 - _CHANCE / 2 / max(len(names), 1))
    same_images = old.data_list_sha256 == new.data_list_sha256
    for name in names:
        row = _metric(name, old.metrics.get(name), new.metrics.get(name), z, same_images)
        gone = same_form and row.old is not None and row.new is None
        lost = {"outcome": "worse", "reason": "not measured any more, or undefined"}
        yield row.model_copy(update=lost) if gone else row


def _metric(name: str, old: MetricFigure | None, new: MetricFigure | None, z: float, same_images: bool) -> Row:
    was, now = (None if one is None else one.int8 for one in (old, new))
    if old is None or new is None or was is None or now is None:
        return _not(name, "accuracy", _only(was, now) or "undefined on these images", was, now)
    paired = same_images and old.n == new.n and _close(old.float, new.float)
    errors = [_of_drop(one) if paired else _of_interval(one) for one in (old, new)]
    if None in errors:
        if same_images and was == now:
            return _row(name, "accuracy", was, now, 0.0, lower_is_better=False)
        return _not(name, "accuracy", "no interval", was, now)
    noise = z * math.hypot(*(error for error in errors if error is not None))
    reason = "" if paired else "same images, other float network" if same_images else "other images"
    return _row(name, "accuracy", was, now, noise, lower_is_better=name.endswith("_ece"), reason=reason)


def _of_drop(figure: MetricFigure) -> float | None:
    """Standard error of the drop."""
    return None if figure.smallest_detectable_drop is None else figure.smallest_detectable_drop / _ONE_SIDED


def _of_interval(figure: MetricFigure) -> float | None:
    """Standard error of the figure itself."""
    low, high = figure.ci95 or (None, None)
    return None if low is None or high is None else (high - low) / 2 / _TWO_SIDED


def _close(a: float | None, b: float | None) -> bool:
    return a is not None and b is not None and math.isclose(a, b, rel_tol=0, abs_tol=_EQUAL)


def _numerics(old: Measurements, new: Measurements, same_form: bool) -> Iterator[Row]:
    """Hops that are judged: how far apart their tensors are is rounding, whether they are equivalent is not."""
    judged = (
        {(hop.name, hop.tensor): hop for hop in side.numerics if hop.equivalent is not None} for side in (old, new)
    )
    before, after = judged
    if before and after and not same_form:
        yield _not("hops", "numerics", "another form has other ones")
    elif after:
        for (name, tensor), hop in before.items():
            place, now = f"{name}, {tensor}", after.get((name, tensor))
            if now is None:
                yield _not(place, "numerics", "not compared any more", hop.mean_abs)
                continue
            words = ["equivalent" if one.equivalent else "diverges" for one in (hop, now)]
            outcome: Outcome = "same" if hop.equivalent == now.equivalent else "better" if now.equivalent else "worse"
            yield Row(
                name=place,
                part="numerics",
                old=hop.mean_abs,
                new=now.mean_abs,
                outcome=outcome,
                reason=words[0] if outcome == "same" else " → ".join(words),
            )
    if old.reads_back is not None and new.reads_back is not None:
        yield _row("reads_back", "numerics", float(old.reads_back), float(new.reads_back), 0.0, lower_is_better=False)


# --- what it takes ---


def _size(old: Subject, new: Subject) -> Iterator[Row]:
    was, now = old.measurements.size_mib, new.measurements.size_mib
    if was is not None and now is not None:
        yield _row("size_mib", "size", was, now, SIZE_TOLERANCE * was, lower_is_better=True)
    elif was is not None or now is not None:
        yield _not("size_mib", "size", _only(was, now), was, now)


def other_machine(old: DeviceFacts | None, new: DeviceFacts | None) -> str:
    """What keeps the figures of two machines apart, in words; nothing where they are of one kind."""
    if old is None or new is None:
        return "the machine is not named"
    changed = [word for name, word in _PROPERTIES.items() if getattr(old, name) != getattr(new, name)]
    return f"another machine: other {', '.join(changed)}" if changed else ""


def _machines(old: Subject, new: Subject) -> Iterator[Row]:
    """Time, memory and placement, machine by machine: that which made the bundle, and those which attested it."""
    earlier = (old.measurements, *old.attested.values())
    for name, now in (("", new.measurements), *new.attested.items()):
        same = [was for was in earlier if not other_machine(was.device, now.device)]
        label = f" on {name}" if name else ""
        yield from _speed(label, same[0] if same else old.measurements, now)
        alike = new.same_target(old) and new.same_form(old)
        if same:
            yield from (*_latency(label, same[0], now, _model(old, new)), *_cold_start(label, same[0], now))
            yield from _memory(label, same[0], now)
            yield from _placement(label, same[0], now, alike)
        elif now.latency or now.memory or now.placement:
            yield _not(
                f"latency, memory, placement{label}", "latency", other_machine(old.measurements.device, now.device)
            )


def _model(old: Subject, new: Subject) -> tuple[str, str]:
    """What the network alone is called by each side: two precisions of one network may be compared."""
    if old.report is None or new.report is None or old.report.precision == new.report.precision:
        return "", ""
    return f"model {old.report.precision}", f"model {new.report.precision}"


def _latency(label: str, old: Measurements, new: Measurements, model: tuple[str, str]) -> Iterator[Row]:
    before, after = (
        {("model" if one.name == own else one.name, one.threads): one for one in side.latency}
        for side, own in zip((old, new), model, strict=True)
    )
    for (name, threads), was in before.items():
        now = after.get((name, threads))
        if now is not None:
            yield _time(f"{name}, p50 ms, threads: {threads}{label}", was, now)


def _time(name: str, old: LatencyFigure, new: LatencyFigure) -> Row:
    was, now = old.p50_ms, new.p50_ms
    if was is None or now is None:
        return _not(name, "latency", _only(was, now), was, now)
    slowed = next((one.conditions.throttled for one in (old, new) if one.conditions and one.conditions.throttled), ())
    if slowed:
        return _not(name, "latency", f"slowed down by {', '.join(slowed)}", was, now)
    spreads = [(one.cv, one.mean_ms) for one in (old, new)]
    unsteady = [cv for cv, _ in spreads if cv is None or cv > UNSTEADY_CV]
    if unsteady:
        scatter = "in an unknown way" if None in unsteady else f"by {max(filter(None, unsteady)):.0%}"
        return _not(name, "latency", f"times scatter {scatter}, more than {UNSTEADY_CV:.0%}", was, now)
    noise = _TWO_SIDED * math.hypot(*((cv or 0.0) * (mean or 0.0) for cv, mean in spreads))
    return _row(name, "latency", was, now, max(noise, BETWEEN_RUNS * was), lower_is_better=True)


def _cold_start(label: str, old: Measurements, new: Measurements) -> Iterator[Row]:
    """Medians of a few starts: what the slowest took longer is the only scatter that is told."""
    was, now = old.cold_start, new.cold_start
    name = f"cold start, ms{label}"
    if was is None or now is None or was.total_ms is None or now.total_ms is None:
        return
    scatter = math.hypot(*((one.slowest_ms or 0.0) - (one.total_ms or 0.0) for one in (was, now)))
    noise = max(scatter, BETWEEN_RUNS * was.total_ms)
    yield _row(name, "latency", was.total_ms, now.total_ms, noise, lower_is_better=True)


def _speed(label: str, old: Measurements, new: Measurements) -> Iterator[Row]:
    """A ratio of one run: the clock cancels, the instructions of the CPU and much other work do not."""
    was, now = old.speed, new.speed
    name = f"speedup_vs_fp32{label}"
    if was is None or now is None or was.speedup_vs_fp32 is None or now.speedup_vs_fp32 is None:
        return
    apart = other_machine(old.device, new.device)
    alike = old.device and new.device and (old.device.flags, old.device.gpu) == (new.device.flags, new.device.gpu)
    ends = (was.speedup_vs_fp32, now.speedup_vs_fp32)
    if was.threads != now.threads:
        yield _not(name, "latency", f"at other threads: {was.threads} → {now.threads}", *ends)
    elif apart and not alike:
        yield _not(name, "latency", apart, *ends)
    elif busy := max((_others(one) for one in (was, now)), default=0.0):
        yield _not(name, "latency", f"other work took {busy:.0%} of all cores' time", *ends)
    else:
        noise = _TWO_SIDED * math.hypot(*map(_of_ratio, (was, now)))
        reason = "another machine with the same instructions" if apart else ""
        yield _row(name, "latency", *ends, max(noise, BETWEEN_RUNS * ends[0]), lower_is_better=False, reason=reason)


def _others(ratio: SpeedRatio) -> float:
    """The share of other work, 0 where it was too little to matter, or nobody tells."""
    share = (ratio.conditions and ratio.conditions.others_share) or 0.0
    return share if share > OTHERS_SHARE else 0.0


def _of_ratio(ratio: SpeedRatio) -> float:
    """Standard error, as far as its interval tells."""
    return 0.0 if ratio.low is None or ratio.high is None else (ratio.high - ratio.low) / 2 / _TWO_SIDED


def _memory(label: str, old: Measurements, new: Measurements) -> Iterator[Row]:
    was, now = (side.memory.total_mib if side.memory is not None else None for side in (old, new))
    if was is not None and now is not None:
        yield _row(f"peak_memory_mib{label}", "memory", was, now, MEMORY_TOLERANCE * was, lower_is_better=True)
    elif was is not None or now is not None:
        yield _not(f"peak_memory_mib{label}", "memory", _only(was, now), was, now)


def _placement(label: str, old: Measurements, new: Measurements, alike: bool) -> Iterator[Row]:
    """alike: whether both are for one target and of one form; otherwise only where they ran is told."""
    before, after = old.placement, new.placement
    if before is None or after is None:
        return
    if before.provider != after.provider:
        yield _not(f"ran on{label}", "placement", f"{before.provider} → {after.provider}")
    if not alike:
        return
    was, now = before.integer_fraction, after.integer_fraction
    if was is not None and now is not None:
        yield _row(f"integer_convolutions{label}", "placement", was, now, 0.0, lower_is_better=False)
    if before.float_operators is not None and after.float_operators is not None:
        fell = [name for name in after.float_operators if name not in before.float_operators]
        yield _row(
            f"float_operators{label}",
            "placement",
            len(before.float_operators),
            len(after.float_operators),
            0.0,
            lower_is_better=True,
            reason=f"now in float: {', '.join(fell[:5])}" if fell else "",
        )
    if before.partitions is not None and after.partitions is not None:
        was, now = float(len(before.undelegated)), float(len(after.undelegated))
        yield _row(f"undelegated_operators{label}", "placement", was, now, 0.0, lower_is_better=True)
