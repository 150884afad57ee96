"""The model card as a file: what it holds, and that what an older edgeskin wrote keeps its bytes."""

import json
from pathlib import Path

import pytest
from metadata_graphs import card

from edgeskin import shipped
from edgeskin.contract.model import ModelCard
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
