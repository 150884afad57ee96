import json
from pathlib import Path

import pytest
from reports import report_of, subject_of

from edgeskin.benchmarks import baseline, report
from edgeskin.benchmarks.compare import compare
from edgeskin.errors import BundleError, EdgeskinError

ROOT = Path(__file__).parents[2]


def test_a_baseline_is_found_by_network_target_form_and_device(tmp_path, card, measured):
    subject = subject_of(report_of(card, measured))
    assert baseline.of(subject, tmp_path, must=False) is None
    path = baseline.save(subject, tmp_path)
    assert path == tmp_path / "a-cpu-2-cores" / "phantom-onnx-int8.json"
    by_device, by_name = baseline.of(subject, tmp_path), baseline.read("a-cpu-2-cores/phantom-onnx-int8", tmp_path)
    assert by_device == by_name
    assert {row.outcome for row in compare(by_name, subject).rows} == {"same"}


def test_a_baseline_keeps_its_date_and_version_and_no_more_than_figures(tmp_path, card, measured):
    subject = subject_of(report_of(card, measured, next_commands=(("Verify", "edgeskin verify b"),), cautions=("so",)))
    path = baseline.save(subject, tmp_path)
    kept = report.Report.read(path)
    assert (kept.created, kept.edgeskin_version) == (subject.report.created, subject.report.edgeskin_version)
    assert json.loads(path.read_text())["format"] == 1
    assert kept.next_commands == () == kept.cautions
    assert kept.measurements.accuracy.metrics == measured.accuracy.metrics


def test_a_missing_baseline_says_how_one_is_made(tmp_path, card, measured):
    subject = subject_of(report_of(card, measured), "bundles/clinic")
    with pytest.raises(EdgeskinError, match=r"no such baseline\. Make it: edgeskin compare bundles/clinic --save-base"):
        baseline.of(subject, tmp_path)


def test_an_unknown_name_lists_the_baselines(tmp_path, card, measured):
    baseline.save(subject_of(report_of(card, measured)), tmp_path)
    with pytest.raises(EdgeskinError, match=r"^phantom: no bundle, .* a-cpu-2-cores/phantom-onnx-int8$"):
        baseline.read("phantom", tmp_path)


def test_machines_that_may_be_compared_have_one_name_and_others_another(measured):
    device = measured.device
    assert baseline.slug(device.model_copy(update={"os": "Another", "clock_mhz": 1.0})) == baseline.slug(device)
    for change in ({"cpu": "B"}, {"cores": 3}, {"flags": ("avx2", "avx512_vnni")}, {"gpu": "G"}, {"power_mode": "15W"}):
        assert baseline.slug(device.model_copy(update=change)) != baseline.slug(device)


def test_what_benchmark_printed_can_be_compared_and_not_kept(tmp_path, card, measured):
    (tmp_path / "figures.json").write_text(measured.model_dump_json())
    found = baseline.read(str(tmp_path / "figures.json"))
    assert found.measurements == measured
    assert not compare(subject_of(report_of(card, measured)), found).of("worse")
    with pytest.raises(EdgeskinError, match="names no network; give a bundle"):
        baseline.save(found, tmp_path)


@pytest.mark.parametrize("content", ["{", "[]", '{"latency": 3}', '{"verdict": 3}'])
def test_a_file_of_something_else_is_one_line(tmp_path, content):
    path = tmp_path / "other.json"
    path.write_text(content)
    with pytest.raises(BundleError, match=r"^.*other\.json: .+$") as error:
        baseline.read(str(path))
    assert "\n" not in str(error.value)


def test_the_kept_baselines_are_read_and_lie_where_they_are_looked_for():
    found = list(baseline.kept(ROOT / baseline.FOLDER))
    assert found
    for path in found:
        subject = baseline.read(str(path))
        assert baseline.beside(subject, ROOT / baseline.FOLDER) == path
        assert path.stat().st_size < 64 * 1024
