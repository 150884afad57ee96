"""The training journey on the phantom set, and what a kill, a full disk or a wrong folder does to it."""

import csv
import errno
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch
from torch import Tensor

import edgeskin
from edgeskin import files, shipped
from edgeskin.data import fingerprint
from edgeskin.data.phantom import write_dataset
from edgeskin.errors import DataError, EdgeskinError, RecipeError, RunError
from edgeskin.graph.folder import TRAINING_PRINTS
from edgeskin.train import recipe
from edgeskin.train.checkpoint import RunRecord, load, read_run, write_run
from edgeskin.train.log import Progress
from edgeskin.train.loop import Places, train

Train = Callable[..., RunRecord]
STEPS, FLOAT_EPOCHS = 6, 6
"""Of the tiny recipe: an epoch is 48 cases in batches of 8."""


def rows(run: Path) -> list[dict[str, str]]:
    with (run / "log.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


def weights(run: Path) -> Mapping[str, str]:
    return {path.name: files.sha256(path) for path in run.glob("*.safetensors")}


def interrupt_at(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """Ctrl-C in the middle of that training step of the next call."""
    made = 0

    def count(self: Progress, losses: Mapping[str, float]) -> None:
        nonlocal made
        made += 1
        if made == step:
            raise KeyboardInterrupt

    monkeypatch.setattr(Progress, "step", count)


def stop_before_qat(monkeypatch: pytest.MonkeyPatch) -> None:
    def say(self: Progress, words: str) -> None:
        if "quantization" in words:
            raise KeyboardInterrupt

    monkeypatch.setattr(Progress, "say", say)


# --- to the end ---


def test_training_finishes_with_the_best_epoch_of_both_phases(tiny_run: Path) -> None:
    record = read_run(tiny_run)
    assert record.finished
    assert set(record.best) == {"float", "qat"}
    assert record.state is not None
    assert (record.state.phase, record.state.epoch) == ("qat", 2)
    assert set(weights(tiny_run)) == {stored.file for stored in (*record.best.values(), record.state)}
    assert len(record.train_ids) == 48
    assert len(record.select_ids) == 12
    assert not set(record.train_ids) & set(record.select_ids)
    assert set(record.thresholds) == {"melanoma", "seborrheic_keratosis"}
    assert {"python", "torch", "torchao", "numpy"} <= set(record.versions)


def test_the_log_has_a_row_an_epoch_with_every_loss_and_figure(tiny_run: Path) -> None:
    table = rows(tiny_run)
    epochs = [("float", str(epoch)) for epoch in range(1, FLOAT_EPOCHS + 1)]
    assert [(row["phase"], row["epoch"]) for row in table] == [*epochs, ("qat", "1"), ("qat", "2")]
    for row in table:
        for head in ("mask", "diagnosis", "melanoma", "seborrheic_keratosis"):
            assert float(row[f"loss_{head}"]) > 0
        assert 0 <= float(row["select_mask_jaccard"]) <= 1
        assert 0 <= float(row["select_melanoma_auroc"]) <= 1


def test_the_best_epoch_has_the_highest_mean_figure_of_those_that_may_be_kept(tiny_run: Path) -> None:
    record = read_run(tiny_run)
    # Of two quantization-aware epochs the second alone was trained frozen (tests/train/test_mode.py).
    for phase, first in (("float", 1), ("qat", 2)):
        scores = {
            int(row["epoch"]): sum(float(row[key]) for key in row if key.startswith("select_")) / 4
            for row in rows(tiny_run)
            if row["phase"] == phase and int(row["epoch"]) >= first
        }
        best = record.best[phase]
        assert best.epoch == max(scores, key=lambda epoch: scores[epoch])
        assert best.score == pytest.approx(scores[best.epoch], abs=1e-5)


def test_tensorboard_has_its_files(tiny_run: Path) -> None:
    events = list((tiny_run / "tensorboard").glob("events.out.tfevents.*"))
    assert events
    assert all(path.stat().st_size > 0 for path in events)


def test_a_finished_run_is_not_trained_again(tiny_run: Path, train_tiny: Train, tmp_path: Path) -> None:
    copy = shutil.copytree(tiny_run, tmp_path / "run")
    before = weights(copy)
    assert train_tiny(copy, resume=True) == read_run(tiny_run)
    assert weights(copy) == before


# --- interrupted ---


@pytest.mark.slow
def test_a_run_interrupted_in_both_phases_ends_with_the_same_weights_to_the_bit(
    tiny_run: Path, train_tiny: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    kept = []
    for resume, step in ((False, 3), (True, STEPS + 2), (True, FLOAT_EPOCHS * STEPS + 4)):
        interrupt_at(monkeypatch, step)
        with pytest.raises(KeyboardInterrupt):
            train_tiny(run, resume=resume)
        state = read_run(run).state
        kept.append(None if state is None else (state.phase, state.epoch))
    assert kept == [None, ("float", 1), ("qat", 1)]
    interrupt_at(monkeypatch, 10_000)
    record, uninterrupted = train_tiny(run, resume=True), read_run(tiny_run)
    assert weights(run) == weights(tiny_run)
    assert record.thresholds == uninterrupted.thresholds
    assert record.best == uninterrupted.best
    without_time = [[{**row, "finished": ""} for row in rows(folder)] for folder in (run, tiny_run)]
    assert without_time[0] == without_time[1]


def test_the_second_phase_begins_with_the_balance_that_the_first_has_learnt(
    train_tiny: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # At a rate of nearly nothing the second phase learns none of its own.
    ways = ("balance={kind = 'uncertainty'}", "float.epochs=1", "qat.epochs=1", "qat.learning_rate=1e-12")
    run, whole = tmp_path / "run", tmp_path / "whole"
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        stop_before_qat(patch)
        train_tiny(run, *ways)
    learnt = balance(run, "float")
    assert learnt.abs().min() > 1e-4
    train_tiny(run, *ways, resume=True)
    torch.testing.assert_close(balance(run, "qat"), learnt, atol=1e-7, rtol=0)
    train_tiny(whole, *ways)
    assert weights(run) == weights(whole)


def balance(run: Path, phase: str) -> Tensor:
    """The log-variances that a run would go on with."""
    state = read_run(run).state
    assert state is not None
    assert state.phase == phase
    return load(run, state)["balance.log_variance"]


@pytest.mark.parametrize(
    ("ways", "diagnosis", "melanoma"),
    [
        # By hand, of 16 melanomas, 16 nevi, 16 keratoses: N / (classes · n_c).
        ((), (1, 1, 1), (48 / (2 * 32), 48 / (2 * 16))),
        # 24 showings of a melanoma, 12 of each other class.
        (("sampling={kind = 'balanced', head = 'melanoma'}",), (48 / (3 * 24), 48 / (3 * 12), 48 / (3 * 12)), (1, 1)),
        # 48 of a melanoma, 16 of each other class, 80 in all.
        (
            ("sampling={kind = 'counts', head = 'melanoma', counts = {yes = 3}}",),
            (80 / (3 * 48), 80 / (3 * 16), 80 / (3 * 16)),
            (80 / (2 * 32), 80 / (2 * 48)),
        ),
    ],
)
def test_class_weights_are_those_of_what_an_epoch_shows(
    train_tiny: Train,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    ways: tuple[str, ...],
    diagnosis: tuple[float, ...],
    melanoma: tuple[float, ...],
) -> None:
    given: dict[str, Tensor] = {}

    def note(_recipe: object, _heads: object, class_weights: Mapping[str, Tensor], *_: object) -> None:
        given.update(class_weights)
        raise KeyboardInterrupt

    monkeypatch.setattr("edgeskin.train.loop.objective_for", note)
    with pytest.raises(KeyboardInterrupt):
        train_tiny(tmp_path / "run", *ways)
    assert given["diagnosis"].tolist() == pytest.approx(diagnosis)
    assert given["melanoma"].tolist() == pytest.approx(melanoma)


LEARNING = (
    "float.epochs=3",
    "float.optimizer=sgd",
    "float.schedule={kind = 'plateau', every = 1, gamma = 0.8}",
    "qat.epochs=1",
    "qat.optimizer=adam",
    "balance={kind = 'uncertainty'}",
    "sampling={kind = 'counts', head = 'melanoma', counts = {yes = 2}}",
    "heads.mask.loss=dice_rank",
    "heads.melanoma.loss=focal",
    "heads.detail.kind=super_resolution",
)
"""Every part of learning that has a state or draws at random, at once."""


@pytest.mark.slow
def test_whatever_learns_beside_the_network_is_resumed_to_the_bit_too(
    tiny_run: Path, train_tiny: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ways = (*LEARNING, f"distill.run={tiny_run}")
    whole, run = tmp_path / "whole", tmp_path / "run"
    train_tiny(whole, *ways)
    interrupt_at(monkeypatch, 2 * STEPS + 5)  # epochs are longer than STEPS here, melanomas counting twice
    with pytest.raises(KeyboardInterrupt):
        train_tiny(run, *ways)
    state = read_run(run).state
    assert state is not None
    assert (state.phase, state.epoch) in {("float", 1), ("float", 2)}
    interrupt_at(monkeypatch, 10_000)
    train_tiny(run, *ways, resume=True)
    assert weights(run) == weights(whole)
    assert read_run(run).thresholds == read_run(whole).thresholds


@pytest.mark.slow
def test_teachers_are_trained_first_and_each_has_not_seen_what_it_answers_for(
    train_tiny: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ways = ("distill.folds=3", "distill.epochs=1", "float.epochs=2", "qat.epochs=1")
    whole, run = tmp_path / "whole", tmp_path / "run"
    train_tiny(whole, *ways)
    student = read_run(whole)
    teachers = [read_run(whole / "teachers" / str(number)) for number in range(3)]
    for teacher in teachers:
        assert teacher.phases_done == ("float",)
        assert teacher.best["float"].epoch == 1
        assert teacher.select_ids == student.select_ids
        assert sorted((*teacher.train_ids, *teacher.held_out_ids)) == sorted(student.train_ids)
    assert sorted(case for teacher in teachers for case in teacher.held_out_ids) == sorted(student.train_ids)
    first = STEPS * 2 // 3  # of a teacher, who sees two thirds
    for step in (first + 1, first + STEPS + 1):  # in the second teacher, then, with both behind it, in the student
        interrupt_at(monkeypatch, step)
        with pytest.raises(KeyboardInterrupt):
            train_tiny(run, *ways, resume=(run / "run.json").exists())
    interrupt_at(monkeypatch, 10_000)
    train_tiny(run, *ways, resume=True)
    assert weights(run) == weights(whole)
    for number in range(3):
        assert weights(run / "teachers" / str(number)) == weights(whole / "teachers" / str(number))


def test_a_phase_without_patience_left_ends_early_and_the_next_begins(
    train_tiny: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    # At a rate of nearly nothing the second epoch can be no better than the first by more than chance.
    still = ("float.learning_rate=1e-12", "float.ema=0", "float.patience=1", "float.epochs=6", "qat.epochs=1")
    stop_before_qat(monkeypatch)
    for resume in (False, True):  # the end of the phase is remembered
        with pytest.raises(KeyboardInterrupt):
            train_tiny(run, *still, resume=resume)
        record = read_run(run)
        assert record.state is not None
        assert (record.state.phase, record.phases_done) == ("float", ("float",))
        assert record.state.epoch < 6
    assert len(rows(run)) == record.state.epoch


KILLED = """
import os, signal, sys
from pathlib import Path
import torch
from edgeskin.train import recipe
from edgeskin.train.loop import Places, train

data, run, path, threads, *overrides = sys.argv[1:]
torch.set_num_threads(int(threads))
torch.cpu._is_avx512_bf16_supported = torch.cpu._is_amx_tile_supported = lambda: False  # as tiny_run was trained
commits, replace = 0, Path.replace

def replace_or_die(self, target):
    global commits
    commits += Path(target).name == "run.json"
    if commits == 3:  # the new run, the first epoch, the second
        os.kill(os.getpid(), signal.SIGKILL)
    return replace(self, target)

Path.replace = replace_or_die
train(recipe.read(Path(path), tuple(overrides)), Places(Path(path), Path(data), Path(run), None), resume=False)
"""


def test_a_run_killed_while_it_commits_an_epoch_loses_that_epoch_and_nothing_else(
    tiny_run: Path, train_tiny: Train, phantom_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    path = shipped.find("recipes", "phantom_tiny").resolve()
    plain, tiny = (json.loads(recipe.read(path).model_dump_json(by_alias=True)), read_run(tiny_run).recipe)
    changed = json.loads(tiny.model_dump_json(by_alias=True))
    overrides = [
        f"{table}.{key}={json.dumps(value)}"
        for table, values in changed.items()
        if isinstance(values, dict) and table != "heads"
        for key, value in values.items()
        if plain[table][key] != value
    ]
    arguments = [str(phantom_data), str(run), str(path), str(torch.get_num_threads()), *overrides]
    ended = subprocess.run(
        [sys.executable, "-c", KILLED, *arguments],
        env=os.environ | {"PYTHONPATH": str(Path(edgeskin.__file__).parent.parent)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    record = read_run(run)
    assert record.state is not None
    assert (record.state.phase, record.state.epoch) == ("float", 1)
    stop_before_qat(monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        train_tiny(run, resume=True)
    assert read_run(run).best == {"float": read_run(tiny_run).best["float"]}
    assert [row["epoch"] for row in rows(run)] == [str(epoch) for epoch in range(1, FLOAT_EPOCHS + 1)]


def test_a_full_disk_leaves_the_last_epoch_to_go_on_from(
    tiny_run: Path, train_tiny: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    stop_before_qat(monkeypatch)
    written, fsync = 0, os.fsync

    def full(descriptor: int) -> None:
        nonlocal written
        written += 1
        if written > 7:  # run.json, then log, state, best and run.json of the first epoch, then log and state
            raise OSError(errno.ENOSPC, "No space left on device")
        fsync(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(EdgeskinError, match=r"cannot write: the disk is full"):
            train_tiny(run)
    record = read_run(run)
    assert record.state is not None
    assert record.state.epoch == 1
    assert not list(run.glob(".*.part")), "no half-written file is left"
    with pytest.raises(KeyboardInterrupt):
        train_tiny(run, resume=True)
    assert read_run(run).best == {"float": read_run(tiny_run).best["float"]}


# --- what cannot be resumed ---


def test_a_folder_that_holds_a_run_is_not_overwritten(tiny_run: Path, train_tiny: Train) -> None:
    with pytest.raises(RunError, match=r"holds a run already.*--resume.*--run"):
        train_tiny(tiny_run)


def test_an_empty_folder_cannot_be_resumed(train_tiny: Train, tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"no run to resume.*Leave out --resume"):
        train_tiny(tmp_path, resume=True)


def test_a_run_of_another_recipe_is_refused(tiny_run: Path, train_tiny: Train) -> None:
    with pytest.raises(RunError, match=r"another recipe \(phantom_tiny\).*Choose another --run"):
        train_tiny(tiny_run, "float.learning_rate=0.01", resume=True)


def test_a_run_on_other_data_is_refused(tiny_run: Path, tmp_path: Path) -> None:
    write_dataset(tmp_path / "data", 61, 3, 3, size=64, seed=0)
    path = shipped.find("recipes", "phantom_tiny")
    with pytest.raises(RunError, match=r"other images than .*data now gives.*Choose another --run"):
        train(read_run(tiny_run).recipe, Places(path, tmp_path / "data", tiny_run, None), resume=True)


@pytest.mark.parametrize("key", ["distill.run", "network.start"])
def test_a_run_that_began_with_another_teacher_or_start_is_refused(
    tiny_run: Path, train_tiny: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    run, began_with = tmp_path / "run", {key: "a"}
    monkeypatch.setattr("edgeskin.train.loop.sources", lambda *_: began_with)
    short = ("float.epochs=1", "qat.epochs=1")
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        stop_before_qat(patch)
        train_tiny(run, *short)
    assert read_run(run).sources == {key: "a"}
    began_with[key] = "b"
    with pytest.raises(RunError, match=rf"began with another file than {key} now names\. Choose another --run"):
        train_tiny(run, *short, resume=True)


def test_a_data_folder_of_another_layout_is_refused(train_tiny: Train, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"layout of generic, the recipe is for isic2017"):
        train_tiny(tmp_path / "run", "data.dataset='isic2017'")
    assert not (tmp_path / "run").exists()


def test_a_class_without_a_case_is_refused_by_name(train_tiny: Train, tmp_path: Path) -> None:
    labels = "['melanoma', 'nevus', 'seborrheic_keratosis', 'angioma']"
    with pytest.raises(RecipeError, match=r"head diagnosis: the split 'train' has no case of the class angioma"):
        train_tiny(tmp_path / "run", f"heads.diagnosis.labels={labels}")


def test_an_imagenet_start_without_weights_says_how_to_give_them(train_tiny: Train, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"mobilenet_v2_1\.0_imagenet\.npz.*--weights DIR.*EDGESKIN_WEIGHTS"):
        train_tiny(tmp_path / "run", "network.start='imagenet'")


# --- what would only fail hours later is refused at once ---


def test_a_select_that_lacks_a_class_is_refused(train_tiny: Train, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"the split 'select' has no case of the class"):
        train_tiny(tmp_path / "run", "data.select=2")


def test_images_without_any_mask_cannot_train_a_mask_head(phantom_data: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(phantom_data, data)
    shutil.rmtree(data / "masks")
    table = (data / "labels.csv").read_text(encoding="utf-8").splitlines()
    column = table[0].split(",").index("has_mask")
    lines = [line.split(",") for line in table[1:]]
    text = [table[0], *(",".join([*cells[:column], "0", *cells[column + 1 :]]) for cells in lines)]
    (data / "labels.csv").write_text("\n".join(text) + "\n", encoding="utf-8")
    path = shipped.find("recipes", "phantom_tiny")
    with pytest.raises(RecipeError, match="head mask: no image of train has a mask"):
        train(recipe.read(path, ("data.select=12",)), Places(path, data, tmp_path / "run", None), resume=False)


def test_a_batch_of_more_images_than_there_are_is_refused(train_tiny: Train, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"float\.batch is 512, more than the 48 images"):
        train_tiny(tmp_path / "run", "float.batch=512")


@pytest.mark.parametrize(("device", "advice"), [("tpu", "write cpu or cuda"), ("cuda", "torch finds no GPU here")])
def test_a_device_that_is_not_there_is_refused(
    phantom_data: Path, tmp_path: Path, device: str, advice: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    path = shipped.find("recipes", "phantom_tiny")
    with pytest.raises(RunError, match=advice):
        train(recipe.read(path), Places(path, phantom_data, tmp_path / "run", None), resume=False, device=device)


def test_a_run_that_goes_on_elsewhere_says_so(
    train_tiny: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, said = tmp_path / "run", list[str]()

    def say(self: Progress, words: str) -> None:
        said.append(words)
        if "quantization" in words:
            raise KeyboardInterrupt

    monkeypatch.setattr(Progress, "say", say)
    with pytest.raises(KeyboardInterrupt):
        train_tiny(run, "float.epochs=1", "qat.epochs=1")
    begun = read_run(run)
    ours = begun.versions["torch"]
    versions = {**begun.versions, "torch": "1.0"}
    write_run(run, begun.model_copy(update={"versions": versions, "multiplied_in": "float8"}))
    with pytest.raises(KeyboardInterrupt):
        train_tiny(run, "float.epochs=1", "qat.epochs=1", resume=True)
    assert any(f"after float epoch 1: torch {ours} instead of 1.0" in words for words in said)
    assert any(f"float phase in {begun.multiplied_in} instead of float8" in words for words in said)


def test_a_start_that_failed_may_be_begun_again_with_another_recipe(
    train_tiny: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"

    def fail(*_: object) -> None:
        raise DataError("an image is unreadable")

    with monkeypatch.context() as broken:
        broken.setattr("edgeskin.train.loop.decode", fail)
        with pytest.raises(DataError):
            train_tiny(run, "float.epochs=1", "qat.epochs=1")
    assert (run / "run.json").is_file()
    prints = run / TRAINING_PRINTS
    prints.write_bytes(b"of the images of that start")
    record = train_tiny(run, "float.epochs=1", "qat.epochs=1", "seed=2")
    assert record.finished
    kept = fingerprint.read(prints, len(record.train_ids))
    prints.unlink()
    assert train_tiny(run, "float.epochs=1", "qat.epochs=1", "seed=2", resume=True) == record
    assert (fingerprint.read(prints, len(record.train_ids)) == kept).all(), "an older run is given its prints"
