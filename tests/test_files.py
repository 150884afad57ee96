"""Writing that is either wholly there or not at all, whatever happens in between."""

import errno
import hashlib
import os
from pathlib import Path

import pytest

from edgeskin import files
from edgeskin.errors import EdgeskinError

FULL = OSError(errno.ENOSPC, "No space left on device")


def _fill(folder: Path, text: str) -> None:
    folder.mkdir()
    (folder / "part.txt").write_text(text)


def test_equal_values_give_equal_bytes(tmp_path: Path) -> None:
    files.write_json(tmp_path / "a.json", {"b": 1, "a": "é"})
    files.write_json(tmp_path / "b.json", {"a": "é", "b": 1})
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()
    assert (tmp_path / "a.json").read_text(encoding="utf-8") == '{\n  "a": "é",\n  "b": 1\n}\n'


def test_a_full_disk_leaves_the_older_file_and_no_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files.write_text(tmp_path / "file", "older")

    def full(descriptor: int) -> None:
        raise FULL

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(EdgeskinError, match="the disk is full; free some space"):
        files.write_text(tmp_path / "file", "newer")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_text() == "older"


def test_a_new_folder_takes_the_place_of_the_older_one(tmp_path: Path) -> None:
    _fill(tmp_path / "place", "older")
    with files.new_folder(tmp_path / "place") as building:
        (building / "other.txt").write_text("newer")
    assert [path.name for path in (tmp_path / "place").iterdir()] == ["other.txt"]
    assert [path.name for path in tmp_path.iterdir()] == ["place"]


@pytest.mark.parametrize(
    ("failure", "raised"), [(FULL, EdgeskinError), (KeyboardInterrupt(), KeyboardInterrupt), (KeyError(), KeyError)]
)
def test_a_folder_that_was_not_finished_vanishes(
    tmp_path: Path, failure: BaseException, raised: type[BaseException]
) -> None:
    _fill(tmp_path / "place", "older")
    with pytest.raises(raised), files.new_folder(tmp_path / "place") as building:
        (building / "half.txt").write_text("")
        raise failure
    assert [path.name for path in tmp_path.rglob("*")] == ["place", "part.txt"]


def test_a_failure_that_is_not_the_disks_keeps_its_own_words(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"absent\.png"), files.new_folder(tmp_path / "place"):
        (tmp_path / "absent.png").read_bytes()


@pytest.mark.parametrize("failure", [KeyboardInterrupt(), FULL])
def test_an_interruption_between_the_two_renames_brings_the_older_folder_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: BaseException
) -> None:
    _fill(tmp_path / "place", "older")
    rename = Path.rename

    def interrupted(self: Path, target: Path) -> Path:
        if self.suffix == ".part":
            raise failure
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", interrupted)
    with pytest.raises((KeyboardInterrupt, EdgeskinError)), files.new_folder(tmp_path / "place"):
        pass
    assert [path.name for path in tmp_path.rglob("*")] == ["place", "part.txt"]
    assert (tmp_path / "place" / "part.txt").read_text() == "older"


def test_a_link_goes_on_pointing_where_it_did(tmp_path: Path) -> None:
    _fill(tmp_path / "real", "older")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with files.new_folder(tmp_path / "link") as building:
        (building / "part.txt").write_text("newer")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real" / "part.txt").read_text() == "newer"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link", "real"]


def test_a_place_that_is_a_file_is_an_error_with_its_name(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(EdgeskinError, match="file/place: cannot write"), files.new_folder(tmp_path / "file" / "place"):
        pass


def test_a_folder_is_copied_with_everything_in_it(tmp_path: Path) -> None:
    (tmp_path / "source" / "inner").mkdir(parents=True)
    for name in ("a.bin", "inner/b.bin"):
        (tmp_path / "source" / name).write_bytes(name.encode())
    files.copy(tmp_path / "source", tmp_path / "copy")
    files.copy(tmp_path / "source" / "a.bin", tmp_path / "new" / "c.bin")
    assert (tmp_path / "copy" / "inner" / "b.bin").read_bytes() == b"inner/b.bin"
    assert (tmp_path / "new" / "c.bin").read_bytes() == b"a.bin"


def test_a_folder_has_the_hash_of_what_sha256sum_prints_of_its_files(tmp_path: Path) -> None:
    (tmp_path / "model" / "weights").mkdir(parents=True)
    (tmp_path / "model" / "weights" / "b.bin").write_bytes(b"two")
    (tmp_path / "model" / "a.bin").write_bytes(b"one")
    printed = "".join(
        f"{hashlib.sha256(content).hexdigest()}  {name}\n"
        for name, content in (("a.bin", b"one"), ("weights/b.bin", b"two"))
    )
    before = files.sha256(tmp_path / "model")
    assert before == hashlib.sha256(printed.encode()).hexdigest()
    (tmp_path / "model" / "a.bin").rename(tmp_path / "model" / "c.bin")
    assert files.sha256(tmp_path / "model") != before
