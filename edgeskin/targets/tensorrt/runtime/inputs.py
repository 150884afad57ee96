"""What goes in and out of every engine of a network, whoever runs it."""

from collections.abc import Mapping

from edgeskin.contract.model import ModelCard
from edgeskin.errors import TargetError
from edgeskin.targets.base import IMAGE, METADATA, Precision


def input_shapes(card: ModelCard) -> Mapping[str, tuple[int, ...]]:
    """The shape of each input of a network, without the batch."""
    shapes: dict[str, tuple[int, ...]] = {IMAGE: (3, card.size, card.size)}
    if card.metadata is not None:
        shapes[METADATA] = (card.metadata.width,)
    return shapes


def output_shapes(card: ModelCard) -> Mapping[str, tuple[int, ...]]:
    """The shape of each output of a network, without the batch."""
    return {head.name: (1, card.size, card.size) if head.kind == "mask" else (len(head.labels),) for head in card.heads}


PRECISIONS: tuple[Precision, ...] = ("int8", "fp16", "fp32")
"""What TensorRT builds of our files. Where a generation has flags, fp16 is the float file and a flag; else a file."""


def demand_precision(precision: Precision) -> None:
    """Raises: TargetError that lists what can be built, for another precision."""
    if precision not in PRECISIONS:
        raise TargetError(f"TensorRT builds no {precision} of our files; choose {', '.join(PRECISIONS)}")
