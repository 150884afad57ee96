"""A data folder as values: `labels.csv`, `images/<image_id>.jpg` and `masks/<image_id>.png`.

The table is read and checked whole before any pixel is touched; all its mistakes come in one message.
"""

import csv
import difflib
import hashlib
import os
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from edgeskin.contract.image import read_photo
from edgeskin.data.datasets import DatasetLayout, detect
from edgeskin.errors import DataError, PhotoError

UInt8: TypeAlias = npt.NDArray[np.uint8]
Mask: TypeAlias = npt.NDArray[np.bool_]

TABLE = "labels.csv"
_IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")
_SHOWN = 10
_ORIENTATION_TAG = 0x0112
_SIDEWAYS = (5, 6, 7, 8)
"""EXIF orientations that exchange width and height."""


@dataclass(frozen=True)
class Case:
    """One image and what is known about it.

    split: a word of the layout's splits, or '' for an extra. group: the lesion or patient it belongs to.
    labels: the raw cells of its row by column, '' where missing.
    """

    image_id: str
    image: Path
    mask: Path | None
    split: str
    group: str | None
    labels: Mapping[str, str] = field(hash=False)

    def value(self, column: str) -> str:
        """The raw cell of a column, '' where missing. Raises: DataError that names the nearest column."""
        if column not in self.labels:
            raise DataError(f"{TABLE} has no column {column!r}{nearest(column, self.labels)}")
        return self.labels[column]


@dataclass(frozen=True)
class Cases:
    """The cases of one data folder, in the order of its table, without those excluded."""

    folder: Path
    layout: DatasetLayout
    columns: tuple[str, ...]
    cases: tuple[Case, ...]

    def split(self, name: str) -> tuple[Case, ...]:
        """The cases of one official split.

        Raises: DataError where the data set has no split column, no split of that name, or no case in it.
        """
        if self.layout.split_column is None:
            raise DataError(
                f"{self.folder}/{TABLE}: {self.layout.name} has no split column, so there is no split {name!r}. "
                f"Add a column `split` with {', '.join(self.layout.splits)}"
                + (f", cases of one {self.layout.group_column} together" if self.layout.group_column else "")
            )
        if name not in self.layout.splits:
            raise DataError(f"{self.folder}: no split {name!r}{nearest(name, self.layout.splits)}")
        chosen = tuple(case for case in self.cases if case.split == name)
        if not chosen:
            raise DataError(
                f"{self.folder}/{TABLE}: column {self.layout.split_column!r} puts no case in the split {name!r}"
            )
        return chosen

    def column(self, name: str) -> tuple[str, ...]:
        """A column's raw cells, one per case. Raises: DataError that names the nearest column."""
        if name not in self.columns:
            raise DataError(f"{self.folder}/{TABLE}: no column {name!r}{nearest(name, self.columns)}")
        return tuple(case.labels[name] for case in self.cases)


def nearest(name: str, known: Iterable[str]) -> str:
    """How an error about an unknown name ends: the nearest valid name, or all of them."""
    names = list(known)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    return f"; did you mean {near[0]!r}?" if near else f". Known: {', '.join(names)}"


def data_folder(given: Path | None, dataset: str | None = None) -> Path:
    """The folder that `--data` means: as given, or the data set's folder under EDGESKIN_DATA.

    Raises: DataError where neither says a folder that exists.
    """
    if given is not None:
        return _existing(given, "check --data")
    parent = os.environ.get("EDGESKIN_DATA")
    if parent and dataset:
        return _existing(Path(parent) / dataset, "check EDGESKIN_DATA, the parent of the data folders")
    raise DataError(
        f"no data: give the {dataset or 'data'} folder with --data DIR"
        + (", or its parent in the environment variable EDGESKIN_DATA" if dataset else "")
    )


def read_cases(folder: Path, exclude: frozenset[str] = frozenset()) -> Cases:
    """Read the table of a data folder and find each case's files; `exclude` names the image ids to leave out.

    Raises: DataError with every mistake of the table: a missing image_id column, an image_id that is listed twice or in
    two splits, an unknown split, an image or promised mask that is not there; also where `exclude` fits no id at all.
    """
    _existing(folder, "give a folder with labels.csv and images/")
    header, rows = _read_table(folder / TABLE)
    layout = detect(header)
    images, problems = _files_by_id(folder / "images", _IMAGE_SUFFIXES)
    if not images and not problems:
        problems.append(f"{folder / 'images'}: holds no {', '.join(_IMAGE_SUFFIXES)} file")
    masks, mask_problems = _files_by_id(folder / "masks", (".png",))
    problems += mask_problems + _row_problems(layout, rows, images, masks)
    if problems:
        raise DataError(gathered(f"{folder / TABLE}: cannot be used", problems))
    ids = {row["image_id"] for row in rows}
    if exclude and not exclude & ids:
        raise DataError(
            f"{folder}: none of the {len(exclude)} excluded ids is in {TABLE}. Is it another data set's file?"
        )
    cases = tuple(
        Case(
            image_id=row["image_id"],
            image=images[row["image_id"]],
            mask=masks.get(row["image_id"]),
            split=row[layout.split_column] if layout.split_column else "",
            group=(row[layout.group_column] or None) if layout.group_column else None,
            labels=row,
        )
        for row in rows
        if row["image_id"] not in exclude
    )
    return Cases(folder, layout, tuple(header), cases)


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
        raise DataError(f"{case.image}: has no mask beside it (masks/{case.image_id}.png)")
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


def gathered(head: str, problems: Sequence[str]) -> str:
    """One message for many problems: the first ten, and how many more there are."""
    more = [f"  … and {len(problems) - _SHOWN} more"] if len(problems) > _SHOWN else []
    return "\n".join([f"{head} ({len(problems)} problem{'s'[: len(problems) > 1]}):"]
                     + [f"  {problem}" for problem in problems[:_SHOWN]] + more)  # fmt: skip


def _existing(folder: Path, advice: str) -> Path:
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; {advice}")
    return folder


def _read_table(path: Path) -> tuple[list[str], list[dict[str, str]]]:
    """The header and the rows of a table, cells stripped. Raises: DataError where it is not a table with image_id."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            lines = [
                (number, [cell.strip() for cell in line]) for number, line in enumerate(csv.reader(stream), 1) if line
            ]
    except FileNotFoundError as error:
        raise DataError(
            f"{path}: no such file. A data folder holds labels.csv, images/ and (optional) masks/"
        ) from error
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: cannot be read as a UTF-8 CSV file: {error}") from error
    header = lines[0][1] if lines else []
    if "image_id" not in header:
        raise DataError(f"{path}: the column image_id is missing. Columns: {', '.join(header) or 'none'}")
    problems = [f"column {name!r} appears {count} times" for name, count in Counter(header).items() if count > 1]
    problems += [
        f"row {number} has {len(line)} cells, the header {len(header)}"
        for number, line in lines[1:]
        if len(line) != len(header)
    ]
    if problems:
        raise DataError(gathered(f"{path}: is not a table", problems))
    if len(lines) == 1:
        raise DataError(f"{path}: lists no case")
    return header, [dict(zip(header, line, strict=True)) for _, line in lines[1:]]


def _files_by_id(folder: Path, suffixes: tuple[str, ...]) -> tuple[dict[str, Path], list[str]]:
    """The files of a folder by image id, and a problem for each id with two files."""
    found: dict[str, Path] = {}
    problems = []
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if path.suffix.lower() in suffixes:
            if path.stem in found:
                problems.append(f"{folder.name}/ holds both {found[path.stem].name} and {path.name}; keep one")
            found[path.stem] = path
    return found, problems


def _row_problems(
    layout: DatasetLayout, rows: Sequence[Mapping[str, str]], images: Collection[str], masks: Collection[str]
) -> list[str]:
    """A sentence for every mistake of the rows."""
    problems = []
    splits_of: dict[str, list[str]] = {}
    for row in rows:
        split = row[layout.split_column] if layout.split_column else ""
        splits_of.setdefault(row["image_id"], []).append(split)
        if split and split not in layout.splits:
            problems.append(
                f"{row['image_id']}: {layout.split_column} is {split!r}; write {', '.join(layout.splits)} or nothing"
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
        if image_id not in images:
            problems.append(f"{image_id}: no file images/{image_id}.jpg (or .jpeg, .png)")
    problems += [
        f"{row['image_id']}: has_mask is 1, but there is no masks/{row['image_id']}.png"
        for row in rows
        if row.get("has_mask") == "1" and row["image_id"] not in masks
    ]
    return problems


def _is_binary(pixels: npt.NDArray[np.generic]) -> bool:
    """Whether a one-channel mask holds nothing but 0 and one other value, which is 1 or 255."""
    return set(np.unique(pixels).tolist()) - {0} in (set(), {1}, {255})
