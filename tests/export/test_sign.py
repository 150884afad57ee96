"""Signing: only what passes now, and only what was measured."""

import shutil
from pathlib import Path

import pytest
from small_graphs import contents

from edgeskin import optional
from edgeskin.benchmarks import attestation
from edgeskin.benchmarks.attestation import Attestation
from edgeskin.benchmarks.measurements import Measurements
from edgeskin.benchmarks.report import Report
from edgeskin.contract import signature
from edgeskin.contract.bundle import Bundle, write_manifest
from edgeskin.errors import BundleError, MissingDependencyError
from edgeskin.export import journey
from edgeskin.export.profile import Profile
from edgeskin.export.sign import sign
from edgeskin.graph.folder import Graph

ABSENT = optional.missing("model_signing", "OpenSSL", "cryptography")
signs = pytest.mark.skipif(ABSENT is not None, reason=str(ABSENT))


@pytest.fixture
def copy(bundle: Path, tmp_path: Path) -> Path:
    """A bundle that passed, to sign or to damage."""
    return Path(shutil.copytree(bundle, tmp_path / "copy"))


@signs
def test_what_passed_is_signed_and_nothing_else_in_it_changes(
    copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    private, public = signature.make_keys(tmp_path / "keys")
    before = contents(copy)
    monkeypatch.setenv(signature.TRUSTED_KEY, str(public))
    key, report = sign(copy, private)  # on a machine, too, that opens nothing unsigned
    after = contents(copy)
    assert set(after) - set(before) == {"manifest.sig"}
    assert {name: after[name] for name in before} == before
    assert report.verdict.state == "passed"
    assert signature.check(copy / "manifest.json", public) == key
    assert journey.judge(copy).verdict.state == "passed"


@pytest.mark.parametrize(("pending", "state"), [(frozenset(), "failed"), (frozenset({"accuracy"}), "pending")])
def test_a_failed_or_pending_bundle_is_never_signed(
    small_graph: Graph, tmp_path: Path, pending: frozenset[str], state: str
) -> None:
    gate, asks = tmp_path / "gate.toml", tmp_path / "profile.toml"
    gate.write_text("minimum = 1\nminimum_per_class = 1\n[floor]\nmelanoma_auroc = 0.9\n")
    asks.write_text(
        f'name = "asks"\ndescription = "asks"\ntarget = "onnx"\nprecision = "int8"\ngate = "{gate}"\n'
        f"may_be_pending = {sorted(pending)}\n"
    )
    done = journey.export(small_graph, Profile.find(str(asks)), tmp_path / "bundle")
    assert done.verdict.state == state
    with pytest.raises(
        BundleError, match=rf"not signed, the gate .* says {state}\n  {state} melanoma_auroc: not measured"
    ):
        sign(done.folder, tmp_path / "never-read.pem", profile=str(asks))
    assert not (done.folder / "manifest.sig").exists()


def test_a_gate_that_promises_nothing_is_no_reason_to_sign(copy: Path, tmp_path: Path) -> None:
    (tmp_path / "none.toml").write_text("")
    with pytest.raises(BundleError, match=r"not signed, the gate .* says failed"):
        sign(copy, tmp_path / "never-read.pem", rules=str(tmp_path / "none.toml"))


def test_another_gate_or_profile_makes_no_failed_bundle_signed(
    small_graph: Graph, tmp_path: Path, profile: Profile
) -> None:
    lax, asks = tmp_path / "lax.toml", tmp_path / "asks.toml"
    lax.write_text(Path(profile.gate).read_text())
    asks.write_text(f'name = "asks"\ndescription = "asks"\ntarget = "onnx"\nprecision = "int8"\ngate = "{lax}"\n')
    done = journey.export(small_graph, Profile.default("onnx"), tmp_path / "bundle")
    assert done.verdict.state == "failed"
    assert journey.judge(done.folder, rules=str(lax), profile=str(asks)).verdict.state == "passed"
    with pytest.raises(BundleError, match="not signed, the gate default says failed"):
        sign(done.folder, tmp_path / "never-read.pem", rules=str(lax), profile=str(asks))
    assert not (done.folder / "manifest.sig").exists()


def attest(folder: Path, figures: Measurements) -> None:
    sha256 = Bundle.open(folder).sha256
    attestation.write(folder, Attestation(name="pc", manifest_sha256=sha256, simulated=False, measurements=figures))


def test_the_word_of_another_machine_can_fail_a_bundle(copy: Path, tmp_path: Path) -> None:
    figures = Report.read(copy / "report.json").measurements
    assert figures.memory is not None
    attest(copy, figures.model_copy(update={"memory": figures.memory.model_copy(update={"peak_mib": 5000.0})}))
    with pytest.raises(BundleError, match=r"says failed\n  failed peak_memory_mib: on pc: 5000"):
        sign(copy, tmp_path / "never-read.pem")


def test_the_word_of_another_machine_makes_no_pending_bundle_signed(
    copy: Path, profile: Profile, tmp_path: Path
) -> None:
    asks, path = tmp_path / "asks.toml", copy / "report.json"
    asks.write_text(
        f'name = "asks"\ndescription = "asks"\ntarget = "onnx"\nprecision = "int8"\ngate = "{profile.gate}"\n'
        'may_be_pending = ["memory"]\n'
    )
    written = Report.read(path)
    figures = written.measurements.model_copy(update={"memory": None})
    unmeasured = written.model_copy(update={"measurements": figures, "profile": "asks"})
    path.write_text(unmeasured.model_dump_json())
    told = Bundle.open(copy).manifest
    write_manifest(copy, target="onnx", precision="int8", artifact=told.artifact, graph_sha256=told.graph_sha256)
    attest(copy, written.measurements)
    assert journey.judge(copy, profile=str(asks)).verdict.state == "passed"
    with pytest.raises(
        BundleError, match=r"says pending where .* no signature covers an attestation\n  pending peak_m"
    ):
        sign(copy, tmp_path / "never-read.pem", profile=str(asks))
    assert not (copy / "manifest.sig").exists()


def test_a_bundle_that_was_changed_is_not_signed(copy: Path, tmp_path: Path) -> None:
    report = copy / "report.json"
    report.write_text(report.read_text().replace("passed", "PASSED", 1))
    with pytest.raises(BundleError, match=r"report\.json: changed"):
        sign(copy, tmp_path / "never-read.pem")


def test_without_the_library_nothing_is_written(copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    available = optional.available
    monkeypatch.setattr(
        optional, "available", lambda module: not module.startswith("model_signing") and available(module)
    )
    with pytest.raises(MissingDependencyError, match=r"edgeskin\[sign\]"):
        sign(copy, tmp_path / "never-read.pem")
    assert not (copy / "manifest.sig").exists()


@signs
def test_a_signed_bundle_is_not_replaced_by_an_export(
    copy: Path, small_graph: Graph, profile: Profile, tmp_path: Path
) -> None:
    private, _ = signature.make_keys(tmp_path / "keys")
    sign(copy, private)
    with pytest.raises(BundleError, match=r"holds more than the bundle.*manifest\.sig"):
        journey.export(small_graph, profile, copy)
    assert Bundle.open(copy)


@pytest.fixture
def deploy(copy: Path, small_graph: Graph) -> Path:
    """The deploy folder of a bundle for TensorRT."""
    place = Path(shutil.copytree(small_graph.folder, copy / "deploy"))
    (place / "recipe.json").write_text("{}")
    sha256 = small_graph.sha256
    write_manifest(copy, target="tensorrt", precision="int8", artifact="deploy/int8.onnx", graph_sha256=sha256)
    return place


def damage(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b" ")


PARTS = ("int8.onnx", "fp32.onnx", "evidence.json", "model.json", "recipe.json", "golden/photos/00.png")


@pytest.mark.parametrize("part", [*PARTS, "checkpoint.safetensors"])
def test_a_deploy_folder_is_exported_only_where_its_whole_bundle_is_as_it_was(
    deploy: Path, small_graph: Graph, part: str
) -> None:
    assert journey.find_graph(deploy).sha256 == small_graph.sha256
    if (deploy / part).exists():
        damage(deploy / part)
    else:
        (deploy / part).write_bytes(b"more")
    with pytest.raises(BundleError, match=rf"deploy/{part}: (changed|extra)"):
        journey.find_graph(deploy)


def test_a_deploy_folder_is_known_by_whatever_path_it_is_named(
    deploy: Path, small_graph: Graph, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "link").symlink_to(deploy)
    monkeypatch.chdir(deploy)
    names = (Path(), tmp_path / "link", deploy / "golden" / "..")
    for name in names:
        assert journey.find_graph(name).sha256 == small_graph.sha256
    damage(deploy / "fp32.onnx")
    for name in names:
        with pytest.raises(BundleError, match=r"deploy/fp32\.onnx: changed"):
            journey.find_graph(name)
    shutil.rmtree(deploy)
    deploy.symlink_to(small_graph.folder)
    with pytest.raises(BundleError, match=r"deploy: extra"):
        journey.find_graph(deploy)


@signs
def test_where_a_key_is_trusted_a_deploy_folder_stands_in_a_signed_bundle(
    deploy: Path, small_graph: Graph, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    private, public = signature.make_keys(tmp_path / "keys")
    monkeypatch.setenv(signature.TRUSTED_KEY, str(public))
    with pytest.raises(BundleError, match="is not signed"):
        journey.find_graph(deploy)
    manifest = deploy.parent / "manifest.json"
    signature.write(manifest, private)
    (tmp_path / "link").symlink_to(deploy)
    for place in (deploy, tmp_path / "link"):
        assert journey.find_graph(place).sha256 == small_graph.sha256
    assert journey.find_graph(small_graph.folder)  # one's own Graph folder is no bundle's
    text = manifest.read_text()
    manifest.write_text(text.replace("  ", " \t", 1))
    with pytest.raises(BundleError, match=r"manifest\.json: was changed"):
        journey.find_graph(deploy)
    manifest.unlink()
    with pytest.raises(BundleError, match=r"manifest\.json: no such file"):
        journey.find_graph(deploy)


def test_a_graph_folder_beside_some_other_manifest_is_a_graph_folder(graph: Graph) -> None:
    (graph.folder.parent / "manifest.json").write_text('{"name": "a web page", "icons": []}')
    assert journey.find_graph(graph.folder).sha256 == graph.sha256
