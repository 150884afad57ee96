"""The table of a family, by hand."""

import json
from pathlib import Path

import pytest

from edgeskin.benchmarks.ablation import Measured, Member, Row, table
from edgeskin.benchmarks.papers import published
from edgeskin.benchmarks.spread import Spread
from edgeskin.errors import RunError

PAPER, PRINTED = published("joint_reverse_mtl_2024/MTL0")


def row(dice: float, f1: float | None = 0.8, failed: str | None = None) -> Row:
    figures = {"mask_dice": {"float": dice, "int8": dice - 0.01}, "melanoma_weighted_f1": {"float": f1, "int8": f1}}
    measured = Measured(
        dataset="isic", n=9, data_list_sha256="x", trained_on_sha256="y", figures=figures, cautions=("crops",)
    )
    return Row(recipe="r", recipe_sha256="h", splits={"val": measured}, failed=failed)


def test_a_family_is_a_table_with_the_papers_figures_and_the_protocols() -> None:
    members = [
        Member(name="MTL0", rows=(row(0.9), row(0.8), row(0.7)), paper=PAPER, printed=PRINTED),
        Member(name="MTL1", rows=(None,)),
    ]
    found = table("mtl", "val", members, ("mask_dice", "melanoma_weighted_f1"))
    lines = found.markdown().splitlines()
    assert lines[:7] == [
        "| network | on | folds | mask_dice | melanoma_weighted_f1 |",
        "| --- | --- | --- | --- | --- |",
        "| MTL0, paper | ISIC 2016 test |  | 0.900 | 0.765 |",
        "| MTL0, float | val, 9 images | 3 of 3 | 0.800 ± 0.100 | 0.800 ± 0.000 |",
        "| MTL0, int8 | val, 9 images | 3 of 3 | 0.790 ± 0.100 | 0.800 ± 0.000 |",
        "| MTL1 | not run |  |  |  |",
        "",
    ]
    assert "- ours: mean ± sample standard deviation over folds" in lines
    assert "- isic: crops" in lines
    assert any("theirs: official ISIC 2016 split, by image" in line for line in lines)
    assert any(", ours: our 256² crops" in line for line in lines)
    assert not found.failed
    assert json.loads(found.model_dump_json())["lines"][0]["figures"]["float"]["mask_dice"]["n"] == 3


def test_the_columns_are_those_of_the_papers_or_else_everything_measured() -> None:
    with_paper = table("f", "val", [Member(name="a", rows=(row(0.9),), paper=PAPER, printed=PRINTED)])
    assert with_paper.metrics == tuple(PRINTED.figures)
    assert table("f", "val", [Member(name="a", rows=(row(0.9),))]).metrics == ("mask_dice", "melanoma_weighted_f1")
    assert table("f", "val", [Member(name="a", rows=(None,))]).metrics == ()


def test_a_failed_member_says_why_and_keeps_the_figures_it_has() -> None:
    members = [
        Member(name="a", rows=(row(0.9), row(0.7, failed="out of | memory"))),
        Member(name="b", rows=(Row(recipe="r", recipe_sha256="h", failed="interrupted"),)),
        Member(name="c", rows=(row(0.9), None)),
    ]
    found = table("f", "val", members, ("mask_dice",))
    assert found.failed
    text = found.markdown()
    assert "| a | failed: out of / memory |  |  |" in text
    assert "| a, float | val, 9 images | 2 of 2 | 0.800 ± 0.141 |" in text
    assert "| b | failed: interrupted |  |  |" in text
    assert "| c | not run: 1 of 2 folds |  |  |" in text


def test_figures_on_another_split_or_undefined_are_not_figures() -> None:
    assert "| a | not run |" in table("f", "test", [Member(name="a", rows=(row(0.9),))]).markdown()
    found = table("f", "val", [Member(name="a", rows=(row(0.9, f1=None),))], ("melanoma_weighted_f1", "nothing"))
    assert "| a, float | val, 9 images | 1 of 1 | – |  |" in found.markdown()
    assert found.lines[0].figures["float"]["melanoma_weighted_f1"] == Spread(mean=None, sd=None, n=0)


def test_one_network_has_its_interval_and_says_where_it_comes_from() -> None:
    one = row(0.9)
    told = {
        "intervals": {"mask_dice": {"float": (0.8, 0.95), "int8": (None, None)}},
        "commit": "0123456789abcdef-dirty",
        "date": "2026-01-02T03:04:05+00:00",
    }
    measured = one.splits["val"].model_copy(update=told)
    one = one.model_copy(update={"splits": {"val": measured}})
    lines = table("f", "val", [Member(name="a", seed=3, rows=(one,))], ("mask_dice",)).markdown().splitlines()
    assert "| a, float | val, 9 images | 1 of 1 | 0.900 (0.800–0.950) |" in lines
    assert "| a, int8 | val, 9 images | 1 of 1 | 0.890 |" in lines
    assert "- seed 3; commit 0123456 with changes, 2026-01-02" in lines
    assert "- in brackets: 95 % bootstrap intervals" in lines
    # An interval is one network's; of several folds there is the deviation.
    folds = table("f", "val", [Member(name="a", rows=(one, row(0.7)))], ("mask_dice",)).markdown()
    assert "| a, float | val, 9 images | 2 of 2 | 0.800 ± 0.141 |" in folds
    assert "- seed 1; commit 0123456 with changes, unknown, 2026-01-02" in folds


def test_how_papers_measured_may_be_left_out() -> None:
    found = table("f", "val", [Member(name="a", rows=(row(0.9),), paper=PAPER, printed=PRINTED)])
    assert "theirs:" in found.markdown()
    assert "theirs:" not in found.markdown(papers=False)


def test_a_network_that_cannot_be_exported_is_marked() -> None:
    one = row(0.9)
    measured = one.splits["val"].model_copy(update={"not_exported": "a z-score"})
    text = table(
        "f", "val", [Member(name="a", rows=(one.model_copy(update={"splits": {"val": measured}}),))]
    ).markdown()
    assert "- a: int8 stands for the fake-quantized network" in text
    assert "because it cannot be exported: a z-score" in text


def test_a_row_is_read_back_and_a_broken_one_is_named(tmp_path: Path) -> None:
    assert Row.read(tmp_path) is None
    row(0.9).write(tmp_path)
    assert Row.read(tmp_path) == row(0.9)
    (tmp_path / "row.json").write_text('{"recipe": 3}')
    with pytest.raises(RunError, match=r"row\.json: .*recipe_sha256.*Remove it"):
        Row.read(tmp_path)


def test_the_average_of_all_folds_stands_below_their_spread() -> None:
    folds = (row(0.9), row(0.7))
    text = table("f", "val", [Member(name="a", rows=folds, average=row(0.95))], ("mask_dice",)).markdown()
    assert text.splitlines()[2:6] == [
        "| a, float | val, 9 images | 2 of 2 | 0.800 ± 0.141 |",
        "| a, int8 | val, 9 images | 2 of 2 | 0.790 ± 0.141 |",
        "| a, float | val, 9 images | average of 2 | 0.950 |",
        "| a, int8 | val, 9 images | average of 2 | 0.940 |",
    ]
    assert "- average: one network of all folds" in text
    # An average without all its folds is of networks that are no longer there; one that failed says why.
    gone = table("f", "val", [Member(name="a", rows=(row(0.9), None), average=row(0.95))], ("mask_dice",)).markdown()
    assert "average of" not in gone
    broken = Row(recipe="r", recipe_sha256="h", failed="test was met before")
    assert table("f", "val", [Member(name="a", rows=folds, average=broken)]).lines[0].note == (
        "failed: test was met before"
    )
