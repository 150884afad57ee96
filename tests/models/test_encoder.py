"""What every encoder promises to decoders and heads."""

from typing import get_args

import pytest
import torch

from edgeskin.models.blocks import Padding, Variant
from edgeskin.models.encoder import BUILT, encoder
from edgeskin.models.spec import EncoderName

NAMES = get_args(EncoderName)


def test_every_name_of_a_recipe_can_be_built() -> None:
    assert set(BUILT) == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("padding", get_args(Padding))
@pytest.mark.parametrize("activation", get_args(Variant))
def test_maps_have_the_announced_channels_at_every_stride(name: str, padding: str, activation: str) -> None:
    network = encoder(name, 0.25, padding, activation).train(False)
    maps = network(torch.zeros(2, 3, 64, 32))
    assert [tuple(map_.shape) for map_ in maps] == [
        (2, channels, 64 >> level, 32 >> level) for level, channels in enumerate(network.channels, start=1)
    ]
    assert (network.name, network.padding) == (name, padding)
    assert network.activation == ("native" if name == "mobilenet_v2" else activation)


@pytest.mark.parametrize("name", NAMES)
def test_convolutions_run_in_the_order_in_which_they_are_listed(name: str) -> None:
    network = encoder(name, 0.25).train(False)
    ran = []
    for layer in network.convolutions():
        layer.register_forward_hook(lambda layer, _, __: ran.append(layer))
    network(torch.zeros(1, 3, 32, 32))
    assert ran == network.convolutions()


@pytest.mark.parametrize("name", NAMES)
def test_batch_norm_has_the_numbers_that_torchao_fuses_with(name: str) -> None:
    # torchao 0.18, quantization/pt2e/qat_utils.py: bn_eps = 1e-5, momentum left at F.batch_norm's 0.1.
    assert {(layer.norm.eps, layer.norm.momentum) for layer in encoder(name, 0.25).convolutions()} == {(1e-5, 0.1)}
