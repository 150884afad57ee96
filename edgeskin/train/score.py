"""How good a network in training is on `select`: the figures that choose the epoch."""

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from edgeskin.benchmarks import metrics
from edgeskin.contract.model import HeadSpec, MaskCleanup
from edgeskin.contract.preprocess import ZScore, network_input
from edgeskin.contract.region import SecondPass, present
from edgeskin.contract.second_pass import joined, lesion_in_square
from edgeskin.data.labels import MISSING
from edgeskin.train.loader import Batch, Samples, Showing, plain_batches

Network = Callable[..., Sequence[Tensor]]
"""Called with a batch's inputs; its heads' logits come first, whatever else training wants of it behind them."""


def probabilities(
    network: Network,
    samples: Samples,
    heads: Sequence[HeadSpec],
    batch: int,
    device: torch.device,
    cleanup: MaskCleanup | None = None,
) -> dict[str, npt.NDArray[np.float32]]:
    """Every head's answers on every sample, those of a declared second pass from the region of the network's own mask.

    A mask head gives its per-image Jaccard (n,) at the network's own size, nan without a mask; any other (n, labels).
    cleanup: the recipe's, of the mask that a second pass looks at; without a second pass nobody asks for it.
    """
    answers: dict[str, list[npt.NDArray[np.float32]]] = {head.name: [] for head in heads}
    drawn: list[npt.NDArray[np.float32]] = []
    second_pass = samples.showing.second_pass
    with torch.no_grad():
        for item in plain_batches(samples, batch):
            outputs = network(*(each.to(device) for each in item.inputs))
            for head, logits in zip(heads, outputs[: len(heads)], strict=True):
                if head.kind == "mask":
                    answers[head.name].append(_jaccard(logits.cpu() > 0, item))
                    if second_pass is not None:
                        drawn += list(torch.sigmoid(logits[:, 0]).float().cpu().numpy())
                else:
                    decide = torch.softmax(logits, 1) if head.kind == "softmax" else torch.sigmoid(logits)
                    answers[head.name].append(decide.float().cpu().numpy())
    first = {name: np.concatenate(parts) for name, parts in answers.items()}
    if second_pass is None:
        return first
    assert cleanup is not None, "a second pass looks at the mask as the recipe cleans it"
    threshold = next(head.threshold for head in heads if head.kind == "mask")
    assert threshold is not None, "a mask head has a threshold"
    views = _second_views(samples, second_pass, drawn, threshold, cleanup)
    return joined(first, probabilities(network, views, heads, batch, device), second_pass)


def _jaccard(found: Tensor, item: Batch) -> npt.NDArray[np.float32]:
    truth = item.mask > 0.5
    union = (found | truth).sum((1, 2, 3)).float()
    jaccard = (found & truth).sum((1, 2, 3)) / union.clamp_min(1)
    jaccard[union == 0] = 1
    jaccard[item.has_mask == 0] = torch.nan
    return jaccard.numpy()


def _second_views(
    samples: Samples,
    second_pass: SecondPass,
    drawn: Sequence[npt.NDArray[np.float32]],
    threshold: float,
    cleanup: MaskCleanup,
) -> Samples:
    """What the second pass is shown of each sample, squares already; where no lesion was found, the first view again.

    Steps that change bytes are behind them; a z-score, which changes none, is still to come.
    Shapes: drawn [S, S] each, probabilities of the first pass's mask.
    """
    size, steps = samples.showing.size, samples.showing.preprocessing
    views = []
    for image, probability in zip(samples.images, drawn, strict=True):
        square, box = network_input(image, size, steps)
        lesion = lesion_in_square(probability, box, threshold, cleanup)
        views.append(present(square, lesion, second_pass).transpose(1, 2, 0))
    left = tuple(step for step in steps if isinstance(step, ZScore))
    return Samples(tuple(views), (None,) * len(views), {}, Showing(size, left), samples.fields)


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
