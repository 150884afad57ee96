"""The brushes of the phantom photos: noise, strokes, skin, pigment, hair, ruler, light.

Equal seeds give equal bytes on every machine: random numbers are PCG64's raw bits, and pixels come from nothing but
IEEE additions, products, quotients and square roots, element by element; no sine, exponential or matrix product.

Coordinates x, y have the photo's shorter side as unit and its centre as origin. Colours are factors on what they cover.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt

Field: TypeAlias = npt.NDArray[np.float64]
Colour: TypeAlias = tuple[float, float, float]
T = TypeVar("T")

_LATTICE = 64
SKINS: tuple[Colour, ...] = ((238, 205, 185), (226, 178, 158), (232, 160, 148), (206, 160, 128), (160, 116, 92))
_HAIRS: tuple[Colour, ...] = ((0.15, 0.12, 0.12), (0.35, 0.22, 0.15), (0.6, 0.45, 0.3))
_INK: Colour = (0.25, 0.25, 0.28)
_BEZEL: Colour = (0.05, 0.045, 0.05)


class Dice:
    """Random numbers that no library version changes: raw bits of PCG64 seeded with `key`, divided by 2^53."""

    def __init__(self, *key: int) -> None:
        self._bits = np.random.PCG64(np.random.SeedSequence(key))

    def fractions(self, *shape: int) -> Field:
        """Numbers from 0 to below 1."""
        raw: npt.NDArray[np.uint64] = np.asarray(self._bits.random_raw(math.prod(shape)))
        return np.asarray((raw >> np.uint64(11)).astype(np.float64).reshape(shape) * 2.0**-53)

    def between(self, low: float, high: float) -> float:
        """One number from `low` to below `high`."""
        return low + (high - low) * float(self.fractions(1)[0])

    def chance(self, probability: float) -> bool:
        """True with this probability."""
        return self.between(0, 1) < probability

    def pick(self, options: Sequence[T]) -> T:
        """One of the options, all alike."""
        return options[int(self.between(0, len(options)))]

    def shuffled(self, options: Sequence[T]) -> list[T]:
        """The options in a random order."""
        return [options[place] for place in np.argsort(self.fractions(len(options)), kind="stable")]

    def direction(self) -> tuple[float, float]:
        """A unit vector (cosine, sine) to the right half, by the rational parametrisation of the circle."""
        t = self.between(-1, 1)
        return (1 - t * t) / (1 + t * t), 2 * t / (1 + t * t)


def ramp(t: Field) -> Field:
    """0 below 0, 1 above 1, smooth between."""
    t = np.clip(t, 0, 1)
    return t * t * (3 - 2 * t)


def noise(dice: Dice, x: Field, y: Field) -> Field:
    """Value noise from −1 to 1 with one cell a unit of x and y."""
    lattice = dice.fractions(_LATTICE, _LATTICE) * 2 - 1
    x, y = x + dice.between(0, _LATTICE), y + dice.between(0, _LATTICE)
    left, top = np.floor(x), np.floor(y)
    u, v = ramp(x - left), ramp(y - top)
    i, j = left.astype(np.int64) % _LATTICE, top.astype(np.int64) % _LATTICE
    k, m = (i + 1) % _LATTICE, (j + 1) % _LATTICE
    above = lattice[j, i] * (1 - u) + lattice[j, k] * u
    below = lattice[m, i] * (1 - u) + lattice[m, k] * u
    return above * (1 - v) + below * v


def ridges(dice: Dice, x: Field, y: Field, sharpness: float) -> Field:
    """Lines where noise crosses zero: 1 on a line, 0 beside it."""
    return ramp(1 - np.abs(noise(dice, x, y)) * sharpness)


def network(dice: Dice, x: Field, y: Field) -> Field:
    """A net of two families of wavering lines, as pigment follows the skin's ridges: 1 on a line, 0 in a mesh."""
    meshes = dice.between(16, 24)
    lines = []
    for towards_x, towards_y in ((0.8, 0.6), (-0.6, 0.8)):
        phase = meshes * (towards_x * x + towards_y * y) + 0.7 * noise(dice, x * 9, y * 9)
        lines.append(ramp(np.abs(phase - np.floor(phase) - 0.5) * 6 - 1.6))
    return np.maximum(*lines)


@dataclass(frozen=True, eq=False)
class Canvas:
    """The photo while it is painted.

    pixels: [H, W, 3], 0 to 255. x: [1, W] and y: [H, 1], pixel centres. side: the shorter side in pixels.
    """

    pixels: Field
    x: Field
    y: Field
    side: int

    @staticmethod
    def blank(width: int, height: int) -> "Canvas":
        """A canvas of zeros."""
        side = min(width, height)
        x = (np.arange(width, dtype=np.float64) + 0.5 - width / 2) / side
        y = (np.arange(height, dtype=np.float64) + 0.5 - height / 2) / side
        return Canvas(np.zeros((height, width, 3)), x[None, :], y[:, None], side)

    def tint(self, cover: Field, colour: Colour) -> None:
        """Multiply by `colour` where `cover` [H, W] is 1, not at all where it is 0."""
        for channel, factor in enumerate(colour):
            self.pixels[..., channel] *= 1 + cover * (factor - 1)

    def strokes(self, x: Field, y: Field, radius: float) -> Field:
        """Cover [H, W] of round pen points at x, y, with edges one pixel soft; `radius` in pixels."""
        height, width = self.pixels.shape[:2]
        reach = int(radius + 1.5)
        steps = np.arange(-reach, reach + 1)
        column, row = (x - self.x[0, 0]) * self.side, (y - self.y[0, 0]) * self.side
        columns = np.floor(column + 0.5).astype(np.int64)[:, None, None] + steps
        rows = np.floor(row + 0.5).astype(np.int64)[:, None, None] + steps[:, None]
        distance = np.sqrt((columns - column[:, None, None]) ** 2 + (rows - row[:, None, None]) ** 2)
        cover = np.clip(radius + 0.5 - distance, 0, 1)
        rows, columns = np.broadcast_arrays(rows, columns)
        inside = (columns >= 0) & (columns < width) & (rows >= 0) & (rows < height)
        layer = np.zeros((height, width))
        np.maximum.at(layer, (rows[inside], columns[inside]), cover[inside])
        return layer


def skin(dice: Dice, canvas: Canvas) -> None:
    """A skin tone with blotches, pores and furrows."""
    tone = dice.pick(SKINS)
    x, y = canvas.x, canvas.y
    brightness = 1 + 0.05 * noise(dice, x * 3, y * 3) + 0.03 * noise(dice, x * 40, y * 40)
    brightness -= dice.between(0.0, 0.05) * network(dice, x, y) + 0.02 * ridges(dice, x * 7, y * 7, 4)
    blood = 0.05 * noise(dice, x * 5, y * 5)
    for channel, value in enumerate(tone):
        canvas.pixels[..., channel] = value * (brightness - (blood if channel else 0)) * dice.between(0.96, 1.04)


def hair(dice: Dice, canvas: Canvas) -> None:
    """Curved hairs across the photo, roughly along one direction."""
    colour = dice.pick(_HAIRS)
    cosine, sine = dice.direction()
    t = np.linspace(0, 1, 4 * canvas.side)
    for _ in range(int(dice.between(4, 14))):
        cx, cy, half, bend = (
            dice.between(-0.5, 0.5),
            dice.between(-0.5, 0.5),
            dice.between(0.2, 0.6),
            dice.between(-0.25, 0.25),
        )
        along, across = half * (2 * t - 1), bend * (1 - (2 * t - 1) ** 2) + dice.between(-0.2, 0.2) * t
        path = cx + cosine * along - sine * across, cy + sine * along + cosine * across
        canvas.tint(canvas.strokes(*path, radius=canvas.side * dice.between(0.002, 0.006)), colour)


def ruler(dice: Dice, canvas: Canvas) -> None:
    """A printed scale near an edge: a line with ticks, every fifth long."""
    cosine, sine = 1.0, dice.between(-0.3, 0.3)
    base_x, base_y = dice.between(-0.45, -0.1), dice.pick((-0.42, 0.42))
    pitch = dice.between(0.018, 0.03)
    line = np.linspace(0, 20 * pitch, 4 * canvas.side)
    step = np.repeat(np.arange(21), canvas.side // 4)
    length = np.where(step % 5 == 0, 0.05, 0.025) * (-1 if base_y > 0 else 1)
    depth = length * np.tile(np.linspace(0, 1, canvas.side // 4), 21)
    along, across = np.concatenate([line, step * pitch]), np.concatenate([np.zeros_like(line), depth])
    x, y = base_x + cosine * along - sine * across, base_y + sine * along + cosine * across
    canvas.tint(canvas.strokes(x, y, radius=canvas.side * 0.003), _INK)


def light(dice: Dice, canvas: Canvas) -> None:
    """Brighter to one side, darker to the rim."""
    x, y = canvas.x, canvas.y
    canvas.pixels[...] *= (
        1 + dice.between(-0.2, 0.2) * x + dice.between(-0.2, 0.2) * y - dice.between(0, 0.4) * (x * x + y * y)
    )[..., None]


def dark_corner(dice: Dice, canvas: Canvas) -> None:
    """The black rim of a dermatoscope's round view."""
    x, y = canvas.x, canvas.y
    corner = np.sqrt(x[0, 0] ** 2 + y[0, 0] ** 2)
    radius = corner * dice.between(0.78, 0.95)
    canvas.tint(ramp((np.sqrt(x * x + y * y) - radius) / 0.04), _BEZEL)


def develop(dice: Dice, canvas: Canvas) -> npt.NDArray[np.uint8]:
    """The finished photo with a sensor's noise: uint8 [H, W, 3]."""
    grain = dice.fractions(*canvas.pixels.shape) * 8 - 4
    return np.clip(np.floor(canvas.pixels + grain), 0, 255).astype(np.uint8)
