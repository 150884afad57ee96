"""Shades of gray and CLAHE, specified to the byte.

Everything is integers, or IEEE doubles whose every operation is named and rounded by itself (no fused multiply-add), so
that a phone that repeats the steps gets the same bytes. `div` divides non-negative integers and rounds down.

Shades of gray, for each channel c of n pixels, N(v) of which have the value v:

1. M = Σ N(v)·v^p in doubles, v ascending from 0, v^p = ((v·v)·v)·…
2. E(c) is the largest integer from 0 to 65280 with n·(E/256)^p ≤ M, the power as in step 1: the Minkowski norm of the
   channel in units of 1/256. If a channel's E is 0 the image stays as it is.
3. G(c) = min(65535, floor(4096·sqrt((E(R)² + E(G)² + E(B)²) / 3) / E(c) + 0.5)): the illuminant becomes grey and keeps
   its Euclidean length.
4. A byte v becomes min(255, (v·G(c) + 2048) >> 12).

CLAHE, on the luma Y = (19595·R + 38470·G + 7471·B + 2^15) >> 16:

1. A side of n pixels, the longer one having L, is cut into T = min(n, max(1, (2·n·tiles + L) div (2·L))) tiles, so that
   tiles are nearly square; tile t covers the pixels from b(t) = (t·n) div T to b(t+1) − 1.
2. In each tile of A pixels the histogram of Y is cut at max(1, floor(clip_limit·A / 256)), in doubles. Of the X counts
   cut off, every bin gets X div 256, and of the rest r = X mod 256 the bins 0, s, 2·s, … (r of them, s = 256 div r) get
   one each. With the running sum C(v) up to and including v, the tile's table is (2·255·C(v) + A) div (2·A).
3. A tile's centre in doubled coordinates is b(t) + b(t+1), that of pixel x is p = 2·x + 1. Between the centres P of
   tile t and Q of tile t+1 the weight of t+1 is w = (4096·(p − P) + Q − P) div (2·(Q − P)), that of t is 2048 − w;
   outside the outermost centres the nearest tile counts alone. Over both axes
   Y' = (Σ of four (weight across · weight down · table(Y)) + 2^21) >> 22.
4. Each of R, G and B becomes itself + Y' − Y, kept within 0 … 255: the chroma stays.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

UInt8: TypeAlias = npt.NDArray[np.uint8]
Int32: TypeAlias = npt.NDArray[np.int32]


def shades_of_gray(pixels: UInt8, p: int) -> UInt8:
    """Take the Minkowski norm `p` of each channel for the light's colour, and make it grey.

    Shapes: uint8 RGB [H, W, 3] -> the same. p: 1 to 16. Source: papers/metadata_superresolution_pad_ufes_2024.txt,
    section 2, reference [10].
    """
    histograms = [np.bincount(pixels[..., channel].ravel(), minlength=256).tolist() for channel in range(3)]
    illuminant = [_minkowski(histogram, p) for histogram in histograms]
    if min(illuminant) == 0:
        return pixels
    length = math.sqrt(sum(norm * norm for norm in illuminant) / 3)
    gains = [min(65535, math.floor(4096 * length / norm + 0.5)) for norm in illuminant]
    tables = np.minimum(255, (np.arange(256)[:, None] * np.array(gains) + 2048) >> 12).astype(np.uint8)
    return np.stack([tables[:, channel][pixels[..., channel]] for channel in range(3)], axis=-1)


def _minkowski(histogram: Sequence[int], p: int) -> int:
    """Steps 1 and 2; plain floats, because NumPy sums in an order of its own."""
    total = 0.0
    for value, count in enumerate(histogram):
        total += count * _power(float(value), p)
    pixels = float(sum(histogram))
    low, above = 0, 65281
    while above - low > 1:
        middle = (low + above) // 2
        if pixels * _power(middle / 256, p) <= total:
            low = middle
        else:
            above = middle
    return low


def _power(base: float, p: int) -> float:
    product = base
    for _ in range(p - 1):
        product *= base
    return product


def clahe(pixels: UInt8, clip_limit: float, tiles: int) -> UInt8:
    """Equalize the luma tile by tile, with limited contrast.

    Shapes: uint8 RGB [H, W, 3] -> the same. clip_limit: highest over mean bin, 1 to 256. tiles: along the longer side.
    Source: papers/metadata_superresolution_pad_ufes_2024.txt, section 2, reference [11].
    """
    rows, columns = pixels.shape[:2]
    down, across = (_axis(side, max(rows, columns), tiles) for side in (rows, columns))
    red, green, blue = (pixels[..., channel].astype(np.int32) for channel in range(3))
    luma: Int32 = (19595 * red + 38470 * green + 7471 * blue + 32768) >> 16
    tables = _tables(luma, down, across, clip_limit).ravel()
    equalized = np.full_like(luma, 1 << 21)
    for row_tile, row_weight in down.neighbours:
        for column_tile, column_weight in across.neighbours:
            first = (row_tile[:, None] * across.tiles + column_tile) * 256
            equalized += row_weight[:, None] * column_weight * tables[first + luma]
    change = (equalized >> 22) - luma
    return np.clip(pixels + change[..., None], 0, 255).astype(np.uint8)


@dataclass(frozen=True, eq=False)
class _Axis:
    """The tiles along one side. of: each pixel's own tile. neighbours: twice a tile and its weight for each pixel."""

    tiles: int
    of: Int32
    neighbours: tuple[tuple[Int32, Int32], tuple[Int32, Int32]]


@lru_cache(maxsize=64)
def _axis(n: int, longer: int, tiles: int) -> _Axis:
    count = min(n, max(1, (2 * n * tiles + longer) // (2 * longer)))
    edges = np.arange(count + 1) * n // count
    centres = edges[:-1] + edges[1:]
    doubled = 2 * np.arange(n) + 1
    first = np.clip(np.searchsorted(centres, doubled, side="right") - 1, 0, count - 1)
    second = np.minimum(first + 1, count - 1)
    gap = np.maximum(1, centres[second] - centres[first])
    weight = np.clip((4096 * (doubled - centres[first]) + gap) // (2 * gap), 0, 2048)
    weight[first == second] = 0  # behind the last centre
    of = np.repeat(np.arange(count), np.diff(edges))
    return _Axis(
        count,
        of.astype(np.int32),
        (
            (first.astype(np.int32), (2048 - weight).astype(np.int32)),
            (second.astype(np.int32), weight.astype(np.int32)),
        ),
    )


def _tables(luma: Int32, down: _Axis, across: _Axis, clip_limit: float) -> Int32:
    """Shapes: luma [H, W] -> what each value becomes in each tile, [tiles down · tiles across, 256]."""
    tiles = down.tiles * across.tiles
    tile = down.of[:, None] * across.tiles + across.of
    histogram = np.bincount((tile * 256 + luma).ravel(), minlength=tiles * 256).reshape(tiles, 256)
    area = histogram.sum(axis=1)
    limit = np.maximum(1, np.floor(clip_limit * area / 256).astype(np.int64))
    clipped = np.minimum(histogram, limit[:, None])
    excess = area - clipped.sum(axis=1)
    rest = (excess % 256)[:, None]
    spacing = 256 // np.maximum(1, rest)
    bins = np.arange(256)
    clipped += (excess // 256)[:, None] + ((bins % spacing == 0) & (bins // spacing < rest))
    running = np.cumsum(clipped, axis=1)
    tables: npt.NDArray[np.int64] = (510 * running + area[:, None]) // (2 * area[:, None])
    return tables.astype(np.int32)
