import csv
import errno
from pathlib import Path

import pytest

from edgeskin import shipped
from edgeskin.errors import RunError
from edgeskin.train import recipe
from edgeskin.train.log import Logs, Progress


def rows(run: Path) -> list[dict[str, str]]:
    with (run / "log.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_an_epoch_that_is_repeated_replaces_its_row(tmp_path: Path) -> None:
    for loss in (3.0, 2.0):
        logs = Logs(tmp_path)
        logs.epoch("float", 0, {"mask": 1.0}, {"mask_jaccard": 0.25})
        logs.epoch("float", 1, {"mask": loss}, {"mask_jaccard": 0.5})
    assert [(row["phase"], row["epoch"], row["loss_mask"], row["select_mask_jaccard"]) for row in rows(tmp_path)] == [
        ("float", "1", "1.00000", "0.25000"),
        ("float", "2", "2.00000", "0.50000"),
    ]


def test_a_full_disk_under_tensorboard_says_how_to_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    logs = Logs(tmp_path)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(logs.writer, "flush", full)
    with pytest.raises(RunError, match=r"cannot write: No space left on device\. Free some space .*--resume"):
        logs.epoch("qat", 0, {"mask": 1.0}, {"mask_jaccard": 0.25})


def test_an_epochs_line_tells_the_time_that_is_left(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress(recipe.read(shipped.find("recipes", "phantom_tiny"))) as progress:
        progress.begin_epoch("float", 1, 8, 15)
        progress.step({"mask": 0.5})
        progress.end_epoch({"mask": 0.5, "melanoma": 0.25}, {"mask_jaccard": 0.625})
    captured = capsys.readouterr()
    assert captured.out == "", "results go to stdout, and this is none"
    assert "float epoch 2/8: 0 s, loss 0.750, select: mask_jaccard 0.625; 0 min left in this phase" in captured.err
