import errno
import json
import os
import shutil
from pathlib import Path

import pytest
import torch

from edgeskin.errors import EdgeskinError, RunError
from edgeskin.train.checkpoint import load, read_run, store, write_run


@pytest.fixture
def run(tiny_run: Path, tmp_path: Path) -> Path:
    """A run of one's own to spoil."""
    return shutil.copytree(tiny_run, tmp_path / "run")


def edit(run: Path, **changes: object) -> None:
    value = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps(value | changes))


def test_a_record_is_read_as_it_was_written(run: Path) -> None:
    record = read_run(run)
    write_run(run, record)
    assert read_run(run) == record


def test_a_record_without_the_files_it_began_with_can_still_be_read(run: Path) -> None:
    value = json.loads((run / "run.json").read_text())
    del value["sources"]
    (run / "run.json").write_text(json.dumps(value))
    assert read_run(run).sources == {}


def test_tensors_come_back_as_they_were_stored(tmp_path: Path) -> None:
    tensors = {
        "weight": torch.randn(4, 3, 3, 3).to(memory_format=torch.channels_last),
        "count": torch.tensor(7),
        "scale": torch.rand(5, dtype=torch.float64),
    }
    stored = store(tmp_path, "state-float", tensors, "float", 3, 0.5, {"auroc": 0.5})
    assert stored.file == "state-float-003.safetensors"
    back = load(tmp_path, stored)
    assert set(back) == set(tensors)
    for name, tensor in tensors.items():
        assert back[name].dtype == tensor.dtype
        assert torch.equal(back[name], tensor)


def test_checkpoints_that_a_new_record_no_longer_names_are_removed(run: Path) -> None:
    record = read_run(run)
    assert record.state is not None
    newer = store(run, "state-qat", {"a": torch.zeros(1)}, "qat", 3, 0.0, {})
    assert (run / record.state.file).is_file(), "until the record is committed both are there"
    write_run(run, record.model_copy(update={"state": newer}))
    assert not (run / record.state.file).exists()
    assert (run / newer.file).is_file()


def test_a_folder_without_a_run_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"run\.json: no run here\. Train one: edgeskin train"):
        read_run(tmp_path)


@pytest.mark.parametrize("version", [2, 10, "1", None])
def test_a_run_of_another_format_is_refused_with_both_versions(run: Path, version: object) -> None:
    edit(run, format=version)
    with pytest.raises(RunError, match=rf"format {version!r}, edgeskin \S+ reads format 1\. .*or train again"):
        read_run(run)


def test_a_record_with_unknown_or_missing_fields_names_them(run: Path) -> None:
    edit(run, surprise=1, device=None)
    with pytest.raises(RunError, match=r"is not a run of edgeskin .*device: .*surprise: "):
        read_run(run)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe"])
def test_a_damaged_record_is_one_sentence(run: Path, content: bytes) -> None:
    (run / "run.json").write_bytes(content)
    with pytest.raises(RunError, match=r"run\.json: "):
        read_run(run)


def test_a_changed_byte_in_a_checkpoint_is_refused(run: Path) -> None:
    path = run / read_run(run).best["qat"].file
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(RunError, match=rf"{path.name}: SHA-256 is .* was changed or cut short\. Restore it or train"):
        read_run(run)


def test_a_missing_checkpoint_is_refused(run: Path) -> None:
    path = run / read_run(run).best["float"].file
    path.unlink()
    with pytest.raises(RunError, match=rf"{path.name}: missing, though run\.json names it\. Restore it or train again"):
        read_run(run)


def test_a_full_disk_leaves_the_record_and_its_checkpoints(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record = read_run(run)

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(EdgeskinError, match=r"disk is full"):
        store(run, "state-qat", {"a": torch.zeros(1)}, "qat", 3, 0.0, {})
    with pytest.raises(EdgeskinError, match=r"disk is full"):
        write_run(run, record.model_copy(update={"state": None}))
    monkeypatch.undo()
    assert read_run(run) == record
