"""Channel selection, on every encoder."""

from typing import get_args

import pytest
import torch
from torch import Tensor, nn

from edgeskin.models.blocks import ConvNormAct, InvertedResidual
from edgeskin.models.encoder import Encoder, encoder
from edgeskin.models.mobilenet import MobileNetV2
from edgeskin.models.spec import EncoderName
from edgeskin.models.squeezenet import SqueezeNet
from edgeskin.models.start import select_channels

NAMES = get_args(EncoderName)


def trained(name: str, width: float = 1.0, seed: int = 0) -> Encoder:
    """An encoder whose every tensor is random, as if it had been trained, in eval mode."""
    torch.manual_seed(seed)
    network = encoder(name, width)
    for layer in network.convolutions():
        nn.init.normal_(layer.norm.weight, 1.0, 0.3)
        nn.init.normal_(layer.norm.bias, 0.0, 0.3)
        layer.norm.running_mean.normal_(0.0, 0.3)
        layer.norm.running_var.uniform_(0.5, 1.5)
    network.train(False)
    return network


def close_channels(layer: ConvNormAct, closed: Tensor) -> None:
    """Make channels zero behind every activation, for they all map 0 to 0."""
    with torch.no_grad():
        layer.norm.weight[closed] = 0
        layer.norm.bias[closed] = 0


def every_other(outputs: int, kept: int) -> Tensor:
    """The channels to be closed so that `kept` stay, spread over all of them."""
    opened = torch.linspace(0, outputs - 1, kept).round().long()
    closed = torch.ones(outputs, dtype=torch.bool)
    closed[opened] = False
    return closed


@pytest.mark.parametrize("name", NAMES)
def test_from_a_width_to_the_same_width_is_the_identity(name: str) -> None:
    wide, narrow = trained(name, 0.5), encoder(name, 0.5).train(False)
    select_channels(wide, narrow)
    ours, theirs = narrow.state_dict(), wide.state_dict()
    for key, value in theirs.items():
        assert torch.equal(ours[key], value) or key.endswith("num_batches_tracked"), key


@pytest.mark.parametrize("width", [0.25, 0.5])
@pytest.mark.parametrize("name", NAMES)
def test_a_network_in_which_only_the_kept_channels_are_open_stays_the_same_function(name: str, width: float) -> None:
    wide, narrow = trained(name), encoder(name, width).train(False)
    channels: dict[str, Tensor] = {}
    targets = dict(narrow.named_modules())
    for key, layer in wide.named_modules():
        if isinstance(layer, ConvNormAct):
            closed = every_other(layer.conv.out_channels, targets[key].conv.out_channels)
            close_channels(layer, closed)
            channels[key] = ~closed
        elif key.endswith(".reduce"):  # a gate's hidden layer
            closed = every_other(layer.out_channels, targets[key].out_channels)
            with torch.no_grad():
                layer.weight[closed] = 0
                layer.bias[closed] = 0
    select_channels(wide, narrow)
    image = torch.rand(2, 3, 64, 64) * 2 - 1
    with torch.no_grad():
        before, after = wide(image), narrow(image)
    for old, new in zip(before, after, strict=True):
        kept = old.abs().amax((0, 2, 3)) > 0  # a map's closed channels are zero everywhere
        assert kept.sum() <= new.shape[1] < old.shape[1] or old.shape == new.shape
        kept_values = old[:, kept]
        alive = new.abs().amax((0, 2, 3)) > 0
        torch.testing.assert_close(new[:, alive], kept_values, rtol=1e-4, atol=1e-4)


def test_the_channels_with_the_largest_gains_are_kept_in_their_order() -> None:
    wide, narrow = trained("squeezenet_1_1"), encoder("squeezenet_1_1", 0.125).train(False)
    assert isinstance(wide, SqueezeNet)
    assert isinstance(narrow, SqueezeNet)
    chosen = [60, 3, 41, 17, 9, 33, 5, 28]
    with torch.no_grad():
        wide.stem.norm.weight.fill_(0.1)
        wide.stem.norm.weight[chosen] = torch.tensor([-9.0, 8, 7, 6, 5, 4, 3, 2])  # size counts, not sign
    select_channels(wide, narrow)
    torch.testing.assert_close(narrow.stem.conv.weight, wide.stem.conv.weight[sorted(chosen)])


def test_layers_that_a_sum_joins_keep_the_same_channels() -> None:
    wide, narrow = trained("mobilenet_v2"), encoder("mobilenet_v2", 0.5).train(False)
    assert isinstance(wide, MobileNetV2)
    assert isinstance(narrow, MobileNetV2)
    # The stage of 64 channels has four projections. Only their gains' sum says which 32 are strongest: each favours
    # eight of its own.
    stage, slim = wide.stages[3], narrow.stages[3]
    assert isinstance(stage, nn.Sequential)
    with torch.no_grad():
        for index, block in enumerate(stage):
            assert isinstance(block, InvertedResidual)
            block.layers[-1].norm.weight.fill_(0.01)
            block.layers[-1].norm.weight[index * 16 : index * 16 + 8] = 1
    select_channels(wide, narrow)
    kept = [channel for channel in range(64) if channel % 16 < 8]
    for block, ours in zip(stage, slim, strict=True):
        torch.testing.assert_close(ours.layers[-1].norm.weight, block.layers[-1].norm.weight[kept])
        torch.testing.assert_close(ours.layers[-1].norm.bias, block.layers[-1].norm.bias[kept])
