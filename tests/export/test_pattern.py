"""What the pattern of unknown fields tells, by hand."""

from types import SimpleNamespace

import numpy as np
import pytest

from edgeskin.contract.metadata import ChoiceField, MetadataSpec, NumberField
from edgeskin.contract.model import HeadSpec
from edgeskin.export.pattern import Pattern

SPEC = MetadataSpec(
    fields=(NumberField(name="age", low=0, high=100), ChoiceField(name="sex", values=("female", "male")))
)
HEADS = (
    HeadSpec(name="mask", kind="mask", labels=("lesion",), threshold=0.5),
    HeadSpec(name="kind", kind="softmax", labels=("a", "b"), threshold=None),
    HeadSpec(name="bad", kind="sigmoid", labels=("bad",), threshold=0.5),
)


class Card(SimpleNamespace):
    def model_copy(self, update: dict[str, object]) -> "Card":
        return Card(**{**vars(self), **update})


@pytest.fixture
def pattern() -> Pattern:
    known, young = SPEC.encode({"age": 80, "sex": "male"}), SPEC.encode({"age": 20, "sex": "female"})
    fields = np.stack([known, young, SPEC.unknown(), SPEC.unknown()])
    # -1 is a missing label.
    labels = {"kind": np.array([0, 0, 1, -1]), "bad": np.array([1, 1, 0, 0])}
    return Pattern.of(Card(heads=HEADS, metadata=SPEC, second_pass=None), labels, fields)


def answers(pattern: Pattern, **known: object) -> dict[str, list[float]]:
    found = pattern.run(np.zeros((1, 8, 8, 3), np.uint8), SPEC.encode(known)[np.newaxis])  # type: ignore[arg-type]
    return {name: value[0].astype(float).round(4).tolist() for name, value in found.items()}


def test_the_values_do_not_count_only_what_is_unknown(pattern: Pattern) -> None:
    # kind: of three labels two are a, so a prior of (2/3, 1/3) counts as one case; known: (2 + 2/3, 1/3) / 3.
    assert answers(pattern, age=50, sex="female") == answers(pattern, age=1, sex="male")
    assert answers(pattern, age=50, sex="female") == {"kind": [0.8889, 0.1111], "bad": [0.8333]}
    assert answers(pattern) == {"kind": [0.3333, 0.6667], "bad": [0.1667]}


def test_a_pattern_that_training_never_showed_tells_nothing(pattern: Pattern) -> None:
    assert answers(pattern, age=50) == {"kind": [0.6667, 0.3333], "bad": [0.5]}


def test_the_mask_is_not_asked(pattern: Pattern) -> None:
    assert [head.name for head in pattern.card.heads] == ["kind", "bad"]
