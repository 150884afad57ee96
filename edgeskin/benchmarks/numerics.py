"""Whether two forms of one network give the same answers, output by output.

Single roundings snowball through a network, so equality to the bit is asked of nobody; what is asked is `Equivalence`.
"""

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from edgeskin.benchmarks.measurements import EngineGap, Equivalence, NumericsHop
from edgeskin.contract.model import HeadSpec, ModelCard

Float32: TypeAlias = npt.NDArray[np.float32]
Outputs: TypeAlias = Mapping[str, Float32]
"""Probabilities by head over all cases: a mask [N, 1, S, S], any other [N, labels]."""

EQUIVALENCE = Equivalence()


def engine_gaps(optimised: Outputs, plain: Outputs, card: ModelCard) -> dict[str, EngineGap]:
    """The gap of onnxruntime to itself, by head."""
    gaps = {}
    for head in card.heads:
        one, other = plain[head.name], optimised[head.name]
        gaps[head.name] = EngineGap(
            mean_abs=_mean_abs(one, other),
            max_abs=_max_abs(one, other),
            mask_disagreement=1 - _mask_agreement(one, other, head) if head.kind == "mask" else None,
        )
    return gaps


def compare(
    name: str,
    reference: Outputs,
    other: Outputs,
    card: ModelCard,
    *,
    engine_gap: Mapping[str, EngineGap] | None = None,
    rule: Equivalence | None = EQUIVALENCE,
) -> tuple[NumericsHop, ...]:
    """Compare one step of the chain on the golden cases; one hop for each head, in the card's order.

    name: the step, such as `int8.onnx → artifact`. engine_gap: from `engine_gaps`. rule: None where the step is only
    shown, because its two sides are not meant to be equal (float against int8).
    """
    hops = []
    for head in card.heads:
        expected, actual = reference[head.name], other[head.name]
        assert expected.shape == actual.shape, f"{head.name}: {expected.shape} against {actual.shape}"
        is_mask = head.kind == "mask"
        gap = (engine_gap or {}).get(head.name)
        margin = (rule or EQUIVALENCE).label_margin_limit(gap)
        hop = NumericsHop(
            name=name,
            tensor=head.name,
            mean_abs=_mean_abs(expected, actual),
            max_abs=_max_abs(expected, actual),
            mask_agreement=_mask_agreement(expected, actual, head) if is_mask else None,
            labels_equal=None if is_mask else _labels_equal(expected, actual, head, margin),
            engine_gap=gap,
        )
        hops.append(hop if rule is None else hop.model_copy(update={"equivalent": rule.holds(hop)}))
    return tuple(hops)


def concatenate(cases: Sequence[Outputs]) -> dict[str, Float32]:
    """Join the outputs of single cases along the batch."""
    return {name: np.concatenate([case[name] for case in cases]) for name in cases[0]}


def _mean_abs(expected: Float32, actual: Float32) -> float:
    return float(np.abs(expected.astype(np.float64) - actual).mean())


def _max_abs(expected: Float32, actual: Float32) -> float:
    return float(np.abs(expected.astype(np.float64) - actual).max())


def _mask_agreement(expected: Float32, actual: Float32, head: HeadSpec) -> float:
    assert head.threshold is not None
    return float(((expected >= head.threshold) == (actual >= head.threshold)).mean())


def _labels_equal(expected: Float32, actual: Float32, head: HeadSpec, margin: float) -> bool:
    """Whether decisions agree wherever the reference decides clearly.

    The margin of a sigmoid head is its distance from the threshold, that of a softmax head the lead of its first label
    over the second.
    """
    if head.kind == "sigmoid":
        assert head.threshold is not None
        clear = np.abs(expected - head.threshold) > margin
        same = (expected >= head.threshold) == (actual >= head.threshold)
    else:
        ordered = np.sort(expected, axis=1)
        clear = ordered[:, -1] - ordered[:, -2] > margin
        same = expected.argmax(axis=1) == actual.argmax(axis=1)
    return bool(same[clear].all())
