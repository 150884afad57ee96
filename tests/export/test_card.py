"""The model card: measured facts in words, and nothing that nobody measured."""

import re
from pathlib import Path

import pytest

from edgeskin.benchmarks import evidence, latency
from edgeskin.benchmarks.evidence import EvidenceEntry
from edgeskin.benchmarks.markup import code
from edgeskin.benchmarks.measurements import AccuracyReport, Measurements, MetricFigure, SubgroupFigure
from edgeskin.benchmarks.report import Report
from edgeskin.contract.model import ModelCard
from edgeskin.export import card
from edgeskin.graph.folder import Graph


@pytest.fixture
def report(bundle: Path) -> Report:
    return Report.read(bundle / "report.json")


def figure(value: float, n: int = 90) -> MetricFigure:
    return MetricFigure(float=value + 0.01, int8=value, ci95=(value - 0.1, value + 0.1), drop=0.01, n=n)


def accuracy(split: str = "val", **more: object) -> AccuracyReport:
    metrics = {"mask_jaccard": figure(0.71), "melanoma_auroc": figure(0.83), "melanoma_ece": figure(0.12)}
    known = {"dataset": "isic2017", "split": split, "n": 90, "data_list_sha256": "1" * 64, "metrics": metrics}
    return AccuracyReport.model_validate(known | more)


def entry(split: str, graph: Graph, value: float, **more: object) -> EvidenceEntry:
    known = accuracy(split, metrics={"melanoma_auroc": figure(value)}, **more)
    return EvidenceEntry.of(known, graph.sha256, {}).model_copy(update={"date": "2026-01-02T03:04:05+00:00"})


def measuring(report: Report, **sections: object) -> Report:
    return report.model_copy(update={"measurements": report.measurements.model_copy(update=sections)})


def section(text: str, title: str) -> str:
    """What stands there, without the blanks that line columns up."""
    found = re.search(rf"^## {re.escape(title)}\n\n(.*?)(?=\n\n## |\Z)", text, re.DOTALL | re.MULTILINE)
    assert found is not None, title
    return re.sub(" +", " ", found.group(1))


def tables(text: str) -> list[list[str]]:
    return [block.splitlines() for block in re.split(r"\n{2,}", text) if block.startswith("|")]


def test_every_bundle_holds_it_with_use_limits_heads_and_what_was_not_measured(
    bundle: Path, small_graph: Graph, report: Report
) -> None:
    text = (bundle / "MODEL_CARD.md").read_text()
    model = small_graph.card
    assert text.startswith(f"# {model.name} {model.version}, onnx int8\n\n**Intended use.** {model.intended_use}\n")
    assert f"**Licence.** {model.licence}" in text
    assert all(f"- {note}" in section(text, "Limits") for note in model.provenance.notes)
    assert all(f"| {head.name} | {head.kind} | " in section(text, "What it answers") for head in model.heads)
    assert model.provenance.data_list_sha256 in section(text, "Training data")
    assert section(text, "Accuracy") == "Not measured."
    assert "- accuracy" in section(text, "Not measured")
    assert report.artifact_sha256 in section(text, "The artifact")
    assert report.graph_sha256 in section(text, "Origin")


def test_a_data_set_stands_beside_its_licence_and_an_unknown_one_is_said_to_be(
    report: Report, small_graph: Graph
) -> None:
    origin = small_graph.card.provenance.model_copy(update={"data": ("ham10000", "clinic")})
    model = small_graph.card.model_copy(update={"provenance": origin})
    told = section(card.render(report, model), "Training data")
    assert "| ham10000 | HAM10000 is CC BY-NC 4.0. |" in told
    assert "| clinic | not known to edgeskin; ask who publishes it |" in told


def test_each_split_has_its_own_figures_and_the_newest_evidence_counts(report: Report, small_graph: Graph) -> None:
    measured = measuring(report, accuracy=accuracy("val", cautions=("crops only.",)))
    known = [entry("test", small_graph, 0.5), entry("test", small_graph, 0.81), entry("val", small_graph, 0.4)]
    text = card.render(measured, small_graph.card, known)
    own = section(text, "Accuracy on isic2017, val")
    assert own.startswith("90 images, measured for this bundle.")
    assert "Caution: crops only.\n" in own
    assert "| melanoma_auroc | 90 | 0.8400 | 0.8300 | 0.7300 – 0.9300 | 0.0100 |" in own
    assert "positive is worse" in own
    test = section(text, "Accuracy on isic2017, test")
    assert test.startswith("90 images, measured on 2026-01-02T03:04:05+00:00.")
    assert "| melanoma_auroc | 90 | 0.8200 | 0.8100 |" in test
    assert "0.5000" not in text, "an older look at the same split"
    assert "0.4000" not in text, "evidence in the place of what was measured for this bundle"


def test_evidence_of_another_form_or_another_graph_is_left_out(report: Report, graph: Graph, tmp_path: Path) -> None:
    evidence.append(graph.evidence, entry("test", graph, 0.61).model_copy(update={"graph_sha256": "f" * 64}))
    evidence.append(graph.evidence, entry("val", graph, 0.62, form="w8a16"))
    card.write(tmp_path, report, graph)
    assert section((tmp_path / "MODEL_CARD.md").read_text(), "Accuracy") == "Not measured."
    evidence.append(graph.evidence, entry("val", graph, 0.63))
    card.write(tmp_path, report, graph)
    assert "| 0.6300 |" in section((tmp_path / "MODEL_CARD.md").read_text(), "Accuracy on isic2017, val")


def test_subgroups_are_shown_with_what_they_rest_on(report: Report, small_graph: Graph) -> None:
    women = SubgroupFigure(
        attribute="sex",
        value="female",
        n=40,
        metrics={"melanoma_auroc": figure(0.8, 40), "melanoma_ece": figure(0.2, 40)},
        weakest={"melanoma_auroc": 7},
    )
    text = card.render(measuring(report, accuracy=accuracy(subgroups=(women,))), small_graph.card)
    told = section(text, "Accuracy on isic2017, val")
    assert "| subgroup | n | melanoma_auroc |" in told
    assert "| sex=female | 40 | 0.8000 (0.7000 – 0.9000; 7) |" in told
    assert "By subgroup: not measured." not in text
    assert "By subgroup: not measured." in card.render(measuring(report, accuracy=accuracy()), small_graph.card)


def test_a_bundle_of_which_nothing_was_measured_has_no_figure(report: Report, small_graph: Graph) -> None:
    reasons = {"latency": "nothing here runs it"}
    text = card.render(measuring(report, **dict(Measurements(not_measured=reasons))), small_graph.card)
    assert section(text, "On a device") == "Not measured."
    told = section(text, "Not measured")
    assert "- latency: nothing here runs it\n" in told
    assert all(f"- {name}" in told for name in ("accuracy", "numerics", "memory", "size"))
    assert "| size | not measured |" in section(text, "The artifact")
    assert not re.search(r"\d ms|\d MiB|0\.\d{4}(?! on)", text)


def test_a_bar_in_a_name_breaks_no_table(report: Report, small_graph: Graph) -> None:
    model: ModelCard = small_graph.card.model_copy(update={"kept_float": ("a|b",)})
    assert "| kept in float on purpose | a\\|b |" in section(card.render(report, model), "The artifact")


def test_every_table_is_one_to_github(bundle: Path) -> None:
    """Source: GitHub Flavored Markdown Spec, 4.10: a delimiter row of as many cells as the header has."""
    found = tables((bundle / "MODEL_CARD.md").read_text())
    assert len(found) > 3
    for header, rule, *_ in found:
        assert re.fullmatch(r"\|(-{3,}\|)+", rule)
        assert rule.count("|") == header.count("|")


def test_what_its_machine_was_like_is_no_limit_of_the_network(report: Report, small_graph: Graph) -> None:
    (first, *others) = report.measurements.latency
    busy = first.model_copy(update={"cv": 0.4})
    doubt = latency.warning(busy)
    assert doubt is not None
    noisy = measuring(report, latency=(busy, *others)).model_copy(update={"cautions": (doubt, "crops only")})
    text = card.render(noisy, small_graph.card)
    assert "- crops only" in section(text, "Limits")
    assert doubt not in section(text, "Limits")
    assert f"- ⚠ {doubt}" in section(text, "On a device")
    assert f"| {busy.name} ⚠ |" in section(text, "On a device")


def test_no_string_of_a_model_becomes_markup(report: Report, small_graph: Graph) -> None:
    hostile = "x` | <img src=x>\n# Passed\n[y](https://example.com)"
    origin = small_graph.card.provenance.model_copy(update={"recipe": hostile, "data": (hostile,), "notes": (hostile,)})
    told = {"name": hostile, "version": hostile, "intended_use": hostile, "licence": hostile, "kept_float": (hostile,)}
    model: ModelCard = small_graph.card.model_copy(update=told | {"provenance": origin})
    known = accuracy(hostile, cautions=(hostile,), metrics={hostile: figure(0.7)})
    text = card.render(measuring(report, accuracy=known, not_measured={"memory": hostile}), model)
    honest = card.render(measuring(report, accuracy=accuracy(cautions=("x",), metrics={"y": figure(0.7)})), model)
    assert text.count("img src=x") > 10
    assert "<img" not in text.replace(code(hostile), "")
    assert "](" not in text.replace(code(hostile), "")
    assert text.count("\n#") == honest.count("\n#")
    assert tables(text)
    for rows in tables(text):
        assert len({len(re.findall(r"(?<!\\)\|", row)) for row in rows}) == 1
