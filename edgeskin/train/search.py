"""Bayesian search: which values of a recipe's keys give the best `select` score, trial by trial (Optuna's TPE).

    <folder>/study.db        Optuna's own record (SQLite)
    <folder>/search.toml     what was asked for
    <folder>/trials/<hash>/  a run folder a trial, named by its recipe's SHA-256
    <folder>/best.toml       the best recipe, as what differs from the base

A trial is judged by the score that chooses its quantization-aware epoch: the mean of all heads' figures on `select`.
Validation and test play no part. One process searches at a time.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from edgeskin import files, optional
from edgeskin.contract import declaration
from edgeskin.contract.frozen import Frozen
from edgeskin.data.cases import data_list_sha256
from edgeskin.errors import RecipeError, RunError
from edgeskin.train import space as spaces
from edgeskin.train.plan import Places, plan, problems
from edgeskin.train.space import Ground, SearchSpace, assignments

if TYPE_CHECKING:
    from optuna import Study, Trial
    from optuna.pruners import BasePruner
    from optuna.samplers import BaseSampler
    from optuna.trial import FrozenTrial

    from edgeskin.train.checkpoint import PhaseName

FAILED, RUN = "failed", "run"
"""What we note beside a trial: why it failed by its own fault, and the name of its run folder."""

State = Literal["complete", "pruned", "failed", "interrupted"]


@dataclass(frozen=True)
class Bench:
    """Where a search trains: the data folder, its own folder, ImageNet weights, the device, and who is told."""

    data: Path
    folder: Path
    weights: Path | None = None
    device: str | None = None
    say: Callable[[str], None] = lambda _: None


class TrialRow(Frozen):
    """One trial. score: on `select`; of a pruned one, that of its last epoch. values: key -> value in TOML."""

    number: int
    state: State
    score: float | None
    epochs: int
    values: dict[str, str]
    run: str | None
    failed: str | None = None


class Outcome(Frozen):
    """What a search has found. best: number of the best trial. overrides: its values as `--set` takes them."""

    name: str
    keys: tuple[str, ...]
    trials: tuple[TrialRow, ...]
    best: int
    overrides: tuple[str, ...]
    recipe: str

    def markdown(self) -> str:
        """The trials as a table."""
        rows = [("trial", "state", "score", "epochs", *self.keys, "run"), ("---",) * (5 + len(self.keys))]
        for row in self.trials:
            state = f"failed: {row.failed}" if row.failed is not None else row.state
            score = "" if row.score is None else f"{row.score:.4f}"
            values = (row.values.get(key, "") for key in self.keys)
            best = " (best)" if row.number == self.best else ""
            rows.append((f"{row.number}{best}", state, score, str(row.epochs), *values, row.run or ""))
        return "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in row)} |" for row in rows) + "\n"


def search(path: Path, bench: Bench, trials: int | None = None) -> Outcome:
    """Try recipes until `trials` of them are done, by default as many as the file says, and give the best.

    A search goes on where it stopped. What was being trained then is marked failed and tried again, from its last
    finished epoch. A trial that fails by its own values, a loss that is no number for instance, counts as tried.

    Raises: RecipeError with every mistake of the search file, DataError, or RunError where the folder holds another
    search or no trial was trained to its end. KeyboardInterrupt passes through.
    """
    optional.demand("optuna")
    import optuna

    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise RunError("search: does not run under torchrun; search in one process, then train the best with torchrun")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    file = spaces.read(path)
    places = Places(spaces.base_of(path, file), bench.data, bench.folder, bench.weights)
    ground = spaces.survey(path, file, lambda recipe: problems(recipe, places))
    ids = data_list_sha256(case.image_id for case in plan(ground.corner, places).train.cases)
    wanted = trials or file.trials
    try:
        study = _open(ground, bench.folder, ids, path.read_text(encoding="utf-8"))
        for trial in study.get_trials(deepcopy=False, states=[optuna.trial.TrialState.RUNNING]):
            study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
        while (done := _tried(study)) < wanted:
            study.sampler = _sampler(file, done)
            _try(study, ground, bench, f"trial {done + 1} of {wanted}")
        return _outcome(study, ground, bench.folder)
    except optuna.exceptions.StorageInternalError as error:
        raise RunError(
            f"{bench.folder / 'study.db'}: cannot be written: {error}. Free some space and search on; finished trials "
            "are kept"
        ) from error


def _open(ground: Ground, folder: Path, ids: str, text: str) -> "Study":
    """The folder's study. Raises: RunError where it is one of another space, recipe or data."""
    import optuna
    from sqlalchemy.exc import SQLAlchemyError

    about = {
        "space": ground.space.model_dump_json(by_alias=True, exclude={"trials"}),
        "recipe": ground.corner.sha256(),
        "images": ids,
    }
    database = folder / "study.db"
    if not database.is_file():
        files.write_text(folder / "search.toml", text)
    try:
        study = optuna.create_study(
            storage=f"sqlite:///{database}",
            study_name=ground.space.name,
            direction="maximize",
            load_if_exists=True,
            pruner=_pruner(ground),
        )
    except SQLAlchemyError as error:
        raise RunError(f"{database}: is no search of ours: {error}. Choose another folder with --run") from error
    known = study.user_attrs
    for name, value in about.items():
        if known.get(name, value) != value:
            raise RunError(f"{folder}: holds a search with another {name}. Choose another folder with --run")
        study.set_user_attr(name, value)
    return study


def _pruner(ground: Ground) -> "BasePruner":
    from optuna.pruners import MedianPruner, NopPruner

    chosen = ground.space.pruner
    if chosen.kind == "none":
        return NopPruner()
    return MedianPruner(n_startup_trials=chosen.startup_trials, n_warmup_steps=chosen.warmup_epochs)


def _sampler(space: SearchSpace, done: int) -> "BaseSampler":
    """Seeded anew for every trial, by how many were tried before: a search that was interrupted tries the same."""
    from optuna.samplers import TPESampler

    return TPESampler(seed=int(np.random.SeedSequence([space.seed, done]).generate_state(1)[0]))


def _tried(study: "Study") -> int:
    """How many trials count: all but those that were interrupted."""
    return sum(_state(trial) != "interrupted" for trial in study.get_trials(deepcopy=False))


def _state(trial: "FrozenTrial") -> State:
    from optuna.trial import TrialState

    if trial.state == TrialState.COMPLETE:
        return "complete"
    if trial.state == TrialState.PRUNED:
        return "pruned"
    return "failed" if FAILED in trial.user_attrs else "interrupted"


def _try(study: "Study", ground: Ground, bench: Bench, title: str) -> None:
    """Train one trial, to its end or until it is pruned; what interrupts it leaves it running in the study."""
    from optuna import TrialPruned
    from optuna.trial import TrialState

    trial = study.ask()
    values = _suggest(trial, ground.space)
    bench.say(f"{title}: {' '.join(assignments(values))}")
    try:
        score = _train(study, trial, ground, bench, assignments(values))
    except TrialPruned:
        bench.say(f"{title}: pruned after {len(study.trials[trial.number].intermediate_values)} epochs")
        study.tell(trial, state=TrialState.PRUNED)
    except (RecipeError, RunError, RuntimeError, MemoryError) as error:  # torch's own too: out of memory
        trial.set_user_attr(FAILED, (str(error).splitlines() or [type(error).__name__])[0])
        bench.say(f"{title}: failed: {error}")
        study.tell(trial, state=TrialState.FAIL)
    else:
        bench.say(f"{title}: select {score:.4f}")
        study.tell(trial, score)


def _suggest(trial: "Trial", space: SearchSpace) -> dict[str, str]:
    """Key -> value in TOML."""
    values: dict[str, str] = {}
    for key, dimension in space.space.items():
        if dimension.ends is None:
            values[key] = trial.suggest_categorical(key, dimension.extremes)
        elif dimension.whole:
            low, high = (int(end) for end in dimension.ends)
            values[key] = spaces.toml(trial.suggest_int(key, low, high, log=dimension.log))
        else:
            values[key] = spaces.toml(trial.suggest_float(key, *dimension.ends, log=dimension.log))
    return values


def _train(study: "Study", trial: "Trial", ground: Ground, bench: Bench, overrides: tuple[str, ...]) -> float:
    """The score of the epoch that would be exported."""
    from optuna import TrialPruned

    from edgeskin.train.loop import train

    recipe = ground.recipe(overrides)
    name = recipe.sha256()[:12]
    run = bench.folder / "trials" / name
    begun = (run / "run.json").is_file()
    # Epochs that the same recipe was trained for before are not trained again, but the pruner compares them.
    for step, value in _known(study, name).items() if begun else ():
        trial.report(value, step)
    trial.set_user_attr(RUN, name)

    def on_epoch(phase: "PhaseName", done: int, score: float) -> None:
        # Behind the longest float phase, so that a step is the same phase in every trial; the pruner counts from 0.
        trial.report(score, done - 1 + (ground.float_epochs if phase == "qat" else 0))
        if trial.should_prune():
            raise TrialPruned

    places = Places(ground.base, bench.data, run, bench.weights)
    record = train(recipe, places, resume=begun, device=bench.device, on_epoch=on_epoch)
    return record.best["qat"].score


def _known(study: "Study", name: str) -> dict[int, float]:
    """Step -> score, of all earlier trials in that run folder."""
    trials = [each for each in study.get_trials(deepcopy=False) if each.user_attrs.get(RUN) == name]
    return {step: value for each in trials for step, value in sorted(each.intermediate_values.items())}


def _outcome(study: "Study", ground: Ground, folder: Path) -> Outcome:
    rows = [_row(trial, ground.space) for trial in study.get_trials(deepcopy=False)]
    complete = [row for row in rows if row.state == "complete"]
    if not complete:
        reasons = dict.fromkeys(f"{row.state}: {row.failed}" if row.failed else row.state for row in rows)
        raise RunError(f"{folder}: none of {len(rows)} trials was trained to its end ({'; '.join(reasons)})")
    best = max(complete, key=lambda row: row.score or 0.0)
    overrides = (*ground.space.changes, *assignments(best.values))
    recipe = folder / "best.toml"
    files.write_text(recipe, _best_recipe(ground, folder, best, overrides))
    return Outcome(
        name=ground.space.name,
        keys=tuple(ground.space.space),
        trials=tuple(rows),
        best=best.number,
        overrides=overrides,
        recipe=str(recipe),
    )


def _row(trial: "FrozenTrial", space: SearchSpace) -> TrialRow:
    ranges = {key for key, dimension in space.space.items() if dimension.ends is not None}
    return TrialRow(
        number=trial.number,
        state=_state(trial),
        score=trial.value,
        epochs=len(trial.intermediate_values),
        values={key: spaces.toml(value) if key in ranges else value for key, value in trial.params.items()},
        run=trial.user_attrs.get(RUN),
        failed=trial.user_attrs.get(FAILED),
    )


def _best_recipe(ground: Ground, folder: Path, best: TrialRow, overrides: Sequence[str]) -> str:
    """A recipe that says what differs from the base; a file that the base names beside itself stays where it is."""
    place = folder.resolve()
    lines = [
        f"# The best of a search: trial {best.number}, select {best.score:.4f}. Its run: trials/{best.run}",
        f"extends = {spaces.toml(Path(os.path.relpath(ground.base.resolve(), place)).as_posix())}",
    ]
    changed: declaration.Table = {}
    exclude = ground.corner.data.exclude
    if exclude is not None:
        beside = os.path.relpath((ground.base.parent / exclude).resolve(), place)
        overrides = (*overrides, f"data.exclude={spaces.toml(Path(beside).as_posix())}")
    for override in (*overrides, f"name={ground.space.name}_best"):
        declaration.override(changed, override, str(ground.base))
    lines += [f"{key} = {spaces.toml(value)}" for key, value in spaces.leaves(changed)]
    return "\n".join(lines) + "\n"
