"""The convolution that every encoder and decoder is made of."""

from typing import Literal, TypeAlias

from torch import Tensor, nn
from torch.nn import functional

Padding: TypeAlias = Literal["end", "symmetric"]
"""Where a stride-2 convolution pads an even input: `end` is TensorFlow's SAME (one row below, one column right; native
on TFLite, an asymmetric attribute in ONNX); `symmetric` is torchvision's (one on every side)."""


class ConvNormAct(nn.Module):
    """Convolution, batch norm, and ReLU6 unless `activation` is off.

    Shapes: (N, inputs, H, W) -> (N, outputs, H/stride, W/stride), H and W even where stride is 2.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int = 1,
        *,
        stride: int = 1,
        groups: int = 1,
        activation: bool = True,
        padding: Padding = "end",
    ) -> None:
        super().__init__()
        self.pads_end = stride == 2 and kernel == 3 and padding == "end"
        self.conv = nn.Conv2d(
            inputs, outputs, kernel, stride, 0 if self.pads_end else kernel // 2, groups=groups, bias=False
        )
        self.norm = nn.BatchNorm2d(outputs)
        self.activation = nn.ReLU6() if activation else None

    def forward(self, x: Tensor) -> Tensor:
        """Apply the layer."""
        if self.pads_end:
            x = functional.pad(x, (0, 1, 0, 1))
        x = self.norm(self.conv(x))
        return x if self.activation is None else self.activation(x)


def separable(inputs: int, outputs: int) -> nn.Sequential:
    """Depthwise 3×3 then pointwise 1×1, each with batch norm and ReLU6: (N, inputs, H, W) -> (N, outputs, H, W)."""
    return nn.Sequential(ConvNormAct(inputs, inputs, 3, groups=inputs), ConvNormAct(inputs, outputs))
