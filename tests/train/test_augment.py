import cv2
import numpy as np
import pytest

from edgeskin.train.augment import UInt8, augment
from edgeskin.train.recipe import Augmentation

STILL = Augmentation(
    flip=False,
    rotate=0,
    scale=(1, 1),
    aspect=(1, 1),
    shift=0,
    bars=1,
    brightness=0,
    contrast=0,
    saturation=0,
    hue=0,
    white_balance=0,
    blur=0,
)
LESION, SKIN = (200, 40, 60), (90, 200, 190)


def with_changes(**changes: object) -> Augmentation:
    return Augmentation.model_validate(STILL.model_dump() | changes)


def picture(width: int, height: int) -> tuple[UInt8, UInt8]:
    """An off-centre ellipse whose colour is the mask."""
    mask = np.zeros((height, width), np.uint8)
    cv2.ellipse(mask, (width * 2 // 5, height // 2), (width // 4, height // 6), 20, 0, 360, 1, cv2.FILLED)
    return np.where(mask[..., None] == 1, np.uint8(LESION), np.uint8(SKIN)), mask


def draw(settings: Augmentation, seed: int, image: UInt8, mask: UInt8, size: int = 64) -> tuple[UInt8, UInt8]:
    return augment(image, mask, settings, size, np.random.default_rng(seed))


def test_the_same_seed_gives_the_same_view_and_another_seed_another() -> None:
    image, mask = picture(80, 60)
    first, again, other = (draw(Augmentation(), seed, image, mask) for seed in (3, 3, 4))
    assert np.array_equal(first[0], again[0])
    assert np.array_equal(first[1], again[1])
    assert not np.array_equal(first[0], other[0])


def test_a_view_is_a_square_of_bytes_and_a_mask_of_zeros_and_ones() -> None:
    for width, height in ((80, 60), (60, 80), (33, 200), (64, 64)):
        view, lesion = draw(Augmentation(), 1, *picture(width, height), size=96)
        assert (view.shape, view.dtype, lesion.shape, lesion.dtype) == ((96, 96, 3), np.uint8, (96, 96), np.uint8)
        assert set(np.unique(lesion)) <= {0, 1}


def test_switched_off_it_changes_nothing() -> None:
    image, mask = picture(64, 64)
    view, lesion = draw(STILL, 0, image, mask)
    assert np.array_equal(view, image)
    assert np.array_equal(lesion, mask)


@pytest.mark.parametrize("bars", [0, 1])
def test_image_and_mask_move_together(bars: int) -> None:
    geometry = with_changes(flip=True, rotate=40, scale=(0.7, 1.4), aspect=(0.7, 1.4), shift=0.1, bars=bars)
    image, mask = picture(90, 70)
    kernel = np.ones((3, 3), np.uint8)
    for seed in range(20):
        view, lesion = draw(geometry, seed, image, mask)
        inside, near = cv2.erode(lesion, kernel), cv2.dilate(lesion, kernel)
        redness = view[..., 0].astype(int) - view[..., 1]  # LESION 160, SKIN −110, bars 0
        assert lesion.sum() > 50
        assert redness[inside == 1].min() > 60
        assert redness[near == 0].max() < 60


def test_flips_and_quarter_turns_give_all_eight_orientations() -> None:
    image = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
    mask = np.zeros((16, 16), np.uint8)
    orientations = [np.rot90(base, turn) for base in (image, image[:, ::-1]) for turn in range(4)]
    seen = set()
    for seed in range(80):
        view, _ = draw(with_changes(flip=True), seed, image, mask, size=16)
        (which,) = [index for index, known in enumerate(orientations) if np.array_equal(known, view)]
        seen.add(which)
    assert seen == set(range(8))


def test_aspect_stays_in_its_range_and_fills_it() -> None:
    disc = np.zeros((128, 128), np.uint8)
    cv2.circle(disc, (64, 64), 30, 1, cv2.FILLED)
    image = np.repeat(disc[..., None] * np.uint8(200), 3, axis=2)
    ratios = []
    for seed in range(80):
        _, lesion = draw(with_changes(aspect=(0.7, 1.4)), seed, image, disc, size=128)
        rows, columns = np.nonzero(lesion)
        ratios.append(columns.std() / rows.std())  # of a stretched disc: its width over its height
    assert 0.7 * 0.97 <= min(ratios) < 0.78
    assert 1.25 < max(ratios) <= 1.4 * 1.03


def test_scale_stays_in_its_range_and_fills_it() -> None:
    square = np.zeros((128, 128), np.uint8)
    square[44:84, 44:84] = 1
    image = np.repeat(square[..., None], 3, axis=2)
    sides = [
        np.sqrt(draw(with_changes(scale=(0.8, 1.3)), seed, image, square, size=128)[1].sum()) / 40 for seed in range(60)
    ]
    assert 0.8 * 0.97 <= min(sides) < 0.86
    assert 1.2 < max(sides) <= 1.3 * 1.03


def test_bars_are_mid_grey_and_hold_no_lesion() -> None:
    image = np.full((30, 90, 3), 250, np.uint8)
    view, lesion = draw(STILL, 0, image, np.ones((30, 90), np.uint8), size=90)
    # By hand: 90×30 in a square of 90 leaves 30 rows above and below; interpolation touches one row more.
    assert (view[:29] == 128).all()
    assert (view[61:] == 128).all()
    assert (lesion[:29] == 0).all()
    assert (lesion[31:59] == 1).all()


def test_bars_stay_mid_grey_whatever_the_colours_become() -> None:
    image = np.full((30, 90, 3), 200, np.uint8)
    settings = with_changes(brightness=0.3, contrast=0.3, saturation=0.3, hue=20, white_balance=0.2, blur=1)
    for seed in range(10):
        view, _ = draw(settings, seed, image, np.ones((30, 90), np.uint8), size=90)
        # By hand: the photo is rows 30 to 59, as behind the letterbox; its edge is neither grey nor blurred into grey.
        assert (view[:30] == 128).all()
        assert (view[60:] == 128).all()
        assert np.array_equal(view[30], view[45])
        assert (view[30] != 128).any()


def test_hue_saturation_and_contrast_leave_mid_grey_alone() -> None:
    grey = np.full((16, 16, 3), 128, np.uint8)
    settings = with_changes(hue=90, saturation=0.9, contrast=0.9)
    for seed in range(10):
        view, _ = draw(settings, seed, grey, grey[..., 0] * 0, size=16)
        assert np.abs(view.astype(int) - 128).max() <= 1


def test_white_balance_changes_each_channel_within_its_range() -> None:
    grey = np.full((16, 16, 3), 100, np.uint8)
    views = np.array([draw(with_changes(white_balance=0.1), s, grey, grey[..., 0] * 0, 16)[0][8, 8] for s in range(40)])
    assert (views >= 89).all()  # 100 · 0.9, and one for rounding
    assert (views <= 111).all()
    assert (np.ptp(views.astype(int), axis=0) > 10).all()
    assert (views[:, 0] != views[:, 1]).any()
