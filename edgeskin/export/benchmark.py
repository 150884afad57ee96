"""How fast a finished bundle is on this machine, and what it takes."""

from pathlib import Path

from edgeskin import targets
from edgeskin.benchmarks import device, latency
from edgeskin.benchmarks.measurements import Measurements, PlacementFigure
from edgeskin.contract.bundle import Bundle
from edgeskin.contract.findings import decode
from edgeskin.contract.image import read_photo
from edgeskin.contract.preprocess import network_input
from edgeskin.contract.second_pass import look
from edgeskin.export import golden
from edgeskin.export.evaluate import Say, silent
from edgeskin.export.measure import memory_of, size_mib
from edgeskin.targets.base import Artifact


def benchmark(folder: Path, threads: int, mode: latency.Mode, *, say: Say = silent) -> Measurements:
    """Speed and memory of a bundle: one pass of the network alone, and from photo to findings with all that it takes.

    Raises: BundleError, TargetError; MissingDependencyError where the engine is not installed.
    """
    opened = Bundle.open(folder)
    manifest, card = opened.manifest, opened.card
    artifact = Artifact(opened.artifact, manifest.target, manifest.precision, manifest.graph_sha256)
    cases = golden.read(opened.golden, card).cases
    case = next((case for case in cases if case.second is not None), cases[0])
    passes = "photo to findings" if case.second is None else "photo to findings, two passes"
    session = targets.get(manifest.target).open(artifact, threads=threads)

    def whole() -> None:
        square, box = network_input(read_photo(case.photo), card.size, card.preprocessing)
        metadata = None if card.metadata is None else card.metadata.encode(case.values)[None]
        outputs = look(session.run, card, box, square[None], metadata)
        decode({name: values[0] for name, values in outputs.items()}, card, box, case.photo.name, case.values)

    say("timing the network")
    alone = latency.of_network(session, case.inputs, mode, f"model {artifact.precision}", threads)
    say("timing from photo to findings")
    together = latency.measure(whole, mode, passes, threads)
    used = memory_of(artifact, card.size, threads)
    return Measurements(
        latency=(*alone, together),
        size_mib=size_mib(session.path),
        memory=used.figure,
        placement=PlacementFigure.of(session.placement()),
        device=device.facts(),
        not_measured=used.not_measured,
    )
