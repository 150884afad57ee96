from pathlib import Path

import numpy as np
import pytest
import torch
from small_network import HEADS, SIZE, Small, images

from edgeskin.errors import GraphError
from edgeskin.export.trace import trace
from edgeskin.graph import lint
from edgeskin.graph.ir import Network, Pixels, Sigmoid
from edgeskin.graph.write import write_onnx
from edgeskin.targets.onnx import reference_session


@pytest.fixture(scope="module")
def network() -> Small:
    """In eval mode, with batch norm that has seen something."""
    torch.manual_seed(0)
    module = Small()
    with torch.no_grad():
        for _ in range(5):
            module(images())
    return module.eval()


@pytest.fixture(scope="module")
def traced(network: Small) -> Network:
    return trace(network, HEADS, SIZE)


def test_a_traced_network_keeps_the_contract_of_the_float_file(traced: Network) -> None:
    assert lint.lint_float(traced) == ()
    assert isinstance(traced.nodes[0].operator, Pixels)
    assert traced.inputs == ("image",)
    assert traced.outputs == ("mask", "melanoma")
    assert traced.tensors["image"].shape == ("N", 3, SIZE, SIZE)
    assert sum(isinstance(node.operator, Sigmoid) for node in traced.nodes) == 2


def test_the_file_computes_what_torch_computes_for_any_batch(network: Small, traced: Network, tmp_path: Path) -> None:
    write_onnx(traced, tmp_path / "traced.onnx")
    session = reference_session(tmp_path / "traced.onnx")
    for count in (1, 3):
        pixels = images(count)
        with torch.no_grad():
            expected = [torch.sigmoid(logits).numpy() for logits in network(pixels)]
        found = session.run((pixels * 128 + 128).to(torch.uint8).numpy())
        for head, probabilities in zip(HEADS, expected, strict=True):
            np.testing.assert_allclose(found[head.name], probabilities, atol=1e-5)


def test_tracing_again_gives_the_same_network_by_the_same_names(
    network: Small, traced: Network, tmp_path: Path
) -> None:
    write_onnx(traced, tmp_path / "first.onnx")
    write_onnx(trace(network, HEADS, SIZE), tmp_path / "second.onnx")
    assert (tmp_path / "first.onnx").read_bytes() == (tmp_path / "second.onnx").read_bytes()


class Cosine(torch.nn.Module):
    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.cos(image[:, :1]), image.mean((2, 3))[:, :1]


def test_an_operator_outside_the_representation_is_refused_by_name() -> None:
    with pytest.raises(GraphError, match="Cos"):
        trace(Cosine().eval(), HEADS, SIZE)


class Extra(torch.nn.Module):
    """Heads, then what only training wants; the mask is also a gate inside; metadata joins the second head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.mask, self.tap = (torch.nn.Conv2d(i, o, 1) for i, o in ((3, 4), (4, 1), (4, 7)))
        self.melanoma = torch.nn.Linear(4 + 5, 1)

    def forward(self, image: torch.Tensor, metadata: torch.Tensor) -> tuple[torch.Tensor, ...]:
        features = torch.relu(self.stem(image))
        mask = self.mask(features)
        pooled = (features * torch.sigmoid(mask)).mean((2, 3))
        return mask, self.melanoma(torch.cat([pooled, metadata], 1)), features, torch.relu(self.tap(features))


def test_taps_vanish_metadata_is_the_second_input_and_a_gate_is_parted_from_the_head_it_equals(tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = Extra().eval()
    traced = trace(module, HEADS, SIZE, metadata=5)
    assert lint.lint_float(traced) == ()
    assert traced.inputs == ("image", "metadata")
    assert traced.tensors["metadata"].shape == ("N", 5)
    assert traced.outputs == ("mask", "melanoma")
    assert sum(node.kind == "Conv" for node in traced.nodes) == 2, "stem and mask, not the tap"
    assert sum(isinstance(node.operator, Sigmoid) for node in traced.nodes) == 3
    write_onnx(traced, tmp_path / "traced.onnx")
    pixels, metadata = images(3), torch.rand(3, 5)
    with torch.no_grad():
        expected = [torch.sigmoid(logits).numpy() for logits in module(pixels, metadata)[:2]]
    found = reference_session(tmp_path / "traced.onnx").run(
        (pixels * 128 + 128).to(torch.uint8).numpy(), metadata.numpy()
    )
    for head, probabilities in zip(HEADS, expected, strict=True):
        np.testing.assert_allclose(found[head.name], probabilities, atol=1e-5)


def test_layers_that_run_twice_between_batch_norms_are_folded_one_by_one(tmp_path: Path) -> None:
    class Shared(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = torch.nn.Conv2d(3, 3, 3, padding=1, bias=False)
            self.norms = torch.nn.ModuleList(torch.nn.BatchNorm2d(3) for _ in range(2))

        def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            x = torch.relu(self.norms[0](self.conv(image)))
            x = torch.relu(self.norms[1](self.conv(x)))
            return x[:, :1], x.mean((2, 3))[:, :1]

    torch.manual_seed(0)
    module = Shared()
    with torch.no_grad():
        for _ in range(5):
            module(images())
        expected = [torch.sigmoid(logits).numpy() for logits in module.eval()(images(3))]
    write_onnx(trace(module, HEADS, SIZE), tmp_path / "shared.onnx")
    found = reference_session(tmp_path / "shared.onnx").run((images(3) * 128 + 128).to(torch.uint8).numpy())
    for head, probabilities in zip(HEADS, expected, strict=True):
        np.testing.assert_allclose(found[head.name], probabilities, atol=1e-5)
