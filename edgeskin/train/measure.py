"""The figures of a run whose network cannot be exported: its float and its fake-quantized form, measured in torch."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import torch

from edgeskin.data.cases import Case
from edgeskin.data.labels import Truth, truth
from edgeskin.train import score
from edgeskin.train.checkpoint import RunRecord, read_run
from edgeskin.train.clinical import clinical_fields
from edgeskin.train.loader import Samples, Showing, decode
from edgeskin.train.networks import float_network, trained_network
from edgeskin.train.recipe import Recipe

BATCH = 32


def samples_of(recipe: Recipe, cases: Sequence[Case]) -> Samples:
    """Cases as a recipe's network is shown them, nothing hidden.

    Raises: DataError for a cell that a head or a clinical field does not know, or an unreadable image.
    """
    heads = recipe.head_specs()
    labels: dict[str, Truth] = {}
    for head in heads:
        if head.kind != "mask":
            labels[head.name] = truth(cases, head, head.truth_column, head.values)
    fields = None if recipe.metadata is None else clinical_fields(cases, recipe.metadata.spec(), 0.0, None)
    return decode(cases, heads, Showing(recipe.network.size, recipe.preprocessing, recipe.second_pass), labels, fields)


def measure(run: Path, cases: Sequence[Case]) -> Mapping[str, Mapping[Literal["float", "int8"], float]]:
    """The figures by which training chooses its epochs, of the float and of the fake-quantized network.

    Masks are compared at the network's own size, without clean-up. Raises: RunError where a phase has no epoch.
    """
    record: RunRecord = read_run(run)
    heads, samples = record.recipe.head_specs(), samples_of(record.recipe, cases)
    found: dict[str, dict[Literal["float", "int8"], float]] = {}
    networks: tuple[tuple[Literal["float", "int8"], score.Network], ...] = (
        ("float", float_network(run, record)),
        ("int8", trained_network(run, record)),
    )
    for name, network in networks:
        answers = score.probabilities(network, samples, heads, BATCH, torch.device("cpu"), record.recipe.cleanup)
        for metric, value in score.measure(answers, samples, heads).items():
            found.setdefault(metric, {})[name] = value
    return found
