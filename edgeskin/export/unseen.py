"""Images that a network cannot be judged on: those it was trained on, other copies of the same photographs, and the
same picture twice.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, ValidationError

from edgeskin.benchmarks import device
from edgeskin.benchmarks.measurements import AccuracyReport
from edgeskin.contract.declaration import wrong_fields
from edgeskin.data import fingerprint
from edgeskin.data.cases import Case, Cases, data_list_sha256, read_image
from edgeskin.data.contamination import known_pairs
from edgeskin.data.duplicates import Print, Progress, exact_duplicates, near_duplicates
from edgeskin.errors import DataError, GraphError, RunError
from edgeskin.graph.folder import Graph

_JUDGED, _TRAINED = "judged", "trained on"
_NAMED = 5
"""So many images are named; more are counted."""


@dataclass(frozen=True)
class Unseen:
    """Cases that a network may be judged on.

    left_out: ids of those that it met in training, sorted; None where nobody can tell. cautions: what was left out, or
    could not be looked for.
    """

    cases: tuple[Case, ...]
    left_out: tuple[str, ...] | None
    cautions: tuple[str, ...] = ()

    def noted(self, report: AccuracyReport) -> AccuracyReport:
        """What was measured on these cases, with what was left out of them."""
        cautions = (*report.cautions, *self.cautions)
        return report.model_copy(update={"cautions": cautions, "seen_in_training": self.left_out})

    @staticmethod
    def by_all(each: Sequence["Unseen"]) -> "Unseen":
        """What none of several networks met; nobody can tell where nobody can of one of them."""
        shared = set.intersection(*({case.image_id for case in one.cases} for one in each))
        known = [one.left_out for one in each if one.left_out is not None]
        return Unseen(
            tuple(case for case in each[0].cases if case.image_id in shared),
            tuple(sorted(set().union(*known))) if len(known) == len(each) else None,
            tuple(dict.fromkeys(words for one in each for words in one.cautions)),
        )


def unseen(graph: Graph, cases: Sequence[Case], folder: Cases, progress: Progress) -> Unseen:
    """The cases without those that are the same photograph as one that the network was trained on: by the pairs that
    the folder lists, by the prints that the Graph folder keeps of its training images, and, of those that the data
    folder holds, by file, by pixels and by looks. Of cases with the same pixels the first one counts.

    Raises: DataError where the network was trained on one of the cases itself, nothing is left, or an image is
    unreadable; GraphError for damaged prints; GraphError, RunError as `trained_on`.
    """
    learnt = trained_on(graph)
    if learnt is None:
        words = f"it is not known which images {graph.card.name} was trained on: none was looked for among these"
        kept, copies = _once(cases, _prints(cases, (), progress))
        return Unseen(kept, None, (words, *copies))
    ids = {case.image_id for case in cases}
    if met := sorted(ids & learnt):
        raise DataError(
            f"{folder.folder}: {graph.card.name} was trained on {len(met)} of these {len(ids)} images "
            f"({_few(met)}); its figures there mean nothing. Give another --split or other --data"
        )
    held = [case for case in folder.cases if case.image_id in learnt]
    prints = _prints(cases, held, progress)
    left_out = ids & (_listed(folder, learnt) | _alike(prints, progress))
    kept_prints = graph.training_prints.is_file()
    if kept_prints:
        known = fingerprint.read(graph.training_prints, len(learnt))
        thumbnails = [one.thumbnail for one in prints[: len(cases)]]
        left_out |= {cases[place].image_id for place in fingerprint.copies(thumbnails, known, progress)}
    cautions = []
    if left_out:
        cautions.append(
            f"{len(left_out)} of {len(ids)} images are left out, each the same photograph as one that the network was "
            f"trained on: {_few(sorted(left_out))}"
        )
    if len(held) < len(learnt) and not kept_prints:
        cautions.append(
            f"{len(learnt) - len(held)} of the {len(learnt)} training images are not in {folder.folder.name}: whether "
            "other copies of them are measured is not known"
        )
    kept = tuple(case for case in cases if case.image_id not in left_out)
    if not kept:
        raise DataError(f"{folder.folder}: {cautions[0]}. Nothing is left to measure; give other images")
    kept, copies = _once(kept, prints)
    return Unseen(kept, tuple(sorted(left_out)), (*cautions, *copies))


def trained_on(graph: Graph) -> frozenset[str] | None:
    """The ids of the images that a network was trained on: by the list in its folder, or by the run that it stands in.

    None where neither is there. Raises: GraphError for a list that is not the one that the model card names; RunError
    for a damaged run.json.
    """
    if graph.training_ids.is_file():
        listed = graph.training_ids.read_text(encoding="utf-8", errors="replace").splitlines()
        if data_list_sha256(listed) != graph.card.provenance.data_list_sha256:
            raise GraphError(
                f"{graph.training_ids}: is not the list whose hash model.json names. Take a fresh copy of the Graph "
                "folder, or export its run again"
            )
        return frozenset(listed)
    path = graph.folder.parent / "run.json"
    if not path.is_file():
        return None
    try:
        return frozenset(_Trained.model_validate_json(path.read_bytes()).train_ids)
    except ValidationError as error:
        raise RunError(f"{path}: {wrong_fields(error)}. Restore it, or move the Graph folder away from it") from error


class _Trained(BaseModel):
    """Of run.json, what must not be measured on; the rest of it is read where torch is."""

    model_config = ConfigDict(frozen=True, extra="ignore")
    train_ids: tuple[str, ...]


def _listed(folder: Cases, learnt: frozenset[str]) -> set[str]:
    """Whatever stands in a pair with a training image."""
    return {one for pair in known_pairs([folder.folder]) for one in pair if learnt.intersection(pair)}


def _once(cases: Sequence[Case], prints: Sequence[Print]) -> tuple[tuple[Case, ...], tuple[str, ...]]:
    """The cases without those that have the pixels of an earlier one, and what to say of that."""
    pixels = {one.image_id: one.pixel_sha256 for one in prints}
    first = {pixels[case.image_id]: case for case in reversed(cases)}
    kept = tuple(case for case in cases if first[pixels[case.image_id]] is case)
    copies = sorted({case.image_id for case in cases} - {case.image_id for case in kept})
    if not copies:
        return kept, ()
    words = f"{len(copies)} of {len(cases)} images have the pixels of another one and count no second time"
    return kept, (f"{words}: {_few(copies)}",)


def _prints(cases: Sequence[Case], held: Sequence[Case], progress: Progress) -> list[Print]:
    """Of what is judged, and of the training images that are at hand."""
    marked = [*((case, _JUDGED) for case in cases), *((case, _TRAINED) for case in held)]
    prints: list[Print] = []
    with ThreadPoolExecutor(device.usable_cores()) as pool:
        for one in pool.map(_print, marked):
            prints.append(one)
            progress("looking for copies", len(prints), len(marked))
    return prints


def _alike(prints: Sequence[Print], progress: Progress) -> set[str]:
    """Whatever is the same file, pixels or photograph as a training image that is at hand."""
    pairs = exact_duplicates(prints) + near_duplicates(prints, progress, split=_JUDGED)
    return {one for pair in pairs if pair.crosses_splits for one in (pair.first, pair.second)}


def _print(marked: tuple[Case, str]) -> Print:
    case, split = marked
    return Print.of(case.image_id, split, case.image, read_image(case))


def _few(ids: Sequence[str]) -> str:
    return ", ".join(ids[:_NAMED]) + (", …" if len(ids) > _NAMED else "")
