"""The journey: Graph → artifact → measurements → verdict → bundle, in one call."""

import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from edgeskin import files, optional, shipped, targets
from edgeskin.benchmarks import attestation, board, device, evidence, gate, latency, repaired, report, size
from edgeskin.benchmarks.gate import Gate, Verdict
from edgeskin.benchmarks.measurements import AccuracyReport, Form, Measurements
from edgeskin.benchmarks.repaired import Repair
from edgeskin.benchmarks.report import Report
from edgeskin.contract import bundle, signature
from edgeskin.contract.bundle import Bundle
from edgeskin.contract.model import ModelCard
from edgeskin.data.duplicates import Progress
from edgeskin.data.sets import open_like
from edgeskin.errors import BundleError, DataError, EdgeskinError, GraphError, TargetError
from edgeskin.export import card as model_card
from edgeskin.export import evaluate, golden, reference, sbom
from edgeskin.export.evaluate import Say, silent
from edgeskin.export.form import form_of
from edgeskin.export.golden import Golden
from edgeskin.export.measure import measure
from edgeskin.export.profile import Profile
from edgeskin.graph.folder import LATER, PARTS, SEAL, TRAINING_PRINTS, Graph
from edgeskin.targets.base import Artifact
from edgeskin.targets.tensorrt.deploy import RECIPE

GRAPH_IN_RUN = "graph"
"""The folder of a run that holds its Graph."""
_STAMP = "run.sha256"
"""The file in it that says which state of the run it was traced from."""


@dataclass(frozen=True)
class Exported:
    """A finished bundle and its report."""

    folder: Path
    report: Report

    @property
    def verdict(self) -> Verdict:
        """How it was judged."""
        return self.report.verdict


def find_graph(source: Path | None = None, say: Say = silent) -> Graph:
    """The Graph folder that a path means: itself, that of a run (made if need be), or a shipped release by its name.

    None means the default release.

    Raises: GraphError where `source` is neither; BundleError for a deploy folder whose bundle was changed; RunError for
    a run that cannot be exported; MissingDependencyError where a run must be traced and torch is not installed.
    """
    folder = shipped.release(source)
    if (folder / bundle.MANIFEST).is_file():
        inside = [path.parent for path in folder.glob("*/model.json")]
        other = f", or {inside[0]}, which a board builds from" if inside else ""
        raise GraphError(
            f"{folder}: is a bundle, the end of the journey. Give the run or Graph folder it came from{other}"
        )
    if (folder / "model.json").is_file():
        _demand_bundle(folder, say)
        return Graph.open(folder)
    if not (folder / "run.json").is_file():
        raise GraphError(f"{folder}: neither a run (run.json) nor a Graph folder (model.json, fp32.onnx, int8.onnx)")
    place, state = folder / GRAPH_IN_RUN, files.sha256(folder / "run.json")
    if not _is_traced(place, state):
        _trace(folder, place, state, say)
    return Graph.open(place)


def _demand_bundle(folder: Path, say: Say) -> None:
    """A deploy folder is worth what its bundle is, by whatever path it is named.

    Raises: BundleError where that was changed in any file, or is not signed by the key that is trusted here.
    """
    place = folder.resolve()
    if signature.trusted() is not None and (place / RECIPE).is_file():
        Bundle.intact(place.parent)
    for named in {folder.absolute(), place}:
        if bundle.lists(named.parent, named.name):
            Bundle.intact(named.parent)
    if bundle.lists(place.parent, place.name):
        for doubt in signature.doubts(place.parent / bundle.MANIFEST):
            say(doubt)


def _is_traced(place: Path, state: str) -> bool:
    """Whether a run's Graph folder is complete and of the run's present state."""
    stamp = place / _STAMP
    needed = set(PARTS) - LATER  # Beside a run that was traced by an older edgeskin its run.json has the ids.
    if (place.parent / TRAINING_PRINTS).exists():
        needed.add(TRAINING_PRINTS)
    return stamp.is_file() and stamp.read_text() == state and all((place / part).exists() for part in needed)


def _trace(run: Path, place: Path, state: str, say: Say) -> None:
    """Put a run's Graph in the place of an older one; what was measured on that stays on record."""
    if place.exists() and not (place / "model.json").is_file() and (not place.is_dir() or any(place.iterdir())):
        raise GraphError(f"{place}: stands where the run's Graph folder belongs and is none. Move it away")
    optional.demand("torch", "torchao", "safetensors", "onnxscript")
    from edgeskin.export.from_run import graph_from_run

    say(f"tracing {run}: fp32.onnx, int8.onnx, golden cases")
    with files.new_folder(place) as building:
        graph_from_run(run, building)
        if (place / "evidence.json").is_file():
            files.copy(place / "evidence.json", building / "evidence.json")
        files.write_text(building / _STAMP, state)


def export(
    graph: Graph,
    profile: Profile,
    out: Path,
    *,
    data: Path | None = None,
    say: Say = silent,
    progress: Progress = silent,
) -> Exported:
    """Build, measure and judge one bundle, and put it in the place of `out`.

    profile: what to build, how it is judged, and on which split. data: a data folder to measure accuracy on; without it
    accuracy rests on the Graph's evidence, where the profile accepts that. A bundle that failed or is pending is
    complete all the same; its report says so.

    Raises: BundleError where something else than a bundle stands at `out`; TargetError where the target is missing here
    or has no such precision; DataError, GraphError, RecipeError. What stood at `out` is untouched then.
    """
    bundle.refuse_to_replace(out)
    target = targets.get(profile.target, **profile.choices)
    precision = targets.precision_of(target, profile.precision)
    sentence = target.missing()
    if sentence is not None:
        raise TargetError(f"{target.name} cannot be built here: {sentence}")
    if evidence.touches_test(profile.split):
        raise DataError("no bundle is judged on test. Measure it once a release: edgeskin evaluate PATH --split test")
    rules = Gate.find(profile.gate)
    cases = _golden(graph)
    labelled = None if data is None else open_like(data, graph.card.provenance.data)
    if labelled is not None:
        evaluate.cases_of(graph, labelled, profile.split)  # its mistakes now, not after the building
    with files.new_folder(out) as building:
        say(f"building {target.name} {precision}")
        kind = target.here()
        if kind is not None:
            say(kind)
        artifact = target.build(graph, precision, building)
        files.copy(graph.folder / "model.json", building / "model.json")
        files.copy(graph.golden, building / "golden")
        repair = Repair.read(graph.folder / repaired.FILE)
        if repair is not None:
            files.copy(graph.folder / repaired.FILE, building / repaired.FILE)
        bundle.write_labels(building, graph.card)
        form = form_of(precision, target.computes(precision))
        answers = reference.of_graph(graph, cases, form)
        reference.write(building, answers, cases, form)
        measured = measure(
            graph, target, artifact, cases, answers, profile, labelled=labelled, say=say, progress=progress
        )
        verdict = gate.judge(
            measured,
            rules,
            graph.card,
            artifact.precision,
            may_be_pending=profile.may_be_pending,
            accept_inherited=profile.accept_inherited,
            budget=profile.budget,
            device=profile.device,
        )
        written = _report(graph, artifact, building, form, measured, verdict, profile, out, kind, repair).model_copy(
            update={
                "gate_sha256": rules.sha256,
                "layer_sizes": size.by_layer(target.read(artifact), artifact.precision),
            }
        )
        report.write(building, written)
        model_card.write(building, written, graph)
        if sbom.missing() is None:
            sbom.write(building, written, graph.card)
        bundle.write_manifest(
            building,
            target=target.name,
            precision=artifact.precision,
            artifact=written.artifact,
            graph_sha256=graph.sha256,
            tool_versions=device.engine_versions(),
        )
    return Exported(out, written)


def judge(
    folder: Path,
    *,
    rules: str | None = None,
    profile: str | None = None,
    unsigned_too: bool = False,
    attested_too: bool = True,
) -> Report:
    """The report of a finished bundle, judged again by what was measured when it was made, and on other machines since.

    rules: a gate, profile: a profile, each by path or shipped name; by default those of the report. The bundle stays as
    it is, report.json included: the manifest, and with it every signature and attestation, holds its hash.
    unsigned_too: also where the machine trusts a key and nobody signed with it. attested_too: by other machines' word.

    Raises: BundleError where the bundle or its report were changed, or an attestation is not of it; EdgeskinError where
    gate or profile are unknown.
    """
    opened = Bundle.intact(folder, unsigned_too=unsigned_too)
    attested = attestation.read_all(folder, opened.sha256) if attested_too else ()
    written = Report.read(folder / report.JSON_NAME)
    _demand_of(opened, written)
    chosen = Profile.find(profile or written.profile)
    if chosen.target != written.target:
        raise EdgeskinError(f"the profile {chosen.name} is for {chosen.target}, the bundle for {written.target}")
    name = rules or written.gate
    asked = Gate.find(name)
    verdict = gate.judge(
        written.measurements.at(chosen.threads),
        asked,
        opened.card,
        written.precision,
        may_be_pending=chosen.may_be_pending,
        accept_inherited=chosen.accept_inherited,
        attested={one.name: one.measurements.at(chosen.threads) for one in attested if one.uncounted is None},
        budget=chosen.budget,
        device=chosen.device,
    )
    if rules is None and written.gate_sha256 not in (None, asked.sha256):
        words = f"the gate {name} is another one here than where this bundle was made, and it is judged by the one here"
        written = written.model_copy(update={"cautions": (words, *written.cautions)})
    return written.with_verdict(verdict, name, attested).model_copy(update={"gate_sha256": asked.sha256})


def _demand_of(opened: Bundle, written: Report) -> None:
    """Raises: BundleError where a report speaks of another artifact, another Graph or other golden cases."""
    manifest = opened.manifest
    told = (written.target, written.precision, written.artifact, written.graph_sha256, written.artifact_sha256)
    listed = (manifest.target, manifest.precision, manifest.artifact, manifest.graph_sha256)
    cases = files.sha256(opened.golden) if opened.golden.is_dir() else ""
    if told != (*listed, files.sha256(opened.artifact)) or written.golden_sha256 not in (None, cases):
        raise BundleError(
            f"{opened.folder / report.JSON_NAME}: is about another artifact, or other golden cases, than lie here. "
            "Take a fresh copy of the bundle, or export it again"
        )


def _golden(graph: Graph) -> Golden:
    graph.demand_unchanged()
    cases = golden.read(graph.golden, graph.card)
    changed = cases.changed_inputs()
    if changed:
        raise GraphError(
            f"{graph.golden}: {len(changed)} photos or their fields become other bytes than their stored inputs "
            f"({', '.join(changed[:5])}). Take a fresh copy of the Graph folder, or export its run again"
        )
    return cases


def _report(
    graph: Graph,
    artifact: Artifact,
    bundle_folder: Path,
    form: Form,
    measured: Measurements,
    verdict: Verdict,
    profile: Profile,
    out: Path,
    kind: str | None,
    repair: Repair | None,
) -> Report:
    """kind: of machine, as the target says it. repair: of the Graph."""
    notes = [note for note in (device.machine().saturation, *map(latency.warning, measured.latency)) if note]
    return Report(
        name=graph.card.name,
        version=graph.card.version,
        target=artifact.target,
        precision=artifact.precision,
        form=None if form == artifact.precision else form,
        artifact=artifact.path.relative_to(bundle_folder).as_posix(),
        artifact_sha256=files.sha256(artifact.path),
        graph_sha256=graph.sha256,
        golden_sha256=files.sha256(bundle_folder / "golden"),
        profile=profile.name,
        gate=profile.gate,
        measurements=measured,
        verdict=verdict,
        cautions=(
            *notes,
            *(board.cautions(measured.device) if measured.device else ()),
            *_told(kind),
            *_placed(measured),
            *_executed(measured),
            *_chosen(profile),
            *_emulated(measured.accuracy),
            *_passes(graph.card),
            *_unsealed(graph),
            *((repair.sentence,) if repair is not None else ()),
            graph.card.intended_use,
            *graph.card.provenance.notes,
        ),
        repair=repair and repair.judged(verdict.state),
        next_commands=tuple(_next(measured, verdict, profile, shlex.quote(str(out)))),
    )


def _next(measured: Measurements, verdict: Verdict, profile: Profile, out: str) -> Iterator[tuple[str, str]]:
    """What can be done with the bundle: nothing runs here what no device here verified."""
    if measured.verified == "device":
        yield "Predict", f"edgeskin predict PHOTO --bundle {out}"
        yield "Benchmark", f"edgeskin benchmark {out}"
    if any(promise.section != "accuracy" for promise in verdict.in_state("pending")) or measured.verified != "device":
        yield "Attest", f"edgeskin attest {out}" + (f" --threads {profile.threads}" if profile.threads > 1 else "")
    yield "Verify", f"edgeskin verify {out}"
    if verdict.state == "passed":
        yield "Sign", f"edgeskin sign {out} --key PEM"
    if sbom.missing() is not None:
        yield "SBOM", "pip install 'edgeskin[sign]', and export again"


def _told(sentence: str | None) -> Iterator[str]:
    if sentence is not None:
        yield f"{sentence[0].upper()}{sentence[1:]}."


def _placed(measured: Measurements) -> Iterator[str]:
    place = measured.placement
    if place is not None and place.partitions is not None and place.undelegated:
        because = f"; {place.why_undelegated}" if place.why_undelegated else ""
        yield (
            f"{len(place.undelegated)} operators run outside the delegate ({place.provider}{because}): slower than in "
            "an app, and rounded otherwise"
        )


def _executed(measured: Measurements) -> Iterator[str]:
    accuracy = measured.accuracy
    if measured.verified != "device" and accuracy is not None and accuracy.inherited_from is None:
        yield "Accuracy is that of the artifact's saved bytes in edgeskin's executor; no device computed it."


def _chosen(profile: Profile) -> Iterator[str]:
    if profile.raw_outputs:
        yield "The outputs are int8 logits: the app computes sigmoid or softmax of scale × value."
    if profile.compute == "float32":
        yield "It computes in float32 between its integers: on CPU and GPU, never on a neural engine."


def _emulated(accuracy: AccuracyReport | None) -> Iterator[str]:
    if accuracy is not None and accuracy.form is not None and accuracy.inherited_from is not None:
        yield (
            f"The accuracy of {accuracy.form} is what onnxruntime reached with a rounding to float16 behind every "
            "operator; a device rounds elsewhere."
        )


def _unsealed(graph: Graph) -> Iterator[str]:
    if not graph.sealed:
        yield f"The Graph folder has no {SEAL}: whether its golden cases are those it was made with is not known."


def _passes(card: ModelCard) -> Iterator[str]:
    if card.second_pass is not None:
        yield (
            f"A photo takes two passes of the network ({', '.join(card.second_pass.heads)} from the second, of the "
            f"lesion's {card.second_pass.strategy}); the latency of the model is that of one."
        )
