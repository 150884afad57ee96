from typing import get_args

import numpy as np
import pytest

from edgeskin.contract.region import Box, SecondPass, Strategy, region
from edgeskin.train.second_view import UInt8, as_second_pass

SIZE = 64


def view() -> tuple[UInt8, UInt8]:
    """A view whose second channel is its mask, times 50, and never 128."""
    mask = np.zeros((SIZE, SIZE), np.uint8)
    mask[20:40, 15:45] = 1
    image = np.random.default_rng(0).integers(0, 100, (SIZE, SIZE, 3), dtype=np.uint8)
    image[..., 1] = mask * 50
    return image, mask


def second(strategy: Strategy) -> SecondPass:
    return SecondPass(strategy=strategy, heads=("diagnosis",))


def drawn(strategy: Strategy, seed: int) -> tuple[UInt8, UInt8]:
    return as_second_pass(*view(), second(strategy), np.random.default_rng(seed))


@pytest.mark.parametrize("strategy", get_args(Strategy))
def test_a_view_keeps_its_shapes_and_types(strategy: Strategy) -> None:
    image, mask = drawn(strategy, 0)
    assert (image.shape, image.dtype, mask.shape, mask.dtype) == ((SIZE, SIZE, 3), np.uint8, (SIZE, SIZE), np.uint8)
    assert image.flags.c_contiguous
    assert set(np.unique(mask)) == {0, 1}


@pytest.mark.parametrize("strategy", get_args(Strategy))
def test_a_view_without_a_lesion_stays_as_it_is(strategy: Strategy) -> None:
    image, _ = view()
    empty = np.zeros((SIZE, SIZE), np.uint8)
    shown, mask = as_second_pass(image, empty, second(strategy), np.random.default_rng(0))
    assert np.array_equal(shown, image)
    assert not mask.any()


@pytest.mark.parametrize("strategy", get_args(Strategy))
def test_the_seed_decides(strategy: Strategy) -> None:
    first, again = drawn(strategy, 1), drawn(strategy, 1)
    assert np.array_equal(first[0], again[0])
    assert np.array_equal(first[1], again[1])


def test_the_mask_strategy_shows_the_lesion_alone() -> None:
    image, mask = view()
    shown, same = drawn("mask", 3)
    assert np.array_equal(shown, np.where(mask[..., None] == 1, image, 128))
    assert np.array_equal(same, mask)


def test_the_box_varies_a_little_about_the_papers() -> None:
    image, mask = view()
    exact = region(mask.astype(np.bool_), "box", 1.4)
    seen = set()
    for seed in range(40):
        shown, same = drawn("box", seed)
        assert np.array_equal(same, mask)
        rows, columns = (np.flatnonzero((shown != 128).any(axis=2).any(axis=axis)) for axis in (1, 0))
        box = Box(int(columns[0]), int(rows[0]), len(columns), len(rows))
        assert np.array_equal(shown[box.pixels], image[box.pixels])
        # By hand: a margin of 1.4 × exp(±0.1) on 30 × 20 is 8 × 5 pixels more at most, and 5 % of that is 2 pixels.
        assert abs(box.width - exact.width) <= 6
        assert abs(box.height - exact.height) <= 4
        assert abs((2 * box.left + box.width) - (2 * exact.left + exact.width)) <= 6
        seen.add(box)
    assert len(seen) > 20


def test_a_cropped_mask_follows_its_image() -> None:
    for seed in range(10):
        shown, mask = drawn("crop", seed)
        assert mask.mean() > view()[1].mean()
        assert ((shown[..., 1] >= 25) == (mask == 1)).mean() > 0.97
