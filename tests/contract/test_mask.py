import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeskin.contract.image import Letterbox
from edgeskin.contract.mask import clean, lesion_mask, restore
from edgeskin.contract.model import MaskCleanup

Mask = npt.NDArray[np.bool_]

NOTHING = MaskCleanup(close_fraction=0, largest_component=False, fill_holes=False)
CLOSE = MaskCleanup(close_fraction=0.1, largest_component=False, fill_holes=False)
LARGEST = MaskCleanup(close_fraction=0, largest_component=True, fill_holes=False)
FILL = MaskCleanup(close_fraction=0, largest_component=False, fill_holes=True)


def drawn(picture: str) -> Mask:
    return np.array([[mark == "#" for mark in line] for line in picture.split()])


def picture(mask: Mask) -> list[str]:
    return ["".join(".#"[int(value)] for value in row) for row in mask]


# --- back to the photo ---


def test_the_content_comes_back_at_its_own_size() -> None:
    probability = np.zeros((64, 64), np.float32)
    probability[16:48] = np.random.default_rng(0).random((32, 64), np.float32)
    restored = restore(probability, Letterbox.fit(64, 32, 64))
    assert restored.dtype == np.float32
    assert np.array_equal(restored, probability[16:48])


def test_enlarging_is_bilinear_with_half_pixel_centres() -> None:
    # By hand: four pixels from two have their centres at −0.25, 0.25, 0.75, 1.25 of the old ones, clipped to 0 … 1.
    probability = np.array([[0, 1], [0, 1]], np.float32)
    restored = restore(probability, Letterbox(4, 4, 2, 0, 0, 2, 2))
    assert np.allclose(restored, np.tile([0, 0.25, 0.75, 1], (4, 1)))


def test_shrinking_averages() -> None:
    probability = np.tile(np.array([0, 1], np.float32), (32, 16))
    assert np.allclose(restore(probability, Letterbox.fit(16, 16, 32)), 0.5)


def test_padding_never_reaches_the_photo() -> None:
    probability = np.ones((64, 64), np.float32)
    probability[16:48] = 0
    assert restore(probability, Letterbox.fit(200, 100, 64)).max() == 0


def test_the_threshold_itself_is_lesion() -> None:
    probability = np.array([[0.3, 0.29999998], [0.1, 0.9]], np.float32)
    box = Letterbox(2, 2, 2, 0, 0, 2, 2)
    assert lesion_mask(probability, box, 0.3, None).tolist() == [[True, False], [False, True]]


def test_the_lesion_of_a_photo_is_cleaned_at_the_photos_size() -> None:
    probability = np.zeros((32, 32), np.float32)
    probability[10:20, 10:20] = 0.9
    probability[2:4, 2:4] = 0.9  # a smaller blob
    box = Letterbox.fit(64, 64, 32)
    assert lesion_mask(probability, box, 0.5, None).sum() > lesion_mask(probability, box, 0.5, LARGEST).sum()
    assert lesion_mask(probability, box, 0.5, LARGEST)[20:40, 20:40].all()
    assert not lesion_mask(probability, box, 0.5, LARGEST)[:15].any()


# --- cleaning ---


@pytest.mark.parametrize("cleanup", [MaskCleanup(), CLOSE, LARGEST, FILL, NOTHING])
@pytest.mark.parametrize("value", [False, True])
def test_an_empty_and_a_full_mask_stay_as_they_are(cleanup: MaskCleanup, value: bool) -> None:
    mask = np.full((30, 50), value)
    assert np.array_equal(clean(mask, cleanup), mask)


def test_a_ring_is_filled() -> None:
    ring = drawn("...... .####. .#..#. .####. ......")
    assert picture(clean(ring, FILL)) == ["......", ".####.", ".####.", ".####.", "......"]


def test_a_bay_open_to_the_frame_is_not_a_hole() -> None:
    bay = drawn("#..# #..# ####")
    assert np.array_equal(clean(bay, FILL), bay)


def test_a_hole_closed_only_by_a_diagonal_is_filled() -> None:
    hole = drawn(".#. #.# .#.")
    assert picture(clean(hole, FILL)) == [".#.", "###", ".#."]


def test_of_two_blobs_the_larger_stays() -> None:
    assert picture(clean(drawn("##...# ##...# .....#"), LARGEST)) == ["##....", "##....", "......"]


def test_of_two_equal_blobs_the_higher_stays() -> None:
    assert picture(clean(drawn("....# ##... ##..# ....# ....#"), LARGEST))[1:3] == ["##...", "##..."]
    assert picture(clean(drawn("...## ...## ##... ##..."), LARGEST)) == ["...##", "...##", ".....", "....."]


def test_pixels_that_touch_at_a_corner_are_one_lesion() -> None:
    steps = drawn("#.... .#... ..#..")
    assert np.array_equal(clean(steps, LARGEST), steps)


def test_closing_joins_what_is_near() -> None:
    # Radius round(0.1 · 20) = 2: the gap of three pixels is inside a disc's reach from both sides.
    mask = np.zeros((20, 20), bool)
    mask[5:15, 3:8] = mask[5:15, 11:16] = True
    closed = clean(mask, CLOSE)
    assert closed[9, 8:11].all()
    assert np.array_equal(clean(mask, NOTHING), mask)


def test_closing_neither_eats_a_lesion_at_the_frame_nor_grows_it_there() -> None:
    mask = np.zeros((20, 20), bool)
    mask[0:8, 0:8] = True  # in the corner
    assert np.array_equal(clean(mask, CLOSE), mask)
    near = np.zeros((20, 20), bool)
    near[2:10, 2:10] = True  # two pixels, the disc's radius, off the frame
    assert np.array_equal(clean(near, CLOSE), near)


def slow_close(mask: Mask, radius: int) -> Mask:
    """Closing by its definition, on a frame wide enough that its edge does not matter."""
    margin = 2 * radius + 1
    padded = np.pad(mask, margin)
    offsets = [
        (dy, dx)
        for dy in range(-radius, radius + 1)
        for dx in range(-radius, radius + 1)
        if dx * dx + dy * dy <= radius * radius
    ]
    dilated = np.logical_or.reduce([np.roll(padded, offset, (0, 1)) for offset in offsets])
    closed = np.logical_and.reduce([np.roll(dilated, offset, (0, 1)) for offset in offsets])
    result: Mask = closed[margin:-margin, margin:-margin]
    return result


@settings(max_examples=80, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.floats(0.02, 0.9), st.integers(0, 2**32 - 1))
def test_closing_equals_its_definition(height: int, width: int, share: float, seed: int) -> None:
    mask = np.random.default_rng(seed).random((height, width)) < share
    radius = int(0.1 * max(height, width) + 0.5)
    assert np.array_equal(clean(mask, CLOSE), slow_close(mask, radius))


@settings(max_examples=80, deadline=None)
@given(st.integers(1, 30), st.integers(1, 30), st.floats(0.2, 0.8), st.integers(0, 2**32 - 1))
def test_components_and_holes_equal_a_flood_by_hand(height: int, width: int, share: float, seed: int) -> None:
    mask = np.random.default_rng(seed).random((height, width)) < share
    cleaned = clean(mask, MaskCleanup(close_fraction=0))
    pieces = flood_pieces(mask, eight=True)
    largest = max(map(len, pieces), default=0)
    skin = flood_pieces(np.pad(~cleaned, 1, constant_values=True), eight=False)
    assert len(skin) == 1  # no hole is left
    assert len(flood_pieces(cleaned, eight=True)) == min(1, len(pieces))
    kept = [piece for piece in pieces if all(cleaned[place] for place in piece)]
    assert not pieces or max(map(len, kept)) == largest


def flood_pieces(mask: Mask, *, eight: bool) -> list[set[tuple[int, int]]]:
    left = {(int(y), int(x)) for y, x in np.argwhere(mask)}
    steps = [(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1) if eight or not (dy and dx)]
    pieces = []
    while left:
        piece, edge = set(), [left.pop()]
        while edge:
            y, x = edge.pop()
            piece.add((y, x))
            for dy, dx in steps:
                if (y + dy, x + dx) in left:
                    left.remove((y + dy, x + dx))
                    edge.append((y + dy, x + dx))
        pieces.append(piece)
    return pieces


def test_a_mask_that_is_a_view_is_cleaned_too() -> None:
    ring = drawn("...... .####. .#..#. .####. ......")
    assert np.array_equal(clean(ring[::-1, ::-1].T, FILL), clean(ring, FILL)[::-1, ::-1].T)
