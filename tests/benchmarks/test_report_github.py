import pytest
import whole_report

from edgeskin.benchmarks.gate import Gate, Promise, Verdict, judge
from edgeskin.benchmarks.measurements import Measurements
from edgeskin.benchmarks.report import github, html
from edgeskin.errors import EdgeskinError


def promise(number: int, state: str) -> Promise:
    return Promise(
        name=f"p{number}",
        section="size",
        comparison="at most",
        limit=1,
        measured=None,
        state=state,
        sentence="100 % of it,\nthat is: bad",
    )


def test_failed_is_an_error_pending_a_warning_and_passed_says_nothing(card, measured):
    report = whole_report.report(card, measured.model_copy(update={"memory": None}))
    assert list(github.annotations(report)) == [
        "::error title=phantom onnx int8%3A size_mib failed::3.1; must be at most 3",
        "::warning title=phantom onnx int8%3A peak_memory_mib pending::not measured, and must be at most 512",
    ]


def test_percent_signs_line_ends_colons_and_commas_are_escaped_as_the_runner_asks(card, measured):
    report = whole_report.report(card.model_copy(update={"name": "a,b:50%"}), measured)
    verdict = Verdict(state="failed", promises=(promise(1, "failed"),))
    (line,) = github.annotations(report.with_verdict(verdict, "g"))
    assert line == "::error title=a%2Cb%3A50%25 onnx int8%3A p1 failed::100 %25 of it,%0Athat is: bad"


def test_more_annotations_than_github_shows_are_counted_in_the_last(card, measured):
    promises = tuple(promise(number, "failed") for number in range(25))
    report = whole_report.report(card, measured).with_verdict(Verdict(state="failed", promises=promises), "g")
    lines = list(github.annotations(report))
    assert len(lines) == github.SHOWN
    assert lines[-1].startswith("::error title=phantom onnx int8%3A 16 more failed::p9, p10,")


def test_a_gate_that_promises_nothing_is_an_error(card, measured):
    report = whole_report.report(card, measured).with_verdict(judge(measured, Gate(), card, "int8"), "empty")
    (line,) = github.annotations(report)
    assert line.startswith("::error title=phantom onnx int8::the gate promises nothing")


def test_the_summary_is_appended_and_has_every_promise(card, measured, tmp_path):
    place = tmp_path / "summary.md"
    place.write_text("before\n")
    report = whole_report.report(card, measured)
    github.summarize(report, place)
    github.summarize(report, place)
    text = place.read_text()
    assert text.startswith("before\n# phantom 1, onnx int8: failed\n")
    assert text.count("# phantom 1, onnx int8: failed") == 2
    assert all(text.count(f"| {one.name} ") == 2 for one in report.verdict.promises)


def test_a_summary_that_cannot_be_written_is_told_in_one_line(card, measured, tmp_path):
    with pytest.raises(EdgeskinError, match="GITHUB_STEP_SUMMARY"):
        github.summarize(whole_report.report(card, measured), tmp_path)


@pytest.mark.parametrize(("environment", "runs"), [({}, False), ({"GITHUB_ACTIONS": "true"}, True)])
def test_a_workflow_is_known_by_the_runners_own_variable(environment, runs):
    assert github.running(environment) is runs


def test_one_reason_is_one_annotation_and_one_line_of_the_summary_and_the_page(card, measured, tmp_path):
    gate = Gate(size_mib_max=9, latency_p90_ms_max=9, peak_memory_mib_max=9, speedup_vs_fp32_min=1)
    why = dict.fromkeys(("size", "latency", "memory"), "no engine. There: edgeskin attest BUNDLE")
    report = whole_report.report(card, Measurements(not_measured=why)).with_verdict(
        judge(Measurements(not_measured=why), gate, card, "int8"), "g"
    )
    (line,) = github.annotations(report)
    sentence = "not measured: no engine. There: edgeskin attest BUNDLE"
    assert line == f"::error title=phantom onnx int8%3A speedup_vs_fp32 and 3 more failed::{sentence}"
    github.summarize(report, tmp_path / "summary.md")
    assert f"\n- failed: `speedup_vs_fp32 and 3 more` {sentence}\n" in (tmp_path / "summary.md").read_text()
    assert html.render(report).count(sentence) == 1
