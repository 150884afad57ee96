"""`edgeskin gate`: judge a finished bundle again, by other rules."""

from pathlib import Path
from typing import Annotated

import typer

from edgeskin.cli import terminal, trust


def gate(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="A bundle that `edgeskin export` wrote.")],
    gate: Annotated[
        str | None, typer.Option(help="A gate file, or the name of a shipped one; otherwise that of the report.")
    ] = None,
    profile: Annotated[
        str | None,
        typer.Option(help="The profile that says what may stay pending or be inherited; otherwise that of the report."),
    ] = None,
    require_signature: trust.RequireSignature = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the verdict as one JSON object.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print only how it came out.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", help="Print every promise and every hop of the chain.")] = False,
) -> None:
    """Judge a bundle by what was measured of it, here and elsewhere.

    That is its report, from when it was made, and its attestations since. A promise that one machine broke has failed;
    one that was open is kept where another machine measured it, and it is good. What a stand-in answered is listed and
    not counted. Nothing is measured again, and the bundle stays as it is.

    Exit codes: 0 the gate passed, 1 error, 2 usage, 3 the gate failed, 4 a device must still measure something.
    """
    from edgeskin.cli import verdict
    from edgeskin.export import journey

    report = journey.judge(bundle, rules=gate, profile=profile)
    trust.ask(bundle, terminal.words(quiet), required=require_signature)
    verdict.show(report, bundle, as_json=as_json, quiet=quiet, verbose=verbose)
    raise typer.Exit(report.verdict.exit_code)
