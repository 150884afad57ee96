"""`edgeskin inspect`: what is in a model file, ours or anybody's."""

import json
import shutil
import textwrap
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgeskin.cli import terminal, trust

if TYPE_CHECKING:
    from edgeskin.targets.inspection import Inspection, Row, Shape, Value

COLUMNS = ("operator", "kind", "output", "type", "scale", "weight\nKiB", "multiply-\nadds")
NARROWEST = 12
"""Letters of an operator's name that are always shown."""
WIDE = 100
"""Letters in a line from which columns stand two spaces apart, not one."""
TITLES = 15
"""Letters before the facts of the totals."""


def inspect(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="A .tflite, .onnx or .mlpackage, of any converter; or a bundle.")
    ],
    summary: Annotated[bool, typer.Option("--summary", help="Only the totals, no table of operators.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="The same facts as one JSON object.")] = False,
) -> None:
    """Show what is in a model file of any origin.

    Operators, shapes, scales, bytes of weights and multiply-adds of one image; and what it does not know of the file.

    Exit codes: 0 shown, 1 error, 2 usage.
    """
    from edgeskin.targets.inspection import inspect as run

    found = run(file)
    trust.ask(file, terminal.words(quiet=False))
    if as_json:
        facts = {"file": str(file)} | found.facts()
        if summary:
            del facts["operators"]
        typer.echo(json.dumps(facts, indent=2, ensure_ascii=False))
        return
    width = shutil.get_terminal_size((160, 24)).columns
    typer.echo(f"{file}: {_plain(found.format)}, {_kib(found.file_bytes)} KiB")
    for title, values in (("takes", found.inputs), ("gives", found.outputs)):
        for value in values:
            typer.echo(f"{title} {_value(value)}")
    if not summary and found.operators:
        typer.echo()
        _table(found.operators, width)
    typer.echo()
    for line in _totals(found, width):
        typer.echo(line)


def _table(rows: "Iterable[Row]", width: int) -> None:
    """One row an operator. Names lose their beginnings where the terminal is narrow; no figure is cut."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    cells = [_cells(row) for row in rows]
    widths = [max(len(line) for row in (COLUMNS, *cells) for line in row[at].split("\n")) for at in range(len(COLUMNS))]
    gap = 2 if width >= WIDE else 1
    room = max(NARROWEST, width - sum(widths[1:]) - gap * (len(widths) - 1))
    table = Table(box=None, padding=(0, gap, 0, 0), pad_edge=False, header_style="bold")
    for place, title in enumerate(COLUMNS):
        table.add_column(title, justify="right" if place > 3 else "left", no_wrap=True, vertical="bottom")
    for name, *rest in cells:
        table.add_row(Text(name if len(name) <= room else f"…{name[1 - room :]}"), *map(Text, rest))
    # Wider than the terminal rather than cut: rich would shorten figures.
    Console(width=min(room, widths[0]) + sum(widths[1:]) + gap * len(widths), highlight=False).print(table)


def _cells(row: "Row") -> tuple[str, ...]:
    return (
        _plain(row.name),
        _plain(row.kind),
        _shape(row.shape),
        row.type,
        "" if row.scale is None else f"{row.scale:.4g}",
        _kib(row.weight_bytes),
        "?" if row.multiply_adds is None else f"{row.multiply_adds:,}" if row.multiply_adds else "",
    )


def _totals(found: "Inspection", width: int) -> list[str]:
    from edgeskin.targets.inspection import in_words

    totals = found.totals
    count = f"{'at least ' if totals.uncounted else ''}{totals.multiply_adds:,}"
    if totals.uncounted and not totals.multiply_adds:
        count = "not known"
    share = "" if totals.integer_share is None else f", {_percent(totals.integer_share)} of them on integers"
    facts = {
        "operators": f"{totals.operators}: {_plain(in_words(totals.kinds))}" if totals.operators else "none",
        "multiply-adds": f"{count}{share}",
        "weights": f"{_kib(totals.weight_bytes) or 0} KiB",
    }
    lines = [line for title, fact in facts.items() for line in _wrapped(title.ljust(TITLES), fact, width)]
    if found.notes:
        lines += ["", "What this does not show or know"]
        lines += [line for note in found.notes for line in _wrapped("- ", _plain(note), width)]
    return lines


def _wrapped(title: str, text: str, width: int) -> list[str]:
    start = " " * len(title)
    return textwrap.wrap(text, max(width, 40), initial_indent=title, subsequent_indent=start, break_long_words=False)


def _value(value: "Value") -> str:
    scale = "" if value.scale is None else f", scale {value.scale:.4g}, zero point {value.zero_point}"
    return f"{_plain(value.name)} {value.type} {_shape(value.shape)}{scale}"


def _shape(shape: "Shape | None") -> str:
    if shape is None:
        return "?"
    return _plain("×".join(map(str, shape))) or "scalar"


def _kib(size: int) -> str:
    """One decimal; nothing for nothing."""
    kib = f"{size / 1024:,.1f}"
    return "" if not size else kib if kib != "0.0" else "<0.1"


def _percent(share: float) -> str:
    """Whole only where it is exact: 99.96 % is not all of them."""
    if share in (0, 1):
        return f"{share * 100:.0f} %"
    return f"{min(max(share * 100, 0.01), 99.99):.2f} %"


def _plain(text: str) -> str:
    """A foreign file may hold any letters in its names, those that command a terminal too."""
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)
