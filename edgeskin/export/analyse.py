"""Where a trained network looks, head by head: activation maps against the true lesions, overlays, embeddings."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias

import cv2
import numpy as np
import numpy.typing as npt
from torch import Tensor

from edgeskin import files
from edgeskin.benchmarks import embedding, evidence
from edgeskin.benchmarks.heatmap import Tile, sheet
from edgeskin.benchmarks.localisation import Localisation, LocalisationSummary, normalise, score, summarise
from edgeskin.contract.declaration import nearest
from edgeskin.contract.image import letterbox
from edgeskin.contract.model import Frozen, HeadSpec
from edgeskin.contract.preprocess import network_input
from edgeskin.data.cases import Case, Cases, data_list_sha256, read_image, read_mask
from edgeskin.data.labels import MISSING, Truth, truth
from edgeskin.data.sets import open_set
from edgeskin.errors import DataError, EdgeskinError, RunError
from edgeskin.export.evaluate import SELECT, Say, silent, with_outlines
from edgeskin.models.cam import Explanation, explain
from edgeskin.models.multitask import MultiTask
from edgeskin.train.checkpoint import RunRecord, read_run
from edgeskin.train.clinical import clinical_fields
from edgeskin.train.loader import Batch, Showing, decode, plain_batches
from edgeskin.train.networks import float_network

BATCH = 16
FOLD = "fold"
"""The split that a cross-validation's fold held out of its training."""
SHOWN = 4
"""Images at either end of a contact sheet: those found best, and worst."""

MapKind: TypeAlias = Literal["grad_cam_pp", "activation_map"]
WORDS: dict[MapKind, str] = {"grad_cam_pp": "Grad-CAM++", "activation_map": "class-activation map"}
Map: TypeAlias = npt.NDArray[np.float32]
Mask: TypeAlias = npt.NDArray[np.bool_]


class HeadAnalysis(Frozen):
    """One head. maps: each kind of map it has, scored. embedding: share of the features' variance that is drawn."""

    kind: Literal["mask", "softmax", "sigmoid"]
    maps: dict[MapKind, LocalisationSummary]
    embedding_variance: float | None


class Analysis(Frozen):
    """The contents of localisation.json. The network is the best float epoch: Grad-CAM++ needs gradients."""

    format: Literal[1] = 1
    recipe: str
    recipe_sha256: str
    network: Literal["float"] = "float"
    dataset: str
    split: str
    n: int
    data_list_sha256: str
    heads: dict[str, HeadAnalysis]
    cautions: tuple[str, ...]


@dataclass(eq=False)
class _Seen:
    """What one head showed, image by image: small maps, their scores, its features, and words for a caption."""

    maps: dict[MapKind, list[Map]] = field(default_factory=dict)
    scores: dict[MapKind, list[Localisation | None]] = field(default_factory=dict)
    features: list[npt.NDArray[np.float32]] = field(default_factory=list)
    answers: list[str] = field(default_factory=list)


def analyse(
    run: Path,
    data: Path,
    split: str,
    out: Path,
    *,
    heads: Sequence[str] = (),
    tsne: bool = False,
    say: Say = silent,
    progress: Callable[[str, int, int], None] = silent,
) -> Analysis:
    """Look at a run's float network on one split and write into `out`: localisation.json, and a contact sheet and an
    embedding picture a head.

    split: train, val, select, or fold. heads: by name, by default all. tsne: a second picture of the features.
    Raises: RunError where the run has no float epoch or no such head; DataError as `open_set`, or for an unknown
    split; EdgeskinError for the test split; MissingDependencyError where `tsne` lacks scikit-learn.
    """
    if evidence.touches_test(split):
        raise EdgeskinError("analysis shows single images; nobody looks at those of test. Give --split val or select")
    record = read_run(run)
    chosen = _heads(record, heads)
    folder = open_set(data, record.recipe.data.dataset)
    cases = with_outlines(chosen, _cases(record, folder, split))
    network = float_network(run, record)
    seen = _look(network, record, chosen, cases, progress)
    truths = _truths(chosen, cases)
    found: dict[str, HeadAnalysis] = {}
    for head in chosen:
        one = seen[head.name]
        files.write_bytes(out / f"{head.name}-maps.jpg", _sheet(head, one, cases, record))
        found[head.name] = HeadAnalysis(
            kind=head.kind,
            maps={kind: summarise(scores) for kind, scores in one.scores.items()},
            embedding_variance=_draw_embedding(out, head, one, truths.get(head.name), tsne=tsne),
        )
    analysis = Analysis(
        recipe=record.recipe.name,
        recipe_sha256=record.recipe_sha256,
        dataset=folder.layout.name,
        split=split,
        n=len(cases),
        data_list_sha256=data_list_sha256(case.image_id for case in cases),
        heads=found,
        cautions=folder.layout.cautions,
    )
    files.write_json(out / "localisation.json", analysis.model_dump(mode="json"))
    say(f"{out}: localisation.json, and for each head a contact sheet and an embedding")
    return analysis


def _heads(record: RunRecord, names: Sequence[str]) -> tuple[HeadSpec, ...]:
    known = {head.name: head for head in record.recipe.head_specs()}
    for name in names:
        if name not in known:
            raise RunError(f"{record.recipe.name}: has no head {name!r}{nearest(name, known)}")
    return tuple(known[name] for name in names) or tuple(known.values())


def _cases(record: RunRecord, folder: Cases, split: str) -> tuple[Case, ...]:
    kept = {SELECT: record.select_ids, FOLD: record.held_out_ids}
    if split not in kept:
        return folder.split(split)
    wanted = set(kept[split])
    if not wanted:
        raise DataError(f"{record.recipe.name}: kept no images as {split}. Give --split val")
    found = tuple(case for case in folder.cases if case.image_id in wanted)
    # Of a mixture of data sets, each folder holds its own part.
    if not found or (len(found) < len(wanted) and not record.recipe.data.also):
        raise DataError(
            f"{folder.folder}: holds {len(found)} of the {len(wanted)} images that the run kept as {split}. Give "
            "the data set it was trained on"
        )
    return found


def _look(
    network: MultiTask,
    record: RunRecord,
    heads: Sequence[HeadSpec],
    cases: Sequence[Case],
    progress: Callable[[str, int, int], None],
) -> dict[str, _Seen]:
    size = record.recipe.network.size
    seen = {head.name: _Seen() for head in heads}
    done = 0
    for batch, part in _batches(record, cases):
        masks = [None if case.mask is None else square_mask(read_mask(case), size) for case in part]
        for head in heads:
            _note(seen[head.name], head, explain(network, batch.inputs, head), masks, size)
        done += len(part)
        progress("images", done, len(cases))
    return seen


def _batches(record: RunRecord, cases: Sequence[Case]) -> Iterator[tuple[Batch, Sequence[Case]]]:
    """Batch by batch, so that a large split need not fit into memory."""
    recipe = record.recipe
    for start in range(0, len(cases), BATCH):
        part = cases[start : start + BATCH]
        fields = None if recipe.metadata is None else clinical_fields(part, recipe.metadata.spec(), 0.0, None)
        samples = decode(part, (), Showing(recipe.network.size, recipe.preprocessing), {}, fields)
        for batch in plain_batches(samples, BATCH):
            yield batch, part


def _note(seen: _Seen, head: HeadSpec, shown: Explanation, masks: Sequence[Mask | None], size: int) -> None:
    found: dict[MapKind, Tensor | None] = {"grad_cam_pp": shown.grad_cam_pp, "activation_map": shown.activation_map}
    for kind, cells in found.items():
        if cells is None:
            continue
        for one, mask in zip(cells.numpy(), masks, strict=True):
            seen.maps.setdefault(kind, []).append(one)
            judged = None if mask is None else score(enlarged(one, size), mask)
            seen.scores.setdefault(kind, []).append(judged)
    if shown.features is not None:
        seen.features += list(shown.features.numpy())
    seen.answers += _answers(head, shown)


def _answers(head: HeadSpec, shown: Explanation) -> list[str]:
    """The head's decision about every image, for a caption."""
    if shown.logits is None:
        return ["lesion pixels"] * len(shown.explained)
    if head.kind == "sigmoid":
        return [f"{head.name} {float(p):.2f}" for p in shown.logits[:, 0].sigmoid()]
    probabilities = shown.logits.softmax(1)
    return [
        f"{head.labels[label]} {float(row[label]):.2f}"
        for label, row in zip(shown.explained.tolist(), probabilities, strict=True)
    ]


def enlarged(cells: Map, size: int) -> Map:
    """A map at the network's input size, from 0 to 1. Shapes: [h, w] -> [size, size]."""
    return normalise(cv2.resize(cells, (size, size), interpolation=cv2.INTER_LINEAR))


def square_mask(mask: Mask, size: int) -> Mask:
    """A mask as the network sees its photo, letterboxed. Shapes: [H, W] -> [size, size]."""
    _, box = letterbox(np.broadcast_to(np.uint8(0), (*mask.shape, 3)), size)
    square = np.zeros((size, size), bool)
    content = cv2.resize(mask.astype(np.uint8), (box.width, box.height), interpolation=cv2.INTER_NEAREST)
    square[box.top : box.top + box.height, box.left : box.left + box.width] = content != 0
    return square


def _truths(heads: Sequence[HeadSpec], cases: Sequence[Case]) -> dict[str, Truth]:
    """The classes of those heads whose column the data has; without them the features are drawn all the same."""
    return {
        head.name: truth(cases, head, head.truth_column, head.values)
        for head in heads
        if head.kind != "mask" and any(head.truth_column in case.labels for case in cases)
    }


def _sheet(head: HeadSpec, seen: _Seen, cases: Sequence[Case], record: RunRecord) -> bytes:
    """The images, as the network saw them, whose lesion Grad-CAM++ found best, and worst; where no lesion is known,
    the first ones.
    """
    scores = seen.scores["grad_cam_pp"]
    ranked = sorted(
        (index for index, one in enumerate(scores) if one is not None), key=lambda index: -_iou(scores[index])
    )
    blocks: dict[str, Sequence[int]] = {
        "best by IoU": ranked[:SHOWN],
        "worst by IoU": ranked[max(SHOWN, len(ranked) - SHOWN) :],
    }
    if not ranked:
        blocks = {"the first images": range(min(len(cases), 2 * SHOWN))}
    return sheet(
        f"{head.name}: where it looks",
        [WORDS[kind] for kind in seen.maps],
        {heading: [_tile(seen, index, cases[index], record) for index in chosen] for heading, chosen in blocks.items()},
    )


def _tile(seen: _Seen, index: int, case: Case, record: RunRecord) -> Tile:
    size = record.recipe.network.size
    photo, _ = network_input(read_image(case), size, record.recipe.preprocessing)
    judged = {kind: of[index] for kind, of in seen.scores.items()}
    ious = [f"{WORDS[kind]} IoU {one.iou:.2f}" for kind, one in judged.items() if one is not None]
    return Tile(
        photo=np.ascontiguousarray(photo.transpose(1, 2, 0)),
        maps=tuple(enlarged(of[index], size) for of in seen.maps.values()),
        mask=np.zeros((size, size), bool) if case.mask is None else square_mask(read_mask(case), size),
        caption=f"{case.image_id}: {seen.answers[index]}\n{', '.join(ious) or 'no mask'}",
    )


def _iou(one: Localisation | None) -> float:
    assert one is not None, "only scored images are ranked"
    return one.iou


def _draw_embedding(out: Path, head: HeadSpec, seen: _Seen, known: Truth | None, *, tsne: bool) -> float | None:
    """Write the pictures of a head's features; the share of variance in the first one, None for a mask head."""
    if not seen.features:
        return None
    features = np.stack(seen.features)
    classes = np.full(len(features), MISSING, np.int64) if known is None else known
    labels = head.labels if head.kind == "softmax" else ("no", "yes")
    points, share = embedding.principal_components(features)
    title = f"{head.name}: principal components, {share:.0%} of the variance"
    files.write_bytes(out / f"{head.name}-embedding.png", embedding.scatter(points, classes, labels, title))
    if tsne:
        picture = embedding.scatter(embedding.tsne(features), classes, labels, f"{head.name}: t-SNE")
        files.write_bytes(out / f"{head.name}-tsne.png", picture)
    return share
