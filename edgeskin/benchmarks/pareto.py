"""What networks cost against what they reach: which of them no other beats, and a picture."""

from collections.abc import Sequence
from dataclasses import dataclass

from edgeskin.benchmarks import drawing
from edgeskin.benchmarks.ablation import Table
from edgeskin.benchmarks.drawing import Frame, Plot, around_axis, element

_WIDTH, _HEIGHT, _NAMES = 860, 440, 240
"""Of the picture, in pixels, and what is kept free on its right for the names."""
_COLOURS = {"front": ("#0969da", "#58a6ff")}
_RULES = """
.line { fill: none; stroke: var(--front); }
.dot { fill: var(--page); stroke: var(--front); stroke-width: 1.5; }
.best { fill: var(--front); }
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
    """An SVG file: cost to the right, gain upwards, the best filled and joined."""
    x = around_axis(cost, min(one.cost for one in drawn), max(one.cost for one in drawn))
    y = around_axis(gain, min(one.gain for one in drawn), max(one.gain for one in drawn))
    plot = Plot(x, y, Frame(left=60, right=_WIDTH - _NAMES, top=50, bottom=_HEIGHT - 60))
    parts = [*plot.grid(), plot.line(((one.cost, one.gain) for one in drawn if one.best), "front")]
    for one in drawn:
        at_x, at_y = plot.place((one.cost, one.gain))
        parts.append(plot.dot((one.cost, one.gain), "best" if one.best else "", radius=5))
        parts.append(element("text", one.name, x=at_x + 10, y=at_y + 4))
    parts.append(element("text", f"{gain}, int8", x=16, y=24, class_="name"))
    parts.append(element("text", cost, x=plot.frame.right, y=_HEIGHT - 16, class_="name", text_anchor="end"))
    return drawing.document(f"{gain} against {cost}", _WIDTH, _HEIGHT, _COLOURS, _RULES, *parts)
