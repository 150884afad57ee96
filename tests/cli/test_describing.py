"""`edgeskin describe` as a user meets it."""

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest

from edgeskin import optional
from edgeskin.optional import missing

NO_TORCH = missing("torch", "torchao")
needs_torch = pytest.mark.skipif(NO_TORCH is not None, reason=str(NO_TORCH))


@needs_torch
def test_a_recipe_by_name_is_a_table_and_a_picture(edgeskin, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    done = edgeskin("describe", "phantom_tiny")
    assert (done.code, done.err) == (0, "")
    lines = done.out.splitlines()
    assert lines[0] == "phantom_tiny, one image"
    assert any(line.startswith("exported ") for line in lines)
    assert any(line.startswith("[image]") for line in lines)
    assert max(map(len, lines)) <= 100


@needs_torch
def test_a_recipe_by_path_with_changes_and_a_picture(edgeskin, tmp_path: Path) -> None:
    from edgeskin import shipped

    path, svg = shipped.find("recipes", "phantom_tiny"), tmp_path / "new" / "network.svg"
    done = edgeskin("describe", path, "--set", "heads.sharper={kind='super_resolution'}", "--svg", svg)
    assert done.code == 0
    assert done.err == f"{svg}: the picture\n"
    assert "dropped at export" in done.out
    assert ElementTree.parse(svg).getroot().tag.endswith("svg")


@needs_torch
def test_json_is_all_there_is_on_stdout(edgeskin, tmp_path: Path) -> None:
    done = edgeskin("describe", "phantom_tiny", "--json", "--svg", tmp_path / "a.svg")
    assert done.code == 0
    facts = json.loads(done.out)
    assert facts["recipe"] == "phantom_tiny"
    assert facts["exported"]["parameters"] == sum(part["parameters"] for part in facts["parts"] if part["exported"])


@needs_torch
def test_every_mistake_of_a_recipe_comes_at_once(edgeskin) -> None:
    done = edgeskin("describe", "phantom_tiny", "--set", "seed=-1", "--set", "network.siez=64")
    assert (done.code, done.out) == (1, "")
    first, second = done.err.splitlines()
    assert first.endswith("phantom_tiny.toml: seed is -1: input should be greater than or equal to 0")
    assert second.endswith("phantom_tiny.toml: network.siez is not a known key; did you mean size?")


@needs_torch
def test_a_link_without_its_head_is_told_and_nothing_is_written(edgeskin, tmp_path: Path) -> None:
    svg = tmp_path / "a.svg"
    done = edgeskin("describe", "phantom_tiny", "--set", "network.joint_reverse.head='sex'", "--svg", svg)
    assert (done.code, done.out) == (1, "")
    assert "network.joint_reverse.head names the head 'sex', which is not there" in done.err
    assert not svg.exists()


@needs_torch
def test_a_picture_that_cannot_be_written_is_one_sentence(edgeskin, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = edgeskin("describe", "phantom_tiny", "--svg", tmp_path / "file" / "a.svg")
    assert (done.code, done.out) == (1, "")
    assert "cannot write" in done.err
    assert done.err.count("\n") == 1


@needs_torch
def test_an_unknown_recipe_comes_with_the_nearest(edgeskin) -> None:
    done = edgeskin("describe", "phantom_tini")
    assert (done.code, done.out) == (1, "")
    assert done.err.rstrip().endswith("Did you mean phantom_tiny?")


def test_without_torch_it_says_how_to_get_it(edgeskin, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(optional, "available", lambda module: module != "torch")
    done = edgeskin("describe", "phantom_tiny")
    assert (done.code, done.out) == (1, "")
    assert done.err == "error: torch is not installed. Install it with: pip install 'edgeskin[train]'\n"
