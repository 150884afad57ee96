"""Where the parts of a network stand in its picture: a grid of six columns.

Inputs, the encoder downwards, the decoder upwards beside it so that every level meets its own stride, what pools and
attends, fusion, heads. What leads from the encoder to the classifiers stands below the encoder, clinical fields below
that.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from edgeskin.train.describe.description import Description, Part

INPUTS, ENCODER, DECODER, MIDDLE, FUSION, HEADS = range(6)
DEEPEST = 4
"""The row of encoder level 5."""
BAND = DEEPEST + 1
"""The first row below the encoder."""


@dataclass(frozen=True)
class Cell:
    """A part's column and row; `rows` is how many rows it spans downwards."""

    column: int
    row: int
    rows: int = 1

    @property
    def last(self) -> int:
        """The lowest of its rows."""
        return self.row + self.rows - 1


def arrange(description: Description) -> dict[str, Cell]:
    """The cell of every input and part."""
    parts = {part.name: part for part in description.parts}
    cells = {"image": Cell(INPUTS, 0)}
    for name in parts:
        kind, _, number = name.rpartition(" ")
        if kind == "encoder":
            cells[name] = Cell(ENCODER, int(number) - 1)
        elif kind == "decoder":
            cells[name] = Cell(DECODER, DEEPEST - (0 if number == "entry" else int(number)))
    finest = min((cell.row for cell in cells.values() if cell.column == DECODER), default=0)
    cells |= {name: cell for name, cell in _once(parts, finest).items() if name in parts}
    for rank, level in enumerate(_levels_seen(parts)):
        if f"cbam {level}" in parts:
            cells[f"cbam {level}"] = Cell(ENCODER, BAND + rank)
    cells |= _classifiers(parts, description)
    below = 1 + max((DEEPEST, *(cell.last for cell in cells.values())))
    fields = {"metadata": INPUTS, "imputation": ENCODER, "metadata encoder": DECODER}
    known = {*parts, *(given.name for given in description.inputs)}
    cells |= {name: Cell(column, below) for name, column in fields.items() if name in known}
    return cells


def _once(parts: Mapping[str, Part], finest: int) -> dict[str, Cell]:
    """The parts beside encoder and decoder of which there is at most one; finest: the row of the last level."""
    again = 0
    if "joint reverse" in parts:
        again = sum(read.startswith("decoder") for read in parts["joint reverse"].reads) - 1
    cells = {
        "super-resolution": Cell(INPUTS, DEEPEST),
        "joint reverse": Cell(MIDDLE, finest, again),
        "mask gate": Cell(MIDDLE, DEEPEST),
    }
    mask = next((part.name for part in parts.values() if part.kind == "head" and _reads_decoder(part)), None)
    return cells if mask is None else {**cells, mask: Cell(HEADS, finest)}


def _reads_decoder(part: Part) -> bool:
    return part.reads[0].startswith("decoder") or part.reads == ("joint reverse",)


def _levels_seen(parts: Mapping[str, Part]) -> list[int]:
    """Encoder levels that classifiers pool or CBAM re-weighs, the coarsest first."""
    reads = [read for part in parts.values() if part.kind in ("pooling", "attention", "head") for read in part.reads]
    levels = [read.partition(" ")[2] for read in reads if read.startswith(("encoder ", "cbam "))]
    pooled = {int(level) for level in levels}
    return sorted(pooled, reverse=True)


def _classifiers(parts: Mapping[str, Part], description: Description) -> dict[str, Cell]:
    """Classify heads one below the other, what each is given at its left."""
    reversing = next((link.source for link in description.links if link.kind == "joint_reverse"), None)
    source = parts["E-layer"].reads[1] if "E-layer" in parts else None
    heads = [part for part in parts.values() if part.kind == "head" and not _reads_decoder(part)]
    pools = {
        head.name: parts[head.reads[0]].reads[0] if head.reads[0].startswith("fusion ") else head.reads[0]
        for head in heads
    }

    def place(head: Part) -> tuple[bool, bool, bool, bool, str]:
        """First the head that others wait for and those of its view, then those with the mask; a map's source last."""
        reads = parts[pools[head.name]].reads
        return (
            head.name == source,
            reversing is None or pools[head.name] != pools[reversing],
            head.name != reversing,
            "mask gate" not in reads,
            pools[head.name],
        )

    cells: dict[str, Cell] = {}
    for row, head in enumerate(sorted(heads, key=place), BAND):
        cells[head.name] = Cell(HEADS, row)
        if head.reads[0].startswith("fusion "):
            cells[head.reads[0]] = Cell(FUSION, row)
        if parts[pools[head.name]].kind == "pooling" and pools[head.name] not in cells:
            cells[pools[head.name]] = Cell(MIDDLE, row)
            if "E-layer" in parts[pools[head.name]].reads and "E-layer" not in cells:
                cells["E-layer"] = Cell(DECODER, row)
    return cells
