import pytest
import torch
from torch import nn
from torch.nn import functional

from edgeskin.models.squeezenet import Fire, SqueezeNet


@pytest.mark.parametrize(
    ("version", "published"),
    # torchvision 0.20, SqueezeNet1_*_Weights.meta["num_params"]; Iandola et al. 2016, table 1, has 1,248,424 too.
    [("1.0", 1_248_424), ("1.1", 1_235_496)],
)
def test_with_batch_norm_folded_and_conv10_it_has_as_many_parameters_as_published(version: str, published: int) -> None:
    layers = SqueezeNet(version).convolutions()
    folded = sum(layer.conv.weight.numel() + layer.conv.out_channels for layer in layers)
    assert folded + 512 * 1000 + 1000 == published


@pytest.mark.parametrize(
    ("version", "channels"),
    # Table 1 of the paper, and SqueezeNet v1.1's prototxt: the last map before each pool.
    [("1.0", (96, 256, 512, 512, 512)), ("1.1", (64, 128, 256, 512, 512))],
)
@pytest.mark.parametrize("padding", ["end", "symmetric"])
def test_every_map_has_exactly_the_size_of_its_stride(version: str, channels: tuple[int, ...], padding: str) -> None:
    encoder = SqueezeNet(version, padding=padding).eval()
    assert encoder.channels == channels
    for height, width in ((32, 64), (96, 32)):
        shapes = [tuple(map_.shape) for map_ in encoder(torch.zeros(1, 3, height, width))]
        assert shapes == [(1, count, height >> i, width >> i) for i, count in enumerate(channels, start=1)]


def test_the_map_at_stride_32_is_a_pool_of_the_one_before() -> None:
    maps = SqueezeNet("1.1", 0.25).eval()(torch.randn(2, 3, 64, 64))
    # Nothing is below zero behind ReLU, so zeros at the end are what ceil mode leaves out.
    torch.testing.assert_close(maps[4], functional.max_pool2d(functional.pad(maps[3], (0, 1, 0, 1)), 3, 2))


def test_a_fire_module_joins_two_activated_expansions() -> None:
    fire = Fire(24, 8, 16, "relu").eval()
    x = torch.randn(2, 24, 6, 6)
    squeezed = fire.squeeze(x)
    y = fire(x)
    assert y.shape == (2, 32, 6, 6)
    torch.testing.assert_close(y[:, :16], fire.expand_1x1(squeezed))
    torch.testing.assert_close(y[:, 16:], fire.expand_3x3(squeezed))
    assert y.min() == 0


def test_widths_scale_every_layer_to_multiples_of_eight() -> None:
    layers = SqueezeNet("1.0", 0.5).convolutions()
    # By hand: 96 -> 48; the first Fire module 16, 64, 64 -> 8, 32, 32.
    assert [layer.conv.out_channels for layer in layers[:4]] == [48, 8, 32, 32]
    assert SqueezeNet("1.0", 0.5).channels == (48, 128, 256, 256, 256)


@pytest.mark.parametrize(("variant", "kind"), [("native", nn.ReLU), ("relu6", nn.ReLU6)])
def test_every_convolution_ends_in_the_variants_activation(variant: str, kind: type[nn.Module]) -> None:
    assert {type(layer.activation) for layer in SqueezeNet("1.1", 0.25, activation=variant).convolutions()} == {kind}
