"""The files that a run began with; what it notes of software and machine is in test_loop.py."""

import hashlib
import json
from pathlib import Path

import pytest

from edgeskin import shipped
from edgeskin.errors import RunError
from edgeskin.models.start.files import PUBLISHED
from edgeskin.train import recipe
from edgeskin.train.checkpoint import read_run
from edgeskin.train.provenance import changed_source, sources
from edgeskin.train.recipe import Recipe


def tiny(*overrides: str) -> Recipe:
    return recipe.read(shipped.find("recipes", "phantom_tiny"), overrides)


def test_a_random_start_without_a_teacher_has_no_files(tmp_path: Path) -> None:
    assert sources(tiny(), tmp_path) == {}


def test_an_imagenet_start_is_its_published_file(tmp_path: Path) -> None:
    (tmp_path / PUBLISHED["mobilenet_v2"].file).write_bytes(b"weights")
    expected = {"network.start": hashlib.sha256(b"weights").hexdigest()}
    assert sources(tiny("network.start=imagenet"), tmp_path) == expected


def test_a_state_dict_of_ones_own_is_a_file_too(tmp_path: Path) -> None:
    path = tmp_path / "own.pth"
    assert sources(tiny(f"network.start={path}"), None) == {}  # start_problems says that it is not there
    path.write_bytes(b"own")
    assert sources(tiny(f"network.start={path}"), None) == {"network.start": hashlib.sha256(b"own").hexdigest()}


def test_a_teacher_is_its_best_float_epoch(tiny_run: Path) -> None:
    run = json.loads((tiny_run / "run.json").read_text())
    assert sources(tiny(f"distill.run={tiny_run}"), None) == {"distill.run": run["best"]["float"]["sha256"]}
    assert read_run(tiny_run).sources == {}


def test_a_teacher_that_is_gone_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no run here"):
        sources(tiny(f"distill.run={tmp_path}"), None)


def test_only_a_file_that_is_known_to_be_another_has_changed() -> None:
    then = {"distill.run": "a", "network.start": "b"}
    assert changed_source(then, {"distill.run": "a", "network.start": "c"}) == "network.start"
    assert changed_source(then, then) is None
    assert changed_source(then, {"distill.run": "a"}) is None  # once training has begun the file is not needed
    assert changed_source({}, then) is None  # a run of an edgeskin that did not note them
