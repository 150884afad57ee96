"""Arrows between the parts of a picture: along rows, in lanes between columns and rows, never through a part."""

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from edgeskin.train.describe.description import Description, LinkKind
from edgeskin.train.describe.grid import Cell, arrange

Point: TypeAlias = tuple[int, int]
Pair: TypeAlias = tuple[str, str]


@dataclass(frozen=True)
class Metrics:
    """Sizes in the units of what is drawn on: pixels, or the cells of a terminal.

    size: of a part by its name, before arrows make it taller. gap: least distance of columns and of rows. lane: between
    arrows side by side, across and down. port: between arrows into the same part.
    """

    size: Callable[[str], tuple[int, int]]
    gap: tuple[int, int]
    lane: tuple[int, int]
    port: int


@dataclass(frozen=True)
class Box:
    """A part as drawn; x, y: its left upper corner."""

    name: str
    x: int
    y: int
    width: int
    height: int


@dataclass(frozen=True)
class Wire:
    """An arrow: corners from source to target."""

    source: str
    target: str
    link: LinkKind | None
    points: tuple[Point, ...]


@dataclass(frozen=True)
class Drawing:
    """A picture before it is drawn."""

    boxes: tuple[Box, ...]
    wires: tuple[Wire, ...]
    width: int
    height: int


Shape: TypeAlias = Literal["down", "up", "straight", "left", "angle", "near", "far", "around", "back"]
"""How an arrow runs: to the next row; along a row; out at the left and back in there; down, then along the target's row;
in a lane next to the source, then along the target's row; along the source's row, then in a lane next to the target;
in both lanes, and between two rows; out at the top and back into the bottom of a part further left."""


@dataclass(frozen=True)
class _Route:
    source: str
    target: str
    shape: Shape
    columns: tuple[int, ...] = ()
    """The columns at whose left it has a lane."""
    row: int | None = None
    """The row above which it has a lane."""


def draw(description: Description, metrics: Metrics) -> Drawing:
    """Place all parts and arrows."""
    return _Draughtsman(description, metrics).drawing()


class _Draughtsman:
    def __init__(self, description: Description, metrics: Metrics) -> None:
        self.metrics = metrics
        self.cells = arrange(description)
        self.links: dict[Pair, LinkKind] = {(link.source, link.target): link.kind for link in description.links}
        self.taken = {(cell.column, row) for cell in self.cells.values() for row in range(cell.row, cell.last + 1)}
        self.routes = [self._route(read, part.name) for part in description.parts for read in part.reads]
        self.lanes = self._lanes()
        self.rises = self._rises()
        self.offsets, self.reach = self._ports()
        self._measure()

    def drawing(self) -> Drawing:
        """The finished picture."""
        boxes = tuple(self._box(name) for name in self.cells)
        wires = tuple(
            Wire(route.source, route.target, self.links.get((route.source, route.target)), self._points(route))
            for route in self.routes
        )
        return Drawing(boxes, wires, self.right, self.bottom)

    # Which way an arrow goes.

    def _route(self, source: str, target: str) -> _Route:
        a, b = self.cells[source], self.cells[target]
        if a.column == b.column:
            if b.row == a.last + 1:
                return _Route(source, target, "down")
            if b.last == a.row - 1:
                return _Route(source, target, "up")
            return _Route(source, target, "left", (a.column,))
        side_by_side = max(a.row, b.row) <= min(a.last, b.last)
        row = max(a.row, b.row) if side_by_side else b.row
        between = range(min(a.column, b.column) + 1, max(a.column, b.column))
        clear = self._free(between, range(row, row + 1))
        if side_by_side and clear:
            return _Route(source, target, "straight")
        if b.column < a.column:
            return _Route(source, target, "back", row=self._way_back(a, b))
        if b.row > a.last and clear and self._free(range(a.column, a.column + 1), range(a.last + 1, b.row + 1)):
            return _Route(source, target, "angle")
        if clear:
            return _Route(source, target, "near", (a.column + 1,))
        if self._free(between, range(a.row, a.row + 1)):
            return _Route(source, target, "far", (b.column,))
        return _Route(source, target, "around", (a.column + 1, b.column), b.row)

    def _way_back(self, a: Cell, b: Cell) -> int:
        """The row above which an arrow can run from the top of `a` to below `b`."""
        up, down = range(a.column, a.column + 1), range(b.column, b.column + 1)
        for row in range(b.last + 1, a.row + 1):
            if self._free(up, range(row, a.row)) and self._free(down, range(b.last + 1, row)):
                return row
        raise AssertionError("what others read back stands at the top or at the bottom of its column")

    def _free(self, columns: range, rows: range) -> bool:
        return not any((column, row) in self.taken for column in columns for row in rows)

    # Which lane of a channel it has.

    def _lanes(self) -> dict[int, list[str]]:
        """Of the channel at the left of each column: the parts whose arrows have a lane there, from left to right."""
        lanes: dict[int, dict[str, tuple[int, int]]] = defaultdict(dict)
        for route in self.routes:
            a, b = self.cells[route.source], self.cells[route.target]
            for column in route.columns:
                # Lanes are nested, so that those of neighbours do not cross: the one that turns first is innermost.
                if route.shape == "left":
                    key = (2, a.row)
                else:
                    key = (0, a.row) if b.row < a.row else (1, -a.row)
                lanes[column].setdefault(route.source, key)
        return {column: sorted(nets, key=nets.__getitem__) for column, nets in lanes.items()}

    def _rises(self) -> dict[int, list[str]]:
        """The same of the channel above each row, from top to bottom."""
        rises: dict[int, list[str]] = defaultdict(list)
        for route in self.routes:
            if route.row is not None and route.source not in rises[route.row]:
                rises[route.row].append(route.source)
        return rises

    # Where it enters.

    def _ports(self) -> tuple[dict[Pair, int], dict[str, int]]:
        """How many ports below the middle of its target each arrow enters; how far from the middle a part's ports reach."""
        offsets: dict[Pair, int] = {}
        reach: dict[str, int] = {}
        for name, cell in self.cells.items():
            sideways = [
                route for route in self.routes if route.target == name and route.shape not in ("down", "up", "back")
            ]
            middle = [route for route in sideways if route.shape == "straight"]
            above = [route for route in sideways if route not in middle and self._comes_from_above(route)]
            below = [route for route in sideways if route not in middle and route not in above]
            above.sort(key=self._across, reverse=True)
            below.sort(key=self._across)
            if not middle and not self._passes_at_left(cell):
                # Nothing runs along the middle: the one nearest to it may.
                if above:
                    offsets[above[-1].source, name] = 0
                    above = above[:-1]
                elif below:
                    offsets[below[0].source, name] = 0
                    below = below[1:]
            for step, route in enumerate(reversed(above), 1):
                offsets[route.source, name] = -step
            for step, route in enumerate(below, 1):
                offsets[route.source, name] = step
            leaves_left = any(route.source == name and route.shape == "left" for route in self.routes)
            reach[name] = max(len(above), len(below), int(leaves_left and bool(sideways)))
        return offsets, reach

    def _comes_from_above(self, route: _Route) -> bool:
        return self.cells[route.source].row < self.cells[route.target].row

    def _across(self, route: _Route) -> tuple[int, int]:
        """How far right the last downward or upward stretch of an arrow is."""
        if route.shape == "angle":
            return (2 * self.cells[route.source].column + 1, 0)
        column = route.columns[-1]
        return (2 * column, self.lanes[column].index(route.source))

    def _passes_at_left(self, cell: Cell) -> bool:
        """Whether the next part at the left in the same row sends its arrows out there."""
        left = [
            name
            for name, other in self.cells.items()
            if other.row <= cell.row <= other.last and other.column < cell.column
        ]
        if not left:
            return False
        nearest = max(left, key=lambda name: self.cells[name].column)
        return any(
            route.source == nearest and route.shape in ("near", "far", "around", "straight") for route in self.routes
        )

    # From the grid to coordinates.

    def _measure(self) -> None:
        (gap_x, gap_y), (lane_x, lane_y) = self.metrics.gap, self.metrics.lane
        self.left: dict[int, int] = {}
        self.widths: dict[int, int] = {}
        x = 0
        for column in range(1 + max(cell.column for cell in self.cells.values())):
            sizes = [self.metrics.size(name)[0] for name, cell in self.cells.items() if cell.column == column]
            lanes = len(self.lanes.get(column, ()))
            if column and (sizes or lanes):
                x += gap_x + max(0, lanes - 1) * lane_x
            self.left[column], self.widths[column] = x, max(sizes, default=0)
            x += self.widths[column]
        self.right = x
        self.top: dict[int, int] = {}
        self.heights: dict[int, int] = {}
        y = 0
        for row in range(1 + max(cell.last for cell in self.cells.values())):
            sizes = [self._height(name) for name, cell in self.cells.items() if cell.last == row]
            if row:
                y += gap_y + max(0, len(self.rises.get(row, ())) - 1) * lane_y
            self.top[row], self.heights[row] = y, max(sizes, default=0)
            y += self.heights[row]
        self.bottom = y

    def _height(self, name: str) -> int:
        return max(self.metrics.size(name)[1], 1 + 2 * self.reach[name] * self.metrics.port)

    def _middle(self, row: int) -> int:
        return self.top[row] + self.heights[row] // 2

    def _box(self, name: str) -> Box:
        cell, height = self.cells[name], self._height(name)
        top = self._middle(cell.row) - height // 2
        bottom = self._middle(cell.last) - height // 2 + height
        return Box(name, self.left[cell.column], top, self.widths[cell.column], bottom - top)

    def _lane(self, column: int, source: str) -> int:
        lanes, (gap, _), (step, _) = self.lanes[column], self.metrics.gap, self.metrics.lane
        return self.left[column] - (gap + 1) // 2 - (len(lanes) - 1 - lanes.index(source)) * step

    def _rise(self, row: int, source: str) -> int:
        rises, (_, gap), (_, step) = self.rises[row], self.metrics.gap, self.metrics.lane
        return self.top[row] - (gap + 1) // 2 - (len(rises) - 1 - rises.index(source)) * step

    def _points(self, route: _Route) -> tuple[Point, ...]:
        a, b = self._box(route.source), self._box(route.target)
        source, target = self.cells[route.source], self.cells[route.target]
        centre_a, centre_b = a.x + a.width // 2, b.x + b.width // 2
        right_a = a.x + a.width
        out = self._middle(source.row)
        into = self._middle(target.last if source.row > target.row else target.row)
        into += self.metrics.port * self.offsets.get((route.source, route.target), 0)
        match route.shape:
            case "down":
                return ((centre_a, a.y + a.height), (centre_a, b.y))
            case "up":
                return ((centre_a, a.y), (centre_a, b.y + b.height))
            case "straight":
                y = self._middle(max(source.row, target.row))
                return ((right_a, y), (b.x, y)) if b.x > a.x else ((a.x, y), (b.x + b.width, y))
            case "left":
                entered = any(other.target == route.source and other.shape != "down" for other in self.routes)
                out += self.metrics.port * int(entered)
                lane = self._lane(source.column, route.source)
                return ((a.x, out), (lane, out), (lane, into), (b.x, into))
            case "angle":
                return ((centre_a, a.y + a.height), (centre_a, into), (b.x, into))
            case "near" | "far":
                lane = self._lane(route.columns[0], route.source)
                return ((right_a, out), (lane, out), (lane, into), (b.x, into))
            case "around":
                first, last = (self._lane(column, route.source) for column in route.columns)
                assert route.row is not None
                rise = self._rise(route.row, route.source)
                return ((right_a, out), (first, out), (first, rise), (last, rise), (last, into), (b.x, into))
            case "back":
                assert route.row is not None
                rise = self._rise(route.row, route.source)
                return ((centre_a, a.y), (centre_a, rise), (centre_b, rise), (centre_b, b.y + b.height))
