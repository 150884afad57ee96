"""Accuracy of a Graph on labelled images: float and int8 on the same ones, kept as evidence."""

import itertools
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from edgeskin import shipped, targets
from edgeskin.benchmarks import accuracy, device, evidence
from edgeskin.benchmarks.accuracy import Network
from edgeskin.benchmarks.answers import Predictions
from edgeskin.benchmarks.evidence import EvidenceEntry
from edgeskin.benchmarks.measurements import AccuracyReport, Form, MetadataGiven
from edgeskin.contract import bundle
from edgeskin.contract.model import HeadSpec, ModelCard
from edgeskin.data.cases import Case, Cases
from edgeskin.data.datasets import GENERIC, DatasetLayout
from edgeskin.data.duplicates import Progress
from edgeskin.data.sets import SPLIT_SEED, open_like
from edgeskin.data.symmetry import MASK_SYMMETRY, hold_out_voted, with_mask_symmetry
from edgeskin.errors import DataError, EdgeskinError, GraphError
from edgeskin.export.form import network_of, session_of
from edgeskin.export.unseen import unseen
from edgeskin.graph.folder import Graph
from edgeskin.targets.base import Runnable, Session, Target

Say = Callable[[str], None]
"""Called with one line about what is being done."""

SELECT = "select"
"""The split that training carved from train, by the model card's list."""
VOTED = "voted"
"""The fifth of the images with a vote on symmetry that no network with a symmetry head is trained on."""


def silent(_: object, *__: object) -> None:
    """A `Say` or `Progress` for nobody."""


def evaluate(
    graph: Graph,
    data: Path,
    split: str,
    *,
    metadata: MetadataGiven | None = None,
    form: Form = "int8",
    say: Say = silent,
    progress: Progress = silent,
) -> AccuracyReport:
    """Measure float and int8 on one split, or on several joined by `+`, and append it to the Graph's evidence.

    metadata: see `given`. form: another one of the quantized network instead of int8 itself.
    Raises: EdgeskinError where the test split was measured before with this Graph, or as `given`; GraphError where its
    folder cannot take evidence or was changed; DataError as `cases_of`; all before anything is measured.
    """
    folder = open_like(data, graph.card.provenance.data)
    split, metadata = canonical(split), given(graph.card, metadata)
    evidence.refuse_second_test(graph.evidence, graph.sha256, folder.layout.name, split, metadata)
    demand_room(graph)
    graph.demand_unchanged()
    cases = cases_of(graph, folder, split)
    with opened(graph, form) as (fp32, int8):
        beside = "" if metadata is None else f", metadata {metadata}"
        view = "" if folder.layout.name in (data.name, GENERIC.name) else f" as {folder.layout.name}"
        say(f"{data.name}{view}, {split}: {len(cases)} images{beside}, float and {form}")
        report = measure(graph, int8, fp32, folder, split, metadata=metadata, form=form, progress=progress)
    evidence.append(graph.evidence, EvidenceEntry.of(report, graph.sha256, device.engine_versions()))
    return report


def measure(
    graph: Graph,
    artifact: Network,
    fp32: Network,
    folder: Cases,
    split: str,
    *,
    metadata: MetadataGiven | None = None,
    form: Form = "int8",
    progress: Progress = silent,
) -> AccuracyReport:
    """Accuracy of an artifact and of the float network on the same images.

    metadata: see `given`. form: of the artifact.
    Raises: EdgeskinError as `given`; DataError as `cases_of` and `unseen`, for a cell that no metadata field knows, or
    where an image is unreadable; TargetError where a network answers no number.
    """
    fresh = unseen(graph, cases_of(graph, folder, split), folder, progress)
    report = on_cases(
        graph.card,
        fp32,
        artifact,
        fresh.cases,
        layout=folder.layout,
        split=canonical(split),
        metadata=metadata,
        progress=progress,
    )
    return fresh.noted(report).model_copy(update={"form": None if form == "int8" else form})


def on_cases(
    card: ModelCard,
    fp32: Network,
    artifact: Network,
    cases: Sequence[Case],
    *,
    layout: DatasetLayout,
    split: str,
    metadata: MetadataGiven | None = None,
    progress: Progress = silent,
) -> AccuracyReport:
    """Accuracy of two networks that one card describes, on the same cases; `split` is what the report calls them.

    metadata: see `given`. Raises: as `measure`, but for `cases_of`.
    """
    shown, told = with_outlines(card.heads, cases), given(card, metadata)

    def predict(name: str, network: Network) -> Predictions:
        done = itertools.count(1)
        return accuracy.predict(
            network,
            card,
            shown,
            workers=device.usable_cores(),
            on_case=lambda: progress(name, next(done), len(shown)),
            metadata=told,
        )

    in_float, in_artifact = predict("float network", fp32), predict("artifact", artifact)
    return accuracy.measure(in_float, in_artifact, shown, card, layout=layout, split=split, metadata=told)


def with_outlines(heads: Sequence[HeadSpec], cases: Sequence[Case]) -> tuple[Case, ...]:
    """The cases, with the truth of a head that learnt from outlines, which no table holds.

    Raises: DataError where a mask is unreadable.
    """
    learnt = any(head.kind != "mask" and head.truth_column == MASK_SYMMETRY for head in heads)
    return with_mask_symmetry(cases) if learnt else tuple(cases)


def given(card: ModelCard, asked: MetadataGiven | None = None) -> MetadataGiven | None:
    """What a network gets beside the image: real metadata unless asked otherwise, None where it takes none.

    Raises: EdgeskinError where something is asked of a network that takes none.
    """
    if card.metadata is None and asked is not None:
        raise EdgeskinError(f"{card.name} takes no metadata. Leave --metadata out")
    return "real" if card.metadata is not None and asked is None else asked


def canonical(split: str) -> str:
    """Splits joined by `+` in one order, so that evidence is found again. Raises: DataError where a name is empty."""
    names = sorted({name.strip() for name in split.split("+")})
    if "" in names:
        raise DataError(f"{split!r} is no split; write one name, or several joined by +, such as {SELECT}+val")
    return "+".join(names)


def cases_of(graph: Graph, folder: Cases, split: str) -> tuple[Case, ...]:
    """The cases of a split, or of several joined by `+`, as `chosen`; `select` is what the Graph's card says."""
    return chosen(folder, split, graph.card.provenance.select_ids, graph.card.name)


def chosen(folder: Cases, split: str, select_ids: Sequence[str], whose: str) -> tuple[Case, ...]:
    """The cases of a split, or of several joined by `+`.

    select_ids: what training held out, which is `select`. whose: the network, for the message.
    Raises: DataError for an unknown split, for splits that share images, or where the folder does not hold the
    network's `select` images.
    """
    cases = [case for name in canonical(split).split("+") for case in _of_one(folder, name, select_ids, whose)]
    if len({case.image_id for case in cases}) < len(cases):
        raise DataError(f"{split}: these splits share images, {SELECT} being a part of train. Give one of them")
    return tuple(cases)


def _of_one(folder: Cases, name: str, select_ids: Sequence[str], whose: str) -> tuple[Case, ...]:
    if name == VOTED:
        return hold_out_voted(folder.split("train"), seed=SPLIT_SEED)[1]
    if name != SELECT:
        return folder.split(name)
    held_out = set(select_ids)
    found = tuple(case for case in folder.cases if case.image_id in held_out)
    if not held_out or len(found) != len(held_out):
        raise DataError(
            f"{folder.folder}: holds {len(found)} of the {len(held_out)} images that {whose} kept as {SELECT}. "
            "Give the data set it was trained on; where those were several, no one folder holds its "
            f"{SELECT}: give another --split"
        )
    return found


@contextmanager
def opened(graph: Graph, form: Form = "int8") -> Iterator[tuple[Runnable, Runnable]]:
    """The float network of a Graph and a form of the quantized one, on the engine that accuracy is measured with.

    Another form than int8 runs there every operator as written.
    """
    target = targets.get("onnx")
    with tempfile.TemporaryDirectory(prefix="edgeskin-") as folder, baseline(graph, target, 1) as fp32:
        if form == "int8":
            yield fp32, target.open(target.build(graph, "int8", Path(folder)))
        else:
            yield fp32, session_of(network_of(graph, form), half=True)


@contextmanager
def baseline(graph: Graph, target: Target, threads: int) -> Iterator[Session]:
    """The float network on the same engine, as probabilities: what speed and accuracy are compared with."""
    target = targets.get(target.name)
    with tempfile.TemporaryDirectory(prefix="edgeskin-") as folder:
        yield target.open(target.build(graph, "fp32", Path(folder)), threads=threads)


def demand_room(graph: Graph) -> None:
    """Raises: GraphError where evidence could not be kept, before hours are spent on it."""
    place = graph.folder.resolve()
    if shipped.installed(place):
        trouble = "belongs to the installed edgeskin, and evidence written there is lost with the next update"
    elif bundle.lists(place.parent, place.name):
        trouble = f"belongs to the bundle {place.parent}, whose files stay as they were exported"
    elif not os.access(graph.folder, os.W_OK):
        trouble = "cannot be written to, and evidence is kept there"
    else:
        return
    raise GraphError(f"{graph.folder}: {trouble}. Copy the folder to a place of your own and evaluate the copy")
