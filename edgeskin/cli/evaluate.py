"""`edgeskin evaluate`: accuracy of float and int8 on one split, kept as evidence."""

import shlex
from pathlib import Path
from typing import Annotated, Literal

import typer

from edgeskin.cli import terminal


def evaluate(
    path: Annotated[Path, typer.Argument(metavar="PATH", help="A run or a Graph folder.")],
    split: Annotated[str, typer.Option(help="val, test, select, or several: select+val.")],
    data: Annotated[
        Path | None, typer.Option(metavar="DIR", help="The data folder; otherwise the network's under EDGESKIN_DATA.")
    ] = None,
    metadata: Annotated[
        Literal["real", "unknown"] | None,
        typer.Option(help="What a network that takes metadata is given: the table's fields (the default), or none."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print nothing but the figures.")] = False,
) -> None:
    """Measure accuracy, float and int8 on the same images.

    The figures are appended to the Graph's evidence.json, on which exports without data may rest.

    The test split is measured once per network (once with real metadata and once with all unknown, where it takes
    metadata); a second time is refused.

    Exit codes: 0 measured, 1 error or refused, 2 usage, 130 interrupted; evidence is then as it was.
    """
    from edgeskin.data.cases import data_folder
    from edgeskin.export import journey
    from edgeskin.export.evaluate import evaluate as run

    say = terminal.words(quiet)
    graph = journey.find_graph(path, say)
    if metadata is not None and graph.card.metadata is None:
        raise typer.BadParameter(f"{graph.card.name} takes no metadata", param_hint="--metadata")
    dataset = next(iter(graph.card.provenance.data), None)
    with terminal.progress(quiet) as progress:
        report = run(graph, data_folder(data, dataset), split, metadata=metadata, say=say, progress=progress)
    if as_json:
        typer.echo(report.model_dump_json(indent=2))
    else:
        typer.echo(f"{'metric':<40} {'n':>5} {'float':>7} {'int8':>7} {'int8 95 % CI':>15} {'drop':>8}")
        for name, figure in report.metrics.items():
            low, high = figure.ci95 or (None, None)
            typer.echo(
                f"{name:<40} {figure.n:>5} {_number(figure.float):>7} {_number(figure.int8):>7} "
                f"{_number(low) + ' – ' + _number(high):>15} {_number(figure.drop):>8}"
            )
        for caution in report.cautions:
            typer.echo(caution)
    say(f"Evidence: {graph.evidence}")
    say(f"Export:   edgeskin export --from {shlex.quote(str(path))} --target onnx")


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"
