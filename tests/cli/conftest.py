"""The command line as a user meets it: words in; exit code, stdout and stderr out."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

from edgeskin import cli
from edgeskin.optional import missing

if TYPE_CHECKING:
    from edgeskin.graph.folder import Graph

if missing("onnx", "onnxruntime"):
    collect_ignore_glob = ["test_export.py", "test_predict.py", "test_reporting.py", "test_trust.py"]
else:
    from metadata_graphs import write_metadata_graph
    from small_graphs import GATE, hasty, write_small_graph


class Done(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str


Edgeskin = Callable[..., Done]


@pytest.fixture
def edgeskin(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Edgeskin:
    """`edgeskin("verify", folder)` runs that command in this process, as at a terminal: no workflow is told of it."""
    monkeypatch.delenv("GITHUB_ACTIONS", raising=False)

    def run(*words: object) -> Done:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main([str(word) for word in words])
        assert isinstance(ended.value.code, int)
        return Done(ended.value.code, *capsys.readouterr())

    return run


@pytest.fixture(scope="module", autouse=True)
def _hasty() -> Iterator[None]:
    if missing("onnx", "onnxruntime"):
        yield
        return
    with hasty(memory_mib=40):
        yield


@pytest.fixture(scope="session")
def small_graph(once, phantom_data: Path) -> "Graph":
    """A Graph folder for reading only."""
    from edgeskin.graph.folder import Graph

    return Graph.open(once("small_graph", lambda folder: write_small_graph(folder, phantom_data)))


@pytest.fixture
def told_graph(once, tmp_path: Path) -> Path:
    """A copy of the Graph folder of a network that takes metadata."""
    return Path(shutil.copytree(once("told_graph", write_metadata_graph), tmp_path / "told"))


@pytest.fixture
def graph(small_graph: "Graph", tmp_path: Path) -> Path:
    """A copy of it to write into."""
    return Path(shutil.copytree(small_graph.folder, tmp_path / "graph"))


@pytest.fixture
def gate(tmp_path: Path) -> Path:
    """A gate that the small network passes."""
    path = tmp_path / "gate.toml"
    path.write_text(GATE)
    return path


@pytest.fixture(scope="session")
def bundle(once, small_graph: "Graph") -> Path:
    """A bundle of the small Graph, for reading only."""
    from edgeskin.export import journey
    from edgeskin.export.profile import Profile

    def make(folder: Path) -> None:
        with hasty(memory_mib=40):
            journey.export(small_graph, Profile.default("onnx"), folder)

    return once("unjudged_bundle", make)
