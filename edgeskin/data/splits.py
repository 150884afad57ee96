"""Carving `select` from the training split: the cases that choose epochs and thresholds, never trained on."""

import hashlib
from collections import Counter
from collections.abc import Sequence

from edgeskin.data.cases import Case
from edgeskin.errors import DataError


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
    counts = Counter(case.value(column) for case in group)
    return min(counts, key=lambda value: (-counts[value], value))


def _lot(seed: int, group: tuple[Case, ...]) -> bytes:
    """The group's place in the draw: a hash is the same on every machine and in every order."""
    return hashlib.sha256(f"{seed}:{group[0].group or group[0].image_id}".encode()).digest()
