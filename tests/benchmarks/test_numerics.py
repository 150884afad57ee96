"""The rule of equivalence, by hand-computed outputs."""

import numpy as np
import pytest

from edgeskin.benchmarks import numerics
from edgeskin.benchmarks.measurements import EngineGap, NumericsHop
from edgeskin.contract.model import HeadSpec, MaskCleanup, ModelCard, Provenance

CARD = ModelCard(
    name="tiny",
    version="1",
    size=32,
    heads=(
        HeadSpec(name="lesion", kind="mask", labels=("lesion",), threshold=0.5),
        HeadSpec(name="diagnosis", kind="softmax", labels=("melanoma", "nevus", "keratosis")),
        HeadSpec(name="melanoma", kind="sigmoid", labels=("melanoma",), threshold=0.3),
    ),
    cleanup=MaskCleanup(),
    intended_use="tests",
    licence="none",
    provenance=Provenance(
        recipe="none", recipe_sha256="0" * 64, data=(), data_list_sha256="0" * 64, seed=0, edgeskin_version="0"
    ),
)


def outputs(
    lesion: float = 0.9, diagnosis: tuple[float, ...] = (0.6, 0.3, 0.1), melanoma: float = 0.4
) -> numerics.Outputs:
    """Two equal cases."""
    return {
        "lesion": np.full((2, 1, 32, 32), lesion, np.float32),
        "diagnosis": np.array([diagnosis] * 2, np.float32),
        "melanoma": np.full((2, 1), melanoma, np.float32),
    }


def hop(tensor: str, hops: tuple[NumericsHop, ...]) -> NumericsHop:
    return next(hop for hop in hops if hop.tensor == tensor)


def test_equal_outputs_are_equivalent_head_by_head_in_the_cards_order() -> None:
    hops = numerics.compare("a → b", outputs(), outputs(), CARD)
    assert [(hop.tensor, hop.equivalent, hop.mean_abs, hop.max_abs) for hop in hops] == [
        ("lesion", True, 0, 0),
        ("diagnosis", True, 0, 0),
        ("melanoma", True, 0, 0),
    ]


@pytest.mark.parametrize(("flipped", "equivalent"), [(2, True), (3, False)])
def test_a_mask_agrees_on_999_of_1000_pixels(flipped: int, equivalent: bool) -> None:
    other = dict(outputs())
    changed = other["lesion"].copy()
    changed.reshape(-1)[:flipped] = 0.49
    other["lesion"] = changed
    found = hop("lesion", numerics.compare("a → b", outputs(), other, CARD))
    # 2 × 32 × 32 pixels: 2 flips leave 0.99902, 3 leave 0.99854.
    assert found.mask_agreement == pytest.approx(1 - flipped / 2048)
    assert found.equivalent is equivalent


@pytest.mark.parametrize(
    ("shift", "gap", "equivalent"),
    [
        (0.0019, None, True),
        (0.0021, None, False),
        (0.0021, 0.0005, False),
        (0.0021, 0.0011, True),
        (0.0023, 0.0011, False),
    ],
)
def test_probabilities_may_differ_by_two_thousandths_or_twice_the_engines_own_gap(
    shift: float, gap: float | None, equivalent: bool
) -> None:
    found = numerics.compare(
        "a → b",
        outputs(melanoma=0.4),
        outputs(melanoma=0.4 + shift),
        CARD,
        engine_gap=None if gap is None else {"melanoma": EngineGap(mean_abs=gap, max_abs=0)},
    )
    assert hop("melanoma", found).equivalent is equivalent
    assert hop("melanoma", found).mean_abs == pytest.approx(shift, abs=1e-6)


@pytest.mark.parametrize(("reference", "equal"), [(0.3 + 3 / 256, True), (0.3 + 5 / 256, False)])
def test_a_decision_must_hold_only_where_the_reference_is_clear(reference: float, equal: bool) -> None:
    found = numerics.compare("a → b", outputs(melanoma=reference), outputs(melanoma=0.29), CARD)
    assert hop("melanoma", found).labels_equal is equal


@pytest.mark.parametrize(("lead", "equal"), [(3 / 256, True), (5 / 256, False)])
def test_a_class_must_hold_only_where_its_lead_is_clear(lead: float, equal: bool) -> None:
    reference = outputs(diagnosis=(0.4 + lead, 0.4, 0.2 - lead))
    found = numerics.compare("a → b", reference, outputs(diagnosis=(0.4, 0.41, 0.19)), CARD)
    assert hop("diagnosis", found).labels_equal is equal


def test_a_wrong_label_fails_even_where_the_mean_is_small() -> None:
    # One of two hundred cases flips: mean |Δp| 0.2 / 200 = 0.001 is within the limit, the decision is not.
    reference = {name: np.repeat(value, 100, axis=0) for name, value in outputs().items()}
    other = {name: value.copy() for name, value in reference.items()}
    other["melanoma"][0] = 0.2
    found = hop("melanoma", numerics.compare("a → b", reference, other, CARD))
    assert found.mean_abs == pytest.approx(0.001)
    assert found.equivalent is False


def test_an_output_that_is_not_a_number_is_not_equivalent() -> None:
    found = hop("melanoma", numerics.compare("a → b", outputs(), outputs(melanoma=float("nan")), CARD))
    assert found.mean_abs is None
    assert found.equivalent is False


def test_a_step_that_is_only_shown_is_not_judged() -> None:
    found = numerics.compare("fp32.onnx → int8.onnx", outputs(), outputs(melanoma=0.5), CARD, rule=None)
    assert [hop.equivalent for hop in found] == [None, None, None]
    assert hop("melanoma", found).max_abs == pytest.approx(0.1)


def test_the_engines_gap_is_its_difference_to_itself_by_head() -> None:
    gaps = numerics.engine_gaps(outputs(), outputs(lesion=0.8, melanoma=0.5), CARD)
    assert gaps["lesion"].mean_abs == pytest.approx(0.1)
    assert gaps["lesion"].mask_disagreement == 0
    assert gaps["melanoma"].max_abs == pytest.approx(0.1)
    assert gaps["diagnosis"] == EngineGap(mean_abs=0, max_abs=0)


@pytest.mark.parametrize(("flipped", "equivalent"), [(8, True), (9, False)])
def test_a_mask_may_differ_twice_as_much_as_the_engine_from_itself(flipped: int, equivalent: bool) -> None:
    # 4 of 2048 pixels of the engine's own, so 8 are allowed, though 0.999 alone would allow two.
    other = outputs()
    other["lesion"].reshape(-1)[:flipped] = 0.1
    gap = {"lesion": EngineGap(mean_abs=0.5, max_abs=0.8, mask_disagreement=4 / 2048)}
    found = hop("lesion", numerics.compare("a → b", outputs(), other, CARD, engine_gap=gap))
    assert found.equivalent is equivalent


@pytest.mark.parametrize(("reference", "equal"), [(0.3 + 0.03, True), (0.3 + 0.05, False)])
def test_a_decision_may_flip_within_twice_the_engines_largest_gap(reference: float, equal: bool) -> None:
    gap = {"melanoma": EngineGap(mean_abs=0.5, max_abs=0.02)}
    found = numerics.compare("a → b", outputs(melanoma=reference), outputs(melanoma=0.29), CARD, engine_gap=gap)
    assert hop("melanoma", found).labels_equal is equal


def test_cases_join_along_the_batch() -> None:
    joined = numerics.concatenate([outputs(melanoma=0.1), outputs(melanoma=0.2)])
    assert joined["lesion"].shape == (4, 1, 32, 32)
    assert joined["melanoma"][:, 0].tolist() == pytest.approx([0.1, 0.1, 0.2, 0.2])
