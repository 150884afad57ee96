import numpy as np
import pytest
import torch

from edgeskin.train.standardise import REACH, z_score


def images() -> torch.Tensor:
    return torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1


def test_each_image_has_mean_zero_and_deviation_one_as_numpy_has_it() -> None:
    image = images()
    image[1] = image[1] * 0.1 + 0.5
    values = image.numpy()
    expected = (values - values.mean((1, 2, 3), keepdims=True)) / values.std((1, 2, 3), keepdims=True)
    assert REACH * z_score(image).numpy() == pytest.approx(expected, abs=1e-5)


def test_two_pixels_by_hand() -> None:
    # Values −0.5 and 0.5, three of each: mean 0, deviation 0.5; one deviation is a quarter of the range.
    image = torch.tensor([-0.5, 0.5]).reshape(1, 1, 1, 2).expand(1, 3, 1, 2)
    assert z_score(image)[0, 0, 0].tolist() == [-0.25, 0.25]


def test_bars_count_for_nothing_and_are_the_mean() -> None:
    inner = images()[:, :, 4:12]
    image = torch.zeros(2, 3, 16, 16)
    image[:, :, 4:12] = inner
    result = z_score(image)
    assert (result[:, :, :4] == 0).all()
    assert (result[:, :, 12:] == 0).all()
    assert torch.allclose(result[:, :, 4:12], z_score(inner), atol=1e-6)


def test_brightness_and_contrast_of_an_image_no_longer_count() -> None:
    changed = images() * 0.3 + 0.2
    assert np.allclose(z_score(changed), z_score(images()), atol=1e-5)


def test_a_plain_image_becomes_zero() -> None:
    assert (z_score(torch.full((2, 3, 16, 16), 0.25)) == 0).all()


def test_what_lies_beyond_the_range_is_clipped_into_the_inputs_own() -> None:
    image = torch.full((1, 3, 16, 16), 0.1)
    image[0, 0, 0, 0] = 1  # one of 768 values: far more than four deviations from the mean
    result = z_score(image)
    assert result.max() == 127 / 128
    assert result.min() >= -1
