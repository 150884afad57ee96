"""What networks cost against what they reach: which of them no other beats, and a picture."""

from collections.abc import Sequence
from dataclasses import dataclass

from edgeskin.benchmarks import drawing
from edgeskin.benchmarks.ablation import Table
from edgeskin.benchmarks.drawing import Frame, Plot, around_axis, element

_WIDTH, _HEIGHT, _NAMES = 860, 440, 240
"""Of the picture, in pixels, and what is kept free on its right for the names."""
_LETTER, _ROW = 7, 14
"""Of a name, in pixels: at most so wide is a letter, so high a row."""
_COLOURS = {"front": ("#0969da", "#58a6ff")}
_RULES = """
.line { fill: none; stroke: var(--front); }
.dot { fill: var(--page); stroke: var(--front); stroke-width: 1.5; }
.best { fill: var(--front); }
.leader { stroke: var(--faint); stroke-width: 0.75; }
"""


@dataclass(frozen=True)
class Point:
    """One network in int8. best: no other costs no more and reaches no less, and is better in one of both."""

    name: str
    cost: float
    gain: float
    best: bool


def points(table: Table, cost: str, gain: str) -> tuple[Point, ...]:
    """The members of a table that have both figures, the cheapest first. cost, gain: its columns."""
    found: list[tuple[float, float, str]] = []
    for line in table.lines:
        spreads = line.figures.get("int8", {})
        x, y = (spreads[name].mean if name in spreads else None for name in (cost, gain))
        if x is not None and y is not None:
            found.append((x, y, line.name))
    return tuple(
        Point(name, x, y, not any(a <= x and b >= y and (a, b) != (x, y) for a, b, _ in found))
        for x, y, name in sorted(found, key=lambda one: (one[0], -one[1]))
    )


def svg(drawn: Sequence[Point], cost: str, gain: str) -> str:
    """An SVG file: cost to the right, gain upwards, the best filled and joined, each name where nothing hides it."""
    x = around_axis(cost, min(one.cost for one in drawn), max(one.cost for one in drawn))
    y = around_axis(gain, min(one.gain for one in drawn), max(one.gain for one in drawn))
    plot = Plot(x, y, Frame(left=60, right=_WIDTH - _NAMES, top=50, bottom=_HEIGHT - 60))
    parts = [*plot.grid(), plot.line(((one.cost, one.gain) for one in drawn if one.best), "front")]
    places = [plot.place((one.cost, one.gain)) for one in drawn]
    for one, (x_dot, y_dot), y_name in zip(drawn, places, _rows(places, [one.name for one in drawn]), strict=True):
        if y_name - y_dot >= _ROW:
            parts.append(element("line", x1=x_dot, y1=y_dot, x2=x_dot + 9, y2=y_name, class_="leader"))
        parts.append(plot.dot((one.cost, one.gain), "best" if one.best else "", radius=5))
        parts.append(element("text", one.name, x=x_dot + 10, y=y_name + 4))
    parts.append(element("text", f"{gain}, int8", x=16, y=24, class_="name"))
    parts.append(element("text", cost, x=plot.frame.right, y=_HEIGHT - 16, class_="name", text_anchor="end"))
    return drawing.document(f"{gain} against {cost}", _WIDTH, _HEIGHT, _COLOURS, _RULES, *parts)


def _rows(places: Sequence[drawing.Point], names: Sequence[str]) -> list[float]:
    """How high the middle of each name stands: beside its dot, or so far below it that it hides no dot and no name."""
    taken = [(x - 6, x + 6, y) for x, y in places]
    rows = [0.0] * len(places)
    for number in sorted(range(len(places)), key=lambda one: places[one][1]):
        x, y = places[number]
        left, right = x + 8, x + 10 + _LETTER * len(names[number])
        while below := [other for start, end, other in taken if start < right and left < end and abs(other - y) < _ROW]:
            y = max(below) + _ROW
        taken.append((left, right, y))
        rows[number] = y
    return rows
