"""`edgeskin benchmark`: how fast a bundle is on this machine."""

from pathlib import Path
from typing import Annotated

import typer

from edgeskin.cli import terminal


def benchmark(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="A bundle that `edgeskin export` wrote.")],
    threads: Annotated[int, typer.Option(min=1, help="Threads of the network.")] = 1,
    release: Annotated[bool, typer.Option("--release", help="At least 1024 samples and 60 s a figure.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print nothing but the figures.")] = False,
) -> None:
    """Measure the speed and memory of a bundle here.

    Timed are one pass of the network alone and all from photo to findings, two passes where the network needs them;
    the machine is named beside the figures.

    Exit codes: 0 measured, 1 error, 2 usage.
    """
    from edgeskin.cli import measured
    from edgeskin.contract import signature
    from edgeskin.contract.bundle import MANIFEST
    from edgeskin.export.benchmark import benchmark as run

    say = terminal.words(quiet)
    figures = run(bundle, threads, "release" if release else "quick", say=say)
    for doubt in signature.doubts(bundle / MANIFEST):
        say(doubt)
    if as_json:
        typer.echo(figures.model_dump_json(indent=2))
    else:
        for line in measured.lines(figures):
            typer.echo(line)
    for warning in measured.warnings(figures):
        say(warning)
