"""Releases: Graph folders whose gate passed, kept under a name, each with its model card."""

import re
import tempfile
from pathlib import Path

from edgeskin import files, shipped
from edgeskin.benchmarks import report
from edgeskin.errors import BundleError, GraphError
from edgeskin.export import card, journey
from edgeskin.export.evaluate import Say, silent
from edgeskin.export.profile import Profile
from edgeskin.graph.folder import PARTS, REPAIR, Graph


def release(
    graph: Graph, name: str, folder: Path, profile: Profile, *, make_default: bool = False, say: Say = silent
) -> Path:
    """Judge a Graph as a bundle on this machine and, if it passed, copy it to `folder`/`name`.

    profile: what is built and how it is judged. make_default: also name the release in `folder`/default, which `export`
    and `predict` use when nothing is given.

    Raises: BundleError where the verdict is not passed, the name is not a plain word, or the place is taken: a release
    is never replaced.
    """
    place = folder / name
    if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", name):
        raise BundleError(f"{name}: a release is named in small letters, digits and hyphens, such as clinic-1")
    if place.exists():
        raise BundleError(f"{place}: exists already, and a release is never replaced. Choose another name")
    with tempfile.TemporaryDirectory(prefix="edgeskin-") as temporary:
        done = journey.export(graph, profile, Path(temporary) / "bundle", say=say)
    verdict = done.verdict
    if verdict.state != "passed":
        raise BundleError(f"{graph.folder}: not released, its gate says {verdict.state}" + verdict.trouble)
    with files.new_folder(place) as building:
        for part in (*PARTS, REPAIR):
            if (graph.folder / part).exists():
                files.copy(graph.folder / part, building / part)
        copied = Graph.open(building)
        if copied.sha256 != graph.sha256 or copied.changed():
            raise GraphError(f"{graph.folder}: was changed while it was judged. Release it again")
        card.write(building, done.report, graph)
        # What it was released by, for a comparison with later ones.
        files.write_json(building / report.JSON_NAME, done.report.model_dump(mode="json"))
    if make_default:
        files.write_text(folder / "default", f"{name}\n")
    return place


def released_by(graph: Graph) -> str | None:
    """The gate that a release passed; None for a Graph folder that is none, or whose report another edgeskin wrote."""
    path = graph.folder / report.JSON_NAME
    try:
        return report.Report.read(path).gate if path.is_file() else None
    except BundleError:
        return None


def for_target(passed: str, usual: str) -> str:
    """What a gate that a release passed is for a target with this usual one: `photo_iphone` for `photo` and `iphone`.

    The gate itself where no gate of that name is shipped.
    """
    together = f"{passed}_{usual}"
    return together if (shipped.folder("gates") / f"{together}.toml").is_file() else passed
