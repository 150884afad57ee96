"""From the grid to coordinates: boxes, and the corners of the arrows between them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from edgeskin.train.describe.description import Description, LinkKind
from edgeskin.train.describe.routes import Plane, Route

Point: TypeAlias = tuple[int, int]


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

    @property
    def right(self) -> int:
        """Where it ends across."""
        return self.x + self.width

    @property
    def bottom(self) -> int:
        """Where it ends downwards."""
        return self.y + self.height

    @property
    def centre(self) -> int:
        """Its middle across."""
        return self.x + self.width // 2


@dataclass(frozen=True)
class Wire:
    """An arrow: its corners from source to target."""

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


def draw(description: Description, metrics: Metrics) -> Drawing:
    """Place all parts and arrows."""
    sheet = _Sheet(Plane(description), metrics)
    links: dict[tuple[str, str], LinkKind] = {(link.source, link.target): link.kind for link in description.links}
    wires = tuple(
        Wire(route.source, route.target, links.get((route.source, route.target)), sheet.corners(route))
        for route in sheet.plane.routes
    )
    return Drawing(tuple(sheet.box(name) for name in sheet.plane.cells), wires, sheet.width, sheet.height)


class _Sheet:
    def __init__(self, plane: Plane, metrics: Metrics) -> None:
        self.plane, self.metrics = plane, metrics
        (gap_x, gap_y), (lane_x, lane_y) = metrics.gap, metrics.lane
        self.left: dict[int, int] = {}
        self.widths: dict[int, int] = {}
        x = 0
        for column in range(1 + max(cell.column for cell in plane.cells.values())):
            sizes = [metrics.size(name)[0] for name, cell in plane.cells.items() if cell.column == column]
            lanes = len(plane.lanes.get(column, ()))
            if column and (sizes or lanes):
                x += gap_x + max(0, lanes - 1) * lane_x
            self.left[column], self.widths[column] = x, max(sizes, default=0)
            x += self.widths[column]
        self.width = x
        self.top: dict[int, int] = {}
        self.heights: dict[int, int] = {}
        y = 0
        for row in range(1 + max(cell.last for cell in plane.cells.values())):
            if row:
                y += max(gap_y, (1 + len(plane.rises.get(row, ()))) * lane_y)
            sizes = [self._tall(name) for name, cell in plane.cells.items() if row in (cell.row, cell.last)]
            self.top[row], self.heights[row] = y, max(sizes, default=0)
            y += self.heights[row]
        self.height = y

    def box(self, name: str) -> Box:
        """A part, its middle in that of its row, over all its rows."""
        cell, tall = self.plane.cells[name], self._tall(name)
        top, bottom = self._middle(cell.row) - tall // 2, self._middle(cell.last) - tall // 2 + tall
        return Box(name, self.left[cell.column], top, self.widths[cell.column], bottom - top)

    def corners(self, route: Route) -> tuple[Point, ...]:
        """An arrow from the edge of its source to the edge of its target."""
        a, b = self.box(route.source), self.box(route.target)
        match route.shape:
            case "down" | "up":
                ends = (a.bottom, b.y) if route.shape == "down" else (a.y, b.bottom)
                return ((a.centre, ends[0]), (a.centre, ends[1]))
            case "straight":
                y = self._middle(max(self.plane.cells[name].row for name in (route.source, route.target)))
                return ((a.right, y), (b.x, y)) if b.x > a.x else ((a.x, y), (b.right, y))
            case "angle":
                into = self._into(route)
                return ((a.centre, a.bottom), (a.centre, into), (b.x, into))
            case "back":
                rise = self._rise(route)
                return ((a.centre, a.y), (a.centre, rise), (b.centre, rise), (b.centre, b.bottom))
            case _:
                return self._in_lanes(route, a, b)

    def _in_lanes(self, route: Route, a: Box, b: Box) -> tuple[Point, ...]:
        out, into = self._out(route), self._into(route)
        lanes = [self._lane(column, route.source) for column in route.columns]
        start = a.x if route.shape == "left" else a.right
        if route.shape != "around":
            return ((start, out), (lanes[0], out), (lanes[0], into), (b.x, into))
        rise = self._rise(route)
        between = ((lanes[0], out), (lanes[0], rise), (lanes[1], rise), (lanes[1], into))
        return ((start, out), *between, (b.x, into))

    def _tall(self, name: str) -> int:
        return max(self.metrics.size(name)[1], 1 + 2 * self.plane.ports.reach[name] * self.metrics.port)

    def _middle(self, row: int) -> int:
        return self.top[row] + self.heights[row] // 2

    def _out(self, route: Route) -> int:
        """How far down an arrow leaves: in the middle, or below it at the left where another one enters."""
        y = self._middle(self.plane.cells[route.source].row)
        entered = any(other.target == route.source and other.shape != "down" for other in self.plane.routes)
        return y + self.metrics.port * int(route.shape == "left" and entered)

    def _into(self, route: Route) -> int:
        """How far down an arrow enters: at its port of the target's row that is nearest to where it comes from."""
        source, target = self.plane.cells[route.source], self.plane.cells[route.target]
        y = self._middle(target.last if source.row > target.row else target.row)
        return y + self.metrics.port * self.plane.ports.offsets[route.source, route.target]

    def _lane(self, column: int, source: str) -> int:
        lanes = self.plane.lanes[column]
        inner = len(lanes) - 1 - lanes.index(source)
        return self.left[column] - (self.metrics.gap[0] + 1) // 2 - inner * self.metrics.lane[0]

    def _rise(self, route: Route) -> int:
        assert route.row is not None, "this shape has a lane between two rows"
        rises = self.plane.rises[route.row]
        below = len(rises) - 1 - rises.index(route.source)
        return self.top[route.row] - (self.metrics.gap[1] + 1) // 2 - below * self.metrics.lane[1]
