from pathlib import Path

import numpy as np
import pytest

from edgeskin.contract.metadata import ChoiceField, MetadataSpec, NumberField
from edgeskin.data.cases import Case
from edgeskin.train.clinical import ClinicalFields, clinical_fields

SPEC = MetadataSpec(
    fields=(NumberField(name="age", low=0, high=100), ChoiceField(name="itch", values=("true", "false")))
)


def cases(*rows: dict[str, str]) -> tuple[Case, ...]:
    return tuple(Case(str(index), Path("p.jpg"), None, "train", None, row) for index, row in enumerate(rows))


def lots(count: int) -> list[np.random.Generator]:
    return [np.random.default_rng(index) for index in range(count)]


def of(*rows: dict[str, str], probability: float, classes: list[str] | None = None) -> ClinicalFields:
    return clinical_fields(cases(*rows), SPEC, probability, classes)


def test_a_hidden_field_is_an_explicit_unknown_that_can_be_learnt_back() -> None:
    fields = of({"age": "50", "itch": "true"}, {"age": "", "itch": "false"}, probability=1.0)
    shown = fields.draw(np.array([0, 1]), lots(2))
    np.testing.assert_array_equal(shown.given, np.stack([SPEC.unknown()] * 2))
    np.testing.assert_array_equal(shown.complete, fields.complete)
    # Slots: age, age=unknown, itch=true, itch=false, itch=unknown; what was unknown before cannot be learnt.
    np.testing.assert_array_equal(shown.hidden, [[1, 0, 1, 1, 0], [0, 0, 1, 1, 0]])


def test_at_a_probability_of_zero_nothing_is_hidden() -> None:
    fields = of({"age": "50", "itch": "true"}, probability=0.0)
    shown = fields.draw(np.array([0]), lots(1))
    np.testing.assert_array_equal(shown.given, fields.complete)
    assert not shown.hidden.any()


def test_now_and_then_a_case_tells_nothing_whatever_its_class() -> None:
    rows = [{"age": "50", "itch": "true"}] * 1000 + [{"age": "50", "itch": "true"}, {"age": "", "itch": "true"}] * 500
    classes = ["cancer"] * 1000 + ["benign"] * 1000
    fields = clinical_fields(cases(*rows), SPEC, 0.0, classes, hide_all=0.25)
    shown = fields.draw(np.arange(2000), lots(2000))
    # The itch is hidden where everything is; by hand, the age in that quarter and in half of the rest.
    nothing = shown.given[:, 4]
    assert shown.given[nothing == 1, 1].all()
    for cancer in (slice(0, 1000), slice(1000, 2000)):
        assert nothing[cancer].mean() == pytest.approx(0.25, abs=0.055)  # four standard deviations
        assert shown.given[cancer, 1].mean() == pytest.approx(0.625, abs=0.062)
    assert not fields.whole(np.arange(2000)).given[:, 4].any()


def test_every_class_comes_to_miss_a_field_equally_often() -> None:
    # By hand: cancer knows the age always, the rest in half of its cases; half of the cancers' ages are hidden.
    rows = [{"age": "50", "itch": "true"}] * 1000 + [{"age": "50", "itch": "true"}, {"age": "", "itch": "true"}] * 500
    fields = of(*rows, probability=0.0, classes=["cancer"] * 1000 + ["benign"] * 1000)
    shown = fields.draw(np.arange(2000), lots(2000))
    unknown = shown.given[:, 1]
    assert unknown[1000:].mean() == 0.5
    assert unknown[:1000].mean() == pytest.approx(0.5, abs=0.065)  # four standard deviations of 1000 draws
    assert not shown.given[:, 4].any(), "the itch is known everywhere and stays known"


def test_a_column_that_a_data_set_lacks_is_unknown_for_its_cases() -> None:
    fields = of({"age": "50"}, {"itch": "true"}, probability=0.0)
    shown = fields.whole(np.array([0, 1]))
    assert shown.given[:, [1, 4]].tolist() == [[0, 1], [1, 0]]
