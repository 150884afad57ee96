"""`edgeskin verify`: is a bundle what was exported?"""

from pathlib import Path
from typing import Annotated

import typer

from edgeskin.contract import bundle as bundles


def verify(bundle: Annotated[Path, typer.Argument(help="A bundle that `edgeskin export` wrote.")]) -> None:
    """Compare every file with the manifest, reading only. Exit 1 where a file is changed, missing or extra."""
    problems = bundles.verify(bundle)
    for problem in problems:
        typer.echo(f"{bundle}: {problem}", err=True)
    if problems:
        raise typer.Exit(1)
    typer.echo(f"{bundle}: every file is as it was exported")
