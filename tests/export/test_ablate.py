"""A family is trained once, measured once, and goes on where it stopped. Training itself is another's test."""

import math
import shutil
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest

from edgeskin import files
from edgeskin.benchmarks import evidence
from edgeskin.benchmarks.ablation import Row
from edgeskin.benchmarks.evidence import EvidenceEntry
from edgeskin.benchmarks.measurements import AccuracyReport, MetricFigure
from edgeskin.data.cases import Case, data_list_sha256, read_cases
from edgeskin.errors import ContractError, EdgeskinError, RunError
from edgeskin.export import ablate, average, evaluate, journey
from edgeskin.export import family as families
from edgeskin.export.ablate import Bench
from edgeskin.export.average import Averaged
from edgeskin.export.family import Trials
from edgeskin.export.unseen import Unseen
from edgeskin.train import loop, measure, provenance
from edgeskin.train.plan import plan

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
        self.selected: list[str] = []
        self.trained: list[tuple[float, int, bool]] = []
        self.measured = 0
        self.trouble: BaseException | None = None

    def train(self, recipe, places, *, resume: bool, device: str | None = None):
        self.trained.append((recipe.network.width, recipe.data.fold, resume))
        self.selected = [case.image_id for case in plan(recipe, places).select.cases]
        places.run.mkdir(parents=True, exist_ok=True)
        (places.run / "run.json").write_text("{}")
        if self.trouble is not None and recipe.network.width == 0.25:
            raise self.trouble

    def graph(self, run: Path, say: Callable[[str], None]):
        card = SimpleNamespace(metadata=None, heads=())
        return SimpleNamespace(evidence=run / "evidence.json", sha256=run.parent.name, card=card)

    def evaluate(self, graph, data: Path, split: str, **_: object) -> AccuracyReport:
        self.measured += 1
        images = self.images if split == "val" else self.selected
        return report(0.9 if len(self.trained) % 2 else 0.8, images, split)


def report(value: float, images: Sequence[str], split: str) -> AccuracyReport:
    return AccuracyReport(
        dataset="generic",
        split=split,
        n=len(images),
        data_list_sha256=data_list_sha256(images),
        metrics={"mask_dice": MetricFigure(float=value, int8=value, n=len(images))},
    )


def trials_of(family: Path, runs: Path) -> tuple[Trials, ...]:
    return families.read(family, runs)[1]


@pytest.fixture
def trainer(monkeypatch: pytest.MonkeyPatch, phantom_data: Path) -> Trainer:
    made = Trainer(phantom_data)
    monkeypatch.setattr(loop, "train", made.train)
    monkeypatch.setattr(journey, "find_graph", made.graph)
    monkeypatch.setattr(evaluate, "evaluate", made.evaluate)
    return made


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
    trials = trials_of(family, tmp_path)
    row = Row.read(trials[0].each[0].folder)
    assert row is not None
    assert set(row.splits) == {"val", "select"}


@pytest.mark.parametrize(
    ("trouble", "words"),
    [
        (RunError("the loss is nan\nsecond line"), "the loss is nan"),
        (ContractError("breaks the contract:\n  relu6: no scale\n  more"), "breaks the contract: relu6: no scale"),
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


def test_an_image_that_is_left_out_as_seen_in_training_makes_nobody_measure_again(
    family: Path, tmp_path: Path, trainer: Trainer, phantom_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left_out, *images = trainer.images
    kept: list[Path] = []

    def evaluated(graph, data: Path, split: str, **_: object) -> AccuracyReport:
        found = report(0.9, images, split)
        evidence.append(graph.evidence, EvidenceEntry.of(found, graph.sha256, {}))
        kept.append(graph.evidence)
        return found

    def unseen(graph, cases: Sequence[Case], *_: object) -> Unseen:
        return Unseen(tuple(case for case in cases if case.image_id != left_out), (left_out,))

    monkeypatch.setattr(evaluate, "evaluate", evaluated)
    monkeypatch.setattr(ablate, "unseen", unseen)
    found = ablate.ablate(family, tmp_path, Bench(phantom_data, "val"))
    assert "| narrow, float | val, 8 images | 1 of 1 | 0.900 |" in found.markdown()
    assert ablate.ablate(family, tmp_path, Bench(phantom_data, "val")) == found
    assert len(trainer.trained) == len(kept) == 2
    # A row that was not kept is made from the evidence.
    (trials_of(family, tmp_path)[0].each[0].folder / "row.json").unlink()
    assert ablate.ablate(family, tmp_path, Bench(phantom_data, "val")).lines == found.lines
    assert len(kept) == 2


@pytest.mark.parametrize("about", ["data_list_sha256", "trained_on_sha256"])
def test_a_row_about_other_images_does_not_count(
    family: Path, tmp_path: Path, trainer: Trainer, phantom_data: Path, about: str
) -> None:
    ablate.ablate(family, tmp_path, Bench(phantom_data, "val"))
    trials = trials_of(family, tmp_path)
    row = Row.read(trials[0].each[0].folder)
    assert row is not None
    other = row.splits["val"].model_copy(update={about: "of other images"})
    row.model_copy(update={"splits": {"val": other}}).write(trials[0].each[0].folder)
    ablate.ablate(family, tmp_path, Bench(phantom_data, "val"))
    assert trainer.trained[2:] == [(0.25, 0, True)]


def test_a_row_counts_only_while_teacher_and_start_are_the_same_files(
    family: Path, tmp_path: Path, trainer: Trainer, phantom_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files_now = {"network.start": "a"}
    monkeypatch.setattr(provenance, "sources", lambda *_: dict(files_now))
    ablate.ablate(family, tmp_path, Bench(phantom_data, "val"))
    ablate.ablate(family, tmp_path, Bench(phantom_data, "val"))
    assert len(trainer.trained) == 2
    files_now["network.start"] = "b"
    trainer.trouble = RunError("began with another file than network.start now names")  # what `train` says of it
    text = ablate.ablate(family, tmp_path, Bench(phantom_data, "val")).markdown()
    assert "| narrow | failed: began with another file than network.start now names |" in text
    assert trainer.trained[2:] == [(0.25, 0, True), (0.35, 0, True)]


def test_a_data_list_that_changed_is_a_failure_that_says_so(
    family: Path, tmp_path: Path, trainer: Trainer, phantom_data: Path
) -> None:
    ablate.ablate(family, tmp_path / "runs", Bench(phantom_data, "val"))
    other = Path(shutil.copytree(phantom_data, tmp_path / "other"))
    table = (other / "labels.csv").read_text().splitlines()
    dropped = next(line for line in table if ",train," in line)
    (other / "labels.csv").write_text("\n".join(line for line in table if line != dropped) + "\n")
    trainer.trouble = RunError("was trained on other images than other now gives")  # what `train` says of such a run
    found = ablate.ablate(family, tmp_path / "runs", Bench(other, "val"))
    assert "| narrow | failed: was trained on other images than other now gives |" in found.markdown()
    assert trainer.trained[2:] == [(0.25, 0, True), (0.35, 0, True)]


def folded(family: Path) -> Path:
    family.write_text(FAMILY.replace('"data.select=12"', '"data.select=12", "data.folds=3"'))
    return family


def test_folds_are_measured_on_what_each_held_out_unless_asked_otherwise(
    family: Path, tmp_path: Path, trainer: Trainer, phantom_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured: list[list[str]] = []

    def note(card: object, fp32: object, int8: object, *, cases: Sequence[Case], **_: object) -> AccuracyReport:
        measured.append([case.image_id for case in cases])
        return report((0.9, 0.8)[len(measured) % 2], measured[-1], "fold")

    monkeypatch.setattr(evaluate, "opened", lambda graph: nullcontext((None, None)))
    monkeypatch.setattr(evaluate, "on_cases", note)
    found = ablate.ablate(folded(family), tmp_path, Bench(phantom_data))
    assert found.split == "fold"
    # By hand: the figures alternate 0.8, 0.9, 0.8: mean 0.833, deviation 0.1 / √3.
    assert "| narrow, int8 | fold, 20 images | 3 of 3 | 0.833 ± 0.058 |" in found.markdown()
    assert "average of" not in found.markdown()  # every image stands in the training of two of the three
    ids = {case.image_id for case in read_cases(phantom_data).split("train")}
    for of_member in (measured[:3], measured[3:]):
        assert sorted(image for fold in of_member for image in fold) == sorted(ids)
    assert ablate.show(family, tmp_path) == found
    assert "| narrow | not run |" in ablate.show(family, tmp_path, "val").markdown()
    ablate.ablate(family, tmp_path, Bench(phantom_data))
    assert len(measured) == 6


class Averager:
    """Instead of measuring: notes whose average was asked for, and leaves each network's evidence."""

    def __init__(self, images: list[str]) -> None:
        self.images = images
        self.asked: list[list[str]] = []
        self.trouble: BaseException | None = None

    def evaluate(self, graphs, data: Path, split: str, out: Path, **_: object) -> Averaged:
        self.asked.append([graph.sha256 for graph in graphs])
        if self.trouble is not None:
            raise self.trouble
        for graph, value in zip(graphs, (0.7, 0.8, 0.9), strict=True):
            evidence.append(graph.evidence, EvidenceEntry.of(report(value, self.images, split), graph.sha256, {}))
        found = Averaged(
            recipe="phantom_tiny",
            graphs=tuple(graph.sha256 for graph in graphs),
            thresholds={},
            accuracy=report(0.95, self.images, split),
            tool_versions={},
            date="2026-01-01",
        )
        files.write_json(out, found.model_dump(mode="json"))
        return found


@pytest.fixture
def averager(trainer: Trainer, monkeypatch: pytest.MonkeyPatch) -> Averager:
    made = Averager(trainer.images)
    monkeypatch.setattr(average, "evaluate", made.evaluate)
    return made


def test_on_val_and_test_the_folds_are_averaged_too_in_one_look(
    family: Path, tmp_path: Path, trainer: Trainer, averager: Averager, phantom_data: Path
) -> None:
    found = ablate.ablate(folded(family), tmp_path, Bench(phantom_data, "val"))
    lines = found.markdown().splitlines()
    # By hand: 0.7, 0.8, 0.9 have the mean 0.8 and the deviation 0.1.
    assert "| narrow, int8 | val, 9 images | 3 of 3 | 0.800 ± 0.100 |" in lines
    assert "| narrow, int8 | val, 9 images | average of 3 | 0.950 |" in lines
    assert [len(graphs) for graphs in averager.asked] == [3, 3]
    assert trainer.measured == 0  # no fold alone: on test that would have been its one look
    assert ablate.ablate(family, tmp_path, Bench(phantom_data, "val")) == found
    assert (len(averager.asked), len(trainer.trained)) == (2, 6)
    # A call that ended before its rows were kept: the figures are on disk, nothing is looked at again.
    for one in trials_of(family, tmp_path):
        for trial in (*one.each, one.average):
            assert trial is not None
            (trial.folder / "row.json").unlink()
    assert ablate.ablate(family, tmp_path, Bench(phantom_data, "val")) == found
    assert len(averager.asked) == 2


def test_no_fold_is_looked_at_before_all_are_trained(
    family: Path, tmp_path: Path, trainer: Trainer, averager: Averager, phantom_data: Path
) -> None:
    trainer.trouble = RunError("the loss is nan")
    text = ablate.ablate(folded(family), tmp_path, Bench(phantom_data, "val")).markdown()
    assert "| narrow | failed: the loss is nan |" in text
    assert "| wide, int8 | val, 9 images | average of 3 | 0.950 |" in text
    assert len(averager.asked) == 1
    assert trainer.measured == 0
    trainer.trouble = None
    assert not ablate.ablate(family, tmp_path, Bench(phantom_data, "val")).failed
    assert len(averager.asked) == 2


def test_an_average_that_is_refused_says_so_beside_what_the_folds_reached(
    family: Path, tmp_path: Path, trainer: Trainer, averager: Averager, phantom_data: Path
) -> None:
    ablate.ablate(folded(family), tmp_path, Bench(phantom_data, "val"))
    for one in trials_of(family, tmp_path):
        assert one.average is not None
        shutil.rmtree(one.average.folder)
    averager.trouble = EdgeskinError("a test split is touched once")
    text = ablate.ablate(family, tmp_path, Bench(phantom_data, "val")).markdown()
    assert "| narrow, int8 | val, 9 images | 3 of 3 | 0.800 ± 0.100 |" in text
    assert "| narrow | failed: a test split is touched once |" in text


def test_one_member_and_the_first_fold_may_be_run_before_the_rest(
    family: Path, tmp_path: Path, trainer: Trainer, phantom_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluate, "opened", lambda graph: nullcontext((None, None)))
    monkeypatch.setattr(
        evaluate, "on_cases", lambda *_, cases, **__: report(0.9, [case.image_id for case in cases], "fold")
    )
    found = ablate.ablate(folded(family), tmp_path, Bench(phantom_data, only=("wide",), folds=1))
    assert "| wide, float | fold, 20 images | 1 of 3 | 0.900 |" in found.markdown()
    assert "| wide | not run: 2 of 3 folds |" in found.markdown()
    assert "| narrow | not run |" in found.markdown()
    assert trainer.trained == [(0.35, 0, False)]
    assert all(line.note is None for line in ablate.ablate(family, tmp_path, Bench(phantom_data)).lines)
    assert trainer.trained[1:] == [
        (0.25, 0, False),
        (0.25, 1, False),
        (0.25, 2, False),
        (0.35, 1, False),
        (0.35, 2, False),
    ]


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
