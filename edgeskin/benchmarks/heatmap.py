"""Activation maps for people: the map on the photo, the true lesion's outline, many on one sheet."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

UInt8: TypeAlias = npt.NDArray[np.uint8]

TILE = 192
"""Side of one picture on a sheet, in pixels."""
OPACITY = 0.55
"""Of the map where it is 1; where it is 0 the photo shows alone."""
_OUTLINE = (0, 255, 255)
_CAPTION, _GAP, _TITLE = 42, 8, 30


@dataclass(frozen=True, eq=False)
class Tile:
    """One image of a sheet, at the network's size.

    photo: uint8 RGB [S, S, 3]. maps: from 0 to 1, [S, S] each. mask: [S, S]. caption: at most two lines.
    """

    photo: UInt8
    maps: tuple[npt.NDArray[np.float32], ...]
    mask: npt.NDArray[np.bool_]
    caption: str


def overlay(photo: UInt8, activation: npt.NDArray[np.float32], mask: npt.NDArray[np.bool_]) -> UInt8:
    """The map over the photo, the more opaque the stronger, and the lesion's outline.

    Shapes: photo uint8 RGB [S, S, 3], activation [S, S] from 0 to 1, mask [S, S] -> uint8 RGB [TILE, TILE, 3].
    """
    size = (TILE, TILE)
    picture = cv2.resize(photo, size, interpolation=cv2.INTER_LINEAR).astype(np.float32)
    strength = cv2.resize(activation, size, interpolation=cv2.INTER_LINEAR)
    bytes_ = np.rint(np.clip(strength, 0, 1) * 255).astype(np.uint8)
    colours = cv2.cvtColor(cv2.applyColorMap(bytes_, cv2.COLORMAP_INFERNO), cv2.COLOR_BGR2RGB).astype(np.float32)
    opacity = (OPACITY * np.clip(strength, 0, 1))[..., np.newaxis]
    mixed = np.rint(picture * (1 - opacity) + colours * opacity).astype(np.uint8)
    return _outlined(mixed, mask)


def _outlined(picture: UInt8, mask: npt.NDArray[np.bool_]) -> UInt8:
    small = cv2.resize(mask.astype(np.uint8), (TILE, TILE), interpolation=cv2.INTER_NEAREST)
    outlines, _ = cv2.findContours(small, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    drawn: UInt8 = np.ascontiguousarray(picture)
    cv2.drawContours(drawn, outlines, -1, _OUTLINE, 1)
    return drawn


def sheet(title: str, columns: Sequence[str], blocks: Mapping[str, Sequence[Tile]]) -> bytes:
    """A JPEG with one row an image: the photo with its outline, then one overlay a map; blocks stand side by side.

    columns: what the maps are, in their order. blocks: by heading; an empty one is left out.
    """
    shown = {heading: tiles for heading, tiles in blocks.items() if tiles}
    block = (1 + len(columns)) * (TILE + _GAP) + 2 * _GAP
    rows = max((len(tiles) for tiles in shown.values()), default=0)
    size = (max(1, len(shown)) * block, 3 * _TITLE + max(1, rows) * (TILE + _CAPTION))
    picture = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(picture)
    draw.text((_GAP, 8), title, "black", ImageFont.load_default(16))
    for number, (heading, tiles) in enumerate(shown.items()):
        left = number * block + _GAP
        draw.text((left, _TITLE + 8), heading, "black", ImageFont.load_default(14))
        for column, words in enumerate(("photo and lesion", *columns)):
            draw.text((left + column * (TILE + _GAP), 2 * _TITLE + 8), words, "black", ImageFont.load_default(13))
        for row, tile in enumerate(tiles):
            top = 3 * _TITLE + row * (TILE + _CAPTION)
            blank = np.zeros(tile.mask.shape, np.float32)
            for column, activation in enumerate((blank, *tile.maps)):
                overlaid = Image.fromarray(overlay(tile.photo, activation, tile.mask))
                picture.paste(overlaid, (left + column * (TILE + _GAP), top))
            draw.multiline_text((left, top + TILE + 2), tile.caption, "black", ImageFont.load_default(12), spacing=2)
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=88)
    return stream.getvalue()
