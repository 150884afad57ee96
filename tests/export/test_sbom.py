"""The bill of materials: what the artifact is, what it was trained on, what runs it here."""

import importlib.metadata
import json
import shutil
from pathlib import Path

import pytest

from edgeskin import files, optional
from edgeskin.benchmarks.report import Report
from edgeskin.errors import MissingDependencyError
from edgeskin.export import journey, sbom
from edgeskin.export.profile import Profile
from edgeskin.graph.folder import Graph

ABSENT = sbom.missing()
bills = pytest.mark.skipif(ABSENT is not None, reason=str(ABSENT))


@pytest.fixture
def copy(bundle: Path, tmp_path: Path) -> Path:
    """A bundle to write into."""
    return Path(shutil.copytree(bundle, tmp_path / "copy"))


@bills
def test_it_names_the_network_its_files_its_data_and_the_packages_that_run_it(copy: Path, small_graph: Graph) -> None:
    report = Report.read(copy / "report.json")
    sbom.write(copy, report, small_graph.card)
    bill = json.loads((copy / "sbom.cdx.json").read_text())
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.6")
    network = bill["metadata"]["component"]
    assert (network["type"], network["name"]) == ("machine-learning-model", small_graph.card.name)
    (artifact,) = network["components"]
    assert artifact["hashes"] == [{"alg": "SHA-256", "content": files.sha256(copy / "model.onnx")}]
    assert {"name": "edgeskin:graph_sha256", "value": small_graph.sha256} in network["properties"]
    parts = {part["name"]: part for part in bill["components"]}
    assert {name for name, part in parts.items() if part["type"] == "data"} == set(small_graph.card.provenance.data)
    for name in ("onnxruntime", "numpy"):
        version = importlib.metadata.version(name)
        assert (parts[name]["version"], parts[name]["purl"]) == (version, f"pkg:pypi/{name}@{version}")
    assert "timestamp" not in bill["metadata"]


@bills
def test_equal_bundles_have_equal_bytes_and_other_ones_another_serial_number(copy: Path, small_graph: Graph) -> None:
    report = Report.read(copy / "report.json")

    def written() -> str:
        sbom.write(copy, report, small_graph.card)
        return (copy / "sbom.cdx.json").read_text()

    first = written()
    assert written() == first
    (copy / "model.onnx").write_bytes(b"another network")
    assert json.loads(written())["serialNumber"] != json.loads(first)["serialNumber"]


@bills
def test_an_artifact_that_is_a_folder_is_listed_file_by_file(copy: Path, small_graph: Graph) -> None:
    report = Report.read(copy / "report.json").model_copy(update={"artifact": "golden"})
    sbom.write(copy, report, small_graph.card)
    listed = json.loads((copy / "sbom.cdx.json").read_text())["metadata"]["component"]["components"]
    assert {one["name"] for one in listed} == {
        path.relative_to(copy).as_posix() for path in (copy / "golden").rglob("*") if path.is_file()
    }


@bills
def test_it_keeps_the_published_schema(copy: Path, small_graph: Graph) -> None:
    pytest.importorskip("jsonschema", reason="cyclonedx-python-lib[json-validation] is not installed")
    validation = pytest.importorskip("cyclonedx.validation.json")
    schema = pytest.importorskip("cyclonedx.schema")
    sbom.write(copy, Report.read(copy / "report.json"), small_graph.card)
    validator = validation.JsonStrictValidator(schema.SchemaVersion.V1_6)
    assert validator.validate_str((copy / "sbom.cdx.json").read_text()) is None


def test_without_the_library_a_bundle_is_complete_and_its_report_says_how_to_get_one(
    small_graph: Graph, profile: Profile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    available = optional.available
    monkeypatch.setattr(optional, "available", lambda module: not module.startswith("cyclonedx") and available(module))
    done = journey.export(small_graph, profile, tmp_path / "bundle")
    assert not (tmp_path / "bundle" / "sbom.cdx.json").exists()
    assert ("SBOM", "pip install 'edgeskin[sign]', and export again") in done.report.next_commands
    with pytest.raises(MissingDependencyError, match=r"edgeskin\[sign\]"):
        sbom.write(tmp_path, done.report, small_graph.card)
