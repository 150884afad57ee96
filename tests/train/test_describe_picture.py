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
from edgeskin.train.describe.labels import Picture
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
    "cbam_that_never_runs": ("network.cbam.levels=[3, 5]",),
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
    labels = [(label.text, (label.x - label.width / 2, label.y - label.height / 2,
                            label.x + label.width / 2, label.y + label.height / 2)) for label in picture.labels]  # fmt: skip
    found += [f"{a} on {b}" for (a, area), (b, other) in itertools.combinations(labels, 2) if _meet(area, other)]
    found += [f"{text} on {box.name}" for text, area in labels for box in boxes if _meet(area, _area(box))]
    return found


def _area(box: Box) -> tuple[int, int, int, int]:
    return box.x, box.y, box.x + box.width, box.y + box.height


def _meet(a: tuple[float, ...], b: tuple[float, ...]) -> bool:
    """Whether two areas share more than an edge; a line has no area of its own, but may lie in one."""
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _share(a: tuple[int, ...], b: tuple[int, ...]) -> bool:
    """Whether two straight pieces lie on each other for some length."""
    upright = a[0] == a[2] == b[0] == b[2] and min(a[3], b[3]) > max(a[1], b[1])
    across = a[1] == a[3] == b[1] == b[3] and min(a[2], b[2]) > max(a[0], b[0])
    return upright or across
