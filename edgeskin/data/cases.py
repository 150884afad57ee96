"""A data folder as values: `labels.csv`, `images/<image_id>.jpg` and `masks/<image_id>.png`, or a publisher's download.

The tables are read and checked whole before any pixel is touched; all their mistakes come in one message.
"""

import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from edgeskin.contract.declaration import nearest
from edgeskin.contract.image import read_photo
from edgeskin.data import official
from edgeskin.data.datasets import VIEWS, DatasetLayout, detect
from edgeskin.data.listing import IMAGE_ID, Listing, files_by_id, gathered, read_table
from edgeskin.data.votes import SYMMETRY, voted
from edgeskin.errors import DataError, PhotoError

UInt8: TypeAlias = npt.NDArray[np.uint8]
Mask: TypeAlias = npt.NDArray[np.bool_]

TABLE = "labels.csv"
_IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")
_ORIENTATION_TAG = 0x0112
_SIDEWAYS = (5, 6, 7, 8)
"""EXIF orientations that exchange width and height."""


@dataclass(frozen=True)
class Case:
    """One image and what is known about it.

    split: a word of the layout's splits, or '' for an extra. group: the lesion or patient it belongs to.
    labels: the raw cells of its row by column, '' where missing. table: the file they stand in.
    """

    image_id: str
    image: Path
    mask: Path | None
    split: str
    group: str | None
    labels: Mapping[str, str] = field(hash=False)
    table: str = TABLE

    def value(self, column: str) -> str:
        """The raw cell of a column, '' where missing. Raises: DataError that names the nearest column."""
        if column not in self.labels:
            raise DataError(f"{self.table} has no column {column!r}{nearest(column, self.labels)}")
        return self.labels[column]

    def noting(self, column: str, value: str) -> "Case":
        """The same case with one more column, or another value in it."""
        return replace(self, labels={**self.labels, column: value})


@dataclass(frozen=True)
class Cases:
    """The cases of one data folder, in the order of its table, without those excluded.

    table: the file, or the kind of files, that its labels stand in. unlisted: image files that no row names.
    """

    folder: Path
    layout: DatasetLayout
    columns: tuple[str, ...]
    cases: tuple[Case, ...]
    table: str = TABLE
    unlisted: int = 0

    def split(self, name: str) -> tuple[Case, ...]:
        """The cases of one official split.

        Raises: DataError where the data set has no split column, no split of that name, or no case in it.
        """
        if self.layout.split_column is None:
            raise DataError(
                f"{self.folder}/{self.table}: {self.layout.name} has no split column, so there is no split {name!r}. "
                f"Add a column `split` with {', '.join(self.layout.splits)}"
                + (f", cases of one {self.layout.group_column} together" if self.layout.group_column else "")
            )
        if name not in self.layout.splits:
            raise DataError(f"{self.folder}: no split {name!r}{nearest(name, self.layout.splits)}")
        chosen = tuple(case for case in self.cases if case.split == name)
        if not chosen:
            filled = [split for split in self.layout.splits if any(case.split == split for case in self.cases)]
            raise DataError(
                f"{self.folder}/{self.table}: column {self.layout.split_column!r} puts no case in the split {name!r}. "
                f"Splits with cases: {', '.join(filled) or 'none'}; a trained network has one more, select"
            )
        return chosen

    def column(self, name: str) -> tuple[str, ...]:
        """A column's raw cells, one per case. Raises: DataError that names the nearest column."""
        if name not in self.columns:
            raise DataError(f"{self.folder}/{self.table}: no column {name!r}{nearest(name, self.columns)}")
        return tuple(case.labels[name] for case in self.cases)


def data_folder(given: Path | None, dataset: str | None = None) -> Path:
    """The folder that `--data` means: as given, there or under EDGESKIN_DATA; otherwise the data set's under it.

    Raises: DataError where neither says a folder that exists.
    """
    parent = os.environ.get("EDGESKIN_DATA")
    if given is not None:
        below = Path(parent) / given if parent else given
        return below if below.is_dir() and not given.is_dir() else _existing(given, "check --data")
    if parent and dataset:
        folder = Path(parent) / dataset
        if dataset in VIEWS and not folder.exists():
            folder = Path(parent) / VIEWS[dataset]
        return _existing(folder, "check EDGESKIN_DATA, the parent of the data folders")
    raise DataError(
        f"no data: give the {dataset or 'data'} folder with --data DIR"
        + (", or its parent in the environment variable EDGESKIN_DATA" if dataset else "")
    )


def read_cases(folder: Path, exclude: frozenset[str] = frozenset()) -> Cases:
    """Read the tables of a data folder and find each case's files; `exclude` names the image ids to leave out.

    The folder holds labels.csv, or is a publisher's download (`data/official`). Votes on asymmetry become the column
    `symmetry`, where the table has none.

    Raises: DataError with every mistake of the tables: a missing image_id column, an image_id that is listed twice or
    in two splits, an unknown split, an image or promised mask that is not there; also where `exclude` fits no id.
    """
    _existing(folder, "give a folder with labels.csv and images/")
    listing = _own(folder) if (folder / TABLE).exists() else official.listing(folder)
    if listing is None:
        raise DataError(
            f"{folder / TABLE}: no such file. A data folder holds labels.csv, images/ and (optional) masks/, or is the "
            f"download of {official.NAMES}"
        )
    layout, problems = listing.layout, [*listing.problems, *_row_problems(listing)]
    if problems:
        raise DataError(gathered(f"{folder / listing.table}: cannot be used", problems))
    cases = Cases(
        folder,
        layout,
        listing.columns,
        tuple(
            Case(
                image_id=row[IMAGE_ID],
                image=listing.images[row[IMAGE_ID]],
                mask=listing.masks.get(row[IMAGE_ID]),
                split=row[layout.split_column] if layout.split_column else "",
                group=(row[layout.group_column] or None) if layout.group_column else None,
                labels=row,
                table=listing.table,
            )
            for row in listing.rows
        ),
        listing.table,
        len(listing.images) - len(listing.rows),
    )
    return leave_out(cases, exclude)


def leave_out(cases: Cases, exclude: frozenset[str]) -> Cases:
    """The same without some image ids. Raises: DataError where none of them is there."""
    if exclude and not exclude & {case.image_id for case in cases.cases}:
        raise DataError(
            f"{cases.folder}: none of the {len(exclude)} excluded ids is in {cases.table}. Is it another data set's "
            "file?"
        )
    return replace(cases, cases=tuple(case for case in cases.cases if case.image_id not in exclude))


def cells(cases: Sequence[Case], column: str) -> tuple[str, ...]:
    """A column's raw cells, one per case, '' for the cases of a data set that has no such column.

    Raises: DataError that names the nearest column, where no case has it.
    """
    if cases and not any(column in case.labels for case in cases):
        known = dict.fromkeys(name for case in cases for name in case.labels)
        tables = " or ".join(dict.fromkeys(case.table for case in cases))
        raise DataError(f"{tables} has no column {column!r}{nearest(column, known)}")
    return tuple(case.labels.get(column, "") for case in cases)


def read_exclude(path: Path) -> frozenset[str]:
    """The image ids of an exclude file: one a line, `#` starts a comment. Raises: DataError where it cannot be read."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: the exclude file cannot be read: {error}") from error
    ids = (line.partition("#")[0].strip() for line in lines)
    return frozenset(image_id for image_id in ids if image_id)


def data_list_sha256(ids: Iterable[str]) -> str:
    """The SHA-256 that names a set of images: of the sorted image ids joined by newlines."""
    return hashlib.sha256("\n".join(sorted(ids)).encode()).hexdigest()


def read_image(case: Case) -> UInt8:
    """The image's pixels, upright RGB.

    Shapes: -> [H, W, 3]. Raises: DataError that names the file.
    """
    try:
        return read_photo(case.image)
    except PhotoError as error:
        raise DataError(str(error)) from error


def read_mask(case: Case) -> Mask:
    """The mask's pixels, true on the lesion.

    Shapes: -> [H, W], as the upright image. Raises: DataError that names the file where there is none, it is
    unreadable, not one channel of two values, or of another size than its image.
    """
    if case.mask is None:
        raise DataError(f"{case.image}: has no mask beside it")
    try:
        with Image.open(case.mask) as picture:
            mode, pixels = picture.mode, np.asarray(picture)
        with Image.open(case.image) as photo:
            size = photo.size[::-1] if photo.getexif().get(_ORIENTATION_TAG) in _SIDEWAYS else photo.size
    except (OSError, SyntaxError, ValueError, UnidentifiedImageError) as error:
        raise DataError(f"{case.mask}: the mask or its image is unreadable: {error}") from error
    if mode not in {"1", "L"} or not _is_binary(pixels):
        raise DataError(
            f"{case.mask}: is not a binary mask (mode {mode}). Save one channel, 0 for skin, 255 for lesion"
        )
    if pixels.shape != (size[1], size[0]):
        raise DataError(
            f"{case.mask}: is {pixels.shape[1]}×{pixels.shape[0]}, its image {size[0]}×{size[1]}. "
            "A mask has the size of its image"
        )
    return pixels.astype(bool)


def _existing(folder: Path, advice: str) -> Path:
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; {advice}")
    return folder


def _own(folder: Path) -> Listing:
    """A folder of our own layout."""
    header, rows = read_table(folder / TABLE)
    images, problems = files_by_id([folder / "images"], _IMAGE_SUFFIXES)
    if not images and not problems:
        problems.append(f"{folder / 'images'}: holds no {', '.join(_IMAGE_SUFFIXES)} file")
    masks, mask_problems = files_by_id([folder / "masks"], (".png",))
    try:
        votes = voted(rows) if SYMMETRY not in header else []
    except DataError as error:
        raise DataError(f"{folder / TABLE}: {error}") from error
    if votes:
        header, rows = [*header, SYMMETRY], [row | {SYMMETRY: vote} for row, vote in zip(rows, votes, strict=True)]
    places = ("images/{}.jpg (or .jpeg, .png)", "masks/{}.png")
    return Listing(TABLE, detect(header), tuple(header), rows, images, masks, places, (*problems, *mask_problems))


def _row_problems(listing: Listing) -> list[str]:
    """A sentence for every mistake of the rows."""
    layout, problems = listing.layout, []
    splits_of: dict[str, list[str]] = {}
    image_place, mask_place = listing.places
    for row in listing.rows:
        split = row[layout.split_column] if layout.split_column else ""
        splits_of.setdefault(row[IMAGE_ID], []).append(split)
        if split and split not in layout.splits:
            problems.append(
                f"{row[IMAGE_ID]}: {layout.split_column} is {split!r}; write {', '.join(layout.splits)} or nothing"
            )
    for image_id, splits in splits_of.items():
        if not image_id:
            problems.append(f"image_id is empty in {len(splits)} row{'s'[: len(splits) > 1]}")
            continue
        if len(set(splits)) > 1:
            problems.append(
                f"{image_id} is listed in two splits: {', '.join(sorted(s or 'none' for s in set(splits)))}"
            )
        elif len(splits) > 1:
            problems.append(f"{image_id} is listed {len(splits)} times")
        if image_id not in listing.images:
            problems.append(f"{image_id}: no file {image_place.format(image_id)}")
    problems += [
        f"{row[IMAGE_ID]}: has_mask is 1, but there is no {mask_place.format(row[IMAGE_ID])}"
        for row in listing.rows
        if row.get("has_mask") == "1" and row[IMAGE_ID] not in listing.masks
    ]
    return problems


def _is_binary(pixels: npt.NDArray[np.generic]) -> bool:
    """Whether a one-channel mask holds nothing but 0 and one other value, which is 1 or 255."""
    return set(np.unique(pixels).tolist()) - {0} in (set(), {1}, {255})
