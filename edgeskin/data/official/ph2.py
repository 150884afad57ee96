"""PH2 as the University of Porto gives it: a folder for each image, and PH2_dataset.txt with `||` between its columns.

All 200 images are `test`: the data set is for networks that were trained elsewhere.
"""

from pathlib import Path

from edgeskin.data.datasets import PH2_OFFICIAL
from edgeskin.data.listing import Listing, Rows
from edgeskin.data.votes import symmetry_word
from edgeskin.errors import DataError

_TABLE = "PH2_dataset.txt"
_PHOTOS = "PH2 Dataset images"
_DIAGNOSES = {"0": "common_nevus", "1": "atypical_nevus", "2": "melanoma"}
_COLUMNS = ("image_id", "diagnosis", "melanoma", "split", "asymmetry", "symmetry", "has_mask")


def recognises(folder: Path) -> bool:
    """Whether a folder is the download, or holds it as PH2Dataset."""
    return any((root / name).exists() for root in _roots(folder) for name in (_TABLE, _PHOTOS))


def read(folder: Path) -> Listing:
    """What the folder lists. Raises: DataError where the table or the photos are missing."""
    root = next(root for root in _roots(folder) if (root / _TABLE).exists() or (root / _PHOTOS).exists())
    if not (root / _TABLE).is_file():
        raise DataError(f"{root}: PH2 without {_TABLE}; copy it from the download (the .xlsx file is not read)")
    if not (root / _PHOTOS).is_dir():
        raise DataError(f"{root}: PH2 without the folder {_PHOTOS!r}; copy it from the download")
    rows = _rows(root / _TABLE)
    images: dict[str, Path] = {}
    masks: dict[str, Path] = {}
    for row in rows:
        image_id = row["image_id"]
        image = root / _PHOTOS / image_id / f"{image_id}_Dermoscopic_Image" / f"{image_id}.bmp"
        mask = root / _PHOTOS / image_id / f"{image_id}_lesion" / f"{image_id}_lesion.bmp"
        images |= {image_id: image} if image.is_file() else {}
        masks |= {image_id: mask} if mask.is_file() else {}
    places = (f"{_PHOTOS}/{{0}}/{{0}}_Dermoscopic_Image/{{0}}.bmp", f"{_PHOTOS}/{{0}}/{{0}}_lesion/{{0}}_lesion.bmp")
    return Listing(_TABLE, PH2_OFFICIAL, _COLUMNS, rows, images, masks, places)


def _roots(folder: Path) -> tuple[Path, Path]:
    return folder, folder / "PH2Dataset"


def _rows(table: Path) -> Rows:
    """The images of the table, whose lines read `|| IMD003 ||  || 0 || 0 || …`; a legend follows them."""
    rows = []
    for number, line in enumerate(table.read_text(encoding="latin-1").splitlines(), 1):
        cells = [cell.strip() for cell in line.split("||")]
        if len(cells) < 5 or not cells[1].startswith("IMD"):
            continue
        image_id, diagnosis, asymmetry = cells[1], cells[3], cells[4]
        if diagnosis not in _DIAGNOSES or asymmetry not in {"0", "1", "2"}:
            raise DataError(
                f"{table}: line {number}: clinical diagnosis {diagnosis!r} and asymmetry {asymmetry!r} are not 0, 1 or "
                "2. Download the file again"
            )
        melanoma = str(int(_DIAGNOSES[diagnosis] == "melanoma"))
        values = (image_id, _DIAGNOSES[diagnosis], melanoma, "test", asymmetry, symmetry_word(asymmetry), "1")
        rows.append(dict(zip(_COLUMNS, values, strict=True)))
    if not rows:
        raise DataError(f"{table}: lists no image; its lines begin with || IMD003 ||. Download the file again")
    return rows
