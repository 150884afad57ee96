"""A description as a person reads it in a terminal: the parts as a table, the heads, the picture."""

import dataclasses
import json
import textwrap
from collections.abc import Sequence

from edgeskin.train.describe.canvas import to_canvas
from edgeskin.train.describe.description import Description, Part, Total, shape_in_words, shapes_in_words

COLUMNS = ("part", "gives", "parameters", "multiply-adds", "export", "what it is")
GAP = "  "
NARROWEST = 24
"""Letters in a line of the last column at least."""


def to_text(description: Description, width: int) -> list[str]:
    """Lines of text; those of the table are not longer than `width`, as far as its numbers allow."""
    lines = [f"{description.recipe}, one image", ""]
    for given in description.inputs:
        slots = f": {', '.join(given.slots)}" if given.slots else ""
        lines.append(f"{given.name} {shape_in_words(given.shape)}{slots}")
    lines += ["", *_table(description, width), ""]
    for head in description.heads:
        lines.append(f"{head.part} learns by {head.loss}, weight {head.weight:g}")
    if description.taps:
        lines.append(f"training also reads: {', '.join(description.taps)}")
    return [*lines, "", *to_canvas(description)]


def to_json(description: Description) -> str:
    """The same facts for machines."""
    return json.dumps(dataclasses.asdict(description), indent=2, ensure_ascii=False)


def _table(description: Description, width: int) -> list[str]:
    """Parts, then sums."""
    rows = [_row(part) for part in description.parts]
    sums = [_sum("exported", description.exported)]
    if description.training_only != Total(0, 0):
        sums.append(_sum("dropped at export", description.training_only))
    widths = [max(len(row[column]) for row in (COLUMNS, *rows, *sums)) for column in range(len(COLUMNS))]
    widths[-1] = min(widths[-1], max(NARROWEST, width - sum(widths[:-1]) - len(GAP) * (len(widths) - 1)))
    rule = "─" * (sum(widths) + len(GAP) * (len(widths) - 1))
    head, body, foot = ([line for row in block for line in _lines(row, widths)] for block in ([COLUMNS], rows, sums))
    return [*head, rule, *body, rule, *foot]


def _row(part: Part) -> tuple[str, ...]:
    export = "yes" if part.exported else "dropped"
    what = part.what
    if part.dropped_multiply_adds:
        what += f"; {part.dropped_multiply_adds:,} of its multiply-adds are left out at export"
    gives = shapes_in_words(part.shapes) or "nothing"
    return (part.name, gives, _number(part.parameters), _number(part.multiply_adds), export, what)


def _sum(name: str, total: Total) -> tuple[str, ...]:
    return (name, "", _number(total.parameters), _number(total.multiply_adds), "", "")


def _number(number: int) -> str:
    return f"{number:,}" if number else "–"


def _lines(row: Sequence[str], widths: Sequence[int]) -> list[str]:
    """A row; its last cell goes on in the lines below where it is too long."""
    numbers = (COLUMNS.index("parameters"), COLUMNS.index("multiply-adds"))
    cells = [
        text.rjust(width) if column in numbers else text.ljust(width)
        for column, (text, width) in enumerate(zip(row[:-1], widths, strict=False))
    ]
    first = "".join(cell + GAP for cell in cells)
    last = textwrap.wrap(row[-1], widths[-1], break_long_words=False) or [""]
    return [
        f"{start}{text}".rstrip()
        for start, text in zip([first, *[" " * len(first)] * (len(last) - 1)], last, strict=True)
    ]
