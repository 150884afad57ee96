"""The downloads of the ISIC challenges 2016, 2017 and 2018: a folder of photos, one of masks and tables for each split.

Any part may be left out; what is there must be whole. Superpixels and dermoscopic features are not read.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from edgeskin.data.datasets import ISIC2016_OFFICIAL, ISIC2017_OFFICIAL, ISIC2018_OFFICIAL, DatasetLayout
from edgeskin.data.listing import Gatherer, Listing, files_by_id, read_table
from edgeskin.errors import DataError

Cells = Mapping[str, str]
Labels = Callable[[Cells], dict[str, str]]
"""What a row of a table says in the words of our own columns; Raises: DataError without the path."""


@dataclass(frozen=True)
class Table:
    """A table of a split. names: its possible places. key: the column of image ids; None without a header."""

    names: tuple[str, ...]
    key: str | None
    labels: Labels

    def find(self, folder: Path) -> Path | None:
        """The first of its places that is there."""
        return next((folder / name for name in self.names if (folder / name).is_file()), None)


@dataclass(frozen=True)
class Part:
    """One split of one task. photos: folders that may hold its photos. masks: the folder of its masks."""

    split: str
    photos: tuple[str, ...]
    masks: str | None = None
    tables: tuple[Table, ...] = ()


@dataclass(frozen=True)
class Challenge:
    """A year. ending: what a mask's name adds to its image's. columns: those that its tables fill."""

    title: str
    layout: DatasetLayout
    ending: str
    columns: tuple[str, ...]
    parts: tuple[Part, ...]

    def recognises(self, folder: Path) -> bool:
        """Whether a folder holds any of the challenge's photos, masks or tables."""
        return any(path.exists() for part in self.parts for path in _paths(part, folder))

    def read(self, folder: Path) -> Listing:
        """What the folder lists. Raises: DataError where a table is none, or stands there without its photos."""
        split_column = self.layout.split_column
        assert split_column is not None, "every challenge has a split"
        gatherer = Gatherer(("image_id", split_column, "has_mask", *self.columns))
        images: dict[str, Path] = {}
        masks: dict[str, Path] = {}
        problems: list[str] = []
        for part in self.parts:
            if not any(path.exists() for path in _paths(part, folder)):
                continue
            if not any((folder / name).is_dir() for name in part.photos):
                problems.append(f"the folder {' or '.join(part.photos)} with the photos of {part.split} is missing")
                continue
            found, trouble = files_by_id((folder / name for name in part.photos), (".jpg", ".jpeg"))
            outlined, more = files_by_id([folder / part.masks] if part.masks else [], (".png",), self.ending)
            has_mask = "1" if part.masks and (folder / part.masks).is_dir() else ""
            problems += trouble + more
            images |= found
            masks |= outlined
            for image_id in found:
                gatherer.note(image_id, **{split_column: part.split, "has_mask": has_mask})
            for image_id, labels in chain.from_iterable(_labelled(table, folder) for table in part.tables):
                gatherer.note(image_id, **{split_column: part.split, **labels})
        if not gatherer.cells and not problems:
            problems.append("no folder holds a photo (.jpg)")
        columns = self._told(gatherer)
        rows = [{name: row[name] for name in columns} for row in gatherer.rows()]
        table, places = f"{self.title} tables", self._places(folder)
        return Listing(table, self.layout, columns, rows, images, masks, places, tuple(problems))

    def _told(self, gatherer: Gatherer) -> tuple[str, ...]:
        """The columns that some table fills, besides those every row has: a task without labels has no label column."""
        optional = set(self.columns) - {self.layout.group_column}
        return tuple(
            name for name in gatherer.columns if name not in optional or any(row[name] for row in gatherer.rows())
        )

    def _places(self, folder: Path) -> tuple[str, str]:
        photos = [name for part in self.parts for name in part.photos if (folder / name).is_dir()]
        masks = [part.masks for part in self.parts if part.masks and (folder / part.masks).is_dir()]
        return f"{{}}.jpg in {' or '.join(photos)}", f"{{}}{self.ending}.png in {' or '.join(masks)}"


def _paths(part: Part, folder: Path) -> Iterator[Path]:
    names = (*part.photos, *((part.masks,) if part.masks else ()), *(n for table in part.tables for n in table.names))
    return (folder / name for name in names)


def _labelled(table: Table, folder: Path) -> Iterator[tuple[str, dict[str, str]]]:
    path = table.find(folder)
    for row in read_table(path, table.key)[1] if path else ():
        try:
            labels = table.labels(row)
        except DataError as error:
            raise DataError(f"{path}: {error}") from error
        yield row[table.key or "0"], labels


# --- what the tables say ---

_YES_OR_NO = {"0": "0", "0.0": "0", "benign": "0", "1": "1", "1.0": "1", "malignant": "1"}


def _zero_or_one(cells: Cells, column: str) -> str:
    value = cells.get(column)
    if value is None:
        raise DataError(f"the column {column} is missing. Columns: {', '.join(cells)}")
    if value not in _YES_OR_NO:
        raise DataError(f"{column} is {value!r}, neither 0 nor 1. Download the file again")
    return _YES_OR_NO[value]


def _malignant(cells: Cells) -> dict[str, str]:
    """ISIC 2016 (no header): every malignant lesion of its task is a melanoma."""
    malignant = _zero_or_one(cells, "1")
    return {"isic2016_malignant": malignant, "melanoma": malignant}


def _three_diagnoses(cells: Cells) -> dict[str, str]:
    melanoma, keratosis = (_zero_or_one(cells, name) for name in ("melanoma", "seborrheic_keratosis"))
    diagnosis = "melanoma" if melanoma == "1" else "seborrheic_keratosis" if keratosis == "1" else "nevus"
    return {"diagnosis": diagnosis, "melanoma": melanoma, "seborrheic_keratosis": keratosis}


def _person(cells: Cells) -> dict[str, str]:
    return {"age": cells.get("age_approximate", ""), "sex": cells.get("sex", "")}


def _seven_diagnoses(cells: Cells) -> dict[str, str]:
    names = ("MEL", "NV", "BCC", "AKIEC", "BKL", "DF", "VASC")
    chosen = [name for name in names if _zero_or_one(cells, name) == "1"]
    if len(chosen) != 1:
        raise DataError(f"{cells['image']} has {len(chosen)} of seven diagnoses. Download the file again")
    return {"diagnosis": chosen[0].lower()}


def _lesion(cells: Cells) -> dict[str, str]:
    names = {"lesion_id": "lesion_id", "diagnosis_confirm_type": "dx_type"}
    return {ours: cells[theirs] for theirs, ours in names.items() if theirs in cells}


# --- the three years ---


def _year_2016(split: str, word: str) -> Part:
    start = f"ISBI2016_ISIC_Part{{}}_{word}_"
    photos = tuple(start.format(task) + "Data" for task in ("1", "3", "3B"))
    tables = tuple(start.format(task) + "GroundTruth.csv" for task in ("3", "3B"))
    return Part(split, photos, start.format("1") + "GroundTruth", (Table(tables, None, _malignant),))


def _year_2017(split: str, word: str) -> Part:
    start = f"ISIC-2017_{word}_"
    person = f"{start}Data_metadata.csv"
    tables = (
        Table((f"{start}Part3_GroundTruth.csv",), "image_id", _three_diagnoses),
        Table((f"{start}Data/{person}", person), "image_id", _person),
    )
    return Part(split, (f"{start}Data",), f"{start}Part1_GroundTruth", tables)


def _year_2018(split: str, word: str) -> tuple[Part, Part]:
    truth, lesions = f"ISIC2018_Task3_{word}_GroundTruth", f"ISIC2018_Task3_{word}_LesionGroupings.csv"
    tables = (
        Table((f"{truth}/{truth}.csv", f"{truth}.csv"), "image", _seven_diagnoses),
        Table((lesions, f"{truth}/{lesions}"), "image", _lesion),
    )
    return (
        Part(split, (f"ISIC2018_Task1-2_{word}_Input",), f"ISIC2018_Task1_{word}_GroundTruth"),
        Part(split, (f"ISIC2018_Task3_{word}_Input",), None, tables),
    )


CHALLENGES = (
    Challenge(
        "ISIC 2016",
        ISIC2016_OFFICIAL,
        "_Segmentation",
        ("isic2016_malignant", "melanoma"),
        (_year_2016("train", "Training"), _year_2016("test", "Test")),
    ),
    Challenge(
        "ISIC 2017",
        ISIC2017_OFFICIAL,
        "_segmentation",
        ("diagnosis", "melanoma", "seborrheic_keratosis", "age", "sex"),
        (_year_2017("train", "Training"), _year_2017("val", "Validation"), _year_2017("test", "Test_v2")),
    ),
    Challenge(
        "ISIC 2018",
        ISIC2018_OFFICIAL,
        "_segmentation",
        ("diagnosis", "lesion_id", "dx_type"),
        (*_year_2018("train", "Training"), *_year_2018("val", "Validation"), *_year_2018("test", "Test")),
    ),
)
