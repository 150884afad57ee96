"""`edgeskin export`: build a bundle for a target, measure it, judge it."""

from pathlib import Path
from typing import Annotated

import typer

from edgeskin import targets
from edgeskin.benchmarks.gate import Gate
from edgeskin.data.cases import data_folder
from edgeskin.export import journey
from edgeskin.export.profile import Profile
from edgeskin.targets.base import Precision


def export(
    target: Annotated[str, typer.Option(help="onnx, or all that can be built here.")],
    source: Annotated[
        Path | None,
        typer.Option("--from", metavar="PATH", help="A run or a Graph folder; otherwise the release that comes along."),
    ] = None,
    precision: Annotated[str | None, typer.Option(help="int8 or fp32; otherwise the profile's.")] = None,
    profile: Annotated[str | None, typer.Option(help="A profile file, or the name of a shipped one.")] = None,
    gate: Annotated[str | None, typer.Option(help="A gate file, or the name of a shipped one.")] = None,
    data: Annotated[Path | None, typer.Option(metavar="DIR", help="Measure accuracy on this data folder.")] = None,
    split: Annotated[
        str | None, typer.Option(help="val, test, select, or several: select+val. Otherwise the profile's.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="The bundle; otherwise bundles/NAME-TARGET-PRECISION.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the verdict as JSON.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print nothing but the verdict.")] = False,
) -> None:
    """Build a bundle, measure it on this machine, and judge it.

    Exit codes: 0 the gate passed, 3 it failed, 4 a device must still measure something.
    """

    def say(words: str) -> None:
        if not quiet:
            typer.echo(words, err=True)

    graph = journey.find_graph(source, say)
    codes = set[int]()
    for name in targets.TARGETS if target == "all" else (target,):
        chosen = Profile.find(profile) if profile else Profile.default(name)
        if gate is not None:
            chosen = chosen.model_copy(update={"gate": gate})
        wanted: Precision = precision or chosen.precision
        folder = out or Path("bundles") / f"{graph.card.name}-{name}-{wanted}"
        exported = journey.export(
            graph,
            chosen.model_copy(update={"target": name}),
            folder / name if out and target == "all" else folder,
            precision=wanted,
            rules=Gate.find(chosen.gate),
            data=data_folder(data) if data else None,
            split=split,
            say=say,
        )
        verdict = exported.verdict
        codes.add(verdict.exit_code)
        if as_json:
            typer.echo(verdict.model_dump_json(indent=2))
        else:
            typer.echo(f"{verdict.state}: {exported.folder}")
            for promise in (*verdict.in_state("failed"), *verdict.in_state("pending")):
                typer.echo(f"  {promise.state} {promise.name}: {promise.sentence}")
        say(f"Report:  {exported.folder / 'report.md'}")
        say(f"Predict: edgeskin predict PHOTO --bundle {exported.folder}")
    # A failure anywhere outweighs what is still pending.
    raise typer.Exit(next(code for code in (3, 4, 0) if code in codes))
