"""Maps against hand computation, autograd's own third derivatives, and pytorch-grad-cam where it is installed."""

import importlib.util
import sys
from unittest.mock import MagicMock

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from edgeskin.contract.model import HeadSpec
from edgeskin.models.cam import class_activation_map, explain, grad_cam_pp

DIAGNOSIS = HeadSpec(name="diagnosis", kind="softmax", labels=("a", "b", "c"))
MELANOMA = HeadSpec(name="melanoma", kind="sigmoid", labels=("melanoma",), threshold=0.5)
MASK = HeadSpec(name="mask", kind="mask", labels=("lesion",), threshold=0.5)


class Encoder(nn.Module):
    """Two levels: (N, 3, S, S) -> (N, 4, S/2, S/2), (N, 6, S/4, S/4)."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.ReLU())
        self.second = nn.Sequential(nn.Conv2d(4, 6, 3, 2, 1), nn.ReLU())

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        level: Tensor = self.first(image)
        return level, self.second(level)


class Head(nn.Module):
    """Pooled features, a hidden layer or none, logits."""

    def __init__(self, labels: int, hidden: bool = False) -> None:
        super().__init__()
        self.hidden = nn.Sequential(nn.Linear(6, 6), nn.ReLU()) if hidden else nn.Identity()
        self.logits = nn.Linear(6, labels)

    def forward(self, pooled: Tensor) -> Tensor:
        answer: Tensor = self.logits(self.hidden(pooled))
        return answer


class MaskHead(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.logits = nn.Conv2d(4, 1, 1)

    def forward(self, level: Tensor) -> Tensor:
        answer: Tensor = self.logits(level)
        return answer


class Sharpen(nn.Module):
    """Stands between encoder and pooling, as attention does."""

    def forward(self, maps: Tensor) -> Tensor:
        return maps * maps


class Network(nn.Module):
    def __init__(self, hidden: bool = False, sharpen: bool = False, ignore: bool = False) -> None:
        super().__init__()
        self.encoder = Encoder()
        self.attention = Sharpen() if sharpen else None
        self.up = nn.Conv2d(6, 4, 1)
        self.ignore = ignore
        self.heads = nn.ModuleDict({"mask": MaskHead(), "diagnosis": Head(3, hidden), "melanoma": Head(1, hidden)})

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        wide, narrow = self.encoder(image)
        wide = wide + nn.functional.interpolate(self.up(narrow), scale_factor=2.0)
        if self.attention is not None:
            narrow = self.attention(narrow)
        pooled = narrow.mean((2, 3)) * (0 if self.ignore else 1)
        return self.heads["mask"](wide), self.heads["diagnosis"](pooled), self.heads["melanoma"](pooled)


def network(**kinds: bool) -> Network:
    torch.manual_seed(3)
    return Network(**kinds).eval()


def images() -> Tensor:
    return torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(4))


def test_grad_cam_pp_is_what_a_hand_computes() -> None:
    maps = torch.tensor([[[[1.0, 3.0]], [[2.0, 0.0]]]])
    gradients = torch.tensor([[[[1.0, -1.0]], [[0.5, 2.0]]]])
    # Channel 0 sums to 4: α = 1 / (2 + 1·4), the negative gradient does not count: weight 1/6.
    # Channel 1 sums to 2: 0.5 / (2 + 1) + 2 / (2 + 4) = 1/2. Cells: 1/6 + 1, 3/6 + 0.
    torch.testing.assert_close(grad_cam_pp(maps, gradients), torch.tensor([[[7 / 6, 1 / 2]]]))


def test_grad_cam_pp_stays_a_number_where_hard_swish_makes_the_denominator_zero_or_less() -> None:
    maps = torch.tensor([[[[-1.0, -1.0]], [[1.0, 2.0]]]])
    gradients = torch.tensor([[[[1.0, 3.0]], [[1.0, 0.0]]]])
    # Channel 0: 2 + 1·(−2) = 0 and 2 + 3·(−2) < 0, so nothing; channel 1: 1 / (2 + 3).
    torch.testing.assert_close(grad_cam_pp(maps, gradients), torch.tensor([[[1 / 5, 2 / 5]]]))


def test_the_closed_form_is_the_ratio_of_autograds_second_and_third_derivatives() -> None:
    """Equation 10 of Chattopadhyay et al. on exp(logit) of a linear logit, cell by cell, in float64."""
    generator = torch.Generator().manual_seed(1)
    maps = torch.rand(1, 2, 2, 3, dtype=torch.float64, generator=generator)
    slopes = torch.randn(1, 2, 2, 3, dtype=torch.float64, generator=generator)
    weights = torch.zeros(2, dtype=torch.float64)
    for cell in np.ndindex(2, 2, 3):

        def score(value: Tensor, cell: tuple[int, ...] = cell) -> Tensor:
            moved = maps.clone()
            moved[(0, *cell)] = value
            return (moved * slopes).sum().exp()

        value = maps[(0, *cell)].clone().requires_grad_()
        (first,) = torch.autograd.grad(score(value), value, create_graph=True)
        (second,) = torch.autograd.grad(first, value, create_graph=True)
        (third,) = torch.autograd.grad(second, value)
        alpha = second / (2 * second + maps[0, cell[0]].sum() * third)
        weights[cell[0]] += (alpha * first.relu()).detach()
    expected = (weights[None, :, None, None] * maps).sum(1).relu()
    ours = grad_cam_pp(maps, slopes) * (maps * slopes).sum().exp()  # the factor that ours leaves out
    torch.testing.assert_close(ours, expected)


def test_grad_cam_pp_of_a_pooled_linear_head_follows_from_its_weights() -> None:
    model = network()
    found = explain(model, [images()], MELANOMA)
    maps = model.encoder(images())[-1].detach()
    weight = model.heads["melanoma"].logits.weight[0].detach()
    # By hand: every gradient is w / cells, so a channel weighs relu(w) / (2 + w · its mean).
    channel = weight.relu() / (2 + weight * maps.mean((2, 3)))
    torch.testing.assert_close(found.grad_cam_pp, (channel[:, :, None, None] * maps).sum(1))


@pytest.fixture
def without_torchvision(monkeypatch: pytest.MonkeyPatch) -> None:
    """torch's CPU build has no torchvision. The judge imports it for drawing and for boxes, which nothing here asks."""
    if importlib.util.find_spec("torchvision") is not None:
        return
    for name in ("torchvision", "torchvision.transforms", "torchvision.transforms.functional"):
        monkeypatch.setitem(sys.modules, name, MagicMock())


def test_grad_cam_pp_agrees_with_pytorch_grad_cam(without_torchvision: None) -> None:
    library = pytest.importorskip("pytorch_grad_cam")
    targets = pytest.importorskip("pytorch_grad_cam.utils.model_targets")
    from edgeskin.benchmarks.localisation import normalise

    model = network(hidden=True)
    with torch.no_grad():
        # The library adds 1e-6 to a denominator that is of the order of a squared gradient: make gradients large.
        model.heads["diagnosis"].logits.weight.mul_(300)

    class OneHead(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, image: Tensor) -> Tensor:
            return self.model(image)[1]

    with library.GradCAMPlusPlus(OneHead(), [model.encoder.second]) as cam:
        theirs = cam(images(), [targets.ClassifierOutputTarget(2)] * 2)
    found = explain(model, [images()], DIAGNOSIS, torch.tensor([2, 2]))
    for one, other in zip(found.grad_cam_pp.numpy(), theirs, strict=True):
        np.testing.assert_allclose(normalise(cv2.resize(one, (16, 16))), other, atol=1e-4)
    assert theirs.max() > 0.99


def test_the_mean_of_a_class_activation_map_is_the_logit_less_its_bias() -> None:
    model = network()
    head = model.heads["diagnosis"].logits
    found = explain(model, [images()], DIAGNOSIS)
    assert found.activation_map is not None
    assert found.logits is not None
    torch.testing.assert_close(found.logits, model(images())[1].detach())
    assert found.explained.tolist() == found.logits.argmax(1).tolist()
    expected = found.logits.max(1).values - head.bias.detach()[found.explained]
    torch.testing.assert_close(found.activation_map.mean((1, 2)), expected)
    # By hand: one cell, two channels.
    cell = class_activation_map(torch.tensor([[[[2.0]], [[3.0]]]]), torch.tensor([[1.0, -1.0], [0.5, 2.0]]))
    assert cell.flatten().tolist() == [-1.0, 7.0]


def test_the_map_of_an_asked_label_is_that_of_this_label() -> None:
    model = network()
    wanted = torch.tensor([2, 0])
    found = explain(model, [images()], DIAGNOSIS, wanted)
    maps = model.encoder(images())[-1].detach()
    every = class_activation_map(maps, model.heads["diagnosis"].logits.weight.detach())
    assert found.activation_map is not None
    torch.testing.assert_close(found.activation_map, torch.stack([every[0, 2], every[1, 0]]))


def test_attention_before_pooling_belongs_to_the_class_activation_map() -> None:
    model = network(sharpen=True)
    found = explain(model, [images()], MELANOMA)
    assert found.activation_map is not None
    assert found.logits is not None
    bias = model.heads["melanoma"].logits.bias.detach()
    torch.testing.assert_close(found.activation_map.mean((1, 2)), found.logits[:, 0] - bias)


def test_a_head_with_a_hidden_layer_has_grad_cam_pp_alone_and_its_hidden_features() -> None:
    model = network(hidden=True)
    found = explain(model, [images()], DIAGNOSIS)
    assert found.activation_map is None
    assert found.features is not None
    assert found.grad_cam_pp.shape == (2, 4, 4)
    pooled = model.encoder(images())[-1].mean((2, 3))
    torch.testing.assert_close(found.features, model.heads["diagnosis"].hidden(pooled).detach())


def test_a_mask_head_is_explained_by_all_that_it_calls_lesion() -> None:
    model = network()
    found = explain(model, [images()], MASK)
    assert (found.logits, found.features, found.activation_map) == (None, None, None)
    levels = [level.detach() for level in model.encoder(images())]
    levels[-1].requires_grad_()
    wide = levels[0] + nn.functional.interpolate(model.up(levels[1]), scale_factor=2.0)
    logits = model.heads["mask"](wide)
    (gradient,) = torch.autograd.grad(logits[logits > 0].sum(), levels[-1])
    torch.testing.assert_close(found.grad_cam_pp, grad_cam_pp(levels[-1].detach(), gradient))


def test_a_head_that_does_not_read_the_last_level_has_an_empty_map() -> None:
    found = explain(network(ignore=True), [images()], DIAGNOSIS)
    assert found.grad_cam_pp.abs().max() == 0


def test_explaining_leaves_no_hooks_and_no_gradients_behind() -> None:
    model = network()
    before = model(images())[1]
    with torch.no_grad():
        explain(model, [images()], DIAGNOSIS)
    assert all(not module._forward_hooks for module in model.modules())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert torch.equal(before, model(images())[1])
    with pytest.raises(RuntimeError):
        explain(model, [torch.zeros(1, 5, 16, 16)], DIAGNOSIS)
    assert all(not module._forward_hooks for module in model.modules())
