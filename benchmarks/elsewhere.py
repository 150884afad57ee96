"""The melanoma head of dermoscopy networks on photos that are not as those that they were trained on.

    EDGESKIN_DATA=… python benchmarks/elsewhere.py [GRAPH …] [--json FILE]

GRAPH is a Graph folder or the name of a shipped release; without one it is `clinic-2`. `int8.onnx` sees `select` and
validation of ISIC 2017 as they are and made square in other ways, zoomed and recompressed; and of HAM10000, another
hospital's photos taken with other dermatoscopes, one image of every lesion of train and validation, melanoma against
all others and against nevi alone. Nobody's test split is touched, and what looks like a training image is left out.
AUROC, sensitivity and specificity at the stored threshold, in brackets 95 % bootstrap intervals.
"""

import argparse
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from edgeskin import files
from edgeskin.benchmarks import accuracy, metrics
from edgeskin.benchmarks.bootstrap import interval95, resample_counts
from edgeskin.benchmarks.device import usable_cores
from edgeskin.benchmarks.metrics import Bools, Scores
from edgeskin.contract.model import HeadSpec
from edgeskin.data.cases import Case, data_folder, read_image
from edgeskin.data.labels import MISSING, truth
from edgeskin.data.sets import open_like, open_set
from edgeskin.errors import EdgeskinError
from edgeskin.export import journey
from edgeskin.export.evaluate import cases_of, opened, silent
from edgeskin.export.unseen import unseen
from edgeskin.graph.folder import Graph

HEAD = "melanoma"
HOME, ELSEWHERE = "isic2017", "ham10000"
View = Callable[[Image.Image], Image.Image]


def _wide(photo: Image.Image) -> Image.Image:
    """The middle three quarters of the height: a photo of 4:3."""
    return photo.crop((0, photo.height // 8, photo.width, photo.height - photo.height // 8))


def _squashed(photo: Image.Image) -> Image.Image:
    """The same, made square again by an app that keeps no proportions."""
    return _wide(photo).resize((photo.width, photo.width), Image.Resampling.BILINEAR)


def _nearer(photo: Image.Image) -> Image.Image:
    """The middle three quarters of both sides."""
    return photo.crop(
        (photo.width // 8, photo.height // 8, photo.width - photo.width // 8, photo.height - photo.height // 8)
    )


def _recompressed(photo: Image.Image) -> Image.Image:
    stream = BytesIO()
    photo.save(stream, "JPEG", quality=30)
    return Image.open(stream)


VIEWS: Mapping[str, View] = {
    "as they are": lambda photo: photo,
    "cut to 4:3, letterboxed": _wide,
    "cut to 4:3, squashed to a square": _squashed,
    "cut to the middle 75 %": _nearer,
    "JPEG of quality 30": _recompressed,
}


@dataclass(frozen=True)
class Figure:
    """One metric and its 95 % interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} ({self.low:.3f}–{self.high:.3f})"


@dataclass(frozen=True)
class Row:
    """What one network reached on one kind of photo."""

    network: str
    photos: str
    images: int
    melanomas: int
    auroc: Figure
    sensitivity: Figure
    specificity: Figure

    @staticmethod
    def of(network: str, photos: str, positive: Bools, scores: Scores, threshold: float) -> "Row":
        """The three figures over shared resamples."""
        counts = resample_counts(len(positive))

        def figure(metric: Callable[..., metrics.Floats]) -> Figure:
            return Figure(float(metric()), *interval95(metric(counts=counts)))

        return Row(
            network,
            photos,
            len(positive),
            int(positive.sum()),
            figure(partial(metrics.auroc, positive, scores)),
            figure(partial(metrics.sensitivity, positive, scores, threshold)),
            figure(partial(metrics.specificity, positive, scores, threshold)),
        )


@contextmanager
def seen(cases: Sequence[Case], view: View) -> Iterator[tuple[Case, ...]]:
    """The cases with their photos changed, in files that lose nothing; without masks, which no longer fit."""
    with tempfile.TemporaryDirectory(prefix="edgeskin-") as folder:
        changed = []
        for case in cases:
            path = Path(folder) / f"{case.image_id}.png"
            view(Image.fromarray(read_image(case))).save(path, compress_level=1)
            changed.append(replace(case, image=path, mask=None))
        yield tuple(changed)


def one_a_lesion(cases: Sequence[Case]) -> tuple[Case, ...]:
    """Of every group its first image by id."""
    first: dict[str | None, Case] = {}
    for case in sorted(cases, key=lambda case: case.image_id):
        first.setdefault(case.group, case)
    return tuple(first.values())


def rows_of(graph: Graph) -> Iterator[Row]:
    """Every row of one network, as it is measured.

    Raises: EdgeskinError where it has no melanoma head, or the data is not there.
    """
    name = graph.card.name
    head = next((head for head in graph.card.heads if head.name == HEAD and head.kind == "sigmoid"), None)
    if head is None or head.threshold is None:
        raise EdgeskinError(f"{name} has no sigmoid head {HEAD!r}: give a network that answers for melanoma")
    threshold = head.threshold
    home = open_like(data_folder(None, HOME), graph.card.provenance.data)
    elsewhere = open_set(data_folder(None, ELSEWHERE))
    with opened(graph) as (_, int8):

        def scores(cases: Sequence[Case]) -> Scores:
            return accuracy.predict(int8, graph.card, cases, workers=usable_cores()).probabilities[HEAD][:, 0]

        chosen = unseen(graph, cases_of(graph, home, "select+val"), home, silent).cases
        positive = _truth(chosen, head)
        for words, view in VIEWS.items():
            with seen(chosen, view) as cases:
                yield Row.of(name, f"ISIC 2017, select and validation, {words}", positive, scores(cases), threshold)
        held = unseen(graph, (*elsewhere.split("train"), *elsewhere.split("val")), elsewhere, silent).cases
        others = tuple(replace(case, mask=None) for case in one_a_lesion(held))
        diagnoses = np.array([case.value("diagnosis") for case in others])
        found = scores(others)
        yield Row.of(name, "HAM10000, against all others", diagnoses == "mel", found, threshold)
        told = np.isin(diagnoses, ("mel", "nv"))
        yield Row.of(name, "HAM10000, against nevi", (diagnoses == "mel")[told], found[told], threshold)


def _truth(cases: Sequence[Case], head: HeadSpec) -> Bools:
    known = truth(cases, head, head.truth_column, head.values)
    if (known == MISSING).any():
        raise EdgeskinError(f"{HOME}: {int((known == MISSING).sum())} images have no {head.truth_column}")
    return np.equal(known, 1)


def main(arguments: Sequence[str] | None = None) -> int:
    """The script. Returns 0, or 1 after a sentence that says what is wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("graphs", nargs="*", metavar="GRAPH", default=["clinic-2"])
    parser.add_argument("--json", type=Path, metavar="FILE", help="the figures, for programs")
    given = parser.parse_args(arguments)
    rows = []
    print(
        "| network | photos | images | melanomas | AUROC | sensitivity | specificity |\n|---|---|---|---|---|---|---|"
    )
    try:
        for name in given.graphs:
            for row in rows_of(journey.find_graph(Path(name))):
                rows.append(row)
                print("| " + " | ".join(map(str, vars(row).values())) + " |", flush=True)
        if given.json is not None:
            files.write_json(given.json, [asdict(row) for row in rows])
    except EdgeskinError as error:
        parser.exit(1, f"error: {error}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
