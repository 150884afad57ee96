"""What both sides take: size, and time, memory and placement machine by machine."""

import math
from collections.abc import Iterator

from edgeskin.benchmarks.baseline import Subject
from edgeskin.benchmarks.compare.row import TWO_SIDED, Row, alone, not_comparable, of_both
from edgeskin.benchmarks.latency import OTHERS_SHARE, UNSTEADY_CV
from edgeskin.benchmarks.measurements import DeviceFacts, LatencyFigure, Measurements, SpeedRatio

SIZE_TOLERANCE = 0.01
MEMORY_TOLERANCE = 0.05
BETWEEN_RUNS = 0.1
"""Two runs of the same on a shared machine: of the twelve pairs in benchmarks/README.md all but two are within it."""
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


def size(old: Subject, new: Subject) -> Iterator[Row]:
    """The artifact's own size, wherever it was weighed."""
    was, now = old.measurements.size_mib, new.measurements.size_mib
    if was is not None and now is not None:
        yield of_both("size_mib", "size", was, now, SIZE_TOLERANCE * was, lower_is_better=True)
    elif was is not None or now is not None:
        yield not_comparable("size_mib", "size", alone(was, now), was, now)


def other_machine(old: DeviceFacts | None, new: DeviceFacts | None) -> str:
    """What keeps the figures of two machines apart, in words; nothing where they are of one kind."""
    if old is None or new is None:
        return "the machine is not named"
    changed = [word for name, word in _PROPERTIES.items() if getattr(old, name) != getattr(new, name)]
    return f"another machine: other {', '.join(changed)}" if changed else ""


def machines(old: Subject, new: Subject) -> Iterator[Row]:
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
            yield not_comparable(
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
        return not_comparable(name, "latency", alone(was, now), was, now)
    slowed = next((one.conditions.throttled for one in (old, new) if one.conditions and one.conditions.throttled), ())
    if slowed:
        return not_comparable(name, "latency", f"slowed down by {', '.join(slowed)}", was, now)
    spreads = [(one.cv, one.mean_ms) for one in (old, new)]
    unsteady = [cv for cv, _ in spreads if cv is None or cv > UNSTEADY_CV]
    if unsteady:
        scatter = "in an unknown way" if None in unsteady else f"by {max(filter(None, unsteady)):.0%}"
        return not_comparable(name, "latency", f"times scatter {scatter}, more than {UNSTEADY_CV:.0%}", was, now)
    noise = TWO_SIDED * math.hypot(*((cv or 0.0) * (mean or 0.0) for cv, mean in spreads))
    return of_both(name, "latency", was, now, max(noise, BETWEEN_RUNS * was), lower_is_better=True)


def _cold_start(label: str, old: Measurements, new: Measurements) -> Iterator[Row]:
    """Medians of a few starts: what the slowest took longer is the only scatter that is told."""
    was, now = old.cold_start, new.cold_start
    name = f"cold start, ms{label}"
    if was is None or now is None or was.total_ms is None or now.total_ms is None:
        return
    scatter = math.hypot(*((one.slowest_ms or 0.0) - (one.total_ms or 0.0) for one in (was, now)))
    noise = max(scatter, BETWEEN_RUNS * was.total_ms)
    yield of_both(name, "latency", was.total_ms, now.total_ms, noise, lower_is_better=True)


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
        yield not_comparable(name, "latency", f"at other threads: {was.threads} → {now.threads}", *ends)
    elif apart and not alike:
        yield not_comparable(name, "latency", apart, *ends)
    elif busy := max((_others(one) for one in (was, now)), default=0.0):
        yield not_comparable(name, "latency", f"other work took {busy:.0%} of all cores' time", *ends)
    else:
        noise = TWO_SIDED * math.hypot(*map(_of_ratio, (was, now)))
        reason = "another machine with the same instructions" if apart else ""
        yield of_both(name, "latency", *ends, max(noise, BETWEEN_RUNS * ends[0]), lower_is_better=False, reason=reason)


def _others(ratio: SpeedRatio) -> float:
    """The share of other work, 0 where it was too little to matter, or nobody tells."""
    share = (ratio.conditions and ratio.conditions.others_share) or 0.0
    return share if share > OTHERS_SHARE else 0.0


def _of_ratio(ratio: SpeedRatio) -> float:
    """Standard error, as far as its interval tells."""
    return 0.0 if ratio.low is None or ratio.high is None else (ratio.high - ratio.low) / 2 / TWO_SIDED


def _memory(label: str, old: Measurements, new: Measurements) -> Iterator[Row]:
    was, now = (side.memory.total_mib if side.memory is not None else None for side in (old, new))
    if was is not None and now is not None:
        yield of_both(f"peak_memory_mib{label}", "memory", was, now, MEMORY_TOLERANCE * was, lower_is_better=True)
    elif was is not None or now is not None:
        yield not_comparable(f"peak_memory_mib{label}", "memory", alone(was, now), was, now)


def _placement(label: str, old: Measurements, new: Measurements, alike: bool) -> Iterator[Row]:
    """alike: whether both are for one target and of one form; otherwise only where they ran is told."""
    before, after = old.placement, new.placement
    if before is None or after is None:
        return
    if before.provider != after.provider:
        yield not_comparable(f"ran on{label}", "placement", f"{before.provider} → {after.provider}")
    if not alike:
        return
    was, now = before.integer_fraction, after.integer_fraction
    if was is not None and now is not None:
        yield of_both(f"integer_convolutions{label}", "placement", was, now, 0.0, lower_is_better=False)
    if before.float_operators is not None and after.float_operators is not None:
        fell = [name for name in after.float_operators if name not in before.float_operators]
        yield of_both(
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
        yield of_both(f"undelegated_operators{label}", "placement", was, now, 0.0, lower_is_better=True)
