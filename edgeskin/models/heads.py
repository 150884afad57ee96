"""Heads: what turns features into logits. Heads are data (`HeadSpec`); there are two modules, not one per task."""

from torch import Tensor, nn
from torch.nn import functional


class MaskHead(nn.Module):
    """One lesion logit a pixel: (N, C, S/stride, S/stride) -> (N, 1, S, S)."""

    def __init__(self, channels: int, stride: int) -> None:
        super().__init__()
        self.logits = nn.Conv2d(channels, 1, 1)
        self.stride = stride

    def forward(self, features: Tensor) -> Tensor:
        """Logits at the input's size."""
        return functional.interpolate(
            self.logits(features), scale_factor=float(self.stride), mode="bilinear", align_corners=False
        )


class ClassifyHead(nn.Module):
    """One logit a label from pooled features: (N, C) -> (N, labels)."""

    def __init__(self, channels: int, labels: int, dropout: float) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.logits = nn.Linear(channels, labels)

    def forward(self, pooled: Tensor) -> Tensor:
        """Logits."""
        logits: Tensor = self.logits(self.dropout(pooled))
        return logits
