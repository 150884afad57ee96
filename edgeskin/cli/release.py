"""`edgeskin release`: keep a Graph under a name, if its gate passed."""

import shlex
from pathlib import Path
from typing import Annotated

import typer

from edgeskin.cli import terminal


def release(
    graph: Annotated[Path, typer.Argument(metavar="GRAPH", help="A run or a Graph folder.")],
    name: Annotated[str, typer.Argument(metavar="NAME", help="What the release is called, such as clinic-1.")],
    gate: Annotated[
        str | None, typer.Option(help="A gate file, or the name of a shipped one; otherwise the profile's.")
    ] = None,
    folder: Annotated[Path, typer.Option(metavar="DIR", help="Where releases are kept.")] = Path("export/release"),
    default: Annotated[bool, typer.Option("--default", help="Make it the one used when none is named.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print nothing but the release.")] = False,
) -> None:
    """Keep a Graph under a name, if its gate passed.

    It is judged as an ONNX bundle on this machine, and copied to DIR/NAME only if the verdict is passed.

    Exit codes: 0 released, 1 refused or error. A release is never replaced.
    """
    from edgeskin.export import journey
    from edgeskin.export import release as releases
    from edgeskin.export.profile import Profile

    say = terminal.words(quiet)
    found = journey.find_graph(graph, say)
    place = releases.release(
        found, name, folder, Profile.default("onnx").altered(gate=gate), make_default=default, say=say
    )
    typer.echo(f"released: {place}")
    by = [] if gate is None else ["--gate", gate]
    say(f"Export:  {shlex.join(['edgeskin', 'export', '--from', str(place), '--target', 'onnx', *by])}")
