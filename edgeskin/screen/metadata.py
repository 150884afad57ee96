"""The file of `edgeskin predict --metadata`: what is known beside each photo, as CSV or JSON.

CSV: a header with the column `file` and any of the network's fields, one row a photo. JSON: a list of such objects.
`file` is a photo's path as given, its name, or its name without the ending. Empty, null and `unknown` say that a value
is missing.
"""

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

from edgeskin.contract.declaration import nearest
from edgeskin.contract.metadata import MetadataSpec, Value, Values
from edgeskin.data.listing import gathered
from edgeskin.errors import DataError

FILE = "file"
"""The column that names the photo."""

_Row: TypeAlias = dict[str, Value]


def read(path: Path, photos: Sequence[Path], spec: MetadataSpec) -> dict[Path, Values]:
    """What is known beside each photo; a photo without a row is not in the answer.

    Raises: DataError with every mistake of the file: an unknown column or field, with the nearest name; a value that
    its field does not know; a row for no photo, for several, or two for one.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: the metadata file cannot be read: {error}") from error
    rows = _json_rows(path, text) if path.suffix.lower() == ".json" else _csv_rows(path, text)
    columns = dict.fromkeys(name for row in rows for name in row)
    known = (FILE, *spec.names)
    problems = [f"no field {name!r}{nearest(name, known)}" for name in columns if name not in known]
    found: dict[Path, Values] = {}
    for number, row in enumerate(rows, 1):
        where = f"row {number} ({row.get(FILE) or 'no file'})"
        values = {name: value for name, value in row.items() if name in spec.names}
        try:
            spec.encode(values)
        except DataError as error:
            problems.append(f"{where}: {error}")
        meant = _photos_meant(str(row.get(FILE) or ""), photos)
        if len(meant) == 1 and meant[0] not in found:
            found[meant[0]] = values
        elif len(meant) == 1:
            problems.append(f"{where}: a second row for {meant[0]}")
        elif meant:
            problems.append(f"{where}: fits {', '.join(map(str, meant))}; write the path as given")
        else:
            problems.append(f"{where}: is none of the photos; write {FILE} as a photo's path, name or stem")
    if problems:
        raise DataError(gathered(f"{path}: cannot be used", problems))
    return found


def _photos_meant(name: str, photos: Iterable[Path]) -> list[Path]:
    """The photos with that path; if none, with that name; if none, with that stem."""
    different = list(dict.fromkeys(photos))
    if not name:
        return []
    by_path = [photo for photo in different if photo == Path(name)]
    by_name = [photo for photo in different if photo.name == name]
    by_stem = [photo for photo in different if photo.stem == name]
    return by_path or by_name or by_stem


def _csv_rows(path: Path, text: str) -> list[_Row]:
    try:
        lines = [[cell.strip() for cell in line] for line in csv.reader(io.StringIO(text, newline="")) if line]
    except csv.Error as error:
        raise DataError(f"{path}: cannot be read as CSV: {error}") from error
    header = lines[0] if lines else []
    if FILE not in header or len(set(header)) < len(header):
        found = ", ".join(header)
        raise DataError(f"{path}: its first line must name the columns, {FILE} and each field once; it is {found!r}")
    uneven = [number for number, line in enumerate(lines[1:], 1) if len(line) != len(header)]
    if uneven:
        raise DataError(f"{path}: row {uneven[0]} has {len(lines[uneven[0]])} cells, the header {len(header)}")
    return [dict(zip(header, line, strict=True)) for line in lines[1:]]


def _json_rows(path: Path, text: str) -> list[_Row]:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise DataError(f"{path}: cannot be read as JSON: {error}") from error
    if not isinstance(value, list) or not all(isinstance(row, Mapping) and _is_flat(row) for row in value):
        raise DataError(
            f'{path}: must be a list of objects, each with {FILE} and fields: [{{"{FILE}": "photo.jpg", …}}, …]'
        )
    return [dict(row) for row in value]


def _is_flat(row: Mapping[str, object]) -> bool:
    return all(value is None or isinstance(value, (str, int, float)) for value in row.values())
