"""The report of one bundle: for machines (report.json, report.junit.xml) and for people (report.md, report.html).

All say the same. report.schema.json of benchmarks/ describes report.json.
"""

from collections.abc import Sequence
from pathlib import Path

from edgeskin import files
from edgeskin.benchmarks.report import github, html, junit, markdown
from edgeskin.benchmarks.report.markdown import render
from edgeskin.benchmarks.report.model import Report
from edgeskin.benchmarks.report.picture import Picture
from edgeskin.benchmarks.report.schema import schema
from edgeskin.errors import EdgeskinError

__all__ = [
    "HTML_NAME",
    "JSON_NAME",
    "JUNIT_NAME",
    "MARKDOWN_NAME",
    "Picture",
    "Report",
    "demand_places",
    "github",
    "html",
    "junit",
    "markdown",
    "render",
    "schema",
    "write",
    "write_one",
]

JSON_NAME = "report.json"
MARKDOWN_NAME = "report.md"
HTML_NAME = "report.html"
JUNIT_NAME = "report.junit.xml"


ENDINGS = (".html", ".md", ".xml", ".json")


def demand_places(places: Sequence[Path], bundle: Path) -> None:
    """Called before a report is written. Raises: EdgeskinError for an unknown ending, or a place in the bundle."""
    for place in places:
        if place.suffix not in ENDINGS:
            raise EdgeskinError(
                f"{place}: a report is written as {', '.join(ENDINGS)}; give a file that ends like that"
            )
        if place.resolve().is_relative_to(bundle.resolve()):
            raise EdgeskinError(f"{place}: lies in the bundle, which stays as it was exported. Choose another place")


def write_one(place: Path, report: Report, pictures: Sequence[Picture] = ()) -> None:
    """Write the report in one form, by the ending of the file.

    pictures: for a page. Raises: EdgeskinError where that cannot be done.
    """
    match place.suffix:
        case ".html":
            files.write_text(place, html.render(report, pictures))
        case ".md":
            files.write_text(place, render(report))
        case ".xml":
            files.write_text(place, junit.render(report))
        case _:
            files.write_json(place, report.model_dump(mode="json"))


def write(folder: Path, report: Report) -> None:
    """Write the report in its four forms into a folder. Raises: EdgeskinError where that cannot be done."""
    for name in (JSON_NAME, MARKDOWN_NAME, HTML_NAME, JUNIT_NAME):
        write_one(folder / name, report)
