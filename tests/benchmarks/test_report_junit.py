from xml.etree import ElementTree

import whole_report

from edgeskin.benchmarks.gate import Gate, judge
from edgeskin.benchmarks.measurements import Measurements
from edgeskin.benchmarks.report import junit


def suite_of(report) -> ElementTree.Element:
    root = ElementTree.fromstring(junit.render(report))
    assert root.tag == "testsuites"
    (suite,) = root
    return suite


def test_every_promise_is_a_test_case_and_its_state_is_its_outcome(card, measured):
    broken = measured.model_copy(update={"memory": None})
    report = whole_report.report(card, broken)
    suite = suite_of(report)
    cases = suite.findall("testcase")
    assert [case.get("name") for case in cases] == [promise.name for promise in report.verdict.promises]
    for case, promise in zip(cases, report.verdict.promises, strict=True):
        told = {part.tag for part in case}
        wanted = {"failed": "failure", "pending": "skipped", "passed": "system-out"}[promise.state]
        assert told == {wanted}
        assert promise.sentence in (case[0].get("message") or case[0].text)
        assert case.get("classname").endswith(f".{promise.section}")
    assert {case.get("name") for case in cases if case.find("failure") is not None} == {"size_mib"}
    assert {case.get("name") for case in cases if case.find("skipped") is not None} == {"peak_memory_mib"}
    assert (suite.get("tests"), suite.get("failures"), suite.get("skipped")) == (str(len(cases)), "1", "1")


def test_a_gate_that_promises_nothing_is_one_failure(card, measured):
    report = whole_report.report(card, measured).with_verdict(judge(measured, Gate(), card, "int8"), "empty")
    suite = suite_of(report)
    assert (suite.get("tests"), suite.get("failures")) == ("1", "1")
    assert "promises nothing" in suite.find("testcase").find("failure").get("message")


def test_what_is_only_reported_is_not_counted_as_a_pass(card, measured):
    report = whole_report.report(card, measured)
    first, *others = report.verdict.promises
    promises = (first.model_copy(update={"state": "reported"}), *others)
    suite = suite_of(report.with_verdict(report.verdict.model_copy(update={"promises": promises}), "g"))
    assert suite.get("skipped") == "1"
    assert suite.find("testcase").find("skipped").get("message").startswith("reported: ")


def test_nothing_measured_is_nothing_passed(card):
    suite = suite_of(whole_report.report(card, Measurements()))
    assert all(case.find("system-out") is None for case in suite.findall("testcase"))


def test_names_that_no_xml_may_hold_do_not_break_it(card, measured):
    report = whole_report.report(card.model_copy(update={"name": 'a<b>&"\x00\x1b]]>'}), measured)
    assert suite_of(report).get("name").startswith('a<b>&"\N{REPLACEMENT CHARACTER}\N{REPLACEMENT CHARACTER}]]>')


def test_the_file_says_which_artifact_it_is_about(card, measured):
    facts = {
        one.get("name"): one.get("value") for one in suite_of(whole_report.report(card, measured)).iter("property")
    }
    assert facts["artifact_sha256"] == "2" * 64
    assert facts["gate"] == "default"
    assert facts["verification"] == "Device-verified on A CPU."
