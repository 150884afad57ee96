import torch
from torch import nn

from edgeskin.train.precision import spare_strided_depthwise


def test_depthwise_convolutions_with_a_stride_multiply_in_float32() -> None:
    torch.manual_seed(0)
    strided, plain = (nn.Conv2d(8, 8, 3, stride, groups=8, bias=False) for stride in (2, 1))
    network = nn.Sequential(strided, plain)
    names = list(network.state_dict())
    spare_strided_depthwise(network)
    assert list(network.state_dict()) == names
    image = torch.rand(2, 8, 16, 16).bfloat16()
    exact = nn.functional.conv2d(image.float(), strided.weight, stride=2, groups=8)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        spared = strided(image)
        assert torch.equal(spared, exact.bfloat16())  # rounded once, at the end
        weights = nn.functional.conv2d(image.float(), strided.weight.bfloat16().float(), stride=2, groups=8)
        assert not torch.equal(spared, weights.bfloat16())
        assert plain(spared).dtype == torch.bfloat16
