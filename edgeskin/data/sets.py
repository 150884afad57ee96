"""Opening a data set by the name a recipe calls it, and training on several at once."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from edgeskin.data.cases import Case, Cases, leave_out, read_cases
from edgeskin.data.datasets import ISIC2016, ISIC2017, VIEWS
from edgeskin.data.listing import gathered
from edgeskin.data.splits import assign_splits
from edgeskin.errors import DataError

SPLIT_SEED = 0
"""Draws the split of a data set that has none: always the same, so that no network's test is another one's train."""
_NOT_OF_2016 = frozenset(
    {"isic2017_split", "diagnosis", "melanoma", "seborrheic_keratosis", "isic2019_class", "bias_label"}
)


def open_set(folder: Path, dataset: str | None = None, exclude: frozenset[str] = frozenset()) -> Cases:
    """The cases of a data folder, divided: a set without an official split is given one, by lesion or patient.

    dataset: the name the recipe calls it, None for whatever is there. `isic2016` is a view of our folder isic2017.
    exclude: image ids to leave out, after the split is drawn, so that it does not depend on them.

    Raises: DataError as `read_cases`, or where the folder holds another data set.
    """
    cases = read_cases(folder)
    if dataset == ISIC2016.name and cases.layout.name == ISIC2017.name:
        cases = isic2016(cases)
    if dataset is not None and cases.layout.name != dataset:
        raise DataError(
            f"{folder}: has the layout of {cases.layout.name}, the recipe is for {dataset}. "
            f"Give the folder that {dataset} stands in"
        )
    if cases.layout.split_column is None and cases.layout.group_column is not None:
        present = cases.layout.stratify if cases.layout.stratify in cases.columns else None
        cases = assign_splits(cases, seed=SPLIT_SEED, stratify=present)
    return leave_out(cases, exclude)


def open_like(folder: Path, trained_on: Sequence[str]) -> Cases:
    """A data folder as a network sees it that was trained on these sets: one of ISIC 2016 sees its view of ISIC 2017.

    Raises: DataError as `open_set`.
    """
    cases = open_set(folder)
    view = next((name for name in trained_on if VIEWS.get(name) == cases.layout.name), None)
    return cases if view is None else open_set(folder, view)


def isic2016(cases: Cases) -> Cases:
    """The ISIC 2016 challenge as a view of our ISIC 2017 folder: its images, its split, its labels.

    `isic2016_malignant` stands under the name `melanoma` too, which is what malignant means there. Raises: DataError
    where the table has no column isic2016_split.
    """
    split_column = ISIC2016.split_column
    assert split_column is not None, "ISIC 2016 has a split"
    cases.column(split_column)
    kept = tuple(name for name in cases.columns if name not in _NOT_OF_2016)

    def seen(case: Case) -> Case:
        labels = {name: case.labels[name] for name in kept} | {"melanoma": case.value("isic2016_malignant")}
        return replace(case, split=case.labels[split_column], labels=labels)

    inside = tuple(seen(case) for case in cases.cases if case.labels[split_column])
    return replace(cases, layout=ISIC2016, columns=(*kept, "melanoma"), cases=inside)


def mix(sets: Mapping[str, Sequence[Case]]) -> tuple[Case, ...]:
    """One list of the cases of several data sets, by name; each keeps the columns of its own table.

    A head's `truth` is missing where a case's table has no such column. Raises: DataError where an image id stands in
    two sets: ISIC numbers are shared between challenges, so it is the same photograph.
    """
    home: dict[str, str] = {}
    problems = []
    for name, cases in sets.items():
        for case in cases:
            if home.setdefault(case.image_id, name) != name:
                problems.append(f"{case.image_id} stands in {home[case.image_id]} and {name}")
    if problems:
        raise DataError(gathered("data sets that share images cannot be mixed; exclude these from one", problems))
    return tuple(case for cases in sets.values() for case in cases)
