"""HAM10000 as the Harvard Dataverse gives it: photos in one or two folders, masks by Tschandl, one table."""

from pathlib import Path

from edgeskin.data.datasets import HAM10000_OFFICIAL
from edgeskin.data.listing import Listing, files_by_id, read_table
from edgeskin.errors import DataError

_TABLES = ("HAM10000_metadata", "HAM10000_metadata.csv", "HAM10000_metadata.tab")
_PHOTOS = ("HAM10000_images_part_1", "HAM10000_images_part_2", "HAM10000_images")
_MASKS = "HAM10000_segmentations_lesion_tschandl"
_COLUMNS = {"image_id": "image_id", "dx": "diagnosis", "lesion_id": "lesion_id", "dx_type": "dx_type", "age": "age",
            "sex": "sex", "localization": "localization"}  # fmt: skip


def recognises(folder: Path) -> bool:
    """Whether a folder holds any of the download."""
    return any((folder / name).exists() for name in (*_TABLES, *_PHOTOS, _MASKS))


def read(folder: Path) -> Listing:
    """What the folder lists. Raises: DataError where the table or the photos are missing."""
    table = next((folder / name for name in _TABLES if (folder / name).is_file()), None)
    if table is None:
        raise DataError(f"{folder}: HAM10000 without its table; download HAM10000_metadata into it")
    header, rows = read_table(table)
    if absent := [name for name in _COLUMNS if name not in header]:
        raise DataError(f"{table}: the columns {', '.join(absent)} are missing. Columns: {', '.join(header)}")
    if not any((folder / name).is_dir() for name in _PHOTOS):
        raise DataError(f"{folder}: HAM10000 without its photos; unpack {' and '.join(_PHOTOS[:2])} into it")
    images, problems = files_by_id((folder / name for name in _PHOTOS), (".jpg",))
    masks, more = files_by_id([folder / _MASKS], (".png",), "_segmentation")
    has_mask = "1" if (folder / _MASKS).is_dir() else "0"
    ours = [{name: row[theirs] for theirs, name in _COLUMNS.items()} | {"has_mask": has_mask} for row in rows]
    places = (f"{{}}.jpg in {', '.join(_PHOTOS)}", f"{_MASKS}/{{}}_segmentation.png")
    columns = (*_COLUMNS.values(), "has_mask")
    return Listing(table.name, HAM10000_OFFICIAL, columns, ours, images, masks, places, (*problems, *more))
