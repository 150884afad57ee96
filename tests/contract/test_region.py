from typing import get_args

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from edgeskin.contract.region import Box, Mask, SecondPass, Strategy, present, region

UInt8 = npt.NDArray[np.uint8]

SIZE = 32


def lesion(left: int, top: int, width: int, height: int, size: int = SIZE) -> Mask:
    """An ellipse-like cross that touches all four sides of its box, so that mask and box differ."""
    mask = np.zeros((size, size), np.bool_)
    mask[top + height // 2, left : left + width] = True
    mask[top : top + height, left + width // 2] = True
    return mask


def picture(size: int = SIZE) -> UInt8:
    return np.random.default_rng(0).integers(0, 100, (3, size, size), dtype=np.uint8)


def second(strategy: Strategy, margin: float = 1.4) -> SecondPass:
    return SecondPass(strategy=strategy, margin=margin, heads=("diagnosis",))


masks = st.integers(1, 12).flatmap(
    lambda points: st.lists(
        st.tuples(st.integers(0, SIZE - 1), st.integers(0, SIZE - 1)), min_size=points, max_size=points
    )
)


def dotted(points: list[tuple[int, int]]) -> Mask:
    mask = np.zeros((SIZE, SIZE), np.bool_)
    for row, column in points:
        mask[row, column] = True
    return mask


# --- the box ---


def test_a_box_grows_by_its_margin_about_its_centre() -> None:
    # By hand: 10 × 5 at 1.4 grows by 2 to the left and right and by 1 up and down: 14 × 7.
    assert region(lesion(8, 12, 10, 5), "box", 1.4) == Box(6, 11, 14, 7)


def test_a_margin_of_one_is_tight() -> None:
    mask = lesion(8, 12, 10, 5)
    assert region(mask, "box", 1.0) == region(mask, "mask", 1.0) == Box(8, 12, 10, 5)
    assert region(mask, "crop", 1.0) == Box(8, 9, 10, 10)  # centre (13, 14.5): rows 9.5 … 19.5, half a pixel up


def test_a_box_is_cut_off_at_the_frame() -> None:
    # By hand: 20 × 10 at 1.4 grows by 4 and by 2; left of 0 and above 0 nothing is.
    assert region(lesion(1, 0, 20, 10), "box", 1.4) == Box(0, 0, 25, 12)


def test_a_crop_is_square_and_moves_into_the_frame() -> None:
    # By hand: 20 × 10 at 1.4 is 28 × 14, so a square of 28 about (11, 5), moved to the corner.
    assert region(lesion(1, 0, 20, 10), "crop", 1.4) == Box(0, 0, 28, 28)
    assert region(lesion(2, 2, 28, 28), "crop", 1.4) == Box(0, 0, SIZE, SIZE)


def test_the_mask_strategy_knows_no_margin() -> None:
    mask = lesion(8, 12, 10, 5)
    assert region(mask, "mask", 1.4) == region(mask, "mask", 4.0)


@pytest.mark.parametrize("strategy", get_args(Strategy))
def test_of_an_empty_mask_everything_is_shown(strategy: Strategy) -> None:
    empty = np.zeros((SIZE, SIZE), np.bool_)
    assert region(empty, strategy, 1.4) == Box(0, 0, SIZE, SIZE)
    assert np.array_equal(present(picture(), empty, second(strategy)), picture())


@pytest.mark.parametrize("strategy", get_args(Strategy))
@settings(max_examples=60, deadline=None)
@given(points=masks, margin=st.floats(1, 4))
def test_a_region_lies_in_the_frame_and_holds_the_mask(
    strategy: Strategy, points: list[tuple[int, int]], margin: float
) -> None:
    mask = dotted(points)
    box = region(mask, strategy, margin)
    assert 0 <= box.left < box.left + box.width <= SIZE
    assert 0 <= box.top < box.top + box.height <= SIZE
    assert mask[box.pixels].sum() == mask.sum()
    if strategy == "crop":
        assert box.width == box.height


@settings(max_examples=60, deadline=None)
@given(points=masks)
def test_the_tight_box_is_opencvs_bounding_rectangle(points: list[tuple[int, int]]) -> None:
    mask = dotted(points)
    box = region(mask, "box", 1.0)
    assert (box.left, box.top, box.width, box.height) == cv2.boundingRect(mask.astype(np.uint8))


@settings(max_examples=40, deadline=None)
@given(points=masks, margins=st.tuples(st.floats(1, 4), st.floats(1, 4)))
def test_a_larger_margin_shows_no_less(points: list[tuple[int, int]], margins: tuple[float, float]) -> None:
    mask = dotted(points)
    less, more = (region(mask, "box", margin) for margin in sorted(margins))
    shown = np.zeros_like(mask)
    shown[more.pixels] = True
    assert shown[less.pixels].all()


# --- what the second pass is shown ---


def test_outside_the_mask_is_mid_grey() -> None:
    mask, image = lesion(8, 12, 10, 5), picture()
    shown = present(image, mask, second("mask"))
    assert np.array_equal(shown[:, mask], image[:, mask])
    assert (shown[:, ~mask] == 128).all()


def test_outside_the_box_is_mid_grey() -> None:
    image = picture()
    shown = present(image, lesion(8, 12, 10, 5), second("box"))
    expected = np.full_like(image, 128)
    expected[:, 11:18, 6:20] = image[:, 11:18, 6:20]
    assert np.array_equal(shown, expected)


def test_a_crop_fills_the_square() -> None:
    # By hand: a square of 16 about (16, 16), enlarged twice, has the bilinear weights 1/4 and 3/4.
    image = np.zeros((3, SIZE, SIZE), np.uint8)
    image[:, :, 16:] = 200
    shown = present(image, lesion(8, 8, 16, 16), second("crop", 1.0))
    assert shown.shape == image.shape
    assert shown.flags.c_contiguous
    assert shown[0, 5].tolist() == [0] * 15 + [50, 150] + [200] * 15


@pytest.mark.parametrize("strategy", get_args(Strategy))
def test_a_lesion_that_fills_the_frame_leaves_the_image_as_it_is(strategy: Strategy) -> None:
    full = np.ones((SIZE, SIZE), np.bool_)
    assert np.array_equal(present(picture(), full, second(strategy)), picture())


@pytest.mark.parametrize("strategy", get_args(Strategy))
def test_the_image_itself_is_not_changed(strategy: Strategy) -> None:
    image = picture()
    present(image, lesion(8, 12, 10, 5), second(strategy))
    assert np.array_equal(image, picture())


# --- as data ---


@pytest.mark.parametrize(
    "written",
    [
        {"strategy": "box", "heads": []},
        {"strategy": "box", "heads": ["diagnosis"], "margin": 0.9},
        {"strategy": "black", "heads": ["diagnosis"]},
        {"strategy": "box", "heads": ["diagnosis"], "dilate": 1.4},
    ],
)
def test_a_second_pass_that_makes_no_sense_is_refused(written: object) -> None:
    with pytest.raises(ValidationError):
        SecondPass.model_validate(written)


def test_the_margin_is_the_thesiss_unless_another_is_written() -> None:
    assert SecondPass.model_validate({"strategy": "box", "heads": ["diagnosis"]}).margin == 1.4
