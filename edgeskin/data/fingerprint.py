"""What is kept of an image to know other copies of it where the image is not at hand: 28 × 28 bits, where what remains
of it without its illumination is above its mean. That shows outlines at most, and no colour.

A photo is compared with such prints as with photos (`duplicates`): by correlation in the eight orientations, with and
without a 4:3 photo's squash undone, and the three likeliest prints aligned by an affine map. What counts is how well it
agrees with the bits, in proportion to how well it agrees with its own: 1 for a copy.

Measured on ISIC 2017: the 22 listed pairs reach 0.96, whichever of the two is kept. Of all 10015 photos of HAM10000 one
is called a copy of one of its 2000 training images.
"""

import io
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TypeAlias

import cv2
import numpy as np
import numpy.typing as npt

from edgeskin import files
from edgeskin.data.cases import Case, read_image
from edgeskin.data.duplicates import (
    SIDE,
    Float32,
    Progress,
    alignments,
    correlation,
    illumination_free,
    orient,
    thumbnail,
    unsquash,
)
from edgeskin.errors import GraphError

Prints: TypeAlias = npt.NDArray[np.uint8]
"""[images, 98]: the bits of each image row by row, packed."""

THRESHOLD = 0.9
"""Likeness from which a photo is called a copy: the listed pairs begin at 0.96, other lesions, but for a few, end at
0.84."""
_BITS = 28
_BLUR = 1.5
"""Pixels of 28: what is smoother is called illumination. At 2 other lesions under the same lens reach 0.94."""
_NEIGHBOURS = 3
_WORTH_ALIGNING = 0.3
"""Likeness as two stand; below it stands one in twenty of what a crop to nine tenths or a turn by 5° leaves."""
_BLOCK = 512


def write(path: Path, cases: Iterable[Case]) -> None:
    """Write the prints of images, in the order of their ids. Raises: DataError where an image is unreadable."""
    ordered = sorted(cases, key=lambda case: case.image_id)
    with ThreadPoolExecutor() as pool:
        prints = np.stack(list(pool.map(_of_case, ordered)))
    stream = io.BytesIO()
    np.save(stream, prints, allow_pickle=False)
    files.write_bytes(path, stream.getvalue())


def read(path: Path, images: int) -> Prints:
    """The prints of so many images. Raises: GraphError where the file holds something else."""
    try:
        prints = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise GraphError(f"{path}: cannot be read: {error}. {_FRESH}") from error
    expected = (images, _BITS * _BITS // 8)
    if not isinstance(prints, np.ndarray) or prints.dtype != np.uint8 or prints.shape != expected:
        raise GraphError(f"{path}: is not uint8 of the shape {expected}, a row for each training image. {_FRESH}")
    return prints


def of(small: Float32) -> Prints:
    """The print of an image's thumbnail. Shapes: [64, 64] -> [98]."""
    return np.packbits(_even(small) > 0)


def copies(thumbnails: Sequence[Float32], prints: Prints, progress: Progress | None = None) -> tuple[int, ...]:
    """The places of those images of which a print is kept, by their thumbnails [64, 64]."""
    bits = np.where(np.unpackbits(prints, axis=1), 1, -1).astype(np.float32)
    found: list[int] = []
    with ThreadPoolExecutor() as pool:
        for start in range(0, len(thumbnails), _BLOCK):
            forms = np.stack(list(pool.map(_forms, thumbnails[start : start + _BLOCK])))
            alike = pool.map(partial(_best, bits), forms, *_likeliest(forms, bits))
            found += [start + place for place, likeness in enumerate(alike) if likeness >= THRESHOLD]
            if progress:
                progress("comparing with prints", start + len(forms), len(thumbnails))
    return tuple(found)


def _of_case(case: Case) -> Prints:
    return of(thumbnail(read_image(case)))


def _likeliest(forms: Float32, bits: Float32) -> tuple[Sequence[Sequence[int]], ...]:
    """For each image the prints that are worth an alignment, and its form against each, by their places.

    Shapes: [images, 16, 28, 28], [prints, 784].
    """
    flat = forms.reshape(*forms.shape[:2], -1)
    flat = flat - flat.mean(axis=2, keepdims=True)
    flat /= np.maximum(np.abs(flat).sum(axis=2, keepdims=True), 1e-6)
    scores = np.full((len(flat), len(bits)), -1, np.float32)
    form_of = np.zeros(scores.shape, np.int8)
    for number in range(flat.shape[1]):
        score = flat[:, number] @ bits.T
        form_of[score > scores] = number
        np.maximum(scores, score, out=scores)
    order = np.argsort(-scores, axis=1)[:, :_NEIGHBOURS]
    chosen = [
        [place for place in row if scores[one, place] >= _WORTH_ALIGNING] for one, row in enumerate(order.tolist())
    ]
    return chosen, [form_of[one, row].tolist() for one, row in enumerate(chosen)]


def _best(bits: Float32, own: Float32, places: Sequence[int], forms: Sequence[int]) -> float:
    return max((_likeness(bits[place], own[form]) for place, form in zip(places, forms, strict=True)), default=-1.0)


def _likeness(bits: Float32, photo: Float32) -> float:
    """How well a photo agrees with bits, in proportion to how well it agrees with its own. Shapes: [784], [28, 28]."""
    fixed = _enlarged(bits.reshape(_BITS, _BITS))
    return max(
        correlation(fixed, moved, common) / max(correlation(np.sign(moved), moved, common), 0.5)
        for moved, common in alignments(fixed, _enlarged(photo))
    )


def _forms(small: Float32) -> Float32:
    """An image in all eight orientations, as it stands and with a squash undone. Shapes: [64, 64] -> [16, 28, 28]."""
    even = (_even(small), _even(unsquash(small)))
    return np.stack([orient(each, orientation) for each in even for orientation in range(8)])


def _even(small: Float32) -> Float32:
    return illumination_free(cv2.resize(small, (_BITS, _BITS), interpolation=cv2.INTER_AREA), blur=_BLUR)


def _enlarged(image: Float32) -> Float32:
    return np.asarray(cv2.resize(image, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC), np.float32)


_FRESH = "Take a fresh copy of the Graph folder, or export its run again"
