"""`edgeskin attest`: what this machine measures of a finished bundle, for its gate to count."""

import shlex
from pathlib import Path
from typing import Annotated

import typer

from edgeskin.cli import terminal, trust


def attest(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="A bundle that `edgeskin export` wrote.")],
    name: Annotated[
        str | None,
        typer.Option(help="Of the attestation, in small letters, digits and hyphens; otherwise CPU and system."),
    ] = None,
    source: Annotated[
        Path | None,
        typer.Option(
            "--from", metavar="PATH", help="The run or Graph folder it was built from: compare speed with float."
        ),
    ] = None,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Threads of the network; otherwise those of the bundle's profile.")
    ] = None,
    release: Annotated[
        bool, typer.Option("--release", help="At least 1024 samples and 60 s a figure, with time to cool down between.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the attestation as JSON.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print only where it was written.")] = False,
) -> None:
    """Measure a bundle on this machine, for `gate` to count.

    The golden cases on every processor that runs it, latency, memory, placement and what the machine is are written to
    attestations/NAME.json beside the manifest, in the place of an older one of that name. The bundle's own files stay
    as they are, and a bundle that was changed is refused.

    Exit codes: 0 attested, whatever was measured, 1 error, 2 usage.
    """
    from edgeskin.cli import measured, verdict
    from edgeskin.contract.bundle import ATTESTATIONS
    from edgeskin.export import journey
    from edgeskin.export.attest import attest as run

    say = terminal.words(quiet)
    graph = None if source is None else journey.find_graph(source, say)
    done = run(bundle, name=name, graph=graph, threads=threads, mode="release" if release else "quick", say=say)
    trust.ask(bundle, say)
    for warning in measured.warnings(done.measurements):
        say(warning)
    if as_json:
        typer.echo(done.model_dump_json(indent=2))
        return
    doubt = "" if done.uncounted is None else f" (not counted: {done.uncounted})"
    typer.echo(f"attested: {bundle / ATTESTATIONS / f'{done.name}.json'}{doubt}")
    if quiet:
        return
    for line in (*measured.lines(done.measurements), *verdict.hops(done.measurements.numerics)):
        typer.echo(f"  {line}")
    say(f"Judge:     {shlex.join(['edgeskin', 'gate', str(bundle)])}")
