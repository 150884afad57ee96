import copy

import numpy as np
import pytest
import torch
from small_network import ACTIVATIONS, WEIGHTS, Small, images
from torch import Tensor, fx, nn
from torch.nn import functional
from torchao.quantization.pt2e import FakeQuantizeBase, FixedQParamsFakeQuantize, move_exported_model_to_eval

from edgeskin.errors import GraphError
from edgeskin.train import qat
from edgeskin.train.average import WeightAverage

aten = torch.ops.aten


def small() -> Small:
    torch.manual_seed(0)
    return Small()


def train(prepared: fx.GraphModule, steps: int = 4) -> None:
    optimizer = torch.optim.SGD(prepared.parameters(), lr=0.05)
    for _ in range(steps):
        optimizer.zero_grad()
        torch.autograd.backward(sum((logits**2).mean() for logits in prepared(images())))
        optimizer.step()


@pytest.fixture(scope="module")
def prepared() -> fx.GraphModule:
    """After a few training steps."""
    module = qat.prepare(small(), images(2))
    train(module)
    return module


@pytest.fixture
def frozen(prepared: fx.GraphModule) -> fx.GraphModule:
    module = copy.deepcopy(prepared)
    qat.freeze_observers(module)
    return module


def is_fixed(each: FakeQuantizeBase) -> bool:
    return isinstance(each, FixedQParamsFakeQuantize)


def is_of_weight(each: FakeQuantizeBase) -> bool:
    return not is_fixed(each) and each.is_per_channel


def activation_scales(module: fx.GraphModule) -> list[float]:
    return [float(each.scale) for each in qat.fake_quantizers(module) if not is_of_weight(each)]


def test_every_tensor_of_the_contract_has_a_fake_quantizer_of_its_kind(prepared: fx.GraphModule) -> None:
    found = qat.fake_quantizers(prepared)
    weights = [each for each in found if is_of_weight(each)]
    activations = [each for each in found if not is_of_weight(each)]
    assert (len(activations), len(weights)) == (ACTIVATIONS, WEIGHTS)
    assert {(each.dtype, each.quant_min, each.quant_max, each.qscheme) for each in activations} == {
        (torch.int8, -128, 127, torch.per_tensor_symmetric)
    }
    assert {(each.dtype, each.quant_min, each.quant_max, each.qscheme, each.ch_axis) for each in weights} == {
        (torch.int8, -127, 127, torch.per_channel_symmetric, 0)
    }
    assert all(not each.zero_point.any() for each in found)


def test_the_image_has_the_scale_of_the_pixel(prepared: fx.GraphModule) -> None:
    (pixel,) = [each for each in qat.fake_quantizers(prepared) if isinstance(each, FixedQParamsFakeQuantize)]
    assert float(pixel.scale) == 1 / 128
    assert torch.equal(pixel(images()), images()), "every pixel is a quantized value already"


@pytest.mark.parametrize(
    "operator", [aten.cat.default, aten.upsample_bilinear2d.vec, aten.max_pool2d.default, aten.pad.default]
)
def test_what_only_moves_values_shares_the_scale_of_its_inputs(prepared: fx.GraphModule, operator: object) -> None:
    nodes = [node for node in prepared.graph.nodes if node.target == operator]
    assert nodes
    for node in nodes:
        first = node.args[0]
        sources = first if isinstance(first, list | tuple) else [first]
        (reader,) = node.users
        shared = {prepared.get_submodule(str(each.target)) for each in (*sources, reader)}
        assert len(shared) == 1, "one fake quantizer, the same object, before and after"


def test_nothing_is_quantized_between_an_operator_and_the_activation_it_absorbs(prepared: fx.GraphModule) -> None:
    for node in prepared.graph.nodes:
        if node.target in (aten.hardtanh.default, aten.relu.default):
            assert node.args[0].op == "call_function"
            (reader,) = node.users
            assert reader.op == "call_module"


class Gelu(nn.Module):
    def forward(self, image: Tensor) -> tuple[Tensor]:
        return (functional.gelu(functional.relu(image)),)


def test_an_operator_without_a_rule_is_refused_by_name() -> None:
    with pytest.raises(GraphError, match=r"gelu: operator aten\.gelu\.default has no rule"):
        qat.prepare(Gelu(), images(2))


def test_frozen_scales_are_what_float16_can_hold_and_stand_still(frozen: fx.GraphModule) -> None:
    scales = activation_scales(frozen)
    assert all(float(np.float16(scale)) == scale for scale in scales)
    assert all(scale >= float(np.finfo(np.float16).tiny) for scale in scales)
    train(frozen, steps=2)
    assert activation_scales(frozen) == scales


def test_what_dropout_scales_up_in_training_widens_no_range() -> None:
    def ranges(share: float) -> list[float]:
        torch.manual_seed(0)
        network = Small()
        network.dropout.p = share
        module = qat.prepare(network, images(2))
        module(images())
        (mean,) = [node for node in module.graph.nodes if node.target == aten.mean.dim]
        return [
            float(module.get_submodule(str(reader.target)).activation_post_process.max_val) for reader in mean.users
        ]

    assert ranges(0.9) == ranges(0.0)


def test_a_mean_whose_scale_came_out_as_its_inputs_takes_the_next_wider(prepared: fx.GraphModule) -> None:
    module = copy.deepcopy(prepared)
    (mean,) = [node for node in module.graph.nodes if node.target == aten.mean.dim]
    before, after = (module.get_submodule(str(each.target)) for each in (mean.args[0], *mean.users))
    assert isinstance(before, FakeQuantizeBase)
    assert isinstance(after, FakeQuantizeBase)
    after.scale.copy_(before.scale)
    for _ in range(2):  # whoever loads a frozen state freezes it again
        qat.freeze_observers(module)
        theirs, own = (np.float16(each.scale.numpy()[0]) for each in (before, after))
        assert own == np.nextafter(theirs, np.float16(1))
        assert float(after.activation_post_process.max_val) == float(own) * 127.5, "what conversion reads"


def test_unfrozen_scales_do_follow_the_data(prepared: fx.GraphModule) -> None:
    module = copy.deepcopy(prepared)
    before = activation_scales(module)
    train(module, steps=2)
    assert sum(a != b for a, b in zip(before, activation_scales(module), strict=True)) == ACTIVATIONS - 1


def test_the_average_never_takes_in_the_infinite_range_an_observer_begins_with() -> None:
    module = qat.prepare(small(), images(2))
    ranges = [each.activation_post_process.min_val for each in qat.fake_quantizers(module) if not is_fixed(each)]
    assert all(torch.isinf(low).all() for low in ranges), "observers begin with infinite ranges, or with none"
    average = WeightAverage(0.9)
    for _ in range(2):
        train(module, steps=1)
        average.update(module)
    assert all(torch.isfinite(value).all() for value in average.tensors.values())
    with average.applied(module):
        assert all(torch.isfinite(logits).all() for logits in module(images()))


def test_a_state_fits_a_network_that_has_seen_no_batch_once_it_is_materialised(prepared: fx.GraphModule) -> None:
    fresh = qat.prepare(small(), images(2))
    qat.materialise(fresh, 16)
    fresh.load_state_dict(prepared.state_dict())
    for module in (fresh, reference := copy.deepcopy(prepared)):
        move_exported_model_to_eval(module)
        module.apply(lambda each: each.disable_observer() if hasattr(each, "disable_observer") else None)
    for found, expected in zip(fresh(images()), reference(images()), strict=True):
        assert torch.equal(found, expected)


def test_frozen_batch_norm_keeps_its_statistics_in_training(frozen: fx.GraphModule) -> None:
    statistics = {name: value.clone() for name, value in frozen.state_dict().items() if "running_" in name}
    assert len(statistics) == 6
    qat.freeze_batch_norm(frozen)
    train(frozen, steps=2)
    for name, value in statistics.items():
        assert torch.equal(frozen.state_dict()[name], value), name


def test_batch_norm_learns_until_it_is_frozen(frozen: fx.GraphModule) -> None:
    statistics = {name: value.clone() for name, value in frozen.state_dict().items() if "running_" in name}
    train(frozen, steps=1)
    assert not any(torch.equal(frozen.state_dict()[name], value) for name, value in statistics.items())


def dropouts(module: fx.GraphModule) -> list[tuple[float, bool]]:
    return [node.args[1:3] for node in module.graph.nodes if node.target == aten.dropout.default]


def test_evaluation_switches_dropout_and_batch_norm_off_and_training_on_again_as_they_were(
    frozen: fx.GraphModule,
) -> None:
    # torchao's own switch leads back to a dropout of 0.5.
    module = frozen
    assert dropouts(module) == [(0.1, True)]
    qat.to_evaluation(module)
    assert dropouts(module) == [(0.1, False)]
    statistics = {name: value.clone() for name, value in module.state_dict().items() if "running_" in name}
    assert torch.equal(module(images())[1], module(images())[1])
    assert all(torch.equal(module.state_dict()[name], value) for name, value in statistics.items())
    qat.to_training(module)
    assert dropouts(module) == [(0.1, True)]
    module(images())
    assert not any(torch.equal(module.state_dict()[name], value) for name, value in statistics.items())


def test_a_gain_learns_by_what_it_changes_and_by_nothing_else() -> None:
    """Against finite differences. Only weights are quantized, so that the loss is smooth in γ."""
    module = qat.prepare(small(), images(2))
    for each in qat.fake_quantizers(module):
        if not is_of_weight(each):
            each.disable_fake_quant()
    module(images())
    parameters = dict(module.named_parameters())
    gains = {name: each for name, each in parameters.items() if name.endswith("norm.weight")}
    statistics = {name: each.clone() for name, each in module.named_buffers()}
    assert len(gains) == 3

    def loss() -> Tensor:
        for name, buffer in module.named_buffers():
            buffer.copy_(statistics[name])
        torch.manual_seed(0)  # of dropout
        total: Tensor = sum((logits.double() ** 2).mean() for logits in module(images()))
        return total

    def gradients() -> dict[str, Tensor]:
        module.zero_grad()
        torch.autograd.backward(loss())
        return {name: each.grad.clone() for name, each in parameters.items() if each.grad is not None}

    as_prepared = gradients()
    qat.to_training(module)
    ours = gradients()
    different = {name for name in ours if not torch.equal(ours[name], as_prepared[name])}
    assert different == set(gains), "torchao's rounding is left out, and nothing else is touched"

    torch.manual_seed(1)
    direction = {name: torch.randn_like(gain) for name, gain in gains.items()}

    def after(step: float) -> float:
        with torch.no_grad():
            for name, gain in gains.items():
                gain.add_(direction[name], alpha=step)
            value = float(loss())
            for name, gain in gains.items():
                gain.sub_(direction[name], alpha=step)
        return value

    slope = (after(3e-3) - after(-3e-3)) / 6e-3
    assert float(sum((ours[name] * direction[name]).sum() for name in gains)) == pytest.approx(slope, rel=0.01)


class ThreeInputs(nn.Module):
    def forward(self, image: Tensor, metadata: Tensor, third: Tensor) -> tuple[Tensor]:
        return (functional.relu(image),)


def test_a_third_input_is_refused() -> None:
    with pytest.raises(GraphError, match="third: a third input"):
        qat.prepare(ThreeInputs(), images(2), torch.zeros(2, 3), torch.zeros(2, 3))
