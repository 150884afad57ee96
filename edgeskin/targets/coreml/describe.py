"""What the model card says of a network, in Core ML's own words, for Xcode to show and an app to read."""

from collections.abc import Mapping
from typing import Any

from edgeskin.contract.model import HeadSpec, ModelCard
from edgeskin.targets.base import IMAGE, METADATA


def describe(specification: Any, card: ModelCard, notes: Mapping[str, str]) -> None:
    """Write a model's own metadata into its specification, and one sentence at each input and output.

    notes: entries of ours besides. What the converter left there, a date among it, goes.
    """
    description = specification.description
    about = description.metadata
    about.Clear()
    about.shortDescription = f"{card.name}. {card.intended_use}"
    about.versionString = card.version
    about.license = card.licence
    about.author = f"Trained by the recipe {card.provenance.recipe} of edgeskin {card.provenance.edgeskin_version}"
    for key, value in sorted({**_labels(card), **notes}.items()):
        about.userDefined[key] = value
    inputs = {
        IMAGE: f"The photo, upright, letterboxed to {card.size} × {card.size} with grey 128 on the sides; RGB in sRGB, "
        "as it is: no mean and no deviation are taken off"
    }
    if card.metadata is not None:
        inputs[METADATA] = (
            f"Clinical fields as model.json encodes them, in this order: {', '.join(card.metadata.slots)}"
        )
    outputs = {head.name: _output(head) for head in card.heads}
    for feature in (*description.input, *description.output):
        feature.shortDescription = {**inputs, **outputs}[feature.name]


def _labels(card: ModelCard) -> dict[str, str]:
    """Labels and thresholds of each head, each under a key of its own."""
    entries = {f"edgeskin.labels.{head.name}": ",".join(head.labels) for head in card.heads}
    for head in card.heads:
        if head.threshold is not None:
            entries[f"edgeskin.threshold.{head.name}"] = repr(head.threshold)
    return entries


def _output(head: HeadSpec) -> str:
    if head.kind == "mask":
        return f"Probability of {head.labels[0]} at each pixel of the square; lesion at {head.threshold:g} and above"
    if head.kind == "softmax":
        return f"Probabilities of {', '.join(head.labels)}, in this order"
    return f"Probability of {head.labels[0]}; positive at {head.threshold:g} and above"
