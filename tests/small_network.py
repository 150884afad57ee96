"""A network of a handful of layers with the operators that the QAT contract has rules for, quick to quantize."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from edgeskin.contract.model import HeadSpec
from edgeskin.models.blocks import ConvNormAct

SIZE = 16
HEADS = (
    HeadSpec(name="mask", kind="mask", labels=("lesion",), threshold=0.5),
    HeadSpec(name="melanoma", kind="sigmoid", labels=("melanoma",), threshold=0.5),
)
ACTIVATIONS = 8
"""Distinct scales, counted by hand: image with its padding; stem, which the pooled and resized side shares because they
are joined; projection; their sum; product; mean with its dropout; mask logits with their resize; melanoma logits."""
WEIGHTS = 5
"""stem, side, projection, mask logits, melanoma logits."""


class Small(nn.Module):
    """(N, 3, 16, 16) -> (N, 1, 16, 16) and (N, 1)."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = ConvNormAct(3, 8, 3, stride=2)
        self.side = ConvNormAct(8, 8)
        self.project = ConvNormAct(8, 8, activation=None)
        self.mask = nn.Conv2d(16, 1, 1)
        self.dropout = nn.Dropout(0.1)
        self.melanoma = nn.Linear(8, 1)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of the mask and of melanoma."""
        x = self.stem(image)
        side = functional.max_pool2d(self.side(x), 2)
        side = functional.interpolate(side, scale_factor=2.0, mode="bilinear", align_corners=False)
        joined = torch.cat([x, side], 1)
        mask = functional.interpolate(self.mask(joined), scale_factor=2.0, mode="bilinear", align_corners=False)
        total = functional.relu(x + self.project(x))
        pooled = (total * x).mean((2, 3))
        return mask, self.melanoma(self.dropout(pooled))


def images(count: int = 8) -> Tensor:
    """Pixels of the contract: multiples of 1/128 in [−1, 1)."""
    generator = torch.Generator().manual_seed(0)
    return torch.randint(-128, 128, (count, 3, SIZE, SIZE), generator=generator) / 128
