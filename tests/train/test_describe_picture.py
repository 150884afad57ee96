"""The picture of a network: nothing stands on anything else, whatever is linked to whatever."""

import itertools
import re
from collections.abc import Iterator
from xml.etree import ElementTree

import pytest

from edgeskin import shipped
from edgeskin.train import recipe
from edgeskin.train.describe import Description, describe
from edgeskin.train.describe.canvas import in_letters, to_canvas
from edgeskin.train.describe.labels import Label, Picture
from edgeskin.train.describe.svg import in_pixels, to_svg
from edgeskin.train.describe.wiring import Box, Wire

SVG = "{http://www.w3.org/2000/svg}"
FIELDS = "metadata.fields=[{kind='number', name='age', low=0, high=100}]"
MAP = "network.activation_map={source='seborrheic_keratosis', heads=['diagnosis']}"
FUSION = "network.fusion={heads=['diagnosis', 'melanoma'], imputation=8}"
SUPER_RESOLUTION = "heads.sharper={kind='super_resolution'}"
MASK = "network.mask_attention={heads=['melanoma', 'diagnosis']}"
REVERSE = ("heads.melanoma.hidden=16", "network.joint_reverse={head='melanoma'}")
FOUR = "network.decoder=[24, 16, 16, 8]"
POOLED = "network.pooled_levels=[4, 5]"
CBAM = "network.cbam.levels=[4, 5]"
NETWORKS: dict[str, tuple[str, ...]] = {
    "no_link": (),
    "no_mask": ("heads.mask=false", "network.pooled_levels=[3, 4, 5]"),
    "mask_alone": ("heads.diagnosis=false", "heads.melanoma=false", "heads.seborrheic_keratosis=false"),
    "map_fusion_super_resolution": (FIELDS, MAP, FUSION, SUPER_RESOLUTION, POOLED, CBAM),
    "reverse_without_mask_attention": (*REVERSE, SUPER_RESOLUTION),
    "everything": (FIELDS, MAP, FUSION, SUPER_RESOLUTION, POOLED, CBAM, MASK, FOUR, *REVERSE),
    "cbam_beside_a_bare_level": (POOLED, "network.cbam.levels=[4]", MASK, *REVERSE),
    "finest_level_pooled": ("network.pooled_levels=[1, 5]", FOUR, MASK, MAP),
}


@pytest.fixture(scope="module", params=NETWORKS)
def described(request: pytest.FixtureRequest) -> Description:
    return describe(recipe.read(shipped.find("recipes", "phantom_tiny"), NETWORKS[request.param]))


@pytest.fixture(params=[in_pixels, in_letters], ids=["pixels", "letters"])
def picture(described: Description, request: pytest.FixtureRequest) -> Picture:
    composed: Picture = request.param(described)
    return composed


def pieces(wire: Wire) -> Iterator[tuple[int, int, int, int]]:
    """The straight pieces of an arrow as left, top, right, bottom."""
    for (x0, y0), (x1, y1) in itertools.pairwise(wire.points):
        assert x0 == x1 or y0 == y1, "pieces run across or upright"
        yield min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1)


def faults(picture: Picture) -> list[str]:
    """Everything that stands on something else, in words."""
    boxes, wires = picture.drawing.boxes, picture.drawing.wires
    found = [f"{a.name} on {b.name}" for a, b in itertools.combinations(boxes, 2) if _meet(_area(a), _area(b))]
    found += [
        f"{wire.source} → {wire.target} through {box.name}"
        for wire in wires
        for box in boxes
        if any(_meet(_area(box), piece) for piece in pieces(wire))
    ]
    for one, other in itertools.combinations(wires, 2):
        if one.source != other.source and any(_share(a, b) for a in pieces(one) for b in pieces(other)):
            found.append(f"{one.source} → {one.target} along {other.source} → {other.target}")
    labels = [(label.text, _written(label)) for label in picture.labels]
    found += [f"{a} on {b}" for (a, area), (b, other) in itertools.combinations(labels, 2) if _meet(area, other)]
    found += [f"{text} on {box.name}" for text, area in labels for box in boxes if _meet(area, _area(box))]
    return found


def _area(box: Box) -> tuple[int, int, int, int]:
    return box.x, box.y, box.x + box.width, box.y + box.height


def _written(label: Label) -> tuple[float, float, float, float]:
    across, down = label.width / 2, label.height / 2
    return label.x - across, label.y - down, label.x + across, label.y + down


def _meet(a: tuple[float, ...], b: tuple[float, ...]) -> bool:
    """Whether two areas share more than an edge; a line has no area of its own, but may lie in one."""
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _share(a: tuple[int, ...], b: tuple[int, ...]) -> bool:
    """Whether two straight pieces lie on each other for some length."""
    upright = a[0] == a[2] == b[0] == b[2] and min(a[3], b[3]) > max(a[1], b[1])
    across = a[1] == a[3] == b[1] == b[3] and min(a[2], b[2]) > max(a[0], b[0])
    return upright or across


def test_the_fault_finder_finds_faults(described: Description) -> None:
    picture = in_pixels(described)
    first = picture.drawing.boxes[0]
    moved = tuple(Box(box.name, first.x, first.y, box.width, box.height) for box in picture.drawing.boxes)
    drawing = type(picture.drawing)(moved, picture.drawing.wires, 1, 1)
    assert any(fault.endswith(f"on {moved[1].name}") for fault in faults(Picture(drawing, picture.labels)))


def test_nothing_stands_on_anything_else(picture: Picture) -> None:
    assert faults(picture) == []


def test_everything_lies_inside_the_picture(picture: Picture) -> None:
    drawing = picture.drawing
    corners = [point for wire in drawing.wires for point in wire.points]
    corners += [corner for box in drawing.boxes for corner in ((box.x, box.y), (box.right, box.bottom))]
    assert all(0 <= x <= drawing.width and 0 <= y <= drawing.height for x, y in corners)


def test_an_arrow_leads_from_every_part_to_each_that_reads_it(described: Description, picture: Picture) -> None:
    reads = {(read, part.name) for part in described.parts for read in part.reads}
    assert {(wire.source, wire.target) for wire in picture.drawing.wires} == reads
    boxes = {box.name: box for box in picture.drawing.boxes}
    for wire in picture.drawing.wires:
        for name, (x, y) in ((wire.source, wire.points[0]), (wire.target, wire.points[-1])):
            box = boxes[name]
            assert (x in (box.x, box.right) and box.y <= y <= box.bottom) or (
                y in (box.y, box.bottom) and box.x <= x <= box.right
            ), f"{wire.source} → {wire.target} does not touch {name}"


def test_every_kind_of_link_is_written_once_on_an_arrow_of_it(described: Description) -> None:
    labels = in_pixels(described).labels
    said = {(link.kind, link.source, link.target): link.label for link in described.links}
    for label in labels:
        assert said[label.wire.link, label.wire.source, label.wire.target] == label.text
        assert label.text == next(link.label for link in described.links if link.kind == label.wire.link)
    kinds = {link.kind for link in described.links}
    assert {label.wire.link for label in labels} == kinds - {"super_resolution"}, "its arrow is short, its part dashed"


def test_the_svg_is_xml_that_names_every_part_and_dashes_what_is_dropped(described: Description) -> None:
    root = ElementTree.fromstring(to_svg(described))
    assert root.tag == f"{SVG}svg"
    boxes = {box.findtext(f"{SVG}text"): box for box in root.iter(f"{SVG}g") if "box" in box.get("class", "")}
    exported = {part.name: part.exported for part in described.parts}
    assert boxes.keys() == exported.keys() | {given.name for given in described.inputs}
    assert all(("dashed" in boxes[name].get("class", "")) == (not kept) for name, kept in exported.items())


def test_the_svg_needs_nothing_else_and_knows_dark_pages(described: Description) -> None:
    svg = to_svg(described)
    assert "@media (prefers-color-scheme:dark)" in svg
    assert re.findall(r'(?:href|src|url)\s*[=(]\s*["\']?(?!#)', svg) == []
    root = ElementTree.fromstring(svg)
    markers = {marker.get("id") for marker in root.iter(f"{SVG}marker")}
    used = {path.get("marker-end") for path in root.iter(f"{SVG}path") if path.get("marker-end")}
    assert used <= {f"url(#{name})" for name in markers}


def test_the_terminal_shows_every_part_and_as_many_arrows_as_readers(described: Description) -> None:
    lines = to_canvas(described)
    text = "\n".join(lines)
    for name in (*(given.name for given in described.inputs), *(part.name for part in described.parts)):
        assert re.search(rf"[\[│ ]{re.escape(name)}[\]│ ]", text), name
    assert sum(text.count(arrow) for arrow in "▶▼◀▲") == sum(len(part.reads) for part in described.parts)


def test_a_network_without_links_is_drawn_like_this() -> None:
    overrides = ("heads.diagnosis=false", "heads.seborrheic_keratosis=false")
    description = describe(recipe.read(shipped.find("recipes", "phantom_tiny"), overrides))
    assert "\n".join(to_canvas(description)) == WITHOUT_LINKS.strip("\n")


WITHOUT_LINKS = """
[image]───▶[encoder 1]
                ▼
           [encoder 2]
                ▼
           [encoder 3]───▶[  decoder 2  ]────────────────▶[  head mask  ]
                ▼                ▲
           [encoder 4]───▶[  decoder 1  ]
                ▼                ▲
           [encoder 5]───▶[decoder entry]
                │
                ╰───────────────────────────▶[pooling]───▶[head melanoma]
"""
