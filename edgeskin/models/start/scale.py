"""Weights that were trained with ReLU, made fit for ReLU6."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from edgeskin.models.squeezenet import SqueezeNet


def scale_under_six(encoder: SqueezeNet, images: Sequence[Tensor]) -> None:
    """Multiply every activation by one factor, so that the largest on `images` is 6.

    ReLU commutes with positive factors, relu(c·x) = c·relu(x), and so do pools: c times the stem's weights and every
    bias gives c times every map. Published SqueezeNet activations reach 2400, of which ReLU6 would leave nothing.

    encoder: with plain ReLU, whose batch norm does nothing but add a bias. images: batches (N, 3, S, S) in [−1, 1).
    """
    peaks: list[Tensor] = []

    def hook(_: nn.Module, __: object, output: Tensor) -> None:
        peaks.append(output.max())

    handles = [layer.register_forward_hook(hook) for layer in encoder.convolutions()]
    training = encoder.training
    encoder.eval()
    with torch.no_grad():
        for batch in images:
            encoder(batch)
        for handle in handles:
            handle.remove()
        factor = 6 / torch.stack(peaks).max()
        encoder.stem.conv.weight.mul_(factor)
        for layer in encoder.convolutions():
            layer.norm.bias.mul_(factor)
    encoder.train(training)
