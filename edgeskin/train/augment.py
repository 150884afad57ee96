"""Random changes of a training image, drawn from a generator that belongs to that image in that epoch."""

import math
from typing import TypeAlias

import cv2
import numpy as np
import numpy.typing as npt

from edgeskin.contract.image import PAD
from edgeskin.train.recipe import Augmentation

UInt8: TypeAlias = npt.NDArray[np.uint8]

# Luma and two chroma axes of YIQ: saturation scales chroma, hue turns it.
_YIQ = np.array([[0.299, 0.587, 0.114], [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])
_RGB = np.linalg.inv(_YIQ)


def augment(
    image: UInt8, mask: UInt8, settings: Augmentation, size: int, random: np.random.Generator
) -> tuple[UInt8, UInt8]:
    """Draw one view of an image and of its mask.

    Shapes: image [h, w, 3], mask [h, w] (0 or 1) -> image [size, size, 3], mask [size, size]. Geometry is one affine
    map, so image and mask move together. Outside the photo both are mirrored; or the image is exactly mid-grey with a
    sharp edge, whatever its colours become, as the letterbox's bars are, and the mask 0.
    """
    matrix = _geometry(image.shape[1], image.shape[0], settings, size, random)
    bars = random.random() < settings.bars
    view = cv2.warpAffine(image, matrix, (size, size), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
    lesion = cv2.warpAffine(
        mask,
        matrix,
        (size, size),
        flags=cv2.INTER_NEAREST,
        borderMode=cv2.BORDER_CONSTANT if bars else cv2.BORDER_REFLECT_101,
    )
    if random.random() < settings.blur:
        view = cv2.GaussianBlur(view, (0, 0), random.uniform(0.4, 1.2))
    view = np.asarray(cv2.transform(view, _colour(settings, random)), np.uint8)
    if bars:
        view[cv2.warpAffine(np.ones_like(mask), matrix, (size, size), flags=cv2.INTER_NEAREST) == 0] = PAD
    return view, np.asarray(lesion, np.uint8)


def _geometry(
    width: int, height: int, settings: Augmentation, size: int, random: np.random.Generator
) -> npt.NDArray[np.float64]:
    """The 2×3 map from photo to view: flip, quarter turn, aspect, zoom, rotation, shift about the centre."""
    zoom = size / max(width, height) * math.exp(random.uniform(*np.log(settings.scale)))
    stretch = math.sqrt(math.exp(random.uniform(*np.log(settings.aspect))))
    angle = math.radians(random.uniform(-settings.rotate, settings.rotate))
    turn, mirror = (int(random.integers(4)), float(random.choice((-1.0, 1.0)))) if settings.flip else (0, 1.0)
    shift = random.uniform(-settings.shift, settings.shift, 2) * size
    cos, sin = math.cos(angle), math.sin(angle)
    rotation = np.array([[cos, -sin], [sin, cos]])
    quarter = np.linalg.matrix_power(np.array([[0.0, -1.0], [1.0, 0.0]]), turn)
    linear = rotation @ np.diag([zoom * stretch, zoom / stretch]) @ quarter @ np.diag([mirror, 1.0])
    centre = np.array([(width - 1) / 2, (height - 1) / 2])
    offset = np.full(2, (size - 1) / 2) + shift - linear @ centre
    return np.hstack([linear, offset[:, None]])


def _colour(settings: Augmentation, random: np.random.Generator) -> npt.NDArray[np.float64]:
    """The 3×4 map of RGB: hue, saturation, contrast about mid-grey, brightness, white balance."""
    angle = math.radians(random.uniform(-settings.hue, settings.hue))
    saturation = 1 + random.uniform(-settings.saturation, settings.saturation)
    cos, sin = math.cos(angle) * saturation, math.sin(angle) * saturation
    chroma = np.array([[1.0, 0, 0], [0, cos, -sin], [0, sin, cos]])
    contrast = 1 + random.uniform(-settings.contrast, settings.contrast)
    balance = 1 + random.uniform(-settings.white_balance, settings.white_balance, 3)
    brightness = 1 + random.uniform(-settings.brightness, settings.brightness)
    linear = np.diag(balance * brightness) @ (contrast * _RGB @ chroma @ _YIQ)
    offset = balance * brightness * (1 - contrast) * PAD
    return np.hstack([linear, offset[:, None]])
