from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from edgeskin.contract.metadata import MetadataSpec, NumberField
from edgeskin.contract.model import HeadSpec, MaskCleanup
from edgeskin.contract.preprocess import Clahe, ShadesOfGray, ZScore, network_input
from edgeskin.contract.region import SecondPass
from edgeskin.data.cases import Case
from edgeskin.train.clinical import clinical_fields
from edgeskin.train.loader import Samples, Showing
from edgeskin.train.score import measure, probabilities

sklearn_metrics = pytest.importorskip("sklearn.metrics")

MASK = HeadSpec(name="mask", kind="mask", labels=("lesion",), threshold=0.5)
DIAGNOSIS = HeadSpec(name="diagnosis", kind="softmax", labels=("melanoma", "nevus", "seborrheic_keratosis"))
MELANOMA = HeadSpec(name="melanoma", kind="sigmoid", labels=("melanoma",), threshold=0.5)
HEADS = (MASK, DIAGNOSIS, MELANOMA)
CPU = torch.device("cpu")


def samples() -> Samples:
    """Black pictures with a white half: the left one is the lesion in the first, the top one in the second, …"""
    images, masks = [], []
    for index in range(5):
        image = np.zeros((32, 32, 3), np.uint8)
        image[:, :16] = 255
        mask = np.zeros((32, 32), np.uint8)
        mask[:, : (16, 32, 8, 0, 16)[index]] = 1
        images.append(image)
        masks.append(None if index == 4 else mask)
    labels = {"diagnosis": np.array([0, 1, 2, -1, 1]), "melanoma": np.array([1, 0, 0, -1, 1])}
    return Samples(tuple(images), tuple(masks), labels, Showing(32))


def white_is_lesion(image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    count = len(image)
    return image[:, :1] * 5, torch.tensor([[0.0, 2.0, 0.0]]).expand(count, 3), torch.full((count, 1), 0.5)


def test_a_masks_answer_is_its_jaccard_by_hand() -> None:
    answers = probabilities(white_is_lesion, samples(), HEADS, 2, CPU)
    # Found: the left 16 of 32 columns. Against 16: 1; 32: 1/2; 8: 1/2; none: 0; no mask: unknown.
    np.testing.assert_allclose(answers["mask"], [1, 0.5, 0.5, 0, np.nan])


def test_nothing_found_where_nothing_is_counts_as_right() -> None:
    empty = Samples((np.zeros((32, 32, 3), np.uint8),), (np.zeros((32, 32), np.uint8),), {}, Showing(32))
    answers = probabilities(lambda image: (image[:, :1] * 5,), empty, (MASK,), 1, CPU)
    assert answers["mask"].tolist() == [1]


def test_other_heads_answer_with_probabilities() -> None:
    answers = probabilities(white_is_lesion, samples(), HEADS, 2, CPU)
    np.testing.assert_allclose(answers["diagnosis"].sum(1), 1, rtol=1e-6)
    np.testing.assert_allclose(answers["melanoma"], 1 / (1 + np.exp(-0.5)), rtol=1e-6)
    assert answers["melanoma"].shape == (5, 1)


def test_a_network_is_given_its_fields_and_what_stands_behind_the_heads_is_left_out() -> None:
    spec = MetadataSpec(fields=(NumberField(name="age", low=0, high=100),))
    cases = [Case(str(age), Path("a.jpg"), None, "train", None, {"age": str(age)}) for age in (0, 25, 50, 75, 100)]
    fields = clinical_fields(cases, spec, 0.9, None)  # which hides most of them in training

    def network(image: Tensor, metadata: Tensor) -> tuple[Tensor, Tensor]:
        return metadata[:, :1], torch.zeros(len(image), 320, 1, 1)

    answers = probabilities(network, replace(samples(), fields=fields), (MELANOMA,), 2, CPU)
    # The field is scaled to −1 … 1.
    np.testing.assert_allclose(answers["melanoma"][:, 0], 1 / (1 + np.exp([1, 0.5, 0, -0.5, -1])), rtol=1e-6)


# --- with a second pass ---

AS_IT_IS = MaskCleanup(close_fraction=0, largest_component=False, fill_holes=False)


def white_is_lesion_and_mean(image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Melanoma's logit is the mean of red."""
    mask, diagnosis, _ = white_is_lesion(image)
    return mask, diagnosis, image[:, :1].mean((2, 3))


def twice(strategy: str, **showing: object) -> Samples:
    second_pass = SecondPass(strategy=strategy, heads=("melanoma",))
    return replace(samples(), showing=Showing(32, second_pass=second_pass, **showing))


def test_heads_of_a_second_pass_answer_from_the_region_of_the_networks_own_mask() -> None:
    once = probabilities(white_is_lesion_and_mean, samples(), HEADS, 2, CPU)
    both = probabilities(white_is_lesion_and_mean, twice("mask"), HEADS, 2, CPU, AS_IT_IS)
    # By hand: white is 127/128, black -1, what is not shown 0; the true masks, of other widths, do not matter.
    np.testing.assert_allclose(once["melanoma"], 1 / (1 + np.exp(1 / 256)), rtol=1e-6)
    np.testing.assert_allclose(both["melanoma"], 1 / (1 + np.exp(-127 / 256)), rtol=1e-6)
    np.testing.assert_array_equal(both["mask"], once["mask"])
    np.testing.assert_array_equal(both["diagnosis"], once["diagnosis"])


def test_where_no_lesion_is_found_the_first_answer_stands() -> None:
    black = tuple(np.zeros_like(image) for image in samples().images)
    both = probabilities(white_is_lesion_and_mean, replace(twice("mask"), images=black), HEADS, 2, CPU, AS_IT_IS)
    np.testing.assert_allclose(both["melanoma"], 1 / (1 + np.exp(1)), rtol=1e-6)


def test_the_mask_is_cleaned_as_the_recipe_says_before_it_is_looked_at() -> None:
    image = np.zeros((32, 32, 3), np.uint8)
    image[:, :16] = 255
    image[:, 24] = 255
    speckled = replace(twice("mask"), images=(image,) * 5)
    largest = AS_IT_IS.model_copy(update={"largest_component": True})
    for cleanup, columns in ((AS_IT_IS, 17), (largest, 16)):
        found = probabilities(white_is_lesion_and_mean, speckled, (MASK, DIAGNOSIS, MELANOMA), 2, CPU, cleanup)
        np.testing.assert_allclose(found["melanoma"], 1 / (1 + np.exp(-127 / 128 * columns / 32)), rtol=1e-6)


def test_bytes_are_preprocessed_once_for_both_passes() -> None:
    shown: list[Tensor] = []

    def remember(image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        shown.append(image)
        return white_is_lesion_and_mean(image)

    photo = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    steps = (ShadesOfGray(), Clahe())
    given = replace(twice("mask", preprocessing=steps), images=(photo,) * 5)
    probabilities(remember, given, HEADS, 5, CPU, AS_IT_IS)
    first, second = shown
    expected = (network_input(photo, 32, steps)[0].astype(np.float32) - 128) / 128
    np.testing.assert_array_equal(first[0], expected)
    # White is lesion: what is not above mid-grey in red is not shown.
    np.testing.assert_array_equal(second[0], np.where(expected[0] >= 0, expected, 0))


def test_a_z_score_is_that_of_what_the_second_pass_is_shown() -> None:
    both = probabilities(white_is_lesion_and_mean, twice("crop", preprocessing=(ZScore(),)), HEADS, 2, CPU, AS_IT_IS)
    # The left half, enlarged with a margin, is cropped to a square of the frame's height: everything, of mean 0.
    np.testing.assert_allclose(both["melanoma"], 0.5, atol=1e-6)
    both = probabilities(white_is_lesion_and_mean, twice("mask", preprocessing=(ZScore(),)), HEADS, 2, CPU, AS_IT_IS)
    # One colour alone deviates from its mean by nothing, and the rest is not content.
    np.testing.assert_allclose(both["melanoma"], 0.5, atol=1e-6)


def test_figures_leave_missing_truth_out() -> None:
    random = np.random.default_rng(0)
    answers = {
        "mask": np.array([1, 0.5, 0.5, 0, np.nan], np.float32),
        "diagnosis": random.dirichlet(np.ones(3), 5).astype(np.float32),
        "melanoma": random.random((5, 1), np.float32),
    }
    figures = measure(answers, samples(), HEADS)
    known = [0, 1, 2, 4]
    truth = samples().labels
    assert figures == {
        "mask_jaccard": pytest.approx(0.5),
        "diagnosis_balanced_accuracy": pytest.approx(
            sklearn_metrics.balanced_accuracy_score(truth["diagnosis"][known], answers["diagnosis"][known].argmax(1))
        ),
        "melanoma_auroc": pytest.approx(
            sklearn_metrics.roc_auc_score(truth["melanoma"][known], answers["melanoma"][known, 0])
        ),
    }
