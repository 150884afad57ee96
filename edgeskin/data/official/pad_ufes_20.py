"""PAD-UFES-20 as Mendeley Data gives it: metadata.csv and three folders of photos, unpacked as they come; no masks."""

from pathlib import Path

from edgeskin.data.datasets import PAD_UFES_20_OFFICIAL
from edgeskin.data.listing import Listing, files_by_id, read_table
from edgeskin.errors import DataError

_TABLE = "metadata.csv"
_PHOTOS = ("images", "images/imgs_part_*", "images/imgs_part_*/imgs_part_*", "imgs_part_*", "imgs_part_*/imgs_part_*")
_NAMES = {"img_id": "image_id", "diagnostic": "diagnosis"}
_SIGNATURE = frozenset({"img_id", "patient_id", "fitspatrick", "diagnostic"})


def recognises(folder: Path) -> bool:
    """Whether a folder holds the table or one of the folders of photos."""
    return _is_ours(folder / _TABLE) or any(path for name in _PHOTOS[1:] for path in folder.glob(name))


def read(folder: Path) -> Listing:
    """What the folder lists. Raises: DataError where the table or the photos are missing."""
    table = folder / _TABLE
    if not _is_ours(table):
        raise DataError(f"{folder}: PAD-UFES-20 without its table; download {_TABLE} into it")
    header, rows = read_table(table, "img_id")
    images, problems = files_by_id((path for name in _PHOTOS for path in sorted(folder.glob(name))), (".png",))
    if not images:
        raise DataError(f"{folder}: PAD-UFES-20 without its photos; unpack imgs_part_1, 2 and 3 into {folder}/images")
    ours = [{_NAMES.get(name, name): cell for name, cell in row.items()} for row in rows]
    for row in ours:
        row["image_id"] = row["image_id"].rpartition("/")[2].removesuffix(".png")
    columns = tuple(_NAMES.get(name, name) for name in header)
    places = ("{}.png in images/ or imgs_part_1 to 3", "masks: the data set has none")
    return Listing(_TABLE, PAD_UFES_20_OFFICIAL, columns, ours, images, {}, places, tuple(problems))


def _is_ours(path: Path) -> bool:
    if not path.is_file():
        return False
    with path.open(encoding="utf-8-sig", errors="replace") as stream:
        return set(stream.readline().strip().split(",")) >= _SIGNATURE
