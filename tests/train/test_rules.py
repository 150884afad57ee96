"""Every operator of the table, carried through to onnxruntime; and what is refused before any training."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from equivalence import MASK, MELANOMA, Carried, carry, inputs
from torch import Tensor, nn
from torch.nn import functional

from edgeskin.errors import GraphError
from edgeskin.graph.ir import Requantize
from edgeskin.graph.lint import lint
from edgeskin.train import qat

C = 8
"""Channels everywhere. No batch norm: torchao takes ten seconds to fold any, and test_quantize.py does."""


class Swish(nn.Module):
    """Hard-swish behind a convolution, behind a sum, and on a vector; dropout; linear and ReLU."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.depthwise = nn.Conv2d(3, C, 3, padding=1), nn.Conv2d(C, C, 5, groups=C)
        self.swish, self.in_place = nn.Hardswish(), nn.Hardswish(inplace=True)
        self.hidden, self.dropout, self.mask, self.melanoma = (
            nn.Linear(C, C),
            nn.Dropout(0.1),
            nn.Conv2d(C, 1, 7, padding=3),
            nn.Linear(C, 1),
        )

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        x = self.swish(self.stem(image))
        x = self.in_place(x + self.depthwise(functional.pad(x, (1, 3, 3, 1))))
        vector = functional.relu(self.hidden(self.swish(x.mean((2, 3)))))
        return self.mask(x), self.melanoma(self.dropout(vector))


class Gates(nn.Module):
    """Squeeze-and-excite, CBAM with its layers run twice, a gate pooled to a coarser stride."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.squeeze, self.excite = nn.Conv2d(3, C, 3, padding=1), nn.Conv2d(C, 4, 1), nn.Conv2d(4, C, 1)
        self.spatial, self.mask, self.melanoma = nn.Conv2d(2, 1, 7, padding=3), nn.Conv2d(C, 1, 1), nn.Linear(C, 1)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        x = functional.relu6(self.stem(image))
        pooled = x.mean((2, 3), keepdim=True), x.amax((2, 3), keepdim=True)
        one, other = (self.excite(functional.relu(self.squeeze(each))) for each in pooled)
        x = x * functional.hardsigmoid(one + other)
        maps = torch.cat([x.mean(1, keepdim=True), x.amax(1, keepdim=True)], 1)
        x = torch.sigmoid(self.spatial(maps)) * x
        mask = self.mask(x)
        coarse = functional.avg_pool2d(x, 2) * functional.avg_pool2d(torch.sigmoid(mask), 2)
        return mask, self.melanoma(coarse.mean((2, 3)))


class Windows(nn.Module):
    """Pools, resizes, cuts, joins, clips that no operator absorbs, transposed convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.up = nn.Conv2d(3, C, 3, padding=1), nn.ConvTranspose2d(C, 6, 3, 2, 1, 1)
        self.wider = nn.ConvTranspose2d(6, C, 2, 2, bias=False)
        self.mask, self.melanoma = nn.Conv2d(3 * C, 1, 1), nn.Linear(C, 1)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        x = self.stem(image)
        left, right = torch.clamp(x, 0, 6)[:, :4], functional.relu(functional.max_pool2d(x, 2))[:, 4:]
        x = torch.cat([left, functional.interpolate(right, scale_factor=2.0, mode="nearest")], 1)
        half = functional.max_pool2d(x, 3, 2, ceil_mode=True)
        up = functional.relu(self.up(functional.avg_pool2d(half, 2)))
        smooth = functional.interpolate(half, scale_factor=2.0, mode="bilinear", align_corners=False)
        joined = torch.cat([functional.relu6(self.wider(up)), x, smooth], 1)
        return self.mask(joined), self.melanoma(half.mean((2, 3)))


class Vectors(nn.Module):
    """Metadata encoded, multiplied, joined as it came; a vector projected to a gate; a weight in two shapes."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.encode, self.project = nn.Conv2d(3, C, 3, 2, 1), nn.Linear(5, C), nn.Linear(C, C)
        self.unknown = nn.Linear(5, 5, bias=False)
        self.mask, self.melanoma = nn.Conv2d(C, 1, 1), nn.Linear(C + 5, 1)

    def forward(self, image: Tensor, metadata: Tensor) -> tuple[Tensor, Tensor]:
        x = functional.relu(self.stem(image))
        known = metadata + self.unknown(metadata) * metadata
        vector = functional.relu(self.project(x.mean((2, 3)))) * self.encode(known)
        x = x * functional.hardsigmoid(self.project(vector)).view(-1, C, 1, 1)
        activation = functional.conv2d(x, self.project.weight[:, :, None, None], self.project.bias)
        pooled = x.mean((2, 3), keepdim=True).flatten(1)
        answer = self.melanoma(torch.cat([metadata, pooled], 1))
        return functional.interpolate(self.mask(activation), scale_factor=2.0), answer


NETWORKS: dict[str, tuple[Callable[[], nn.Module], int | None, set[str]]] = {
    "swish": (Swish, None, {"HardSwish", "Linear"}),
    "gates": (Gates, None, {"HardSigmoid", "Sigmoid", "Mul", "Mean", "Max", "AveragePool", "Concat"}),
    "windows": (Windows, None, {"ConvTranspose", "Resize", "Slice", "MaxPool", "AveragePool", "Activate"}),
    "vectors": (Vectors, 5, {"Linear", "Mul", "Add", "Reshape", "Requantize", "Concat"}),
}


@pytest.fixture(scope="module", params=NETWORKS)
def carried(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Carried:
    make, metadata, kinds = NETWORKS[request.param]
    torch.manual_seed(0)
    found = carry(make(), (MASK, MELANOMA), tmp_path_factory.mktemp(request.param), metadata)
    assert kinds <= {node.kind for node in found.network.nodes}
    assert found.levels() >= 8
    return found


def test_no_tensor_is_left_undeclared_in_float(carried: Carried) -> None:
    assert lint(carried.network) == ()


def test_what_was_trained_is_what_is_converted(carried: Carried) -> None:
    assert carried.farthest(carried.fake_quantized, carried.converted) <= 1.01


def test_onnxruntime_answers_within_one_step_of_torch_as_written_and_optimised(carried: Carried) -> None:
    for found in (carried.plain, carried.optimised):
        assert carried.farthest(carried.snapped, found) <= 1.01
        for name, values in found.items():
            # Float32 sums in another order seldom fall on the other side of a rounding.
            assert np.mean(np.abs(values - carried.snapped[name]) > 0.5) < 0.01


@pytest.mark.parametrize("carried", ["vectors"], indirect=True)
def test_metadata_enters_at_its_own_exact_scale_and_is_quantized_again_only_to_be_joined(carried: Carried) -> None:
    network = carried.network
    assert network.inputs == ("image", "metadata")
    assert network.tensors["metadata"].shape == ("N", 5)
    assert float(network.tensors["metadata"].quantization.scale) == 1 / 64
    (again,) = [node for node in network.nodes if isinstance(node.operator, Requantize)]
    assert again.inputs == ("metadata",)
    assert [node.kind for node in network.consumers(again.output)] == ["Concat"]


# --- refused before any training ---


class Applied(nn.Module):
    """A function of the modules and the image."""

    def __init__(self, function: Callable[..., Tensor], *modules: nn.Module) -> None:
        super().__init__()
        self.layers = nn.ModuleList(modules)
        self.function = function

    def forward(self, image: Tensor) -> tuple[Tensor]:
        return (self.function(image, *self.layers),)


def linear_norm(image: Tensor, linear: nn.Module, norm: nn.Module) -> Tensor:
    return norm(linear(image.mean((2, 3))))


def conv_norm(image: Tensor, conv: nn.Module, norm: nn.Module) -> Tensor:
    return norm(conv(image))


def norm_twice(image: Tensor, conv: nn.Module, norm: nn.Module) -> Tensor:
    return norm(conv(image)) + norm(conv(functional.relu(image)))


def part_of_a_bias(image: Tensor, conv: nn.Conv2d) -> Tensor:
    return functional.conv2d(image, conv.weight[:2], conv.bias[:2])


CONV = nn.Conv2d(3, 4, 1)
REFUSED = [
    (Applied(functional.silu), r"silu: operator aten\.silu\.default has no rule"),
    (Applied(functional.dropout2d), r"aten\.feature_dropout\.default has no rule"),
    (Applied(lambda x: functional.adaptive_avg_pool2d(x, 1)), r"aten\.adaptive_avg_pool2d\.default has no rule"),
    (Applied(lambda x: functional.relu(x) * 2), r"mul: aten\.mul\.Tensor with a constant"),
    (Applied(lambda x, conv: x + conv.weight[:1, :, :, :], nn.Conv2d(3, 4, 1)), r"aten\.add\.Tensor with a constant"),
    (Applied(functional.hardtanh), r"hardtanh: aten\.hardtanh\.default clips to \[-1\.0, 1\.0\]"),
    (Applied(lambda x: x.clamp(min=0)), r"clamp: aten\.clamp\.default clips to \[0\]"),
    (Applied(lambda x, up: up(x), nn.ConvTranspose2d(3, 3, 2, groups=3)), "transposed convolution in groups"),
    (Applied(part_of_a_bias, CONV), "conv2d: its bias is computed"),
    (Applied(linear_norm, nn.Linear(3, 4), nn.BatchNorm1d(4)), "batch norm folds only into a convolution"),
    (Applied(lambda x, norm: norm(functional.relu(x)), nn.BatchNorm2d(3)), "batch norm folds only into a convolution"),
    (Applied(conv_norm, CONV, nn.BatchNorm2d(4, eps=1e-3)), r"batch norm with momentum 0\.1 and eps 0\.001"),
    (Applied(conv_norm, CONV, nn.BatchNorm2d(4, momentum=0.01)), r"batch norm with momentum 0\.01 and eps 1e-05"),
    (Applied(norm_twice, CONV, nn.BatchNorm2d(4)), "this batch norm runs twice"),
]


@pytest.mark.parametrize(("network", "words"), REFUSED, ids=[words[:40] for _, words in REFUSED])
def test_what_torchao_would_change_or_no_target_has_is_refused_by_node(network: nn.Module, words: str) -> None:
    with pytest.raises(GraphError, match=words):
        qat.prepare(network, *inputs(2, 0))
