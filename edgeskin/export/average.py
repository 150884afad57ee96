"""The folds of one recipe as one network: their probabilities averaged, and measured like those of a single one.

Such a figure belongs to no single Graph, so it stands in a file of its own; what each network reached alone is appended
to its evidence, which keeps the test split's one look too. Source: papers/multitask_dcnn_isic2017.txt, 5-fold
cross-validation with averaging.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import ValidationError

from edgeskin import files
from edgeskin.benchmarks import device, evidence
from edgeskin.benchmarks.accuracy import Network
from edgeskin.benchmarks.evidence import EvidenceEntry
from edgeskin.benchmarks.measurements import AccuracyReport, MetadataGiven
from edgeskin.contract.declaration import wrong_fields
from edgeskin.contract.model import Frozen, ModelCard
from edgeskin.data.cases import Case, data_list_sha256
from edgeskin.data.duplicates import Progress
from edgeskin.data.sets import open_like
from edgeskin.errors import DataError, GraphError, RunError
from edgeskin.export.evaluate import Say, canonical, cases_of, demand_room, given, on_cases, opened, silent
from edgeskin.export.unseen import Unseen, trained_on
from edgeskin.export.unseen import unseen as without_copies
from edgeskin.graph.folder import Graph
from edgeskin.targets.base import Float32, UInt8

UNSEEN = frozenset({"val", "test"})
"""The splits on which folds may be averaged: no fold trains on them, or is chosen by them."""


class Averaged(Frozen):
    """The contents of the file: accuracy of the mean answer of several networks.

    graphs: `Graph.sha256` of each. thresholds: by head, the mean of theirs. tool_versions, date: as in evidence.json.
    """

    format: Literal[1] = 1
    recipe: str
    graphs: tuple[str, ...]
    thresholds: dict[str, float]
    accuracy: AccuracyReport
    tool_versions: dict[str, str]
    date: str

    @staticmethod
    def read(path: Path) -> "Averaged | None":
        """An average that was measured, None where the file does not exist. Raises: RunError where it holds none."""
        try:
            return Averaged.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            return None
        except ValidationError as error:
            raise RunError(f"{path}: {wrong_fields(error)}. Remove it; the average is then measured again") from error


@dataclass(frozen=True)
class Mean:
    """Several networks as one: the mean of their probabilities, of every label and of every mask pixel.

    A second pass, where there is one, looks at the region that the mean mask finds.
    """

    networks: tuple[Network, ...]

    def run(self, image: UInt8, metadata: Float32 | None = None) -> Mapping[str, Float32]:
        """One pass of each, as `Session.run`."""
        answers = [network.run(image, metadata) for network in self.networks]
        return {
            name: np.stack([answer[name] for answer in answers]).mean(axis=0, dtype=np.float64).astype(np.float32)
            for name in answers[0]
        }


def unseen(split: str) -> bool:
    """Whether folds may be averaged on a split, or on several joined by `+`."""
    return set(split.split("+")) <= UNSEEN


def evaluate(
    graphs: Sequence[Graph],
    data: Path,
    split: str,
    out: Path,
    *,
    metadata: MetadataGiven | None = None,
    say: Say = silent,
    progress: Progress = silent,
) -> Averaged:
    """Measure the average of several networks, float and int8, and write it to `out`; a network that has no evidence
    on these images yet is measured alone too, and its evidence says so. Other copies of images that one of them was
    trained on are left out of the average.

    split, metadata: as `export.evaluate.evaluate`; val, test or both.
    Raises: GraphError where the networks do not answer the same questions alike, or the folder of one cannot take
    evidence or was changed; DataError for a split that folds train on; EdgeskinError where one of them met the test
    split before; all before anything is measured.
    """
    first = graphs[0]
    _demand_alike(graphs)
    split, metadata = canonical(split), given(first.card, metadata)
    if not unseen(split):
        raise DataError(f"{split}: folds train on each other's images there. Average them on val or test")
    folder = open_like(data, first.card.provenance.data)
    dataset = folder.layout.name
    for graph in graphs:
        evidence.refuse_second_test(graph.evidence, graph.sha256, dataset, split, metadata)
        demand_room(graph)
        graph.demand_unchanged()
    cases = cases_of(first, folder, split)
    _demand_unseen(graphs, cases, split)
    fresh = [without_copies(graph, cases, folder, progress) for graph in graphs]
    by_all = Unseen.by_all(fresh)
    alone: list[tuple[Graph, AccuracyReport]] = []
    card = _card(graphs)
    with ExitStack() as stack:
        pairs = [stack.enter_context(opened(graph)) for graph in graphs]

        def measured(card: ModelCard, fp32: Network, int8: Network, shown: Unseen) -> AccuracyReport:
            layout = folder.layout
            return shown.noted(
                on_cases(
                    card, fp32, int8, shown.cases, layout=layout, split=split, metadata=metadata, progress=progress
                )
            )

        for graph, own, (fp32, int8) in zip(graphs, fresh, pairs, strict=True):
            known = evidence.find(graph.evidence, graph.sha256, split, dataset, metadata=metadata)
            if known is None or known.data_list_sha256 != data_list_sha256(case.image_id for case in own.cases):
                say(f"{graph.folder}: {split}, {len(own.cases)} images, float and int8")
                alone.append((graph, measured(graph.card, fp32, int8, own)))
        say(f"average of {len(graphs)} networks: {split}, {len(by_all.cases)} images, float and int8")
        in_float, in_int8 = (Mean(side) for side in zip(*pairs, strict=True))
        report = measured(card, in_float, in_int8, by_all)
    words = f"the average of {len(graphs)} networks, which no single artifact computes"
    found = Averaged(
        recipe=card.provenance.recipe,
        graphs=tuple(graph.sha256 for graph in graphs),
        thresholds={head.name: head.threshold for head in card.heads if head.threshold is not None},
        accuracy=report.model_copy(update={"cautions": (*report.cautions, words)}),
        tool_versions=device.engine_versions(),
        date=datetime.now(timezone.utc).isoformat(timespec="seconds"),
    )
    files.write_json(out, found.model_dump(mode="json"))
    for graph, one in alone:
        evidence.append(graph.evidence, EvidenceEntry.of(one, graph.sha256, device.engine_versions()))
    return found


def _card(graphs: Sequence[Graph]) -> ModelCard:
    """The card of the average: the first one's, and of each head's thresholds the mean.

    Each network's threshold was chosen on images of its own; none is chosen where the average is measured.
    """
    card = graphs[0].card
    heads = []
    for head in card.heads:
        thresholds = [graph.card.head(head.name).threshold for graph in graphs]
        known = [threshold for threshold in thresholds if threshold is not None]
        heads.append(head.model_copy(update={"threshold": sum(known) / len(known)}) if known else head)
    return card.model_copy(update={"heads": tuple(heads)})


def _demand_alike(graphs: Sequence[Graph]) -> None:
    """Raises: GraphError where one is given twice, or is shown or asked something else than the first."""
    first = graphs[0]
    seen: dict[str, Path] = {}
    for graph in graphs:
        if graph.sha256 in seen:
            raise GraphError(f"{graph.folder}: is the same network as {seen[graph.sha256]}. Give each one once")
        seen[graph.sha256] = graph.folder
        different = [
            what
            for (what, own), (_, other) in zip(_questions(graph.card), _questions(first.card), strict=True)
            if own != other
        ]
        if different:
            raise GraphError(
                f"{graph.folder}: differs from {first.folder} in {', '.join(different)}. Only networks of one recipe, "
                "as the folds of a cross-validation are, have answers to average"
            )


def _questions(card: ModelCard) -> Iterator[tuple[str, object]]:
    yield "its recipe", card.provenance.recipe
    yield "its data", card.provenance.data
    yield "its size", card.size
    yield "its heads", tuple(head.model_copy(update={"threshold": None}) for head in card.heads)
    yield "its metadata", card.metadata
    yield "its preprocessing", card.preprocessing
    yield "its second pass", card.second_pass
    yield "its mask clean-up", card.cleanup


def _demand_unseen(graphs: Sequence[Graph], cases: Sequence[Case], split: str) -> None:
    """Raises: DataError where a network was trained, or its epoch chosen, on an image that it is to be measured on.

    Of a Graph folder that keeps no list of its training images its split alone speaks.
    """
    ids = {case.image_id for case in cases}
    for graph in graphs:
        met = ids & {*graph.card.provenance.select_ids, *(trained_on(graph) or ())}
        if met:
            raise DataError(
                f"{graph.folder}: was trained on {len(met)} of the {len(ids)} images of {split} "
                f"({', '.join(sorted(met)[:3])}{', …' if len(met) > 3 else ''}); its figures there mean nothing"
            )
