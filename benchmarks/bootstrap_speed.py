"""How long the bootstrap takes: every metric of a mask, a softmax and two sigmoid heads, float and int8, of all images
and of the subgroups of ten attributes.

    python benchmarks/bootstrap_speed.py [IMAGES [RESAMPLES]]

2000 images × 2000 resamples should take no more than 5 seconds.
"""

import sys
import time
from pathlib import Path

import numpy as np

from edgeskin.benchmarks.accuracy import measure
from edgeskin.benchmarks.answers import Predictions
from edgeskin.benchmarks.metrics import PixelCounts
from edgeskin.contract.model import HeadSpec, ModelCard, Provenance
from edgeskin.data.cases import Case
from edgeskin.data.datasets import DatasetLayout, Subset

LABELS = ("melanoma", "nevus", "seborrheic_keratosis")


def main(images: int = 2000, resamples: int = 2000) -> None:
    """Measure random answers and print the seconds it took."""
    generator = np.random.default_rng(1)
    classes = generator.integers(0, 3, images)
    cases = [_case(index, int(one), generator.integers(0, 1000, 10)) for index, one in enumerate(classes)]
    in_float = _answers(generator, cases, classes)
    in_int8 = _answers(generator, cases, classes)
    layout = DatasetLayout("random", "split", subsets=(Subset("centre_crop", "geometry", "centre-crop"),))
    begin, worked = time.perf_counter(), time.process_time()
    report = measure(in_float, in_int8, cases, _card(), layout=layout, split="val", resamples=resamples)
    seconds, worked = time.perf_counter() - begin, time.process_time() - worked
    groups = report.subgroups or ()
    figures = (
        f"{len(report.metrics)} metrics and {sum(len(each.metrics) for each in groups)} of {len(groups)} subgroups"
    )
    sys.stdout.write(
        f"{figures}, {images} images, {resamples} resamples: {seconds:.2f} s, {worked:.2f} s of the processors\n"
    )


def _case(index: int, diagnosis: int, draws: np.ndarray) -> Case:
    labels = {
        "diagnosis": LABELS[diagnosis],
        "melanoma": str(int(diagnosis == 0)),
        "seborrheic_keratosis": str(int(diagnosis == 2)),
        "geometry": "centre-crop" if draws[0] % 8 else "squashed-square",
        "sex": ("female", "male")[draws[1] % 2],
        "age": str(draws[2] % 90),
        "site": f"site {draws[3] % 8}",
        "skin_type": str(1 + draws[4] % 6),
        **{f"artefact_{number}": str(draw % 2) for number, draw in enumerate(draws[5:])},
    }
    return Case(f"{index:05}", Path(), None, "val", None, labels)


def _answers(generator: np.random.Generator, cases: list[Case], classes: np.ndarray) -> Predictions:
    n = len(cases)
    tp, fp, fn, tn = generator.integers(1, 10_000, (4, n))
    probabilities = {
        "diagnosis": generator.dirichlet(np.ones(3), n) + np.eye(3)[classes],
        "melanoma": (classes == 0) * 0.3 + generator.random(n) * 0.7,
        "seborrheic_keratosis": (classes == 2) * 0.3 + generator.random(n) * 0.7,
    }
    pixels = PixelCounts(tp, fp, fn, tn)
    return Predictions(
        image_ids=tuple(case.image_id for case in cases),
        probabilities={name: values.reshape(n, -1).astype(np.float32) for name, values in probabilities.items()},
        masked=np.ones(n, bool),
        cleaned=pixels,
        raw=pixels,
    )


def _card() -> ModelCard:
    return ModelCard(
        name="random",
        version="0",
        size=192,
        heads=(
            HeadSpec(name="mask", kind="mask", labels=("lesion",), threshold=0.5),
            HeadSpec(name="diagnosis", kind="softmax", labels=LABELS),
            HeadSpec(name="melanoma", kind="sigmoid", labels=("melanoma",), threshold=0.5),
            HeadSpec(name="seborrheic_keratosis", kind="sigmoid", labels=("seborrheic_keratosis",), threshold=0.5),
        ),
        intended_use="timing",
        licence="none",
        provenance=Provenance(
            recipe="none", recipe_sha256="", data=(), data_list_sha256="", seed=1, edgeskin_version="none"
        ),
    )


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
