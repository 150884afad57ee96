import xml.etree.ElementTree as ET

import pytest

from edgeskin.benchmarks import drawing
from edgeskin.benchmarks.drawing import Frame, Markup, Plot, around_axis, count_axis, element, joined, value_axis


def test_text_is_escaped_and_markup_is_not():
    assert element("p", "a<b", Markup("<i>c</i>"), title='"') == '<p title="&quot;">a&lt;b<i>c</i></p>'
    assert joined(["<", None, Markup("<br>")], ", ") == "&lt;, <br>"


@pytest.mark.parametrize(
    ("most", "ticks"),
    [
        (0, [0, 1]),
        (1, [0, 1]),
        (3, [0, 1, 2, 3]),
        (7, [0, 2, 4, 6, 8]),
        (68, [0, 20, 40, 60, 80]),
        (400, [0, 100, 200, 300, 400]),
    ],
)
def test_a_count_has_round_ticks_that_reach_the_most(most, ticks):
    axis = count_axis("images", most)
    assert axis.high >= most
    assert [tick for tick, _ in axis.ticks][: len(ticks)] == pytest.approx(ticks)


def test_a_value_has_round_ticks_within_its_range():
    ticks = [tick for tick, _ in value_axis("ms", 9.31, 13.4).ticks]
    assert ticks == pytest.approx([10, 11, 12, 13]) or ticks == pytest.approx([10, 12])
    assert all(9.31 <= tick <= 13.4 for tick in ticks)


def test_a_scale_without_width_still_places_a_value():
    assert value_axis("ms", 2.0, 2.0).at(2.0, 10, 20) == 10


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0.71, 0.79, [0.7, 0.72, 0.74, 0.76, 0.78, 0.8]),
        (1, 3, [1, 1.5, 2, 2.5, 3]),
        (5, 5, [4.8, 5, 5.2]),
        (0, 0, [-1, 0, 1]),
        (-0.002, 0.1, [-0.05, 0, 0.05, 0.1]),
    ],
)
def test_an_axis_around_figures_holds_them_between_few_round_numbers(low, high, ticks):
    axis = around_axis("AUROC", low, high)
    assert [tick for tick, _ in axis.ticks] == pytest.approx(ticks)
    assert axis.low <= low <= high <= axis.high
    assert 3 <= len(axis.ticks) <= 6


def test_what_is_drawn_stands_in_the_frame_at_its_values():
    plot = Plot(count_axis("", 10), count_axis("", 4), Frame(left=100, right=200, top=10, bottom=50))
    assert plot.place((0, 0)) == (100, 50)
    assert plot.place((5, 2)) == (150, 30)
    assert plot.place((99, 99)) == (200, 10), "what is beyond the scale stands at its end"
    assert plot.bar(0, 5, 2, "a") == '<rect x="100.5" y="30" width="49" height="20" class="bar a"></rect>'
    assert "<title>&lt;b&gt;</title>" in plot.dot((5, 2), "a", hint="<b>")
    assert plot.rule(5, "flag", above=4) == '<line x1="150" x2="150" y1="6" y2="50" class="flag"></line>'


def test_a_file_holds_both_colours_of_every_name_and_needs_nothing_else():
    text = drawing.document("<a>", 40, 30, {"own": ("#111", "#eee")}, ".own { fill: var(--own); }", element("g"))
    root = ET.fromstring(text)
    assert (root.get("width"), root.get("height"), root.get("viewBox")) == ("40", "30", "0 0 40 30")
    assert root[0].text == "<a>"
    light, dark = text.split("prefers-color-scheme: dark")
    assert "--own: #111;" in light
    assert "--own: #eee;" in dark
    assert text.count("http") == 1, "nothing but the namespace"
