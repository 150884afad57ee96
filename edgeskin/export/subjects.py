"""Golden photos as a network is run on them, before any answer; the same on every machine."""

from collections.abc import Sequence
from dataclasses import dataclass

from edgeskin.contract.image import Letterbox
from edgeskin.contract.metadata import MetadataField, MetadataSpec, NumberField, Values
from edgeskin.contract.model import ModelCard
from edgeskin.contract.preprocess import network_input
from edgeskin.contract.second_pass import Float32, UInt8
from edgeskin.data.paint import Dice
from edgeskin.data.phantom import Phantom

_SEED = 20_240_802
_UNKNOWN = 0.2
"""The share of unknown fields in the cases that have metadata, so that every slot is exercised."""


@dataclass(frozen=True, eq=False)
class Subject:
    """One golden photo.

    photo: uint8 RGB [H, W, 3]. values: the fields drawn for it. image, metadata: what the network gets, uint8
    [1, 3, S, S] and float32 [1, M], None where it takes the image alone. box: where the photo stands in the image.
    """

    photo: UInt8
    values: Values
    image: UInt8
    metadata: Float32 | None
    box: Letterbox


def subjects(photos: Sequence[Phantom], card: ModelCard) -> tuple[Subject, ...]:
    """What the card's network is run on; plausible fields.

    A phantom of which nothing is known has no fields, and its metadata is all unknown.
    """
    found = []
    for number, phantom in enumerate(photos):
        image, box = network_input(phantom.image, card.size, card.preprocessing)
        values = {} if card.metadata is None or not phantom.has_metadata else _draw(card.metadata, number)
        metadata = None if card.metadata is None else card.metadata.encode(values)[None]
        found.append(Subject(phantom.image, values, image[None], metadata, box))
    return tuple(found)


def _draw(spec: MetadataSpec, number: int) -> Values:
    return {field.name: _draw_value(field, Dice(_SEED, number, place)) for place, field in enumerate(spec.fields)}


def _draw_value(field: MetadataField, dice: Dice) -> str | float | None:
    if dice.chance(_UNKNOWN):
        return None
    if isinstance(field, NumberField):
        return min(max(float(f"{dice.between(field.low, field.high):.3g}"), field.low), field.high)
    return dice.pick(field.values)
