"""The picture of a network in the cells of a terminal."""

from collections.abc import Iterator

from edgeskin.train.describe.description import Description
from edgeskin.train.describe.labels import Picture, compose
from edgeskin.train.describe.wiring import Box, Metrics, Point, Wire

SIDES = {(1, 0): 1, (0, 1): 2, (-1, 0): 4, (0, -1): 8}
"""A bit for each side at which a line leaves a cell: right, below, left, above."""
ARROWS = {(1, 0): "▶", (0, 1): "▼", (-1, 0): "◀", (0, -1): "▲"}
LINES = " ╶╷╭╴─╮┬╵╰│├╯┴┤┼"
"""The character of every sum of those bits."""


def to_canvas(description: Description) -> list[str]:
    """The data flow as lines of text: every part in brackets or a frame, an arrow wherever one reads another."""
    picture = in_letters(description)
    drawing = picture.drawing
    boxes: dict[Point, str] = {}
    for box in drawing.boxes:
        boxes.update(_box(box))
    bits: dict[Point, int] = {}
    arrows: dict[Point, str] = {}
    for wire in drawing.wires:
        steps = [(cell, step) for cell, step in _walk(wire) if cell not in boxes]
        for cell, (across, down) in steps:
            after = (cell[0] + across, cell[1] + down)
            before = (cell[0] - across, cell[1] - down)
            bits[cell] = bits.get(cell, 0) | SIDES[-across, -down]
            if before not in boxes:
                bits[before] = bits.get(before, 0) | SIDES[across, down]
            if after in boxes and cell == steps[-1][0]:
                arrows[cell] = ARROWS[across, down]
    cells = {cell: LINES[sides] for cell, sides in bits.items()} | arrows | boxes
    for label in picture.labels:
        words = f" {label.text} "
        cells.update({(label.x - len(words) // 2 + index, label.y): letter for index, letter in enumerate(words)})
    rows = range(drawing.height)
    return ["".join(cells.get((x, y), " ") for x in range(drawing.width)).rstrip() for y in rows]


def in_letters(description: Description) -> Picture:
    """Which cell everything stands in."""
    return compose(description, Metrics(lambda name: (len(name) + 2, 1), gap=(4, 1), lane=(2, 1), port=1), (1, 1), 2)


def _box(box: Box) -> Iterator[tuple[Point, str]]:
    """The name in brackets, or in the middle of a frame where arrows need more than one line."""
    inner = box.width - 2
    if box.height == 1:
        lines = [f"[{box.name:^{inner}}]"]
    else:
        lines = [f"│{'':{inner}}│"] * box.height
        lines[0], lines[-1] = f"┌{'─' * inner}┐", f"└{'─' * inner}┘"
        lines[box.height // 2] = f"│{box.name:^{inner}}│"
    for y, line in enumerate(lines, box.y):
        yield from (((x, y), letter) for x, letter in enumerate(line, box.x))


def _walk(wire: Wire) -> Iterator[tuple[Point, Point]]:
    """Every cell of an arrow with the step that led into it; the first is taken as entered straight."""
    for index, ((x0, y0), (x1, y1)) in enumerate(zip(wire.points, wire.points[1:], strict=False)):
        length = abs(x1 - x0) + abs(y1 - y0)
        if length == 0:
            continue
        step = ((x1 - x0) // length, (y1 - y0) // length)
        for distance in range(0 if index == 0 else 1, length + 1):
            yield (x0 + step[0] * distance, y0 + step[1] * distance), step
