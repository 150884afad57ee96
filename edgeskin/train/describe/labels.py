"""The whole picture: parts, arrows, and the words of each link in the line of one of its arrows."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

from edgeskin.train.describe.description import Description, LinkKind
from edgeskin.train.describe.wiring import Drawing, Metrics, Point, Wire, draw

Stretch: TypeAlias = tuple[Point, Point]


@dataclass(frozen=True)
class Label:
    """Words over an arrow; x, y: the middle of them."""

    wire: Wire
    text: str
    x: int
    y: int
    width: float
    height: float


@dataclass(frozen=True)
class Picture:
    """A drawing and what is written into it."""

    drawing: Drawing
    labels: tuple[Label, ...]


@dataclass(frozen=True)
class _Area:
    left: float
    top: float
    right: float
    bottom: float

    def meets(self, other: "_Area") -> bool:
        across = self.left < other.right and other.left < self.right
        return across and self.top < other.bottom and other.top < self.bottom


def compose(description: Description, metrics: Metrics, letter: tuple[float, float], margin: float) -> Picture:
    """Draw a network, and write on each kind of link what its first arrow with room for it says.

    letter: width and height of one. margin: what stays free between words and an arrow's ends and corners.
    """
    drawing = draw(description, metrics)
    wires = {(wire.source, wire.target): wire for wire in drawing.wires}
    taken = [_Area(box.x, box.y, box.right, box.bottom) for box in drawing.boxes]
    labels: dict[LinkKind, Label] = {}
    for link in description.links:
        if link.kind in labels:
            continue
        wire = wires[link.source, link.target]
        width, height = (len(link.label) + 1) * letter[0], letter[1]
        for x, y in _free_spots(drawing, wire, taken, (width / 2, height / 2, margin)):
            labels[link.kind] = Label(wire, link.label, x, y, width, height)
            taken.append(_Area(x - width / 2, y - height / 2, x + width / 2, y + height / 2))
            break
    return Picture(drawing, tuple(labels.values()))


def _free_spots(drawing: Drawing, wire: Wire, taken: list[_Area], room: tuple[float, float, float]) -> Iterator[Point]:
    """Places on an arrow where words of this half width, half height and margin cover nothing else."""
    half_width, half_height, margin = room
    for stretch in sorted(_stretches(wire), key=_rank):
        lines = [_line(*other) for other in _others(drawing, wire, stretch)]
        for x, y in _spots(stretch, half_width, half_height, margin):
            area = _Area(x - half_width, y - half_height, x + half_width, y + half_height)
            if not any(area.meets(other) for other in (*taken, *lines)):
                yield x, y


def _others(drawing: Drawing, wire: Wire, stretch: Stretch) -> Iterator[Stretch]:
    """What else is drawn; arrows out of the same part share their lines, so of them only what turns off the stretch."""
    for other in drawing.wires:
        for line in _stretches(other):
            if other.source != wire.source or _is_level(line) != _is_level(stretch):
                yield line


def _is_level(stretch: Stretch) -> bool:
    return stretch[0][1] == stretch[1][1]


def _stretches(wire: Wire) -> Iterator[Stretch]:
    yield from zip(wire.points, wire.points[1:], strict=False)


def _line(start: Point, end: Point) -> _Area:
    return _Area(
        min(start[0], end[0]) - 0.25,
        min(start[1], end[1]) - 0.25,
        max(start[0], end[0]) + 0.25,
        max(start[1], end[1]) + 0.25,
    )


def _spots(stretch: Stretch, half_width: float, half_height: float, margin: float) -> Iterator[Point]:
    """Places along a straight piece of an arrow where a label has room between its ends."""
    (x0, y0), (x1, y1) = stretch
    along, need = (x1 - x0, half_width) if _is_level(stretch) else (y1 - y0, half_height)
    for share in (0.5, 0.35, 0.65, 0.25, 0.75):
        if min(share, 1 - share) * abs(along) >= need + margin:
            yield (round(x0 + share * (x1 - x0)), round(y0 + share * (y1 - y0)))


def _rank(stretch: Stretch) -> tuple[bool, int]:
    """Pieces that run across before upright ones, the longest first."""
    (x0, y0), (x1, y1) = stretch
    return (not _is_level(stretch), -abs(x1 - x0) - abs(y1 - y0))
