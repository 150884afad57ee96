"""Who answers for a bundle: said in one line before anything rests on it, or demanded."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, TypeAlias

import typer

RequireSignature: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--require-signature", help="Refuse a bundle that is not signed by the key that EDGESKIN_TRUSTED_KEY names."
    ),
]


def ask(folder: Path | None, say: Callable[[str], None], *, required: bool = False) -> None:
    """Say in one line that nobody known here signed a bundle; nothing where a key is trusted, as it opens only by that.

    folder: a bundle that was opened, or what stands in its place and nobody can sign; None for the shipped release.
    Raises: BundleError instead where a signature is `required`.
    """
    from edgeskin.contract import signature
    from edgeskin.contract.bundle import MANIFEST
    from edgeskin.errors import BundleError

    if folder is None or not (folder / MANIFEST).is_file():
        if required:
            raise BundleError(f"{folder or 'the shipped release'}: is no bundle, and nothing else is signed")
        return
    for doubt in signature.doubts(folder / MANIFEST):
        if required:
            key = (
                "" if signature.TRUSTED_KEY in doubt else f". Name the public key to demand in {signature.TRUSTED_KEY}"
            )
            raise BundleError(doubt.removeprefix("warning: ") + key)
        say(doubt)
