"""The same photograph twice: by its bytes, by its pixels, or recoloured, turned, mirrored, squashed, slightly cropped.

Near-duplicates are found in two steps, both blind to illumination: the logarithm turns a colour cast or a change of
brightness into an offset, subtracting a blurred copy removes it, dividing by the local contrast removes gamma and gain.

1. Candidates: for each image its three most similar images of other splits, by correlation of 24 × 24 thumbnails over
   the eight orientations, each with and without a 4:3 photo's squash undone.
2. Judgement: each candidate is aligned by an affine map (ECC) at 64 × 64, since copies differ by a few pixels of
   cropping, and the correlation over the common area counts.

Measured on ISIC 2017 (2894 images): the 21 published pairs across splits all reach 0.91; 14 further pairs reach 0.85,
each the same photograph to the eye; the most alike of different lesions reach 0.76. Twelve candidates an image find no
pair more than three.
"""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Literal, TypeAlias

import cv2
import numpy as np
import numpy.typing as npt

from edgeskin import files

Float32: TypeAlias = npt.NDArray[np.float32]
Mask: TypeAlias = npt.NDArray[np.bool_]
Likeness: TypeAlias = Literal["file", "pixels", "photograph"]
Progress: TypeAlias = Callable[[str, int, int], None]
"""Called with the name of a stage, what is done of it and its total."""

THRESHOLD = 0.8
"""Correlation from which a pair is called the same photograph; in the middle of the gap named above."""
SIDE = 64
_COARSE_SIDE = 24
_NEIGHBOURS = 3
_BLOCK = 512
_MIN_OVERLAP = 0.5
"""An alignment that leaves less of the frame in common explains nothing."""


@dataclass(frozen=True)
class Print:
    """What identifies one image. file_sha256, pixel_sha256: of the file and of its decoded RGB with its size.

    thumbnail: mean log intensity of the channels, [64, 64].
    """

    image_id: str
    split: str
    file_sha256: str
    pixel_sha256: str
    thumbnail: Float32

    @staticmethod
    def of(image_id: str, split: str, file: Path, pixels: npt.NDArray[np.uint8]) -> "Print":
        """Of an image's file and what it decodes to. Shapes: pixels [H, W, 3]."""
        size = f"{pixels.shape[1]}×{pixels.shape[0]}"
        return Print(
            image_id=image_id,
            split=split,
            file_sha256=files.sha256(file),
            pixel_sha256=hashlib.sha256(size.encode() + pixels.tobytes()).hexdigest(),
            thumbnail=thumbnail(pixels),
        )


@dataclass(frozen=True)
class DuplicatePair:
    """Two images that are one photograph; split '' is an extra. correlation: 1 for equal files and pixels."""

    first: str
    first_split: str
    second: str
    second_split: str
    likeness: Likeness
    correlation: float

    @property
    def crosses_splits(self) -> bool:
        """Whether the two stand in different splits."""
        return self.first_split != self.second_split

    def __str__(self) -> str:
        """The pair in words."""
        how = {
            "file": "are the same file",
            "pixels": "have the same pixels",
            "photograph": f"look like the same photograph (correlation {self.correlation:.2f})",
        }[self.likeness]
        return f"{self.first} ({self.first_split or 'extra'}) and {self.second} ({self.second_split or 'extra'}) {how}"


def thumbnail(pixels: npt.NDArray[np.uint8]) -> Float32:
    """The mean log intensity of a small copy. Shapes: [H, W, 3] -> [64, 64]."""
    small = cv2.resize(pixels, (SIDE, SIDE), interpolation=cv2.INTER_AREA).astype(np.float32)
    # + 8 of 255: below that the logarithm would show JPEG noise of black corners as structure.
    return np.asarray(np.log(small + 8).mean(axis=2), np.float32)


def exact_duplicates(prints: Sequence[Print]) -> tuple[DuplicatePair, ...]:
    """All pairs, within and across splits, whose files or pixels are equal."""
    by_pixels: dict[str, list[Print]] = defaultdict(list)
    for one in prints:
        by_pixels[one.pixel_sha256].append(one)
    return tuple(
        _pair(a, b, "file" if a.file_sha256 == b.file_sha256 else "pixels", 1.0)
        for alike in by_pixels.values()
        for a, b in combinations(alike, 2)
    )


def near_duplicates(
    prints: Sequence[Print], progress: Progress | None = None, *, split: str | None = None
) -> tuple[DuplicatePair, ...]:
    """The pairs across splits that look like one photograph but differ in their pixels, most alike first.

    split: the one whose images are looked for among the others; None for all of them.
    """
    best: dict[tuple[str, str], DuplicatePair] = {}
    candidates = _candidates(prints, split, progress)
    for done, candidate in enumerate(candidates, 1):
        a, b = prints[candidate.a], prints[candidate.b]
        if a.pixel_sha256 != b.pixel_sha256:
            first = orient(a.thumbnail, candidate.orientation)
            second = unsquash(b.thumbnail) if candidate.squashed else b.thumbnail
            correlation = aligned_correlation(illumination_free(first), illumination_free(second))
            pair = _pair(a, b, "photograph", round(correlation, 3))
            known = best.get((pair.first, pair.second))
            if correlation >= THRESHOLD and (known is None or known.correlation < pair.correlation):
                best[pair.first, pair.second] = pair
        if progress and (done % 100 == 0 or done == len(candidates)):
            progress("comparing likely pairs", done, len(candidates))
    return tuple(sorted(best.values(), key=lambda pair: (-pair.correlation, pair.first, pair.second)))


def aligned_correlation(fixed: Float32, moving: Float32) -> float:
    """The correlation of two illumination-free thumbnails, as they stand or after the best affine alignment.

    Shapes: [64, 64] each -> −1 … 1.
    """
    return max(correlation(fixed, moved, common) for moved, common in alignments(fixed, moving))


def alignments(fixed: Float32, moving: Float32) -> Iterator[tuple[Float32, Mask]]:
    """One thumbnail as it stands and, where there is one, in its best affine alignment with another; what they share.

    Shapes: [64, 64] each -> [64, 64].
    """
    yield moving, np.ones(fixed.shape, np.bool_)
    warp = np.eye(2, 3, dtype=np.float32)
    criteria = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 30, 1e-3)
    try:
        _, warp = cv2.findTransformECC(fixed, moving, warp, cv2.MOTION_AFFINE, criteria, None, 3)
    except cv2.error:  # It did not converge: there is nothing to align.
        return
    if not np.isfinite(warp).all():
        return
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    moved = cv2.warpAffine(moving, warp, (SIDE, SIDE), flags=flags)
    common = cv2.warpAffine(np.ones_like(moving), warp, (SIDE, SIDE), flags=flags) > 0.99
    if common.mean() >= _MIN_OVERLAP:
        yield np.asarray(moved, np.float32), common


@dataclass(frozen=True)
class _Candidate:
    """Two images, by index, that may be one: a turned by `orientation` against b, whose squash was undone or not."""

    a: int
    b: int
    orientation: int
    squashed: bool


def _candidates(prints: Sequence[Print], split: str | None, progress: Progress | None) -> list[_Candidate]:
    """For each image (of `split`, if given) the most similar ones of other splits."""
    splits = np.array([one.split for one in prints])
    wanted = np.flatnonzero(splits == split) if split is not None else np.arange(len(prints))
    if len(set(splits.tolist())) < 2:
        return []
    images = _descriptors(one.thumbnail for one in prints)
    others = (_flat(images), _flat(_descriptors(unsquash(one.thumbnail) for one in prints)))
    kinds = [(orientation, squashed) for orientation in range(8) for squashed in (False, True)]
    found: list[_Candidate] = []
    for start in range(0, len(wanted), _BLOCK):
        block = wanted[start : start + _BLOCK]
        scores = np.full((len(block), len(prints)), -1, np.float32)
        best_kind = np.zeros(scores.shape, np.int8)
        for index, (orientation, squashed) in enumerate(kinds):
            score = _flat(np.stack([orient(images[one], orientation) for one in block])) @ others[squashed].T
            best_kind[score > scores] = index
            np.maximum(scores, score, out=scores)
        scores[splits[block, None] == splits] = -1
        likeliest = np.argsort(-scores, axis=1, kind="stable")[:, :_NEIGHBOURS]
        found += [
            _Candidate(int(block[row]), column, *kinds[best_kind[row, column]])
            for row, columns in enumerate(likeliest.tolist())
            for column in columns
            if scores[row, column] > 0
        ]
        if progress:
            progress("searching for look-alikes", start + len(block), len(wanted))
    return found


def _descriptors(thumbnails: Iterable[Float32]) -> Float32:
    """Illumination-free miniatures of unit norm (zero where an image is flat). Shapes: -> [images, 24, 24]."""
    small = (cv2.resize(image, (_COARSE_SIDE, _COARSE_SIDE), interpolation=cv2.INTER_AREA) for image in thumbnails)
    even = np.stack([illumination_free(image, blur=2.0) for image in small])
    return np.asarray(even / np.maximum(np.linalg.norm(even, axis=(1, 2), keepdims=True), 1e-6), np.float32)


def _flat(images: Float32) -> Float32:
    return images.reshape(len(images), -1)


def illumination_free(image: Float32, blur: float = 4.0) -> Float32:
    """What remains of a log image without its low frequencies and its local contrast; mean zero. `blur` in pixels."""
    high = image - cv2.GaussianBlur(image, (0, 0), blur, borderType=cv2.BORDER_REFLECT)
    variance = cv2.GaussianBlur(high * high, (0, 0), 1.5 * blur, borderType=cv2.BORDER_REFLECT)
    # 0.02 is 2 % contrast: flatter skin is left flat instead of having its noise blown up.
    even = high / np.sqrt(variance + 0.02**2)
    return np.asarray(even - even.mean(), np.float32)


def orient(image: Float32, orientation: int) -> Float32:
    """One of the eight turned and mirrored copies, 0 to 7."""
    turned = np.rot90(image, orientation % 4)
    return np.ascontiguousarray(turned[:, ::-1] if orientation >= 4 else turned)


def unsquash(image: Float32) -> Float32:
    """The centre crop of a 4:3 photo that was squashed to a square: the middle three quarters of its width."""
    margin = image.shape[1] // 8
    return np.asarray(
        cv2.resize(image[:, margin:-margin], image.shape[::-1], interpolation=cv2.INTER_LINEAR), np.float32
    )


def correlation(a: Float32, b: Float32, where: Mask) -> float:
    """Of two images where a mask says; −1 where one of them is flat."""
    x, y = a[where] - a[where].mean(), b[where] - b[where].mean()
    norm = float(np.linalg.norm(x) * np.linalg.norm(y))
    return float(x @ y) / norm if norm > 0 else -1.0


def _pair(a: Print, b: Print, likeness: Likeness, correlation: float) -> DuplicatePair:
    first, second = sorted((a, b), key=lambda one: one.image_id)
    return DuplicatePair(first.image_id, first.split, second.image_id, second.split, likeness, correlation)
