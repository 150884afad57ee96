import xml.etree.ElementTree as ET

import pytest
from reports import report_of, subject_of

from edgeskin.benchmarks import baseline, history, report
from edgeskin.benchmarks.measurements import Measurements
from edgeskin.errors import BundleError, EdgeskinError


def made(card, measured: Measurements, month: int, **more: object):
    changes = {"version": f"0.{month}.0", "created": f"2026-0{month}-01T00:00:00+00:00"}
    return report_of(card, measured, **(changes | more))


def shapes(svg: str, tag: str, kind: str) -> list[ET.Element]:
    namespace = "{http://www.w3.org/2000/svg}"
    return [one for one in ET.fromstring(svg).iter(f"{namespace}{tag}") if one.get("class", "").startswith(kind)]


def panel(svg: str, title: str) -> str:
    """The part of the chart that is about one figure, as a drawing of its own."""
    (part,) = (
        part for part in ET.fromstring(svg).iter("{http://www.w3.org/2000/svg}g") if part[0].text.startswith(title)
    )
    return ET.tostring(part, encoding="unicode")


def test_every_report_is_a_point_of_every_figure_in_the_order_of_time(card, measured):
    reports = [made(card, measured.model_copy(update={"size_mib": float(size)}), size) for size in (1, 2, 3)]
    size = panel(history.draw(reports), "size, MiB")
    heights = [float(dot.get("cy")) for dot in shapes(size, "circle", "dot")]
    assert heights == sorted(heights, reverse=True)
    assert len(heights) == 3
    assert len(shapes(size, "polyline", "line")) == 2
    told = [title.text for title in ET.fromstring(size).iter("{http://www.w3.org/2000/svg}title")]
    assert [text.split()[-1] for text in told] == ["1", "2", "3"]


def test_reports_are_read_from_bundles_and_from_folders_of_baselines(tmp_path, card, measured):
    for month in (2, 1):
        report.write(tmp_path / "bundles" / str(month), made(card, measured, month))
        baseline.save(subject_of(made(card, measured, month)), tmp_path / "kept" / str(month))
    (tmp_path / "kept" / "other.json").write_text("{}")
    for source in (tmp_path / "bundles", tmp_path / "kept", tmp_path / "bundles" / "1"):
        versions = [one.version for one in history.read([source])]
        assert versions == ["0.1.0", "0.2.0"][: len(versions)]
        assert versions
    with pytest.raises(EdgeskinError, match="no such file or folder"):
        history.read([tmp_path / "absent"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(EdgeskinError, match="no report"):
        history.read([tmp_path / "empty"])


def test_figures_of_another_machine_or_other_images_are_not_joined(card, measured):
    elsewhere = measured.model_copy(update={"device": measured.device.model_copy(update={"cpu": "Another"})})
    test = elsewhere.model_copy(update={"accuracy": elsewhere.accuracy.model_copy(update={"split": "test"})})
    svg = history.draw([made(card, measured, 1), made(card, elsewhere, 2), made(card, test, 3)])
    joined = {
        title: len(shapes(panel(svg, title), "polyline", "line"))
        for title in ("mask_jaccard", "model, p50", "peak memory", "size")
    }
    assert joined == {"mask_jaccard": 1, "model, p50": 1, "peak memory": 1, "size": 2}


def test_the_interval_is_drawn_from_end_to_end(card, measured):
    svg = panel(history.draw([made(card, measured, 1)]), "mask_jaccard")
    (bar,), (dot,) = shapes(svg, "line", "whisker"), shapes(svg, "circle", "dot")
    top, middle, bottom = (float(value) for value in (bar.get("y2"), dot.get("cy"), bar.get("y1")))
    assert bottom - middle == pytest.approx(middle - top, abs=0.2)
    assert bottom > middle > top


def test_names_of_networks_cannot_break_the_drawing(card, measured):
    svg = history.draw([made(card, measured, 1, name="<a & b>", version='"1"')])
    assert "<a & b>, onnx int8" in [one.text for one in shapes(svg, "text", "legend")]


def test_light_and_dark_have_the_same_colours_by_name(card, measured):
    svg = history.draw([made(card, measured, 1)])
    light, dark = svg.split("prefers-color-scheme: dark")
    names = {f"--{name}:" for name in ("page", "ink", "faint", "line", "s0", "s5")}
    assert all(name in light and name in dark for name in names)
    assert "<script" not in svg
    assert svg.count("http") == 1, "nothing but the namespace: the file needs no network"


def test_reports_without_a_figure_are_an_error(card):
    with pytest.raises(BundleError, match="none of the reports holds a figure"):
        history.draw([made(card, Measurements(), 1)])
