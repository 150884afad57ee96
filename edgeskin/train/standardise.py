"""Zero mean and unit standard deviation for each image: the 2017 paper's input, kept for one ablation."""

import torch
from torch import Tensor

REACH = 4
"""Standard deviations that fill the input's range [−1, 1), so that training's fixed input scale still holds them."""


def z_score(image: Tensor) -> Tensor:
    """Standardise each image over the pixels and channels of its content, and map ± 4 deviations to [−1, 1).

    The bars, exactly mid-grey in a training view and behind the letterbox alike, are not content; they become the mean,
    0. A deviation below 1 / √(values) counts as that, so that a plain image becomes 0 and not noise. The paper says
    neither whether channels are taken together (here they are, which keeps the colour) nor has it bars.
    Shapes: image (N, 3, S, S) in [−1, 1) -> the same. Source: papers/multitask_dcnn_isic2017.txt, section 3, Datasets
    and Tasks.
    """
    axes = (1, 2, 3)
    content = (image != 0).any(1, keepdim=True)
    values = (image.shape[1] * content.sum(axes, keepdim=True)).clamp_min(1)
    mean = torch.where(content, image, 0).sum(axes, keepdim=True) / values
    centred = torch.where(content, image - mean, 0)
    deviation = (centred.square().sum(axes, keepdim=True) / values).sqrt()
    standard = centred / torch.maximum(deviation, values.rsqrt())
    return (standard / REACH).clamp(-1, 127 / 128)
