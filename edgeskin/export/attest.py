"""What this machine can measure of a finished bundle, put beside its manifest for the gate to count."""

from contextlib import nullcontext
from pathlib import Path

from edgeskin import targets
from edgeskin.benchmarks import attestation, device, latency, report
from edgeskin.benchmarks.attestation import Attestation
from edgeskin.benchmarks.report import Report
from edgeskin.contract import checkout
from edgeskin.contract.bundle import Bundle
from edgeskin.errors import BundleError, EdgeskinError, TargetError
from edgeskin.export import evaluate, golden, reference
from edgeskin.export.evaluate import Say, silent
from edgeskin.export.measure import Here, of_artifact
from edgeskin.export.profile import Profile
from edgeskin.graph.folder import Graph
from edgeskin.targets.base import Artifact, elsewhere

_NO_FLOAT = "a bundle holds no float network to be faster than. Give the run or Graph folder it came from with --from"


def attest(
    folder: Path,
    *,
    name: str | None = None,
    graph: Graph | None = None,
    threads: int | None = None,
    mode: latency.Mode = "quick",
    say: Say = silent,
) -> Attestation:
    """Measure a bundle here: the golden cases on every processor, latency, memory, placement.

    name: of the attestation, by default CPU and system; one of that name is replaced. graph: what the bundle was built
    from, to tell how much faster it is than the float network. threads: by default those of the bundle's profile, at
    which alone a gate counts latency; 1 where that profile is not here.

    Raises: BundleError where the bundle or one of its attestations is not what it should be, for another graph, for an
    unfit name; TargetError where nothing here runs the artifact, or an engine refuses it. Nothing is written then.
    """
    opened = Bundle.intact(folder)
    attestation.read_all(folder, opened.sha256)  # what the gate would refuse, now and not after minutes of measuring
    called = attestation.name_of(device.facts()) if name is None else name
    attestation.demand_name(called)
    manifest, target = opened.manifest, targets.get(opened.manifest.target)
    if graph is not None and graph.sha256 != manifest.graph_sha256:
        raise BundleError(f"{folder}: was not built from {graph.folder}. Give the run or Graph folder it came from")
    if not target.processors():
        raise TargetError(f"{folder}: {elsewhere(target, 'attest', folder)}")
    cases = golden.read(opened.golden, opened.card)
    written = Report.read(folder / report.JSON_NAME)
    answers = reference.of_bundle(opened, written.measurements, cases)
    threads = _threads_of(written.profile) if threads is None else threads
    artifact = Artifact(opened.artifact, manifest.target, manifest.precision, manifest.graph_sha256)
    here = Here.open(target, artifact, threads)
    unknown = {} if graph is not None or manifest.precision == "fp32" else {"latency": _NO_FLOAT}
    with evaluate.baseline(graph, target, threads) if graph else nullcontext() as fp32:
        measured = of_artifact(here, cases, answers, mode, fp32=fp32, say=say)
    done = Attestation(
        name=called,
        manifest_sha256=opened.sha256,
        edgeskin_commit=checkout.commit(),
        simulated=here.simulated,
        measurements=measured.model_copy(update={"not_measured": unknown | measured.not_measured}),
    )
    attestation.write(folder, done)
    return done


def _threads_of(profile: str) -> int:
    try:
        return Profile.find(profile).threads
    except EdgeskinError:  # a file of another machine
        return 1
