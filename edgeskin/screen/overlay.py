"""What is drawn for people: the lesion's outline on the photo, and the mask as a picture."""

import io
from typing import TypeAlias

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from edgeskin.contract.image import resize
from edgeskin.contract.mask import Mask

UInt8: TypeAlias = npt.NDArray[np.uint8]

LONGEST_SIDE = 1024
"""An overlay is for looking at; a larger photo is shown at this size, a smaller one at its own."""

_LINE = (0, 255, 255)
"""Cyan: of the strong colours the one that neither skin nor lesion has; a dark rim keeps it visible on highlights."""
_RIM = (0, 0, 0)
_SUBPIXEL_BITS = 4


def backdrop(photo: UInt8, longest_side: int = LONGEST_SIDE) -> UInt8:
    """The photo at the size of its overlay. Shapes: uint8 RGB [H, W, 3] -> [h, w, 3]."""
    height, width = photo.shape[:2]
    scale = longest_side / max(height, width)
    if scale >= 1:
        return photo
    return resize(photo, max(1, round(width * scale)), max(1, round(height * scale)))


def draw(background: UInt8, mask: Mask, colour: tuple[int, int, int] = _LINE, rim: int = 3) -> UInt8:
    """The outline of the mask on the photo. colour: RGB. rim: its dark rim, in widths of the line; 1 is none.

    Shapes: background uint8 RGB [h, w, 3], mask [H, W] of the same photo at its own size -> uint8 RGB [h, w, 3].
    """
    picture: UInt8 = background.copy()
    height, width = picture.shape[:2]
    outlines, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    scale = np.array([width / mask.shape[1], height / mask.shape[0]])
    scaled = [np.rint(((outline + 0.5) * scale - 0.5) * (1 << _SUBPIXEL_BITS)).astype(np.int32) for outline in outlines]
    line = max(1, round(max(height, width) / 300))
    for ink, thickness in ((_RIM, rim * line), (colour, line)):
        cv2.polylines(picture, scaled, True, ink, thickness, cv2.LINE_AA, _SUBPIXEL_BITS)
    return picture


def jpeg(picture: UInt8) -> bytes:
    """A picture for people. Shapes: uint8 RGB [H, W, 3]."""
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, "JPEG", quality=90)
    return stream.getvalue()


def mask_png(mask: Mask) -> bytes:
    """A mask as an 8-bit PNG, 0 or 255. Shapes: [H, W]."""
    stream = io.BytesIO()
    Image.fromarray(mask.astype(np.uint8) * np.uint8(255)).save(stream, "PNG", compress_level=6)
    return stream.getvalue()
