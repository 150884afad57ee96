"""Which networks no other beats, by hand."""

from xml.etree import ElementTree

import pytest

from edgeskin.benchmarks import pareto
from edgeskin.benchmarks.ablation import Measured, Member, Row, Table, table


def of(*networks: tuple[str, float | None, float]) -> Table:
    members = [Member(name="not run", rows=(None,))]
    for name, ms, dice in networks:
        figures = {"ms": {"float": 9.0, "int8": ms}, "dice": {"float": 0.0, "int8": dice}}
        one = Measured(dataset="d", n=9, data_list_sha256="x", trained_on_sha256="y", figures=figures)
        members.append(Member(name=name, rows=(Row(recipe="r", recipe_sha256="h", splits={"val": one}),)))
    return table("f", "val", members)


def test_the_best_are_those_that_no_other_beats_in_int8() -> None:
    found = pareto.points(of(("slow", 3, 0.9), ("worse", 2, 0.6), ("fast", 1, 0.7), ("tie", 2, 0.7)), "ms", "dice")
    assert [(one.name, one.best) for one in found] == [("fast", True), ("tie", False), ("worse", False), ("slow", True)]
    twins = pareto.points(of(("one", 1, 0.7), ("other", 1, 0.7)), "ms", "dice")
    assert [one.best for one in twins] == [True, True]
    assert pareto.points(of(("not timed", None, 0.9)), "ms", "dice") == ()


@pytest.mark.parametrize("networks", [[("a < b", 1, 0.7)], [("a < b", 1, 0.7), ("c", 2, 0.9), ("d", 3, 0.1)]])
def test_the_picture_shows_every_network_and_joins_the_best(networks: list[tuple[str, float, float]]) -> None:
    drawn = pareto.points(of(*networks), "ms", "dice")
    picture = ElementTree.fromstring(pareto.svg(drawn, "ms", "dice"))
    ns = "{http://www.w3.org/2000/svg}"
    texts = [text.text for text in picture.iter(f"{ns}text")]
    assert {name for name, _, _ in networks} <= set(texts)
    (front,) = picture.iter(f"{ns}polyline")
    best = [dot for dot in picture.iter(f"{ns}circle") if dot.get("class") == "dot best"]
    assert len(str(front.get("points")).split()) == len(best) == min(len(networks), 2)


def heights(*networks: tuple[str, float, float]) -> tuple[dict[str, float], list[float]]:
    """In the picture of some networks, in pixels from its top: each name's middle, and the dots in the order given."""
    picture = ElementTree.fromstring(pareto.svg(pareto.points(of(*networks), "ms", "dice"), "ms", "dice"))
    ns = "{http://www.w3.org/2000/svg}"
    names = {str(text.text): float(str(text.get("y"))) - 4 for text in picture.iter(f"{ns}text")}
    dots = [float(str(dot.get("cy"))) for dot in picture.iter(f"{ns}circle")]
    return {name: names[name] for name, _, _ in networks}, dots


def test_a_name_stands_beside_its_dot_or_below_what_it_would_hide() -> None:
    names, dots = heights(("left", 1, 0.5), ("right", 1.3, 0.5), ("far", 9, 0.9))
    assert names == {"left": dots[0] + 14, "right": dots[1], "far": dots[2]}
    names, dots = heights(("a", 1, 0.5), ("b", 1, 0.5), ("c", 1, 0.5), ("far", 9, 0.9))
    assert [names[name] - dots[0] for name in "abc"] == [0, 14, 28]
