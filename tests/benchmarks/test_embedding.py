"""Projections against scikit-learn and by hand; pictures by their pixels."""

import io

import numpy as np
import pytest
from PIL import Image

from edgeskin.benchmarks.embedding import PALETTE, principal_components, scatter, tsne
from edgeskin.errors import DataError, MissingDependencyError


def test_principal_components_agree_with_scikit_learn() -> None:
    decomposition = pytest.importorskip("sklearn.decomposition")
    features = np.random.default_rng(2).normal(size=(40, 7)) * np.arange(1, 8)
    points, share = principal_components(features)
    theirs = decomposition.PCA(2).fit(features)
    np.testing.assert_allclose(np.abs(points), np.abs(theirs.transform(features)), atol=1e-9)
    assert share == pytest.approx(theirs.explained_variance_ratio_.sum())


def test_principal_components_of_a_line_lie_on_one_axis_in_its_direction() -> None:
    # By hand: (0, 0), (3, 4), (6, 8) are 5 apart along one direction, whose larger feature is the second.
    points, share = principal_components(np.array([[0.0, 0.0], [3.0, 4.0], [6.0, 8.0]]))
    np.testing.assert_allclose(points, [[-5, 0], [0, 0], [5, 0]], atol=1e-9)
    assert share == pytest.approx(1)


@pytest.mark.parametrize("features", [np.ones((4, 3)), np.ones((1, 3)), np.arange(5.0)[:, None]])
def test_features_of_fewer_than_two_dimensions_have_a_picture_too(features: np.ndarray) -> None:
    points, _ = principal_components(features)
    assert points.shape == (len(features), 2)
    assert np.isfinite(points).all()
    scatter(points, np.zeros(len(features), np.int64), ("a",), "")


def test_t_sne_keeps_two_clusters_apart_and_is_the_same_each_time() -> None:
    pytest.importorskip("sklearn")
    features = np.random.default_rng(0).normal(size=(24, 5))
    features[12:] += 20
    points = tsne(features)
    distances = np.linalg.norm(points[:, None] - points[None], axis=2)
    np.fill_diagonal(distances, np.inf)
    assert (distances.argmin(axis=1) >= 12).tolist() == [False] * 12 + [True] * 12
    np.testing.assert_array_equal(points, tsne(features))


def test_t_sne_without_scikit_learn_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgeskin.optional.available", lambda _: False)
    with pytest.raises(MissingDependencyError, match=r"edgeskin\[analysis\]"):
        tsne(np.ones((9, 2)))
    with pytest.raises(DataError, match="3 images"):
        tsne(np.ones((3, 2)))


def test_every_class_is_drawn_in_its_colour_and_counted_in_the_legend() -> None:
    points = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    picture = Image.open(io.BytesIO(scatter(points, np.array([0, 1, 1, -1]), ("a", "b", "c"), "title")))
    pixels = np.asarray(picture.convert("RGB"))

    def count(colour: str) -> int:
        wanted = [int(colour[start : start + 2], 16) for start in (1, 3, 5)]
        return int((np.abs(pixels.astype(int) - wanted).max(axis=2) <= 2).sum())

    one, two, three = (count(colour) for colour in PALETTE[:3])
    # Dots of the points and one each in the legend: 2, 3 and 1 of equal size.
    assert three > 20
    assert [round(n / three) for n in (one, two)] == [2, 3]
    # The unknown one stands at the top right: 320 from the middle (360, 380), either way.
    assert np.abs(pixels[60, 680].astype(int) - 0xCC).max() <= 2
    again = scatter(points, np.array([0, 1, 1, 2]), ("a", "b", "c"), "title")
    assert np.asarray(Image.open(io.BytesIO(again))).shape == pixels.shape
