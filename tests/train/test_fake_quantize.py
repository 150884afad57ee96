import pytest
import torch
from torch import Tensor
from torchao.quantization.pt2e import FakeQuantize, MovingAverageMinMaxObserver

from edgeskin.train.fake_quantize import ActivationFakeQuantize

SETTINGS = {
    "observer": MovingAverageMinMaxObserver,
    "dtype": torch.int8,
    "quant_min": -128,
    "quant_max": 127,
    "qscheme": torch.per_tensor_symmetric,
    "eps": 2.0**-12,
}


def answer(module: torch.nn.Module, values: Tensor) -> tuple[Tensor, Tensor]:
    """What it makes of values, and their gradient where that of the result counts upwards from 1."""
    given = values.clone(memory_format=torch.preserve_format).requires_grad_()
    result = module(given)
    torch.autograd.backward(result, torch.arange(1.0, 1 + result.numel()).reshape(result.shape))
    assert given.grad is not None
    return result.detach(), given.grad


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_values_gradients_and_state_are_torchaos(layout: torch.memory_format) -> None:
    generator = torch.Generator().manual_seed(1)
    ours, theirs = ActivationFakeQuantize(**SETTINGS), FakeQuantize(**SETTINGS)
    for step in range(6):
        # Ever narrower, so that the range, which follows slowly, is too wide; then suddenly too narrow.
        width = 3.0 if step == 5 else 1.0 / (1 + step)
        values = (torch.randn(3, 5, 7, 9, generator=generator) * width).contiguous(memory_format=layout)
        if step == 4:
            for module in (ours, theirs):
                module.disable_observer()
        for mine, reference in zip(answer(ours, values), answer(theirs, values), strict=True):
            assert torch.equal(mine, reference)
        assert mine.stride() == values.stride()
        state, expected = ours.state_dict(), theirs.state_dict()
        assert list(state) == list(expected)
        assert all(torch.equal(state[name], expected[name]) for name in state)


def test_ties_round_to_even_and_the_ends_of_the_range_are_inside() -> None:
    module = ActivationFakeQuantize(**SETTINGS)
    module.disable_observer()
    module.scale.fill_(0.25)
    steps = torch.tensor([0.5, 1.5, -0.5, 127.0, 127.4, 127.5, -128.0, -128.5, -128.6, 1000.0])
    values, gradient = answer(module, steps * 0.25)
    assert (values * 4).tolist() == [0, 2, 0, 127, 127, 127, -128, -128, -128, 127]
    # 127.5 rounds to 128 and is clipped; −128.5 rounds to −128 and is not.
    assert gradient.tolist() == [1, 2, 3, 4, 5, 0, 7, 8, 0, 0]


def test_what_is_no_number_stays_none() -> None:
    module = ActivationFakeQuantize(**SETTINGS)
    module.disable_observer()
    assert module(torch.tensor([float("nan")])).isnan().all()
