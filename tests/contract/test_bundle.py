"""Bundles: what is recorded, what is noticed, and that looking changes nothing."""

import hashlib
import json
import os
from pathlib import Path

import pytest

from edgeskin.contract import bundle, checkout
from edgeskin.contract.bundle import Bundle
from edgeskin.contract.model import HeadSpec, ModelCard, Provenance
from edgeskin.errors import BundleError

CARD = ModelCard(
    name="tiny",
    version="1",
    size=32,
    heads=(
        HeadSpec(name="lesion", kind="mask", labels=("lesion",), threshold=0.5),
        HeadSpec(name="diagnosis", kind="softmax", labels=("melanoma", "nevus")),
    ),
    intended_use="tests",
    licence="none",
    provenance=Provenance(
        recipe="none", recipe_sha256="0" * 64, data=(), data_list_sha256="0" * 64, seed=0, edgeskin_version="0"
    ),
)


def fill(folder: Path) -> Path:
    """A finished bundle."""
    folder.mkdir()
    CARD.write(folder / "model.json")
    (folder / "model.onnx").write_bytes(b"network")
    (folder / "golden").mkdir()
    (folder / "golden" / "00.png").write_bytes(b"photo")
    bundle.write_labels(folder, CARD)
    bundle.write_manifest(folder, target="onnx", precision="int8", artifact="model.onnx", graph_sha256="a" * 64)
    return folder


def edit(folder: Path, **changes: object) -> None:
    path = folder / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def snapshot(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {str(path): (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.rglob("*") if path.is_file()}


def test_a_fresh_bundle_verifies_and_opens(tmp_path: Path) -> None:
    folder = fill(tmp_path / "b")
    assert bundle.verify(folder) == ()
    opened = Bundle.open(folder)
    assert opened.artifact.read_bytes() == b"network"
    assert opened.card == CARD
    assert opened.manifest.graph_sha256 == "a" * 64


def test_every_file_is_listed_with_hash_and_size(tmp_path: Path) -> None:
    listed = bundle.read_manifest(fill(tmp_path / "b")).files
    assert sorted(listed) == ["golden/00.png", "labels/diagnosis.txt", "labels/lesion.txt", "model.json", "model.onnx"]
    assert listed["model.onnx"].sha256 == hashlib.sha256(b"network").hexdigest()
    assert listed["model.onnx"].size_bytes == 7


def test_changed_missing_and_extra_files_are_each_named(tmp_path: Path) -> None:
    folder = fill(tmp_path / "b")
    (folder / "model.onnx").write_bytes(b"netw0rk")
    (folder / "model.json").write_text("{}")
    (folder / "labels" / "lesion.txt").unlink()
    (folder / "golden" / "notes.txt").write_text("mine")
    assert bundle.verify(folder) == (
        "labels/lesion.txt: missing",
        f"model.json: changed, 2 bytes instead of {bundle.read_manifest(folder).files['model.json'].size_bytes}",
        "model.onnx: changed, other contents of the same size",
        "golden/notes.txt: extra, not in the manifest",
    )


def test_verify_only_reads(tmp_path: Path) -> None:
    folder = fill(tmp_path / "b")
    before = snapshot(folder)
    bundle.verify(folder)
    assert snapshot(folder) == before


def test_signature_and_attestations_come_later_and_are_not_extra(tmp_path: Path) -> None:
    folder = fill(tmp_path / "b")
    (folder / "attestations").mkdir()
    (folder / "attestations" / "phone.json").write_text("{}")
    (folder / "manifest.sig").write_text("signed")
    assert bundle.verify(folder) == ()


@pytest.mark.parametrize("name", ["model.onnx", "model.json"])
def test_a_bundle_whose_network_or_card_was_changed_does_not_open(tmp_path: Path, name: str) -> None:
    folder = fill(tmp_path / "b")
    (folder / name).write_bytes(b"other")
    with pytest.raises(BundleError, match=rf"{name}: changed"):
        Bundle.open(folder)


def test_a_link_is_not_a_file_of_the_bundle(tmp_path: Path) -> None:
    folder = fill(tmp_path / "b")
    (tmp_path / "elsewhere").write_bytes(b"network")
    (folder / "model.onnx").unlink()
    (folder / "model.onnx").symlink_to(tmp_path / "elsewhere")
    assert bundle.verify(folder) == ("model.onnx: changed, a link stands in its place",)
    with pytest.raises(BundleError, match="files, not links"):
        bundle.write_manifest(folder, target="onnx", precision="int8", artifact="model.onnx", graph_sha256="a" * 64)


def test_a_newer_format_is_refused_by_name(tmp_path: Path) -> None:
    folder = fill(tmp_path / "b")
    edit(folder, format=3, edgeskin_version="9.1")
    with pytest.raises(BundleError, match=r"format 3.*Install edgeskin 9\.1"):
        bundle.verify(folder)


def test_a_bundle_of_the_first_format_reads_as_before(tmp_path: Path) -> None:
    folder = fill(tmp_path / "b")
    path = folder / "manifest.json"
    first = json.loads(path.read_text()) | {"format": 1}
    for later in ("checksum", "edgeskin_commit", "tool_versions"):
        del first[later]
    path.write_text(json.dumps(first))
    assert bundle.verify(folder) == ()
    assert Bundle.open(folder).manifest.tool_versions == {}


def test_a_manifest_tells_the_code_and_the_engines_it_comes_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkout, "commit", lambda: "c" * 40)
    folder = fill(tmp_path / "b")
    tools = {"onnxruntime": "1.0"}
    written = bundle.write_manifest(
        folder, target="onnx", precision="int8", artifact="model.onnx", graph_sha256="a" * 64, tool_versions=tools
    )
    assert bundle.read_manifest(folder) == written
    assert (written.edgeskin_commit, written.tool_versions) == ("c" * 40, tools)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"edgeskin_version": "', '"edgeskin_version": "9'),
        ('"graph_sha256": "a', '"graph_sha256": "b'),
        ('"format": 2', '"format": 1'),
        ("  ", " \t"),
        ("\n", "\r"),
    ],
)
def test_a_manifest_edited_by_hand_is_refused_without_any_key(tmp_path: Path, old: str, new: str) -> None:
    folder = fill(tmp_path / "b")
    path = folder / "manifest.json"
    text = path.read_text()
    assert old in text
    path.write_bytes(text.replace(old, new, 1).encode())
    with pytest.raises(BundleError, match=r"manifest\.json: was changed since it was written"):
        Bundle.open(folder)


def test_a_folder_without_a_manifest_is_no_bundle(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "absent"):
        with pytest.raises(BundleError, match=r"manifest\.json: no such file"):
            bundle.verify(folder)


@pytest.mark.parametrize(
    "name", ["../secret", "/etc/passwd", "a\\b", "a//b", "C:/x", "C:x", "a\x1b[2Jb", "a\nb", "\u202ea"]
)
def test_a_manifest_cannot_point_outside_its_bundle(tmp_path: Path, name: str) -> None:
    folder = fill(tmp_path / "b")
    edit(folder, files={name: {"sha256": "a" * 64, "size_bytes": 1}})
    with pytest.raises(BundleError, match="not a plain path inside the bundle"):
        bundle.verify(folder)


def test_a_name_that_no_file_can_have_is_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    folder = fill(tmp_path / "b")
    path, name = folder / "manifest.json", "x" * 5000
    told = json.loads(path.read_text()) | {"format": 1}
    del told["checksum"]
    told["files"][name] = {"sha256": "a" * 64, "size_bytes": 1}
    path.write_text(json.dumps(told))
    (problem,) = bundle.verify(folder)
    assert problem.startswith(f"{name}: cannot be read: ")


def test_half_a_letter_in_a_manifest_is_refused(tmp_path: Path) -> None:
    folder = fill(tmp_path / "b")
    edit(folder, target="\ud800")
    with pytest.raises(BundleError, match=r"manifest\.json: cannot be read as JSON"):
        Bundle.open(folder)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
@pytest.mark.parametrize("name", ["manifest.json", "manifest.sig", "model.json", "model.onnx"])
def test_what_would_never_end_is_not_read(tmp_path: Path, name: str) -> None:
    folder = fill(tmp_path / "b")
    (folder / name).unlink(missing_ok=True)
    os.mkfifo(folder / name)
    with pytest.raises(BundleError, match=rf"{name}: (.* no regular file|missing|is no signature)"):
        Bundle.open(folder)


def test_only_plain_json_is_an_attestation(tmp_path: Path) -> None:
    folder = fill(tmp_path / "b")
    (folder / "attestations" / "more").mkdir(parents=True)
    for name in ("phone.json", "phone.exe", "more/phone.json"):
        (folder / "attestations" / name).write_text("{}")
    (folder / "attestations" / "link.json").symlink_to(folder / "attestations" / "phone.json")
    assert bundle.verify(folder) == tuple(
        f"attestations/{name}: extra, not in the manifest" for name in ("link.json", "more/phone.json", "phone.exe")
    )


def test_a_damaged_manifest_names_the_wrong_field(tmp_path: Path) -> None:
    folder = fill(tmp_path / "b")
    edit(folder, precision="int4")
    with pytest.raises(BundleError, match="precision"):
        Bundle.open(folder)
    (folder / "manifest.json").write_text("{")
    with pytest.raises(BundleError, match="cannot be read as JSON"):
        Bundle.open(folder)


def test_an_artifact_may_be_a_folder(tmp_path: Path) -> None:
    folder = fill(tmp_path / "b")
    (folder / "model.mlpackage").mkdir()
    (folder / "model.mlpackage" / "weight.bin").write_bytes(b"w")
    bundle.write_manifest(folder, target="coreml", precision="int8", artifact="model.mlpackage", graph_sha256="a" * 64)
    assert Bundle.open(folder).artifact.is_dir()
    (folder / "model.mlpackage" / "weight.bin").write_bytes(b"v")
    with pytest.raises(BundleError, match=r"model\.mlpackage/weight\.bin: changed"):
        Bundle.open(folder)
    (folder / "model.mlpackage" / "weight.bin").write_bytes(b"w")
    (folder / "notes.txt").write_text("mine")
    assert Bundle.open(folder)
    (folder / "model.mlpackage" / "more.bin").write_bytes(b"w")
    with pytest.raises(BundleError, match=r"model\.mlpackage/more\.bin: extra"):
        Bundle.open(folder)


def test_a_manifest_is_not_written_for_an_absent_artifact(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="the artifact is not in the bundle"):
        bundle.write_manifest(tmp_path, target="onnx", precision="int8", artifact="model.onnx", graph_sha256="a" * 64)
    assert not (tmp_path / "manifest.json").exists()


def test_equal_contents_give_equal_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkout, "commit", lambda: None)  # somebody may commit in between
    one, two = fill(tmp_path / "one"), fill(tmp_path / "two")
    assert {p.relative_to(one): p.read_bytes() for p in one.rglob("*") if p.is_file()} == {
        p.relative_to(two): p.read_bytes() for p in two.rglob("*") if p.is_file()
    }
    assert Bundle.open(one).sha256 == Bundle.open(two).sha256


def test_labels_are_one_a_line_in_the_outputs_order(tmp_path: Path) -> None:
    bundle.write_labels(tmp_path, CARD)
    assert (tmp_path / "labels" / "diagnosis.txt").read_text() == "melanoma\nnevus\n"
