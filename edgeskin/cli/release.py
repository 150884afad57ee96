"""`edgeskin release`: keep a Graph under a name, if its gate passed."""

from pathlib import Path
from typing import Annotated

import typer

from edgeskin.export import journey
from edgeskin.export import release as releases


def release(
    graph: Annotated[Path, typer.Argument(help="A run or a Graph folder.")],
    name: Annotated[str, typer.Argument(help="What the release is called, such as clinic-1.")],
    folder: Annotated[Path, typer.Option(help="Where releases are kept.")] = Path("export/release"),
    default: Annotated[bool, typer.Option("--default", help="Make it the one used when none is named.")] = False,
) -> None:
    """Export the Graph here, and copy it to FOLDER/NAME only if its verdict is passed."""
    place = releases.release(journey.find_graph(graph), name, folder, make_default=default)
    typer.echo(f"released: {place}")
