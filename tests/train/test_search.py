"""A search tries recipes, keeps what it knows, and goes on where it stopped. Training itself is another's test."""

import math
import sqlite3
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import pytest

from edgeskin import shipped
from edgeskin.errors import MissingDependencyError, RecipeError, RunError
from edgeskin.optional import missing
from edgeskin.train import loop, recipe, space
from edgeskin.train.search import Bench, search

if missing("optuna"):
    pytest.skip(missing("optuna") or "", allow_module_level=True)

SPACE = """
name = "rates"
recipe = "phantom_tiny"
set = ["float.epochs=4", "qat.epochs=2", "data.select=12", "network.encoder=mobilenet_v2"]
trials = 4

[pruner]
kind = "none"

[space]
"float.learning_rate" = { low = 1e-4, high = 1e-2, log = true }
"float.batch" = [8, 16]
"network.decoder" = [[24, 16], [16]]
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "rates.toml"
    path.write_text(SPACE)
    return path


@dataclass
class Trainer:
    """Instead of training: the score is highest at a float learning rate of 1e-3, and rises epoch by epoch."""

    trained: list[float] = field(default_factory=list)
    resumed: list[bool] = field(default_factory=list)
    interrupt_after: int | None = None
    trouble: Exception | None = None

    def train(self, recipe, places, *, resume, device=None, on_epoch=None):
        self.trained.append(recipe.float_phase.learning_rate)
        self.resumed.append(resume)
        run = places.run / "run.json"
        run.parent.mkdir(parents=True, exist_ok=True)
        done = int(run.read_text()) if run.exists() else 0
        if self.trouble is not None and len(self.trained) == 2:
            raise self.trouble
        final = 1 - abs(math.log10(recipe.float_phase.learning_rate) + 3) / 4
        for epoch in range(done, 6):
            run.write_text(str(epoch + 1))
            phase, number = ("float", epoch + 1) if epoch < 4 else ("qat", epoch - 3)
            on_epoch(phase, number, final * (epoch + 1) / 6)
            if self.interrupt_after == len(self.trained) and epoch == 2:
                raise KeyboardInterrupt
        return SimpleNamespace(best={"float": SimpleNamespace(score=0.0), "qat": SimpleNamespace(score=final)})


@pytest.fixture
def trainer(monkeypatch: pytest.MonkeyPatch) -> Trainer:
    made = Trainer()
    monkeypatch.setattr(loop, "train", made.train)
    return made


@pytest.fixture
def bench(phantom_data: Path, tmp_path: Path) -> Bench:
    return Bench(phantom_data, tmp_path / "study")


# --- to the end ---


def test_the_best_trial_is_the_one_with_the_highest_score_and_its_values_are_in_reach(
    file: Path, bench: Bench, trainer: Trainer
) -> None:
    found = search(file, bench)
    assert [row.state for row in found.trials] == ["complete"] * 4
    best = found.trials[found.best]
    assert best.score == max(row.score or 0 for row in found.trials)
    # The score is 1 at 1e-3 and falls by 1/4 a decade: by its definition above, whoever has the highest is nearest.
    nearest = min(trainer.trained, key=lambda rate: abs(math.log10(rate) + 3))
    assert float(best.values["float.learning_rate"]) == nearest
    assert all(1e-4 <= rate <= 1e-2 for rate in trainer.trained)
    assert {row.values["float.batch"] for row in found.trials} <= {"8", "16"}
    assert {row.values["network.decoder"] for row in found.trials} <= {"[24, 16]", "[16]"}


def test_the_best_recipe_says_what_differs_from_the_base_and_reads_as_the_trial_did(
    file: Path, bench: Bench, trainer: Trainer
) -> None:
    found = search(file, bench, 1)
    path = bench.folder / "best.toml"
    assert found.recipe == str(path)
    written = recipe.read(path)
    by_hand = recipe.read(shipped.find("recipes", "phantom_tiny"), found.overrides)
    assert written == by_hand.model_copy(update={"name": "rates_best"})
    assert written.float_phase.epochs == 4
    assert (bench.folder / "search.toml").read_text() == SPACE


def test_a_file_that_the_base_names_is_still_found_from_the_best_recipe(
    file: Path, bench: Bench, trainer: Trainer
) -> None:
    base = file.parent / "base" / "own.toml"
    base.parent.mkdir()
    text = shipped.find("recipes", "phantom_tiny").read_text()
    base.write_text(text.replace("select = 24", 'select = 12\nexclude = "out.txt"'))
    (base.parent / "out.txt").write_text("")
    file.write_text(SPACE.replace('"phantom_tiny"', '"base/own.toml"'))
    search(file, bench, 1)
    path = bench.folder / "best.toml"
    exclude = recipe.read(path).data.exclude
    assert exclude is not None
    assert (path.parent / exclude).resolve() == (base.parent / "out.txt").resolve()


def test_every_trial_has_a_run_folder_and_a_line_in_the_table(file: Path, bench: Bench, trainer: Trainer) -> None:
    found = search(file, bench, 2)
    assert {path.name for path in (bench.folder / "trials").iterdir()} == {row.run for row in found.trials}
    lines = found.markdown().splitlines()
    assert lines[0] == "| trial | state | score | epochs | float.learning_rate | float.batch | network.decoder | run |"
    assert len(lines) == 2 + 2
    assert sum("(best)" in line for line in lines) == 1


# --- going on ---


def test_a_finished_search_trains_nothing_and_a_larger_number_only_what_is_new(
    file: Path, bench: Bench, trainer: Trainer
) -> None:
    first = search(file, bench, 1)
    assert search(file, bench, 1) == first
    assert len(trainer.trained) == 1
    assert search(file, bench, 2).trials[:1] == first.trials
    assert len(trainer.trained) == 2


def test_an_interrupted_trial_is_marked_failed_and_tried_again_from_its_last_epoch(
    file: Path, bench: Bench, trainer: Trainer, tmp_path: Path
) -> None:
    whole = search(file, Bench(bench.data, tmp_path / "whole"))
    uninterrupted = list(trainer.trained)
    trainer.trained, trainer.resumed, trainer.interrupt_after = [], [], 2
    with pytest.raises(KeyboardInterrupt):
        search(file, bench)
    trainer.interrupt_after = None
    found = search(file, bench)
    assert [row.state for row in found.trials] == ["complete", "interrupted", "complete", "complete", "complete"]
    assert found.trials[2].values == found.trials[1].values
    assert found.trials[2].run == found.trials[1].run
    assert trainer.resumed == [False, False, True, False, False]
    assert found.trials[2].epochs == 6, "the three epochs before the interruption are known to the pruner"
    # The same points, in the same order, as without an interruption.
    assert trainer.trained[:2] + trainer.trained[3:] == uninterrupted
    assert found.overrides == whole.overrides


def test_a_trial_that_fails_by_its_values_is_a_row_and_the_search_goes_on(
    file: Path, bench: Bench, trainer: Trainer
) -> None:
    trainer.trouble = RunError("epoch 1, step 3: the loss is nan")
    found = search(file, bench, 3)
    assert [row.state for row in found.trials] == ["complete", "failed", "complete"]
    assert "failed: epoch 1, step 3: the loss is nan" in found.markdown()


def test_a_full_disk_ends_the_search(file: Path, bench: Bench, trainer: Trainer) -> None:
    from edgeskin.errors import EdgeskinError

    trainer.trouble = EdgeskinError("cannot write: the disk is full")
    with pytest.raises(EdgeskinError, match="the disk is full"):
        search(file, bench)
    assert len(trainer.trained) == 2


def test_a_search_without_a_finished_trial_says_why(file: Path, bench: Bench, trainer: Trainer) -> None:
    file.write_text(SPACE.replace("[space]", "[space]\n'float.momentum' = [0.8, 0.9]"))
    trainer.trained = [0.0]
    trainer.trouble = MemoryError("out of memory")
    with pytest.raises(RunError, match=r"none of 1 trials was trained to its end \(failed: out of memory\)"):
        search(file, bench, 1)


def test_a_trial_below_the_median_is_pruned_after_the_warm_up(file: Path, bench: Bench, trainer: Trainer) -> None:
    pruned = SPACE.replace('kind = "none"', 'kind = "median"\nstartup_trials = 2\nwarmup_epochs = 2')
    file.write_text(pruned)
    found = search(file, bench, 7)
    complete = [row for row in found.trials if row.state == "complete"]
    given_up = [row for row in found.trials if row.state == "pruned"]
    assert given_up
    assert all(row.state == "complete" for row in found.trials[:2])
    # Scores grow in proportion, so that whatever is below the median is so from the first epoch compared: the third.
    assert {row.epochs for row in given_up} == {3}
    assert all((row.score or 0) < min(each.score or 0 for each in complete[:2]) for row in given_up)


# --- mistakes ---


def test_the_mistakes_of_a_space_are_told_at_once_before_anything_is_trained(
    file: Path, bench: Bench, trainer: Trainer
) -> None:
    file.write_text(
        SPACE.replace("float.learning_rate", "float.learning_rat").replace("float.batch", "float.bach")
        + '"network.width" = { low = -1.0, high = 0.5 }\n'
    )
    with pytest.raises(RecipeError) as raised:
        search(file, bench)
    told = "\n".join(raised.value.problems)
    assert "float.learning_rat is not a known key; did you mean learning_rate?" in told
    assert "float.bach is not a known key; did you mean batch?" in told
    assert "network.width is -1.0" in told
    assert not trainer.trained
    assert not bench.folder.exists()


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ('"a.b" = { low = 2, high = 1 }', "low is 2, high is 1; low must be the smaller"),
        ('"a.b" = { low = 0.0, high = 1.0, log = true }', "a logarithmic axis begins above 0"),
        ('"a.b" = { low = 1 }', "high is missing; write a number"),
        ('"a.b" = { low = "1", high = 2 }', "low is '1'; write a number"),
        ('"a.b" = { low = 1, hihg = 2 }', "hihg is not a known key; did you mean high"),
        ('"a.b" = [3]', "choices are 3; write at least two, each once"),
        ('"a.b" = [3, 3]', "choices are 3, 3; write at least two, each once"),
        ('"a.b" = [{ c = 1 }, { c = 2 }]', "for a table, search over its keys"),
        ('"a.b" = 3', "write { low = …, high = … } or a list"),
        ("a.b = { low = 1, high = 2 }", "write the whole key in quotes"),
        ('"float" = [1, 2]', "one is part of the other"),
    ],
)
def test_a_dimension_that_is_none_is_refused(file: Path, line: str, sentence: str) -> None:
    file.write_text(f"{SPACE}{line}\n")
    with pytest.raises(RecipeError) as raised:
        space.read(file)
    assert sentence in str(raised.value)


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ('"float.batch" = [8, 1]', "with float.batch=1: float.batch is 1"),
        ('"float.batch" = [8, 64]', "with float.batch=64: float.batch is 64, more than the 48 images"),
        ('"float.weight_decay" = { low = 0, high = 1 }', "0 to 1 are whole numbers; write 0.0 and 1.0"),
        ('"network.size" = { low = 32.0, high = 64.0 }', "the recipe takes whole numbers only"),
    ],
)
def test_a_value_that_no_recipe_may_have_is_found_at_the_ends(
    file: Path, bench: Bench, trainer: Trainer, line: str, sentence: str
) -> None:
    head, _, _ = SPACE.partition("[space]")
    file.write_text(f"{head}[space]\n{line}\n")
    with pytest.raises(RecipeError) as raised:
        search(file, bench)
    assert sentence in str(raised.value)
    assert not trainer.trained


def test_a_recipe_that_is_not_there_is_named_with_the_nearest(file: Path, bench: Bench) -> None:
    file.write_text(SPACE.replace("phantom_tiny", "phantom_tinny"))
    with pytest.raises(RecipeError, match=r"rates\.toml: recipe: phantom_tinny.*Did you mean phantom_tiny"):
        search(file, bench)


def test_a_folder_of_another_search_is_refused(file: Path, bench: Bench, trainer: Trainer) -> None:
    search(file, bench, 1)
    file.write_text(SPACE.replace("1e-4", "2e-4"))
    with pytest.raises(RunError, match=r"holds a search with another space.*another folder with --run"):
        search(file, bench)
    file.write_text(SPACE.replace("trials = 4", "trials = 2"))
    assert len(search(file, bench).trials) == 2, "how many trials is no part of what is searched"


def test_a_study_that_is_no_database_is_a_sentence(file: Path, bench: Bench, trainer: Trainer) -> None:
    bench.folder.mkdir()
    (bench.folder / "study.db").write_bytes(b"not a database" * 100)
    with pytest.raises(RunError, match=r"study\.db: is no search of ours"):
        search(file, bench)


def test_a_search_under_torchrun_is_refused(file: Path, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(RunError, match="does not run under torchrun"):
        search(file, bench)


def test_without_optuna_the_sentence_says_how_to_get_it(
    file: Path, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgeskin import optional

    monkeypatch.setattr(optional, "available", lambda module: module != "optuna")
    with pytest.raises(MissingDependencyError, match=r"edgeskin\[search\]"):
        search(file, bench)


def test_the_shipped_example_is_a_space_of_its_recipe(phantom_data: Path) -> None:
    path = Path(__file__).parents[2] / "train" / "searches" / "phantom_tiny_rates.toml"
    ground = space.survey(path, space.read(path))
    assert ground.corner.name == "phantom_tiny"
    assert ground.float_epochs == 8


def test_the_study_is_readable_by_others(file: Path, bench: Bench, trainer: Trainer) -> None:
    search(file, bench, 1)
    with sqlite3.connect(bench.folder / "study.db") as database:
        assert database.execute("select count(*) from trials where state = 'COMPLETE'").fetchone() == (1,)
