import pytest
import torch

from edgeskin.models.blocks import scaled
from edgeskin.models.mobilenet import MobileNetV2


def test_the_encoder_has_as_many_parameters_as_the_published_one() -> None:
    # torchvision 0.20: sum(p.numel() for p in mobilenet_v2().features.parameters()) == 2_223_872
    assert sum(parameter.numel() for parameter in MobileNetV2().parameters()) == 2_223_872


def test_the_feature_maps_are_those_of_table_2_of_the_paper() -> None:
    # Sandler et al. 2018, table 2: the last c before each next stride, and the 1280 channels behind the last stage.
    encoder = MobileNetV2().eval()
    maps = encoder(torch.zeros(2, 3, 64, 96))
    assert [tuple(map_.shape) for map_ in maps] == [
        (2, 16, 32, 48),
        (2, 24, 16, 24),
        (2, 32, 8, 12),
        (2, 96, 4, 6),
        (2, 1280, 2, 3),
    ]
    assert encoder.channels == (16, 24, 32, 96, 1280)


def test_there_are_52_convolutions_with_17_depthwise_among_them() -> None:
    # The paper: a stem, 17 blocks of three (the first of two), a last 1×1.
    convolutions = MobileNetV2().convolutions()
    assert len(convolutions) == 1 + 2 + 16 * 3 + 1
    assert sum(layer.conv.groups > 1 for layer in convolutions) == 17


def test_convolutions_run_in_the_order_in_which_they_are_listed() -> None:
    encoder = MobileNetV2(0.35).eval()
    ran = []
    for layer in encoder.convolutions():
        layer.register_forward_hook(lambda layer, _, __: ran.append(layer))
    encoder(torch.zeros(1, 3, 32, 32))
    assert ran == encoder.convolutions()


@pytest.mark.parametrize(
    ("channels", "width", "expected"),
    [
        # Slim's make_divisible by hand: nearest multiple of 8, one step up where that loses more than 10 %.
        (32, 0.35, 16),  # 11.2 -> 8 loses 29 % -> 16
        (16, 0.35, 8),  # 5.6 -> 8
        (24, 0.35, 8),  # 8.4 -> 8
        (64, 0.35, 24),  # 22.4 -> 24
        (160, 0.75, 120),
        (24, 0.75, 24),  # 18 -> 16 loses 11 % -> 24
        (96, 1.4, 136),  # 134.4 -> 136
        (32, 1.0, 32),
    ],
)
def test_channels_are_rounded_as_in_the_reference_implementation(channels: int, width: float, expected: int) -> None:
    assert scaled(channels, width) == expected


def test_a_narrow_encoder_keeps_the_last_layer_wide() -> None:
    # The paper applies multipliers below 1 to every layer but the last.
    assert MobileNetV2(0.35).channels == (8, 8, 16, 32, 1280)
    assert MobileNetV2(1.4).channels[-1] == 1792  # 1280 · 1.4


def test_padding_at_the_end_sees_what_symmetric_padding_sees_one_pixel_further() -> None:
    # 3×3 at stride 2, output i: `symmetric` reads the rows 2i−1 … 2i+1, TensorFlow's SAME 2i … 2i+2.
    ours, torchvision = MobileNetV2(0.35, "end").stem.eval(), MobileNetV2(0.35, "symmetric").stem.eval()
    torchvision.load_state_dict(ours.state_dict())
    image = torch.randn(1, 3, 16, 16)
    moved = torchvision(image.roll((-1, -1), (2, 3)))
    torch.testing.assert_close(ours(image)[..., 1:-1, 1:-1], moved[..., 1:-1, 1:-1])
    assert ours(image).shape == moved.shape == (1, 16, 8, 8)


def test_only_the_projections_are_without_an_activation() -> None:
    # "Linear bottlenecks": 17 projections, one a block.
    assert sum(layer.activation is None for layer in MobileNetV2().convolutions()) == 17


def test_a_narrow_encoder_sums_where_the_wide_one_does() -> None:
    # At 0.25 stem and first stage are both 8 wide: max(8, round) of 8 and of 4.
    narrow, wide = MobileNetV2(0.25), MobileNetV2()
    assert narrow.channels[0] == narrow.stem.conv.out_channels == 8
    assert [block.residual for block in narrow.blocks()] == [block.residual for block in wide.blocks()]
    assert sum(block.residual for block in wide.blocks()) == 10  # table 2: n − 1 a stage: 1 + 2 + 3 + 2 + 2


def test_the_names_of_its_tensors_are_those_that_released_networks_hold() -> None:
    state = MobileNetV2(0.35).state_dict()
    assert list(state)[:2] == ["stem.conv.weight", "stem.norm.weight"]
    assert "stages.1.0.layers.2.norm.running_var" in state
    assert len(state) == 52 * 6  # weight, gain, bias, mean, variance, steps of each convolution
