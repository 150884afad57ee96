"""`edgeskin benchmark`: how fast a bundle is on this machine."""

import re
from pathlib import Path
from typing import Annotated

import typer

from edgeskin.cli import terminal

_MOST = 1024


def benchmark(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="A bundle that `edgeskin export` wrote.")],
    threads: Annotated[
        str,
        typer.Option(metavar="NUMBERS", help="Threads of the network: 2, or 1,2,4, or 1..4, or 1..N for all cores."),
    ] = "1",
    batch: Annotated[
        str, typer.Option(metavar="NUMBERS", help="Pictures at once, for the network's throughput: 8, or 1,2,4,8,16.")
    ] = "1",
    cold: Annotated[bool, typer.Option("--cold", help="Time loading and the first run, in fresh processes.")] = False,
    release: Annotated[
        bool, typer.Option("--release", help="At least 1024 samples and 60 s a figure, with time to cool down between.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print nothing but the figures.")] = False,
) -> None:
    """Measure the speed and memory of a bundle here.

    Timed are one pass of the network alone and all from photo to findings, two passes where the network needs them;
    the machine is named beside the figures. Memory and cold start are measured with the first number of threads.

    Exit codes: 0 measured, 1 error, 2 usage.
    """
    from edgeskin.benchmarks.device import usable_cores
    from edgeskin.cli import measured
    from edgeskin.contract import signature
    from edgeskin.contract.bundle import MANIFEST
    from edgeskin.export.benchmark import benchmark as run

    say = terminal.words(quiet)
    first, *others = _numbers(threads, "--threads", usable_cores())
    figures = run(
        bundle,
        first,
        "release" if release else "quick",
        more_threads=others,
        batches=_numbers(batch, "--batch"),
        cold_start=cold,
        say=say,
    )
    if as_json:
        typer.echo(figures.model_dump_json(indent=2))
    else:
        for line in measured.lines(figures):
            typer.echo(line)
    for warning in (*measured.warnings(figures), *signature.doubts(bundle / MANIFEST)):
        say(warning)


def _numbers(text: str, option: str, cores: int | None = None) -> tuple[int, ...]:
    """`4`, `1,2,4`, `1..4` or, with `cores`, `1..N`, each number once. Raises: BadParameter for anything else."""
    found = list[int]()
    for part in text.split(","):
        ends = re.fullmatch(r"(\d{1,4})(?:\.\.(\d{1,4}|N))?", part.strip())
        low, high = (None, None) if ends is None else ends.groups()
        last = cores if high == "N" else int(high or low or 0)
        if low is None or last is None or not 1 <= int(low) <= last <= _MOST:
            forms = "2, or 1,2,4, or 1..4" + (", or 1..N for all cores" if cores else "")
            raise typer.BadParameter(f"{text}: write numbers from 1 to {_MOST}: {forms}", param_hint=f"'{option}'")
        found += range(int(low), last + 1)
    return tuple(dict.fromkeys(found))
