"""`edgeskin verify`: whether a bundle is what was exported, and who answers for it."""

import json
from pathlib import Path
from typing import Annotated

import typer

from edgeskin.cli import terminal


def verify(
    bundle: Annotated[
        Path, typer.Argument(metavar="BUNDLE", help="A bundle that `edgeskin export` wrote, or a Graph folder.")
    ],
    key: Annotated[
        Path | None,
        typer.Option(metavar="PEM", help="The public key that must have signed it; otherwise EDGESKIN_TRUSTED_KEY."),
    ] = None,
    require_signature: Annotated[
        bool, typer.Option("--require-signature", help="Refuse a bundle that is not signed by a key known here.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was found as one JSON object.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print errors only.")] = False,
) -> None:
    """Compare every file with the manifest, and see who signed.

    Of a Graph folder, its parts with its parts.json, and its evidence with the checksums of its entries.

    A damaged signature, or one of another manifest, is refused always; a bundle without one only where a key is given
    or configured, or with --require-signature. Without a key nobody can tell whether the bytes of the signature are
    genuine, only whether it speaks of this manifest.

    Exit codes: 0 as exported, 1 where a file is changed, missing or extra, or the signature is refused.
    """
    from edgeskin.benchmarks import evidence
    from edgeskin.contract import bundle as bundles
    from edgeskin.contract import signature
    from edgeskin.errors import BundleError, GraphError
    from edgeskin.graph.folder import SEAL, Graph

    manifest = bundle / bundles.MANIFEST
    graph = Graph.open(bundle) if (bundle / SEAL).is_file() and not manifest.exists() else None
    problems = list(graph.changed() if graph else bundles.verify(bundle))
    trusted = key or signature.trusted()
    signer, genuine = None, False
    try:
        if graph:
            evidence.read(graph.evidence)  # grows with every evaluation, so its entries seal themselves
        signer = signature.read(manifest)
        if trusted is not None:
            signature.check(manifest, trusted)
            genuine = True
        elif require_signature:
            known = "is not signed" if signer is None else "is signed, but by a key that is not known here"
            problems.append(f"{known}. Name the signer's public key with --key")
    except (BundleError, GraphError) as error:
        problems.append(str(error).removeprefix(f"{bundle}: ").removeprefix(f"{bundle}/"))
    if as_json:
        found = {"intact": not problems, "problems": problems, "signed_by": signer, "signature_checked": genuine}
        typer.echo(json.dumps({"bundle": str(bundle), **found}, ensure_ascii=False))
        raise typer.Exit(1 if problems else 0)
    for problem in problems:
        terminal.complain(f"{bundle}: {problem}")
    if not problems:
        say = terminal.words(quiet)
        if not quiet:
            by = f", signed by the key {signer}" if genuine else ""
            typer.echo(f"{bundle}: every file is as it was {'written' if graph else 'exported'}{by}")
        for doubt in () if genuine or graph else signature.doubts(manifest):
            say(doubt)
    raise typer.Exit(1 if problems else 0)
