"""From a path to a bundle that can be opened: a bundle as it is, a Graph folder built once and kept for later."""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import edgeskin
from edgeskin import files, shipped, targets
from edgeskin.contract import bundle, signature
from edgeskin.contract.bundle import Bundle
from edgeskin.errors import BundleError, EdgeskinError
from edgeskin.graph.folder import Graph
from edgeskin.targets.base import Precision

_TARGET = "onnx"
_PRECISION: Precision = "int8"


@contextlib.contextmanager
def runnable(path: Path | None = None) -> Iterator[Bundle]:
    """A bundle to open within this context: `path` itself, or built from the Graph folder `path`.

    path: a bundle, a Graph folder, the name of a shipped release, or None for the default one. What is built stays in
    the user's cache folder; where that cannot be written to, it lives only as long as this context.

    Raises: BundleError where `path` is neither, or the machine trusts a key and it is not signed;
    EdgeskinError where nothing is shipped or the artifact cannot be built.
    """
    folder = shipped.release(path)
    if (folder / bundle.MANIFEST).is_file():
        yield Bundle.open(folder)
        return
    if not (folder / "model.json").is_file():
        raise BundleError(f"{folder}: neither a bundle (manifest.json) nor a Graph folder (model.json, int8.onnx)")
    if signature.trusted() is not None:
        raise BundleError(
            f"{folder}: is a Graph folder, and {signature.TRUSTED_KEY} lets signed bundles alone run. Export it, and "
            "have the bundle signed: edgeskin sign --help"
        )
    graph = Graph.open(folder)
    root = files.cache_folder()
    if _writable(root):
        yield _kept(graph, root / f"{_TARGET}-{_PRECISION}-{edgeskin.__version__}-{graph.sha256[:32]}")
        return
    with tempfile.TemporaryDirectory(prefix="edgeskin-", ignore_cleanup_errors=True) as temporary:
        yield _built(graph, Path(temporary) / "bundle")


def _writable(root: Path) -> bool:
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    return root.is_absolute() and os.access(root, os.W_OK)


def _kept(graph: Graph, place: Path) -> Bundle:
    with contextlib.suppress(BundleError):
        return Bundle.open(place)
    try:
        return _built(graph, place)
    except EdgeskinError:
        with contextlib.suppress(BundleError):
            return Bundle.open(place)  # another process was building the same and was quicker
        raise


def _built(graph: Graph, place: Path) -> Bundle:
    with files.new_folder(place) as building:
        artifact = targets.get(_TARGET).build(graph, _PRECISION, building)
        graph.card.write(building / "model.json")
        bundle.write_manifest(
            building,
            target=artifact.target,
            precision=artifact.precision,
            artifact=artifact.path.name,
            graph_sha256=graph.sha256,
        )
    return Bundle.open(place)
