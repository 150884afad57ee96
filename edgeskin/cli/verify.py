"""`edgeskin verify`: whether a bundle is what was exported."""

import json
from pathlib import Path
from typing import Annotated

import typer

from edgeskin.cli import terminal


def verify(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="A bundle that `edgeskin export` wrote.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print what was found as one JSON object.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print errors only.")] = False,
) -> None:
    """Compare every file with the manifest, reading only.

    Exit codes: 0 as exported, 1 where a file is changed, missing or extra.
    """
    from edgeskin.contract import bundle as bundles

    problems = bundles.verify(bundle)
    if as_json:
        typer.echo(
            json.dumps({"bundle": str(bundle), "intact": not problems, "problems": problems}, ensure_ascii=False)
        )
    else:
        for problem in problems:
            terminal.complain(f"{bundle}: {problem}")
        if not problems and not quiet:
            typer.echo(f"{bundle}: every file is as it was exported")
    raise typer.Exit(1 if problems else 0)
