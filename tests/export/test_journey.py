"""From a Graph folder to a judged bundle; what fails on the way leaves everything as it was."""

import errno
import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from second_pass_graphs import TOLERANCE
from small_graphs import GATE, PHOTOS, contents

from edgeskin import files, optional, shipped
from edgeskin.benchmarks import evidence, memory
from edgeskin.benchmarks.evidence import EvidenceEntry
from edgeskin.benchmarks.gate import Gate
from edgeskin.benchmarks.measurements import AccuracyReport, MetricFigure, NumericsHop
from edgeskin.benchmarks.report import Report
from edgeskin.contract import bundle as bundles
from edgeskin.contract.bundle import Bundle
from edgeskin.contract.findings import Findings
from edgeskin.contract.image import read_photo
from edgeskin.contract.preprocess import network_input
from edgeskin.errors import (
    BundleError,
    DataError,
    EdgeskinError,
    GraphError,
    MissingDependencyError,
    RecipeError,
    TargetError,
)
from edgeskin.export import evaluate, golden, journey
from edgeskin.export.benchmark import benchmark
from edgeskin.export.profile import Profile
from edgeskin.graph.folder import Graph
from edgeskin.graph.ir import Network
from edgeskin.graph.write import write_onnx
from edgeskin.optional import missing
from edgeskin.screen.predictor import Predictor
from edgeskin.targets.onnx import OnnxSession, OnnxTarget

JUDGED = {"report.json", "report.md", "report.html", "report.junit.xml", "MODEL_CARD.md", "manifest.json"}
"""What says when and where it was made, and so differs between two equal exports."""
LABELS = {
    "labels/mask.txt": "lesion\n",
    "labels/diagnosis.txt": "melanoma\nnevus\nseborrheic_keratosis\n",
    "labels/melanoma.txt": "melanoma\n",
}


def test_an_int8_bundle_holds_everything_and_is_intact(bundle: Path, small_graph: Graph) -> None:
    found = contents(bundle)
    golden = {f"golden/{name}": data for name, data in contents(small_graph.golden).items()}
    told = {"sbom.cdx.json"} if missing("cyclonedx") is None else set[str]()
    assert set(found) == {"model.onnx", "model.json", *LABELS, *golden, *JUDGED, *told}
    assert {name: found[name].decode() for name in LABELS} == LABELS
    assert {name: found[name] for name in golden} == golden
    assert found["model.json"] == (small_graph.folder / "model.json").read_bytes()
    assert bundles.verify(bundle) == ()
    assert Bundle.open(bundle).manifest.graph_sha256 == small_graph.sha256


def test_the_report_tells_what_was_measured_and_how_it_was_judged(bundle: Path) -> None:
    report = Report.read(bundle / "report.json")
    assert report.verdict.state == "passed"
    assert (report.target, report.precision, report.artifact) == ("onnx", "int8", "model.onnx")
    assert report.artifact_sha256 == files.sha256(bundle / "model.onnx")
    measured = report.measurements
    assert measured.equivalent
    assert [figure.name for figure in measured.latency] == ["model int8", "model fp32"]
    assert measured.size_mib == (bundle / "model.onnx").stat().st_size / 2**20
    assert measured.placement is not None
    assert measured.placement.provider == "CPUExecutionProvider"
    assert "passed" in (bundle / "report.md").read_text().splitlines()[0]


def test_an_fp32_bundle_is_complete_and_is_not_compared_with_int8(
    graph: Graph, profile: Profile, tmp_path: Path
) -> None:
    broken = NumericsHop(name="converted → int8.onnx", tensor="mask", mean_abs=1, max_abs=1, equivalent=False)
    (graph.folder / "chain.json").write_text(json.dumps([broken.model_dump()]))
    exported = journey.export(graph, profile.altered(precision="fp32"), tmp_path / "fp32")
    assert exported.verdict.state == "passed"
    assert exported.report.precision == "fp32"
    assert exported.report.measurements.speed is None
    assert {hop.name for hop in exported.report.measurements.numerics} == {"fp32.onnx → artifact"}
    assert bundles.verify(tmp_path / "fp32") == ()
    # The same hop is the first thing wrong with int8.
    failed = journey.export(graph, profile, tmp_path / "int8")
    assert failed.verdict.state == "failed"
    assert failed.report.measurements.first_divergence == broken


def test_two_exports_give_the_same_bytes_but_for_what_was_measured(
    bundle: Path, small_graph: Graph, profile: Profile, tmp_path: Path
) -> None:
    journey.export(small_graph, profile, tmp_path / "again")
    first, second = contents(bundle), contents(tmp_path / "again")
    assert {name for name in first if first[name] != second[name]} <= JUDGED


def test_a_failed_bundle_is_complete_all_the_same(small_graph: Graph, tmp_path: Path) -> None:
    strict = tmp_path / "strict.toml"
    strict.write_text("size_mib_max = 0.001\n")
    exported = journey.export(small_graph, Profile.default("onnx").altered(gate=str(strict)), tmp_path / "bundle")
    (promise,) = exported.verdict.promises
    assert exported.verdict.exit_code == 3
    assert promise.measured == (tmp_path / "bundle" / "model.onnx").stat().st_size / 2**20
    assert bundles.verify(tmp_path / "bundle") == ()
    assert (tmp_path / "bundle" / "report.md").read_text().count("failed") >= 2


def test_what_only_a_device_can_measure_is_pending_and_the_reason_stands_in_the_report(
    small_graph: Graph, profile: Profile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reason = "this system does not tell the peak memory of a process"
    monkeypatch.setattr(memory, "measure", lambda *_, **__: memory.NotMeasured(reason))
    phone = profile.model_copy(update={"may_be_pending": frozenset({"memory"})})
    exported = journey.export(small_graph, phone, tmp_path / "bundle")
    assert exported.verdict.exit_code == 4
    (promise,) = exported.verdict.in_state("pending")
    assert promise.name == "peak_memory_mib"
    assert reason in promise.sentence
    assert f"peak memory: not measured: {reason}" in (tmp_path / "bundle" / "report.md").read_text()
    # Not measured and not allowed to be pending is failed.
    assert journey.export(small_graph, profile, tmp_path / "bundle").verdict.exit_code == 3


def test_an_unmeasured_promise_of_accuracy_fails(small_graph: Graph, tmp_path: Path) -> None:
    gate = tmp_path / "gate.toml"
    gate.write_text("minimum = 1\nminimum_per_class = 1\n[floor]\nmelanoma_auroc = 0.5\n")
    exported = journey.export(small_graph, Profile.default("onnx").altered(gate=str(gate)), tmp_path / "bundle")
    (promise,) = exported.verdict.promises
    assert (promise.state, promise.measured) == ("failed", None)
    assert "no data was given and there is no evidence" in promise.sentence


def test_accuracy_rests_on_the_evidence_of_this_graph_and_its_own_data_set(
    graph: Graph, profile: Profile, tmp_path: Path
) -> None:
    gate = tmp_path / "gate.toml"
    gate.write_text(GATE + "minimum = 1\nminimum_per_class = 1\n[floor]\nmelanoma_auroc = 0.5\n")
    judged = profile.altered(gate=str(gate), split="val+select")
    for dataset, auroc in (("generic", 0.8), ("ham10000", 0.3)):
        evidence.append(graph.evidence, _evidence(graph, dataset, auroc))
    exported = journey.export(graph, judged, tmp_path / "bundle")
    (promise,) = exported.verdict.in_state("inherited")
    assert promise.measured == 0.8
    assert exported.verdict.state == "passed"
    other = graph.folder / "model.json"
    other.write_text(other.read_text().replace("Tests only.", "Tests."))  # another hash, so another network's evidence
    assert journey.export(Graph.open(graph.folder), judged, tmp_path / "bundle").verdict.state == "failed"


def test_evidence_on_another_split_is_named_but_test_never(graph: Graph, profile: Profile, tmp_path: Path) -> None:
    gate = tmp_path / "gate.toml"
    gate.write_text("minimum = 1\nminimum_per_class = 1\n[floor]\nmelanoma_auroc = 0.5\n")
    for split in ("select", "test"):
        evidence.append(graph.evidence, _evidence(graph, "generic", 0.8).model_copy(update={"split": split}))
    other_set = _evidence(graph, "ham10000", 0.8).model_copy(update={"split": "val"})
    evidence.append(graph.evidence, other_set)  # not trained on, so it would not judge, and is not offered
    exported = journey.export(graph, profile.altered(gate=str(gate)), tmp_path / "bundle")
    (promise,) = exported.verdict.promises
    assert promise.state == "failed"
    assert "no evidence for this graph on select+val (there is on select: --split select judges" in promise.sentence
    judged = journey.export(graph, profile.altered(gate=str(gate), split="select"), tmp_path / "bundle")
    assert [promise.measured for promise in judged.verdict.promises] == [0.8]


def _evidence(graph: Graph, dataset: str, auroc: float) -> EvidenceEntry:
    figure = MetricFigure(float=auroc, int8=auroc, drop=0, drop_upper95=0, n=9)
    report = AccuracyReport(
        dataset=dataset, split="select+val", n=9, data_list_sha256="2" * 64, metrics={"melanoma_auroc": figure}
    )
    return EvidenceEntry.of(report, graph.sha256, {})


def test_with_data_accuracy_is_measured_on_the_images(
    small_graph: Graph, profile: Profile, phantom_data: Path, tmp_path: Path
) -> None:
    seen: list[tuple[str, int, int]] = []
    exported = journey.export(
        small_graph, profile, tmp_path / "bundle", data=phantom_data, progress=lambda *step: seen.append(step)
    )
    accuracy = exported.report.measurements.accuracy
    assert accuracy is not None
    # Nine of train were held out as select, nine stand in val.
    assert (accuracy.split, accuracy.n, accuracy.inherited_from) == ("select+val", 18, None)
    assert seen[-1] == ("artifact", 18, 18)
    assert len(seen) == 54  # of looking for copies, the float network and the artifact


def test_no_bundle_is_judged_on_the_test_split(
    small_graph: Graph, profile: Profile, phantom_data: Path, tmp_path: Path
) -> None:
    for split in ("test", "val+test"):
        with pytest.raises(DataError, match="edgeskin evaluate PATH --split test"):
            journey.export(small_graph, profile.altered(split=split), tmp_path / "bundle", data=phantom_data)
    assert not (tmp_path / "bundle").exists()


# --- what fails leaves everything as it was ---


@pytest.mark.parametrize(
    ("failure", "raised", "said"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), EdgeskinError, "the disk is full"),
        (TargetError("the engine said no"), TargetError, "the engine said no"),
        (KeyboardInterrupt("Ctrl-C"), KeyboardInterrupt, "Ctrl-C"),
        (ZeroDivisionError("a mistake of ours"), ZeroDivisionError, "a mistake of ours"),
    ],
    ids=["full disk", "target", "Ctrl-C", "bug"],
)
@pytest.mark.parametrize("stage", ["build", "manifest"])
def test_a_failed_export_leaves_the_older_bundle_untouched(
    stage: str,
    failure: BaseException,
    raised: type[BaseException],
    said: str,
    bundle: Path,
    small_graph: Graph,
    profile: Profile,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise failure

    place = Path(shutil.copytree(bundle, tmp_path / "out" / "bundle"))
    before = contents(tmp_path / "out")
    if stage == "build":
        monkeypatch.setattr(OnnxTarget, "build", fail)
    else:
        monkeypatch.setattr(journey, "measure", lambda *_, **__: Report.read(bundle / "report.json").measurements)
        monkeypatch.setattr(bundles, "write_manifest", fail)
    with pytest.raises(raised, match=said):
        journey.export(small_graph, profile, place)
    assert contents(tmp_path / "out") == before
    with pytest.raises(raised, match=said):
        journey.export(small_graph, profile, tmp_path / "out" / "new")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["bundle"]


def test_only_a_bundle_is_ever_replaced(bundle: Path, small_graph: Graph, profile: Profile, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / "holiday.jpg").write_bytes(b"precious")
    web = tmp_path / "web"
    web.mkdir()
    (web / "manifest.json").write_text('{"name": "a web page", "icons": []}')
    (tmp_path / "file").write_text("precious")
    noted = Path(shutil.copytree(bundle, tmp_path / "noted"))
    (noted / "notes.txt").write_text("precious")
    attested = Path(shutil.copytree(bundle, tmp_path / "attested"))
    (attested / "attestations").mkdir()
    (attested / "attestations" / "phone.json").write_text("{}")
    before = contents(tmp_path)
    for place, said in (
        (photos, "is no bundle"),
        (web, "is no bundle"),
        (tmp_path / "file", "is no bundle"),
        (noted, "notes.txt"),
        (attested, "attestations"),
    ):
        with pytest.raises(BundleError, match=said):
            journey.export(small_graph, profile, place)
    assert contents(tmp_path) == before


def test_an_empty_folder_and_an_older_bundle_are_replaced(
    bundle: Path, small_graph: Graph, profile: Profile, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    older = Path(shutil.copytree(bundle, tmp_path / "older"))
    (older / "model.onnx").write_bytes(b"damaged")
    for name in ("empty", "older"):
        journey.export(small_graph, profile, tmp_path / name)
        assert bundles.verify(tmp_path / name) == ()


# --- a Graph folder that is not what it was ---


def test_a_golden_photo_or_input_that_was_changed_is_an_error(graph: Graph, profile: Profile, tmp_path: Path) -> None:
    shutil.copy(graph.golden / "photos" / "02.png", graph.golden / "photos" / "01.png")
    with pytest.raises(
        GraphError, match=r"1 photos or their fields become other bytes than their stored inputs \(01\)"
    ):
        journey.export(graph, profile, tmp_path / "bundle")


def test_golden_answers_that_were_changed_are_an_error_and_no_verdict(
    graph: Graph, profile: Profile, tmp_path: Path
) -> None:
    path = graph.golden / "outputs.npz"
    with np.load(path) as archive:
        outputs = dict(archive)
    assert len(outputs["int8/melanoma"]) == PHOTOS
    outputs["int8/melanoma"] = 1 - outputs["int8/melanoma"]
    np.savez(path, **outputs)
    with pytest.raises(GraphError, match=r"int8\.onnx answers otherwise than these golden cases say, in melanoma\."):
        journey.export(graph, profile, tmp_path / "bundle")
    assert not (tmp_path / "bundle").exists()


@pytest.mark.parametrize("part", ["int8.onnx", "fp32.onnx", "golden/golden.json", "golden/outputs.npz"])
def test_a_missing_part_is_named(graph: Graph, profile: Profile, tmp_path: Path, part: str) -> None:
    (graph.folder / part).unlink()
    with pytest.raises(GraphError, match=f"{part}: no such file"):
        journey.export(journey.find_graph(graph.folder), profile, tmp_path / "bundle")


def test_a_truncated_network_and_a_newer_format_are_named(graph: Graph, profile: Profile, tmp_path: Path) -> None:
    network = graph.int8.read_bytes()
    graph.int8.write_bytes(network[: len(network) // 2])
    with pytest.raises(GraphError, match=r"int8\.onnx: not an ONNX file, or truncated"):
        journey.export(graph, profile, tmp_path / "bundle")
    card = json.loads((graph.folder / "model.json").read_text())
    (graph.folder / "model.json").write_text(json.dumps(card | {"format": 2}))
    with pytest.raises(GraphError, match="format 2, this edgeskin reads format 1"):
        journey.find_graph(graph.folder)


def test_a_chain_that_cannot_be_read_is_named(graph: Graph, profile: Profile, tmp_path: Path) -> None:
    (graph.folder / "chain.json").write_text("[{}]")
    with pytest.raises(GraphError, match=r"chain\.json: cannot be read"):
        journey.export(graph, profile, tmp_path / "bundle")


# --- words that nobody knows ---


def test_unknown_words_are_refused_with_the_nearest_known_one(profile: Profile) -> None:
    with pytest.raises(TargetError, match=r"onnx builds no int4\. It builds fp32, int8\. Did you mean int8\?"):
        profile.altered(precision="int4")
    with pytest.raises(TargetError, match="onnx builds no fp16"):
        profile.altered(precision="fp16")


def test_a_gate_or_split_that_does_not_exist_is_told_before_anything_is_built(
    small_graph: Graph, profile: Profile, phantom_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(OnnxTarget, "build", lambda *_: pytest.fail("it was built"))
    wrong = tmp_path / "gate.toml"
    wrong.write_text("size_mib_maximum = 3\n")
    with pytest.raises(RecipeError, match="did you mean size_mib_max"):
        journey.export(small_graph, profile.altered(gate=str(wrong)), tmp_path / "bundle")
    with pytest.raises(EdgeskinError, match="Did you mean default"):
        journey.export(small_graph, profile.altered(gate="defualt"), tmp_path / "bundle")
    with pytest.raises(DataError, match="did you mean 'val'"):
        journey.export(small_graph, profile.altered(split="vla"), tmp_path / "bundle", data=phantom_data)


def test_a_target_that_is_not_installed_says_how_to_get_it(
    small_graph: Graph, profile: Profile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(optional, "available", lambda module: module != "onnxruntime")
    with pytest.raises(TargetError, match=r"pip install 'edgeskin\[onnx\]'"):
        journey.export(small_graph, profile, tmp_path / "bundle")


# --- which Graph a path means ---


def test_a_path_that_is_no_graph_says_what_it_is(bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(GraphError, match="is a bundle, the end of the journey"):
        journey.find_graph(bundle)
    with pytest.raises(GraphError, match="neither a run"):
        journey.find_graph(tmp_path)


def test_without_a_path_the_shipped_release_is_meant(
    small_graph: Graph, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shipped, "folder", lambda kind: tmp_path / kind)
    with pytest.raises(EdgeskinError, match="no release is shipped"):
        journey.find_graph()
    shutil.copytree(small_graph.folder, tmp_path / "release" / "clinic-1")
    (tmp_path / "release" / "default").write_text("clinic-1\n")
    assert journey.find_graph().folder == tmp_path / "release" / "clinic-1"


@pytest.fixture
def run(graph: Graph, tmp_path: Path) -> Path:
    """A run whose Graph folder is there already, as a first export leaves it."""
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "run.json").write_text("{}")
    for part in ("chain.json", "evidence.json"):
        (graph.folder / part).write_text("[]")
    (graph.folder / "checkpoint.safetensors").write_bytes(b"")
    graph.folder.rename(folder / "graph")
    (folder / "graph" / "run.sha256").write_text(files.sha256(folder / "run.json"))
    return folder


def test_a_run_that_was_traced_needs_no_torch(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(optional, "available", lambda module: module != "torch")
    assert journey.find_graph(run).folder == run / "graph"


@pytest.mark.parametrize("change", ["run.json", "graph/golden", "graph/run.sha256"])
def test_a_run_that_must_be_traced_again_says_that_torch_is_missing(
    run: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    monkeypatch.setattr(optional, "available", lambda module: module != "torch")
    if change == "run.json":
        (run / change).write_text('{"more": "epochs"}')
    elif change == "graph/golden":
        shutil.rmtree(run / change)
    else:
        (run / change).unlink()
    before = contents(run)
    with pytest.raises(MissingDependencyError, match=r"pip install 'edgeskin\[train\]'"):
        journey.find_graph(run)
    assert contents(run) == before


def test_tracing_again_keeps_the_evidence_and_fails_without_a_trace(
    run: Path, small_graph: Graph, monkeypatch: pytest.MonkeyPatch
) -> None:
    def trace(source: Path, folder: Path) -> None:
        if (source / "run.json").read_text() == "broken":
            raise GraphError("an operator cannot be exported")
        with files.new_folder(folder) as building:  # as from_run does
            files.copy(small_graph.folder, building)
            files.write_json(building / "evidence.json", [])

    stand_in = ModuleType("edgeskin.export.from_run")  # the real one loads torch
    monkeypatch.setattr(stand_in, "graph_from_run", trace, raising=False)
    monkeypatch.setitem(sys.modules, "edgeskin.export.from_run", stand_in)
    monkeypatch.setattr(optional, "demand", lambda *_: None)
    looked_at_test = _evidence(small_graph, "generic", 0.8).model_copy(update={"split": "test"})
    evidence.append(run / "graph" / "evidence.json", looked_at_test)
    (run / "run.json").write_text('{"more": "epochs"}')
    graph = journey.find_graph(run)
    assert graph.folder == run / "graph"
    assert evidence.read(graph.evidence) == (looked_at_test.sealed(),)
    assert (graph.folder / "run.sha256").read_text() == files.sha256(run / "run.json")
    (run / "run.json").write_text("broken")
    before = contents(run)
    with pytest.raises(GraphError, match="cannot be exported"):
        journey.find_graph(run)
    assert contents(run) == before


def test_a_folder_of_somebody_else_within_a_run_is_not_replaced(run: Path) -> None:
    shutil.rmtree(run / "graph")
    (run / "graph").mkdir()
    (run / "graph" / "figure.svg").write_text("precious")
    with pytest.raises(GraphError, match="stands where the run's Graph folder belongs"):
        journey.find_graph(run)
    assert (run / "graph" / "figure.svg").read_text() == "precious"


# --- judged again ---


def test_a_bundle_is_judged_again_by_other_rules_and_stays_as_it_is(bundle: Path, tmp_path: Path) -> None:
    before = contents(bundle)
    strict = tmp_path / "strict.toml"
    strict.write_text("size_mib_max = 0.001\n")
    report = journey.judge(bundle, rules=str(strict))
    assert report.verdict.state == "failed"
    assert report.gate == str(strict)
    assert journey.judge(bundle).verdict == Report.read(bundle / "report.json").verdict
    assert contents(bundle) == before


def test_a_gate_that_was_changed_under_its_name_since_is_told(
    small_graph: Graph, profile: Profile, tmp_path: Path
) -> None:
    rules, bundle = tmp_path / "ours.toml", tmp_path / "bundle"
    rules.write_text(GATE)
    report = journey.export(small_graph, profile.altered(gate=str(rules)), bundle).report
    assert report.gate_sha256 == Gate.read(rules).sha256
    rules.write_text("# in other words\n" + GATE)
    assert journey.judge(bundle).cautions == report.cautions
    rules.write_text(GATE.replace("16", "17"))
    again = journey.judge(bundle)
    assert (
        again.cautions[0]
        == f"the gate {rules} is another one here than where this bundle was made, and it is judged by the one here"
    )
    assert again.gate_sha256 == Gate.read(rules).sha256 != report.gate_sha256
    assert journey.judge(bundle, rules="default").cautions == report.cautions


def test_a_report_that_was_changed_is_not_judged(bundle: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(bundle, tmp_path / "copy"))
    report = (copy / "report.json").read_text()
    (copy / "report.json").write_text(report.replace('"equivalent": true', '"equivalent": null'))
    with pytest.raises(BundleError, match=r"report\.json: changed"):
        journey.judge(copy)


def test_an_artifact_that_was_written_wrong_fails_although_the_engine_agrees_with_itself(
    small_graph: Graph, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The twin is what both the artifact and onnxruntime's own gap are made of: only reading it back tells.
    def corrupted(network: Network, path: Path, **options: object) -> None:
        weight = network.tensors["heads.melanoma.logits.weight"]
        assert weight.data is not None
        data = weight.data.copy()
        data.reshape(-1)[0] += 1 if data.reshape(-1)[0] < 127 else -1
        tensors = {**network.tensors, weight.name: replace(weight, data=data)}
        write_onnx(replace(network, tensors=tensors), path, **options)

    monkeypatch.setattr("edgeskin.targets.onnx.write_onnx", corrupted)
    exported = journey.export(small_graph, Profile.default("onnx"), tmp_path / "bundle")
    failed = {promise.name for promise in exported.verdict.in_state("failed")}
    assert exported.verdict.exit_code == 3
    assert "read_back_differences" in failed


def test_a_network_that_takes_metadata_goes_the_whole_way(
    told_graph: Graph, profile: Profile, phantom_data: Path, tmp_path: Path
) -> None:
    exported = journey.export(told_graph, profile.altered(split="val"), tmp_path / "bundle", data=phantom_data)
    measured = exported.report.measurements
    assert exported.verdict.state == "passed", exported.verdict.promises
    assert (measured.equivalent, measured.reads_back) == (True, True)
    assert measured.accuracy is not None
    assert measured.accuracy.metadata == "real"
    assert "generic, val, metadata real: 9 images, measured in this run." in (tmp_path / "bundle/report.md").read_text()
    assert bundles.verify(tmp_path / "bundle") == ()
    assert (tmp_path / "bundle/golden/inputs/metadata.npy").is_file()
    figures = benchmark(tmp_path / "bundle", 1, "quick")
    assert [figure.name for figure in figures.latency] == ["model int8", "photo to findings"]


def test_accuracy_with_nothing_known_is_no_evidence_for_a_bundle(
    told_graph: Graph, profile: Profile, phantom_data: Path, tmp_path: Path
) -> None:
    evaluate.evaluate(told_graph, phantom_data, "val", metadata="unknown")
    by_unknown = journey.export(told_graph, profile.altered(split="val"), tmp_path / "one")
    assert by_unknown.report.measurements.accuracy is None
    evaluate.evaluate(told_graph, phantom_data, "val")
    by_real = journey.export(told_graph, profile.altered(split="val"), tmp_path / "other").report.measurements.accuracy
    assert by_real is not None
    assert by_real.metadata == "real"


def test_a_network_that_runs_twice_goes_the_whole_way(
    twice_graph: Graph, profile: Profile, phantom_data: Path, tmp_path: Path
) -> None:
    exported = journey.export(twice_graph, profile.altered(split="val"), tmp_path / "bundle", data=phantom_data)
    measured = exported.report.measurements
    assert exported.verdict.state == "passed", exported.verdict.promises
    assert (measured.equivalent, measured.reads_back) == (True, True)
    assert measured.accuracy is not None
    assert "melanoma_auroc" in measured.accuracy.metrics
    said = "- A photo takes two passes of the network (melanoma from the second, of the lesion's mask)"
    assert said in (tmp_path / "bundle" / "report.md").read_text()
    assert bundles.verify(tmp_path / "bundle") == ()
    assert (tmp_path / "bundle" / "golden" / "second" / "00.png").is_file()
    assert (tmp_path / "bundle" / "model.json").read_bytes() == (twice_graph.folder / "model.json").read_bytes()


def test_its_bundle_screens_photos_as_its_formula_says_and_its_golden_cases_hold(
    twice_graph: Graph, profile: Profile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    journey.export(twice_graph, profile, tmp_path / "bundle")
    card, cases = twice_graph.card, golden.read(twice_graph.golden, twice_graph.card).cases
    photos = [case.photo for case in cases]
    changed = 0
    for found, case in zip(Predictor.open(tmp_path / "bundle").predict(photos), cases, strict=True):
        assert isinstance(found, Findings)
        image, box = network_input(read_photo(case.photo), card.size, card.preprocessing)
        pixels = image.astype(float)
        content = np.zeros(image.shape[1:], bool)
        content[box.top : box.top + box.height, box.left : box.left + box.width] = True
        lesion = (pixels.sum(0) <= 3 * 128) & content
        first, second = ((np.where(where, pixels[0] - 128, 0) / 128).mean() for where in (content, lesion))
        answer = found.heads["melanoma"]["melanoma"]
        assert answer == pytest.approx(1 / (1 + np.exp(4 * second)), abs=TOLERANCE)
        assert answer == pytest.approx(case.findings.heads["melanoma"]["melanoma"], abs=TOLERANCE)
        changed += abs(1 / (1 + np.exp(4 * first)) - answer) > 0.05
    assert changed >= 6, "the second look answers otherwise than the first would have"


def test_photo_to_findings_is_timed_over_both_passes_and_the_model_over_one(
    twice_graph: Graph, profile: Profile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journey.export(twice_graph, profile, tmp_path / "bundle")
    runs = 0
    original = OnnxSession.run

    def counting(session: OnnxSession, *inputs: object) -> object:
        nonlocal runs
        runs += 1
        return original(session, *inputs)

    monkeypatch.setattr(OnnxSession, "run", counting)
    figures = benchmark(tmp_path / "bundle", 1, "quick")
    assert [figure.name for figure in figures.latency] == ["model int8", "photo to findings, two passes"]
    # `hasty` warms up once and takes three samples.
    assert [figure.samples for figure in figures.latency] == [3, 3]
    assert runs == 4 * 1 + 4 * 2
