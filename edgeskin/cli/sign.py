"""`edgeskin sign`: answer for a bundle that passed its gate."""

import os
import shlex
from pathlib import Path
from typing import Annotated

import typer

from edgeskin.cli import terminal


def sign(
    bundle: Annotated[
        Path | None, typer.Argument(metavar="BUNDLE", help="A bundle that `edgeskin export` wrote.")
    ] = None,
    *,
    key: Annotated[Path | None, typer.Option(metavar="PEM", help="Your private key.")] = None,
    make_key: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Make a pair of keys there instead: one to keep, one to give away."),
    ] = None,
    gate: Annotated[str | None, typer.Option(help="A gate that it must pass too, a file or a shipped name.")] = None,
    profile: Annotated[str | None, typer.Option(help="A profile that it must pass by, too.")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print only what was signed.")] = False,
) -> None:
    """Sign a bundle, if its gate passes now.

    manifest.sig is written, over manifest.json and through it over every file; no network is asked. A private key that
    has a password is opened with that of the variable EDGESKIN_KEY_PASSWORD, and a new one gets it.

    It must pass by the gate and profile of its own report, and without what other machines attest.

    Exit codes: 0 signed, 1 refused or error, 2 usage. A failed or pending bundle is never signed.
    """
    from edgeskin.contract import signature
    from edgeskin.export import sign as signing

    say, password = terminal.words(quiet), os.environ.get(signature.PASSWORD)
    if make_key is not None:
        if bundle is not None or key is not None:
            raise typer.BadParameter("makes keys and signs nothing; give it alone", param_hint="--make-key")
        private, public = signature.make_keys(make_key, password)
        typer.echo(f"private key, for you alone: {private}")
        typer.echo(f"public key, to give away: {public}")
        say(f"Sign:    {shlex.join(['edgeskin', 'sign', 'BUNDLE', '--key', str(private)])}")
        return
    if bundle is None or key is None:
        raise typer.BadParameter("a BUNDLE and --key PEM are needed, or --make-key DIR")
    signer, report = signing.sign(bundle, key, password=password, rules=gate, profile=profile)
    typer.echo(f"signed: {bundle}, by the key {signer} (gate {report.gate}: {report.verdict.state})")
    say(f"Verify:  {shlex.join(['edgeskin', 'verify', str(bundle), '--key', 'PUBLIC.pem'])}")
