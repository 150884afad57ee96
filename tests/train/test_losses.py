import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from edgeskin.train.balance import balanced_weights
from edgeskin.train.losses import (
    imputation_loss,
    mask_bce_loss,
    mask_dice_loss,
    mask_dice_rank_loss,
    mask_loss,
    rank_losses,
    sigmoid_focal_loss,
    sigmoid_loss,
    softmax_focal_loss,
    softmax_loss,
    super_resolution_loss,
    super_resolution_target,
)

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


def test_what_sampling_has_balanced_is_not_balanced_again() -> None:
    labels = np.array([0, 0, -1, 1, 0, -1])
    # 2/3 of a showing for three of class 0, two for one of class 1: two of each.
    np.testing.assert_allclose(balanced_weights(labels, 2, np.array([2 / 3, 2 / 3, 1, 2, 2 / 3, 1])), [1, 1])
    # Class 1 twice: 5 / (2·3) and 5 / (2·2).
    np.testing.assert_allclose(balanced_weights(labels, 2, np.array([1, 1, 1, 2, 1, 1.0])), [5 / 6, 5 / 4])
    np.testing.assert_array_equal(balanced_weights(labels, 2, np.ones(6)), balanced_weights(labels, 2))


def test_balanced_weights_are_those_of_scikit_learn() -> None:
    compute = pytest.importorskip("sklearn.utils.class_weight").compute_class_weight
    labels = np.repeat(np.arange(3), (374, 1372, 254))  # ISIC 2017 train: melanoma, nevus, keratosis
    expected = compute("balanced", classes=np.arange(3), y=labels)
    np.testing.assert_allclose(balanced_weights(labels, 3), expected, rtol=1e-6)


# --- other losses of masks ---


def pixels(shape: tuple[int, ...] = (2, 1, 4, 4), seed: int = 0) -> tuple[Tensor, Tensor]:
    """Logits and a mask with both kinds of pixels in every image."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(shape, generator=generator, dtype=torch.float64)
    mask = (torch.rand(shape, generator=generator) > 0.5).double()
    mask[:, :, 0, 0], mask[:, :, 0, 1] = 1, 0
    return logits, mask


def test_half_of_each_is_the_default_mask_loss() -> None:
    logits, mask = pixels()
    halves = 0.5 * mask_bce_loss(logits, mask, torch.ones(2)) + 0.5 * mask_dice_loss(logits, mask, torch.ones(2))
    torch.testing.assert_close(mask_loss(logits, mask, torch.ones(2)), halves)


def test_mask_bce_is_the_log_loss_of_scikit_learn() -> None:
    logits, mask = pixels()
    expected = sklearn_metrics.log_loss(mask.flatten().numpy(), logits.sigmoid().flatten().numpy())
    assert float(mask_bce_loss(logits, mask, torch.ones(2))) == pytest.approx(expected)


def test_mask_dice_by_hand() -> None:
    # Probabilities 1/2, one lesion pixel of four: 1 − (2·0.5 + 1) / (2 + 1 + 1).
    mask = torch.tensor([[[[1.0, 0.0], [0.0, 0.0]]]])
    assert float(mask_dice_loss(torch.zeros(1, 1, 2, 2), mask, torch.ones(1))) == pytest.approx(0.5)


def test_mask_dice_is_that_of_monai() -> None:
    monai = pytest.importorskip("monai.losses")
    logits, mask = pixels()
    expected = monai.DiceLoss(sigmoid=True, smooth_nr=1, smooth_dr=1)(logits, mask)
    torch.testing.assert_close(mask_dice_loss(logits, mask, torch.ones(2)), expected)


def logit(probability: list[list[float]]) -> Tensor:
    return torch.tensor(probability, dtype=torch.float64).logit().reshape(len(probability), 1, 1, -1)


def test_the_rank_loss_compares_the_hardest_pixels_pair_by_pair() -> None:
    # Hardest two of skin: 0.7, 0.4; of lesion: 0.3, 0.6. Margin 0.2, p(skin) − p(lesion) + margin:
    # 0.7−0.3 → 0.6; 0.7−0.6 → 0.3; 0.4−0.3 → 0.3; 0.4−0.6 → 0 at the hinge. Mean of the four: 1.2 / 4.
    chances = logit([[0.7, 0.4, 0.1, 0.3, 0.6, 0.9]]).sigmoid()
    mask = torch.tensor([0.0, 0, 0, 1, 1, 1]).reshape(1, 1, 1, 6)
    assert float(rank_losses(chances, mask, 2, 0.2)) == pytest.approx(0.3)
    # K = 1: 0.7 against 0.3.
    assert float(rank_losses(chances, mask, 1, 0.2)) == pytest.approx(0.6)


def test_an_image_with_fewer_hard_pixels_than_asked_uses_all_it_has() -> None:
    # One lesion pixel at 0.5 against three of skin: 0.7 → 0.4, 0.4 → 0.1, 0.1 → 0. Mean of three.
    chances = logit([[0.7, 0.4, 0.1, 0.5]]).sigmoid()
    mask = torch.tensor([0.0, 0, 0, 1]).reshape(1, 1, 1, 4)
    assert float(rank_losses(chances, mask, 30, 0.2)) == pytest.approx(0.5 / 3)


@pytest.mark.parametrize("truth", [0.0, 1.0])
def test_an_image_all_lesion_or_all_skin_has_no_rank_and_no_gradient(truth: float) -> None:
    chances = torch.full((1, 1, 2, 2), 0.5, requires_grad=True)
    loss = rank_losses(chances, torch.full((1, 1, 2, 2), truth), 2, 0.3)
    loss.sum().backward()
    assert float(loss.detach()) == 0
    assert chances.grad is not None
    assert not chances.grad.any()


def test_an_images_rank_does_not_depend_on_its_batch() -> None:
    logits, mask = pixels()
    both = rank_losses(logits.sigmoid(), mask, 3, 0.3)
    alone = torch.cat([rank_losses(logits[i : i + 1].sigmoid(), mask[i : i + 1], 3, 0.3) for i in range(2)])
    torch.testing.assert_close(both, alone)


def test_the_hybrid_loss_is_dice_plus_weighted_rank_of_images_with_a_mask() -> None:
    logits, mask = pixels((3, 1, 4, 4))
    present = torch.tensor([1.0, 0.0, 1.0])
    rank = rank_losses(logits.sigmoid(), mask, 4, 0.3)
    expected = mask_dice_loss(logits, mask, present) + 0.05 * (rank[0] + rank[2]) / 2
    torch.testing.assert_close(mask_dice_rank_loss(logits, mask, present, 0.05, 4, 0.3), expected)


@pytest.mark.parametrize(
    "loss",
    [
        mask_loss,
        mask_bce_loss,
        mask_dice_loss,
        lambda logits, mask, present: mask_dice_rank_loss(logits, mask, present, 0.5, 3, 0.3),
    ],
)
def test_gradients_of_mask_losses(loss: Callable[[Tensor, Tensor, Tensor], Tensor]) -> None:
    logits, mask = pixels()
    present = torch.tensor([1.0, 1.0], dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda each: loss(each, mask, present), logits.requires_grad_())


# --- focal loss ---


def test_focal_by_hand() -> None:
    # Probability of the truth 1/4: (1 − 1/4)² · −ln(1/4), weight 3 of class 2.
    logits = torch.log(torch.tensor([[0.5, 0.25, 0.25]]))
    expected = 3 * 0.75**2 * math.log(4)
    assert float(softmax_focal_loss(logits, torch.tensor([2]), torch.tensor([1.0, 1, 3]), 2)) == pytest.approx(expected)
    # A no at probability 3/4 of yes, γ = 1, weight 2: 0.75 · −ln(1/4) · 2.
    sigmoid = sigmoid_focal_loss(torch.tensor([[math.log(3)]]), torch.tensor([0]), torch.tensor([2.0, 1.0]), 1)
    assert float(sigmoid) == pytest.approx(2 * 0.75 * math.log(4))


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_focal_without_focus_is_cross_entropy(smoothing: float) -> None:
    generator = torch.Generator().manual_seed(2)
    logits, label = torch.randn(6, 3, generator=generator), torch.tensor([0, 2, -1, 1, 2, -1])
    weights = torch.tensor([0.5, 2.0, 1.5])
    torch.testing.assert_close(
        softmax_focal_loss(logits, label, weights, 0.0, smoothing), softmax_loss(logits, label, weights, smoothing)
    )
    binary = label.clamp(-1, 1)
    torch.testing.assert_close(
        sigmoid_focal_loss(logits[:, :1], binary, weights[:2], 0.0, smoothing),
        sigmoid_loss(logits[:, :1], binary, weights[:2], smoothing),
    )


def test_sigmoid_focal_is_that_of_monai() -> None:
    monai = pytest.importorskip("monai.losses")
    logits, label = torch.linspace(-3, 3, 6)[:, None], torch.tensor([0, 1, 0, 1, 1, 0])
    expected = monai.FocalLoss(alpha=0.25, gamma=2)(logits, label[:, None].float())
    torch.testing.assert_close(sigmoid_focal_loss(logits, label, torch.tensor([0.75, 0.25]), 2), expected)


@pytest.mark.parametrize("focus", [0.5, 2.0])
def test_a_sure_answer_has_a_finite_focal_loss_and_gradient(focus: float) -> None:
    logits = torch.tensor([[80.0, -80.0], [-80.0, 80.0]], requires_grad=True)
    label = torch.tensor([0, 0])
    weights = torch.ones(2)
    (
        softmax_focal_loss(logits, label, weights, focus) + sigmoid_focal_loss(logits[:, :1], label, weights, focus)
    ).backward()
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()


def test_gradients_of_classifier_losses() -> None:
    generator = torch.Generator().manual_seed(3)
    logits = torch.randn(4, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    label, weights = torch.tensor([0, 2, -1, 1]), torch.tensor([0.5, 2.0, 1.5], dtype=torch.float64)
    binary = label.clamp(-1, 1)
    for loss in (
        lambda each: softmax_loss(each, label, weights, 0.1),
        lambda each: softmax_focal_loss(each, label, weights, 1.5, 0.1),
        lambda each: sigmoid_loss(each[:, :1], binary, weights[:2]),
        lambda each: sigmoid_focal_loss(each[:, :1], binary, weights[:2], 2.0),
    ):
        assert torch.autograd.gradcheck(loss, logits)


# --- pictures and clinical fields ---


def test_the_super_resolution_target_is_opencvs_bicubic() -> None:
    cv2 = pytest.importorskip("cv2")
    picture = torch.rand(3, 8, 8, generator=torch.Generator().manual_seed(0)) - 0.5  # far from the range's ends
    expected = cv2.resize(picture.permute(1, 2, 0).numpy(), (16, 16), interpolation=cv2.INTER_CUBIC)
    found = super_resolution_target(picture[None])[0].permute(1, 2, 0).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_the_super_resolution_target_stays_within_pixels() -> None:
    edge = torch.full((1, 3, 8, 8), -1.0)
    edge[..., 4:] = 1
    found = super_resolution_target(edge)
    assert found.shape == (1, 3, 16, 16)
    assert (float(found.min()), float(found.max())) == (-1, 1)


def test_super_resolution_loss_by_hand() -> None:
    # Errors 1, 0, 2 and 1: (1 + 0 + 4 + 1) / 4.
    predicted, target = torch.tensor([1.0, 2, 3, 4]), torch.tensor([0.0, 2, 1, 5])
    assert float(super_resolution_loss(predicted.reshape(1, 1, 2, 2), target.reshape(1, 1, 2, 2))) == 1.5


def test_imputation_counts_what_was_hidden_only() -> None:
    predicted = torch.tensor([[1.0, 0.5, 9.0], [0.0, 9.0, 9.0]], requires_grad=True)
    truth, hidden = torch.tensor([[0.0, 0.0, 0.0], [0.5, 0, 0]]), torch.tensor([[1.0, 1, 0], [1, 0, 0]])
    loss = imputation_loss(predicted, truth, hidden)
    loss.backward()
    assert float(loss.detach()) == pytest.approx((1 + 0.25 + 0.25) / 3)
    assert predicted.grad is not None
    assert not predicted.grad[hidden == 0].any()
    assert float(imputation_loss(predicted.detach(), truth, torch.zeros(2, 3))) == 0


def test_gradients_of_squared_errors() -> None:
    predicted = torch.linspace(-1, 1, 6, dtype=torch.float64).reshape(2, 3).requires_grad_()
    truth, hidden = torch.zeros(2, 3, dtype=torch.float64), torch.tensor([[1.0, 1, 0], [1, 0, 0]])
    assert torch.autograd.gradcheck(lambda each: imputation_loss(each, truth, hidden), predicted)
    assert torch.autograd.gradcheck(lambda each: super_resolution_loss(each, truth), predicted)
