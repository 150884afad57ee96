"""`edgeskin evaluate`: accuracy of float and int8 on one split, kept as evidence."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from edgeskin.data.cases import data_folder
from edgeskin.export import journey


def evaluate(
    path: Annotated[Path, typer.Argument(help="A run or a Graph folder.")],
    split: Annotated[str, typer.Option(help="val, test, select, or several: select+val.")],
    data: Annotated[Path | None, typer.Option(metavar="DIR", help="The data folder.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print nothing on stderr.")] = False,
) -> None:
    """Measure float and int8 on the same images, and append the figures to the Graph's evidence.json.

    The test split is measured once per network; a second time is refused.
    """

    def say(words: str) -> None:
        if not quiet:
            typer.echo(words, err=True)

    graph = journey.find_graph(path, say)
    dataset = graph.card.provenance.data[0] if graph.card.provenance.data else None
    report = journey.evaluate(graph, data_folder(data, dataset), split, say=say)
    if as_json:
        typer.echo(report.model_dump_json(indent=2))
        return
    table = Table("metric", "n", "float", "int8", "int8 95 % CI", "drop")
    for name, figure in report.metrics.items():
        low, high = figure.ci95 or (None, None)
        table.add_row(
            name,
            str(figure.n),
            *map(_number, (figure.float, figure.int8)),
            f"{_number(low)}–{_number(high)}",
            _number(figure.drop),
        )
    out = Console(soft_wrap=True, highlight=False)
    out.print(table)
    for caution in report.cautions:
        out.print(caution, markup=False)
    say(f"Evidence: {graph.evidence}")


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"
