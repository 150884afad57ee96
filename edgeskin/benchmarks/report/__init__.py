"""The report of one bundle, for machines (report.json) and for people (report.md); both say the same."""

from pathlib import Path

from edgeskin import files
from edgeskin.benchmarks.report.markdown import render
from edgeskin.benchmarks.report.model import Report

__all__ = ["JSON_NAME", "MARKDOWN_NAME", "Report", "render", "write"]

JSON_NAME = "report.json"
MARKDOWN_NAME = "report.md"


def write(folder: Path, report: Report) -> None:
    """Write report.json and report.md into a folder. Raises: EdgeskinError where that cannot be done."""
    files.write_json(folder / JSON_NAME, report.model_dump(mode="json"))
    files.write_text(folder / MARKDOWN_NAME, render(report))
