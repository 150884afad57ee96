"""Losses, one a way of answering; a case without that truth does not count.

`present` and a label of −1 say where truth is missing. A batch without any costs 0 and moves nothing.
"""

import torch
from torch import Tensor
from torch.nn import functional

# --- lesion masks ---


def mask_loss(logits: Tensor, mask: Tensor, present: Tensor) -> Tensor:
    """Half binary cross-entropy, half one minus soft Dice, each image counting equally.

    Shapes: logits (N, 1, H, W), mask (N, 1, H, W) of 0 and 1, present (N,) of 0 and 1 -> scalar, 0 where none
    is present. Source: papers/joint_reverse_mtl_2024.txt, loss 0.5·Dice + 0.5·BCE.
    """
    return _mean_present(0.5 * _entropy(logits, mask) + 0.5 * _lost_dice(logits.sigmoid(), mask), present)


def mask_bce_loss(logits: Tensor, mask: Tensor, present: Tensor) -> Tensor:
    """Binary cross-entropy of every pixel.

    Shapes: as `mask_loss`. Source: papers/unet_multitask_thesis.txt, equation 2, with the term of the skin pixels that
    it leaves out.
    """
    return _mean_present(_entropy(logits, mask), present)


def mask_dice_loss(logits: Tensor, mask: Tensor, present: Tensor) -> Tensor:
    """One minus soft Dice, image by image, 1 added above and below so that an empty mask is defined.

    Shapes: as `mask_loss`. Source: papers/se_lcn_symmetry_cascade_2024.txt, equation 3, which prints
    1 − |X∩Y| / (|X|+|Y|); Dice is 2·|X∩Y| / (|X|+|Y|), and without the 2 a perfect mask would cost 1/2.
    """
    return _mean_present(_lost_dice(logits.sigmoid(), mask), present)


def mask_dice_rank_loss(
    logits: Tensor, mask: Tensor, present: Tensor, weight: float, hard_pixels: int, margin: float
) -> Tensor:
    """One minus soft Dice, plus `weight` times the rank loss.

    Shapes: as `mask_loss`. Source: papers/se_lcn_symmetry_cascade_2024.txt, equation 2.
    """
    probability = logits.sigmoid()
    rank = rank_losses(probability, mask, hard_pixels, margin)
    return _mean_present(_lost_dice(probability, mask) + weight * rank, present)


def rank_losses(probability: Tensor, mask: Tensor, hard_pixels: int, margin: float) -> Tensor:
    """How far each image's hardest lesion pixels are from standing `margin` above its hardest skin pixels.

    The `hard_pixels` largest errors of lesion and of skin meet pair by pair: the mean of
    max(0, p(skin) − p(lesion) + margin). Where an image has fewer of either, all it has; where it has none, 0.

    Shapes: probability, mask (N, 1, H, W) -> (N,). Source: papers/se_lcn_symmetry_cascade_2024.txt, equation 4. Its
    text has pixels ranked "after forward propagation of each batch"; the equation's index n keeps both pixels of a pair
    in one image, and so do we: the loss of an image does not depend on what else is in the batch.
    """
    chances, lesion = probability.flatten(1), mask.flatten(1) > 0.5
    count = min(hard_pixels, chances.shape[1])
    skin = chances.masked_fill(lesion, -torch.inf).topk(count).values
    sick = chances.masked_fill(~lesion, torch.inf).topk(count, largest=False).values
    short = functional.relu(skin[:, :, None] - sick[:, None, :] + margin)  # 0 where either side ran out: −∞ before
    pairs = lesion.sum(1).clamp(max=count) * (~lesion).sum(1).clamp(max=count)
    return short.sum((1, 2)) / pairs.clamp_min(1)


def _entropy(logits: Tensor, mask: Tensor) -> Tensor:
    return functional.binary_cross_entropy_with_logits(logits, mask, reduction="none").mean((1, 2, 3))


def _lost_dice(probability: Tensor, mask: Tensor) -> Tensor:
    overlap = (probability * mask).sum((1, 2, 3))
    return 1 - (2 * overlap + 1) / (probability.sum((1, 2, 3)) + mask.sum((1, 2, 3)) + 1)


# --- classifiers ---


def softmax_loss(logits: Tensor, label: Tensor, class_weights: Tensor, smoothing: float = 0.0) -> Tensor:
    """Class-weighted cross-entropy.

    Shapes: logits (N, C), label (N,) of class indices or −1 where missing, class_weights (C,) -> scalar.
    Source: papers/unet_multitask_thesis.txt; papers/se_lcn_symmetry_cascade_2024.txt, equation 7.
    """
    present = (label >= 0).float()
    safe = label.clamp_min(0)
    loss = functional.cross_entropy(logits, safe, reduction="none", label_smoothing=smoothing)
    return _mean_present(loss * class_weights[safe], present)


def sigmoid_loss(logits: Tensor, label: Tensor, class_weights: Tensor, smoothing: float = 0.0) -> Tensor:
    """Class-weighted binary cross-entropy.

    Shapes: logits (N, 1), label (N,) of 0 and 1, or −1 where missing, class_weights (2,) for 0 and 1 -> scalar.
    Source: papers/se_lcn_symmetry_cascade_2024.txt, equation 6, whose weight of "no" is 1.
    """
    present = (label >= 0).float()
    safe = label.clamp_min(0)
    loss = functional.binary_cross_entropy_with_logits(
        logits[:, 0], _smoothed(safe, smoothing, logits), reduction="none"
    )
    return _mean_present(loss * class_weights[safe], present)


def softmax_focal_loss(
    logits: Tensor, label: Tensor, class_weights: Tensor, focus: float, smoothing: float = 0.0
) -> Tensor:
    """Cross-entropy in which what is answered well already counts little: −α·Σ q·(1 − p)^γ·log p.

    focus: γ; at 0 it is `softmax_loss`. class_weights: α. q: the smoothed truth.
    Shapes: as `softmax_loss`. Source: Lin et al. 2017, Focal loss for dense object detection, equation 5.
    """
    present = (label >= 0).float()
    safe = label.clamp_min(0)
    truth = functional.one_hot(safe, logits.shape[1]) * (1 - smoothing) + smoothing / logits.shape[1]
    log = functional.log_softmax(logits, 1)
    loss = -(truth * _doubt(log, focus) * log).sum(1)
    return _mean_present(loss * class_weights[safe], present)


def sigmoid_focal_loss(
    logits: Tensor, label: Tensor, class_weights: Tensor, focus: float, smoothing: float = 0.0
) -> Tensor:
    """The focal loss of a yes-or-no question; at focus 0 it is `sigmoid_loss`.

    Shapes: as `sigmoid_loss`. Source: as `softmax_focal_loss`.
    """
    present = (label >= 0).float()
    safe = label.clamp_min(0)
    truth = _smoothed(safe, smoothing, logits)
    yes, no = functional.logsigmoid(logits[:, 0]), functional.logsigmoid(-logits[:, 0])
    loss = -(truth * _doubt(yes, focus) * yes + (1 - truth) * _doubt(no, focus) * no)
    return _mean_present(loss * class_weights[safe], present)


def _doubt(log: Tensor, focus: float) -> Tensor:
    """(1 − p)^γ from log p; kept off 0, where the slope of a power below 1 is infinite."""
    return (-torch.expm1(log)).clamp_min(torch.finfo(log.dtype).tiny) ** focus


def _smoothed(label: Tensor, smoothing: float, logits: Tensor) -> Tensor:
    exact = torch.promote_types(logits.dtype, torch.float32)  # bfloat16 logits have float32 truth
    return label.to(exact) * (1 - smoothing) + 0.5 * smoothing


# --- pictures and clinical fields ---


def super_resolution_target(image: Tensor) -> Tensor:
    """The image at twice its size by bicubic interpolation, kept within the range of pixels.

    Shapes: image (N, 3, S, S) in [−1, 1) -> (N, 3, 2S, 2S). Source:
    papers/metadata_superresolution_pad_ufes_2024.txt, section 2.2 and its table of interpolations.
    """
    return functional.interpolate(image, scale_factor=2.0, mode="bicubic", align_corners=False).clamp(-1, 1)


def super_resolution_loss(predicted: Tensor, target: Tensor) -> Tensor:
    """Mean squared error of every pixel.

    Shapes: predicted, target (N, 3, 2S, 2S) -> scalar. Source: papers/metadata_superresolution_pad_ufes_2024.txt,
    equation 4.
    """
    return functional.mse_loss(predicted, target)


def imputation_loss(predicted: Tensor, truth: Tensor, hidden: Tensor) -> Tensor:
    """Mean squared error over the slots of fields that are known but were hidden from the network.

    Shapes: predicted, truth (N, M), hidden (N, M) of 0 and 1 -> scalar, 0 where nothing is hidden. The paper imputes
    by a network of another publication; squared error over encoded slots is our choice.
    """
    return _mean_present((predicted - truth) ** 2, hidden)


def _mean_present(loss: Tensor, present: Tensor) -> Tensor:
    return (loss * present).sum() / torch.clamp(present.sum(), min=1)
