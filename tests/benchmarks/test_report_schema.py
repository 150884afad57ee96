import json
from pathlib import Path

import pytest
import whole_report

from edgeskin.benchmarks.measurements import Measurements
from edgeskin.benchmarks.report import Report, schema

PUBLISHED = Path(__file__).parents[2] / "benchmarks" / "report.schema.json"


def test_the_published_schema_is_that_of_the_model():
    """Where this fails: edgeskin report --schema > benchmarks/report.schema.json."""
    assert json.loads(PUBLISHED.read_text()) == schema()


def test_the_schema_names_its_dialect_and_its_version():
    made = schema()
    assert made["$id"] == "urn:edgeskin:report:1"
    assert made["properties"]["format"]["const"] == 1
    assert str(made["$schema"]).startswith("https://json-schema.org/")


def test_a_reader_may_meet_keys_that_came_later():
    assert '"additionalProperties": false' not in json.dumps(schema())


def test_what_every_report_has_had_from_the_first_is_required_and_what_came_later_is_not():
    required = set(schema()["required"])
    assert {"name", "version", "target", "artifact_sha256", "measurements", "verdict"} <= required
    assert not {"layer_sizes", "attestations", "form"} & required


@pytest.fixture
def validator():
    jsonschema = pytest.importorskip("jsonschema", reason="jsonschema is not installed: pip install jsonschema")
    jsonschema.Draft202012Validator.check_schema(schema())
    return jsonschema.Draft202012Validator(schema())


def written(report: Report) -> dict:
    return json.loads(json.dumps(report.model_dump(mode="json")))


def test_every_report_is_valid(validator, card, measured):
    for figures in (Measurements(), measured, whole_report.whole(measured)):
        assert list(validator.iter_errors(written(whole_report.report(card, figures)))) == []


def test_a_report_of_an_older_edgeskin_is_valid(validator, card, measured):
    old = written(whole_report.report(card, measured))
    for key in ("layer_sizes", "attestations", "form"):
        del old[key]
    for key in ("subgroups", "curves", "worst", "seen_in_training"):
        del old["measurements"]["accuracy"][key]
    assert list(validator.iter_errors(old)) == []


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("verdict", "state"), "excellent"),
        (("measurements", "size_mib"), "small"),
        (("measurements", "accuracy", "n"), -1),
        (("format",), 2),
        (("precision",), "int4"),
    ],
)
def test_a_wrong_value_is_found(validator, card, measured, path, value):
    damaged = written(whole_report.report(card, measured))
    place = damaged
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    assert list(validator.iter_errors(damaged))
