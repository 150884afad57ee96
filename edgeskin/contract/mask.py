"""From the network's mask to the lesion in the photo: back to the photo's own size, threshold, clean-up.

Masks are cleaned at the photo's own size. The steps are exact definitions, so that a phone can repeat them:

1. close with the disc of all offsets with dx² + dy² ≤ r², where r = floor(close_fraction × longer side + 1/2) and what
   lies outside the frame is skin;
2. keep the largest 8-connected component, among equals the one that reaches highest, then furthest left;
3. fill what is not 4-connected to the outside.

Source: papers/unet_multitask_thesis.txt, section IX.
"""

from typing import TypeAlias

import cv2
import numpy as np
import numpy.typing as npt

from edgeskin.contract.image import Letterbox
from edgeskin.contract.model import MaskCleanup

Mask: TypeAlias = npt.NDArray[np.bool_]
Float32: TypeAlias = npt.NDArray[np.float32]
UInt8: TypeAlias = npt.NDArray[np.uint8]


def lesion_mask(probability: Float32, box: Letterbox, threshold: float, cleanup: MaskCleanup | None) -> Mask:
    """The lesion in the photo's own pixels; `cleanup` None leaves the thresholded mask as it is.

    Shapes: probability [S, S] -> [photo height, photo width].
    """
    mask: Mask = restore(probability, box) >= np.float32(threshold)
    return mask if cleanup is None else clean(mask, cleanup)


def restore(probability: Float32, box: Letterbox) -> Float32:
    """Cut the photo's content out of the square and give it the photo's own size.

    Enlarging is bilinear with half-pixel centres, the edge pixel repeated; shrinking averages areas.
    Shapes: probability [S, S] -> [photo height, photo width].
    """
    content = probability[box.top : box.top + box.height, box.left : box.left + box.width]
    shrinks = box.photo_width < box.width or box.photo_height < box.height
    restored: Float32 = cv2.resize(
        np.ascontiguousarray(content, np.float32),
        (box.photo_width, box.photo_height),
        interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR,
    )
    return restored


def clean(mask: Mask, cleanup: MaskCleanup) -> Mask:
    """Close gaps, keep the largest component, fill holes; each as `cleanup` says.

    Shapes: [H, W] -> [H, W]. An empty mask stays empty.
    """
    mask = np.ascontiguousarray(mask)
    radius = int(cleanup.close_fraction * max(mask.shape) + 0.5)
    left, top, width, height = cv2.boundingRect(mask.view(np.uint8))
    if width == 0:
        return mask
    # Nothing below leaves the bounding box, so the rest of the frame is not looked at; the margin is skin.
    window = np.s_[top : top + height, left : left + width]
    margin = radius + 1
    lesion: UInt8 = np.pad(mask[window].view(np.uint8), margin)
    if radius:
        lesion = _close(lesion, radius)
    if cleanup.largest_component:
        lesion = _largest_component(lesion)
    if cleanup.fill_holes:
        lesion = _fill_holes(lesion)
    result = np.zeros_like(mask)
    result[window] = lesion[margin:-margin, margin:-margin] != 0
    return result


def _close(lesion: UInt8, radius: int) -> UInt8:
    """Dilate, then erode by the disc; by exact Euclidean distances, whose cost does not grow with the radius."""
    skin_near = cv2.distanceTransform(1 - lesion, cv2.DIST_L2, cv2.DIST_MASK_PRECISE) > radius
    closed: UInt8 = (
        cv2.distanceTransform(1 - skin_near.view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE) > radius
    ).view(np.uint8)
    return closed


def _largest_component(lesion: UInt8) -> UInt8:
    _, labels, stats, _ = cv2.connectedComponentsWithStats(lesion, connectivity=8)
    order = np.lexsort((stats[1:, cv2.CC_STAT_LEFT], stats[1:, cv2.CC_STAT_TOP], -stats[1:, cv2.CC_STAT_AREA]))
    largest: UInt8 = (labels == 1 + order[0]).view(np.uint8)
    return largest


def _fill_holes(lesion: UInt8) -> UInt8:
    """The margin is one piece of skin around everything; what it does not reach is filled."""
    flooded = lesion.copy()
    cv2.floodFill(flooded, None, (0, 0), 2, flags=4)
    filled: UInt8 = (flooded != 2).view(np.uint8)
    return filled
