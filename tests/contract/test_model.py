"""The model card as a file: what it holds, and that what an older edgeskin wrote keeps its bytes."""

import json
import re
from pathlib import Path

import pytest
import second_pass_graphs
from metadata_graphs import card
from pydantic import ValidationError

from edgeskin import shipped
from edgeskin.contract.model import HeadSpec, ModelCard
from edgeskin.errors import GraphError


def test_a_card_with_metadata_survives_its_file(tmp_path: Path) -> None:
    card().write(tmp_path / "model.json")
    assert ModelCard.read(tmp_path / "model.json") == card()
    written = json.loads((tmp_path / "model.json").read_text())
    assert written["metadata"]["fields"][1] == {"kind": "choice", "name": "sex", "values": ["female", "male"]}


def test_a_card_without_metadata_does_not_speak_of_it(tmp_path: Path) -> None:
    plain = card().model_copy(update={"metadata": None})
    plain.write(tmp_path / "model.json")
    assert "metadata" not in json.loads((tmp_path / "model.json").read_text())
    assert ModelCard.read(tmp_path / "model.json").metadata is None


def test_the_shipped_card_is_written_again_to_the_byte(tmp_path: Path) -> None:
    path = shipped.default_release() / "model.json"
    ModelCard.read(path).write(tmp_path / "model.json")
    assert (tmp_path / "model.json").read_bytes() == path.read_bytes()


def test_a_wrong_field_of_the_metadata_is_named(tmp_path: Path) -> None:
    value = json.loads(card().model_dump_json())
    value["metadata"]["fields"][0]["high"] = -1
    (tmp_path / "model.json").write_text(json.dumps(value))
    with pytest.raises(GraphError, match=r"metadata\.fields\.0.*high must be above low"):
        ModelCard.read(tmp_path / "model.json")


# --- preprocessing and a second pass ---


def test_preprocessing_and_a_second_pass_survive_their_file(tmp_path: Path) -> None:
    twice = second_pass_graphs.card()
    twice.write(tmp_path / "model.json")
    assert ModelCard.read(tmp_path / "model.json") == twice
    written = json.loads((tmp_path / "model.json").read_text())
    assert written["preprocessing"] == [{"step": "shades_of_gray", "norm": 6}]
    assert written["second_pass"] == {"strategy": "mask", "margin": 1.4, "heads": ["melanoma"]}


def test_a_card_without_them_does_not_speak_of_them(tmp_path: Path) -> None:
    card().write(tmp_path / "model.json")
    assert not {"preprocessing", "second_pass"} & set(json.loads((tmp_path / "model.json").read_text()))
    plain = ModelCard.read(tmp_path / "model.json")
    assert (plain.preprocessing, plain.second_pass) == ((), None)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"second_pass": {"strategy": "box", "heads": ["mask"]}}, "names mask, the mask, which the first pass alone"),
        ({"second_pass": {"strategy": "box", "heads": ["melanom"]}}, "no head; did you mean 'melanoma'"),
        ({"heads": [second_pass_graphs.card().heads[1].model_dump()]}, "second_pass needs a mask head"),
        ({"preprocessing": [{"step": "hair_removal"}]}, "preprocessing.*hair_removal"),
    ],
)
def test_what_no_device_could_do_is_no_card(change: dict[str, object], said: str, tmp_path: Path) -> None:
    value = json.loads(second_pass_graphs.card().model_dump_json()) | change
    (tmp_path / "model.json").write_text(json.dumps(value))
    with pytest.raises(GraphError, match=said):
        ModelCard.read(tmp_path / "model.json")


# --- the words of a head's column ---


def head(kind: str, labels: tuple[str, ...], values: dict[str, tuple[str, ...]]) -> HeadSpec:
    threshold = None if kind == "softmax" else 0.5
    return HeadSpec.model_validate(
        {"name": "h", "kind": kind, "labels": labels, "threshold": threshold, "values": values}
    )


@pytest.mark.parametrize(
    ("kind", "values", "said"),
    [
        ("sigmoid", {"yes": ["MEL", "BCC"], "no": ["NEV", "MEL"]}, "'MEL' under both 'yes' and 'no'"),
        ("sigmoid", {"yes": ["MEL"], "": ["MEL"]}, "'MEL' under both 'yes' and ''"),
        ("softmax", {"a": ["x"], "b": ["x", "y"]}, "'x' under both 'a' and 'b'"),
        # b has no words of its own, so the column calls it b.
        ("softmax", {"a": ["b"]}, "'b' under both 'a' and 'b'"),
        ("softmax", {"A": ["x"]}, "values.A is no label of it; write a, b"),
        ("sigmoid", {"malignant": ["x"]}, "values.malignant is no label of it; write no, yes"),
    ],
)
def test_words_that_do_not_decide_are_refused(kind: str, values: dict[str, tuple[str, ...]], said: str) -> None:
    with pytest.raises(ValidationError, match=re.escape(said)):
        head(kind, ("a", "b") if kind == "softmax" else ("h",), values)


def test_words_may_exchange_labels_and_say_nothing() -> None:
    assert head("softmax", ("a", "b"), {"a": ("b",), "b": ("a", "x"), "": ("?",)}).values is not None
    assert head("sigmoid", ("h",), {"yes": ("MEL",)}).values == {"yes": ("MEL",)}
