"""The small Graph, the profile it is judged by, and its bundles."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from edgeskin.optional import missing

if TYPE_CHECKING:
    from edgeskin.export.profile import Profile
    from edgeskin.graph.folder import Graph

if missing("onnx", "onnxruntime"):
    collect_ignore_glob = [
        "test_attest.py",
        "test_average.py",
        "test_benchmark.py",
        "test_elsewhere.py",
        "test_form.py",
        "test_journey_coreml.py",
        "test_journey.py",
        "test_journey_tflite.py",
        "test_evaluate.py",
        "test_measuring.py",
        "test_release.py",
        "test_card.py",
        "test_sbom.py",
        "test_sign.py",
    ]
else:
    from metadata_graphs import write_metadata_graph
    from second_pass_graphs import write_second_pass_graph
    from small_graphs import GATE, hasty, write_small_graph


@pytest.fixture(scope="module", autouse=True)
def _hasty() -> Iterator[None]:
    with hasty(memory_mib=40):
        yield


@pytest.fixture(scope="session")
def small_graph(once, phantom_data: Path) -> "Graph":
    """A Graph folder for reading only."""
    from edgeskin.graph.folder import Graph

    return Graph.open(once("small_graph", lambda folder: write_small_graph(folder, phantom_data)))


@pytest.fixture
def graph(small_graph: "Graph", tmp_path: Path) -> "Graph":
    """A copy of it to damage."""
    from edgeskin.graph.folder import Graph

    return Graph.open(Path(shutil.copytree(small_graph.folder, tmp_path / "graph")))


@pytest.fixture
def told_graph(once, tmp_path: Path) -> "Graph":
    """A copy of the Graph folder of a network that takes metadata."""
    from edgeskin.graph.folder import Graph

    return Graph.open(Path(shutil.copytree(once("told_graph", write_metadata_graph), tmp_path / "told")))


@pytest.fixture(scope="session")
def twice_graph(once) -> "Graph":
    """The Graph folder of a network that runs twice, for reading only."""
    from edgeskin.graph.folder import Graph

    return Graph.open(once("twice_graph", write_second_pass_graph))


@pytest.fixture(scope="session")
def profile(tmp_path_factory: pytest.TempPathFactory) -> "Profile":
    """A profile whose gate the small network passes."""
    from edgeskin.export.profile import Profile

    path = tmp_path_factory.mktemp("rules") / "gate.toml"
    path.write_text(GATE)
    return Profile.default("onnx").altered(gate=str(path))


@pytest.fixture(scope="session")
def bundle(once, small_graph: "Graph", profile: "Profile") -> Path:
    """The int8 bundle of the small Graph, for reading only."""
    from edgeskin.export import journey

    def make(folder: Path) -> None:
        with hasty():
            journey.export(small_graph, profile, folder)

    return once("small_bundle", make)
