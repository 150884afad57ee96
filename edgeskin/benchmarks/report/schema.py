"""The published JSON Schema of `report.json`: benchmarks/report.schema.json, which `edgeskin report --schema` prints.

It is made of the model itself. Keys are only ever added while the format stays the same, so a reader may meet keys that
its copy of the schema does not know; they are allowed.
"""

from edgeskin.benchmarks.report.model import FORMAT, Report

DIALECT = "https://json-schema.org/draft/2020-12/schema"
"""The one that pydantic writes."""


def schema() -> dict[str, object]:
    """The schema as JSON values, ready to be written."""
    made = {key: value for key, value in _open(Report.model_json_schema()).items() if key != "title"}
    return {
        "$schema": DIALECT,
        "$id": f"urn:edgeskin:report:{FORMAT}",
        "title": f"edgeskin report, format {FORMAT}",
        **made,
    }


def _open(value: object) -> dict[str, object]:
    """The same with objects that may hold further keys; a map's own values stay described."""
    opened = _opened(value)
    assert isinstance(opened, dict)
    return opened


def _opened(value: object) -> object:
    if isinstance(value, list):
        return [_opened(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {key: _opened(item) for key, item in value.items() if not (key == "additionalProperties" and item is False)}
