"""Where a head looks: Grad-CAM++ for any head, and the class-activation map of a head that pools and is linear.

Both are maps of evidence for one answer at the size of the encoder's last level. Grad-CAM++ needs gradients, so it is
for analysis alone; the class-activation map is a 1×1 convolution with the head's own weights and can lie in the
exported graph (`heads.MapHead`).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.hooks import RemovableHandle

from edgeskin.contract.model import HeadSpec

SAME_FEATURES = 1e-4
"""Pooled features may differ from what the head read by this much, relative and absolute: float32 sums in any order."""


@dataclass(frozen=True, eq=False)
class Explanation:
    """What one head answered to a batch, and why.

    Shapes: logits (N, labels), None for a mask head; explained (N,) the label the maps are about; features (N, F) what
    the logits are a linear function of, None for a mask head; grad_cam_pp (N, h, w) ≥ 0; activation_map (N, h, w) of
    any sign, None where something stands between pooling and the logits.
    """

    logits: Tensor | None
    explained: Tensor
    features: Tensor | None
    grad_cam_pp: Tensor
    activation_map: Tensor | None


def grad_cam_pp(maps: Tensor, gradients: Tensor) -> Tensor:
    """Channels summed with the weights Σ α·relu(g), then ReLU, where α = g² / (2·g² + g³·Σ map), g = ∂logit/∂map.

    This is the closed form for the score exp(logit); its common factor exp(logit) is left out, since a map is scaled
    anyway. Feature maps are taken to be ≥ 0; where hard-swish makes the denominator zero or less, α is 0.

    Shapes: maps, gradients (N, C, h, w) -> (N, h, w). Source: Chattopadhyay et al. 2018, equations 5, 6 and 19.
    """
    # Divided by g²: with gradients of 1e-6, as a mean over many cells has them, g³ would vanish in float32.
    denominator = 2 + gradients * maps.sum((2, 3), keepdim=True)
    alpha = torch.where(denominator > 0, 1 / denominator, torch.zeros_like(denominator))
    weights = (alpha * functional.relu(gradients)).sum((2, 3), keepdim=True)
    return functional.relu((weights * maps).sum(1))


def class_activation_map(maps: Tensor, weight: Tensor) -> Tensor:
    """The evidence for every label in every cell: its mean over the cells is the label's logit less the bias.

    Shapes: maps (N, C, h, w), weight (labels, C) -> (N, labels, h, w). Source: Zhou et al. 2016, equation 2.
    """
    return functional.conv2d(maps, weight[:, :, None, None])


def explain(network: nn.Module, inputs: Sequence[Tensor], head: HeadSpec, labels: Tensor | None = None) -> Explanation:
    """Run a float network in eval mode and explain one head.

    network: has `encoder`, whose last output is the map, and in `heads` a module with `logits`. inputs: as it takes
    them. labels: (N,) which label to explain, by default the most probable. A sigmoid head explains its yes, a mask
    head all that it calls lesion (the sum of its positive logits). A head that does not read the last level has an
    empty Grad-CAM++.
    """
    encoder = network.get_submodule("encoder")
    linear = network.get_submodule(f"heads.{head.name}.logits")
    assert isinstance(linear, nn.Linear | nn.Conv2d), "logits are linear in what the head reads"
    last: list[Tensor] = []
    read: list[tuple[Tensor, Tensor]] = []
    between: list[Tensor] = []

    def begin_graph(_: nn.Module, __: object, levels: Sequence[Tensor]) -> tuple[Tensor, ...]:
        last.append(levels[-1].detach().requires_grad_())
        return (*(level.detach() for level in levels[:-1]), last[-1])

    def keep(_: nn.Module, given: tuple[Tensor, ...], answer: Tensor) -> None:
        read.append((given[0], answer))

    def keep_map(_: nn.Module, __: object, output: object) -> None:
        if isinstance(output, Tensor) and output.ndim == 4:
            between.append(output.detach())

    handles: list[RemovableHandle] = [encoder.register_forward_hook(begin_graph), linear.register_forward_hook(keep)]
    handles += [
        module.register_forward_hook(keep_map)
        for name, module in network.named_modules()
        if name and not name.startswith(("encoder", "heads"))
    ]
    with torch.enable_grad():
        try:
            network(*inputs)
        finally:
            for handle in handles:
                handle.remove()
        features, answer = read[-1]
        if head.kind == "mask":
            explained, score = torch.zeros(len(answer), dtype=torch.int64), functional.relu(answer).sum()
        else:
            logits = answer.mean((2, 3)) if answer.ndim == 4 else answer
            explained = logits.argmax(1) if labels is None else labels
            score = logits[torch.arange(len(logits)), explained].sum()
        cells = grad_cam_pp(last[-1].detach(), _gradient(score, last[-1]))
    if head.kind == "mask":
        return Explanation(None, explained, None, cells, None)
    features, logits = features.detach(), logits.detach()
    pooled, source = features, _pooled_map(features, [last[-1].detach(), *between])
    if features.ndim == 4:
        pooled, source = features.mean((2, 3)), features
    activation = None
    if source is not None:
        every = class_activation_map(source, linear.weight.detach().flatten(1))
        activation = every[torch.arange(len(logits)), explained]
    return Explanation(logits, explained, pooled, cells, activation)


def _gradient(score: Tensor, maps: Tensor) -> Tensor:
    (gradient,) = torch.autograd.grad(score, maps, allow_unused=True)
    return torch.zeros_like(maps) if gradient is None else gradient


def _pooled_map(pooled: Tensor, candidates: Sequence[Tensor]) -> Tensor | None:
    """The map whose mean over its cells is what the head read, the latest of several; None where no map is."""
    fitting = [maps for maps in candidates if maps.shape[:2] == pooled.shape and _is_mean(pooled, maps)]
    return fitting[-1] if fitting else None


def _is_mean(pooled: Tensor, maps: Tensor) -> bool:
    return torch.allclose(maps.mean((2, 3)), pooled, rtol=SAME_FEATURES, atol=SAME_FEATURES)
