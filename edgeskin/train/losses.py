"""Losses, one a kind of head; a case without that label does not count."""

import torch
from torch import Tensor
from torch.nn import functional


def mask_loss(logits: Tensor, mask: Tensor, present: Tensor) -> Tensor:
    """Half binary cross-entropy, half one minus soft Dice, each image counting equally.

    Shapes: logits (N, 1, H, W), mask (N, 1, H, W) of 0 and 1, present (N,) of 0 and 1 -> scalar, 0 where none
    is present. Source: papers/joint_reverse_mtl_2024.txt, loss 0.5·Dice + 0.5·BCE.
    """
    entropy = functional.binary_cross_entropy_with_logits(logits, mask, reduction="none").mean((1, 2, 3))
    probability = logits.sigmoid()
    overlap = (probability * mask).sum((1, 2, 3))
    dice = (2 * overlap + 1) / (probability.sum((1, 2, 3)) + mask.sum((1, 2, 3)) + 1)
    return _mean_present(0.5 * entropy + 0.5 * (1 - dice), present)


def softmax_loss(logits: Tensor, label: Tensor, class_weights: Tensor, smoothing: float = 0.0) -> Tensor:
    """Class-weighted cross-entropy.

    Shapes: logits (N, C), label (N,) of class indices or −1 where missing, class_weights (C,) -> scalar.
    Source: papers/unet_multitask_thesis.txt.
    """
    present = (label >= 0).float()
    safe = label.clamp_min(0)
    loss = functional.cross_entropy(logits, safe, reduction="none", label_smoothing=smoothing)
    return _mean_present(loss * class_weights[safe], present)


def sigmoid_loss(logits: Tensor, label: Tensor, class_weights: Tensor, smoothing: float = 0.0) -> Tensor:
    """Class-weighted binary cross-entropy.

    Shapes: logits (N, 1), label (N,) of 0 and 1, or −1 where missing, class_weights (2,) for 0 and 1 -> scalar.
    """
    present = (label >= 0).float()
    safe = label.clamp_min(0)
    target = safe.float() * (1 - smoothing) + 0.5 * smoothing
    loss = functional.binary_cross_entropy_with_logits(logits[:, 0], target, reduction="none")
    return _mean_present(loss * class_weights[safe], present)


def _mean_present(loss: Tensor, present: Tensor) -> Tensor:
    return (loss * present).sum() / torch.clamp(present.sum(), min=1)
