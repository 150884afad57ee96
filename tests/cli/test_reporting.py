"""`edgeskin report`, and what a GitHub workflow is told of a verdict."""

import base64
import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image
from small_graphs import hasty

from edgeskin.benchmarks import markup
from edgeskin.export import journey
from edgeskin.export.profile import Profile


@pytest.fixture(scope="session")
def measured_bundle(once: Callable, small_graph, phantom_data: Path) -> Path:
    """A bundle whose accuracy was measured on the phantoms of val, for reading only."""

    def make(folder: Path) -> None:
        with hasty(memory_mib=40):
            journey.export(small_graph, Profile.default("onnx").altered(split="val"), folder, data=phantom_data)

    return once("measured_bundle", make)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_without_a_place_the_report_is_printed_as_markdown(edgeskin, bundle: Path, gate: Path) -> None:
    done = edgeskin("report", bundle, "--gate", gate)
    assert done.code == 0
    assert done.out.startswith("# ")
    assert done.out.splitlines()[0].endswith("onnx int8: passed")


def test_every_form_is_written_where_it_is_asked_for_and_the_bundle_stays_as_it_is(
    edgeskin, bundle: Path, gate: Path, tmp_path: Path
) -> None:
    before = contents(bundle)
    places = [tmp_path / "new" / f"report{ending}" for ending in (".html", ".md", ".xml", ".json")]
    done = edgeskin("report", bundle, "--gate", gate, *(word for place in places for word in ("--out", place)))
    assert (done.code, done.out) == (0, "")
    assert done.err.splitlines()[1:] == [f"Report:    {place}" for place in places]
    page, markdown, junit, facts = (place.read_text() for place in places)
    assert page.startswith("<!doctype html>")
    assert "Passed" in page
    assert markdown.splitlines()[0].endswith("onnx int8: passed")
    assert ElementTree.fromstring(junit).get("failures") == "0"
    assert json.loads(facts)["verdict"]["state"] == "passed"
    assert contents(bundle) == before


def test_a_report_of_a_failed_gate_is_written_all_the_same(edgeskin, bundle: Path, tmp_path: Path) -> None:
    # The shipped gate asks for accuracy, which nobody measured.
    done = edgeskin("report", bundle, "--out", tmp_path / "report.xml", "--quiet")
    assert (done.code, done.out, done.err) == (0, "", "")
    assert ElementTree.parse(tmp_path / "report.xml").getroot().get("failures") != "0"


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("{bundle}", "--out", "a.txt"), 1, "error: a.txt: a report is written as .html, .md, .xml, .json"),
        (("{bundle}", "--out", "{bundle}/a.html"), 1, "lies in the bundle, which stays as it was exported"),
        (("{bundle}", "--data", "."), 2, "--data is for a page: add --out page.html"),
        ((), 2, "give a BUNDLE, or --schema alone"),
        (("/nowhere",), 1, "error: /nowhere/manifest.json: no such file"),
    ],
)
def test_a_mistake_is_told_in_one_line(edgeskin, bundle: Path, words, code: int, said: str) -> None:
    done = edgeskin("report", *(word.format(bundle=bundle) for word in words))
    assert (done.code, done.out) == (code, "")
    assert said in done.err.splitlines()[0]


def test_the_schema_of_the_report_needs_no_bundle(edgeskin) -> None:
    assert json.loads(edgeskin("report", "--schema").out)["title"] == "edgeskin report, format 1"


def test_who_has_the_images_sees_the_worst_cases_with_truth_and_answer(
    edgeskin, measured_bundle: Path, phantom_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "page.html"
    monkeypatch.setenv("EDGESKIN_DATA", str(phantom_data.parent))
    assert edgeskin("report", measured_bundle, "--data", phantom_data.name, "--out", place).code == 0
    page = place.read_text()
    facts = json.loads((measured_bundle / "report.json").read_text())
    named = {case["image_id"] for cases in facts["measurements"]["accuracy"]["worst"].values() for case in cases}
    assert named
    for image_id in named:
        assert f'alt="{image_id}: ' in page
    assert ", truth " in page
    drawn = [base64.b64decode(found) for found in re.findall(r"data:image/jpeg;base64,([A-Za-z0-9+/=]+)", page)]
    assert len(drawn) >= len(named)
    for picture in drawn:
        with Image.open(io.BytesIO(picture)) as opened:
            red, green, blue = np.asarray(opened.convert("RGB"), int).reshape(-1, 3).T
        outline = (red > 180) & (green > 150) & (blue < 110)  # yellow, which neither skin nor a phantom has
        assert outline.any(), "the true mask is drawn"
    assert "data:image/jpeg" not in (measured_bundle / "report.html").read_text()


def test_a_report_without_worst_cases_says_how_to_get_them(
    edgeskin, bundle: Path, phantom_data: Path, tmp_path: Path
) -> None:
    done = edgeskin("report", bundle, "--data", phantom_data, "--out", tmp_path / "page.html")
    assert done.code == 1
    assert "its report names no worst cases" in done.err
    assert not (tmp_path / "page.html").exists()


def test_data_that_the_report_is_not_about_is_refused(edgeskin, measured_bundle: Path, tmp_path: Path) -> None:
    from edgeskin.data.phantom import write_dataset

    write_dataset(tmp_path / "other", 1, 1, 1, size=64, seed=5)
    rows = (tmp_path / "other" / "labels.csv").read_text().splitlines()
    other = rows[1].split(",")[0]
    (tmp_path / "other" / "labels.csv").write_text("\n".join([rows[0], rows[1].replace(other, "OTHER")]) + "\n")
    for kind in ("images", "masks"):
        for file in (tmp_path / "other" / kind).glob(f"{other}.*"):
            file.rename(file.with_stem("OTHER"))
    done = edgeskin("report", measured_bundle, "--data", tmp_path / "other", "--out", tmp_path / "page.html")
    assert done.code == 1
    assert f"{tmp_path / 'other'}: has no image " in done.err
    assert not (tmp_path / "page.html").exists()


def test_a_workflow_is_told_of_a_verdict_by_annotations_and_in_the_jobs_summary(
    edgeskin, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary.md"))
    done = edgeskin("gate", bundle, "--json")
    assert done.code == 3
    verdict = json.loads(done.out)  # stdout stays for machines
    failed = [one["name"] for one in verdict["promises"] if one["state"] == "failed"]
    told = [line for line in done.err.splitlines() if line.startswith("::error title=")]
    assert told[0].startswith(f"::error title=small onnx int8%3A {failed[0]} and 7 more failed::not measured: no data")
    assert len(told) == len(failed) - 7  # of eight limits on accuracy one reason is told once
    assert (tmp_path / "summary.md").read_text().splitlines()[0].endswith("onnx int8: failed")


def test_a_workflow_is_told_of_an_error_too(edgeskin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary.md"))
    done = edgeskin("gate", tmp_path / "none, 100%")
    sentence = f"{tmp_path}/none, 100%/manifest.json: no such file. A bundle is a folder that `edgeskin export` wrote"
    assert done.code == 1
    assert done.err == f"error: {sentence}\n::error title=edgeskin::{sentence.replace('%', '%25')}\n"
    assert (tmp_path / "summary.md").read_text() == f"# edgeskin: error\n\n- {markup.text(sentence)}\n\n"
    (tmp_path / "gate.toml").write_text("a = 1\nb = 2\n")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path))  # a folder: the error is told all the same
    told = edgeskin("gate", tmp_path, "--gate", tmp_path / "gate.toml")
    assert (told.code, told.err.count("::error title=edgeskin::")) == (1, 1)
    assert "Traceback" not in told.err
    assert edgeskin("gate").err.count("::error title=edgeskin::Missing argument") == 1


def test_at_a_terminal_nobody_sees_a_workflow_command(edgeskin, bundle: Path) -> None:
    assert "::" not in edgeskin("gate", bundle).err
