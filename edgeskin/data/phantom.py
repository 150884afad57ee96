"""Phantom photos: procedural skin with a lesion, its exact mask, and labels that the pixels determine.

They serve the demo, the golden cases and the tests. What is measured on these drawings says nothing about real skin.

The rules, by which a drawing is labelled:

- seborrheic keratosis: a waxy, ridged surface with bright and dark keratin dots, and a sharp border;
- melanoma: no keratin, an irregular border, and three pigments or more, off centre;
- nevus: everything else: one soft brown with a pigment network, usually with a regular border;
- asymmetric: more than `ASYMMETRIC` of the lesion leaves its outline when turned by 180° about its centroid; nothing is
  drawn near that limit.

Age is weakly related to the diagnosis, sex and site are not; each is missing at random. Hair, ruler, dark corner and
light fall on all alike.
"""

import csv
import io
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image

from edgeskin import files
from edgeskin.data import paint
from edgeskin.data.paint import Canvas, Colour, Dice, Field
from edgeskin.errors import DataError

Diagnosis: TypeAlias = Literal["melanoma", "nevus", "seborrheic_keratosis"]
Mask: TypeAlias = npt.NDArray[np.bool_]

DIAGNOSES: tuple[Diagnosis, ...] = ("melanoma", "nevus", "seborrheic_keratosis")
SITES = ("head_neck", "anterior_torso", "posterior_torso", "upper_extremity", "lower_extremity")
ASYMMETRIC = 0.15
_CLEARLY = 0.05
"""Shapes closer than this to `ASYMMETRIC` are drawn anew."""
_UNKNOWN = 0.2
"""The share of missing values, in each field."""

_BROWNS: tuple[Colour, ...] = ((0.74, 0.56, 0.44), (0.62, 0.45, 0.35), (0.48, 0.34, 0.27))
_BROWN = (0.55, 0.3, 0.2)
_DARK: tuple[Colour, ...] = ((0.22, 0.18, 0.2), (0.45, 0.58, 0.78))
"""Black, and a blue-grey veil: every melanoma has one of them."""
_OTHERS: tuple[Colour, ...] = (_BROWN, (1.15, 0.72, 0.75), (1.45, 1.65, 1.8))
"""Dark brown, red, and white as a scar."""
_WAX: tuple[Colour, ...] = ((0.9, 0.8, 0.46), (0.76, 0.7, 0.5), (0.7, 0.6, 0.34))
_MILIUM: Colour = (1.35, 1.45, 1.5)
_COMEDO: Colour = (0.4, 0.3, 0.25)


@dataclass(frozen=True)
class Signs:
    """What is drawn. pigments: how many colours; keratin: waxy surface with dots and a sharp border."""

    irregular: bool
    pigments: int
    keratin: bool

    @property
    def diagnosis(self) -> Diagnosis:
        """The label that the rules of this module give."""
        if self.keratin:
            return "seborrheic_keratosis"
        return "melanoma" if self.irregular and self.pigments >= 3 else "nevus"


@dataclass(frozen=True, eq=False)
class Phantom:
    """A phantom photo and everything known about it.

    image: uint8 RGB [H, W, 3]. mask: [H, W], True on the lesion. age_years, sex, site: None where unknown.
    """

    image: npt.NDArray[np.uint8]
    mask: Mask
    diagnosis: Diagnosis
    asymmetric: bool
    age_years: int | None
    sex: Literal["female", "male"] | None
    site: str | None
    hair: bool
    ruler: bool
    dark_corner: bool

    @property
    def has_metadata(self) -> bool:
        """Whether anything is known beside the photo."""
        return (self.age_years, self.sex, self.site) != (None, None, None)


def photo(seed: int, index: int, width: int = 128, height: int = 128, diagnosis: Diagnosis | None = None) -> Phantom:
    """Draw phantom `index` of the series `seed`; equal arguments give equal bytes on every machine.

    width, height: in pixels, at least 32. diagnosis: drawn at random where None.
    """
    dice = Dice(seed, index)
    signs = _signs(dice, dice.pick(DIAGNOSES) if diagnosis is None else diagnosis)
    canvas = Canvas.blank(width, height)
    paint.skin(dice, canvas)
    lesion, asymmetric = _clear_shape(dice, canvas, signs)
    match signs.diagnosis:
        case "melanoma":
            _melanoma(dice, canvas, lesion, signs.pigments)
        case "nevus":
            _nevus(dice, canvas, lesion)
        case "seborrheic_keratosis":
            _keratosis(dice, canvas, lesion)
    hair, ruler, dark_corner = dice.chance(0.3), dice.chance(0.25), dice.chance(0.25)
    if ruler:
        paint.ruler(dice, canvas)
    if hair:
        paint.hair(dice, canvas)
    paint.light(dice, canvas)
    if dark_corner:
        paint.dark_corner(dice, canvas)
    image = paint.develop(dice, canvas)
    age = int(dice.between(30, 80) if signs.diagnosis == "nevus" else dice.between(40, 90))
    sex: Literal["female", "male"] = dice.pick(("female", "male"))
    site = dice.pick(SITES)
    return Phantom(
        image,
        lesion.mask,
        signs.diagnosis,
        asymmetric,
        None if dice.chance(_UNKNOWN) else age,
        None if dice.chance(_UNKNOWN) else sex,
        None if dice.chance(_UNKNOWN) else site,
        hair,
        ruler,
        dark_corner,
    )


def asymmetry(mask: Mask) -> float:
    """The share of a mask that leaves it when turned by 180° about its centroid: 0 to 1."""
    rows, columns = np.nonzero(mask)
    turned = [(4 * int(axis.sum()) + axis.size) // (2 * axis.size) - axis for axis in (rows, columns)]
    inside = (turned[0] >= 0) & (turned[0] < mask.shape[0]) & (turned[1] >= 0) & (turned[1] < mask.shape[1])
    return 1 - int(mask[turned[0][inside], turned[1][inside]].sum()) / rows.size


@dataclass(frozen=True, eq=False)
class _Lesion:
    """A lesion's geometry. p, q: [H, W] along its axes in radii; depth: 1 at the border, smaller inside."""

    p: Field
    q: Field
    depth: Field

    @property
    def mask(self) -> Mask:
        return self.depth < 1

    def cover(self, softness: float) -> Field:
        """1 inside, 0 outside, one half on the border; `softness` in radii."""
        return paint.ramp((1 - self.depth) / softness + 0.5)


def _signs(dice: Dice, diagnosis: Diagnosis) -> Signs:
    match diagnosis:
        case "melanoma":
            return Signs(irregular=True, pigments=dice.pick((3, 4)), keratin=False)
        case "nevus":
            return Signs(irregular=dice.chance(0.15), pigments=1, keratin=False)
        case "seborrheic_keratosis":
            return Signs(irregular=dice.chance(0.5), pigments=1, keratin=True)


def _clear_shape(dice: Dice, canvas: Canvas, signs: Signs) -> tuple[_Lesion, bool]:
    """A shape that is clearly symmetric or clearly asymmetric, and which of them it is."""
    lopsided = dice.chance(0.75 if signs.diagnosis == "melanoma" else 0.35)
    while True:  # about every third draw is repeated
        lesion = _shape(dice, canvas, signs.irregular, lopsided)
        excess = asymmetry(lesion.mask) - ASYMMETRIC
        if abs(excess) > _CLEARLY and (excess > 0) == lopsided:
            return lesion, lopsided


def _shape(dice: Dice, canvas: Canvas, irregular: bool, lopsided: bool) -> _Lesion:
    cosine, sine = dice.direction()
    longer = dice.between(0.2, 0.36)
    shorter = longer * dice.between(0.7, 1)
    x, y = canvas.x - dice.between(-0.1, 0.1), canvas.y - dice.between(-0.1, 0.1)
    p, q = (x * cosine + y * sine) / longer, (y * cosine - x * sine) / shorter
    if lopsided:  # bent like a kidney, tapered like an egg, and often with a lobe
        q = (q + dice.between(0.2, 0.6) * (p * p - 0.4)) / (1 + dice.between(0.2, 0.5) * np.clip(p, -1.2, 1.2))
    depth = np.sqrt(p * p + q * q)
    if lopsided and dice.chance(0.75):
        away_p, away_q = dice.direction()
        lobe = np.sqrt((p - 0.9 * away_p) ** 2 + (q - 0.9 * away_q) ** 2) / dice.between(0.35, 0.6)
        share = np.clip(0.5 + (lobe - depth) / 0.6, 0, 1)
        depth = lobe + share * (depth - lobe) - 0.3 * share * (1 - share)  # a minimum without an edge
    # Seen in both axes' mirror, a border is irregular and yet symmetric.
    border_p, border_q = (p, q) if lopsided else (np.abs(p), np.abs(q))
    if irregular:
        depth += 0.30 * paint.noise(dice, border_p * 2.2, border_q * 2.2)
        depth += 0.12 * paint.noise(dice, border_p * 6, border_q * 6)
    else:
        depth += 0.06 * paint.noise(dice, border_p * 1.5, border_q * 1.5)
    return _Lesion(p, q, depth)


def _nevus(dice: Dice, canvas: Canvas, lesion: _Lesion) -> None:
    cover = lesion.cover(0.35)
    canvas.tint(cover, dice.pick(_BROWNS))
    canvas.tint(cover * paint.ramp(1 - lesion.depth) * dice.between(0, 0.6), dice.pick(_BROWNS))
    canvas.tint(cover * paint.network(dice, canvas.x, canvas.y) * dice.between(0.3, 0.7), _BROWNS[-1])


def _melanoma(dice: Dice, canvas: Canvas, lesion: _Lesion, pigments: int) -> None:
    cover = lesion.cover(0.12)
    canvas.tint(cover, dice.pick(_BROWNS[1:]))
    palette = [dice.pick(_DARK), *dice.shuffled(_OTHERS)]
    for colour in palette[: pigments - 1]:
        cosine, sine = dice.direction()
        slope = dice.pick((-0.7, 0.7))
        patch = slope * (lesion.p * cosine + lesion.q * sine)
        patch += 0.5 * paint.noise(dice, lesion.p * 1.8, lesion.q * 1.8)
        patch += 0.35 * paint.noise(dice, lesion.p * 5, lesion.q * 5)
        canvas.tint(cover * paint.ramp(patch / 0.5 + 0.2) * dice.between(0.7, 0.95), colour)
    canvas.tint(cover * paint.ramp(paint.noise(dice, canvas.x * 30, canvas.y * 30) * 2 - 0.4) * 0.5, _BROWN)


def _keratosis(dice: Dice, canvas: Canvas, lesion: _Lesion) -> None:
    cover = lesion.cover(0.06)
    canvas.tint(cover, dice.pick(_WAX))
    canvas.tint(cover * paint.ridges(dice, canvas.x * 13, canvas.y * 13, 4) * 0.6, (0.72, 0.66, 0.6))
    canvas.tint(cover * paint.ramp(paint.noise(dice, canvas.x * 18, canvas.y * 18) * 1.5) * 0.5, (1.25, 1.25, 1.3))
    rows, columns = np.nonzero(lesion.depth < 0.88)
    for colour, low, high in ((_MILIUM, 14, 28), (_COMEDO, 8, 20)):
        chosen = [int(dice.between(0, rows.size)) for _ in range(int(dice.between(low, high)))]
        dots = canvas.strokes(canvas.x[0, columns[chosen]], canvas.y[rows[chosen], 0],
                              canvas.side * dice.between(0.012, 0.020))  # fmt: skip
        canvas.tint(dots, colour)


# --- many of them ---

GOLDEN_PHOTOS = 32
"""So many does every network that was trained have its golden cases of."""
_GOLDEN_SEED = 20_170_101
_GOLDEN_SIZES = ((160, 160), (256, 192), (192, 256), (400, 300), (224, 224), (320, 180), (200, 400), (360, 144))


def golden_photos(count: int = GOLDEN_PHOTOS) -> tuple[Phantom, ...]:
    """Photos of several sizes and proportions, longer side 160 to 400 pixels; half of each size have no metadata."""
    photos = []
    for index in range(count):
        width, height = _GOLDEN_SIZES[index % len(_GOLDEN_SIZES)]
        phantom = photo(_GOLDEN_SEED, index, width, height, DIAGNOSES[index % len(DIAGNOSES)])
        unknown = index // len(_GOLDEN_SIZES) % 2
        photos.append(replace(phantom, age_years=None, sex=None, site=None) if unknown else phantom)
    return tuple(photos)


def write_dataset(folder: Path, n_train: int, n_val: int, n_test: int, *, size: int = 128, seed: int = 0) -> None:
    """Write a phantom data folder: labels.csv, images/<image_id>.png, masks/<image_id>.png (1 bit, 1 = lesion).

    The diagnoses take turns, so each split is balanced; photos are square, `size` pixels. Equal arguments give equal
    pixels and tables.
    Raises: DataError where the folder already holds something; EdgeskinError where it cannot be written.
    """
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise DataError(f"{folder}: already exists. Remove it, or write the phantom set to another folder")
    lots = [(split, turn) for split, n in (("train", n_train), ("val", n_val), ("test", n_test)) for turn in range(n)]
    table = io.StringIO()
    rows = csv.writer(table, lineterminator="\n")
    rows.writerow(_COLUMNS)
    with files.new_folder(folder) as building:
        for part in ("images", "masks"):
            (building / part).mkdir()
        for index, (split, turn) in enumerate(lots):
            phantom = photo(seed, index, size, size, DIAGNOSES[turn % len(DIAGNOSES)])
            image_id = f"phantom_{index:05d}"
            Image.fromarray(phantom.image).save(building / "images" / f"{image_id}.png", compress_level=1)
            Image.fromarray(phantom.mask).save(building / "masks" / f"{image_id}.png")
            rows.writerow(_row(image_id, split, phantom))
        (building / "labels.csv").write_bytes(table.getvalue().encode())


_COLUMNS = ("image_id", "diagnosis", "melanoma", "seborrheic_keratosis", "split", "age", "sex", "site", "asymmetric",
            "has_mask", "lesion_fraction", "artefact_hair", "artefact_ruler", "artefact_dark_corner")  # fmt: skip


def _row(image_id: str, split: str, phantom: Phantom) -> tuple[str | int | None, ...]:
    """A line of labels.csv in the order of `_COLUMNS`; an unknown value is an empty cell."""
    return (
        image_id,
        phantom.diagnosis,
        int(phantom.diagnosis == "melanoma"),
        int(phantom.diagnosis == "seborrheic_keratosis"),
        split,
        phantom.age_years,
        phantom.sex,
        phantom.site,
        int(phantom.asymmetric),
        1,
        f"{phantom.mask.mean():.4f}",
        int(phantom.hair),
        int(phantom.ruler),
        int(phantom.dark_corner),
    )
