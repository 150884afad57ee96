"""What a photo's screening says: findings, or why there are none; one line of JSON each."""

import json
from collections.abc import Mapping
from types import MappingProxyType

import numpy as np
import numpy.typing as npt
from pydantic import SerializerFunctionWrapHandler, model_serializer

from edgeskin.contract.frozen import Frozen, Probability, without_absent
from edgeskin.contract.image import Letterbox
from edgeskin.contract.mask import Mask, lesion_mask
from edgeskin.contract.metadata import MetadataSpec, Values
from edgeskin.contract.model import HeadSpec, ModelCard
from edgeskin.errors import PhotoError, TargetError


class MetadataUsed(Frozen):
    """What the network was told beside the photo, by field; the values themselves stay with whoever gave them.

    clipped: those of the known whose number lies beyond the range that the network was trained on.
    """

    known: tuple[str, ...]
    unknown: tuple[str, ...]
    clipped: tuple[str, ...]

    @staticmethod
    def of(spec: MetadataSpec, values: Values) -> "MetadataUsed":
        """Raises: DataError for values that cannot be encoded."""
        known = spec.known(values)
        unknown = tuple(name for name in spec.names if name not in known)
        return MetadataUsed(known=known, unknown=unknown, clipped=spec.clipped(values))


class Findings(Frozen):
    """The answers for one photo.

    heads: for each softmax or sigmoid head the probability of each label, to six decimals. decisions: for each sigmoid
    head whether its probability reaches the head's threshold. lesion_fraction: cleaned lesion area over the photo's
    area, 0 to 1; None for a network without a mask. metadata: absent for a network that takes the photo alone.
    """

    file: str
    heads: dict[str, dict[str, Probability]]
    decisions: dict[str, bool]
    lesion_fraction: Probability | None
    metadata: MetadataUsed | None = None

    @model_serializer(mode="wrap")
    def _write(self, written: SerializerFunctionWrapHandler) -> dict[str, object]:
        return without_absent(written(self), "metadata")

    def line(self) -> str:
        """One JSON object on one line."""
        return _line(self)


class Fault(Frozen):
    """Why a photo has no findings. code: a stable word, see errors.PhotoError."""

    code: str
    message: str


class Failure(Frozen):
    """A photo without findings."""

    file: str
    error: Fault

    @staticmethod
    def of(file: str, error: PhotoError) -> "Failure":
        """The failure that a refused photo is reported as."""
        return Failure(file=file, error=Fault(code=error.code, message=str(error)))

    def line(self) -> str:
        """One JSON object on one line."""
        return _line(self)


def _line(value: Frozen) -> str:
    return json.dumps(value.model_dump(mode="json"), ensure_ascii=False)


def decode(
    outputs: Mapping[str, npt.NDArray[np.float32]],
    card: ModelCard,
    box: Letterbox,
    file: str,
    values: Values = MappingProxyType({}),
) -> tuple[Findings, Mask | None]:
    """Read a network's outputs for one photo. values: the metadata that it was given.

    Shapes: outputs, by head: a mask [1, S, S] or [1, 1, S, S], any other [labels] -> the cleaned mask [H, W] of the
    photo, None for a network without a mask head.
    Raises: TargetError where an output is missing, has another shape, or is not a probability.
    """
    answers = {head.name: probabilities(outputs, head, card.size) for head in card.heads}
    mask: Mask | None = None
    if card.mask is not None:
        mask = lesion_mask(answers[card.mask.name], box, _threshold(card.mask), card.cleanup)
    classified = [head for head in card.heads if head.kind != "mask"]
    return Findings(
        file=file,
        heads={
            head.name: {
                label: round(float(value), 6) for label, value in zip(head.labels, answers[head.name], strict=True)
            }
            for head in classified
        },
        decisions={
            head.name: bool(answers[head.name][0] >= np.float32(_threshold(head)))
            for head in classified
            if head.kind == "sigmoid"
        },
        lesion_fraction=None if mask is None else round(float(mask.mean()), 6),
        metadata=None if card.metadata is None else MetadataUsed.of(card.metadata, values),
    ), mask


def _threshold(head: HeadSpec) -> float:
    assert head.threshold is not None, "HeadSpec gives mask and sigmoid heads a threshold"
    return head.threshold


def probabilities(outputs: Mapping[str, npt.NDArray[np.float32]], head: HeadSpec, size: int) -> npt.NDArray[np.float32]:
    """One head's answer for one photo.

    Shapes: -> [S, S] for a mask, else [labels]; all from 0 to 1.
    Raises: TargetError as `decode`.
    """
    shape = (size, size) if head.kind == "mask" else (len(head.labels),)
    if head.name not in outputs:
        raise TargetError(f"output {head.name} is missing; the network gives {', '.join(outputs)}. Export it again")
    values = outputs[head.name]
    if values.size != np.prod(shape) or values.shape[-len(shape) :] != shape:
        raise TargetError(f"output {head.name} has the shape {values.shape}, not {shape}. Export the network again")
    if not (values.min() >= 0 and values.max() <= 1):  # NaN is neither
        raise TargetError(f"output {head.name} holds values that are no probabilities. Build the artifact again")
    return values.reshape(shape)
