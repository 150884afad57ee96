import numpy as np
import pytest
from second_pass_graphs import SIZE, card

from edgeskin.contract.image import Letterbox
from edgeskin.contract.model import MaskCleanup
from edgeskin.contract.region import Box, SecondPass, region
from edgeskin.contract.second_pass import Float32, Outputs, UInt8, joined, lesion_in_square, look, second_input
from edgeskin.errors import TargetError

AS_IT_IS = MaskCleanup(close_fraction=0, largest_component=False, fill_holes=False)
BOX = SecondPass(strategy="box", heads=("diagnosis",))


def test_what_the_network_draws_on_the_bars_is_no_lesion() -> None:
    probability = np.full((32, 32), 0.9, np.float32)
    lesion = lesion_in_square(probability, Letterbox.fit(64, 32, 32), 0.5, AS_IT_IS)
    assert lesion[8:24].all()
    assert lesion.sum() == 16 * 32


def test_the_threshold_itself_is_lesion() -> None:
    probability = np.full((32, 32), 0.3, np.float32)
    assert lesion_in_square(probability, Letterbox.fit(32, 32, 32), 0.3, AS_IT_IS).all()
    assert not lesion_in_square(probability, Letterbox.fit(32, 32, 32), 0.31, AS_IT_IS).any()


def test_a_speck_far_from_the_lesion_does_not_widen_the_box() -> None:
    probability = np.zeros((32, 32), np.float32)
    probability[10:20, 8:18] = 1
    probability[30, 30] = 1
    square = Letterbox.fit(32, 32, 32)
    assert region(lesion_in_square(probability, square, 0.5, MaskCleanup()), "box", 1.0) == Box(8, 10, 10, 10)
    assert region(lesion_in_square(probability, square, 0.5, AS_IT_IS), "box", 1.0) == Box(8, 10, 23, 21)


def test_without_a_lesion_there_is_no_second_pass() -> None:
    image = np.full((3, 32, 32), 7, np.uint8)
    assert second_input(image, np.zeros((32, 32), np.bool_), BOX) is None
    assert second_input(image, np.eye(32, dtype=np.bool_), BOX) is not None


def test_only_the_second_passs_heads_are_answered_by_it() -> None:
    first = {name: np.zeros(2, np.float32) for name in ("lesion", "diagnosis", "melanoma")}
    second = {name: np.ones(2, np.float32) for name in first}
    both = joined(first, second, BOX)
    assert list(both) == list(first)
    assert {name: float(values[0]) for name, values in both.items()} == {"lesion": 0, "diagnosis": 1, "melanoma": 0}


# --- a network on a photo ---

CARD = card()
WHOLE = Letterbox.fit(SIZE, SIZE, SIZE)


class Looking:
    """Dark red is lesion; melanoma is the mean of red over 255. Keeps what it was shown."""

    def __init__(self) -> None:
        self.shown: list[tuple[UInt8, Float32 | None]] = []

    def run(self, image: UInt8, metadata: Float32 | None) -> Outputs:
        self.shown.append((image, metadata))
        return {
            "mask": (image[:, :1] < 100).astype(np.float32),
            "melanoma": np.array([[image[0, 0].mean() / 255]], np.float32),
        }


def spotted() -> UInt8:
    """Light skin of 228, and a dark spot of 28, 8 × 8 of 32 × 32 pixels."""
    image = np.full((1, 3, SIZE, SIZE), 228, np.uint8)
    image[..., 4:12, 10:18] = 28
    return image


def test_a_declared_second_pass_answers_from_the_lesion_alone() -> None:
    network, metadata = Looking(), np.ones((1, 3), np.float32)
    found = look(network.run, CARD, WHOLE, spotted(), metadata)
    # By hand: a sixteenth of the pixels is 28, the others 228 on the first look and 128 on the second.
    assert found["melanoma"][0, 0] == pytest.approx((28 / 16 + 128 * 15 / 16) / 255)
    assert found["mask"].sum() == 64
    (first, _), (second, told) = network.shown
    np.testing.assert_array_equal(first, spotted())
    assert second.shape == first.shape
    assert told is metadata
    assert set(np.unique(second)) == {28, 128}


def test_a_network_runs_once_where_nothing_is_declared_or_found() -> None:
    for declared, image in ((CARD.model_copy(update={"second_pass": None}), spotted()), (CARD, spotted() // 2 + 110)):
        network = Looking()
        found = look(network.run, declared, WHOLE, image)
        assert len(network.shown) == 1
        assert found["melanoma"][0, 0] == pytest.approx(image[0, 0].mean() / 255)


def test_a_first_pass_without_a_usable_mask_is_an_error_and_not_an_empty_lesion() -> None:
    for mask, said in ((None, "output mask is missing"), (np.nan, "no probabilities")):

        def run(image: UInt8, metadata: Float32 | None, mask: float | None = mask) -> Outputs:
            drawn = {} if mask is None else {"mask": np.full((1, 1, SIZE, SIZE), mask, np.float32)}
            return {"melanoma": np.zeros((1, 1), np.float32), **drawn}

        with pytest.raises(TargetError, match=said):
            look(run, CARD, WHOLE, spotted())
