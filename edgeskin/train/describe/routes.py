"""Which way arrows go on a picture's grid: along rows, in lanes between columns and rows, never through a part."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from edgeskin.train.describe.description import Description
from edgeskin.train.describe.grid import Cell, arrange

Shape: TypeAlias = Literal["down", "up", "straight", "left", "angle", "near", "far", "around", "back"]
"""How an arrow runs.

down, up: to the next row. straight: along a row. left: out at the left and back in there. angle: down, then along the
target's row. near: in a lane next to the source, then along the target's row. far: along the source's row, then in a
lane next to the target. around: in both lanes, and between two rows. back: out at the top and, between two rows, back
into the bottom of a part further left.
"""


@dataclass(frozen=True)
class Route:
    """One arrow on the grid.

    columns: those at whose left it has a lane. row: that above which it has one.
    """

    source: str
    target: str
    shape: Shape
    columns: tuple[int, ...] = ()
    row: int | None = None


@dataclass(frozen=True)
class Ports:
    """Where arrows enter from the left: how many ports below a part's middle; how far from it a part's ports reach."""

    offsets: Mapping[tuple[str, str], int]
    reach: Mapping[str, int]


class Plane:
    """The grid with all parts and arrows on it, still without sizes."""

    def __init__(self, description: Description) -> None:
        self.cells = arrange(description)
        self.taken = {(cell.column, row) for cell in self.cells.values() for row in range(cell.row, cell.last + 1)}
        self.reads = [(read, part.name) for part in description.parts for read in part.reads]
        self.entered_below = {b for a, b in self.reads if self.cells[b].column < self.cells[a].column}
        self.routes = [self._route(read, name) for read, name in self.reads]
        self.lanes = self._lanes()
        self.rises = self._rises()
        self.ports = self._ports()

    def _route(self, source: str, target: str) -> Route:
        a, b = self.cells[source], self.cells[target]
        if a.column == b.column:
            below, above = b.row == a.last + 1, b.last == a.row - 1
            shape: Shape = "down" if below else "up" if above else "left"
            return Route(source, target, shape, (a.column,) if shape == "left" else ())
        if max(a.row, b.row) <= min(a.last, b.last) and self._clear(a, b, max(a.row, b.row)):
            return Route(source, target, "straight")
        if b.column < a.column:
            return Route(source, target, "back", row=self._way_back(a, b))
        return self._rightwards(source, target)

    def _rightwards(self, source: str, target: str) -> Route:
        a, b = self.cells[source], self.cells[target]
        clear, far = self._clear(a, b, b.row), self._clear(a, b, a.row)
        if far and not all(self._clear(a, other, other.row) for other in self._siblings(source, b.column)):
            # One of them has to: they stay together until they are there.
            return Route(source, target, "far", (b.column,))
        below = b.row > a.last and source not in self.entered_below
        if clear and below and self._free(a.column, range(a.last + 1, b.row + 1)):
            return Route(source, target, "angle")
        if clear:
            return Route(source, target, "near", (a.column + 1,))
        return Route(source, target, "around", (a.column + 1, b.column), b.row)

    def _siblings(self, source: str, column: int) -> list[Cell]:
        """The cells of all parts of a column that read `source`."""
        return [self.cells[b] for a, b in self.reads if a == source and self.cells[b].column == column]

    def _way_back(self, a: Cell, b: Cell) -> int:
        """The row above which an arrow can run from the top of `a` to below `b`."""
        for row in range(b.last + 1, a.row + 1):
            if self._free(a.column, range(row, a.row)) and self._free(b.column, range(b.last + 1, row)):
                return row
        raise AssertionError("what is read back by parts further left stands where an arrow can reach them")

    def _clear(self, a: Cell, b: Cell, row: int) -> bool:
        """Whether no part stands between two columns in a row."""
        between = range(min(a.column, b.column) + 1, max(a.column, b.column))
        return all(self._free(column, range(row, row + 1)) for column in between)

    def _free(self, column: int, rows: range) -> bool:
        return not any((column, row) in self.taken for row in rows)

    def _lanes(self) -> dict[int, list[str]]:
        """At the left of each column: the parts whose arrows have a lane there, from left to right.

        Lanes are nested, so that those of neighbours do not cross: who turns first is innermost.
        """
        lanes: dict[int, dict[str, tuple[int, int]]] = defaultdict(dict)
        for route in self.routes:
            row, upwards = self.cells[route.source].row, self.cells[route.target].row < self.cells[route.source].row
            place = (2, row) if route.shape == "left" else (0, row) if upwards else (1, -row)
            for column in route.columns:
                lanes[column].setdefault(route.source, place)
        return {column: sorted(sources, key=sources.__getitem__) for column, sources in lanes.items()}

    def _rises(self) -> dict[int, list[str]]:
        """Above each row: the parts whose arrows have a lane there, from top to bottom."""
        rises: dict[int, list[str]] = defaultdict(list)
        for route in self.routes:
            if route.row is not None and route.source not in rises[route.row]:
                rises[route.row].append(route.source)
        return dict(rises)

    def _ports(self) -> Ports:
        offsets: dict[tuple[str, str], int] = {}
        reach: dict[str, int] = {}
        for name, cell in self.cells.items():
            entering = [route for route in self.routes if route.target == name and route.shape not in UPRIGHT]
            straight = [route for route in entering if route.shape == "straight"]
            above = [route for route in entering if route.shape != "straight" and self._from_above(route)]
            below = [route for route in entering if route.shape != "straight" and not self._from_above(route)]
            # The rightmost turns in first, so that none crosses another.
            above.sort(key=self._across)
            below.sort(key=self._across)
            if not straight and not self._passed_at_left(cell):
                # Nothing runs along the middle: the one nearest to it may.
                nearest = above or below
                for route in nearest[:1]:
                    offsets[route.source, name] = 0
                del nearest[:1]
            offsets |= {(route.source, name): -step for step, route in enumerate(above, 1)}
            offsets |= {(route.source, name): step for step, route in enumerate(below, 1)}
            leaving = int(
                bool(entering) and any(route.source == name and route.shape == "left" for route in self.routes)
            )
            reach[name] = max(len(above), len(below), leaving)
        return Ports(offsets, reach)

    def _from_above(self, route: Route) -> bool:
        return self.cells[route.source].row < self.cells[route.target].row

    def _across(self, route: Route) -> tuple[int, int]:
        """How far right the last downward or upward piece of an arrow is."""
        if route.shape == "angle":
            return (2 * self.cells[route.source].column + 1, 0)
        return (2 * route.columns[-1], self.lanes[route.columns[-1]].index(route.source))

    def _passed_at_left(self, cell: Cell) -> bool:
        """Whether the next part at the left in the same row sends its arrows out towards this one."""
        left = {
            other.column: name
            for name, other in self.cells.items()
            if other.row <= cell.row <= other.last and other.column < cell.column
        }
        return bool(left) and any(
            route.source == left[max(left)] and route.shape in ("near", "far", "around", "straight")
            for route in self.routes
        )


UPRIGHT = ("down", "up", "back")
"""Shapes that enter a part from above or below."""
