"""Looking twice: the lesion that the first pass found decides what a second pass of the same network is shown.

What is not shown becomes 128, which is exactly zero for the network, as the bars around a photo are; the thesis makes
it black. Coordinates are pixels of the network's square.

Source: papers/se_lcn_symmetry_cascade_2024.txt, section 4.1.1 (segmentation masks and lesion-area-extraction masks).
"""

from dataclasses import dataclass
from typing import Annotated, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
from pydantic import Field

from edgeskin.contract.frozen import Frozen, Name
from edgeskin.contract.image import PAD, resize

UInt8: TypeAlias = npt.NDArray[np.uint8]
Mask: TypeAlias = npt.NDArray[np.bool_]
Strategy: TypeAlias = Literal["mask", "box", "crop"]


class SecondPass(Frozen):
    """The network runs again on the region that its own mask found, and `heads` answer from there.

    strategy: `mask` shows the lesion's pixels alone, `box` its bounding box dilated by `margin` (LAE, the thesis: 1.4),
    `crop` enlarges a square around that box to the whole input.
    """

    strategy: Strategy
    margin: Annotated[float, Field(ge=1, le=4)] = 1.4
    heads: Annotated[tuple[Name, ...], Field(min_length=1)]


@dataclass(frozen=True)
class Box:
    """A part of the square; all in pixels."""

    left: int
    top: int
    width: int
    height: int

    @property
    def pixels(self) -> tuple[slice, slice]:
        """Rows and columns, to index an image with."""
        return slice(self.top, self.top + self.height), slice(self.left, self.left + self.width)

    def moved(self, right: int, down: int, size: int) -> "Box":
        """As far as it stays in a square of side `size`."""
        return Box(
            min(max(self.left + right, 0), size - self.width),
            min(max(self.top + down, 0), size - self.height),
            self.width,
            self.height,
        )


def region(mask: Mask, strategy: Strategy, margin: float) -> Box:
    """What is shown of the square: a box that holds the whole mask, inside the frame; of an empty mask, everything.

    mask: its tight box. box: each side of length n grows at both ends by floor((margin − 1)·n / 2 + 1/2), cut off at
    the frame. crop: the smallest square around that box before it was cut, at most the frame, about the same centre
    (half a pixel further left and up where it must be) and moved into the frame.
    Shapes: mask [S, S].
    """
    size = mask.shape[0]
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    if len(rows) == 0:
        return Box(0, 0, size, size)
    left, top, right, bottom = (int(edge) for edge in (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1))
    if strategy == "mask":
        return Box(left, top, right - left, bottom - top)
    across, down = (int((margin - 1) * length / 2 + 0.5) for length in (right - left, bottom - top))
    if strategy == "crop":
        side = min(max(right - left + 2 * across, bottom - top + 2 * down), size)
        return Box((left + right - side) // 2, (top + bottom - side) // 2, side, side).moved(0, 0, size)
    left, right = max(left - across, 0), min(right + across, size)
    top, bottom = max(top - down, 0), min(bottom + down, size)
    return Box(left, top, right - left, bottom - top)


def present(image: UInt8, mask: Mask, second_pass: SecondPass) -> UInt8:
    """The input of the second pass; an empty mask leaves the image as it is.

    Shapes: image uint8 RGB [3, S, S], mask [S, S] -> [3, S, S].
    """
    return show(image, mask, region(mask, second_pass.strategy, second_pass.margin), second_pass.strategy)


def show(image: UInt8, mask: Mask, box: Box, strategy: Strategy) -> UInt8:
    """The image with nothing but the mask, with nothing but the box, or the box as the whole image.

    Shapes as `present`; an empty mask leaves the image as it is.
    """
    if not mask.any():
        return image
    if strategy == "mask":
        lesion: UInt8 = np.where(mask, image, np.uint8(PAD))
        return lesion
    rows, columns = box.pixels
    if strategy == "box":
        square = np.full_like(image, PAD)
        square[:, rows, columns] = image[:, rows, columns]
        return square
    size = image.shape[-1]
    enlarged = resize(image[:, rows, columns].transpose(1, 2, 0), size, size)
    return np.ascontiguousarray(enlarged.transpose(2, 0, 1))
