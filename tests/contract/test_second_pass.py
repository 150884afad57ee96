import numpy as np

from edgeskin.contract.image import Letterbox
from edgeskin.contract.model import MaskCleanup
from edgeskin.contract.region import Box, SecondPass, region
from edgeskin.contract.second_pass import joined, lesion_in_square, second_input

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
