"""Two CPU processes, started once by torchrun, against one: what they compute together is what one computes."""

import csv
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import distributed_steps
import numpy as np
import pytest
import torch
from tiny_recipe import TINY
from torch import Tensor

import edgeskin
from edgeskin import shipped
from edgeskin.data.cases import read_cases
from edgeskin.errors import RecipeError, RunError
from edgeskin.train import recipe
from edgeskin.train.checkpoint import read_run
from edgeskin.train.distributed import Processes, joined
from edgeskin.train.loader import Showing, decode, training_batches
from edgeskin.train.loop import Places, train
from edgeskin.train.networks import trained_network
from edgeskin.train.objective import IMPUTATION

ALONE = Processes()
SHORT = (*TINY, "float.epochs=2", "qat.epochs=1")


@pytest.fixture(scope="session")
def pair(once, phantom_data: Path) -> Path:
    """What two processes found: `0.pt`, `1.pt`, `run`."""

    def launch(folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        path = shipped.find("recipes", "phantom_tiny").resolve()
        ended = subprocess.run(
            [
                *(sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"),
                *(distributed_steps.__file__, str(folder), str(path), str(phantom_data), *SHORT),
            ],
            env=os.environ | {"PYTHONPATH": str(Path(edgeskin.__file__).parent.parent), "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
        )
        assert ended.returncode == 0, ended.stderr
        (folder / "words.txt").write_text(ended.stdout + ended.stderr)

    return once("two_processes", launch)


@pytest.fixture(scope="session")
def both(pair: Path) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """The figures of each process."""
    first, second = (torch.load(pair / f"{rank}.pt", weights_only=True) for rank in (0, 1))
    return first, second


def assert_equal(found: Mapping[str, Tensor], expected: Mapping[str, Tensor], tolerance: float) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(
            found[name], value, rtol=tolerance, atol=tolerance, msg=lambda m, n=name: f"{n}: {m}"
        )


# --- against one process ---


@pytest.mark.slow
def test_two_processes_give_the_gradient_and_the_losses_of_one(both) -> None:
    """Every loss there is, a teacher, a learnt balance; labels, masks and hidden fields divided unevenly."""
    expected = distributed_steps.gradient(ALONE)
    losses = {name for name in expected if name.startswith("loss.")}
    assert losses == {"loss.mask", "loss.melanoma", "loss.finer", f"loss.{IMPUTATION}"}
    assert max(float(value.abs().max()) for name, value in expected.items() if "gradient" in name) > 0.1
    for found in both:
        assert_equal(found["gradient"], expected, 1e-6)


@pytest.fixture
def deaf(monkeypatch: pytest.MonkeyPatch) -> tuple[Processes, Processes]:
    """Two processes that take their shares and do not know of each other."""
    monkeypatch.setattr(Processes, "mean", lambda self, mean, cases: mean)
    monkeypatch.setattr(Processes, "combine", lambda self, module, balance: None)
    monkeypatch.setattr(Processes, "synchronise_ranges", lambda self, prepared: None)
    return Processes(0, 2), Processes(1, 2)


def test_a_mean_of_the_halves_means_would_be_another_loss(deaf) -> None:
    """That the test above can fail: one half has one label, the other four."""
    whole = distributed_steps.gradient(ALONE)["loss.melanoma"]
    halves = [distributed_steps.gradient(half)["loss.melanoma"] for half in deaf]
    assert abs(float(whole - torch.stack(halves).mean())) > 1e-2


@pytest.mark.slow
def test_after_three_steps_in_float_the_weights_are_those_of_one_process(both) -> None:
    expected = distributed_steps.float_steps(ALONE)
    assert expected.pop("averaged") == 3
    assert [int(found["float_steps"].pop("averaged")) for found in both] == [3, 0], "the first alone averages weights"
    for found in both:
        assert_equal(found["float_steps"], expected, 1e-6)


@pytest.mark.slow
def test_observer_ranges_are_those_of_the_global_batch_at_every_step(both) -> None:
    expected = distributed_steps.quantized_steps(ALONE)
    ranges = [name for name in expected if name.endswith(("min_val", "max_val"))]
    assert len(ranges) >= 2 * 8
    for found in both:
        assert_equal(found["quantized_steps"], expected, 1e-6)


def test_without_synchronisation_the_halves_observe_other_ranges(deaf) -> None:
    """That the test above can fail."""
    whole = distributed_steps.quantized_steps(ALONE)
    half = distributed_steps.quantized_steps(deaf[0])
    differences = [float((half[name] - whole[name]).abs().max()) for name in whole if name.endswith("max_val")]
    assert max(differences) > 1e-2


# --- between processes ---


@pytest.mark.slow
def test_with_batch_norm_and_dropout_in_training_both_hold_the_same_network_to_the_bit(both) -> None:
    first, second = (found["unfrozen_steps"] for found in both)
    for name, value in first.items():
        assert torch.equal(value, second[name]), name
    torch.manual_seed(0)
    began = distributed_steps.Small().state_dict()
    assert not torch.equal(first["stem.norm.running_mean"], began["stem.norm.running_mean"])


@pytest.mark.slow
def test_statistics_of_batch_norm_are_the_mean_of_both(both) -> None:
    first, second = (found["statistics"] for found in both)
    for name in ("running_mean", "running_var"):
        own = torch.stack([first[f"own.{name}"], second[f"own.{name}"]])
        assert not torch.equal(own[0], own[1])
        for found in (first, second):
            torch.testing.assert_close(found[f"combined.{name}"], own.mean(0))
    # Momentum 0.1 from 0: the mean over both halves' pixels is that over all, for the halves are equally large.
    whole = distributed_steps.statistics(ALONE)["own.running_mean"]
    torch.testing.assert_close(first["combined.running_mean"], whole)


@pytest.mark.slow
def test_what_the_first_decides_and_where_it_fails_the_other_hears(both) -> None:
    for found in both:
        assert found["decisions"] == {"heard": "process 0 decided", "failed": "process 0 cannot"}


@pytest.mark.slow
def test_processes_that_parted_meet_again(both) -> None:
    assert [int(found["joined_again"]) for found in both] == [10, 10]


# --- a whole run ---


@pytest.mark.slow
def test_a_run_of_two_processes_stopped_and_resumed_is_one_run(pair: Path) -> None:
    record = read_run(pair / "run")
    assert record.finished
    assert record.processes == 2
    assert record.changes == ()
    assert set(record.best) == {"float", "qat"}
    with (pair / "run" / "log.csv").open(newline="") as stream:
        assert [(row["phase"], row["epoch"]) for row in csv.DictReader(stream)] == [
            ("float", "1"),
            ("float", "2"),
            ("qat", "1"),
        ]
    words = (pair / "words.txt").read_text()
    assert words.count("float epoch 2/2") == 1, "the first alone speaks"
    assert trained_network(pair / "run", record) is not None


@pytest.mark.slow
def test_a_run_that_goes_on_with_fewer_processes_says_so(
    pair: Path, phantom_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = shipped.find("recipes", "phantom_tiny")
    run = tmp_path / "run"
    run.mkdir()
    for file in (pair / "run").iterdir():
        if file.is_file():
            (run / file.name).write_bytes(file.read_bytes())
    text = (run / "run.json").read_text().replace('"finished": true', '"finished": false')
    (run / "run.json").write_text(text)
    train(recipe.read(path, SHORT), Places(path, phantom_data, run, None), resume=True, device="cpu")
    assert "processes 1 instead of 2" in " ".join(capsys.readouterr().err.split())


# --- the division of an epoch ---


def test_the_shares_of_an_epoch_are_its_batches_pixel_by_pixel(phantom_data: Path) -> None:
    chosen = recipe.read(shipped.find("recipes", "phantom_tiny"))
    cases = read_cases(phantom_data).split("train")[:9]
    labels = {"melanoma": np.arange(9) % 2}
    samples = decode(cases, chosen.head_specs(), Showing(64), labels)

    def epoch(processes: Processes):
        return list(training_batches(samples, chosen.augment, 4, (1, 1, 0), share=processes.share))

    whole, first, second = epoch(ALONE), epoch(Processes(0, 2)), epoch(Processes(1, 2))
    assert len(whole) == len(first) == len(second) == 2
    for batch, left, right in zip(whole, first, second, strict=True):
        assert len(left.image) == len(right.image) == 2
        assert torch.equal(torch.cat([left.image, right.image]), batch.image)
        assert torch.equal(torch.cat([left.mask, right.mask]), batch.mask)
        assert torch.equal(torch.cat([left.labels["melanoma"], right.labels["melanoma"]]), batch.labels["melanoma"])


def test_one_process_is_as_ever_and_others_draw_dropout_of_their_own() -> None:
    assert Processes(0, 4).seed((3, 1)) == (3, 1)
    assert len({Processes(rank, 4).seed((3, 1)) for rank in range(4)}) == 4
    value = torch.tensor(0.5)
    assert ALONE.mean(value, torch.tensor(0)) is value


def test_batches_that_cannot_be_shared_evenly_are_told_at_once() -> None:
    chosen = recipe.read(shipped.find("recipes", "phantom_tiny"), ("float.batch=10", "qat.batch=4"))
    ALONE.demand_even_batches(chosen)
    Processes(0, 2).demand_even_batches(chosen)
    with pytest.raises(RecipeError) as raised:
        Processes(0, 4).demand_even_batches(chosen)
    assert raised.value.problems == (
        "float.batch is 10; 4 processes need a multiple of 4, at least 8",
        "qat.batch is 4; 4 processes need a multiple of 4, at least 8",
    )


def test_more_processes_than_gpus_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("TORCHELASTIC_RUN_ID", "none"), ("RANK", "2"), ("WORLD_SIZE", "4")):
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("LOCAL_RANK", "2")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    refused = r"started 4 processes here, torch finds 2 GPUs: give torchrun --nproc-per-node 2"
    with pytest.raises(RunError, match=refused), joined(torch.device("cuda")):
        pass
