"""Where the words of a link stand: in the line of one of its arrows, where they cover nothing else."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from edgeskin.train.describe.description import LinkKind
from edgeskin.train.describe.wiring import Drawing, Point, Wire

Stretch: TypeAlias = tuple[Point, Point]


@dataclass(frozen=True)
class Label:
    """Words over an arrow; x, y: the middle of them."""

    wire: Wire
    text: str
    x: int
    y: int


@dataclass(frozen=True)
class _Area:
    left: float
    top: float
    right: float
    bottom: float

    def meets(self, other: "_Area") -> bool:
        return (
            self.left < other.right and other.left < self.right and self.top < other.bottom and other.top < self.bottom
        )


def place(
    drawing: Drawing, wishes: Sequence[tuple[Wire, str]], size: tuple[float, float], margin: float
) -> list[Label]:
    """A label a kind of link: the first wish of it for which there is room.

    size: width of a letter, height of a line. margin: what stays free around an arrow's ends and corners.
    """
    taken = [_Area(box.x, box.y, box.x + box.width, box.y + box.height) for box in drawing.boxes]
    labels: dict[LinkKind | None, Label] = {}
    for wire, text in wishes:
        if wire.link in labels:
            continue
        half_width, half_height = (len(text) + 1) * size[0] / 2, size[1] / 2
        for stretch in sorted(_stretches(wire), key=_rank):
            lines = [_line(*other) for other in _others(drawing, wire, stretch)]
            for x, y in _spots(stretch, half_width, half_height, margin):
                area = _Area(x - half_width, y - half_height, x + half_width, y + half_height)
                if wire.link not in labels and not any(area.meets(other) for other in (*taken, *lines)):
                    labels[wire.link] = Label(wire, text, x, y)
                    taken.append(area)
    return list(labels.values())


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
