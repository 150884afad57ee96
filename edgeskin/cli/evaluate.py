"""`edgeskin evaluate`: accuracy of float and int8 on one split, kept as evidence."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from edgeskin.cli import terminal

if TYPE_CHECKING:
    from edgeskin.benchmarks.measurements import AccuracyReport


def evaluate(
    paths: Annotated[
        list[Path],
        typer.Argument(metavar="PATH…", help="A run or a Graph folder; the folds of one recipe are averaged."),
    ],
    split: Annotated[str, typer.Option(help="val, test, select, or several: select+val; of folds val or test.")],
    data: Annotated[
        Path | None, typer.Option(metavar="DIR", help="The data folder; otherwise the network's under EDGESKIN_DATA.")
    ] = None,
    metadata: Annotated[
        Literal["real", "unknown"] | None,
        typer.Option(help="What a network that takes metadata is given: the table's fields (the default), or none."),
    ] = None,
    form: Annotated[
        Literal["int8", "int8-float16", "w8a16"],
        typer.Option(help="What is measured beside float: int8, or what Core ML makes of it in float16."),
    ] = "int8",
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Where the average of several is written, as JSON.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print nothing but the figures.")] = False,
) -> None:
    """Measure accuracy, float and int8 on the same images.

    The figures are appended to the Graph's evidence.json, on which exports without data may rest. Of several networks,
    the folds of one recipe, the probabilities are averaged: that figure is no Graph's, so it goes to --out, and what
    each reached alone to its own evidence.

    The test split is measured once per network (once with real metadata and once with all unknown, where it takes
    metadata); a second time is refused.

    Exit codes: 0 measured, 1 error or refused, 2 usage, 130 interrupted; evidence is then as it was.
    """
    from edgeskin.data.cases import data_folder
    from edgeskin.export import average, journey
    from edgeskin.export import evaluate as single

    if (out is None) == (len(paths) > 1):
        words = "say where the average is written" if out is None else "is for the average of several; give their PATHs"
        raise typer.BadParameter(words, param_hint="--out")
    if form != "int8" and len(paths) > 1:
        raise typer.BadParameter("folds are averaged in int8; give one PATH", param_hint="--form")
    say = terminal.words(quiet)
    graphs = [journey.find_graph(path, say) for path in paths]
    graph = graphs[0]
    if metadata is not None and graph.card.metadata is None:
        raise typer.BadParameter(f"{graph.card.name} takes no metadata", param_hint="--metadata")
    folder = data_folder(data, next(iter(graph.card.provenance.data), None))
    with terminal.progress(quiet) as progress:
        if out is None:
            report = single.evaluate(graph, folder, split, metadata=metadata, form=form, say=say, progress=progress)
            facts = report.model_dump_json(indent=2)
        else:
            averaged = average.evaluate(graphs, folder, split, out, metadata=metadata, say=say, progress=progress)
            report, facts = averaged.accuracy, averaged.model_dump_json(indent=2)
    if as_json:
        typer.echo(facts)
    else:
        _print(report)
    if out is not None:
        say(f"Average:  {out}")
    for one in graphs:
        say(f"Evidence: {one.evidence}")
    if out is None:
        say(f"Export:   edgeskin export --from {shlex.quote(str(paths[0]))} --target onnx")


def _print(report: "AccuracyReport") -> None:
    form = report.form or "int8"
    wide = max(7, len(form))
    typer.echo(f"{'metric':<40} {'n':>5} {'float':>7} {form:>{wide}} {'95 % CI':>15} {'drop':>8}")
    for name, figure in report.metrics.items():
        low, high = figure.ci95 or (None, None)
        typer.echo(
            f"{name:<40} {figure.n:>5} {_number(figure.float):>7} {_number(figure.int8):>{wide}} "
            f"{_number(low) + ' – ' + _number(high):>15} {_number(figure.drop):>8}"
        )
    for caution in report.cautions:
        typer.echo(caution)


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"
