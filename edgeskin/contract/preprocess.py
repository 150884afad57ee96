"""Declared preprocessing: steps that change a photo's bytes between the letterbox and the network.

Steps run, in their order, on the content of the letterboxed square: after the resize, never on the grey bars. There an
image has at most S² pixels whatever the camera, so that a step costs a phone the same for 1 and for 108 megapixels;
every photo has one scale, so that tile and kernel cover the same share of it; and the bars can neither pull a mean nor
fill a histogram. Shades of gray and CLAHE are specified to the byte in `contract/colour.py`, as the letterbox is. Hair
removal and the z-score are for ablations: `demand_portable` refuses them at export and says why.
"""

from collections.abc import Sequence
from typing import Annotated, Literal, TypeAlias

import cv2
import numpy as np
import numpy.typing as npt
from pydantic import AfterValidator, Field

from edgeskin.contract.colour import clahe, shades_of_gray
from edgeskin.contract.frozen import Frozen
from edgeskin.contract.image import Letterbox, letterbox
from edgeskin.errors import RunError

UInt8: TypeAlias = npt.NDArray[np.uint8]


class ShadesOfGray(Frozen):
    """Colour constancy: the Minkowski norm of each channel is taken for the light's colour, and made grey.

    norm: p; 1 is the grey-world assumption, large values approach white-patch. Source:
    papers/metadata_superresolution_pad_ufes_2024.txt, section 2, which prints no p; 6 is what its reference [10]
    (Finlayson and Trezzi, 2004) found best.
    """

    step: Literal["shades_of_gray"] = "shades_of_gray"
    norm: Annotated[int, Field(ge=1, le=16)] = 6


class Clahe(Frozen):
    """Contrast-limited adaptive histogram equalization of the luma.

    clip_limit: the highest bin of a tile's histogram over the mean bin; 1 hardly changes anything, 256 never clips.
    tiles: along the longer side. Source: papers/metadata_superresolution_pad_ufes_2024.txt, section 2, which prints
    neither; 2 and 8 are usual.
    """

    step: Literal["clahe"] = "clahe"
    clip_limit: Annotated[float, Field(ge=1, le=256)] = 2.0
    tiles: Annotated[int, Field(ge=1, le=16)] = 8


class HairRemoval(Frozen):
    """Thin dark structures, found by a black-hat, are painted over from their surroundings. Training only.

    Small dark globules of pigment go with the hair: no network that screens should depend on it.

    kernel_fraction: width of the black-hat's cross over the longer side; 0.028 gives the 17 × 17 cross on HAM10000's
    600 pixels. threshold: black-hat values above it are hair. radius_px: of the inpainting. Source:
    papers/se_lcn_symmetry_cascade_2024.txt, section 5.1, which prints no sizes and takes the method from its reference
    [100] (MFSNet), whose published program has 17 × 17, 10 and 1, with Telea's fast-marching inpainting.
    """

    step: Literal["hair_removal"] = "hair_removal"
    kernel_fraction: Annotated[float, Field(gt=0, le=0.2)] = 0.028
    threshold: Annotated[int, Field(ge=0, le=254)] = 10
    radius_px: Annotated[float, Field(gt=0, le=16)] = 1.0


class ZScore(Frozen):
    """Each image has mean 0 and standard deviation 1 when the network sees it. Training only.

    It changes no byte: the trainer applies it to the float image (`train/standardise.py`). Source:
    papers/multitask_dcnn_isic2017.txt, section 3, Datasets and Tasks.
    """

    step: Literal["z_score"] = "z_score"


PortableStep: TypeAlias = ShadesOfGray | Clahe
"""What every device repeats to the byte."""
Step: TypeAlias = PortableStep | HairRemoval | ZScore


def _in_order(steps: tuple[Step, ...]) -> tuple[Step, ...]:
    names = [step.step for step in steps]
    if len(set(names)) < len(names):
        raise ValueError("a step stands twice; each may run once")
    if "z_score" in names[:-1]:
        raise ValueError("z_score makes floats of the bytes that other steps need; put it last")
    return steps


PortablePreprocessing: TypeAlias = tuple[Annotated[PortableStep, Field(discriminator="step")], ...]
"""What a model card may hold."""
Preprocessing: TypeAlias = Annotated[
    tuple[Annotated[Step, Field(discriminator="step")], ...], AfterValidator(_in_order)
]
"""What a recipe may hold: steps in the order in which they run."""


def network_input(photo: UInt8, size: int, steps: Sequence[Step]) -> tuple[UInt8, Letterbox]:
    """The letterboxed photo with its content preprocessed, and where it stands; the bars stay mid-grey.

    Shapes: photo uint8 RGB [H, W, 3] -> uint8 RGB [3, size, size].
    """
    square, box = letterbox(photo, size)
    if steps:
        content = square[:, box.top : box.top + box.height, box.left : box.left + box.width]
        content[:] = apply(steps, np.ascontiguousarray(content.transpose(1, 2, 0))).transpose(2, 0, 1)
    return square, box


def apply(steps: Sequence[Step], pixels: UInt8) -> UInt8:
    """Run the steps that change bytes, one behind the other; z_score is not one of them.

    Shapes: uint8 RGB [H, W, 3] -> the same. `pixels` itself is not changed.
    """
    for step in steps:
        match step:
            case ShadesOfGray():
                pixels = shades_of_gray(pixels, step.norm)
            case Clahe():
                pixels = clahe(pixels, step.clip_limit, step.tiles)
            case HairRemoval():
                pixels = _remove_hair(pixels, step)
            case ZScore():
                pass
    return pixels


def demand_portable(steps: Sequence[Step], source: str) -> PortablePreprocessing:
    """The same steps for a model card. source: the run or recipe, for the message.

    Raises: RunError that names each step which a device cannot repeat, why, and what to do.
    """
    portable: list[PortableStep] = []
    problems = []
    for step in steps:
        match step:
            case ShadesOfGray() | Clahe():
                portable.append(step)
            case HairRemoval():
                problems.append(
                    f"{source}: preprocessing hair_removal cannot be exported: it paints over hair by OpenCV's "
                    "fast-marching method, which no device repeats to the byte, so the network would see other images "
                    "there than in training. Train without it"
                )
            case ZScore():
                problems.append(
                    f"{source}: preprocessing z_score cannot be exported: every image would have a scale of its own, "
                    "and the contract's integers mean (pixel − 128) / 128. Train without it"
                )
    if problems:
        raise RunError("\n".join(problems))
    return tuple(portable)


def _remove_hair(pixels: UInt8, step: HairRemoval) -> UInt8:
    """Paint over hair. Shapes: uint8 RGB [H, W, 3] -> the same."""
    arm = int(step.kernel_fraction * max(pixels.shape[:2]) / 2 + 0.5)
    cross = cv2.getStructuringElement(cv2.MORPH_CROSS, (2 * arm + 1, 2 * arm + 1))
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    hair = (cv2.morphologyEx(grey, cv2.MORPH_BLACKHAT, cross) > step.threshold).astype(np.uint8)
    return np.asarray(cv2.inpaint(pixels, hair, step.radius_px, cv2.INPAINT_TELEA), np.uint8)
