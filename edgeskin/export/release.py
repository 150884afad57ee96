"""Releases: Graph folders whose gate passed, kept under a name."""

import re
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from edgeskin import files
from edgeskin.benchmarks.gate import Gate
from edgeskin.errors import BundleError
from edgeskin.export import journey
from edgeskin.export.profile import Profile
from edgeskin.graph.folder import PARTS, Graph


def release(
    graph: Graph, name: str, folder: Path, *, make_default: bool = False, say: Callable[[str], None] = lambda _: None
) -> Path:
    """Judge a Graph as an ONNX bundle on this machine and, if it passed, copy it to `folder`/`name`.

    make_default: also name it in `folder`/default, which `export` and `predict` use when nothing is given.

    Raises: BundleError where the verdict is not passed, the name is not a plain word, or the place is taken: a release
    is never replaced.
    """
    place = folder / name
    if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", name):
        raise BundleError(f"{name}: a release is named in small letters, digits and hyphens, such as clinic-1")
    if place.exists():
        raise BundleError(f"{place}: exists already, and a release is never replaced. Choose another name")
    profile = Profile.default("onnx")
    with tempfile.TemporaryDirectory(prefix="edgeskin-") as temporary:
        out = Path(temporary) / "bundle"
        exported = journey.export(
            graph, profile, out, precision=profile.precision, rules=Gate.find(profile.gate), say=say
        )
    if exported.verdict.state != "passed":
        trouble = (*exported.verdict.in_state("failed"), *exported.verdict.in_state("pending"))
        sentences = "; ".join(f"{promise.name}: {promise.sentence}" for promise in trouble)
        raise BundleError(f"{graph.folder}: not released, its gate says {exported.verdict.state}. {sentences}")
    with files.new_folder(place) as building:
        for part in PARTS:
            source = graph.folder / part
            if source.is_dir():
                shutil.copytree(source, building / part)
            elif source.exists():
                shutil.copyfile(source, building / part)
    if make_default:
        files.write_text(folder / "default", f"{name}\n")
    return place
