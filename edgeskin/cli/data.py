"""`edgeskin data`: look at a data folder before training on it."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgeskin.cli import terminal

if TYPE_CHECKING:
    from rich.console import Console

    from edgeskin.data.check import CheckReport

app = typer.Typer(help="Look at a data folder before training on it.")


@app.command()
def check(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="Holds labels.csv, images/ and masks/, or a publisher's download.")
    ],
    dataset: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="What a recipe calls the data set, where DIR holds more than one: isic2016 in isic2017.",
        ),
    ] = None,
    write_exclude: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the ids to leave out, for a recipe's `exclude`.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print errors only.")] = False,
) -> None:
    """Count cases, splits and classes; find broken files, and the same photograph in two splits.

    Exit codes: 0 usable, 1 an error was found, 2 usage.
    """
    from rich.console import Console

    from edgeskin.data import check as data_check

    words = Console(stderr=True, soft_wrap=True, highlight=False)
    with terminal.progress(quiet) as progress:
        report = data_check.check(folder, progress, dataset=dataset)
    if json:
        typer.echo(report.model_dump_json(indent=2))
    elif quiet:
        for error in report.errors:
            words.print(error, style="red", markup=False)
    else:
        _print(report, Console(soft_wrap=True, highlight=False))
    if write_exclude is not None:
        dropped = data_check.write_exclude(write_exclude, report)
        if not quiet:
            words.print(f"{write_exclude}: {len(dropped)} ids to leave out", markup=False)
    raise typer.Exit(0 if report.ok else 1)


@app.command()
def phantom(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where to write labels.csv, images/ and masks/.")],
    train: Annotated[int, typer.Option(min=1, help="Photos in the training split.")] = 240,
    val: Annotated[int, typer.Option(min=0, help="Photos in the validation split.")] = 60,
    test: Annotated[int, typer.Option(min=0, help="Photos in the test split.")] = 60,
    size: Annotated[int, typer.Option(min=32, help="Width and height in pixels.")] = 128,
    seed: Annotated[int, typer.Option(min=0, help="Equal seeds give equal photos.")] = 0,
) -> None:
    """Draw a procedural data set: for trying the journey, never for a claim about skin."""
    from edgeskin.data.phantom import write_dataset

    write_dataset(folder, train, val, test, size=size, seed=seed)
    typer.echo(f"{folder}: {train + val + test} phantom photos. Train: edgeskin train phantom_tiny --data {folder}")


def _print(report: "CheckReport", out: "Console") -> None:
    """The report in words."""
    from rich.markup import escape
    from rich.table import Table

    splits = list(report.splits)
    title = escape(f"{report.folder}: {report.cases} cases ({report.dataset})")
    table = Table("", *splits, title=title, title_justify="left")
    table.add_row("cases", *(str(report.splits[split]) for split in splits))
    table.add_row("with a mask", *(str(report.masks.get(split, 0)) for split in splits), end_section=True)
    for column, values in report.classes.items():
        for value, counts in values.items():
            table.add_row(
                escape(f"{column} = {value or '(missing)'}"), *(str(counts.get(split, 0)) for split in splits)
            )
        table.add_section()
    out.print(table)
    sizes = [f"{size} ({count})" for size, count in report.sizes.items()]
    missing = [f"{column} {count}" for column, count in report.missing.items()]
    out.print(f"sizes    {', '.join(sizes[:5])}{f' and {len(sizes) - 5} more' if len(sizes) > 5 else ''}")
    out.print(f"missing  {', '.join(missing) or 'nothing'}", markup=False)
    for kind, style, sentences in (
        ("note", "dim", (*report.notes, *report.cautions, *([report.licence] if report.licence else []))),
        ("warning", "yellow", report.warnings),
        ("error", "red", report.errors),
    ):
        for sentence in sentences:
            out.print(f"{kind}: {sentence}", style=style, markup=False)
    verdict = "usable" if report.ok else "not usable"
    out.print(f"{verdict}: {len(report.errors)} errors, {len(report.warnings)} warnings")
    if any(pair.crosses_splits for pair in report.duplicates):
        out.print("Leave copies out: edgeskin data check DIR --write-exclude FILE, then `exclude` in the recipe")
