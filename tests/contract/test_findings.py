import json

import numpy as np
import numpy.typing as npt
import pytest
from pydantic import ValidationError

from edgeskin.contract.findings import Failure, Findings, decode
from edgeskin.contract.image import Letterbox
from edgeskin.contract.metadata import ChoiceField, MetadataSpec, NumberField
from edgeskin.contract.model import HeadSpec, MaskCleanup, ModelCard, Provenance
from edgeskin.errors import PhotoError, TargetError

MASK = HeadSpec(name="lesion", kind="mask", labels=("lesion",), threshold=0.5)
DIAGNOSIS = HeadSpec(name="diagnosis", kind="softmax", labels=("melanoma", "nevus", "seborrheic_keratosis"))
MELANOMA = HeadSpec(name="melanoma", kind="sigmoid", labels=("melanoma",), threshold=0.3)
BOX = Letterbox.fit(64, 32, 32)  # content 32 × 16, rows 8 to 23


def card(*heads: HeadSpec) -> ModelCard:
    origin = Provenance(
        recipe="test",
        recipe_sha256="0" * 64,
        data=("phantom",),
        data_list_sha256="0" * 64,
        seed=0,
        edgeskin_version="0",
    )
    return ModelCard(
        name="test",
        version="1",
        size=32,
        heads=heads,
        cleanup=MaskCleanup(close_fraction=0),
        intended_use="tests",
        licence="Apache-2.0",
        provenance=origin,
    )


def outputs() -> dict[str, npt.NDArray[np.float32]]:
    mask = np.zeros((1, 1, 32, 32), np.float32)
    mask[0, 0, :, 16:] = 1  # the right half, padding included
    return {
        "lesion": mask,
        "diagnosis": np.array([0.2, 0.7000001, 0.0999999], np.float32),
        "melanoma": np.array([0.12345678], np.float32),
    }


def test_findings_are_one_line_of_the_documented_json() -> None:
    findings, mask = decode(outputs(), card(MASK, DIAGNOSIS, MELANOMA), BOX, "größe.jpg")
    assert mask is not None
    assert mask.shape == (32, 64)
    # Half of the content is lesion; bilinear enlarging puts the border halfway, so exactly half of the photo is.
    assert findings.line() == (
        '{"file": "größe.jpg", "heads": {"diagnosis": {"melanoma": 0.2, "nevus": 0.7, "seborrheic_keratosis": 0.1}, '
        '"melanoma": {"melanoma": 0.123457}}, "decisions": {"melanoma": false}, "lesion_fraction": 0.5}'
    )


def test_a_mask_may_come_without_its_batch() -> None:
    whole, squeezed = outputs(), outputs()
    squeezed["lesion"] = squeezed["lesion"][0]
    model = card(MASK, DIAGNOSIS, MELANOMA)
    assert decode(whole, model, BOX, "a")[0] == decode(squeezed, model, BOX, "a")[0]


@pytest.mark.parametrize(("probability", "decision"), [(0.3, True), (0.29999, False), (0.9, True)])
def test_a_decision_is_yes_at_the_threshold_and_above(probability: float, decision: bool) -> None:
    findings, mask = decode({"melanoma": np.array([probability], np.float32)}, card(MELANOMA), BOX, "a")
    assert findings.decisions == {"melanoma": decision}
    assert mask is None


def test_a_network_without_a_mask_says_null() -> None:
    findings, _ = decode({"melanoma": np.array([0.5], np.float32)}, card(MELANOMA), BOX, "a")
    assert json.loads(findings.line())["lesion_fraction"] is None


def test_the_lesion_fraction_is_of_the_cleaned_mask() -> None:
    values = outputs()
    values["lesion"][0, 0, 10, 2] = 1  # a speck apart
    findings, mask = decode(values, card(MASK, DIAGNOSIS, MELANOMA), BOX, "a")
    assert findings.lesion_fraction == 0.5
    assert mask is not None
    assert not mask[:, :30].any()


def test_a_missing_output_is_named() -> None:
    values = outputs()
    del values["diagnosis"]
    with pytest.raises(TargetError, match="diagnosis"):
        decode(values, card(MASK, DIAGNOSIS, MELANOMA), BOX, "a")


@pytest.mark.parametrize("wrong", [np.zeros(2, np.float32), np.zeros((2, 3), np.float32)])
def test_an_output_of_another_shape_is_named(wrong: npt.NDArray[np.float32]) -> None:
    with pytest.raises(TargetError, match="diagnosis has the shape"):
        decode({**outputs(), "diagnosis": wrong}, card(DIAGNOSIS), BOX, "a")


@pytest.mark.parametrize("value", [np.nan, np.inf, -0.1, 1.1])
def test_an_output_that_is_no_probability_is_refused(value: float) -> None:
    with pytest.raises(TargetError, match="no probabilities"):
        decode({"melanoma": np.array([value], np.float32)}, card(MELANOMA), BOX, "a")


def test_a_refused_photo_is_one_line_of_the_documented_json() -> None:
    failure = Failure.of("a.jpg", PhotoError("truncated", "a.jpg: cut off"))
    assert failure.line() == '{"file": "a.jpg", "error": {"code": "truncated", "message": "a.jpg: cut off"}}'


def test_findings_cannot_be_changed_and_come_back_from_their_line() -> None:
    findings, _ = decode(outputs(), card(MASK, DIAGNOSIS, MELANOMA), BOX, "a")
    assert Findings.model_validate_json(findings.line()) == findings
    with pytest.raises(ValidationError):
        findings.file = "b"


def test_findings_say_what_was_known_and_never_the_values() -> None:
    spec = MetadataSpec(
        fields=(NumberField(name="age", low=0, high=90), ChoiceField(name="sex", values=("female", "male")))
    )
    told = card(MELANOMA).model_copy(update={"metadata": spec})
    outputs = {"melanoma": np.array([0.2], np.float32)}
    found, _ = decode(outputs, told, BOX, "a.jpg", {"age": 93, "sex": ""})
    assert json.loads(found.line())["metadata"] == {"known": ["age"], "unknown": ["sex"], "clipped": ["age"]}
    assert "93" not in found.line()
    assert Findings.model_validate_json(found.line()) == found
    nothing, _ = decode(outputs, told, BOX, "a.jpg")
    assert json.loads(nothing.line())["metadata"]["unknown"] == ["age", "sex"]
    alone, _ = decode(outputs, card(MELANOMA), BOX, "a.jpg")
    assert "metadata" not in json.loads(alone.line())
