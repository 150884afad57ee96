"""`report.junit.xml`: one test case a promise, for whatever shows the results of tests."""

import re
from xml.etree import ElementTree

from edgeskin.benchmarks.gate import Promise, State
from edgeskin.benchmarks.report.model import Report

_DECLARATION = '<?xml version="1.0" encoding="utf-8"?>'
_NO_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What no XML 1.0 document may hold, escaped or not. Source: XML 1.0, production [2] Char."""

_SKIPPED: tuple[State, ...] = ("pending", "reported")


def render(report: Report) -> str:
    """The verdict as JUnit XML: passed and inherited pass, failed fails, pending and what is only reported is skipped.

    A gate that promises nothing is no pass, so it is one failure.
    """
    promises, verdict = report.verdict.promises, report.verdict
    failed, skipped = len(verdict.in_state("failed")), sum(promise.state in _SKIPPED for promise in promises)
    name = f"{report.name} {report.version} {report.target} {report.form or report.precision}"
    totals = {"tests": str(len(promises) or 1), "failures": str(failed or int(not promises)), "errors": "0"}
    root = ElementTree.Element("testsuites", {"name": "edgeskin", **totals})
    suite = ElementTree.SubElement(
        root, "testsuite", {"name": _text(name), **totals, "skipped": str(skipped), "timestamp": _text(report.created)}
    )
    facts = ElementTree.SubElement(suite, "properties")
    told = {
        "gate": report.gate,
        "profile": report.profile,
        "artifact_sha256": report.artifact_sha256,
        "graph_sha256": report.graph_sha256,
        "verification": report.verification,
    }
    for key, value in told.items():
        ElementTree.SubElement(facts, "property", {"name": key, "value": _text(value)})
    for promise in promises:
        _case(suite, f"{name}.{promise.section}", promise)
    if not promises:
        case = ElementTree.SubElement(suite, "testcase", {"classname": _text(name), "name": "gate"})
        ElementTree.SubElement(case, "failure", {"message": "the gate promises nothing of this network"})
    ElementTree.indent(root)
    return f"{_DECLARATION}\n{ElementTree.tostring(root, encoding='unicode')}\n"


def _case(suite: ElementTree.Element, classname: str, promise: Promise) -> None:
    case = ElementTree.SubElement(suite, "testcase", {"classname": _text(classname), "name": _text(promise.name)})
    if promise.state == "failed":
        ElementTree.SubElement(case, "failure", {"message": _text(promise.sentence), "type": promise.section})
    elif promise.state in _SKIPPED:
        ElementTree.SubElement(case, "skipped", {"message": _text(f"{promise.state}: {promise.sentence}")})
    else:
        ElementTree.SubElement(case, "system-out").text = _text(f"{promise.state}: {promise.sentence}")


def _text(value: str) -> str:
    return _NO_XML.sub("\N{REPLACEMENT CHARACTER}", value)
