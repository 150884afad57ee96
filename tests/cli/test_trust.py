"""Signing and verifying as a user meets it."""

import json
import shutil
from pathlib import Path

import pytest

from edgeskin import optional
from edgeskin.benchmarks import evidence
from edgeskin.benchmarks.evidence import EvidenceEntry
from edgeskin.benchmarks.measurements import AccuracyReport, WorstCase
from edgeskin.benchmarks.report import Report
from edgeskin.contract import signature
from edgeskin.errors import BundleError
from edgeskin.graph.folder import Graph
from edgeskin.screen import worst

ABSENT = optional.missing("model_signing", "OpenSSL", "cryptography")
signs = pytest.mark.skipif(ABSENT is not None, reason=str(ABSENT))


@pytest.fixture(autouse=True)
def _nobody_is_trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(signature.TRUSTED_KEY, raising=False)
    monkeypatch.delenv("EDGESKIN_KEY_PASSWORD", raising=False)


@pytest.fixture
def copy(bundle: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(bundle, tmp_path / "copy"))


@pytest.fixture
def passed(edgeskin, small_graph, gate: Path, tmp_path: Path) -> Path:
    """A bundle that passed its own gate."""
    out = tmp_path / "passed"
    assert edgeskin("export", "--from", small_graph.folder, "--target", "onnx", "--gate", gate, "--out", out).code == 0
    return out


@pytest.fixture
def keys(edgeskin, tmp_path: Path) -> tuple[Path, Path]:
    done = edgeskin("sign", "--make-key", tmp_path / "keys")
    private, public = tmp_path / "keys" / "edgeskin-private.pem", tmp_path / "keys" / "edgeskin-public.pem"
    assert done.out == f"private key, for you alone: {private}\npublic key, to give away: {public}\n"
    return private, public


def photo(bundle: Path) -> Path:
    return bundle / "golden" / "photos" / "00.png"


def test_an_unsigned_bundle_gets_one_warning_line_where_it_runs_and_none_when_quiet(edgeskin, bundle: Path) -> None:
    for words in (
        ("verify", bundle),
        ("predict", photo(bundle), "--bundle", bundle),
        ("benchmark", bundle),
        ("gate", bundle),
        ("report", bundle),
        ("compare", bundle, bundle / "report.json"),
        ("debug", bundle),
    ):
        done = edgeskin(*words)
        assert done.code in (0, 3)
        assert done.err.count(f"warning: {bundle}: is not signed, so nobody answers for it\n") == 1
        assert "is not signed" not in edgeskin(*words, "--quiet").err
    assert f"warning: {bundle}: is not signed" in edgeskin("inspect", bundle).err
    assert edgeskin("inspect", bundle / "model.onnx", "--summary")[::2] == (0, "")


def test_a_graph_folder_gets_no_warning_and_does_not_run_where_a_key_is_trusted(
    edgeskin, small_graph, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGESKIN_CACHE", str(tmp_path / "cache"))
    words = ("predict", photo(bundle), "--bundle", small_graph.folder)
    assert "warning" not in edgeskin(*words).err
    monkeypatch.setenv(signature.TRUSTED_KEY, str(tmp_path / "key.pem"))
    done = edgeskin(*words)
    assert (done.code, done.out) == (1, "")
    assert "is a Graph folder, and EDGESKIN_TRUSTED_KEY lets signed bundles alone run" in done.err


def test_a_signature_that_is_demanded_and_missing_is_refused(edgeskin, bundle: Path) -> None:
    done = edgeskin("verify", bundle, "--require-signature")
    assert (done.code, done.out) == (1, "")
    assert done.err == f"error: {bundle}: is not signed. Name the signer's public key with --key\n"
    done = edgeskin("verify", bundle, "--require-signature", "--json")
    assert json.loads(done.out)["problems"] == ["is not signed. Name the signer's public key with --key"]


def test_whatever_rests_on_a_bundle_refuses_an_unsigned_one_on_demand(
    edgeskin, small_graph, bundle: Path, tmp_path: Path
) -> None:
    for words in (
        ("gate", bundle),
        ("report", bundle),
        ("predict", photo(bundle), "--bundle", bundle),
        ("compare", bundle, bundle),
        ("compare", tmp_path / "report.json", bundle),
    ):
        shutil.copy(bundle / "report.json", tmp_path)
        done = edgeskin(*words, "--require-signature")
        assert (done.code, done.out) == (1, "")
        assert f"error: {bundle}: is not signed, so nobody answers for it. Name the public key to demand" in done.err
    for words, what in (
        (("compare", bundle, tmp_path / "report.json"), bundle),
        (("compare", tmp_path / "report.json", tmp_path / "report.json"), tmp_path / "report.json"),
        (("predict", photo(bundle), "--bundle", small_graph.folder), small_graph.folder),
        (("predict", photo(bundle)), "the shipped release"),
    ):
        done = edgeskin(*words, "--require-signature")
        assert (done.code, done.out) == (1, "")
        assert f"error: {what}: is " in done.err


def test_signing_needs_a_bundle_and_a_key_or_makes_keys(edgeskin, bundle: Path, tmp_path: Path) -> None:
    for words in ((), (bundle,), ("--key", "a.pem"), (bundle, "--make-key", tmp_path / "keys")):
        done = edgeskin("sign", *words)
        assert done.code == 2
    assert not (tmp_path / "keys").exists()


def test_a_bundle_that_did_not_pass_is_not_signed(edgeskin, copy: Path, tmp_path: Path) -> None:
    done = edgeskin("sign", copy, "--key", tmp_path / "never-read.pem")
    assert (done.code, done.out) == (1, "")
    assert f"error: {copy}: not signed, the gate default says failed\n" in done.err
    assert not (copy / "manifest.sig").exists()


@signs
def test_the_whole_way_from_keys_to_findings(
    edgeskin, passed: Path, gate: Path, keys: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    private, public = keys
    done = edgeskin("sign", passed, "--key", private)
    assert done.code == 0
    assert done.out.startswith(f"signed: {passed}, by the key ")
    assert done.out.endswith(f"(gate {gate}: passed)\n")
    done = edgeskin("verify", passed)
    assert done.code == 0
    unchecked = "which was not checked: that takes its public half. Name that in EDGESKIN_TRUSTED_KEY\n"
    assert unchecked in done.err
    demanded = edgeskin("gate", passed, "--require-signature")
    assert (demanded.code, demanded.out) == (1, "")
    assert demanded.err.endswith(unchecked)
    done = edgeskin("verify", passed, "--key", public, "--require-signature")
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith(f"{passed}: every file is as it was exported, signed by the key ")
    monkeypatch.setenv(signature.TRUSTED_KEY, str(public))
    told = json.loads(edgeskin("verify", passed, "--json").out)
    assert (told["intact"], told["signature_checked"], len(told["signed_by"])) == (True, True, 64)
    for words in (("predict", photo(passed), "--bundle", passed), ("gate", passed), ("compare", passed, passed)):
        done = edgeskin(*words, "--require-signature")
        assert done.code == 0
        assert "warning" not in done.err


@signs
def test_where_a_key_is_trusted_every_command_refuses_what_it_did_not_sign(
    edgeskin, bundle: Path, keys: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(signature.TRUSTED_KEY, str(keys[1]))
    for words in (
        ("verify", bundle),
        ("predict", photo(bundle), "--bundle", bundle),
        ("benchmark", bundle),
        ("gate", bundle),
        ("attest", bundle),
        ("debug", bundle),
        ("compare", bundle, bundle),
        ("inspect", bundle),
        ("report", bundle),
    ):
        done = edgeskin(*words)
        assert (done.code, done.out) == (1, "")
        assert "is not signed, and a signature by the key" in done.err


@pytest.mark.parametrize("words", [("debug",), ("compare",), ("report",), ("gate",), ("attest",), ("benchmark",)])
def test_whatever_judges_or_measures_wants_every_file_as_it_was(edgeskin, copy: Path, words: tuple[str, ...]) -> None:
    (copy / "labels" / "diagnosis.txt").write_text("benign\n")
    others = (copy,) if words == ("compare",) else ()
    done = edgeskin(*words, copy, *others)
    assert (done.code, done.out) == (1, "")
    assert "labels/diagnosis.txt: changed" in done.err


def test_inspect_wants_the_artifact_as_it_was(edgeskin, copy: Path) -> None:
    artifact = copy / json.loads((copy / "manifest.json").read_text())["artifact"]
    artifact.write_bytes(artifact.read_bytes() + b" ")
    done = edgeskin("inspect", copy)
    assert (done.code, done.out) == (1, "")
    assert f"{artifact.name}: changed" in done.err


@signs
def test_no_picture_is_made_by_a_bundle_that_the_trusted_key_did_not_sign(
    bundle: Path, keys: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(signature.TRUSTED_KEY, str(keys[1]))
    report = Report.read(bundle / "report.json")
    case = WorstCase(image_id="phantom_00000", score=0.1)
    accuracy = AccuracyReport(
        dataset="phantom", split="val", n=1, data_list_sha256="1" * 64, metrics={}, worst={"mask": (case,)}
    )
    figures = report.measurements.model_copy(update={"accuracy": accuracy})
    with pytest.raises(BundleError, match="is not signed, and a signature by the key"):
        worst.pictures(bundle, report.model_copy(update={"measurements": figures}), tmp_path)


@signs
def test_a_key_of_someone_else_and_a_damaged_signature_are_refused(
    edgeskin, passed: Path, gate: Path, keys: tuple[Path, Path], tmp_path: Path
) -> None:
    assert edgeskin("sign", passed, "--key", keys[0]).code == 0
    assert edgeskin("sign", "--make-key", tmp_path / "other").code == 0
    done = edgeskin("verify", passed, "--key", tmp_path / "other" / "edgeskin-public.pem")
    assert done.code == 1
    assert "is signed by the key" in done.err
    (passed / "manifest.sig").write_text("{}")
    for words in (("verify", passed), ("predict", photo(passed), "--bundle", passed), ("gate", passed)):
        done = edgeskin(*words)
        assert (done.code, done.out) == (1, "")
        assert "manifest.sig: is no signature that `edgeskin sign` wrote" in done.err


@signs
def test_a_private_key_may_have_a_password(
    edgeskin, passed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGESKIN_KEY_PASSWORD", "secret")
    assert edgeskin("sign", "--make-key", tmp_path / "keys").code == 0
    private = tmp_path / "keys" / "edgeskin-private.pem"
    monkeypatch.delenv("EDGESKIN_KEY_PASSWORD")
    done = edgeskin("sign", passed, "--key", private)
    assert (done.code, done.out) == (1, "")
    monkeypatch.setenv("EDGESKIN_KEY_PASSWORD", "secret")
    assert edgeskin("sign", passed, "--key", private).code == 0


def test_a_graph_folder_whose_evidence_was_edited_is_not_as_it_was_written(edgeskin, graph: Path) -> None:
    Graph.open(graph).seal()
    measured = AccuracyReport(dataset="isic2017", split="val", n=150, metrics={}, data_list_sha256="0" * 64)
    path = graph / "evidence.json"
    path.unlink(missing_ok=True)
    evidence.append(path, EvidenceEntry.of(measured, "0" * 64, {}))
    assert edgeskin("verify", graph) == (0, f"{graph}: every file is as it was written\n", "")
    path.write_text(path.read_text(encoding="utf-8").replace('"n": 150', '"n": 151'), encoding="utf-8")
    done = edgeskin("verify", graph)
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith(f"error: {graph}: evidence.json: the entry of ")
