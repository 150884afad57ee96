"""Dividing cases: `select` carved from train, a split for data sets without one, and folds.

Whatever is drawn depends on the seed and the cases alone: a hash of seed and group is the lot, not a random generator.
"""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from edgeskin.data.cases import Case, Cases, cells
from edgeskin.data.datasets import SPLITS
from edgeskin.errors import DataError

SHARES = (0.8, 0.1, 0.1)
"""Of train, val and test, as in papers/metadata_superresolution_pad_ufes_2024.txt (Dataset Details)."""
SPLIT_COLUMN = "split"


def carve_select(
    cases: Sequence[Case], count: int = 200, *, seed: int, stratify: str | None = None
) -> tuple[tuple[Case, ...], tuple[Case, ...]]:
    """Divide training cases into (train, select), both sorted by image id.

    Every value of the column `stratify` keeps its share, by largest remainder; a missing value is a stratum of its own.
    Cases of one group (lesion, patient) stay together, in the stratum of their most frequent value, so with groups
    `select` may hold a few cases fewer than `count`. Who is drawn depends on the seed and the ids alone, neither on the
    order of `cases` nor on a random generator's version.

    Raises: DataError where fewer than one case would be left on either side, or the column is missing.
    """
    if not 0 < count < len(cases):
        raise DataError(f"cannot carve {count} cases for `select` out of {len(cases)}; both sides need at least one")
    strata: dict[str, list[tuple[Case, ...]]] = {}
    if stratify is not None:
        cells(cases, stratify)  # A column that no case has is a mistake; one that some lack is missing there.
    for group in _groups(cases):
        strata.setdefault(_stratum(group, stratify), []).append(group)
    quotas = largest_remainder({name: sum(map(len, groups)) for name, groups in strata.items()}, count)
    chosen: set[str] = set()
    for name, groups in strata.items():
        room = quotas[name]
        for group in sorted(groups, key=lambda group: _lot(seed, group)):
            if len(group) <= room:
                room -= len(group)
                chosen.update(case.image_id for case in group)
    ordered = sorted(cases, key=lambda case: case.image_id)
    train = tuple(case for case in ordered if case.image_id not in chosen)
    return train, tuple(case for case in ordered if case.image_id in chosen)


def assign_splits(cases: Cases, *, seed: int, stratify: str | None = None) -> Cases:
    """Draw train, val and test (80, 10 and 10 %) for a data set that has no split, cases of one group together.

    Each value of the column `stratify` keeps its share, as `folds` deals. The result has the column `split`, and says
    among its cautions how it was drawn. Draw from the whole table, before anything is left out of it: a case more or
    less may move others.

    Raises: DataError where the data set has a split already, or the column is missing.
    """
    layout = cases.layout
    if layout.split_column is not None:
        raise DataError(f"{cases.folder}: {layout.name} has a split, in the column {layout.split_column!r}")
    parts = _deal(cases.cases, SHARES, seed, stratify)
    split_of = {case.image_id: split for split, part in zip(SPLITS, parts, strict=True) for case in part}
    divided = tuple(
        replace(case.noting(SPLIT_COLUMN, split_of[case.image_id]), split=split_of[case.image_id])
        for case in cases.cases
    )
    words = f"no official split: drawn 80/10/10 by {layout.group_column or 'image'}, seed {seed}"
    return replace(
        cases,
        layout=replace(layout, split_column=SPLIT_COLUMN, cautions=(*layout.cautions, words)),
        columns=(*cases.columns, SPLIT_COLUMN),
        cases=divided,
    )


def folds(cases: Sequence[Case], k: int, *, seed: int, stratify: str | None = None) -> tuple[tuple[Case, ...], ...]:
    """Divide cases into k parts of about equal size, each sorted by image id; no group is in two of them.

    Every value of the column `stratify` (a missing value too) is spread evenly: groups are dealt out from the largest
    on, in the order of their lots, each to the part that has least of what the group holds. With groups of one value
    each, no part has more of it than another by more than the largest group.

    Raises: DataError where there are fewer groups than parts, or the column is missing.
    """
    groups = len(_groups(cases))
    if not 2 <= k <= groups:
        raise DataError(f"cannot make {k} folds of {groups} groups of cases; write a number from 2 to {groups}")
    return _deal(cases, (1 / k,) * k, seed, stratify)


def _deal(
    cases: Sequence[Case], shares: Sequence[float], seed: int, stratify: str | None
) -> tuple[tuple[Case, ...], ...]:
    """Deal groups out to parts, each to the part whose quota of the group's values is filled least.

    A value's fill counts half of what is being dealt, as Sainte-Laguë's method does: neither small nor large parts are
    favoured.
    """
    values = dict.fromkeys((case.image_id for case in cases), "")
    if stratify is not None:
        values = dict(zip(values, cells(cases, stratify), strict=True))
    total = Counter(values.values())
    held: list[Counter[str]] = [Counter() for _ in shares]
    parts: list[list[Case]] = [[] for _ in shares]
    for group in sorted(_groups(cases), key=lambda group: (-len(group), _lot(seed, group))):
        brought = Counter(values[case.image_id] for case in group)

        def fill(part: int, brought: Counter[str] = brought) -> tuple[float, float, int]:
            of_values = sum(n * (held[part][value] + n / 2) / total[value] for value, n in brought.items())
            return of_values / shares[part], len(parts[part]) / shares[part], part

        chosen = min(range(len(shares)), key=fill)
        held[chosen] += brought
        parts[chosen] += group
    return tuple(tuple(sorted(part, key=lambda case: case.image_id)) for part in parts)


def largest_remainder(sizes: dict[str, int], count: int) -> dict[str, int]:
    """Share out `count` in proportion to `sizes`: whole parts first, then the largest remainders (ties: by name)."""
    total = sum(sizes.values())
    shares = {name: count * size // total for name, size in sizes.items()}
    by_remainder = sorted(sizes, key=lambda name: (-(count * sizes[name] % total), name))
    for name in by_remainder[: count - sum(shares.values())]:
        shares[name] += 1
    return shares


def _groups(cases: Sequence[Case]) -> list[tuple[Case, ...]]:
    """Cases that stay together; a case without a group is one by itself."""
    found: dict[tuple[str, str], list[Case]] = {}
    for case in sorted(cases, key=lambda case: case.image_id):
        found.setdefault(("case", case.image_id) if case.group is None else ("group", case.group), []).append(case)
    return [tuple(group) for group in found.values()]


def _stratum(group: tuple[Case, ...], column: str | None) -> str:
    if column is None:
        return ""
    counts = Counter(case.labels.get(column, "") for case in group)
    return min(counts, key=lambda value: (-counts[value], value))


def _lot(seed: int, group: tuple[Case, ...]) -> bytes:
    """The group's place in the draw: a hash is the same on every machine and in every order."""
    return hashlib.sha256(f"{seed}:{group[0].group or group[0].image_id}".encode()).digest()
