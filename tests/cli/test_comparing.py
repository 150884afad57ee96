"""`edgeskin compare`: two sides in, what became worse out, and 3 where anything did."""

import json
import shutil
from pathlib import Path

import pytest

from edgeskin.optional import missing


@pytest.fixture
def worse(bundle: Path, tmp_path: Path) -> Path:
    """A report of the same bundle, a megabyte larger."""
    report = json.loads((bundle / "report.json").read_text())
    report["measurements"]["size_mib"] += 1
    (tmp_path / "worse.json").write_text(json.dumps(report))
    return tmp_path / "worse.json"


needs_engine = pytest.mark.skipif(
    missing("onnx", "onnxruntime") is not None, reason=str(missing("onnx", "onnxruntime"))
)


@needs_engine
def test_the_same_bundle_became_nothing(edgeskin, bundle: Path) -> None:
    done = edgeskin("compare", bundle, bundle)
    assert done.code == 0
    assert "worse" not in done.out
    assert "same" in done.out.splitlines()[0]


@needs_engine
def test_a_regression_is_named_and_exits_with_3(edgeskin, bundle: Path, worse: Path) -> None:
    done = edgeskin("compare", bundle, worse, "--quiet")
    assert (done.code, done.err) == (3, "")
    rows = [line for line in done.out.splitlines() if line.startswith("| ✗")]
    assert len(rows) == 1
    assert "size_mib" in rows[0]
    assert edgeskin("compare", worse, bundle).code == 0


@needs_engine
def test_what_only_one_side_has_is_named_in_one_line(edgeskin, bundle: Path, tmp_path: Path) -> None:
    report = json.loads((bundle / "report.json").read_text())
    report["measurements"] |= {"size_mib": None, "memory": None}
    report["verdict"]["promises"] = [one for one in report["verdict"]["promises"] if one["name"] != "size_mib"]
    (tmp_path / "less.json").write_text(json.dumps(report))
    done = edgeskin("compare", bundle, tmp_path / "less.json")
    assert "\n\nMeasured in OLD alone: size_mib, peak_memory_mib\n\nNo longer promised: size_mib\n" in done.out
    assert "| size_mib" not in done.out
    assert "alone" not in edgeskin("compare", bundle, tmp_path / "less.json", "--quiet").out
    turned = edgeskin("compare", tmp_path / "less.json", bundle)
    assert "\n\nMeasured in NEW alone: size_mib, peak_memory_mib\n" in turned.out


@needs_engine
def test_machines_get_every_figure(edgeskin, bundle: Path, worse: Path) -> None:
    done = edgeskin("compare", bundle, worse, "--json")
    assert done.code == 3
    told = json.loads(done.out)
    assert (told["format"], told["exit_code"]) == (1, 3)
    rows = told["rows"]
    assert rows[0]["name"] == "size_mib"
    assert rows[0]["outcome"] == "worse"
    assert {"name", "part", "old", "new", "noise", "outcome", "reason"} == set(rows[0])
    assert len(rows) > 5


@needs_engine
def test_a_baseline_is_kept_compared_with_and_never_made_worse(
    edgeskin, bundle: Path, worse: Path, tmp_path: Path
) -> None:
    place = ("--baselines", tmp_path / "kept")
    absent = edgeskin("compare", bundle, *place)
    assert absent.code == 1
    assert "no such baseline" in absent.err
    assert edgeskin("compare", bundle, "--save-baseline", *place).code == 0
    (kept,) = (tmp_path / "kept").glob("*/*.json")
    before = kept.read_bytes()
    assert edgeskin("compare", bundle, *place).code == 0
    refused = edgeskin("compare", worse, "--save-baseline", *place)
    assert refused.code == 3
    assert "the baseline stays as it is" in refused.err
    assert kept.read_bytes() == before


@needs_engine
def test_a_bundle_that_was_changed_is_refused_also_by_its_report(edgeskin, bundle: Path, tmp_path: Path) -> None:
    changed = tmp_path / "changed"
    shutil.copytree(bundle, changed)
    report = changed / "report.json"
    report.write_text(report.read_text().replace('"failed"', '"passed"'))
    for side in (changed, report):
        done = edgeskin("compare", bundle, side)
        assert done.code == 1
        assert "not the bundle that was exported: report.json: changed" in done.err


@needs_engine
def test_a_history_is_a_drawing(edgeskin, bundle: Path, worse: Path, tmp_path: Path) -> None:
    done = edgeskin("compare", "--history", bundle, worse, "--svg", tmp_path / "chart.svg")
    assert done.code == 0
    assert (tmp_path / "chart.svg").read_text().startswith("<svg")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("a", "b", "c"), "two are compared, and 3 were given"),
        (("--history", "a"), "--svg chart.svg"),
        (("a", "--svg", "chart.svg"), "give --history too"),
        (("--history", "a", "--svg", "chart.svg", "--require-signature"), "a history reads reports alone"),
        ((), "Missing argument"),
    ],
)
def test_a_wrong_command_line_is_explained(edgeskin, words: tuple[str, ...], said: str) -> None:
    done = edgeskin("compare", *words)
    assert done.code == 2
    assert said in done.err
