"""Accuracy on labelled images: run a network over the cases, then compare float and int8 on the same images.

A head's truth stands in the column that its spec names: 0 or 1 for a sigmoid head, one of its labels for a softmax
head, or words that the spec translates. A case whose cell is empty does not count for that head, one without a mask not
for the mask metrics.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Protocol, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt

from edgeskin.benchmarks import curves, metrics
from edgeskin.benchmarks.answers import Answers, Predictions
from edgeskin.benchmarks.bootstrap import RESAMPLES, SEED, Statistic, compare, resample_counts
from edgeskin.benchmarks.measurements import AccuracyReport, Confusion, MetadataGiven, MetricFigure
from edgeskin.benchmarks.metrics import Counts, Floats, PixelCounts
from edgeskin.benchmarks.subgroups import subgroup_figures
from edgeskin.contract.image import Letterbox
from edgeskin.contract.mask import clean, lesion_mask
from edgeskin.contract.model import HeadSpec, ModelCard
from edgeskin.contract.preprocess import network_input
from edgeskin.contract.second_pass import look
from edgeskin.data.cases import Case, data_list_sha256, read_image, read_mask
from edgeskin.data.datasets import DatasetLayout
from edgeskin.data.metadata import cautions as metadata_cautions
from edgeskin.data.metadata import encode_cases
from edgeskin.data.subgroups import divisions
from edgeskin.errors import DataError, TargetError
from edgeskin.targets.base import Float32, UInt8

In = TypeVar("In")
Out = TypeVar("Out")
Mask: TypeAlias = npt.NDArray[np.bool_]
Figures: TypeAlias = dict[str, MetricFigure]

_MASK_METRICS: dict[str, Callable[[PixelCounts], Floats]] = {
    "mask_jaccard": metrics.jaccard,
    "mask_jaccard_thresholded": metrics.thresholded_jaccard,
    "mask_dice": metrics.dice,
    "mask_mcc": metrics.mcc,
    "mask_pixel_sensitivity": metrics.pixel_sensitivity,
    "mask_pixel_specificity": metrics.pixel_specificity,
    "mask_pixel_accuracy": metrics.pixel_accuracy,
}
_CONFUSION_METRICS: dict[str, Callable[[Floats], Floats]] = {
    "balanced_accuracy": metrics.balanced_accuracy,
    "accuracy": metrics.accuracy,
    "weighted_f1": metrics.weighted_f1,
    "macro_f1": metrics.macro_f1,
    "kappa": metrics.kappa,
}


class Network(Protocol):
    """What answers: a `Session`, or several as one."""

    def run(self, image: UInt8, metadata: Float32 | None = None) -> Mapping[str, Float32]:
        """One pass, as `Session.run`."""
        ...


@dataclass(frozen=True, eq=False)
class _Prepared:
    case: Case
    image: UInt8
    metadata: Float32 | None
    box: Letterbox
    truth: Mask | None


@dataclass(frozen=True, eq=False)
class _Scored:
    probabilities: Mapping[str, Float32]
    cleaned: PixelCounts | None
    raw: PixelCounts | None


def predict(
    network: Network,
    card: ModelCard,
    cases: Sequence[Case],
    workers: int = 1,
    on_case: Callable[[], None] = lambda: None,
    metadata: MetadataGiven | None = None,
) -> Predictions:
    """Run the network over the cases, one image at a time as on the device; threads read photos and clean masks.

    metadata: what a network is given that takes it. on_case: called after each case, for a progress bar.
    Raises: DataError for a cell that no metadata field knows, before any image is read, and for an unreadable image or
    mask; TargetError where the network answers with no number.
    """
    scored: list[_Scored] = []
    rows = zip(cases, _metadata(card, cases, metadata), strict=True)
    with ThreadPoolExecutor(workers) as pool:
        prepared = _ahead(pool, partial(_prepare, card), rows, depth=4 * workers)
        answered = ((one, _run(network, card, one)) for one in prepared)
        for one in _ahead(pool, partial(_score, card), answered, depth=4 * workers):
            scored.append(one)
            on_case()
    return Predictions(
        image_ids=tuple(case.image_id for case in cases),
        probabilities={
            head.name: np.array([one.probabilities[head.name] for one in scored], np.float32).reshape(
                -1, len(head.labels)
            )
            for head in card.heads
            if head.kind != "mask"
        },
        masked=np.array([one.cleaned is not None for one in scored], bool),
        cleaned=PixelCounts.join([one.cleaned for one in scored if one.cleaned is not None]),
        raw=PixelCounts.join([one.raw for one in scored if one.raw is not None]),
    )


def measure(
    in_float: Predictions,
    in_int8: Predictions,
    cases: Sequence[Case],
    card: ModelCard,
    *,
    layout: DatasetLayout,
    split: str,
    metadata: MetadataGiven | None = None,
    resamples: int = RESAMPLES,
    seed: int = SEED,
) -> AccuracyReport:
    """Every metric of both networks with its interval, and the drop between them with its bound.

    metadata: what both were given beside the images.
    All metrics share the same resamples; cases of one group (patient, lesion) are drawn together.
    Raises: DataError where there are no cases, they have neither a mask nor a label for any head, or a label that a
    head does not know.
    """
    if not cases:
        raise DataError(f"{layout.name}, {split}: no images: nothing to measure")
    ids = tuple(case.image_id for case in cases)
    assert in_float.image_ids == in_int8.image_ids == ids, "float, int8 and truth must be about the same images"
    groups = [case.group or case.image_id for case in cases] if any(case.group for case in cases) else None
    counts = resample_counts(len(cases), resamples, seed, groups)
    figures: Figures = {}
    confusions: dict[str, Confusion] = {}
    answers: list[Answers] = []
    cautions = list(layout.cautions)
    if metadata == "real" and card.metadata is not None:
        cautions += metadata_cautions(cases, card.metadata)
    for head in card.heads:
        if head.kind == "mask":
            figures |= _mask_figures(in_float, in_int8, counts)
        elif not any(head.truth_column in case.labels for case in cases):
            cautions.append(f"{cases[0].table} has no column {head.truth_column}: head {head.name} was not measured")
        else:
            answers.append(own := Answers.of(head, cases, in_float, in_int8, counts))
            if head.kind == "sigmoid":
                figures |= _sigmoid_figures(own, layout, cases)
                continue
            if head is _diagnosis(card, layout) and in_int8.masked.any():
                figures["mean_performance"] = _mean_performance(own, in_float, in_int8, counts)
            figures |= _softmax_figures(own)
            confusions[head.name] = own.confusion()
    if not figures:
        raise DataError(
            f"{layout.name}, {split}: no masks, and no column that any head's truth stands in: nothing to measure"
        )
    divided, problems = divisions(cases)
    return AccuracyReport(
        dataset=layout.name,
        split=split,
        metadata=metadata,
        n=len(cases),
        data_list_sha256=data_list_sha256(ids),
        metrics=figures,
        confusion=confusions,
        cautions=(*cautions, *problems),
        subgroups=subgroup_figures(divided, answers, in_float, in_int8, counts),
        curves=curves.curves(answers, in_float, in_int8),
        worst=curves.worst(answers, card.mask if in_int8.masked.any() else None, in_int8),
        weakest={metric: cases for own in answers for metric, cases in own.weakest.items()},
    )


def _mask_figures(in_float: Predictions, in_int8: Predictions, counts: Counts) -> Figures:
    if not in_int8.masked.any():
        return {}
    counts = counts[:, in_int8.masked]

    def figure(metric: Callable[[PixelCounts], Floats], a: PixelCounts, b: PixelCounts) -> MetricFigure:
        return compare(partial(metrics.mean, metric(a)), partial(metrics.mean, metric(b)), counts)

    figures = {name: figure(metric, in_float.cleaned, in_int8.cleaned) for name, metric in _MASK_METRICS.items()}
    return figures | {"mask_jaccard_raw": figure(metrics.jaccard, in_float.raw, in_int8.raw)}


def _sigmoid_figures(answers: Answers, layout: DatasetLayout, cases: Sequence[Case]) -> Figures:
    name, positive = answers.head.name, answers.positive
    figures = {
        f"{name}_auroc": answers.auroc(),
        f"{name}_sensitivity": answers.sensitivity(),
        f"{name}_specificity": answers.specificity(),
        f"{name}_sensitivity_at_specificity_80": answers.figure(
            lambda p: partial(metrics.sensitivity_at_specificity, positive, p[:, 0], 0.8)
        ),
        f"{name}_ece": answers.calibration_error(),
    }
    figures |= {f"{name}_{kind}": answers.of_confusion(metric) for kind, metric in _CONFUSION_METRICS.items()}
    for subset in layout.subsets:
        inside = np.array([cases[row].value(subset.column) == subset.value for row in answers.rows], bool)
        if inside.any():
            figures[f"{name}_auroc_{subset.name}"] = answers.only(inside).auroc()
    return figures


def _softmax_figures(answers: Answers) -> Figures:
    name = answers.head.name
    figures = {f"{name}_{kind}": answers.of_confusion(metric) for kind, metric in _CONFUSION_METRICS.items()}
    return figures | {f"{name}_auroc": answers.auroc(), f"{name}_ece": answers.calibration_error()}


def _diagnosis(card: ModelCard, layout: DatasetLayout) -> HeadSpec | None:
    """The head that `mean_performance` is about: of what the data set is divided by, else the first softmax head."""
    heads = [head for head in card.heads if head.kind == "softmax"]
    return next((head for head in heads if head.truth_column == layout.stratify), heads[0] if heads else None)


def _mean_performance(diagnosis: Answers, in_float: Predictions, in_int8: Predictions, counts: Counts) -> MetricFigure:
    def statistic(predictions: Predictions, probabilities: Float32) -> Statistic:
        overlap, matrix = metrics.jaccard(predictions.cleaned), diagnosis.matrix(probabilities)
        return lambda counts: metrics.mean_performance(
            metrics.balanced_accuracy(matrix(counts[..., diagnosis.rows])),
            metrics.mean(overlap, counts[..., predictions.masked]),
        )

    return compare(statistic(in_float, diagnosis.in_float), statistic(in_int8, diagnosis.in_int8), counts)


def _metadata(
    card: ModelCard, cases: Sequence[Case], given: MetadataGiven | None
) -> Sequence[Float32] | Sequence[None]:
    """A row [1, M] for each case, None where the network takes the image alone."""
    assert (given is None) == (card.metadata is None), "metadata is given to a network that takes it, and to no other"
    if card.metadata is None:
        return [None] * len(cases)
    if given == "unknown":
        return [card.metadata.unknown()[np.newaxis]] * len(cases)
    return list(encode_cases(cases, card.metadata)[:, np.newaxis])


def _prepare(card: ModelCard, row: tuple[Case, Float32 | None]) -> _Prepared:
    case, metadata = row
    photo = read_image(case)
    image, box = network_input(photo, card.size, card.preprocessing)
    wanted = card.mask is not None and case.mask is not None
    return _Prepared(case, image, metadata, box, read_mask(case) if wanted else None)


def _run(network: Network, card: ModelCard, one: _Prepared) -> Mapping[str, Float32]:
    outputs = look(network.run, card, one.box, one.image[np.newaxis], one.metadata)
    for head in card.heads:
        if not np.isfinite(outputs[head.name]).all():
            raise TargetError(
                f"{one.case.image}: the network's output {head.name} is not a number. Compare the hops of its report, "
                "or export it again"
            )
    return outputs


def _score(card: ModelCard, answered: tuple[_Prepared, Mapping[str, Float32]]) -> _Scored:
    one, outputs = answered
    probabilities = {head.name: outputs[head.name][0] for head in card.heads if head.kind != "mask"}
    mask = card.mask
    if mask is None or one.truth is None:
        return _Scored(probabilities, None, None)
    assert mask.threshold is not None, "the model card demands a threshold of a mask head"
    raw = lesion_mask(outputs[mask.name][0, 0], one.box, mask.threshold, None)
    return _Scored(probabilities, PixelCounts.of(one.truth, clean(raw, card.cleanup)), PixelCounts.of(one.truth, raw))


def _ahead(pool: Executor, function: Callable[[In], Out], items: Iterable[In], depth: int) -> Iterator[Out]:
    """Map over a pool, in order, never more than `depth` items ahead, so that memory stays small."""
    waiting: deque[Future[Out]] = deque()
    for item in items:
        waiting.append(pool.submit(function, item))
        if len(waiting) > depth:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()
