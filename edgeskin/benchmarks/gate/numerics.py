"""What is promised of an artifact's answers: that they are those of the network it was built from."""

from collections.abc import Iterator

from edgeskin.benchmarks.gate.term import Comparison, Term
from edgeskin.benchmarks.measurements import Equivalence, Measurements, Verified
from edgeskin.contract.model import ModelCard


def numerics_terms(measurements: Measurements, card: ModelCard, made_by: Verified) -> Iterator[Term]:
    """made_by: who answered where the bundle was made; after our executor, a device must answer too."""
    rule, hops = Equivalence(), measurements.artifact_hops
    unseen = sorted({head.name for head in card.heads} - {hop.tensor for hop in hops})
    judged = () if unseen else tuple(hop for hop in measurements.numerics if hop.equivalent is not None)
    unrun = measurements.not_measured.get("numerics", "")
    why_not = f"the artifact was not compared on {', '.join(unseen)}" if unseen else unrun
    first = measurements.first_divergence
    where = f"it first diverges at {first.name}, {first.tensor}" if first is not None else ""

    def term(name: str, at: Comparison, limit: float, value: float | None, source: str = "") -> Term:
        return Term(
            name=name,
            section="numerics",
            comparison=at,
            limit=limit,
            measured=value,
            source=source,
            why_not=why_not,
            where=where,
        )

    differing = None if measurements.reads_back is None else float(not measurements.reads_back)
    yield term("read_back_differences", "at most", 0, differing)
    if card.mask is not None:
        shares = [
            (hop.mask_agreement, rule.mask_agreement_limit(hop.engine_gap))
            for hop in judged
            if hop.mask_agreement is not None
        ]
        least, needed = max(
            shares, key=lambda share: (1 - share[0]) / (1 - share[1]), default=(None, rule.mask_agreement)
        )
        yield term("mask_agreement", "at least", needed, least)
    gaps = [(hop.mean_abs, rule.mean_abs_limit(hop.engine_gap)) for hop in judged if hop.mean_abs is not None]
    worst, allowed = max(gaps, key=lambda gap: gap[0] / gap[1], default=(None, rule.mean_abs))
    yield term("mean_probability_difference", "at most", allowed, worst)
    if any(head.kind != "mask" for head in card.heads):
        equal = [hop.labels_equal for hop in judged if hop.labels_equal is not None]
        yield term("outputs_with_other_decisions", "at most", 0, float(equal.count(False)) if equal else None)
    if made_by != "device":
        ran = measurements.verified == "device" and not unseen
        answered = float(measurements.equivalent is True) if ran else None
        yield term("device_numerics", "at least", 1, answered, "1: a device answers the golden cases as it should")
