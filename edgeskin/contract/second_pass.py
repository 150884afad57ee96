"""The two-pass variant at inference: from the first pass's mask to the second pass's input, and both answers as one.

`look` is how every caller runs a network on a photo, whatever its card declares.
"""

from collections.abc import Callable, Mapping
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from edgeskin.contract.findings import probabilities
from edgeskin.contract.image import Letterbox
from edgeskin.contract.mask import clean
from edgeskin.contract.model import MaskCleanup, ModelCard
from edgeskin.contract.region import Mask, SecondPass, present

UInt8: TypeAlias = npt.NDArray[np.uint8]
Float32: TypeAlias = npt.NDArray[np.float32]
Outputs: TypeAlias = Mapping[str, Float32]
Run: TypeAlias = Callable[[UInt8, Float32 | None], Outputs]
"""One pass, what `Session.run` is: image [1, 3, S, S], and metadata [1, M] for a network that takes it -> by head a
mask [1, 1, S, S], any other [1, labels]."""


def look(run: Run, card: ModelCard, box: Letterbox, image: UInt8, metadata: Float32 | None = None) -> Outputs:
    """What a network answers on one photo, run once, or twice where its card declares that and it found a lesion.

    box: where the photo stands in `image`. Shapes: as `Run`.
    Raises: what `run` raises; TargetError where the first pass's mask is missing or holds no probabilities.
    """
    first = run(image, metadata)
    return with_second(first, run, second_view(first, card, box, image), metadata, card)


def second_view(first: Outputs, card: ModelCard, box: Letterbox, image: UInt8) -> UInt8 | None:
    """What the second pass is shown after these first answers; None where the first pass is all.

    Shapes: first as `Run` gives it, image [1, 3, S, S] -> the same.
    Raises: TargetError where the mask is missing or holds no probabilities.
    """
    if card.second_pass is None:
        return None
    head = card.mask
    assert head is not None, "the model card demands a mask head of a second pass"
    assert head.threshold is not None, "the model card demands a threshold of a mask head"
    lesion = lesion_in_square(probabilities(first, head, card.size), box, head.threshold, card.cleanup)
    view = second_input(image[0], lesion, card.second_pass)
    return None if view is None else view[None]


def with_second(first: Outputs, run: Run, second: UInt8 | None, metadata: Float32 | None, card: ModelCard) -> Outputs:
    """The first pass's answers and, where there is a `second` view, those of its heads from there."""
    if second is None or card.second_pass is None:
        return first
    return joined(first, run(second, metadata), card.second_pass)


def lesion_in_square(probability: Float32, box: Letterbox, threshold: float, cleanup: MaskCleanup) -> Mask:
    """The lesion in the network's own pixels, cleaned there; what the network draws on the bars is not lesion.

    At this size no resampling stands between the network's answer and the box, so a phone finds the same box.
    Shapes: probability [S, S] -> [S, S].
    """
    content = np.s_[box.top : box.top + box.height, box.left : box.left + box.width]
    lesion = np.zeros(probability.shape, np.bool_)
    lesion[content] = clean(probability[content] >= np.float32(threshold), cleanup)
    return lesion


def second_input(image: UInt8, mask: Mask, second_pass: SecondPass) -> UInt8 | None:
    """What the second pass is shown; None where no lesion was found, so that the first answer stands.

    Shapes: image [3, S, S], mask [S, S] -> [3, S, S].
    """
    return present(image, mask, second_pass) if mask.any() else None


def joined(first: Outputs, second: Outputs, second_pass: SecondPass) -> dict[str, Float32]:
    """The first pass's outputs, those of `second_pass.heads` replaced by the second's, in the first's order."""
    return {name: second[name] if name in second_pass.heads else values for name, values in first.items()}
