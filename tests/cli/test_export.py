"""export, gate, evaluate, release, verify and benchmark on a small Graph, as a user types them."""

import json
import re
import shutil
from pathlib import Path

import elsewhere
import pytest
from small_graphs import contents

from edgeskin import targets
from edgeskin.benchmarks import cold, latency, measurements
from edgeskin.benchmarks.memory import NotMeasured
from edgeskin.errors import TargetError
from edgeskin.export import journey
from edgeskin.export.profile import Profile

ALL = [name for name in targets.TARGETS if name not in targets.BY_NAME_ALONE]
WHERE = "nothing on this machine runs elsewhere. On an elsewhere: edgeskin attest"


def test_a_bundle_that_passed_is_told_on_stdout_and_what_to_do_next_on_stderr(
    edgeskin, small_graph, gate: Path, tmp_path: Path
) -> None:
    out = tmp_path / "bundle"
    done = edgeskin("export", "--from", small_graph.folder, "--target", "onnx", "--gate", gate, "--out", out)
    assert done.code == 0
    assert re.fullmatch(rf"passed: {re.escape(str(out))} \(6 passed\)\n  Device-verified on .+\.\n", done.out)
    assert f"Predict:   edgeskin predict PHOTO --bundle {out}" in done.err
    assert f"Report:    {out}/report.html" in done.err
    done = edgeskin("verify", out)
    assert (done.code, done.out) == (0, f"{out}: every file is as it was exported\n")


def test_a_bundle_goes_below_the_working_folder_when_no_place_is_given(
    edgeskin, small_graph, gate: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    options = ("--from", small_graph.folder, "--gate", gate, "--quiet")
    done = edgeskin("export", *options, "--target", "onnx", "--precision", "fp32")
    assert done == (0, "passed: bundles/small-onnx-fp32 (6 passed)\n", "")
    # "all" makes a folder of bundles, one for each target that can be built here; sizes are promised of each, and of an
    # iPhone, by its budget, what only a Mac can tell.
    gate.write_text("size_mib_max = 16\n")
    done = edgeskin("export", *options, "--target", "all", "--out", "every")
    built = [name for name in ALL if targets.get(name).missing() is None]
    waiting = {name for name in built if name == "coreml" and not targets.get(name).processors()}
    lines = {name: f"passed: every/small-{name}-int8 ({3 if name == 'coreml' else 1} passed)" for name in built}
    lines |= {name: f"pending: every/small-{name}-int8 (1 passed, 2 pending)" for name in waiting}
    assert done == (4 if waiting else 0, "".join(f"{line}\n" for line in lines.values()), "")
    assert {path.name for path in Path("every").iterdir()} == {f"small-{name}-int8" for name in built}


def test_a_bundle_of_raw_outputs_has_a_name_of_its_own(
    edgeskin, small_graph, gate: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if targets.get("tflite").missing():
        pytest.skip(str(targets.get("tflite").missing()))
    monkeypatch.chdir(tmp_path)
    gate.write_text("size_mib_max = 16\n")
    words = ("export", "--from", small_graph.folder, "--gate", gate, "--quiet", "--target", "tflite")
    assert edgeskin(*words, "--raw-outputs") == (0, "passed: bundles/small-tflite-int8-raw (1 passed)\n", "")
    done = edgeskin(*words, "--raw-outputs", "--precision", "fp32")
    assert (done.code, done.err) == (
        1,
        "error: raw outputs are int8, and fp32 was asked for. Give --no-raw-outputs, or int8\n",
    )


def test_a_failed_gate_exits_with_3_and_says_which_promise(edgeskin, small_graph, tmp_path: Path) -> None:
    strict = tmp_path / "strict.toml"
    strict.write_text("size_mib_max = 0.001\npeak_memory_mib_max = 512\n")
    out = tmp_path / "bundle"
    words = ("export", "--from", small_graph.folder, "--target", "onnx", "--gate", strict, "--out", out)
    done = edgeskin(*words)
    assert done.code == 3
    first, second, _ = done.out.splitlines()
    assert first == f"failed: {out} (1 passed, 1 failed)"
    assert second.startswith("  ✗ size_mib: ")
    assert "peak_memory_mib: 40" in edgeskin(*words, "--verbose").out
    told = json.loads(edgeskin(*words, "--json", "--quiet").out)
    assert (told["bundle"], told["target"], told["precision"], told["gate"]) == (str(out), "onnx", "int8", str(strict))
    assert (told["state"], told["exit_code"]) == ("failed", 3)
    assert {promise["name"]: promise["state"] for promise in told["promises"]} == {
        "size_mib": "failed",
        "peak_memory_mib": "passed",
    }


def test_a_pending_gate_exits_with_4_and_no_option_makes_it_0(edgeskin, small_graph, tmp_path: Path) -> None:
    gate, profile = tmp_path / "gate.toml", tmp_path / "phone.toml"
    gate.write_text("minimum = 1\nminimum_per_class = 1\n[floor]\nmelanoma_auroc = 0.5\n")
    profile.write_text(
        f'name = "phone"\ndescription = "A phone."\ntarget = "onnx"\ngate = "{gate}"\nmay_be_pending = ["accuracy"]\n'
    )
    out = tmp_path / "bundle"
    words = ("export", "--from", small_graph.folder, "--target", "onnx", "--profile", profile, "--out", out)
    for option in ((), ("--quiet",), ("--json",), ("--verbose",)):
        assert edgeskin(*words, *option).code == 4
    # The profile is not a shipped one, so it has to be named again.
    assert edgeskin("gate", out).code == 1
    assert edgeskin("gate", out, "--profile", profile).code == 4
    assert edgeskin("gate", out, "--profile", "desktop").code == 3


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--target", "onxn"), f"onxn: no such target. Known: {', '.join(targets.TARGETS)}. Did you mean onnx?"),
        (("--target", "onnx", "--precision", "int4"), "It builds fp32, int8. Did you mean int8?"),
        (("--target", "onnx", "--profile", "dekstop"), "Shipped: android, android_flagship, "),
        (("--target", "all", "--profile", "desktop"), "the profile desktop is for one target"),
        (("--target", "onnx", "--gate", "defualt"), "Did you mean default?"),
        (("--target", "onnx", "--data", "nowhere"), "nowhere: no such folder"),
        (("--target", "onnx", "--from", "nowhere"), "nowhere: no such folder, and no shipped release"),
        (("--target", "onnx", "--from", "no/where"), "no/where: neither a run"),
        (("--target", "onnx", "--split", "test"), "edgeskin evaluate PATH --split test"),
    ],
)
def test_an_unknown_word_is_refused_and_nothing_is_written(
    edgeskin, small_graph, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    source = () if "--from" in words else ("--from", small_graph.folder)
    done = edgeskin("export", *source, *words)
    assert (done.code, done.out) == (1, "")
    assert said in done.err
    assert "Traceback" not in done.err
    assert list(tmp_path.iterdir()) == []


def test_a_profile_for_another_target_is_refused(edgeskin, small_graph, tmp_path: Path) -> None:
    phone = tmp_path / "phone.toml"
    phone.write_text('name = "phone"\ndescription = "A phone."\ntarget = "tflite"\n')
    done = edgeskin("export", "--from", small_graph.folder, "--target", "onnx", "--profile", phone)
    assert (done.code, done.err) == (1, "error: the profile phone is for tflite. Give --target tflite\n")


def test_a_folder_that_is_no_bundle_is_never_replaced(edgeskin, small_graph, gate: Path, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / "holiday.jpg").write_bytes(b"precious")
    done = edgeskin("export", "--from", small_graph.folder, "--target", "onnx", "--gate", gate, "--out", photos)
    assert done.code == 1
    assert "is no bundle that this edgeskin may replace" in done.err
    assert contents(photos) == {"holiday.jpg": b"precious"}


def test_gate_judges_again_and_changes_nothing(edgeskin, bundle: Path, gate: Path) -> None:
    before = contents(bundle)
    # The shipped gate asks for accuracy, which nobody measured.
    assert edgeskin("gate", bundle).code == 3
    done = edgeskin("gate", bundle, "--gate", gate, "--verbose")
    assert done.code == 0
    assert done.out.startswith(f"passed: {bundle} (6 passed)\n  ✓ ")
    assert "int8.onnx → artifact\n    ├ ✓ mask: mean difference" in done.out
    assert contents(bundle) == before


def test_a_changed_byte_is_found_by_every_command_that_opens_the_bundle(edgeskin, bundle: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(bundle, tmp_path / "copy"))
    network = bytearray((copy / "model.onnx").read_bytes())
    network[len(network) // 2] ^= 1
    (copy / "model.onnx").write_bytes(network)
    done = edgeskin("verify", copy)
    assert (done.code, done.out) == (1, "")
    assert done.err == f"error: {copy}: model.onnx: changed, other contents of the same size\n"
    assert json.loads(edgeskin("verify", copy, "--json").out)["intact"] is False
    photo = bundle / "golden" / "photos" / "00.png"
    for words in (("predict", photo, "--bundle", copy), ("benchmark", copy), ("gate", copy)):
        done = edgeskin(*words)
        assert (done.code, done.out) == (1, "")
        assert "model.onnx: changed" in done.err


def test_verify_names_what_is_missing_and_what_is_extra(edgeskin, bundle: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(bundle, tmp_path / "copy"))
    (copy / "labels" / "mask.txt").unlink()
    (copy / "notes.txt").write_text("")
    done = edgeskin("verify", copy, "--json")
    assert done.code == 1
    assert json.loads(done.out) == {
        "bundle": str(copy),
        "intact": False,
        "problems": ["labels/mask.txt: missing", "notes.txt: extra, not in the manifest"],
        "signed_by": None,
        "signature_checked": False,
    }
    assert edgeskin("verify", bundle, "--quiet") == (0, "", "")


def test_evaluate_shows_figures_and_refuses_test_a_second_time(edgeskin, graph: Path, phantom_data: Path) -> None:
    words = ("evaluate", graph, "--data", phantom_data)
    done = edgeskin(*words, "--split", "test")
    assert done.code == 0
    assert any(line.startswith("mask_jaccard  ") for line in done.out.splitlines())
    assert f"Evidence: {graph}/evidence.json" in done.err
    done = edgeskin(*words, "--split", "test")
    assert (done.code, done.out) == (1, "")
    assert "touched once per release" in done.err
    told = json.loads(edgeskin(*words, "--split", "select+val", "--json", "--quiet").out)
    assert (told["split"], told["n"]) == ("select+val", 18)


def test_evaluate_averages_several_networks_into_a_file(
    edgeskin, graph: Path, phantom_data: Path, tmp_path: Path
) -> None:
    other = Path(shutil.copytree(graph, tmp_path / "other"))
    card = json.loads((other / "model.json").read_text())
    card["heads"][2]["threshold"] = 0.3
    (other / "model.json").write_text(json.dumps(card))
    words = ("evaluate", graph, other, "--data", phantom_data, "--split", "val")
    out = tmp_path / "average.json"
    done = edgeskin(*words)
    assert done.code == 2
    assert "--out: say where the average is written" in done.err
    assert edgeskin("evaluate", graph, "--data", phantom_data, "--split", "val", "--out", out).code == 2
    done = edgeskin(*words, "--out", out)
    assert done.code == 0
    assert "the average of 2 networks, which no single artifact computes" in done.out
    assert all(f"Evidence: {folder}/evidence.json" in done.err for folder in (graph, other))
    assert json.loads(out.read_text())["thresholds"]["melanoma"] == pytest.approx(0.4)
    told = json.loads(edgeskin(*words, "--out", out, "--json", "--quiet").out)
    assert told["accuracy"] == json.loads(out.read_text())["accuracy"]


def test_evaluate_finds_the_data_below_edgeskin_data(
    edgeskin, graph: Path, phantom_data: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("EDGESKIN_DATA", raising=False)
    assert "give the generic folder with --data DIR" in edgeskin("evaluate", graph, "--split", "val").err
    shutil.copytree(phantom_data, tmp_path / "data" / "generic")
    monkeypatch.setenv("EDGESKIN_DATA", str(tmp_path / "data"))
    assert edgeskin("evaluate", graph, "--split", "val").code == 0


def test_release_refuses_what_failed_and_says_why(edgeskin, graph: Path, gate: Path, tmp_path: Path) -> None:
    words = ("release", graph, "clinic-1", "--folder", tmp_path / "release", "--default")
    done = edgeskin(*words)
    assert (done.code, done.out) == (1, "")
    assert (
        f"error: {graph}: not released, its gate says failed\n  failed mask_jaccard_drop and 7 more: not measured"
        in done.err
    )
    assert not (tmp_path / "release").exists()
    done = edgeskin(*words, "--gate", gate)
    assert done[:2] == (0, f"released: {tmp_path}/release/clinic-1\n")
    assert done.err.endswith(f"edgeskin export --from {tmp_path}/release/clinic-1 --target onnx --gate {gate}\n")
    assert (tmp_path / "release" / "default").read_text() == "clinic-1\n"
    assert "a release is never replaced" in edgeskin(*words).err


def test_benchmark_names_the_machine_beside_its_figures(edgeskin, bundle: Path) -> None:
    done = edgeskin("benchmark", bundle)
    assert done.code == 0
    assert "cores" in done.out.splitlines()[0]
    assert re.search(r"\n +threads +batch +p50 ms .*\nmodel int8 +1 +1 .*\nphoto to findings +1 +1 ", done.out)
    assert "\npeak memory: 40 MiB\n" in done.out
    told = json.loads(edgeskin("benchmark", bundle, "--json", "--threads", "2", "--quiet").out)
    assert [figure["threads"] for figure in told["latency"]] == [2, 2]
    assert told["placement"]["provider"] == "CPUExecutionProvider"


def test_evaluate_says_which_metadata_was_given(edgeskin, told_graph: Path, graph: Path, phantom_data: Path) -> None:
    words = ("evaluate", told_graph, "--data", phantom_data, "--split", "val")
    done = edgeskin(*words, "--metadata", "unknown", "--json")
    assert done.code == 0
    assert json.loads(done.out)["metadata"] == "unknown"
    assert "val: 9 images, metadata unknown, float and int8" in done.err
    assert json.loads(edgeskin(*words, "--json").out)["metadata"] == "real"
    assert edgeskin(*words, "--metadata", "some").code == 2
    done = edgeskin("evaluate", graph, "--data", phantom_data, "--split", "val", "--metadata", "real")
    assert done.code == 2
    assert "error: Invalid value for --metadata: small takes no metadata" in done.err


def test_what_nothing_here_runs_is_told_in_one_line(
    edgeskin, small_graph, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere.at(monkeypatch)
    out, profile = tmp_path / "bundle", elsewhere.profile(tmp_path)
    words = ("export", "--from", small_graph.folder, "--target", "elsewhere", "--profile", profile, "--out", out)
    done = edgeskin(*words)
    assert done.code == 4
    assert done.out.splitlines()[-1].startswith("  Graph-verified: the saved bytes")
    assert "Attest:    edgeskin attest" in done.err
    assert json.loads(edgeskin(*words, "--json", "--quiet").out)["verified"] == "graph"
    photo = out / "golden" / "photos" / "00.png"
    for command in (("benchmark", out), ("predict", photo, "--bundle", out)):
        done = edgeskin(*command)
        assert (done.code, done.out, done.err) == (1, "", f"error: {out}/model.onnx: only an elsewhere runs it\n")


def test_a_pending_bundle_is_attested_elsewhere_and_then_passes(
    edgeskin, small_graph, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere.at(monkeypatch)
    out, profile = tmp_path / "bundle", elsewhere.profile(tmp_path)
    words = ("export", "--from", small_graph.folder, "--target", "elsewhere", "--profile", profile, "--out", out)
    assert edgeskin(*words, "--quiet").code == 4
    gate = ("gate", out, "--profile", profile)
    open_still = edgeskin(*gate)
    assert open_still.code == 4
    assert f"device_numerics and 3 more: not measured: {WHERE} {out}\n" in open_still.out
    assert edgeskin("attest", out) == (1, "", f"error: {out}: {WHERE} {out}\n")
    elsewhere.at(monkeypatch, "all", simulated=True)
    done = edgeskin("attest", out, "--name", "stand-in")
    assert done.code == 0
    assert done.out.startswith(f"attested: {out}/attestations/stand-in.json (not counted: simulated")
    elsewhere.at(monkeypatch)
    assert edgeskin(*gate).code == 4
    elsewhere.at(monkeypatch, "all", "gpu")
    done = edgeskin("attest", out, "--name", "m2", "--from", small_graph.folder)
    assert done.code == 0
    assert done.out.startswith(f"attested: {out}/attestations/m2.json\n")
    assert re.search(r"\n  model int8, gpu +1 +1 ", done.out)
    assert re.search(r"\n  speed: \d\.\d\d× as fast as fp32 ", done.out)
    assert "\n    ✓ int8.onnx, gpu → artifact\n" in done.out
    assert f"Judge:     edgeskin gate {out}\n" in done.err
    done = edgeskin(*gate)
    assert done.code == 0
    assert [line for line in done.out.splitlines() if line.startswith("  attested by m2: ")]
    told = json.loads(edgeskin(*gate, "--json").out)
    assert {one["name"]: one["uncounted"] is None for one in told["attestations"]} == {"m2": True, "stand-in": False}
    assert (told["exit_code"], told["verified"]) == (0, "graph")


def test_attest_prints_its_attestation_and_refuses_in_one_line(edgeskin, bundle: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(bundle, tmp_path / "copy"))
    done = edgeskin("attest", copy, "--name", "here", "--json", "--quiet")
    assert (done.code, done.err) == (0, "")
    assert json.loads(done.out) == json.loads((copy / "attestations" / "here.json").read_text())
    assert edgeskin("attest", copy, "--name", "here", "--quiet") == (
        0,
        f"attested: {copy}/attestations/here.json\n",
        "",
    )
    (copy / "report.md").unlink()
    done = edgeskin("attest", copy)
    assert (done.code, done.out) == (1, "")
    assert done.err == f"error: {copy}: not the bundle that was exported: report.md: missing\n"


def test_benchmark_and_attest_take_release_figures_by_one_word(
    edgeskin, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(latency.EFFORTS, "release", latency.EFFORTS["quick"])  # one takes a minute
    monkeypatch.setattr(measurements, "RELEASE_SAMPLES", 0)
    monkeypatch.setattr(cold, "measure", lambda *_, **__: NotMeasured("20 processes"))
    copy = Path(shutil.copytree(bundle, tmp_path / "copy"))
    for words, modes in ((("--release",), {"release"}), ((), {"quick"})):
        attested = json.loads(edgeskin("attest", copy, "--json", *words).out)["measurements"]
        for told in (attested, json.loads(edgeskin("benchmark", copy, "--json", *words).out)):
            assert {figure["mode"] for figure in told["latency"]} == modes


def test_of_all_targets_one_that_fails_or_is_missing_keeps_no_other_from_being_built(
    edgeskin, small_graph, gate: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The summary has a line for each, and the exit code is the worst."""

    def refuse(*_: object) -> None:
        raise TargetError("what it says")

    built = [name for name in ALL if targets.get(name).missing() is None]
    if "tflite" not in built:
        pytest.skip("two targets are needed")
    gate.write_text("size_mib_max = 16\n")
    monkeypatch.setattr("edgeskin.targets.tensorrt.target.TensorrtTarget.build", refuse)
    monkeypatch.setattr("edgeskin.targets.coreml.CoremlTarget.missing", lambda _: "it is not installed. Install it")
    out = tmp_path / "every"
    done = edgeskin("export", "--from", small_graph.folder, "--gate", gate, "--target", "all", "--out", out)
    assert done.code == 1
    assert "error: what it says\n" in done.err
    summary = done.err.splitlines()[-len(ALL) :]
    assert "tensorrt   error: nothing was built" in summary
    assert f"tflite     passed: {out}/small-tflite-int8" in summary
    assert summary[-1] == "coreml     not built: it is not installed. Install it"
    assert not (out / "small-tensorrt-int8").exists()
    assert (out / "small-tflite-int8" / "report.json").exists()


def test_via_torch_tensorrt_the_same_graph_becomes_a_program_of_torch(
    edgeskin, small_graph, gate: Path, tmp_path: Path
) -> None:
    pytest.importorskip("torch")
    out = tmp_path / "bundle"
    words = ("export", "--from", small_graph.folder, "--via", "torch-tensorrt", "--gate", gate, "--out", out)
    done = edgeskin(*words, "--target", "tensorrt", "--json")
    assert done.code == 4, done.err
    told = json.loads(done.out)
    assert (told["target"], told["verified"]) == ("torch-tensorrt", "graph")
    pending = [promise["name"] for promise in told["promises"] if promise["state"] == "pending"]
    assert pending == ["device_numerics", "peak_memory_mib"]
    assert (out / "model.pt2").is_file()
    assert edgeskin(*words, "--target", "onnx") == (
        1,
        "",
        "error: onnx is not built via torch-tensorrt. Leave out --via, or give --target tensorrt\n",
    )


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--gpus", "ada, volta"), "TensorRT-RTX cannot build for volta: choose turing, "),
        (("--gpus", ""), "TensorRT-RTX cannot build for nothing: choose turing, "),
        (("--gpus", "ada", "--via", "torch-tensorrt"), "torch-tensorrt compiles .* Leave out --via or --gpus\n"),
    ],
)
def test_gpus_that_nothing_is_built_for_are_refused_before_anything_is_built(
    words: tuple[str, ...], told: str, edgeskin, tmp_path: Path
) -> None:
    done = edgeskin("export", "--from", tmp_path / "none", "--target", "tensorrt", *words, "--out", tmp_path / "bundle")
    assert (done.code, done.out) == (1, "")
    assert re.fullmatch(rf"error: {told}.*\n?", done.err)


def test_gpus_are_taken_as_people_write_them(edgeskin, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: list[tuple[str, ...]] = []

    def stop(_: object, profile: Profile, *more: object, **named: object) -> None:
        asked.append(profile.gpus)
        raise TargetError("it stops here")

    monkeypatch.setattr(journey, "export", stop)
    words = ("--gpus", " ada,ampere ,ada", "--out", tmp_path / "bundle")
    assert edgeskin("export", "--target", "tensorrt", *words).code == 1
    assert asked == [("ada", "ampere")]


@pytest.mark.slow
def test_a_release_that_another_gate_fails_says_which_one_it_passed(edgeskin, tmp_path: Path) -> None:
    failed = edgeskin("export", "--from", "clinic-2-photo", "--target", "onnx", "--out", tmp_path / "bundle")
    assert failed.code == 3
    assert "only 10 images are of a class that it needs, and the gate demands 15" in failed.out
    assert "Released:  by the gate photo; to judge by it, add --gate photo" in failed.err
