"""Charts as inline SVG: colours come from the page's style, so that they follow light and dark."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from edgeskin.benchmarks.report.html.markup import Markup, element, joined

Point: TypeAlias = tuple[float, float]

WIDTH, HEIGHT = 360, 250
LEFT, RIGHT, TOP, BOTTOM = 46, 348, 12, 208


@dataclass(frozen=True)
class Axis:
    """A scale with its ticks. label: what is on it, with its unit."""

    label: str
    low: float
    high: float
    ticks: tuple[tuple[float, str], ...]

    def at(self, value: float, start: float, end: float) -> float:
        """Where a value stands between two pixels; what is beyond the scale stands at its end."""
        share = (value - self.low) / (self.high - self.low) if self.high > self.low else 0.0
        return start + min(max(share, 0.0), 1.0) * (end - start)


def share_axis(label: str) -> Axis:
    """From 0 to 1."""
    return Axis(label, 0, 1, tuple((tick, f"{tick:g}") for tick in (0, 0.25, 0.5, 0.75, 1)))


def count_axis(label: str, most: float) -> Axis:
    """From 0 to a round number at or above `most`, at least 1."""
    step = max(1.0, _round_step(most / 4 or 1))
    top = step
    while top < most:
        top += step
    ticks = [step * index for index in range(round(top / step) + 1)]
    return Axis(label, 0, top, tuple((tick, f"{tick:g}") for tick in ticks))


def value_axis(label: str, low: float, high: float) -> Axis:
    """From `low` to `high`, with ticks at round values."""
    step = _round_step((high - low) / 4 or 1)
    first = -int(-low // step) * step
    ticks = []
    while first <= high + step * 1e-9:
        ticks.append((first, f"{first:.6g}"))
        first += step
    return Axis(label, low, high, tuple(ticks))


def _round_step(least: float) -> float:
    """The least of 1, 2 and 5 times a power of ten that is not below `least`."""
    power = 1.0
    while power > least:
        power /= 10
    while power * 10 < least:
        power *= 10
    return next((power * factor for factor in (1, 2, 5, 10) if power * factor >= least), power * 10)


@dataclass(frozen=True)
class Plot:
    """A plane between two axes, in which everything is given in the axes' values."""

    x: Axis
    y: Axis

    def place(self, point: Point) -> Point:
        """A point in pixels."""
        return self.x.at(point[0], LEFT, RIGHT), self.y.at(point[1], BOTTOM, TOP)

    def line(self, points: Iterable[Point], kind: str) -> Markup:
        """A line through the points."""
        return element("polyline", points=_path(map(self.place, points)), class_=f"line {kind}")

    def dots(self, points: Iterable[Point], kind: str, radius: float = 3.5) -> Markup:
        """A dot at each point."""
        return joined(
            element("circle", cx=x, cy=y, r=float(radius), class_=f"dot {kind}") for x, y in map(self.place, points)
        )

    def bars(self, edges: Sequence[float], heights: Sequence[float], kind: str) -> Markup:
        """A bar from each edge to the next."""
        made = []
        for left, right, height in zip(edges, edges[1:], heights, strict=False):
            (x0, y), (x1, _) = self.place((left, height)), self.place((right, height))
            made.append(
                element("rect", x=x0 + 0.5, y=y, width=max(x1 - x0 - 1, 0.5), height=BOTTOM - y, class_=f"bar {kind}")
            )
        return joined(made)

    def steps(self, edges: Sequence[float], heights: Sequence[float], kind: str) -> Markup:
        """The outline that `bars` would have."""
        corners = [(edges[0], 0.0)]
        for left, right, height in zip(edges, edges[1:], heights, strict=False):
            corners += [(left, height), (right, height)]
        return self.line([*corners, (edges[-1], 0.0)], kind)

    def marker(self, value: float, word: str, row: int = 0) -> Markup:
        """A vertical line at a value of the x axis, and its name."""
        x = self.x.at(value, LEFT, RIGHT)
        beside, anchor = (x + 4, "start") if x < (LEFT + RIGHT) / 2 else (x - 4, "end")
        return joined(
            (
                element("line", x1=x, x2=x, y1=TOP, y2=BOTTOM, class_="marker"),
                element("text", word, x=float(beside), y=TOP + 10.0 + 13 * row, class_="tick", text_anchor=anchor),
            )
        )

    def picture(self, title: str, description: str, *drawn: Markup) -> Markup:
        """The whole chart with axes and grid; title and description are for readers who do not see it."""
        grid = []
        for tick, word in self.y.ticks:
            y = self.y.at(tick, BOTTOM, TOP)
            grid.append(element("line", x1=LEFT, x2=RIGHT, y1=y, y2=y, class_="grid"))
            grid.append(element("text", word, x=LEFT - 6, y=y + 3.5, class_="tick", text_anchor="end"))
        for tick, word in self.x.ticks:
            x = self.x.at(tick, LEFT, RIGHT)
            grid.append(element("line", x1=x, x2=x, y1=BOTTOM, y2=BOTTOM + 4, class_="grid"))
            grid.append(element("text", word, x=x, y=BOTTOM + 16, class_="tick", text_anchor="middle"))
        middle = (TOP + BOTTOM) / 2
        labels = (
            element("text", self.x.label, x=(LEFT + RIGHT) / 2, y=HEIGHT - 8, class_="axis", text_anchor="middle"),
            element(
                "text",
                self.y.label,
                x=12,
                y=middle,
                class_="axis",
                text_anchor="middle",
                transform=f"rotate(-90 12 {middle:g})",
            ),
        )
        return element(
            "svg",
            element("title", title),
            element("desc", description),
            *grid,
            *drawn,
            *labels,
            viewBox=f"0 0 {WIDTH} {HEIGHT}",
            role="img",
            aria_label=f"{title}. {description}",
        )


def whisker(low: float | None, high: float | None, ships: float | None, in_float: float | None) -> Markup | None:
    """A figure from 0 to 1 in one line: its interval, a dot for the network that ships, a tick for float."""
    if ships is None:
        return None
    width, height, middle = 140, 18, 9

    def at(value: float) -> float:
        return 4 + min(max(value, 0.0), 1.0) * (width - 8)

    drawn = [element("line", x1=4, x2=width - 4, y1=middle, y2=middle, class_="grid")]
    if low is not None and high is not None:
        drawn.append(element("line", x1=at(low), x2=at(high), y1=middle, y2=middle, class_="whisker"))
    if in_float is not None:
        x = at(in_float)
        drawn.append(element("line", x1=x, x2=x, y1=2, y2=height - 2, class_="line float"))
    drawn.append(element("circle", cx=at(ships), cy=middle, r=4, class_="dot ships"))
    # The table beside it says the same, so nobody needs it read out.
    return element("svg", *drawn, viewBox=f"0 0 {width} {height}", width=width, height=height, aria_hidden="true")


def meter(share: float, kind: str = "ships", interval: tuple[float | None, float | None] | None = None) -> Markup:
    """A bar from 0 to 1 of its whole width, and its interval; the numbers stand beside it."""
    drawn = [element("span", style=f"width:{_percent(share)}", class_=kind)]
    low, high = interval or (None, None)
    if low is not None and high is not None:
        drawn.append(element("i", style=f"left:{_percent(low)};right:{_percent(1 - high)}"))
    return element("span", *drawn, class_="meter", aria_hidden="true")


def _percent(share: float) -> str:
    return f"{100 * min(max(share, 0.0), 1.0):.2f}%"


def _path(points: Iterable[Point]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
