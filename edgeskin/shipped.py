"""The declarations that come with edgeskin: recipes, families of them, profiles, gates and released networks.

An installed wheel carries them in `edgeskin/_shipped/`; a checkout has them in its top-level folders. Both are found
here.
"""

import difflib
from collections.abc import Sequence
from pathlib import Path

from edgeskin.errors import EdgeskinError

_PACKAGE = Path(__file__).resolve().parent
_CHECKOUT = {
    "recipes": Path("train/recipes"),
    "families": Path("train/families"),
    "profiles": Path("export/profiles"),
    "release": Path("export/release"),
    "gates": Path("benchmarks/gates"),
    "papers": Path("benchmarks/papers"),
}


def folder(kind: str) -> Path:
    """The folder of one kind of declaration: recipes, families, profiles, release, gates or papers."""
    packed = _PACKAGE / "_shipped" / kind
    return packed if packed.is_dir() else _PACKAGE.parent / _CHECKOUT[kind]


def installed(path: Path) -> bool:
    """Whether `path` belongs to the installed package: what is written there is lost with the next update."""
    return path.resolve().is_relative_to(_PACKAGE / "_shipped")


def find(kind: str, name: str) -> Path:
    """The path of a declaration given by path or by shipped name (`desktop`, `isic2017_mobilenet_v2`).

    Raises: EdgeskinError that lists the shipped names and the nearest one.
    """
    given = Path(name)
    if given.is_file():  # never a folder that happens to be called so: on macOS every home holds a `desktop`
        return given
    shipped = folder(kind) / f"{name}.toml"
    if shipped.is_file():
        return shipped
    known = sorted(path.stem for path in folder(kind).glob("*.toml"))
    raise EdgeskinError(f"{name}: no such file, and none of the shipped {kind} has that name. {_among(known, name)}")


def _among(known: Sequence[str], name: str) -> str:
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"Shipped: {', '.join(known) or 'none'}." + (f" Did you mean {near[0]}?" if near else "")


def release(path: Path | None = None) -> Path:
    """The folder that `path` means: itself, a shipped release where nothing is there and one has that name, or for None
    the default release.

    Raises: EdgeskinError as `default_release`; for a bare word that is neither, with the shipped names.
    """
    if path is None:
        return default_release()
    if len(path.parts) != 1 or path.exists():
        return path
    known = releases()
    if path.name not in known:
        raise EdgeskinError(f"{path}: no such folder, and no shipped release has that name. {_among(known, path.name)}")
    return folder("release") / path


def releases() -> list[str]:
    """The names of the shipped releases."""
    return sorted(release.name for release in folder("release").glob("*") if release.is_dir())


def default_release() -> Path:
    """The Graph folder that `export` and `predict` use when none is given.

    Raises: EdgeskinError where no release is shipped.
    """
    pointer = folder("release") / "default"
    if not pointer.is_file():
        raise EdgeskinError(
            f"{pointer}: no release is shipped. Give one with --from, or train one: edgeskin train --help"
        )
    release = folder("release") / pointer.read_text(encoding="utf-8").strip()
    if not release.is_dir():
        raise EdgeskinError(f"{pointer}: names {release.name}, which is not shipped. Install edgeskin again")
    return release
