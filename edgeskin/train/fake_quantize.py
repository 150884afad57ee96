"""torchao's fake quantization of activations, bit for bit, in passes that a processor vectorises."""

# mypy: allow-subclassing-any
# mypy: allow-untyped-calls
# torchao has no type information.

from typing import Any

import torch
from torch import Tensor
from torchao.quantization.pt2e import FakeQuantize

aten = torch.ops.aten


class ActivationFakeQuantize(FakeQuantize):
    """`FakeQuantize` for one symmetric scale a tensor: the same values, gradients, state and conversion.

    torch's kernel works element by element and keeps a mask that its gradient turns into floats, and its minimum and
    maximum first copy a channels-last tensor: a third of a step of training, once freed memory is kept (`memory`).
    """

    def forward(self, values: Tensor) -> Tensor:
        """Follow the values' range unless it stands still, then quantize and dequantize them."""
        if self.observer_enabled[0] == 1:
            self.activation_post_process(_in_memory_order(values.detach()))
            scale, _ = self.calculate_qparams()
            self.scale.copy_(scale)
        if self.fake_quant_enabled[0] == 1:
            values = _RoundAndClip.apply(values, self.scale, self.quant_min, self.quant_max)
        return values


def _in_memory_order(values: Tensor) -> Tensor:
    """A view of all values, in the order in which they lie in memory, where there is one."""
    if values.ndim == 4 and values.is_contiguous(memory_format=torch.channels_last):
        return values.permute(0, 2, 3, 1).reshape(-1)
    return values


class _RoundAndClip(torch.autograd.Function):
    """Symmetric quantization and back; the gradient passes where nothing is clipped."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, scale: Tensor, low: int, high: int) -> Tensor:
        rounded = values.mul(scale.reciprocal()).round_()
        ctx.save_for_backward(rounded)
        ctx.within = (low - 0.5, high + 0.5)
        return rounded.clamp(low, high).mul_(scale)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        (rounded,) = ctx.saved_tensors
        # Its gradient passes strictly inside the bounds: one pass over integers that lie on neither.
        return aten.hardtanh_backward(gradient, rounded, *ctx.within), None, None, None
