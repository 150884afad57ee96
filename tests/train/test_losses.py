import math

import numpy as np
import pytest
import torch

from edgeskin.train.balance import balanced_weights
from edgeskin.train.losses import mask_loss, sigmoid_loss, softmax_loss

sklearn_metrics = pytest.importorskip("sklearn.metrics")


def test_mask_loss_by_hand() -> None:
    # Logits 0: every probability is 1/2, BCE is ln 2. One lesion pixel of four: Dice = (2·0.5 + 1) / (2 + 1 + 1) = 1/2.
    mask = torch.tensor([[[[1.0, 0.0], [0.0, 0.0]]]])
    loss = mask_loss(torch.zeros(1, 1, 2, 2), mask, torch.ones(1))
    assert float(loss) == pytest.approx(0.5 * math.log(2) + 0.5 * 0.5, abs=1e-6)


def test_a_sure_and_right_mask_costs_nothing() -> None:
    mask = (torch.rand(2, 1, 8, 8) > 0.5).float()
    assert float(mask_loss(40 * (2 * mask - 1), mask, torch.ones(2))) == pytest.approx(0, abs=1e-6)


def test_a_case_without_a_mask_does_not_count() -> None:
    logits, mask = torch.randn(2, 1, 4, 4), (torch.rand(2, 1, 4, 4) > 0.5).float()
    with_both = mask_loss(logits, mask, torch.tensor([1.0, 0.0]))
    assert float(with_both) == pytest.approx(float(mask_loss(logits[:1], mask[:1], torch.ones(1))))


def test_a_batch_without_any_truth_costs_nothing_and_moves_nothing() -> None:
    logits = torch.randn(3, 2, requires_grad=True)
    pixels = torch.randn(3, 1, 4, 4, requires_grad=True)
    missing = torch.full((3,), -1)
    total = (
        softmax_loss(logits, missing, torch.ones(2))
        + sigmoid_loss(logits[:, :1], missing, torch.ones(2))
        + mask_loss(pixels, torch.zeros(3, 1, 4, 4), torch.zeros(3))
    )
    total.backward()
    assert float(total.detach()) == 0
    assert logits.grad is not None
    assert pixels.grad is not None
    assert not logits.grad.any()
    assert not pixels.grad.any()


def test_softmax_loss_is_the_weighted_log_loss_of_scikit_learn() -> None:
    generator = torch.Generator().manual_seed(0)
    logits, label = torch.randn(6, 3, generator=generator), torch.tensor([0, 2, -1, 1, 2, -1])
    weights = torch.tensor([0.5, 2.0, 1.5])
    known = label >= 0
    expected = sklearn_metrics.log_loss(
        label[known].numpy(),
        logits[known].double().softmax(1).numpy(),
        sample_weight=weights[label[known]].numpy(),
        normalize=False,
        labels=[0, 1, 2],
    ) / int(known.sum())
    assert float(softmax_loss(logits, label, weights)) == pytest.approx(expected, rel=1e-5)


def test_sigmoid_loss_is_the_weighted_log_loss_of_scikit_learn() -> None:
    generator = torch.Generator().manual_seed(1)
    logits, label = torch.randn(6, 1, generator=generator), torch.tensor([0, 1, -1, 1, 0, 0])
    weights = torch.tensor([0.6, 3.0])
    known = label >= 0
    expected = sklearn_metrics.log_loss(
        label[known].numpy(),
        logits[known, 0].double().sigmoid().numpy(),
        sample_weight=weights[label[known]].numpy(),
        normalize=False,
    ) / int(known.sum())
    assert float(sigmoid_loss(logits, label, weights)) == pytest.approx(expected, rel=1e-5)


def test_smoothing_by_hand() -> None:
    # Three classes, 0.3 shared out: targets 0.8, 0.1, 0.1. Probabilities 1/2, 1/4, 1/4.
    logits = torch.log(torch.tensor([[0.5, 0.25, 0.25]]))
    expected = -(0.8 * math.log(0.5) + 0.2 * math.log(0.25))
    assert float(softmax_loss(logits, torch.tensor([0]), torch.ones(3), 0.3)) == pytest.approx(expected, rel=1e-6)
    # A yes at smoothing 0.2 is 0.9; probability 3/4.
    logit = torch.tensor([[math.log(3)]])
    expected = -(0.9 * math.log(0.75) + 0.1 * math.log(0.25))
    assert float(sigmoid_loss(logit, torch.tensor([1]), torch.ones(2), 0.2)) == pytest.approx(expected, rel=1e-6)


def test_balanced_weights_by_hand() -> None:
    # Four known: three of class 0, one of class 1: 4 / (2·3) and 4 / (2·1).
    weights = balanced_weights(np.array([0, 0, -1, 1, 0, -1]), 2)
    np.testing.assert_allclose(weights, [2 / 3, 2], rtol=1e-6)
    assert weights.dtype == np.float32


def test_balanced_weights_are_those_of_scikit_learn() -> None:
    compute = pytest.importorskip("sklearn.utils.class_weight").compute_class_weight
    labels = np.repeat(np.arange(3), (374, 1372, 254))  # ISIC 2017 train: melanoma, nevus, keratosis
    expected = compute("balanced", classes=np.arange(3), y=labels)
    np.testing.assert_allclose(balanced_weights(labels, 3), expected, rtol=1e-6)
