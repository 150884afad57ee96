"""What re-weights features: CBAM, the mask over what classifiers pool, the E-layer that a class-activation map enters.

Every gate is a hard sigmoid: no device needs a table or an exponential for it, and its scale is fixed at 1/128.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from edgeskin.models.blocks import ConvNormAct

SPATIAL_KERNEL = 7


class CbamBlock(nn.Module):
    """Channel attention, then spatial attention: (N, C, H, W) -> the same shape.

    Both pooled vectors, mean and maximum, pass through one small network; both maps over channels through one 7×7
    convolution. Source: Woo et al. 2018; papers/joint_reverse_mtl_2024.txt, section 3.4.3 and figure 4.
    """

    def __init__(self, channels: int, reduction: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(channels, max(8, channels // reduction), 1)
        self.excite = nn.Conv2d(max(8, channels // reduction), channels, 1)
        self.spatial = nn.Conv2d(2, 1, SPATIAL_KERNEL, padding=SPATIAL_KERNEL // 2)
        self.channel_gate = nn.Hardsigmoid()
        self.spatial_gate = nn.Hardsigmoid()

    def forward(self, x: Tensor) -> Tensor:
        """Re-weigh."""
        mean, largest = x.mean((2, 3), keepdim=True), x.amax((2, 3), keepdim=True)
        weights = [self.excite(functional.relu(self.squeeze(vector))) for vector in (mean, largest)]
        x = x * self.channel_gate(weights[0] + weights[1])
        pooled = torch.cat([x.mean(1, keepdim=True), x.amax(1, keepdim=True)], 1)
        gate: Tensor = self.spatial_gate(self.spatial(pooled))
        return x * gate


class MaskGate(nn.Module):
    """The lesion mask as a gate at any coarser stride: mask logits (N, 1, S/s, S/s) -> (N, 1, S/t, S/t) in [0, 1].

    Source: papers/joint_reverse_mtl_2024.txt, section 3.4.2 (the mask multiplies what the classifier sees).
    """

    def __init__(self, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.gate = nn.Hardsigmoid()

    def forward(self, logits: Tensor, strides: Sequence[int]) -> dict[int, Tensor]:
        """One gate a stride; each a multiple of the decoder's own."""
        gate: Tensor = self.gate(logits)
        return {
            stride: gate if stride == self.stride else functional.avg_pool2d(gate, stride // self.stride)
            for stride in strides
        }


class ELayer(nn.Module):
    """Class-activation maps enter features: concatenation, 1×1 convolution, batch norm, ReLU6.

    Shapes: features (N, C, h, w), maps (N, labels, h, w) -> (N, outputs, h, w). The maps are clipped to [0, 6], as
    features are: both sides of the concatenation share one scale.
    Source: papers/se_lcn_symmetry_cascade_2024.txt, figure 4.
    """

    def __init__(self, channels: int, labels: int, outputs: int) -> None:
        super().__init__()
        self.clip = nn.ReLU6()
        self.mix = ConvNormAct(channels + labels, outputs)

    def forward(self, features: Tensor, maps: Tensor) -> Tensor:
        """Fuse."""
        mixed: Tensor = self.mix(torch.cat([features, self.clip(maps)], 1))
        return mixed
