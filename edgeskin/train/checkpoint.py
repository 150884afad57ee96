"""The run folder: what training writes, so that a kill at any moment loses at most the running epoch.

    run.json                     the one commit point: names every other file by SHA-256
    <phase>-best-<epoch>.safetensors    weights of the best epoch of a phase, by its running average
    state-<phase>-<epoch>.safetensors   everything needed to go on: weights, average, optimizer
    log.csv  tensorboard/        for people

Weights are safetensors, facts are JSON; nothing is ever unpickled.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, TypeAlias

import safetensors
import safetensors.torch
import torch
from pydantic import Field, ValidationError
from torch import Tensor

from edgeskin import __version__, files
from edgeskin.contract.declaration import wrong_fields
from edgeskin.contract.model import Frozen
from edgeskin.errors import RunError
from edgeskin.train.recipe import Recipe

FORMAT = 1
PhaseName: TypeAlias = Literal["float", "qat"]


class Stored(Frozen):
    """A safetensors file of the run and what it holds: the phase, how many epochs of it were done, and the scores."""

    file: str
    sha256: str
    phase: PhaseName
    epoch: int
    score: float
    metrics: dict[str, float]


class RunRecord(Frozen):
    """The contents of run.json.

    recipe: with all overrides applied. train_ids, select_ids, held_out_ids (the fold a cross-validation keeps): image
    ids, sorted. best: one a phase. state: where to go on. phases_done: trained to their end. thresholds: of sigmoid
    heads, chosen on `select` at the end. versions: of what decides the arithmetic. sources: of the files it began
    from (`provenance.sources`). multiplied_in: numbers of the float phase, None in a run older than that note.
    """

    format: Literal[1] = 1
    edgeskin_version: str = __version__
    recipe: Recipe
    recipe_sha256: str
    dataset: str
    train_ids: tuple[str, ...]
    select_ids: tuple[str, ...]
    held_out_ids: tuple[str, ...] = ()
    versions: dict[str, str]
    sources: dict[str, str] = Field(default_factory=dict)
    device: str
    threads: int
    processes: int = 1
    multiplied_in: str | None = None
    changes: tuple[str, ...] = ()
    best: dict[PhaseName, Stored] = Field(default_factory=dict)
    state: Stored | None = None
    phases_done: tuple[PhaseName, ...] = ()
    thresholds: dict[str, float] = Field(default_factory=dict)
    finished: bool = False


def read_run(folder: Path) -> RunRecord:
    """Read a run and prove that its files are the ones it wrote.

    Raises: RunError where there is no run, another format wrote it, or a file is missing or was changed.
    """
    path = folder / "run.json"
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise RunError(f"{path}: no run here. Train one: edgeskin train RECIPE --data DIR --run {folder}") from error
    except (OSError, ValueError) as error:
        raise RunError(f"{path}: cannot be read as JSON: {error}. Restore it or train again") from error
    if isinstance(value, dict) and value.get("format") != FORMAT:
        raise RunError(
            f"{path}: format {value.get('format')!r}, edgeskin {__version__} reads format {FORMAT}. "
            "Use the edgeskin that wrote it, or train again"
        )
    try:
        record = RunRecord.model_validate(value)
    except ValidationError as error:
        problems = wrong_fields(error)
        raise RunError(f"{path}: is not a run of edgeskin {__version__}: {problems}") from error
    for stored in (*record.best.values(), *([record.state] if record.state else [])):
        _prove(folder / stored.file, stored.sha256)
    return record


def _prove(path: Path, expected: str) -> None:
    if not path.is_file():
        raise RunError(f"{path}: missing, though run.json names it. Restore it or train again")
    found = files.sha256(path)
    if found != expected:
        raise RunError(
            f"{path}: SHA-256 is {found[:12]}…, run.json says {expected[:12]}…: the file was changed or cut short. "
            "Restore it or train again"
        )


def write_run(folder: Path, record: RunRecord) -> None:
    """Commit a record, then remove checkpoints that it no longer names."""
    files.write_text(folder / "run.json", record.model_dump_json(indent=2, by_alias=True) + "\n")
    named = {stored.file for stored in (*record.best.values(), *([record.state] if record.state else []))}
    for path in folder.glob("*.safetensors"):
        if path.name not in named:
            path.unlink()


def store(
    folder: Path,
    name: str,
    tensors: Mapping[str, Tensor],
    phase: PhaseName,
    epoch: int,
    score: float,
    metrics: Mapping[str, float],
) -> Stored:
    """Write tensors under a name of their own; they belong to the run once `write_run` names them."""
    path = folder / f"{name}-{epoch:03d}.safetensors"
    contiguous = {
        key: value.detach().cpu().clone(memory_format=torch.contiguous_format) for key, value in tensors.items()
    }
    files.write_bytes(path, safetensors.torch.save(contiguous))
    return Stored(
        file=path.name, sha256=files.sha256(path), phase=phase, epoch=epoch, score=score, metrics=dict(metrics)
    )


def load(folder: Path, stored: Stored) -> dict[str, Tensor]:
    """The tensors of a stored file, proven by hash.

    Raises: RunError where the file is missing or was changed.
    """
    _prove(folder / stored.file, stored.sha256)
    try:
        tensors: dict[str, Tensor] = safetensors.torch.load_file(folder / stored.file)
    except (OSError, safetensors.SafetensorError) as error:
        raise RunError(f"{folder / stored.file}: cannot be read: {error}") from error
    return tensors
