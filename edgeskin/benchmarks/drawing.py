"""Elements whose text is always escaped, and charts of them: axes with round ticks, what stands between two, and an SVG
file that is light or dark as its reader has it.

A plain string is text; only `element` makes markup of it.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import TypeAlias


class Markup(str):
    """HTML or SVG that is ready; every other string is text and is escaped where it meets markup."""

    __slots__ = ()


Child: TypeAlias = str | None
"""Markup, text, or nothing."""
Value: TypeAlias = str | float | None
Point: TypeAlias = tuple[float, float]

_VOID = frozenset({"meta", "img", "br", "col"})


def element(kind: str, /, *children: Child, **attributes: Value) -> Markup:
    """One element. An attribute that is None is left out; `class_` and `aria_label` are class and aria-label."""
    told = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(_spelled(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    if kind in _VOID:
        return Markup(f"<{kind}{told}>")
    return Markup(f"<{kind}{told}>{joined(children)}</{kind}>")


def joined(children: Iterable[Child], between: str = "") -> Markup:
    """Some markup and text, one behind the other."""
    kept = (child if isinstance(child, Markup) else escape(child) for child in children if child is not None)
    return Markup(escape(between).join(kept))


def _spelled(value: str | float) -> str:
    """Coordinates to a hundredth of a pixel."""
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)


# --- axes ---


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
    return Axis(label, 0, 1, _named(0.25 * number for number in range(5)))


def count_axis(label: str, most: float) -> Axis:
    """From 0 to a round number at or above `most`, at least 1."""
    step = max(1.0, _step(most))
    return _from_to(label, 0, max(1, math.ceil(most / step)), step)


def value_axis(label: str, low: float, high: float) -> Axis:
    """From `low` to `high`, with ticks at round values."""
    step = _step(high - low)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return Axis(label, low, high, _named(step * number for number in range(first, last + 1)))


def around_axis(label: str, low: float, high: float) -> Axis:
    """Three to six round numbers that hold everything from `low` to `high`."""
    step = _step((high - low) or abs(high) * 0.1)
    first, last = math.floor(low / step), math.ceil(high / step)
    return _from_to(label, first, last, step) if last > first else _from_to(label, first - 1, last + 1, step)


def _from_to(label: str, first: int, last: int, step: float) -> Axis:
    return Axis(label, first * step, last * step, _named(step * number for number in range(first, last + 1)))


def _named(values: Iterable[float]) -> tuple[tuple[float, str], ...]:
    return tuple((value, f"{value:.6g}") for value in values)


def _step(span: float) -> float:
    """The least of 1, 2 and 5 times a power of ten that is not below a quarter of `span`."""
    least = span / 4 or 1.0
    power = 10.0 ** math.floor(math.log10(least))
    return next((power * factor for factor in (1, 2, 5) if power * factor >= least * (1 - 1e-9)), power * 10)


# --- charts ---


@dataclass(frozen=True)
class Frame:
    """Where the plane of a chart lies in its picture, in pixels."""

    left: float = 46
    right: float = 348
    top: float = 12
    bottom: float = 208


@dataclass(frozen=True)
class Plot:
    """A plane between two axes, in which everything is given in the axes' values."""

    x: Axis
    y: Axis
    frame: Frame = Frame()

    def place(self, point: Point) -> Point:
        """A point in pixels."""
        return self.x.at(point[0], self.frame.left, self.frame.right), self.y.at(
            point[1], self.frame.bottom, self.frame.top
        )

    def line(self, points: Iterable[Point], kind: str) -> Markup:
        """A line through the points."""
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in map(self.place, points))
        return element("polyline", points=path, class_=f"line {kind}")

    def dot(self, point: Point, kind: str, radius: float = 3.5, hint: Child = None) -> Markup:
        """A dot. hint: what a browser shows under the pointer."""
        x, y = self.place(point)
        return element("circle", _hinted(hint), cx=x, cy=y, r=float(radius), class_=f"dot {kind}")

    def dots(self, points: Iterable[Point], kind: str, radius: float = 3.5) -> Markup:
        """A dot at each point."""
        return joined(self.dot(point, kind, radius) for point in points)

    def bar(self, left: float, right: float, height: float, kind: str, hint: Child = None) -> Markup:
        """A bar from the ground to its height, with half a pixel left free on either side."""
        (x0, y), (x1, _) = self.place((left, height)), self.place((right, height))
        return element(
            "rect",
            _hinted(hint),
            x=x0 + 0.5,
            y=y,
            width=max(x1 - x0 - 1, 0.5),
            height=self.frame.bottom - y,
            class_=f"bar {kind}",
        )

    def bars(self, edges: Sequence[float], heights: Sequence[float], kind: str) -> Markup:
        """A bar from each edge to the next."""
        return joined(
            self.bar(left, right, height, kind) for left, right, height in zip(edges, edges[1:], heights, strict=False)
        )

    def steps(self, edges: Sequence[float], heights: Sequence[float], kind: str) -> Markup:
        """The outline that `bars` would have."""
        corners = [(edges[0], 0.0)]
        for left, right, height in zip(edges, edges[1:], heights, strict=False):
            corners += [(left, height), (right, height)]
        return self.line([*corners, (edges[-1], 0.0)], kind)

    def whisker(self, x: float, low: float, high: float, kind: str) -> Markup:
        """An interval of the y axis."""
        (at, y0), (_, y1) = self.place((x, low)), self.place((x, high))
        return element("line", x1=at, x2=at, y1=y0, y2=y1, class_=f"whisker {kind}")

    def rule(self, value: float, kind: str, above: float = 0) -> Markup:
        """A vertical line at a value of the x axis. above: how many pixels it rises over the plane."""
        x = self.x.at(value, self.frame.left, self.frame.right)
        return element("line", x1=x, x2=x, y1=self.frame.top - above, y2=self.frame.bottom, class_=kind)

    def marker(self, value: float, word: str, row: int = 0) -> Markup:
        """A vertical line at a value of the x axis, and its name."""
        at = self.x.at(value, self.frame.left, self.frame.right)
        beside, anchor = (at + 4, "start") if at < (self.frame.left + self.frame.right) / 2 else (at - 4, "end")
        name = element("text", word, x=beside, y=self.frame.top + 10.0 + 13 * row, class_="tick", text_anchor=anchor)
        return joined((self.rule(value, "marker"), name))

    def grid(self) -> Iterator[Markup]:
        """A line across the plane at each tick of the y axis, and the words of all ticks."""
        frame = self.frame
        for tick, word in self.y.ticks:
            y = self.y.at(tick, frame.bottom, frame.top)
            yield element("line", x1=frame.left, x2=frame.right, y1=y, y2=y, class_="grid")
            yield element("text", word, x=frame.left - 6, y=y + 3.5, class_="tick", text_anchor="end")
        for tick, word in self.x.ticks:
            x = self.x.at(tick, frame.left, frame.right)
            yield element("line", x1=x, x2=x, y1=frame.bottom, y2=frame.bottom + 4, class_="grid")
            yield element("text", word, x=x, y=frame.bottom + 16, class_="tick", text_anchor="middle")


def _hinted(hint: Child) -> Markup | None:
    return None if hint is None else element("title", hint)


# --- a file of its own ---

_COLOURS = {
    "page": ("#fff", "#0d1117"),
    "ink": ("#1f2328", "#e6edf3"),
    "faint": ("#656d76", "#8b949e"),
    "line": ("#e3e6ea", "#262c36"),
}
_RULES = """
.page { fill: var(--page); }
text { font: 12px system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; fill: var(--ink); }
.title { font-size: 17px; font-weight: 600; }
.name { font-weight: 600; }
.hint, .tick { fill: var(--faint); font-size: 11px; font-weight: 400; }
.grid { stroke: var(--line); }
"""


def document(
    title: str, width: int, height: int, colours: Mapping[str, tuple[str, str]], rules: str, *drawn: Child
) -> str:
    """An SVG file without a script. colours: by the name that `rules` use, on light and on dark pages.

    The classes title, name, hint, tick and grid are there already.
    """
    light, dark = (
        " ".join(f"--{name}: {both[place]};" for name, both in (_COLOURS | dict(colours)).items()) for place in (0, 1)
    )
    style = f"\n:root {{ {light} }}\n@media (prefers-color-scheme: dark) {{ :root {{ {dark} }} }}{_RULES}{rules}"
    return (
        element(
            "svg",
            element("title", title),
            element("style", Markup(style)),
            element("rect", class_="page", width=width, height=height),
            *drawn,
            xmlns="http://www.w3.org/2000/svg",
            viewBox=f"0 0 {width} {height}",
            width=width,
            height=height,
            role="img",
        )
        + "\n"
    )
