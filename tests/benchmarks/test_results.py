"""benchmarks/results.py: what it runs in which order, where it writes, and the whole of it on drawn photos."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
from scripts import loaded

from edgeskin import shipped
from edgeskin.benchmarks.ablation import Measured, Row
from edgeskin.errors import EdgeskinError
from edgeskin.export import ablate, family
from edgeskin.export.ablate import Bench
from edgeskin.optional import missing

ROOT = Path(__file__).parents[2]
NO_TORCH = missing("torch", "torchao", "safetensors", "tensorboard", "onnxscript", "onnx", "onnxruntime")


@pytest.fixture(scope="module")
def script() -> Iterator[ModuleType]:
    yield from loaded("results.py")


def test_a_table_is_written_between_its_markers_and_nothing_else_is(script: ModuleType, tmp_path: Path) -> None:
    document = tmp_path / "README.md"
    document.write_text(
        "before\n<!-- results:a -->\nold\n<!-- end of results -->\n<!-- results:ab -->\n<!-- end of results -->\n"
    )
    for _ in range(2):  # again changes nothing
        script.put(document, "a", "| \\1 |\n")
        assert document.read_text() == (
            "before\n<!-- results:a -->\n| \\1 |\n\n`make results ONLY=a`\n<!-- end of results -->\n"
            "<!-- results:ab -->\n<!-- end of results -->\n"
        )
    with pytest.raises(EdgeskinError, match=r"README\.md: has 0 places for b\. Write once <!-- results:b -->"):
        script.put(document, "b", "")


def test_the_readme_has_a_place_for_every_table(script: ModuleType) -> None:
    places = re.findall(r"^<!-- results:(\S+) -->$", (ROOT / "README.md").read_text(encoding="utf-8"), flags=re.M)
    assert sorted(places) == sorted([script.RELEASE, *(part.name for part in script.PARTS)])


def test_the_columns_that_are_weighed_are_measured(script: ModuleType, tmp_path: Path) -> None:
    for part in (*script.PARTS, *script.QUICK):
        declared, _ = family.read(shipped.find("families", part.family), tmp_path)
        assert part.gain is None or {part.gain, *family.COSTS} <= set(declared.metrics)


def test_a_table_or_a_member_is_chosen_by_name(script: ModuleType) -> None:
    assert script.chosen(None, script.PARTS) == (script.PARTS, None)
    (part,), member = script.chosen("isic2016/MTL3", script.PARTS)
    assert (part.family, part.split, member) == ("isic2016", "test", "MTL3")
    with pytest.raises(EdgeskinError, match="no table is called 'isic2017'; did you mean 'isic2016'"):
        script.chosen("isic2017", script.PARTS)
    with pytest.raises(EdgeskinError, match="isic2016 has no member 'MTL5'; did you mean 'MTL"):
        script.chosen("isic2016/MTL5", script.PARTS)


class Ablations:
    """Instead of training: notes what was asked; `behind` are the splits that never get their figures."""

    def __init__(self, behind: tuple[str, ...] = ()) -> None:
        self.asked: list[tuple[str, str, int | None]] = []
        self.behind = behind

    def ablate(self, path: Path, runs: Path, bench: Bench) -> None:
        assert bench.split is not None
        self.asked.append((path.stem, bench.split, bench.folds))

    def table(self, part, runs: Path):
        from edgeskin.benchmarks.ablation import Line, Table

        note = "not run" if part.split in self.behind else None
        line = Line(name="a", done=1, folds=1, note=note, n=1, printed_on=None, printed={}, figures={})
        return Table(family=part.family, split=part.split, metrics=(), lines=(line,), remarks=())


@pytest.mark.parametrize(
    ("behind", "named", "complete"),
    [((), False, True), (("val",), False, False), (("val",), True, False), (("test",), False, False)],
)
def test_test_is_looked_at_last_and_only_once_all_else_has_its_figures(
    script: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    behind: tuple[str, ...],
    named: bool,
    complete: bool,
) -> None:
    done = Ablations(behind)
    monkeypatch.setattr(ablate, "ablate", done.ablate)
    monkeypatch.setattr(script, "_table", done.table)
    parts = [script.Part("t", "isic2016", "test"), script.Part("f", "fusion", "fold"), script.Part("v", "input", "val")]
    work = script.Work(tmp_path, lambda _: Bench(tmp_path))
    assert script.run(parts, work, named=named) is complete
    # What is reported on test is trained in its turn; the first of all folds before the second of any.
    assert done.asked[:4] == [
        ("isic2016", "select", 1),
        ("fusion", "fold", 1),
        ("input", "val", 1),
        ("fusion", "fold", None),
    ]
    looked = "val" not in behind or named
    assert [split for _, split, _ in done.asked[4:]] == ["test"] * looked
    done.asked.clear()
    script.run(parts[1:2], replace(work, folds=2), named=True)
    assert done.asked == [("fusion", "fold", 1), ("fusion", "fold", 2)]


def a_row(recipe_sha256: str, split: str, failed: str | None = None) -> Row:
    figures = Measured(
        dataset="isic2017",
        n=1,
        data_list_sha256="",
        trained_on_sha256="",
        sources={},
        figures={"mask_dice": {"float": 0.5, "int8": 0.25}},
        commit=None,
        date="2026-11-30T00:00:00+00:00",
    )
    return Row(recipe="own", recipe_sha256=recipe_sha256, splits={split: figures}, failed=failed)


def test_rows_outlive_their_runs(script: ModuleType, tmp_path: Path) -> None:
    runs, kept = tmp_path / "runs", tmp_path / "rows"
    part = next(part for part in script.PARTS if part.name == "pad_ufes_20")
    _, trials = family.read(shipped.find("families", part.family), runs)
    first, told = trials[0].each[0], next(one for one in trials if one.choice.fields == "unknown").each[0]
    average = trials[0].average
    assert average is not None
    a_row(first.recipe.sha256(), "fold", failed="interrupted").write(first.folder)
    a_row(told.recipe.sha256(), "fold").write(told.folder)
    a_row(first.recipe.sha256(), "val").write(average.folder)
    Row(recipe="own", recipe_sha256="", failed="no figures").write(trials[0].each[1].folder)
    script.keep((part,), runs, kept)
    script.fetch(kept, tmp_path / "new")
    places = {path.parent.relative_to(tmp_path / "new/ablations") for path in (tmp_path / "new").rglob("row.json")}
    assert places == {each.folder.relative_to(runs / "ablations") for each in (first, told, average)}
    row = Row.read(tmp_path / "new/ablations" / first.recipe.sha256())
    assert row == a_row(first.recipe.sha256(), "fold")
    # What a folder of runs has stays.
    script.fetch(kept, runs)
    assert Row.read(first.folder) == a_row(first.recipe.sha256(), "fold", failed="interrupted")
    # And nothing that was kept is lost to a row that has less.
    a_row(first.recipe.sha256(), "test").write(first.folder)
    script.fetch(kept, runs)
    script.keep((part,), runs, kept)
    row = Row.read(kept / first.recipe.sha256())
    assert row is not None
    assert set(row.splits) == {"fold", "test"}


def test_every_kept_row_is_of_a_table(script: ModuleType, tmp_path: Path) -> None:
    hashes = set()
    for part in script.PARTS:
        _, trials = family.read(shipped.find("families", part.family), tmp_path)
        hashes |= {trial.recipe.sha256() for one in trials for trial in one.each}
    kept = {path.relative_to(script.KEPT).parts[0] for path in script.KEPT.rglob("row.json")}
    assert kept <= hashes, "remove these rows, or the recipe that they are of was changed by mistake"


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_only_what_was_committed_is_measured(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(script, "ROOT", tmp_path)
    recipe = tmp_path / "train/recipes/own.toml"
    recipe.parent.mkdir(parents=True)
    script.demand_committed()  # no checkout: nobody can say
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    script.demand_committed()
    recipe.write_text("seed = 1\n")
    with pytest.raises(EdgeskinError, match=r"train/: is not committed, so nobody could repeat it\. Commit it first"):
        script.demand_committed()


def test_mistakes_are_one_line(script: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    assert script.main(["--only", "nothing"]) == 1
    assert capsys.readouterr().err.startswith("error: no table is called 'nothing'")


@pytest.mark.long
@pytest.mark.skipif(NO_TORCH is not None, reason=NO_TORCH or "")
def test_the_whole_way_on_drawn_photos_and_again_without_training(
    script: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert script.main(["--quick", "--runs", str(tmp_path)]) == 0
    shown = capsys.readouterr()
    val, test = (part.split("\n\n")[0] for part in shown.out.split("<!-- end of results -->")[:2])
    assert len(re.findall(r"^\| \S.*, (?:float|int8) \| val, 20 images \|", val, flags=re.M)) == 10
    assert len(re.findall(r"^\| \S.*, (?:float|int8) \| test, 20 images \|", test, flags=re.M)) == 10
    rows = {cells[0]: cells for line in val.splitlines() if len(cells := line.strip("| ").split(" | ")) > 3}
    # What is told of the fields changes no mask.
    told, none = rows["fields, float"], rows["fields, none told, float"]
    assert told[3] == none[3]
    assert rows["image, int8"][7:] != ["", ""]
    # Where a network decides changes what it decides, and nothing else.
    own, half = rows["image, float"], rows["image, deciding at one half, float"]
    assert own[5] != half[5]
    assert [*own[3:5], own[6]] == [*half[3:5], half[6]]
    assert rows["pattern of unknown fields alone, float"][3].strip() == ""
    assert len(re.findall(r"^float epoch 1/1", shown.err, flags=re.M)) == 2  # two networks, five rows of two splits
    drawn = sorted(path.name for path in (tmp_path / "pictures").iterdir())
    assert drawn == ["phantom_latency_p50_ms.svg", "phantom_size_mib.svg"]
    assert sorted(re.findall(r"^!\[.*\]\(pictures/(.*)\)$", shown.out, flags=re.M)) == drawn
    assert script.main(["--quick", "--runs", str(tmp_path)]) == 0
    again = capsys.readouterr()
    assert again.out == shown.out
    assert again.err == ""
