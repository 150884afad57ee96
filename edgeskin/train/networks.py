"""The networks of a recipe, as they are built, prepared for quantization-aware training, and kept by a run."""

from pathlib import Path

import torch
from torch import Tensor, nn

from edgeskin.errors import RunError
from edgeskin.models.blocks import Padding
from edgeskin.models.encoder import BUILT
from edgeskin.models.multitask import MultiTask
from edgeskin.train import qat
from edgeskin.train.average import load_state
from edgeskin.train.checkpoint import PhaseName, RunRecord, Stored, load
from edgeskin.train.recipe import Recipe


def build_network(recipe: Recipe) -> MultiTask:
    """The recipe's network, randomly initialised from its seed."""
    torch.manual_seed(recipe.seed)
    spec = recipe.network
    padding: Padding = "end" if spec.start in ("imagenet", "random") else "symmetric"
    network = MultiTask(
        BUILT[spec.encoder](spec.width, padding, spec.activation),
        spec,
        recipe.head_layouts(),
        None if recipe.metadata is None else recipe.metadata.spec(),
        super_resolution=recipe.super_resolution is not None,
    )
    for parameter in network.parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.to(memory_format=torch.channels_last)
    return network


def prepared_network(recipe: Recipe, weights: dict[str, Tensor] | None) -> torch.fx.GraphModule:
    """The recipe's network with fake quantization, its float weights given or still random.

    Its auxiliary decoders, which no export sees, stay as they are and go along as `auxiliary`.
    """
    network = build_network(recipe)
    if weights is not None:
        load_state(network, weights)
    size, width = recipe.network.size, metadata_width(recipe)
    example = [torch.zeros(2, 3, size, size).contiguous(memory_format=torch.channels_last)]
    example += [] if width is None else [torch.zeros(2, width)]
    auxiliary, network.auxiliary = network.auxiliary, torch.nn.ModuleDict()
    prepared = qat.prepare(network, *example)
    prepared.add_module("auxiliary", auxiliary)
    return prepared


def metadata_width(recipe: Recipe) -> int | None:
    """How many numbers the clinical fields are, None for a network that takes the image alone."""
    return None if recipe.metadata is None else recipe.metadata.spec().width


def materialise(prepared: torch.fx.GraphModule, recipe: Recipe) -> None:
    """See `qat.materialise`."""
    qat.materialise(prepared, recipe.network.size, metadata_width(recipe))


def float_network(run: Path, record: RunRecord) -> MultiTask:
    """The best float epoch, in eval mode. Raises: RunError where the run has none."""
    network = build_network(record.recipe)
    _load_into(network, run, _best(run, record, "float"))
    return network.eval()


def trained_network(run: Path, record: RunRecord) -> torch.fx.GraphModule:
    """The best quantization-aware epoch, fake-quantized, ranges frozen, in eval mode.

    Raises: RunError where there is none.
    """
    prepared = prepared_network(record.recipe, None)
    materialise(prepared, record.recipe)
    _load_into(prepared, run, _best(run, record, "qat"))
    qat.freeze_observers(prepared)
    qat.to_evaluation(prepared)
    # Weights were averaged after their ranges were last read.
    materialise(prepared, record.recipe)
    return prepared


def _best(run: Path, record: RunRecord, phase: PhaseName) -> Stored:
    if phase not in record.best:
        raise RunError(
            f"{run}: the {phase} phase has no finished epoch. Go on with: edgeskin train … --run {run} --resume"
        )
    return record.best[phase]


def _load_into(module: nn.Module, run: Path, stored: Stored) -> None:
    try:
        load_state(module, load(run, stored))
    except RuntimeError as error:
        raise RunError(
            f"{run / stored.file}: does not fit the network that its recipe makes here. Use the torch and edgeskin "
            f"that {run / 'run.json'} names, or train again ({str(error).splitlines()[-1].strip()})"
        ) from error
