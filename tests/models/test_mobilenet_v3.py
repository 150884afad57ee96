import pytest
import torch
from torch import nn
from torchvision_layout import V3, v3_state

from edgeskin.models.blocks import ConvNormAct, Gate
from edgeskin.models.mobilenet_v3 import MobileNetV3

LARGE, SMALL = "mobilenet_v3_large", "mobilenet_v3_small"


@pytest.mark.parametrize(
    ("size", "published", "classifier"),
    [
        # torchvision 0.20, MobileNet_V3_*_Weights.meta["num_params"]; its classifiers: 960 -> 1280 -> 1000 and
        # 576 -> 1024 -> 1000, both layers with a bias.
        ("large", 5_483_032, 960 * 1280 + 1280 + 1280 * 1000 + 1000),
        ("small", 2_542_856, 576 * 1024 + 1024 + 1024 * 1000 + 1000),
    ],
)
def test_the_encoder_and_the_classifier_have_as_many_parameters_as_published(
    size: str, published: int, classifier: int
) -> None:
    assert sum(parameter.numel() for parameter in MobileNetV3(size).parameters()) + classifier == published


@pytest.mark.parametrize(
    ("size", "channels"),
    # Tables 1 and 2: the last #out before each next stride, and the 1×1 convolution behind the last row.
    [("large", (16, 24, 40, 112, 960)), ("small", (16, 16, 24, 48, 576))],
)
def test_the_feature_maps_are_those_of_the_papers_tables(size: str, channels: tuple[int, ...]) -> None:
    encoder = MobileNetV3(size).eval()
    assert encoder.channels == channels
    shapes = [tuple(map_.shape) for map_ in encoder(torch.zeros(1, 3, 64, 96))]
    assert shapes == [(1, width, 64 >> i, 96 >> i) for i, width in enumerate(channels, start=1)]


@pytest.mark.parametrize(("size", "name"), [("large", LARGE), ("small", SMALL)])
def test_a_row_has_the_kernel_gate_and_activation_of_its_table(size: str, name: str) -> None:
    blocks = MobileNetV3(size).blocks()
    for block, (kernel, hidden, outputs, gated, swish, stride) in zip(blocks, V3[name], strict=True):
        *before, projection = [layer for layer in block.layers if isinstance(layer, ConvNormAct)]
        depthwise = before[-1].conv
        assert (depthwise.kernel_size[0], depthwise.groups, depthwise.stride[0]) == (kernel, hidden, stride)
        assert projection.conv.out_channels == outputs
        assert projection.activation is None
        assert {type(layer.activation) for layer in before} == {nn.Hardswish if swish else nn.ReLU}
        assert sum(isinstance(layer, Gate) for layer in block.layers) == gated


def test_the_relu6_variant_has_relu6_everywhere_but_in_its_gates() -> None:
    native, variant = MobileNetV3("small", 0.25), MobileNetV3("small", 0.25, activation="relu6")
    assert not any(isinstance(module, nn.Hardswish) for module in variant.modules())
    assert {type(layer.activation) for layer in variant.convolutions()} == {nn.ReLU6, type(None)}
    gates = [module for module in variant.modules() if isinstance(module, Gate)]
    assert len(gates) == 9  # table 2: SE in all rows but the second and third
    assert all(isinstance(gate.gate, nn.Hardsigmoid) for gate in gates)
    assert list(native.state_dict()) == list(variant.state_dict())


def test_a_gate_multiplies_each_channel_by_a_hard_sigmoid_of_all_means() -> None:
    gate = Gate(32)
    assert gate.reduce.out_channels == 8  # 32 / 4
    x = torch.randn(2, 32, 5, 7)
    hidden = (x.mean((2, 3)) @ gate.reduce.weight.flatten(1).T + gate.reduce.bias).relu()
    factor = ((hidden @ gate.expand.weight.flatten(1).T + gate.expand.bias) / 6 + 0.5).clamp(0, 1)
    torch.testing.assert_close(gate(x), x * factor[..., None, None])


def test_a_narrow_network_narrows_everything_and_sums_where_the_wide_one_does() -> None:
    wide, narrow = MobileNetV3("small"), MobileNetV3("small", 0.25)
    # By hand: 16, 24, 40, 48, 96 times 0.25, to the nearest multiple of 8, one more where that loses over a tenth.
    assert narrow.channels == (8, 8, 8, 16, 6 * 24)
    assert [block.residual for block in narrow.blocks()] == [block.residual for block in wide.blocks()]
    assert sum(block.residual for block in wide.blocks()) == 6  # table 2: rows 3, 5, 6, 8, 10 and 11


@pytest.mark.parametrize("kernel", [3, 5])
def test_padding_at_the_end_is_tensorflows_same(kernel: int) -> None:
    # SAME on 8 pixels at stride 2: 4 outputs, (4 − 1)·2 + k − 8 = k − 2 rows of padding, half of it rounded down first.
    layer = ConvNormAct(1, 1, kernel, stride=2, activation=None).eval()
    nn.init.ones_(layer.conv.weight)
    layer.norm.eps = 0.0
    column = layer(torch.ones(1, 1, 8, 8))[0, 0, :, 1] / layer(torch.ones(1, 1, 8, 8))[0, 0, 1, 1]
    rows = {3: [3, 3, 3, 2], 5: [4, 5, 5, 3]}[kernel]  # rows of ones that each window holds
    torch.testing.assert_close(column, torch.tensor([row / rows[1] for row in rows]))


def test_symmetric_padding_is_half_the_kernel_on_every_side() -> None:
    layers = MobileNetV3("large", 0.25, "symmetric").convolutions()
    assert {layer.pads for layer in layers} == {None}
    assert all(layer.conv.padding[0] == layer.conv.kernel_size[0] // 2 for layer in layers)


def test_tensors_come_in_the_order_of_torchvisions_state_dict() -> None:
    ours = [tuple(value.shape) for value in MobileNetV3("large").state_dict().values() if value.ndim]
    theirs = v3_state(LARGE).items()
    assert ours == [tuple(value.shape) for key, value in theirs if value.ndim and key.startswith("features.")]
