"""The report of one bundle: for machines (report.json, report.junit.xml) and for people (report.md, report.html).

All say the same. report.schema.json of benchmarks/ describes report.json.
"""

from pathlib import Path

from edgeskin import files
from edgeskin.benchmarks.report import github, html, junit, markdown
from edgeskin.benchmarks.report.markdown import render
from edgeskin.benchmarks.report.model import Report
from edgeskin.benchmarks.report.picture import Picture
from edgeskin.benchmarks.report.schema import schema

__all__ = [
    "HTML_NAME",
    "JSON_NAME",
    "JUNIT_NAME",
    "MARKDOWN_NAME",
    "Picture",
    "Report",
    "github",
    "html",
    "junit",
    "markdown",
    "render",
    "schema",
    "write",
]

JSON_NAME = "report.json"
MARKDOWN_NAME = "report.md"
HTML_NAME = "report.html"
JUNIT_NAME = "report.junit.xml"


def write(folder: Path, report: Report) -> None:
    """Write the report in its four forms into a folder. Raises: EdgeskinError where that cannot be done."""
    files.write_json(folder / JSON_NAME, report.model_dump(mode="json"))
    files.write_text(folder / MARKDOWN_NAME, render(report))
    files.write_text(folder / HTML_NAME, html.render(report))
    files.write_text(folder / JUNIT_NAME, junit.render(report))
