"""A finished bundle cannot be talked into a pass: what was changed since it was judged is refused."""

import json
import shutil
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from edgeskin import shipped
from edgeskin.cli import app
from edgeskin.contract import bundle as bundles
from edgeskin.errors import BundleError, GraphError
from edgeskin.export import average, journey
from edgeskin.export.evaluate import evaluate
from edgeskin.export.profile import Profile
from edgeskin.graph.folder import Graph


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


def verified(folder: Path) -> Result:
    return CliRunner().invoke(app, ["verify", str(folder)])


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


def test_golden_cases_that_were_swapped_in_a_bundle_are_refused_although_the_manifest_was_too(copy: Path) -> None:
    photos = copy / "golden" / "photos"
    shutil.copy(photos / "01.png", photos / "00.png")
    with pytest.raises(BundleError, match=r"golden/photos/00\.png: changed"):
        journey.judge(copy)
    sealed_again(copy)
    with pytest.raises(BundleError, match="other golden cases"):
        journey.judge(copy)
    shutil.rmtree(copy / "golden")
    sealed_again(copy)
    with pytest.raises(BundleError, match="other golden cases"):
        journey.judge(copy)


@pytest.mark.parametrize("part", ["golden/golden.json", "golden/photos/00.png", "chain.json", "model.json"])
def test_a_graph_folder_that_was_changed_is_exported_evaluated_and_verified_no_more(
    graph: Graph, phantom_data: Path, tmp_path: Path, part: str
) -> None:
    (graph.folder / "chain.json").write_text("[]")
    graph.seal()
    assert verified(graph.folder).exit_code == 0
    path = graph.folder / part
    path.write_bytes(path.read_bytes() + b" ")
    changed = Graph.open(graph.folder)
    for step in (
        lambda: journey.export(changed, Profile.find("desktop"), tmp_path / "out"),
        lambda: evaluate(changed, phantom_data, "val"),
        lambda: average.evaluate([changed], phantom_data, "val", tmp_path / "average.json"),
    ):
        with pytest.raises(GraphError, match="not the Graph folder that was written"):
            step()
    found = verified(graph.folder)
    assert found.exit_code == 1
    assert ("of another network" if part == "model.json" else f"{part.partition('/')[0]}: changed") in found.output


def test_a_report_says_where_nobody_can_tell_whether_the_golden_cases_were_changed(
    graph: Graph, tmp_path: Path
) -> None:
    words = "whether its golden cases are those it was made with is not known"
    told = journey.export(graph, Profile.find("desktop"), tmp_path / "unsealed").report.cautions
    assert any(words in one for one in told)
    graph.seal()
    told = journey.export(graph, Profile.find("desktop"), tmp_path / "sealed").report.cautions
    assert not any(words in one for one in told)


def test_a_part_that_is_missing_or_was_put_there_is_seen(graph: Graph) -> None:
    (graph.folder / "chain.json").write_text("[]")
    graph.seal()
    (graph.folder / "chain.json").unlink()
    graph.training_prints.write_bytes(b"")
    assert graph.changed() == ("chain.json: missing", "training_prints.npy: extra, not in parts.json")
    (graph.folder / "parts.json").write_text("{}")
    with pytest.raises(GraphError, match=r"parts\.json: cannot be read"):
        graph.changed()


@pytest.mark.parametrize("name", shipped.releases())
def test_a_released_network_is_as_it_was_written(name: str) -> None:
    released = Graph.open(shipped.release(Path(name)))
    assert (released.folder / "parts.json").is_file()
    assert released.changed() == ()


@pytest.mark.parametrize("figure", ["NaN", "Infinity", "-Infinity", "-1", "null"])
def test_a_report_without_sound_figures_does_not_pass(copy: Path, figure: str) -> None:
    path = copy / "report.json"
    report = json.loads(path.read_text())
    report["measurements"]["size_mib"] = "FIGURE"
    path.write_text(json.dumps(report).replace('"FIGURE"', figure))
    sealed_again(copy)
    verdict = journey.judge(copy).verdict
    assert [promise.name for promise in verdict.in_state("failed")] == ["size_mib"]
