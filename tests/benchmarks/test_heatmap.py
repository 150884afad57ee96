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


def test_a_sheet_has_a_row_an_image_and_a_column_a_map() -> None:
    tile = Tile(GREY, (np.zeros((TILE, TILE), np.float32),) * 2, NOWHERE, "one\ntwo")
    one, three = (Image.open(io.BytesIO(sheet("title", ("a", "b"), [tile] * rows))) for rows in (1, 3))
    assert one.width == three.width > 3 * TILE
    assert three.height - one.height == 2 * (one.height - 68)
    assert Image.open(io.BytesIO(sheet("nothing", ("a", "b"), []))).width == one.width
