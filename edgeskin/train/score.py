"""How good a network in training is on `select`: the figures that choose the epoch and the thresholds."""

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from edgeskin.benchmarks import metrics
from edgeskin.contract.model import HeadSpec
from edgeskin.data.labels import MISSING
from edgeskin.train.loader import Samples, plain_batches
from edgeskin.train.recipe import Recipe

Network = Callable[..., Sequence[Tensor]]
"""Called with a batch's inputs; its heads' logits come first, whatever else training wants of it behind them."""


def probabilities(
    network: Network, samples: Samples, heads: Sequence[HeadSpec], batch: int, device: torch.device
) -> dict[str, npt.NDArray[np.float32]]:
    """Every head's answers on every sample.

    A mask head gives its per-image Jaccard (n,) at the network's own size, nan without a mask; any other (n, labels).
    """
    answers: dict[str, list[npt.NDArray[np.float32]]] = {head.name: [] for head in heads}
    with torch.no_grad():
        for item in plain_batches(samples, batch):
            outputs = network(*(each.to(device) for each in item.inputs))
            for head, logits in zip(heads, outputs[: len(heads)], strict=True):
                if head.kind == "mask":
                    found, truth = logits.cpu() > 0, item.mask > 0.5
                    union = (found | truth).sum((1, 2, 3)).float()
                    jaccard = (found & truth).sum((1, 2, 3)) / union.clamp_min(1)
                    jaccard[union == 0] = 1
                    jaccard[item.has_mask == 0] = torch.nan
                    answers[head.name].append(jaccard.numpy())
                else:
                    decide = torch.softmax(logits, 1) if head.kind == "softmax" else torch.sigmoid(logits)
                    answers[head.name].append(decide.float().cpu().numpy())
    return {name: np.concatenate(parts) for name, parts in answers.items()}


def measure(
    answers: dict[str, npt.NDArray[np.float32]], samples: Samples, heads: Sequence[HeadSpec]
) -> dict[str, float]:
    """One figure a head: `mask_jaccard`, `<head>_balanced_accuracy` or `<head>_auroc`."""
    figures: dict[str, float] = {}
    for head in heads:
        values = answers[head.name]
        if head.kind == "mask":
            figures[f"{head.name}_jaccard"] = float(np.nanmean(values))
            continue
        truth = samples.labels[head.name]
        known = truth != MISSING
        if head.kind == "softmax":
            matrix = metrics.confusion(truth[known], values[known].argmax(1).astype(np.int64), len(head.labels))
            figures[f"{head.name}_balanced_accuracy"] = float(metrics.balanced_accuracy(matrix))
        else:
            figures[f"{head.name}_auroc"] = float(metrics.auroc(truth[known] == 1, values[known, 0]))
    return figures


def thresholds(
    answers: dict[str, npt.NDArray[np.float32]], samples: Samples, heads: Sequence[HeadSpec], recipe: Recipe
) -> dict[str, float]:
    """The stored threshold of every sigmoid head, as its recipe asks."""
    chosen: dict[str, float] = {}
    for head in heads:
        if head.kind != "sigmoid":
            continue
        truth = samples.labels[head.name]
        known = truth != MISSING
        positive, score = truth[known] == 1, answers[head.name][known, 0]
        target = recipe.heads[head.name].target_sensitivity
        if target is not None:
            chosen[head.name] = metrics.threshold_at_sensitivity(positive, score, target)
        else:
            candidates = np.unique(score)
            youden = [
                float(metrics.sensitivity(positive, score, t) + metrics.specificity(positive, score, t))
                for t in candidates
            ]
            chosen[head.name] = float(candidates[int(np.argmax(youden))])
    return chosen
