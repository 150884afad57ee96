"""How fast a finished bundle is on this machine, and what it takes."""

from pathlib import Path

import numpy as np

from edgeskin import targets
from edgeskin.benchmarks import device, latency
from edgeskin.benchmarks.measurements import Measurements, PlacementFigure
from edgeskin.contract.bundle import Bundle
from edgeskin.contract.findings import decode
from edgeskin.contract.image import letterbox, read_photo
from edgeskin.export import golden
from edgeskin.export.evaluate import Say, silent
from edgeskin.export.measure import memory_of, size_mib
from edgeskin.targets.base import Artifact


def benchmark(folder: Path, threads: int, mode: latency.Mode, *, say: Say = silent) -> Measurements:
    """Speed and memory of a bundle: the network alone, and from photo to findings.

    Raises: BundleError, TargetError; MissingDependencyError where the engine is not installed.
    """
    opened = Bundle.open(folder)
    manifest, card = opened.manifest, opened.card
    artifact = Artifact(opened.artifact, manifest.target, manifest.precision, manifest.graph_sha256)
    case = golden.read(opened.golden, card).cases[0]
    session = targets.get(manifest.target).open(artifact, threads=threads)
    image = np.ascontiguousarray(case.image[None])

    def model() -> None:
        session.run(image)

    def whole() -> None:
        square, box = letterbox(read_photo(case.photo), card.size)
        outputs = session.run(square[None])
        decode({name: values[0] for name, values in outputs.items()}, card, box, case.photo.name)

    say("timing the network")
    alone = latency.measure(model, mode, f"model {artifact.precision}", threads)
    say("timing from photo to findings")
    together = latency.measure(whole, mode, "photo to findings", threads)
    used = memory_of(artifact, card.size, threads)
    return Measurements(
        latency=(alone, together),
        size_mib=size_mib(artifact.path),
        memory=used.figure,
        placement=PlacementFigure.of(session.placement()),
        device=device.facts(),
        not_measured=used.not_measured,
    )
