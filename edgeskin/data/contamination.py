"""What a network may not be trained on because its figures are reported on the same photograph, lesion or patient.

Across data sets too: ISIC numbers are shared between the challenges and HAM10000.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import chain, combinations
from pathlib import Path
from typing import TypeAlias

from edgeskin.data.cases import Case, read_image
from edgeskin.data.listing import read_table
from edgeskin.errors import DataError

Pair: TypeAlias = tuple[str, str]
"""Two image ids of one photograph."""

NEAR_DUPLICATES = "near_duplicates.csv"
"""In a data folder: columns image_a and image_b, a pair a row."""
SAME_PIXELS: tuple[Pair, ...] = (
    ("ISIC_0012152", "ISIC_0015979"),
    ("ISIC_0024366", "ISIC_0029861"),
    ("ISIC_0024777", "ISIC_0029938"),
    ("PAT_759_1433_914", "PAT_759_1538_566"),
)
"""Pairs whose pixels are equal, in ISIC 2017, HAM10000 and PAD-UFES-20."""


def contaminated(
    train: Sequence[Case], reported: Sequence[Case], pairs: Iterable[Pair] = ()
) -> tuple[tuple[Case, ...], tuple[str, ...]]:
    """The training cases that may stay, and a sentence with a count for each reason why others may not.

    train: of all data sets trained on. reported: the test cases of every data set that a figure will be about.
    pairs: photographs known twice (`known_pairs`, `same_pixels`); what is a copy of a copy is one too.
    """
    ids = {case.image_id for case in reported}
    groups = {case.group for case in reported if case.group is not None}
    copies = _copies(ids, pairs)

    def reason(case: Case) -> str | None:
        if case.image_id in ids:
            return "stands in a test split that is reported"
        if case.image_id in copies:
            return "is the same photograph as a reported test case"
        return "is of the same lesion or patient as a reported test case" if case.group in groups else None

    reasons = [reason(case) for case in train]
    counts = Counter(words for words in reasons if words is not None)
    kept = tuple(case for case, words in zip(train, reasons, strict=True) if words is None)
    return kept, tuple(f"{count} training cases left out: each {words}" for words, count in sorted(counts.items()))


def grouped(cases: Sequence[Case], pairs: Iterable[Pair]) -> tuple[Case, ...]:
    """The cases, those of one photograph as one group, together with the groups they were in.

    So no fold and no `select` divides them. A group is named after the first of its cases.
    """
    inside = {case.image_id: case for case in cases}
    links: list[Pair] = [pair for pair in pairs if set(pair) <= set(inside)]
    first_of: dict[str, str] = {}
    for case in cases:
        if case.group is not None:
            links.append((first_of.setdefault(case.group, case.image_id), case.image_id))
    joined: dict[str, str] = {}
    for image_id in inside:
        if image_id not in joined:
            joined.update(dict.fromkeys(_copies({image_id}, links), image_id))
    sizes = Counter(joined[image_id] for image_id in inside)
    return tuple(
        case if sizes[joined[case.image_id]] == 1 else replace(case, group=joined[case.image_id]) for case in cases
    )


def known_pairs(folders: Iterable[Path]) -> tuple[Pair, ...]:
    """The pairs that data folders list in near_duplicates.csv, and those known to have equal pixels.

    Raises: DataError where a list is not such a table.
    """
    return (*SAME_PIXELS, *chain.from_iterable(_listed(folder / NEAR_DUPLICATES) for folder in folders))


def same_pixels(cases: Iterable[Case]) -> tuple[Pair, ...]:
    """The pairs of cases whose decoded images are equal to the pixel; every image is read. Raises: DataError."""

    def fingerprint(case: Case) -> tuple[str, str]:
        pixels = read_image(case)
        return hashlib.sha256(f"{pixels.shape}".encode() + pixels.tobytes()).hexdigest(), case.image_id

    alike: dict[str, set[str]] = defaultdict(set)
    with ThreadPoolExecutor() as pool:
        for pixels, image_id in pool.map(fingerprint, cases):
            alike[pixels].add(image_id)
    return tuple(pair for ids in alike.values() for pair in combinations(sorted(ids), 2))


def _listed(path: Path) -> tuple[Pair, ...]:
    if not path.exists():
        return ()
    header, rows = read_table(path, "image_a")
    if "image_b" not in header:
        raise DataError(f"{path}: the column image_b is missing. Columns: {', '.join(header)}")
    return tuple((row["image_a"], row["image_b"]) for row in rows)


def _copies(ids: set[str], pairs: Iterable[Pair]) -> set[str]:
    """Every id that the pairs join to one of `ids`, over any number of steps; those included."""
    beside: dict[str, set[str]] = defaultdict(set)
    for a, b in pairs:
        beside[a].add(b)
        beside[b].add(a)
    found, fresh = set(ids), set(ids)
    while fresh:
        fresh = set(chain.from_iterable(beside[one] for one in fresh if one in beside)) - found
        found |= fresh
    return found
