"""Data sets as their publishers give them, read where they lie: nothing is converted or copied.

A publisher is recognised by a folder or table that no other has. Columns have the names of our own labels.csv wherever
they mean the same.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from edgeskin.data.listing import Listing
from edgeskin.data.official import ham10000, isic, pad_ufes_20, ph2
from edgeskin.errors import DataError


@dataclass(frozen=True)
class Publisher:
    """A download layout. recognises: whether a folder holds it. read: what the folder lists; Raises: DataError."""

    name: str
    recognises: Callable[[Path], bool]
    read: Callable[[Path], Listing]


PUBLISHERS = (
    *(Publisher(one.title, one.recognises, one.read) for one in isic.CHALLENGES),
    Publisher("HAM10000", ham10000.recognises, ham10000.read),
    Publisher("PH2", ph2.recognises, ph2.read),
    Publisher("PAD-UFES-20", pad_ufes_20.recognises, pad_ufes_20.read),
)
NAMES = ", ".join(one.name for one in PUBLISHERS[:-1]) + f" or {PUBLISHERS[-1].name}"


def listing(folder: Path) -> Listing | None:
    """What a publisher's folder lists; None where it is no publisher's.

    Raises: DataError that names what is missing, or where the downloads of two publishers lie in one folder.
    """
    found = [one for one in PUBLISHERS if one.recognises(folder)]
    if len(found) > 1:
        raise DataError(
            f"{folder}: holds the downloads of {' and '.join(one.name for one in found)}. Give each a folder of its own"
        )
    return found[0].read(folder) if found else None
