"""`edgeskin benchmark`: how fast a bundle is on this machine."""

from pathlib import Path
from typing import Annotated

import typer

from edgeskin.benchmarks import device, latency
from edgeskin.export import journey


def benchmark(
    bundle: Annotated[Path, typer.Argument(help="A bundle that `edgeskin export` wrote.")],
    threads: Annotated[int, typer.Option(min=1, help="Threads of the network.")] = 1,
    release: Annotated[bool, typer.Option("--release", help="At least 1024 samples and 60 s a figure.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
) -> None:
    """Time the network alone and from photo to findings, and read its memory; the machine is named beside the figures."""
    figures = journey.benchmark(bundle, threads, "release" if release else "quick")
    if as_json:
        typer.echo(figures.model_dump_json(indent=2))
        return
    facts = device.facts()
    typer.echo(f"{facts.cpu}, {facts.cores} cores, {' '.join(facts.flags)}")
    for figure in figures.latency:
        typer.echo(
            f"{figure.name}: p50 {figure.p50_ms:.2f} ms, p90 {figure.p90_ms:.2f}, p99 {figure.p99_ms:.2f} "
            f"({figure.samples} samples, {figure.threads} threads, {figure.mode})"
        )
        sentence = latency.warning(figure)
        if sentence is not None:
            typer.echo(f"warning: {sentence}", err=True)
    memory = figures.memory.peak_mib if figures.memory else None
    typer.echo(
        f"peak memory: {'not measured' if memory is None else f'{memory:.0f} MiB'}, size {figures.size_mib:.2f} MiB"
    )
