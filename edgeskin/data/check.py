"""What a data folder holds and what is wrong with it, before anything is trained on it."""

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from edgeskin import __version__, files
from edgeskin.contract.image import read_photo
from edgeskin.contract.model import Frozen
from edgeskin.data.cases import Case, Cases, read_mask
from edgeskin.data.datasets import VIEWS
from edgeskin.data.duplicates import DuplicatePair, Print, Progress, exact_duplicates, near_duplicates
from edgeskin.data.sets import open_set
from edgeskin.errors import DataError, PhotoError

EXTRA = "extra"
"""How a report calls the cases that are in no split."""
_GIVES_WAY = {"train": 0, "": 1, "val": 2, "test": 3}
"""Of two copies the one with the lower rank."""
_DROPPABLE = ("train", "")
_FRAME_FILLING = 0.98
_CLASSES = range(2, 13)
_NAMED = 5
"""So many cases are named; more are counted."""


class CheckReport(Frozen):
    """What a check found.

    splits, masks, sizes: cases by split, cases with a mask by split, images by width × height. classes: column, value
    ('' is missing), split, cases. missing: empty cells by column, where there are any. colourless: ids of greyscale
    photos, which no network of edgeskin takes. errors forbid training; warnings name each suspect; notes are worth
    knowing.
    """

    folder: str
    dataset: str
    cases: int
    splits: dict[str, int]
    masks: dict[str, int]
    sizes: dict[str, int]
    classes: dict[str, dict[str, dict[str, int]]]
    missing: dict[str, int]
    colourless: tuple[str, ...]
    duplicates: tuple[DuplicatePair, ...]
    errors: tuple[str, ...]
    warnings: tuple[str, ...]
    notes: tuple[str, ...]
    cautions: tuple[str, ...]
    licence: str

    @property
    def ok(self) -> bool:
        """Whether the folder can be trained on and evaluated."""
        return not self.errors


@dataclass(frozen=True)
class _Finding:
    """What reading one case's files gave. lesion: the mask's share of the frame; None without a readable mask."""

    print: Print | None
    size: str
    lesion: float | None
    problem: str | None
    colourless: bool = False


def check(folder: Path, progress: Progress | None = None, *, dataset: str | None = None) -> CheckReport:
    """Read every image and mask of a data folder and compare the splits; a data set without one is given one.

    dataset: as in `open_set`. Raises: DataError where the tables themselves cannot be used (see `open_set`).
    """
    cases = open_set(folder, dataset)
    findings = _inspect_all(cases.cases, progress)
    prints = [finding.print for finding in findings if finding.print is not None]
    exact = exact_duplicates(prints)
    near = near_duplicates(prints, progress)
    return CheckReport(
        folder=folder.resolve().name,
        dataset=cases.layout.name,
        cases=len(cases.cases),
        splits=_by_split(cases.cases),
        masks=_by_split(case for case in cases.cases if case.mask),
        sizes=dict(Counter(finding.size for finding in findings if finding.size).most_common()),
        classes={column: _classes(cases, column) for column in _tabulated(cases)},
        missing={column: empty for column in cases.columns if (empty := cases.column(column).count(""))},
        colourless=tuple(
            case.image_id for case, finding in zip(cases.cases, findings, strict=True) if finding.colourless
        ),
        duplicates=exact + near,
        errors=tuple(finding.problem for finding in findings if finding.problem and not finding.colourless)
        + tuple(str(pair) for pair in exact if pair.crosses_splits)
        + _divided_groups(cases)
        + _contradictions(cases),
        warnings=tuple(finding.problem for finding in findings if finding.problem and finding.colourless)
        + tuple(str(pair) for pair in near)
        + _empty_classes(cases)
        + _empty_masks(cases.cases, findings),
        notes=tuple(str(pair) for pair in exact if not pair.crosses_splits) + _remarks(cases, findings),
        cautions=cases.layout.cautions,
        licence=cases.layout.licence,
    )


def write_exclude(path: Path, report: CheckReport) -> frozenset[str]:
    """Write the ids to leave out so that no photograph stands on two sides of a split; returns them.

    Train gives way to extra, val and test; extra, which may serve on either side, gives way to val and test. A pair of
    val and test is kept and named in a comment: dropping either would change an official evaluation set, and neither is
    trained on. Photos without colour are left out wherever they stand, since nothing can be computed on them.

    Raises: EdgeskinError where the file cannot be written.
    """
    reasons = {image_id: ["a photo without colour"] for image_id in report.colourless}
    kept = []
    for pair in report.duplicates:
        if not pair.crosses_splits:
            continue
        sides = ((pair.first, pair.first_split), (pair.second, pair.second_split))
        (loser, lower), (winner, upper) = sorted(sides, key=lambda side: _GIVES_WAY[side[1]])
        twin = f"{upper or EXTRA} {winner} ({pair.correlation:.2f})"
        if lower in _DROPPABLE:
            reasons.setdefault(loser, []).append(twin)
        else:
            kept.append(f"# kept: {lower} {loser} is {twin}")
    view = f" --dataset {report.dataset}" if report.dataset in VIEWS else ""
    header = [
        "# Image ids left out: each is the same photograph as the image named behind it (correlation in brackets).",
        f"# Made with edgeskin {__version__}: edgeskin data check {report.folder}{view} --write-exclude {path.name}",
        "# Train gives way to extra, val and test; extra, which may serve on either side, gives way to val and test.",
        "# Pairs of val and test are kept: the official evaluation sets stay whole, and neither is trained on.",
    ]
    lines = [f"{image_id}  # {', '.join(why)}" for image_id, why in sorted(reasons.items())]
    files.write_text(path, "\n".join([*header, *sorted(kept), *lines]) + "\n")
    return frozenset(reasons)


def _inspect_all(cases: Sequence[Case], progress: Progress | None) -> list[_Finding]:
    """Read the files of all cases; decoding releases the interpreter's lock, so threads use every core."""
    findings = []
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for finding in pool.map(_inspect, cases):
            findings.append(finding)
            if progress:
                progress("reading images", len(findings), len(cases))
    return findings


def _inspect(case: Case) -> _Finding:
    try:
        pixels = read_photo(case.image)
    except PhotoError as error:
        return _Finding(None, "", None, str(error), colourless=error.code == "greyscale")
    size = f"{pixels.shape[1]}×{pixels.shape[0]}"
    fingerprint = Print.of(case.image_id, case.split, case.image, pixels)
    try:
        lesion = float(read_mask(case).mean()) if case.mask else None
    except DataError as error:
        return _Finding(fingerprint, size, None, str(error))
    return _Finding(fingerprint, size, lesion, None)


def _by_split(cases: Iterable[Case]) -> dict[str, int]:
    """How many cases each split has, in the order train, val, test, extra."""
    counts = Counter(case.split for case in cases)
    order = ("train", "val", "test", "")
    return {split or EXTRA: counts[split] for split in order if counts[split]}


def _tabulated(cases: Cases) -> tuple[str, ...]:
    """The columns whose values are counted: the layout's, or every one that holds classes."""
    if cases.layout.tabulated is not None:
        return tuple(column for column in cases.layout.tabulated if column in cases.columns)
    others = (column for column in cases.columns if column not in {"image_id", cases.layout.split_column})
    return tuple(column for column in others if _holds_classes(set(cases.column(column)) - {""}))


def _holds_classes(values: set[str]) -> bool:
    """Whether a column's values are two to twelve words, or 0 and 1, rather than names or measurements."""
    words = not any(value.replace(".", "", 1).isdigit() for value in values)
    return len(values) in _CLASSES and (words or values == {"0", "1"})


def _classes(cases: Cases, column: str) -> dict[str, dict[str, int]]:
    values = sorted(set(cases.column(column)))
    return {value: _by_split(case for case in cases.cases if case.labels[column] == value) for value in values}


def _empty_classes(cases: Cases) -> tuple[str, ...]:
    """A warning for each value that a split lacks although the split has that column."""
    return tuple(
        f"{column}: no case with {value!r} in {split}"
        for column in _tabulated(cases)
        for split in cases.layout.splits
        for labelled in [{case.labels[column] for case in cases.cases if case.split == split} - {""}]
        for value in sorted(set(cases.column(column)) - {""} - labelled)
        if labelled
    )


def _divided_groups(cases: Cases) -> tuple[str, ...]:
    """An error for each lesion or patient that stands in two splits; extras are in none."""
    splits: dict[str, set[str]] = {}
    for case in cases.cases:
        if case.group and case.split:
            splits.setdefault(case.group, set()).add(case.split)
    return tuple(
        f"{cases.layout.group_column} {group} stands in {' and '.join(sorted(where))}"
        for group, where in splits.items()
        if len(where) > 1
    )


def _contradictions(cases: Cases) -> tuple[str, ...]:
    """An error for each yes-or-no column that is at odds with one that its name is a word of, as `melanoma` 0 with the
    diagnosis melanoma, or 1 with a diagnosis that elsewhere stands with 0.
    """
    found = []
    for asked in cases.columns:
        if not set(cases.column(asked)) - {""} <= {"0", "1"}:
            continue
        for named in cases.columns:
            if named == asked or asked not in cases.column(named):
                continue
            told = [case for case in cases.cases if case.labels[asked] and case.labels[named]]
            negative = {case.labels[named] for case in told if case.labels[asked] == "0"} - {asked}
            odd = [
                case.image_id
                for case in told
                if (case.labels[named] == asked and case.labels[asked] == "0")
                or (case.labels[named] in negative and case.labels[asked] == "1")
            ]
            if odd:
                few = ", ".join(odd[:_NAMED]) + (", …" if len(odd) > _NAMED else "")
                found.append(f"{asked} contradicts {named} in {len(odd)} cases: {few}. Correct {cases.table}")
    return tuple(found)


def _empty_masks(cases: Sequence[Case], findings: Sequence[_Finding]) -> tuple[str, ...]:
    return tuple(
        f"{case.image_id}: its mask shows no lesion"
        for case, finding in zip(cases, findings, strict=True)
        if finding.lesion == 0
    )


def _remarks(cases: Cases, findings: Sequence[_Finding]) -> tuple[str, ...]:
    """Counts worth a sentence."""
    filling = sum(finding.lesion is not None and finding.lesion > _FRAME_FILLING for finding in findings)
    sentences = (
        (filling, f"{filling} masks cover more than 98 % of the frame: lesions larger than the picture"),
        (cases.unlisted, f"{cases.unlisted} image files are not in {cases.table} and are ignored"),
        (
            cases.layout.split_column is None,
            "no split column: divide the cases before training; copies are only looked for between splits",
        ),
    )
    return tuple(sentence for applies, sentence in sentences if applies)
