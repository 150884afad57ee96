import hashlib
import math

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from edgeskin.contract.colour import clahe, shades_of_gray

UInt8 = npt.NDArray[np.uint8]


def noise(width: int, height: int, seed: int = 0) -> UInt8:
    """Smooth colours with fine noise; PCG64's raw bits, so equal everywhere."""
    bits = np.random.PCG64(np.random.SeedSequence(seed)).random_raw(height * width * 3)
    fine = (bits >> np.uint64(59)).astype(np.int64).reshape(height, width, 3)
    y, x = np.mgrid[:height, :width]
    smooth = np.stack([150 * x // width + 60, 120 * y // height + 70, 90 * (x + y) // (width + height) + 40], axis=-1)
    return (smooth + fine).astype(np.uint8)


def grey(width: int, height: int, seed: int = 0) -> UInt8:
    return np.repeat(noise(width, height, seed)[..., :1], 3, axis=-1)


def digest(pixels: UInt8) -> str:
    return hashlib.sha256(np.ascontiguousarray(pixels).tobytes()).hexdigest()[:16]


# --- shades of gray ---


def in_float64(pixels: UInt8, p: int) -> npt.NDArray[np.float64]:
    """The formula of Finlayson and Trezzi, with the usual gains 1 / (sqrt(3) · unit illuminant)."""
    values = pixels.astype(np.float64)
    illuminant = np.mean(values**p, axis=(0, 1)) ** (1 / p)
    unit = illuminant / np.linalg.norm(illuminant)
    return np.minimum(255, values / (unit * math.sqrt(3)))


@pytest.mark.parametrize("p", [1, 2, 6, 16])
@pytest.mark.parametrize("seed", range(3))
def test_shades_of_gray_is_the_float64_formula_to_within_rounding(p: int, seed: int) -> None:
    # A gain is off by at most 1/8192 + 1/25600 of itself, 0.04 at 255; rounding to a byte adds 0.5.
    image = noise(61, 47, seed)
    assert np.abs(shades_of_gray(image, p) - in_float64(image, p)).max() <= 0.55


@pytest.mark.parametrize("p", [1, 6, 16])
def test_shades_of_gray_is_what_exact_integers_give(p: int) -> None:
    image = noise(40, 30, 5)
    gains = []
    norms = []
    for channel in range(3):
        total = sum(int(value) ** p for value in image[..., channel].ravel())
        low = 0
        while 40 * 30 * (low + 1) ** p <= total * 256**p:
            low += 1
        norms.append(low)
    for norm in norms:
        # round(4096 · sqrt(Σ / 3) / norm) without a float: the largest g with (2·g − 1)·norm below it.
        squares = sum(value * value for value in norms)
        gains.append((math.isqrt(4 * 4096**2 * squares // (3 * norm**2)) + 1) // 2)
    expected = np.minimum(255, (image.astype(np.int64) * gains + 2048) >> 12)
    assert np.array_equal(shades_of_gray(image, p), expected)


def test_a_plain_colour_becomes_grey_and_keeps_its_length() -> None:
    # sqrt((200² + 100² + 50²) / 3) = 132.3
    assert shades_of_gray(np.full((4, 5, 3), (200, 100, 50), np.uint8), 6).ravel().tolist() == [132] * 60


def test_grey_stays_as_it_is() -> None:
    image = grey(30, 20)
    assert np.array_equal(shades_of_gray(image, 6), image)


def test_an_image_without_one_colour_stays_as_it_is() -> None:
    image = noise(30, 20)
    image[..., 2] = 0
    assert np.array_equal(shades_of_gray(image, 6), image)


def test_no_channel_is_amplified_sixteenfold() -> None:
    # 1 · 65535 / 4096 = 16.0, where the formula would ask for 208.
    assert shades_of_gray(np.full((4, 4, 3), (255, 255, 1), np.uint8), 6)[0, 0].tolist() == [208, 208, 16]


# --- CLAHE ---


def opencv(luma: UInt8, clip_limit: float, tiles: tuple[int, int]) -> npt.NDArray[np.float64]:
    """OpenCV measures a pixel's place from its corner; the mean over the four mirrorings measures from its centre."""
    engine = cv2.createCLAHE(clipLimit=clip_limit, tileGridSize=tiles)
    mirrorings = [(), (0,), (1,), (0, 1)]
    return np.mean([np.flip(engine.apply(np.flip(luma, axes).copy()), axes) for axes in mirrorings], axis=0)


@pytest.mark.parametrize("clip_limit", [1.0, 2.0, 4.0, 40.0, 256.0])
@pytest.mark.parametrize(("width", "height", "grid"), [(224, 224, (8, 8)), (224, 168, (8, 6)), (96, 192, (4, 8))])
def test_clahe_is_opencvs_to_within_a_grey_value(
    width: int, height: int, grid: tuple[int, int], clip_limit: float
) -> None:
    image = grey(width, height)
    difference = np.abs(clahe(image, clip_limit, 8)[..., 0] - opencv(image[..., 0].copy(), clip_limit, grid))
    # 1 where a table's half is rounded to even there and up here, 0.5 for our byte, 255/4096 a rounded weight.
    assert difference.max() <= 1.65
    assert difference.mean() < 0.4


def test_the_luma_is_equalized_and_the_chroma_stays() -> None:
    image = noise(64, 48)
    luma = np.asarray(Image.fromarray(image).convert("L"))
    change = clahe(image, 2.0, 4).astype(np.int64) - image
    inside = ((clahe(image, 2.0, 4) > 0) & (clahe(image, 2.0, 4) < 255)).all(axis=-1)
    assert inside.mean() > 0.5
    assert np.array_equal(change[inside][:, 0], change[inside][:, 1])
    assert np.array_equal(change[inside][:, 0], change[inside][:, 2])
    of_luma = clahe(np.repeat(luma[..., None], 3, axis=-1), 2.0, 4)[..., 0] - luma.astype(np.int64)
    assert np.array_equal(change[inside][:, 0], of_luma[inside])


def by_the_letter(image: UInt8, clip_limit: float, tiles: int) -> UInt8:
    """The specification once more, pixel by pixel, in Python's integers."""
    rows, columns = image.shape[:2]
    longer = max(rows, columns)
    down, across = (min(n, max(1, (2 * n * tiles + longer) // (2 * longer))) for n in (rows, columns))
    luma = [[(19595 * r + 38470 * g + 7471 * b + 32768) >> 16 for r, g, b in row] for row in image.tolist()]
    tables = {}
    for i in range(down):
        for j in range(across):
            values = [
                luma[y][x]
                for y in range(i * rows // down, (i + 1) * rows // down)
                for x in range(j * columns // across, (j + 1) * columns // across)
            ]
            area = len(values)
            limit = max(1, math.floor(clip_limit * area / 256))
            counts = [values.count(value) for value in range(256)]
            surplus = sum(max(0, count - limit) for count in counts)
            counts = [min(count, limit) + surplus // 256 for count in counts]
            rest = surplus % 256
            for k in range(rest):
                counts[k * (256 // rest)] += 1
            tables[i, j] = [(510 * sum(counts[: value + 1]) + area) // (2 * area) for value in range(256)]

    def weights(x: int, n: int, count: int) -> dict[int, int]:
        centres = [t * n // count + (t + 1) * n // count for t in range(count)]
        place = 2 * x + 1
        for t in range(count - 1):
            if centres[t] <= place < centres[t + 1]:
                gap = centres[t + 1] - centres[t]
                share = (4096 * (place - centres[t]) + gap) // (2 * gap)
                return {t: 2048 - share, t + 1: share}
        return {0 if place < centres[0] else count - 1: 2048}

    result = np.empty_like(image)
    for y in range(rows):
        for x in range(columns):
            total = sum(
                a * b * tables[i, j][luma[y][x]]
                for i, a in weights(y, rows, down).items()
                for j, b in weights(x, columns, across).items()
            )
            change = ((total + (1 << 21)) >> 22) - luma[y][x]
            result[y, x] = [min(255, max(0, int(value) + change)) for value in image[y, x]]
    return result


@pytest.mark.parametrize(
    ("width", "height", "tiles", "clip_limit"),
    [(13, 9, 3, 2.0), (9, 13, 4, 40.0), (32, 4, 8, 2.0), (7, 7, 16, 3.5), (17, 11, 1, 1.0), (24, 24, 2, 256.0)],
)
def test_clahe_is_its_specification_to_the_byte(width: int, height: int, tiles: int, clip_limit: float) -> None:
    image = noise(width, height, 7)
    assert np.array_equal(clahe(image, clip_limit, tiles), by_the_letter(image, clip_limit, tiles))


def test_a_mirrored_photo_is_equalized_as_its_mirror_image() -> None:
    image = noise(64, 48)
    mirrored = clahe(image[:, ::-1], 2.0, 8)[:, ::-1].astype(np.int64)
    assert np.abs(mirrored - clahe(image, 2.0, 8)).max() <= 1


def test_both_keep_their_bytes_from_release_to_release() -> None:
    # Not from elsewhere: what a device repeats must never move unnoticed.
    image = noise(224, 168)
    before = image.copy()
    assert digest(shades_of_gray(image, 6)) == "b30d72fb1a0a3efb"
    assert digest(clahe(image, 2.0, 8)) == "eae2b83643b3c761"
    assert np.array_equal(image, before)
