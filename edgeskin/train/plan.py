"""What a run trains on, decided and checked before any image is read."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from edgeskin.contract.model import HeadSpec
from edgeskin.data.cases import Case, cells, leave_out, read_exclude
from edgeskin.data.contamination import contaminated, grouped, known_pairs
from edgeskin.data.datasets import VIEWS, stratified_by
from edgeskin.data.labels import MISSING, Truth, demand_every_class, truth
from edgeskin.data.sets import SPLIT_SEED, mix, open_set
from edgeskin.data.splits import carve_select, folds
from edgeskin.data.symmetry import MASK_SYMMETRY, hold_out_voted, with_mask_symmetry
from edgeskin.data.votes import SYMMETRY
from edgeskin.errors import DataError, RecipeError
from edgeskin.models.start import start_problems
from edgeskin.train import distill
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
    what was left out and why. teachers: what the networks that teach this one train on; each answers for what it
    holds out, and together they hold out all of `train`.
    """

    datasets: tuple[str, ...]
    train: Part
    select: Part
    held_out: tuple[Case, ...]
    notes: tuple[str, ...]
    teachers: tuple["Plan", ...] = ()


def plan(recipe: Recipe, places: Places) -> Plan:
    """Choose the cases that a recipe trains on, is chosen by, and holds out.

    Raises: DataError where a data folder cannot be used; RecipeError with everything in which recipe and data do not
    fit: a label that no case carries, a class without a case, a field that no table has, a batch larger than the set.
    """
    candidates, reported, notes = _candidates(recipe, places)
    if MASK_SYMMETRY in {head.truth_column for head in recipe.head_specs()}:
        candidates = with_mask_symmetry(candidates)
    head = _stratifying(recipe)
    stratify = None if head is None else head.truth_column
    held_out: tuple[Case, ...] = ()
    if recipe.data.folds is not None:
        parts = folds(candidates, recipe.data.folds, seed=recipe.seed, stratify=stratify)
        held_out = parts[recipe.data.fold]
        candidates = tuple(case for part in parts if part is not held_out for case in part)
    train, select = carve_select(candidates, recipe.data.select, seed=recipe.seed, stratify=stratify)
    problems = [*start_problems(recipe.network.encoder, recipe.network.width, recipe.network.start, places.weights)]
    problems += _batch_problems(recipe, len(train))
    problems += distill.problems(
        recipe, reported | {case.image_id for case in held_out}, {case.image_id for case in select}
    )
    learnt = _part(recipe, train, "train", problems, hide=True)
    chosen = _part(recipe, select, "select", problems, hide=False)
    made = Plan((recipe.data.dataset, *recipe.data.also), learnt, chosen, held_out, notes)
    if recipe.distill is not None and recipe.distill.folds is not None:
        parts = folds(train, recipe.distill.folds, seed=recipe.seed, stratify=stratify)
        made = replace(made, teachers=tuple(_teaching(recipe, made, parts, part, problems) for part in parts))
    if problems:
        raise RecipeError(recipe.name, list(dict.fromkeys(problems)))
    return made


def _teaching(
    recipe: Recipe, student: Plan, parts: Sequence[Sequence[Case]], own: tuple[Case, ...], problems: list[str]
) -> Plan:
    """What one teacher trains on: all that the student does but its own part; `select` chooses both."""
    rest = [case for part in parts if part is not own for case in part]
    problems += _batch_problems(recipe, len(rest))
    return replace(
        student, train=_part(recipe, rest, "train, less a teacher's part", problems, hide=True), held_out=own, notes=()
    )


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


def _candidates(recipe: Recipe, places: Places) -> tuple[tuple[Case, ...], frozenset[str], tuple[str, ...]]:
    """The training cases of all data sets, the ids that figures are reported on, and what was left out.

    Left out is what looks like a reported case. Cases of one photograph become one group, so that no fold and no
    `select` divides them.
    """
    names = dict.fromkeys((recipe.data.dataset, *recipe.data.also, *recipe.data.reports))
    sets = {name: open_set(_place(recipe, places, name), name) for name in names}
    reported = [case for each in sets.values() for case in each.cases if case.split == "test"]
    if recipe.data.hold_out_voted and SYMMETRY in {head.truth_column for head in recipe.head_specs()}:
        # From the whole official split, as `evaluate --split voted` draws them, before anything else is left out.
        for each in sets.values():
            if SYMMETRY in each.columns:
                reported += hold_out_voted(each.split("train"), seed=SPLIT_SEED)[1]
    if recipe.data.exclude is not None:
        exclude = read_exclude(places.recipe.parent / recipe.data.exclude)
        sets[recipe.data.dataset] = leave_out(sets[recipe.data.dataset], exclude)
    pairs = known_pairs(dict.fromkeys(each.folder for each in sets.values()))
    kept, notes = {}, list[str]()
    for name in (recipe.data.dataset, *recipe.data.also):
        kept[name], said = contaminated(sets[name].split("train"), reported, pairs)
        notes += [f"{name}: {sentence}" for sentence in said]
    return grouped(mix(kept), pairs), frozenset(case.image_id for case in reported), tuple(notes)


def _place(recipe: Recipe, places: Places, name: str) -> Path:
    return places.data if name == recipe.data.dataset else _beside(places.data, name)


def _beside(folder: Path, name: str) -> Path:
    """Where another data set stands: beside the first, under its name or that of the set it is a view of."""
    parent = folder.resolve().parent
    return parent / (name if (parent / name).exists() else VIEWS.get(name, name))


def _stratifying(recipe: Recipe) -> HeadSpec | None:
    """The head whose classes folds and `select` keep: of what the data set itself is divided by, else the first.

    A softmax head comes before a sigmoid one.
    """
    specs = recipe.head_specs()
    heads = [head for kind in ("softmax", "sigmoid") for head in specs if head.kind == kind]
    column = stratified_by(recipe.data.dataset)
    return next((head for head in heads if head.truth_column == column), heads[0] if heads else None)


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
    """Clinical fields, hidden in training so that every class that cases are stratified by misses each as often."""
    chosen = recipe.metadata
    assert chosen is not None
    spec = chosen.spec()
    for name in spec.names:
        cells(cases, name)  # a column that no data set has is a mistake here, not an unknown
    head, classes = _stratifying(recipe), None
    if hide and chosen.equalise and head is not None:
        answers = truth(cases, head, head.truth_column, head.values)
        classes = [None if answer == MISSING else str(answer) for answer in answers]
    return clinical_fields(cases, spec, chosen.hide if hide else 0.0, classes, chosen.hide_all if hide else 0.0)
