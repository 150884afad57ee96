"""What a data folder lists, before anything is checked: rows by column, and the files of each image id."""

import csv
import io
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from edgeskin.data.datasets import DatasetLayout
from edgeskin.errors import DataError

IMAGE_ID = "image_id"
SHOWN = 10

Rows = list[dict[str, str]]


@dataclass(frozen=True)
class Listing:
    """A folder's cases as its tables and files tell them.

    table: what errors about labels name. columns: in order; each row has them all, '' where a value is missing.
    images, masks: files by image id. places: where the files of images and masks are looked for, in words.
    problems: what is wrong already.
    """

    table: str
    layout: DatasetLayout
    columns: tuple[str, ...]
    rows: Sequence[Mapping[str, str]]
    images: Mapping[str, Path]
    masks: Mapping[str, Path]
    places: tuple[str, str]
    problems: tuple[str, ...] = ()


@dataclass
class Gatherer:
    """Rows that are put together from several tables and folders, by image id, in the order in which ids appear."""

    columns: tuple[str, ...]
    cells: dict[str, dict[str, str]] = field(default_factory=dict)

    def note(self, image_id: str, **values: str) -> None:
        """Set cells of an image's row, which is begun where it is not there yet."""
        self.cells.setdefault(image_id, dict.fromkeys(self.columns, "") | {IMAGE_ID: image_id}).update(values)

    def rows(self) -> Rows:
        """The rows, in the order of their ids."""
        return [self.cells[image_id] for image_id in sorted(self.cells)]


def read_table(path: Path, key: str | None = IMAGE_ID) -> tuple[list[str], Rows]:
    """The header and the rows of a table of commas (or tabs, where the header has no comma), cells stripped.

    key: a column that must be there; None where the file has no header, whose columns are then named 0, 1, ….
    Raises: DataError where it is absent or not such a table.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
        delimiter = "\t" if "\t" in (first := text.partition("\n")[0]) and "," not in first else ","
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
        lines = [(number, [cell.strip() for cell in line]) for number, line in enumerate(reader, 1) if line]
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file") from error
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: cannot be read as a UTF-8 CSV file: {error}") from error
    if key is None:
        lines.insert(0, (0, [str(index) for index in range(len(lines[0][1]) if lines else 0)]))
    header = lines[0][1] if lines else []
    if key is not None and key not in header:
        raise DataError(f"{path}: the column {key} is missing. Columns: {', '.join(header) or 'none'}")
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


def files_by_id(
    folders: Iterable[Path], suffixes: tuple[str, ...], ending: str = ""
) -> tuple[dict[str, Path], list[str]]:
    """The files of some folders by image id, and a problem for each id with two files in one folder.

    ending: what stands between image id and suffix, such as `_segmentation`; files without it are left. Of two folders
    that hold an id, the first counts.
    """
    found: dict[str, Path] = {}
    problems = []
    for folder in folders:
        here: dict[str, Path] = {}
        for path in sorted(folder.iterdir()) if folder.is_dir() else ():
            if path.suffix.lower() in suffixes and path.stem.endswith(ending):
                image_id = path.stem[: len(path.stem) - len(ending)]
                if image_id in here:
                    problems.append(f"{folder.name}/ holds both {here[image_id].name} and {path.name}; keep one")
                here[image_id] = path
        found = here | found
    return found, problems


def gathered(head: str, problems: Sequence[str]) -> str:
    """One message for many problems: the first ten, and how many more there are."""
    more = [f"  … and {len(problems) - SHOWN} more"] if len(problems) > SHOWN else []
    return "\n".join([f"{head} ({len(problems)} problem{'s'[: len(problems) > 1]}):"]
                     + [f"  {problem}" for problem in problems[:SHOWN]] + more)  # fmt: skip
