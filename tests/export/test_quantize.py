import copy
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from equivalence import MASK, MELANOMA, Carried, carry
from small_network import WEIGHTS, Small, images
from torch import Tensor, fx, nn
from torch.nn import functional
from torchao.quantization.pt2e import FixedQParamsFakeQuantize, move_exported_model_to_eval

from edgeskin.errors import GraphError
from edgeskin.export import quantize
from edgeskin.export.trace import trace
from edgeskin.graph.lint import lint
from edgeskin.train import qat

aten = torch.ops.aten
quantized = torch.ops.quantized_decomposed


@pytest.fixture(scope="module")
def trained() -> fx.GraphModule:
    """A small network after a few steps, its ranges frozen, in eval mode."""
    torch.manual_seed(0)
    prepared = qat.prepare(Small(), images(2))
    optimizer = torch.optim.SGD(prepared.parameters(), lr=0.05)
    for _ in range(4):
        optimizer.zero_grad()
        torch.autograd.backward(sum((logits**2).mean() for logits in prepared(images())))
        optimizer.step()
    qat.freeze_observers(prepared)
    move_exported_model_to_eval(prepared)
    prepared(images())
    return prepared


@pytest.fixture(scope="module")
def converted(trained: fx.GraphModule) -> fx.GraphModule:
    return quantize.convert(copy.deepcopy(trained))


def biases(module: fx.GraphModule) -> Iterator[tuple[Tensor, Tensor]]:
    """Each bias and its grid s_in · s_w, both (O,)."""
    for node in module.graph.nodes:
        if (
            node.target in (aten.conv2d.default, aten.linear.default)
            and len(node.args) > 2
            and node.args[2] is not None
        ):
            source = node.args[0]
            while source.target != quantized.dequantize_per_tensor.default:
                source = source.args[0]
            scale = getattr(module, str(node.args[1].args[1].target)).float()
            yield module.get_parameter(str(node.args[2].target)).detach(), np.float32(source.args[1]) * scale


def test_the_file_holds_exactly_the_scales_that_were_trained(
    trained: fx.GraphModule, converted: fx.GraphModule
) -> None:
    # torchao's fused fake quantizer trains with a range over 127 or 128 and converts with the range over 127.5.
    found = qat.fake_quantizers(trained)
    of_weights = [each for each in found if not isinstance(each, FixedQParamsFakeQuantize) and each.is_per_channel]
    activations = {float(each.scale) for each in found if each not in of_weights}
    nodes = converted.graph.nodes
    assert {node.args[1] for node in nodes if node.target == quantized.quantize_per_tensor.default} == activations
    written = sorted(
        getattr(converted, str(node.args[1].target)).tolist()
        for node in nodes
        if node.target == quantized.dequantize_per_channel.default
    )
    assert len(written) == WEIGHTS
    for found_scales, expected in zip(written, sorted(each.scale.tolist() for each in of_weights), strict=True):
        # Folding batch norm into a weight rounds float32 once more.
        assert found_scales == pytest.approx(expected, rel=1e-6)


def test_the_converted_network_answers_as_the_fake_quantized_one(
    trained: fx.GraphModule, converted: fx.GraphModule
) -> None:
    with torch.no_grad():
        for before, after in zip(trained(images(64)), converted(images(64)), strict=True):
            # Where float32 sums fall on the other side of a rounding, one step of a scale is lost; seldom.
            assert (before - after).abs().mean() < 1e-3 * before.abs().max()


def test_biases_are_on_their_integer_grid_only_once_they_are_snapped(converted: fx.GraphModule) -> None:
    snapped = copy.deepcopy(converted)
    quantize.snap_biases(snapped)
    pairs = list(zip(biases(converted), biases(snapped), strict=True))
    assert len(pairs) == WEIGHTS, "convolutions get theirs from batch norm"
    moved = 0
    for (free, _), (bias, grid) in pairs:
        integers = (bias.double() / grid.double()).round()
        assert torch.equal(integers.float() * grid, bias), "what the exported file holds, to the bit"
        assert ((bias - free).abs() <= grid * 0.5 + 1e-9).all(), "the nearest one"
        moved += int((bias != free).sum())
    assert moved > 0


def test_snapping_twice_changes_nothing_more(converted: fx.GraphModule) -> None:
    snapped = copy.deepcopy(converted)
    quantize.snap_biases(snapped)
    first = [bias.clone() for bias, _ in biases(snapped)]
    quantize.snap_biases(snapped)
    assert all(torch.equal(before, bias) for before, (bias, _) in zip(first, biases(snapped), strict=True))


def test_a_conversion_that_left_something_in_float_is_refused_with_its_nodes(
    trained: fx.GraphModule, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quantize, "convert_pt2e", lambda prepared: prepared)
    with pytest.raises(GraphError) as caught:
        quantize.convert(copy.deepcopy(trained))
    message = str(caught.value)
    for words in ("batch norm was not folded", "its weight is not quantized", "fake quantization is left"):
        assert words in message


def test_a_conversion_that_lost_an_operator_is_refused_by_its_count(
    trained: fx.GraphModule, monkeypatch: pytest.MonkeyPatch
) -> None:
    empty = fx.GraphModule(torch.nn.Module(), fx.Graph())
    monkeypatch.setattr(quantize, "convert_pt2e", lambda prepared: empty)
    with pytest.raises(GraphError, match=r"4 aten\.conv2d\.default became 0; 1 aten\.linear\.default became 0"):
        quantize.convert(copy.deepcopy(trained))


# --- layers that run twice ---


class Level(nn.Module):
    """A decoder level that runs twice: convolutions shared, a batch norm for each run."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(inputs, inputs, 3, padding=1, groups=inputs, bias=False)
        self.pointwise = nn.ConvTranspose2d(inputs, outputs, 2, 2, bias=False)
        self.norms = nn.ModuleList(nn.BatchNorm2d(channels) for channels in (inputs, outputs, inputs, outputs))

    def forward(self, x: Tensor, run: int) -> Tensor:
        x = functional.relu6(self.norms[2 * run](self.depthwise(x)))
        return functional.relu(self.norms[2 * run + 1](self.pointwise(x)))


class Twice(nn.Module):
    """Joint reverse learning in small: the second run sees channels that a classifier's hidden layer re-weighs.

    `squeeze` has a bias, no batch norm, and runs twice too, on inputs of two scales.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.level, self.squeeze = nn.Conv2d(3, 8, 3, 2, 1), Level(8, 4), nn.Linear(8, 8)
        self.mask, self.melanoma = nn.Conv2d(4, 1, 1), nn.Linear(8, 1)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        x = functional.relu(self.stem(image))
        hidden = functional.relu(self.squeeze(x.mean((2, 3))))
        gate = functional.hardsigmoid(self.squeeze(hidden)).view(-1, 8, 1, 1)
        return self.mask(self.level(x, 0) + self.level(x * gate, 1)), self.melanoma(hidden)


@pytest.fixture(scope="module")
def twice(tmp_path_factory: pytest.TempPathFactory) -> Carried:
    torch.manual_seed(0)
    return carry(Twice(), (MASK, MELANOMA), tmp_path_factory.mktemp("twice"))


def test_a_layer_that_runs_twice_is_folded_with_the_batch_norm_of_each_run(twice: Carried) -> None:
    assert twice.levels() >= 8
    assert twice.farthest(twice.fake_quantized, twice.converted) <= 1.01
    for found in (twice.plain, twice.optimised):
        assert twice.farthest(twice.snapped, found) <= 1.01
    assert lint(twice.network) == ()


def test_each_run_has_a_name_and_constants_of_its_own_in_both_files(twice: Carried) -> None:
    names = [node.name for node in twice.network.nodes]
    assert {"level.depthwise", "level.depthwise_2", "level.pointwise", "level.pointwise_2", "squeeze_2"} <= set(names)
    # Folding a factor a channel into a weight changes its scales, not its integers.
    one, other = (twice.network.tensors[f"level.depthwise{run}.weight"] for run in ("", "_2"))
    assert one.quantization != other.quantization
    module = Twice()
    with torch.no_grad():
        module(images())
    assert [node.name for node in trace(module.eval(), (MASK, MELANOMA), 16).nodes] == names
