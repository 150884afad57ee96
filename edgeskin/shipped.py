"""The declarations that come with edgeskin: recipes, profiles, gates and released networks.

An installed wheel carries them in `edgeskin/_shipped/`; a checkout has them in its top-level folders. Both are found here.
"""

from pathlib import Path

from edgeskin.errors import EdgeskinError

_PACKAGE = Path(__file__).resolve().parent
_CHECKOUT = {
    "recipes": Path("train/recipes"),
    "profiles": Path("export/profiles"),
    "release": Path("export/release"),
    "gates": Path("benchmarks/gates"),
}


def folder(kind: str) -> Path:
    """The folder of one kind of declaration: recipes, profiles, release or gates."""
    packed = _PACKAGE / "_shipped" / kind
    return packed if packed.is_dir() else _PACKAGE.parent / _CHECKOUT[kind]


def find(kind: str, name: str, suffix: str = ".toml") -> Path:
    """The path of a declaration given by path or by shipped name (`clinic-1`, `isic2017_mobilenet_v2`).

    Raises: EdgeskinError that lists the shipped names.
    """
    given = Path(name)
    if given.exists():
        return given
    shipped = folder(kind) / f"{name}{suffix}"
    if shipped.exists():
        return shipped
    known = sorted(
        path.stem if suffix else path.name for path in folder(kind).glob(f"*{suffix}") if suffix or path.is_dir()
    )
    raise EdgeskinError(
        f"{name}: no such file, and no shipped {kind} of that name. Shipped: {', '.join(known) or 'none'}"
    )


def default_release() -> Path:
    """The Graph folder that `export` and `predict` use when none is given.

    Raises: EdgeskinError where no release is shipped.
    """
    pointer = folder("release") / "default"
    if not pointer.is_file():
        raise EdgeskinError(
            f"{pointer}: no release is shipped. Give one with --from, or train one: edgeskin train --help"
        )
    return find("release", pointer.read_text().strip(), suffix="")
