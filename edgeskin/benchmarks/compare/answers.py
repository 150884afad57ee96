"""What both sides answer: accuracy on labelled images, and equivalence on the golden cases."""

import math
from collections.abc import Iterator
from statistics import NormalDist

from edgeskin.benchmarks.compare.row import TWO_SIDED, Outcome, Row, alone, close, not_comparable, of_both
from edgeskin.benchmarks.measurements import AccuracyReport, Measurements, MetricFigure

_ONE_SIDED = 1.645
_CHANCE = 0.05


def accuracy(old: AccuracyReport | None, new: AccuracyReport | None, same_form: bool) -> Iterator[Row]:
    """Every metric of all images, where data set and split are the same."""
    if old is None or new is None:
        if old is not new:
            yield not_comparable("accuracy", "accuracy", alone(old, new))
        return
    for what in ("dataset", "split", "metadata"):
        was, now = getattr(old, what), getattr(new, what)
        if was != now:
            yield not_comparable("accuracy", "accuracy", f"another {what}: {was} → {now}")
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
        return not_comparable(name, "accuracy", alone(was, now) or "undefined on these images", was, now)
    paired = same_images and old.n == new.n and close(old.float, new.float)
    errors = [_of_drop(one) if paired else _of_interval(one) for one in (old, new)]
    if None in errors:
        if same_images and was == now:
            return of_both(name, "accuracy", was, now, 0.0, lower_is_better=False)
        return not_comparable(name, "accuracy", "no interval", was, now)
    noise = z * math.hypot(*(error for error in errors if error is not None))
    reason = "" if paired else "same images, other float network" if same_images else "other images"
    return of_both(name, "accuracy", was, now, noise, lower_is_better=name.endswith("_ece"), reason=reason)


def _of_drop(figure: MetricFigure) -> float | None:
    """Standard error of the drop."""
    return None if figure.smallest_detectable_drop is None else figure.smallest_detectable_drop / _ONE_SIDED


def _of_interval(figure: MetricFigure) -> float | None:
    """Standard error of the figure itself."""
    low, high = figure.ci95 or (None, None)
    return None if low is None or high is None else (high - low) / 2 / TWO_SIDED


def numerics(old: Measurements, new: Measurements, same_form: bool) -> Iterator[Row]:
    """Hops that are judged: how far apart their tensors are is rounding, whether they are equivalent is not."""
    judged = (
        {(hop.name, hop.tensor): hop for hop in side.numerics if hop.equivalent is not None} for side in (old, new)
    )
    before, after = judged
    if before and after and not same_form:
        yield not_comparable("hops", "numerics", "another form has other ones")
    elif after:
        for (name, tensor), hop in before.items():
            place, now = f"{name}, {tensor}", after.get((name, tensor))
            if now is None:
                yield not_comparable(place, "numerics", "not compared any more", hop.mean_abs)
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
        yield of_both(
            "reads_back", "numerics", float(old.reads_back), float(new.reads_back), 0.0, lower_is_better=False
        )
