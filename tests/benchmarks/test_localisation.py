"""Numbers are counted by hand on small grids; dilation is checked against OpenCV."""

import cv2
import numpy as np
import pytest

from edgeskin.benchmarks.localisation import Localisation, dilate, normalise, score, summarise


def lesion() -> np.ndarray:
    """One pixel in the middle of 9 × 9: dilated twice it is the 5 × 5 square of rows and columns 2 to 6."""
    mask = np.zeros((9, 9), bool)
    mask[4, 4] = True
    return mask


def test_a_mask_grows_by_the_square_as_in_opencv_and_never_around_the_frame() -> None:
    mask = np.random.default_rng(1).random((17, 23)) < 0.05
    mask[0, 0] = mask[-1, 5] = True
    expected = cv2.dilate(mask.astype(np.uint8), np.ones((3, 3), np.uint8), iterations=2)
    np.testing.assert_array_equal(dilate(mask), expected.astype(bool))
    assert dilate(lesion()).sum() == 25


def test_the_scores_of_a_map_are_those_counted_by_hand() -> None:
    activation = np.zeros((9, 9))
    activation[3:5, 0:4] = 0.6  # 8 points, of which columns 2 and 3, that is 4, lie inside
    activation[3, 3] = 0.9
    activation[8, 8] = 0.5  # not above the threshold
    assert score(activation, lesion()) == Localisation(iou=4 / (25 + 8 - 4), overlap=4 / 8, hit=True)
    activation[0, 0] = 1.0
    assert score(activation, lesion()) == Localisation(iou=4 / (25 + 9 - 4), overlap=4 / 9, hit=False)


def test_of_equal_highest_activations_the_first_counts() -> None:
    activation = np.zeros((9, 9))
    activation[0, 0] = activation[4, 4] = 1.0
    assert score(activation, lesion()) == Localisation(iou=1 / 26, overlap=1 / 2, hit=False)


def test_a_map_without_activation_finds_nothing_even_where_the_lesion_begins_in_the_corner() -> None:
    corner = np.zeros((9, 9), bool)
    corner[0, 0] = True
    assert score(np.zeros((9, 9)), corner) == Localisation(iou=0.0, overlap=None, hit=False)


def test_without_a_lesion_there_is_nothing_to_find() -> None:
    assert score(np.ones((9, 9)), np.zeros((9, 9), bool)) is None


def test_a_map_is_spread_from_0_to_1_and_evidence_against_is_cut_off() -> None:
    np.testing.assert_allclose(normalise(np.array([[-3.0, 0.0], [1.0, 4.0]])), [[0, 0], [0.25, 1]])
    np.testing.assert_allclose(normalise(np.array([[1.0, 2.0], [3.0, 5.0]])), [[0, 0.25], [0.5, 1]])
    for flat in (np.full((2, 2), 7.0), np.array([[-1.0, -2.0], [-3.0, -4.0]])):
        np.testing.assert_array_equal(normalise(flat), 0)


def test_a_split_is_summed_up_and_says_what_was_left_out() -> None:
    found = summarise(
        [Localisation(0.2, 0.5, True), Localisation(0.4, 0.7, True), Localisation(0.0, None, False), None]
    )
    assert (found.n, found.without_lesion, found.without_activation) == (3, 1, 1)
    # By hand: mean 0.2, squared distances 0 + 0.04 + 0.04 over 2; overlaps 0.5 and 0.7.
    assert (found.iou.mean, found.iou.sd, found.iou.n) == (pytest.approx(0.2), pytest.approx(0.2), 3)
    assert (found.overlap.mean, found.overlap.sd) == (pytest.approx(0.6), pytest.approx(0.02**0.5))
    assert found.pointing_game == pytest.approx(2 / 3)


def test_a_split_without_lesions_has_no_scores() -> None:
    found = summarise([None, None])
    assert (found.n, found.iou.mean, found.iou.sd, found.overlap.mean, found.pointing_game) == (
        0,
        None,
        None,
        None,
        None,
    )
