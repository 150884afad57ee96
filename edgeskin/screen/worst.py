"""The worst cases of a report with truth and answer drawn on them, for whoever has the photographs.

The bundle itself answers again, so what is drawn is what it answers on this machine.
"""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from edgeskin.benchmarks.report import Picture, Report
from edgeskin.contract.bundle import Bundle
from edgeskin.contract.findings import Failure, Findings
from edgeskin.contract.model import HeadSpec, ModelCard
from edgeskin.data.cases import Case, read_image, read_mask
from edgeskin.data.labels import MISSING, truth
from edgeskin.data.metadata import values_of
from edgeskin.data.sets import open_like
from edgeskin.errors import DataError, EdgeskinError
from edgeskin.screen import overlay
from edgeskin.screen.overlay import UInt8
from edgeskin.screen.predictor import Predictor

LONGEST_SIDE = 480
"""Pixels of a picture: a dozen a head make a page of some megabytes."""
TRUTH_COLOUR = (255, 212, 0)
"""Yellow; the answer is cyan as in every overlay. The page's legend shows both."""


def pictures(bundle: Path, report: Report, data: Path) -> tuple[Picture, ...]:
    """A picture of every worst case that the report names, each once.

    Raises: EdgeskinError where the report names none; DataError where the data folder lacks one of them or a file
    cannot be read; BundleError, TargetError where the bundle cannot be run here.
    """
    accuracy = report.measurements.accuracy
    named = {} if accuracy is None or accuracy.worst is None else accuracy.worst
    ids = dict.fromkeys(case.image_id for cases in named.values() for case in cases)
    if not ids:
        raise EdgeskinError(
            f"{bundle}: its report names no worst cases. They are noted where accuracy is measured: "
            "edgeskin export --data DIR"
        )
    card = Bundle.open(bundle).card
    known = {case.image_id: case for case in open_like(data, card.provenance.data).cases}
    absent = [image_id for image_id in ids if image_id not in known]
    if absent:
        raise DataError(
            f"{data}: has no image {', '.join(absent[:5])}{f' and {len(absent) - 5} more' if len(absent) > 5 else ''}. "
            f"The report is about {accuracy.dataset if accuracy is not None else 'other images'}; give that folder"
        )
    return _answered(bundle, card, [known[image_id] for image_id in ids])


def _answered(bundle: Path, card: ModelCard, cases: Sequence[Case]) -> tuple[Picture, ...]:
    predictor = Predictor.open(bundle)
    truths = _truths(card, cases)
    told = {} if card.metadata is None else {case.image: values_of(case, card.metadata) for case in cases}
    with tempfile.TemporaryDirectory(prefix="edgeskin-") as temporary:
        masks = None if card.mask is None else Path(temporary)
        answers = predictor.predict([case.image for case in cases], metadata=told, masks=masks)
        return tuple(
            _picture(case, _found(answer), known, None if masks is None else masks / f"{case.image.stem}.png")
            for case, answer, known in zip(cases, answers, truths, strict=True)
        )


def _found(answer: Findings | Failure) -> Findings:
    if isinstance(answer, Failure):
        raise DataError(answer.error.message)
    return answer


def _truths(card: ModelCard, cases: Sequence[Case]) -> list[dict[str, str]]:
    """The true label of every case by head, where it is known."""
    told: list[dict[str, str]] = [{} for _ in cases]
    for head in card.heads:
        if head.kind == "mask" or not all(head.truth_column in case.labels for case in cases):
            continue
        for row, index in zip(told, truth(cases, head, head.truth_column, head.values), strict=True):
            if index != MISSING:
                row[head.name] = _label(head, int(index))
    return told


def _label(head: HeadSpec, index: int) -> str:
    return head.labels[index] if head.kind == "softmax" else ("no", "yes")[index]


def _picture(case: Case, found: Findings, known: Mapping[str, str], answered: Path | None) -> Picture:
    photo: UInt8 = read_image(case)
    drawn = overlay.backdrop(photo, LONGEST_SIDE)
    if case.mask is not None:
        drawn = overlay.draw(drawn, read_mask(case), TRUTH_COLOUR, rim=1)
    if answered is not None:
        with Image.open(answered) as mask:
            drawn = overlay.draw(drawn, np.asarray(mask) > 0, rim=1)
    height, width = drawn.shape[:2]
    words = tuple(_words(head, answer, known.get(head)) for head, answer in found.heads.items())
    return Picture(case.image_id, words, width, height, overlay.jpeg(drawn))


def _words(head: str, answer: Mapping[str, float], known: str | None) -> str:
    label = max(answer, key=lambda one: answer[one])
    likely = f"{answer[label]:.2f}" if len(answer) == 1 else f"{label} {answer[label]:.2f}"
    words = f"{head} {likely}" + ("" if known is None else f", truth {known}")
    return words.replace("_", " ")
