"""Training views of the second pass, so that one network learns from the whole photo and from the lesion's region."""

import math
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from edgeskin.contract.region import SecondPass, region, show

UInt8: TypeAlias = npt.NDArray[np.uint8]

JITTER = 0.1
"""The margin varies by this share and the box moves by at most half of it, since the first pass's mask is not exact."""


def as_second_pass(
    image: UInt8, mask: UInt8, second_pass: SecondPass, random: np.random.Generator
) -> tuple[UInt8, UInt8]:
    """An augmented view as the second pass would be shown it, the box a little off; without a lesion, as it is.

    The mask follows the image: it is enlarged with a crop, and stays where it is otherwise. The strategy `mask` shows
    the true outline, unjittered.
    Shapes: image uint8 [S, S, 3], mask [S, S] of 0 and 1 -> the same.
    """
    lesion = mask.astype(np.bool_)
    if not lesion.any():
        return image, mask
    margin = max(1.0, second_pass.margin * math.exp(random.uniform(-JITTER, JITTER)))
    box = region(lesion, second_pass.strategy, margin)
    right, down = (round(side * random.uniform(-JITTER, JITTER) / 2) for side in (box.width, box.height))
    box = box.moved(right, down, mask.shape[0])
    view = show(image.transpose(2, 0, 1), lesion, box, second_pass.strategy).transpose(1, 2, 0)
    if second_pass.strategy == "crop":
        size = mask.shape[0]
        nearest = (2 * np.arange(size) + 1) * box.width // (2 * size)
        mask = mask[box.pixels][nearest[:, None], nearest]
    return np.ascontiguousarray(view), mask
