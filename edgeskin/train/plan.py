"""What a run trains on, decided and checked before any image is read."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgeskin.contract.model import HeadSpec
from edgeskin.data.cases import Case, Cases, cells, read_exclude
from edgeskin.data.contamination import contaminated, known_pairs
from edgeskin.data.datasets import VIEWS
from edgeskin.data.labels import Truth, demand_every_class, truth
from edgeskin.data.sets import SPLIT_SEED, mix, open_set
from edgeskin.data.splits import carve_select, folds
from edgeskin.data.symmetry import MASK_SYMMETRY, hold_out_voted, with_mask_symmetry
from edgeskin.data.votes import SYMMETRY
from edgeskin.errors import DataError, RecipeError
from edgeskin.models.start import start_problems
from edgeskin.train.clinical import ClinicalFields, clinical_fields
from edgeskin.train.recipe import Recipe


@dataclass(frozen=True)
class Places:
    """Where things are: the recipe file (for its exclude list), the data folder, the run folder, ImageNet weights."""

    recipe: Path
    data: Path
    run: Path
    weights: Path | None


@dataclass(frozen=True, eq=False)
class Part:
    """The cases of one part, the truth of every head but the mask, the clinical fields."""

    cases: tuple[Case, ...]
    labels: Mapping[str, Truth]
    fields: ClinicalFields | None


@dataclass(frozen=True, eq=False)
class Plan:
    """What a run trains on.

    select: chooses epochs and thresholds. held_out: the fold that a cross-validation keeps for its figures. notes:
    what was left out and why.
    """

    datasets: tuple[str, ...]
    train: Part
    select: Part
    held_out: tuple[Case, ...]
    notes: tuple[str, ...]


def plan(recipe: Recipe, places: Places) -> Plan:
    """Choose the cases that a recipe trains on, is chosen by, and holds out.

    Raises: DataError where a data folder cannot be used; RecipeError with everything in which recipe and data do not
    fit: a label that no case carries, a class without a case, a field that no table has, a batch larger than the set.
    """
    candidates, notes = _candidates(recipe, places)
    columns = {head.truth_column for head in recipe.head_specs()}
    if MASK_SYMMETRY in columns:
        candidates = with_mask_symmetry(candidates)
    if SYMMETRY in columns:
        candidates, voted = hold_out_voted(candidates, seed=SPLIT_SEED)
        notes = (*notes, f"{len(voted)} training cases with a vote on symmetry are held out to measure it")
    by_kind = sorted(
        (head for head in recipe.head_specs() if head.kind != "mask"), key=lambda head: head.kind != "softmax"
    )
    stratify = next((head.truth_column for head in by_kind), None)
    held_out: tuple[Case, ...] = ()
    if recipe.data.folds is not None:
        parts = folds(candidates, recipe.data.folds, seed=recipe.seed, stratify=stratify)
        held_out = parts[recipe.data.fold]
        candidates = tuple(case for part in parts if part is not held_out for case in part)
    train, select = carve_select(candidates, recipe.data.select, seed=recipe.seed, stratify=stratify)
    problems = [*start_problems(recipe.network.encoder, recipe.network.width, recipe.network.start, places.weights)]
    problems += _batch_problems(recipe, len(train))
    learnt = _part(recipe, train, "train", problems, hide=True)
    chosen = _part(recipe, select, "select", problems, hide=False)
    if problems:
        raise RecipeError(recipe.name, list(dict.fromkeys(problems)))
    return Plan((recipe.data.dataset, *recipe.data.also), learnt, chosen, held_out, notes)


def problems(recipe: Recipe, places: Places, keep: Callable[[Plan], None] | None = None) -> list[str]:
    """What `plan` would refuse, as sentences. keep: is given the plan where there is one."""
    try:
        made = plan(recipe, places)
    except RecipeError as error:
        return list(error.problems)
    except DataError as error:
        return [str(error)]
    if keep is not None:
        keep(made)
    return []


def _candidates(recipe: Recipe, places: Places) -> tuple[tuple[Case, ...], tuple[str, ...]]:
    """The training cases of all data sets, less what looks like a test case of a set that is reported on."""
    exclude = frozenset[str]()
    if recipe.data.exclude is not None:
        exclude = read_exclude(places.recipe.parent / recipe.data.exclude)
    sets: dict[str, Cases] = {recipe.data.dataset: open_set(places.data, recipe.data.dataset, exclude)}
    others = {name: open_set(_beside(places.data, name), name) for name in (*recipe.data.also, *recipe.data.reports)}
    sets |= {name: others[name] for name in recipe.data.also}
    reported = [case for each in (*sets.values(), *others.values()) for case in each.cases if case.split == "test"]
    pairs = known_pairs(dict.fromkeys(each.folder for each in (*sets.values(), *others.values())))
    kept, notes = {}, list[str]()
    for name, each in sets.items():
        train = [case for case in each.split("train") if case.image_id not in exclude]
        kept[name], said = contaminated(train, reported, pairs)
        notes += [f"{name}: {sentence}" for sentence in said]
    return mix(kept), tuple(notes)


def _beside(folder: Path, name: str) -> Path:
    """Where another data set stands: beside the first, under its name or that of the set it is a view of."""
    parent = folder.resolve().parent
    return parent / (name if (parent / name).exists() else VIEWS.get(name, name))


def _batch_problems(recipe: Recipe, cases: int) -> Iterator[str]:
    for key, phase in (("float", recipe.float_phase), ("qat", recipe.qat)):
        if phase.batch > cases:
            yield f"{key}.batch is {phase.batch}, more than the {cases} images trained on"


def _part(recipe: Recipe, cases: Sequence[Case], name: str, problems: list[str], *, hide: bool) -> Part:
    """The labels and fields of some cases; every mistake goes into `problems`."""
    labels: dict[str, Truth] = {}
    for head in recipe.head_specs():
        try:
            if head.kind == "mask":
                _demand_masks(cases, head, name)
            else:
                labels[head.name] = truth(cases, head, head.truth_column, head.values)
                demand_every_class(labels[head.name], head, head.truth_column, name)
        except DataError as error:
            problems.append(str(error))
    fields = None
    if recipe.metadata is not None:
        try:
            fields = _fields(recipe, cases, hide=hide)
        except DataError as error:
            problems.append(str(error))
    return Part(tuple(cases), labels, fields)


def _demand_masks(cases: Sequence[Case], head: HeadSpec, name: str) -> None:
    if all(case.mask is None for case in cases):
        raise DataError(f"head {head.name}: no image of {name} has a mask. Add masks/, or take the head out")


def _fields(recipe: Recipe, cases: Sequence[Case], *, hide: bool) -> ClinicalFields:
    """Clinical fields, hidden in training so that every class of the first softmax head misses them equally often."""
    chosen = recipe.metadata
    assert chosen is not None
    spec = chosen.spec()
    for name in spec.names:
        cells(cases, name)  # a column that no data set has is a mistake here, not an unknown
    softmax = next((head for head in recipe.head_specs() if head.kind == "softmax"), None)
    classes = None
    if hide and chosen.equalise and softmax is not None:
        classes = cells(cases, softmax.truth_column)
    return clinical_fields(cases, spec, chosen.hide if hide else 0.0, classes)
