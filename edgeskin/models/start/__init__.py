"""ImageNet starts: which there are, and how an encoder of any width begins from one."""

from collections.abc import Iterable
from pathlib import Path

from torch import Tensor

from edgeskin.errors import RecipeError
from edgeskin.models.encoder import Encoder
from edgeskin.models.encoder import encoder as build
from edgeskin.models.spec import EncoderName
from edgeskin.models.squeezenet import SqueezeNet
from edgeskin.models.start.files import PUBLISHED, read_folded, read_torchvision
from edgeskin.models.start.load import load, load_folded, load_torchvision, misfit, recreate_batch_norm
from edgeskin.models.start.scale import scale_under_six
from edgeskin.models.start.select import select_channels

__all__ = [
    "load_folded",
    "load_torchvision",
    "recreate_batch_norm",
    "select_channels",
    "start_encoder",
    "start_problems",
]


def start_problems(name: EncoderName, width: float, source: str, folder: Path | None) -> list[str]:
    """What is wrong with a recipe's `network.start` that can be told without opening a file; empty where nothing is.

    source: `random`, `imagenet`, or the path of a torchvision state dict. folder: where ImageNet weights lie.
    """
    problems: list[str] = []
    if source == "random":
        return problems
    otherwise = 'or write start = "random"'
    if source != "imagenet":
        if not Path(source).is_file():
            problems.append(f"network.start is {source!r}, and no such file is there. Give a torchvision state dict")
        return problems
    if name not in PUBLISHED:
        problems.append(
            f'network.start is "imagenet", and there are no such weights for {name}. Write the path of a torchvision '
            f"state dict of {name}, {otherwise}"
        )
    elif folder is None:
        problems.append(
            f'network.start is "imagenet", which needs {PUBLISHED[name].file}: give its folder with --weights DIR or '
            f"EDGESKIN_WEIGHTS, {otherwise}"
        )
    if width > 1:
        problems.append(
            f'network.start is "imagenet", whose weights are for width 1.0, and network.width is {width:g}. Write a '
            f"width of at most 1, {otherwise}"
        )
    return problems


def start_encoder(encoder: Encoder, source: str, folder: Path | None, images: Iterable[Tensor]) -> None:
    """Give an encoder the weights that a recipe's `network.start` names; none for `random`.

    A file that fits the encoder is loaded into it; from one of width 1.0 a narrower encoder takes the strongest
    channels. The file's function is kept under our pixels where the activations are the file's. SqueezeNet with ReLU6
    keeps it up to one factor for all maps; MobileNetV3 with ReLU6 starts from weights that were meant for hard-swish.

    images: a few batches (N, 3, S, S) in [−1, 1) of the training set, read only where batch norm is to be made from
    them.

    Raises: RecipeError where there is no such start, or the file does not fit.
    """
    if source == "random":
        return
    if source == "imagenet":
        problems = start_problems(encoder.name, 1.0, source, folder)
        if folder is None or problems:
            raise RecipeError(encoder.name, problems)
        weights = read_folded(encoder.name, folder / PUBLISHED[encoder.name].file)
    else:
        weights = read_torchvision(encoder.name, Path(source))
    rescaled = isinstance(encoder, SqueezeNet) and encoder.activation == "relu6"
    if misfit(encoder, weights) is None and not rescaled:
        load(encoder, weights, images)
        return
    wide = build(encoder.name, 1.0, encoder.padding, "native" if rescaled else encoder.activation)
    if _is_wider(encoder, wide):
        raise RecipeError(str(weights.path), ["holds other channels than this encoder, and more are never made up. "
                                              "Write a network.width of at most 1"])  # fmt: skip
    if isinstance(wide, SqueezeNet) and rescaled:
        batches = list(images)
        load(wide, weights, ())
        scale_under_six(wide, batches)
        recreate_batch_norm(wide, batches)
    else:
        load(wide, weights, images)
    select_channels(wide, encoder)


def _is_wider(encoder: Encoder, other: Encoder) -> bool:
    """Whether any layer has more channels than in the other encoder of that name."""
    pairs = zip(encoder.convolutions(), other.convolutions(), strict=True)
    return any(ours.conv.out_channels > theirs.conv.out_channels for ours, theirs in pairs)
