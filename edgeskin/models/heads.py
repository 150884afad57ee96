"""Heads: what turns features into logits. Heads are data; there is one module a way of answering, not one per task."""

from torch import Tensor, nn
from torch.nn import functional


class MaskHead(nn.Module):
    """One lesion logit a pixel: `logits`, (N, C, S/stride, S/stride) -> (N, 1, S/stride, S/stride), then enlarged.

    The two are apart because a mask that attends to features is read before it is enlarged.
    """

    def __init__(self, channels: int, stride: int) -> None:
        super().__init__()
        self.logits = nn.Conv2d(channels, 1, 1)
        self.stride = stride

    def forward(self, logits: Tensor) -> Tensor:
        """What `logits` gave, at the input's size: -> (N, 1, S, S)."""
        return functional.interpolate(logits, scale_factor=float(self.stride), mode="bilinear", align_corners=False)


class ClassifyHead(nn.Module):
    """One logit a label from pooled features: (N, C) -> (N, labels)."""

    def __init__(self, channels: int, labels: int, dropout: float, hidden: int | None = None) -> None:
        super().__init__()
        self.hidden = None if hidden is None else nn.Linear(channels, hidden)
        self.dropout = nn.Dropout(dropout)
        self.logits = nn.Linear(hidden or channels, labels)

    def features(self, pooled: Tensor) -> Tensor:
        """What the logits are a linear function of: the hidden layer's activations, or the pooled features."""
        return pooled if self.hidden is None else functional.relu(self.hidden(pooled))

    def forward(self, features: Tensor) -> Tensor:
        """Logits from `features`."""
        logits: Tensor = self.logits(self.dropout(features))
        return logits


class MapHead(nn.Module):
    """A classify head whose class-activation map other heads read: (N, C, h, w) -> map (N, labels, h, w), logits.

    Pooling and a linear layer commute: the mean of the map is the logit that pooling first would give. The map is
    therefore a 1×1 convolution with the head's own weights, and it lies in the exported graph; Grad-CAM++, which the
    thesis uses, needs gradients at inference. Source: Zhou et al. 2016; papers/README.md, last paragraph.
    """

    def __init__(self, channels: int, labels: int) -> None:
        super().__init__()
        self.logits = nn.Conv2d(channels, labels, 1)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """The map of every label, and the logits."""
        maps: Tensor = self.logits(features)
        return maps, maps.mean((2, 3))
