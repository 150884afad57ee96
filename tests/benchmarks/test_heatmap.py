"""Overlays by their pixels."""

import io

import numpy as np
from PIL import Image

from edgeskin.benchmarks.heatmap import OPACITY, TILE, Tile, overlay, sheet

GREY = np.full((TILE, TILE, 3), 100, np.uint8)
NOWHERE = np.zeros((TILE, TILE), bool)


def test_where_nothing_is_active_the_photo_shows_alone() -> None:
    np.testing.assert_array_equal(overlay(GREY, np.zeros((TILE, TILE), np.float32), NOWHERE), GREY)


def test_where_a_map_is_one_its_colour_covers_the_photo_by_the_opacity() -> None:
    shown = overlay(GREY, np.ones((TILE, TILE), np.float32), NOWHERE)
    # The brightest colour of the map "inferno" is (252, 255, 164).
    expected = [round(100 * (1 - OPACITY) + colour * OPACITY) for colour in (252, 255, 164)]
    assert np.abs(shown[50, 60].astype(int) - expected).max() <= 1


def test_the_lesion_is_outlined_not_filled() -> None:
    mask = NOWHERE.copy()
    mask[50:100, 60:120] = True
    shown = overlay(GREY, np.zeros((TILE, TILE), np.float32), mask)
    assert shown[50, 80].tolist() == [0, 255, 255]
    assert shown[75, 90].tolist() == [100, 100, 100]
    assert shown[20, 20].tolist() == [100, 100, 100]


def test_a_sheet_has_a_row_an_image_a_column_a_map_and_its_blocks_side_by_side() -> None:
    tile = Tile(GREY, (np.zeros((TILE, TILE), np.float32),) * 2, NOWHERE, "one\ntwo")

    def drawn(*rows: int) -> Image.Image:
        blocks = {f"block {number}": [tile] * count for number, count in enumerate(rows)}
        return Image.open(io.BytesIO(sheet("title", ("a", "b"), blocks)))

    one, two, three = drawn(1), drawn(2), drawn(3)
    assert one.width == three.width > 3 * TILE
    assert three.height - two.height == two.height - one.height >= TILE
    beside = drawn(3, 1)
    assert beside.size == (2 * one.width, three.height)
    assert drawn(3, 0).size == three.size
    assert drawn().width == one.width
    # The second block's only photo stands beside the first of the first block, the rest of it is white.
    pixels = np.asarray(beside.convert("L"), int)
    top = int(np.argmax((abs(pixels[:, : one.width] - 100) < 8).sum(axis=1) > 2 * TILE))
    assert abs(pixels[top + 5, one.width + 20] - 100) < 8
    assert pixels[-TILE:, one.width + 20].min() > 247
