"""What can be opened, and where it is kept; the target copies bytes and counts how often it builds."""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from edgeskin import shipped, targets
from edgeskin.contract import bundle
from edgeskin.contract.model import HeadSpec, ModelCard, Provenance
from edgeskin.errors import BundleError, EdgeskinError, TargetError
from edgeskin.files import cache_folder
from edgeskin.graph.folder import Graph
from edgeskin.screen.runnable import runnable
from edgeskin.targets.base import Artifact, Precision

CARD = ModelCard(
    name="tiny",
    version="1",
    size=64,
    heads=(HeadSpec(name="melanoma", kind="sigmoid", labels=("melanoma",), threshold=0.3),),
    intended_use="tests",
    licence="none",
    provenance=Provenance(
        recipe="none", recipe_sha256="0" * 64, data=(), data_list_sha256="0" * 64, seed=0, edgeskin_version="0"
    ),
)


@dataclass
class Copier:
    """A target whose artifact is int8.onnx itself."""

    builds: int = 0
    broken: bool = False

    def build(self, graph: Graph, precision: Precision, folder: Path) -> Artifact:
        if self.broken:
            raise TargetError("cannot build here")
        self.builds += 1
        shutil.copy(graph.int8, folder / "model.onnx")
        return Artifact(folder / "model.onnx", "onnx", precision, graph.sha256)


@pytest.fixture
def target(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Copier:
    copier = Copier()
    monkeypatch.setattr(targets, "get", lambda name: copier)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return copier


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    folder = tmp_path / "graph"
    folder.mkdir()
    CARD.write(folder / "model.json")
    (folder / "fp32.onnx").write_bytes(b"float")
    (folder / "int8.onnx").write_bytes(b"integer")
    return folder


def test_a_graph_is_built_once_and_kept(target: Copier, graph: Path) -> None:
    places = set()
    for _ in range(2):
        with runnable(graph) as found:
            assert found.artifact.read_bytes() == b"integer"
            assert found.card == CARD
            assert found.manifest.graph_sha256 == Graph.open(graph).sha256
            places.add(found.folder)
    assert target.builds == 1
    (place,) = places
    assert place.parent == cache_folder()
    assert bundle.verify(place) == ()


def test_another_graph_is_another_entry(target: Copier, graph: Path) -> None:
    with runnable(graph) as first:
        pass
    (graph / "int8.onnx").write_bytes(b"other")
    with runnable(graph) as second:
        assert second.artifact.read_bytes() == b"other"
    assert first.folder != second.folder


def test_a_damaged_entry_is_built_again(target: Copier, graph: Path) -> None:
    with runnable(graph) as found:
        found.artifact.write_bytes(b"damaged")
    with runnable(graph) as found:
        assert found.artifact.read_bytes() == b"integer"
    assert target.builds == 2


def test_without_a_writable_cache_a_temporary_folder_serves(
    target: Copier, graph: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with runnable(graph) as found:
        assert found.artifact.read_bytes() == b"integer"
        folder = found.folder
    assert not folder.exists()


def test_a_target_that_cannot_build_says_so_and_leaves_nothing(target: Copier, graph: Path) -> None:
    target.broken = True
    with pytest.raises(TargetError, match="cannot build here"), runnable(graph):
        pass
    assert list(cache_folder().iterdir()) == []


def test_a_bundle_is_used_where_it_lies(target: Copier, graph: Path, tmp_path: Path) -> None:
    with runnable(graph) as kept:
        moved = Path(shutil.copytree(kept.folder, tmp_path / "bundle"))
    with runnable(moved) as found:
        assert found.folder == moved
    assert target.builds == 1


def test_nothing_given_means_the_shipped_release(target: Copier, graph: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shipped, "default_release", lambda: graph)
    with runnable() as found:
        assert found.artifact.read_bytes() == b"integer"


def test_a_folder_that_is_neither_is_refused(target: Copier, tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "absent"):
        with pytest.raises(BundleError, match="neither a bundle"), runnable(folder):
            pass


def test_another_process_that_builds_the_same_first_is_no_error(
    target: Copier, graph: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with runnable(graph) as found:
        built, place = found.folder.with_name("built"), found.folder
    place.rename(built)

    def late(given: Graph, precision: Precision, folder: Path) -> Artifact:
        shutil.copytree(built, place)
        raise EdgeskinError(f"{place}: cannot write: the folder is not empty")

    monkeypatch.setattr(target, "build", late)
    with runnable(graph) as found:
        assert found.folder == place


def test_the_cache_is_the_users_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", "/home/somebody")
    monkeypatch.setattr("sys.platform", "linux")
    assert cache_folder() == Path(os.sep, "home", "somebody", ".cache", "edgeskin")
    monkeypatch.setattr("sys.platform", "darwin")
    assert cache_folder() == Path(os.sep, "home", "somebody", "Library", "Caches", "edgeskin")
