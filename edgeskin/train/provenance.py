"""What a run began with: software, machine, and the files that its weights come from."""

import platform
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

import torch

from edgeskin import files
from edgeskin.models.start.files import PUBLISHED
from edgeskin.train.checkpoint import RunRecord, read_run
from edgeskin.train.distributed import Processes
from edgeskin.train.precision import multiplied_in
from edgeskin.train.recipe import Recipe

TEACHER, START = "distill.run", "network.start"
"""The keys of a recipe that name a file, or a run whose best float epoch is one."""


def sources(recipe: Recipe, weights: Path | None) -> dict[str, str]:
    """The SHA-256 of the files outside the data folder that decide the weights: recipe's key -> hash.

    recipe: one that `plan` accepts. weights: the folder of ImageNet weights. A file that is not there is left out;
    whoever opens it says so. Raises: RunError where the teacher's run cannot be read.
    """
    found: dict[str, str] = {}
    if recipe.distill is not None and recipe.distill.run is not None:
        best = read_run(Path(recipe.distill.run)).best
        if "float" in best:
            found[TEACHER] = best["float"].sha256
    start = _start_file(recipe, weights)
    if start is not None and start.is_file():
        found[START] = files.sha256(start)
    return found


def _start_file(recipe: Recipe, weights: Path | None) -> Path | None:
    source, encoder = recipe.network.start, recipe.network.encoder
    if source == "random":
        return None
    if source == "imagenet":
        return None if weights is None else weights / PUBLISHED[encoder].file
    return Path(source)


def changed_source(then: Mapping[str, str], now: Mapping[str, str]) -> str | None:
    """The first key whose file is known to be another one than it was; None where there is none."""
    return next((name for name, sha256 in now.items() if then.get(name, sha256) != sha256), None)


def versions() -> dict[str, str]:
    """Package -> version, of all that decides the arithmetic."""
    packages = ("torch", "torchao", "numpy", "opencv-python-headless")
    return {"python": platform.python_version(), **{name: metadata.version(name) for name in packages}}


def _machine(device: str, threads: int, processes: int, precision: str | None) -> dict[str, str | None]:
    return {"device": device, "threads": str(threads), "processes": str(processes), "float phase in": precision}


def precision(device: torch.device) -> str:
    """The name of the numbers in which the float phase multiplies there: `bfloat16` or `float32`."""
    return str(multiplied_in(device)).removeprefix("torch.")


def note_changes(record: RunRecord, processes: Processes) -> RunRecord:
    """The record with a sentence for everything that decides the arithmetic and is not what it was at the start."""
    then = {**record.versions, **_machine(record.device, record.threads, record.processes, record.multiplied_in)}
    here = processes.device
    now = {**versions(), **_machine(here.type, torch.get_num_threads(), processes.count, precision(here))}
    epoch = (
        "before the first epoch" if record.state is None else f"after {record.state.phase} epoch {record.state.epoch}"
    )
    changes = tuple(
        f"{epoch}: {name} {now[name]} instead of {then[name]}"
        for name in now
        if then.get(name) not in (None, now[name])
    )
    new = tuple(change for change in changes if change not in record.changes)
    return record.model_copy(update={"changes": (*record.changes, *new)})
