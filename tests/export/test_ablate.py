"""A family is planned from its files, trained once, and goes on where it stopped. Training itself is another's test."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest

from edgeskin.benchmarks.ablation import Row
from edgeskin.benchmarks.measurements import AccuracyReport, MetricFigure
from edgeskin.data.cases import Case, data_list_sha256, read_cases
from edgeskin.errors import RecipeError, RunError
from edgeskin.export import ablate, evaluate, journey
from edgeskin.export.ablate import Bench
from edgeskin.train import loop, measure

FAMILY = """
name = "pairs"
base = "phantom_tiny"
set = ["float.epochs=2", "data.select=12"]
metrics = ["mask_dice"]

[[members]]
name = "narrow"
set = ["network.width=0.25"]
paper = "joint_reverse_mtl_2024/MTL0"

[[members]]
name = "wide"
"""


@pytest.fixture
def family(tmp_path: Path) -> Path:
    path = tmp_path / "pairs.toml"
    path.write_text(FAMILY)
    return path


class Trainer:
    """Instead of training: notes what it was asked, and fails where it is told to."""

    def __init__(self, data: Path) -> None:
        self.images = [case.image_id for case in read_cases(data).split("val")]
        self.trained: list[tuple[float, int, bool]] = []
        self.measured = 0
        self.trouble: BaseException | None = None

    def train(self, recipe, places, *, resume: bool, device: str | None = None):
        self.trained.append((recipe.network.width, recipe.data.fold, resume))
        places.run.mkdir(parents=True, exist_ok=True)
        (places.run / "run.json").write_text("{}")
        if self.trouble is not None and recipe.network.width == 0.25:
            raise self.trouble

    def graph(self, run: Path, say: Callable[[str], None]):
        return SimpleNamespace(evidence=run / "evidence.json", sha256=run.parent.name)

    def evaluate(self, graph, data: Path, split: str, **_: object) -> AccuracyReport:
        self.measured += 1
        value = 0.9 if len(self.trained) % 2 else 0.8
        figure = MetricFigure(float=value, int8=value, n=9)
        return AccuracyReport(
            dataset="generic",
            split=split,
            n=len(self.images),
            data_list_sha256=data_list_sha256(self.images),
            metrics={"mask_dice": figure},
        )


@pytest.fixture
def trainer(monkeypatch: pytest.MonkeyPatch, phantom_data: Path) -> Trainer:
    made = Trainer(phantom_data)
    monkeypatch.setattr(loop, "train", made.train)
    monkeypatch.setattr(journey, "find_graph", made.graph)
    monkeypatch.setattr(evaluate, "evaluate", made.evaluate)
    return made


def test_a_plan_is_the_base_with_the_familys_changes_and_then_the_members(family: Path, tmp_path: Path) -> None:
    chosen, trials = ablate.plan(family, tmp_path)
    assert [member.name for member in chosen.members] == ["narrow", "wide"]
    (narrow,), (wide,) = trials
    assert (narrow.recipe.float_phase.epochs, narrow.recipe.network.width, narrow.recipe.data.select) == (2, 0.25, 12)
    assert wide.recipe.network.width == 0.35
    assert narrow.folder == tmp_path / "ablations" / ablate.identity(narrow.recipe)
    assert narrow.folder != wide.folder


def test_a_recipe_with_folds_is_one_trial_a_fold(family: Path, tmp_path: Path) -> None:
    family.write_text(FAMILY.replace('"data.select=12"', '"data.folds=3"'))
    _, trials = ablate.plan(family, tmp_path)
    assert [trial.name for trial in trials[0]] == ["narrow, fold 0", "narrow, fold 1", "narrow, fold 2"]
    assert [trial.recipe.data.fold for trial in trials[1]] == [0, 1, 2]
    assert len({trial.folder for each in trials for trial in each}) == 6


def test_the_mistakes_of_all_members_are_told_at_once(family: Path, tmp_path: Path) -> None:
    broken = FAMILY.replace("network.width=0.25", "network.widht=0.25").replace("MTL0", "MTL0")
    family.write_text(broken + 'paper = "joint_reverse_mtl_2024/MTL7"\n')
    with pytest.raises(RecipeError) as raised:
        ablate.plan(family, tmp_path)
    first, second = raised.value.problems
    assert first == "narrow: network.widht is not a known key; did you mean width?"
    assert second.startswith("wide: joint_reverse_mtl_2024 has no row 'MTL7'")
    family.write_text(FAMILY.replace('"wide"', '"narrow"'))
    with pytest.raises(RecipeError, match="several called narrow"):
        ablate.plan(family, tmp_path)


def test_before_anything_ran_the_table_says_not_run_beside_the_paper(family: Path, tmp_path: Path) -> None:
    text = ablate.show(family, tmp_path / "runs", "val").markdown()
    assert "| narrow, paper | ISIC 2016 test |  | 0.900 |" in text
    assert "| narrow | not run |" in text
    assert "| wide | not run |" in text
    assert not (tmp_path / "runs").exists()


def test_every_member_is_trained_once_and_its_row_is_kept(
    family: Path, tmp_path: Path, trainer: Trainer, phantom_data: Path
) -> None:
    bench = Bench(phantom_data, "val")
    found = ablate.ablate(family, tmp_path, bench)
    assert "| narrow, float | val, 9 images | 1 of 1 | 0.900 |" in found.markdown()
    assert "| wide, int8 | val, 9 images | 1 of 1 | 0.800 |" in found.markdown()
    assert ablate.ablate(family, tmp_path, bench) == found == ablate.show(family, tmp_path, "val")
    assert trainer.trained == [(0.25, 0, False), (0.35, 0, False)]
    # Another split is measured without another row for the recipe: training finds its finished run.
    ablate.ablate(family, tmp_path, Bench(phantom_data, "select"))
    assert trainer.trained[2:] == [(0.25, 0, True), (0.35, 0, True)]
    _, trials = ablate.plan(family, tmp_path)
    row = Row.read(trials[0][0].folder)
    assert row is not None
    assert set(row.splits) == {"val", "select"}


@pytest.mark.parametrize(
    ("trouble", "words"),
    [
        (RunError("the loss is nan\nsecond line"), "the loss is nan"),
        (RuntimeError("CUDA out of memory. Tried"), "RuntimeError: CUDA out of memory. Tried"),
        (MemoryError(), "MemoryError: no message"),
    ],
)
def test_a_member_that_fails_is_a_row_and_the_others_go_on(
    family: Path, tmp_path: Path, trainer: Trainer, phantom_data: Path, trouble: BaseException, words: str
) -> None:
    trainer.trouble = trouble
    said: list[str] = []
    found = ablate.ablate(family, tmp_path, Bench(phantom_data, "val", say=said.append))
    assert found.failed
    assert f"| narrow | failed: {words} |" in found.markdown()
    assert "| wide, float |" in found.markdown()
    assert f"narrow: failed: {words}" in said
    trainer.trouble = None
    again = ablate.ablate(family, tmp_path, Bench(phantom_data, "val"))
    assert not again.failed
    assert trainer.trained[2:] == [(0.25, 0, True)]


def test_an_interrupted_member_goes_on_the_next_time(
    family: Path, tmp_path: Path, trainer: Trainer, phantom_data: Path
) -> None:
    trainer.trouble = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        ablate.ablate(family, tmp_path, Bench(phantom_data, "val"))
    assert "| narrow | failed: interrupted; run it again to go on |" in ablate.show(family, tmp_path, "val").markdown()
    trainer.trouble = None
    assert not ablate.ablate(family, tmp_path, Bench(phantom_data, "val")).failed
    assert trainer.trained == [(0.25, 0, False), (0.25, 0, True), (0.35, 0, False)]


def test_a_row_about_other_images_does_not_count(
    family: Path, tmp_path: Path, trainer: Trainer, phantom_data: Path
) -> None:
    ablate.ablate(family, tmp_path, Bench(phantom_data, "val"))
    _, trials = ablate.plan(family, tmp_path)
    row = Row.read(trials[0][0].folder)
    assert row is not None
    other = row.splits["val"].model_copy(update={"data_list_sha256": "of other images"})
    row.model_copy(update={"splits": {"val": other}}).write(trials[0][0].folder)
    ablate.ablate(family, tmp_path, Bench(phantom_data, "val"))
    assert trainer.trained[2:] == [(0.25, 0, True)]


def test_folds_are_measured_on_what_each_held_out_unless_asked_otherwise(
    family: Path, tmp_path: Path, trainer: Trainer, phantom_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    family.write_text(FAMILY.replace('"data.select=12"', '"data.select=12", "data.folds=3"'))
    measured: list[tuple[str, ...]] = []

    def note(graph: object, cases: Sequence[Case], bench: Bench) -> AccuracyReport:
        measured.append(tuple(case.image_id for case in cases))
        return trainer.evaluate(graph, bench.data, "fold")

    monkeypatch.setattr(ablate, "_evaluate", note)
    found = ablate.ablate(family, tmp_path, Bench(phantom_data))
    assert found.split == "fold"
    # By hand: the trainer's figures alternate 0.9, 0.8, 0.9: mean 0.867, deviation 0.1 / √3.
    assert "| narrow, int8 | fold, 9 images | 3 of 3 | 0.867 ± 0.058 |" in found.markdown()
    ids = {case.image_id for case in read_cases(phantom_data).split("train")}
    for of_member in (measured[:3], measured[3:]):
        assert sorted(image for fold in of_member for image in fold) == sorted(ids)
    assert ablate.show(family, tmp_path) == found
    assert "| narrow | not run |" in ablate.show(family, tmp_path, "val").markdown()


def test_a_member_without_folds_has_none_held_out(
    family: Path, tmp_path: Path, trainer: Trainer, phantom_data: Path
) -> None:
    text = ablate.ablate(family, tmp_path, Bench(phantom_data, "fold")).markdown()
    assert "| narrow | failed: narrow: has no folds, so none was held out." in text


def test_a_network_that_cannot_be_exported_is_measured_in_torch(
    family: Path, tmp_path: Path, trainer: Trainer, phantom_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(run: Path, say: object) -> None:
        raise RunError("z_score is for ablations\nsecond line")

    asked: list[int] = []

    def in_torch(run: Path, cases: Sequence[Case]) -> dict[str, dict[str, float]]:
        asked.append(len(cases))
        return {"mask_dice": {"float": 0.9, "int8": math.nan}}

    monkeypatch.setattr(journey, "find_graph", refuse)
    monkeypatch.setattr(measure, "measure", in_torch)
    text = ablate.ablate(family, tmp_path, Bench(phantom_data, "val")).markdown()
    assert "| narrow, float | val, 9 images | 1 of 1 | 0.900 |" in text
    assert "| narrow, int8 | val, 9 images | 1 of 1 | – |" in text
    assert "because it cannot be exported: z_score is for ablations" in text
    assert asked == [9, 9]


def test_a_mistake_of_ours_is_not_hidden_in_a_row(
    family: Path, tmp_path: Path, trainer: Trainer, phantom_data: Path
) -> None:
    trainer.trouble = TypeError("a bug")
    with pytest.raises(TypeError):
        ablate.ablate(family, tmp_path, Bench(phantom_data, "val"))
