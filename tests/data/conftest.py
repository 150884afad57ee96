"""Pictures with enough structure to be recognised again."""

from collections.abc import Callable

import cv2
import numpy as np
import numpy.typing as npt
import pytest

Pixels = npt.NDArray[np.uint8]


@pytest.fixture(scope="session")
def lesion() -> Callable[[int], Pixels]:
    """A skin-coloured picture with a dark blob and texture at several scales, [96, 96, 3], another for each seed."""

    def draw(seed: int) -> Pixels:
        random = np.random.default_rng(seed)
        rows, columns = np.mgrid[-1:1:96j, -1:1:96j]
        centre = random.uniform(-0.25, 0.25, 2)
        radius = np.hypot(rows - centre[0], (columns - centre[1]) * random.uniform(0.7, 1.3))
        depth = 1 / (1 + np.exp((radius - random.uniform(0.35, 0.55)) * 12))
        texture = sum(
            weight * cv2.GaussianBlur(random.standard_normal((96, 96)), (0, 0), sigma) * sigma
            for sigma, weight in ((2, 0.5), (4, 0.6), (8, 0.6))
        )
        tone = np.array([220, 170, 150]) * (1 - depth[..., None] * np.array([0.5, 0.65, 0.7]))
        return np.clip(tone * np.exp(0.25 * np.asarray(texture)[..., None]), 0, 255).astype(np.uint8)

    return draw
