"""A finished bundle cannot be talked into a pass: what was changed since it was judged is refused."""

import json
import shutil
from pathlib import Path

import pytest

from edgeskin.contract import bundle as bundles
from edgeskin.errors import BundleError
from edgeskin.export import journey


@pytest.fixture
def copy(bundle: Path, tmp_path: Path) -> Path:
    """The bundle, to damage."""
    return Path(shutil.copytree(bundle, tmp_path / "bundle"))


def sealed_again(folder: Path, graph_sha256: str | None = None) -> None:
    """Write a manifest that agrees with the files as they are now, as somebody might who knows how."""
    old = bundles.read_manifest(folder)
    (folder / bundles.MANIFEST).unlink()
    bundles.write_manifest(
        folder,
        target=old.target,
        precision=old.precision,
        artifact=old.artifact,
        graph_sha256=graph_sha256 or old.graph_sha256,
    )


def edited(folder: Path, **changes: object) -> None:
    path = folder / "report.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_an_untouched_bundle_is_judged(copy: Path) -> None:
    assert journey.judge(copy).verdict.state == "passed"
    sealed_again(copy)
    assert journey.judge(copy).verdict.state == "passed"


def test_a_report_that_was_edited_by_hand_is_refused(copy: Path) -> None:
    report = json.loads((copy / "report.json").read_text())
    report["measurements"]["size_mib"] = 0.001
    edited(copy, **report)
    with pytest.raises(BundleError, match=r"report\.json: changed"):
        journey.judge(copy)


def test_an_artifact_that_was_swapped_after_measuring_is_refused_although_the_manifest_was_too(copy: Path) -> None:
    (copy / "model.onnx").write_bytes((copy / "model.onnx").read_bytes() + b"\0")
    with pytest.raises(BundleError, match=r"model\.onnx: changed"):
        journey.judge(copy)
    sealed_again(copy)
    with pytest.raises(BundleError, match="is about another artifact"):
        journey.judge(copy)


def test_a_report_about_another_graph_is_refused(copy: Path) -> None:
    edited(copy, graph_sha256="a" * 64)
    sealed_again(copy)
    with pytest.raises(BundleError, match="is about another artifact"):
        journey.judge(copy)
    sealed_again(copy, graph_sha256="b" * 64)
    with pytest.raises(BundleError, match="is about another artifact"):
        journey.judge(copy)


@pytest.mark.parametrize("figure", ["NaN", "Infinity", "-Infinity", "-1", "null"])
def test_a_report_without_sound_figures_does_not_pass(copy: Path, figure: str) -> None:
    path = copy / "report.json"
    report = json.loads(path.read_text())
    report["measurements"]["size_mib"] = "FIGURE"
    path.write_text(json.dumps(report).replace('"FIGURE"', figure))
    sealed_again(copy)
    verdict = journey.judge(copy).verdict
    assert [promise.name for promise in verdict.in_state("failed")] == ["size_mib"]
