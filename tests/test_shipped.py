"""What comes with edgeskin is found by name, and nothing in the working folder can stand in for it."""

from pathlib import Path

import pytest

from edgeskin import shipped
from edgeskin.errors import EdgeskinError


def test_a_declaration_is_found_by_name_and_by_path(tmp_path: Path) -> None:
    assert shipped.find("profiles", "desktop") == shipped.folder("profiles") / "desktop.toml"
    (tmp_path / "own.toml").write_text("")
    assert shipped.find("profiles", str(tmp_path / "own.toml")) == tmp_path / "own.toml"


def test_a_folder_called_like_a_profile_is_not_taken_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "desktop").mkdir()
    monkeypatch.chdir(tmp_path)
    assert shipped.find("profiles", "desktop") == shipped.folder("profiles") / "desktop.toml"


def test_an_unknown_name_comes_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(EdgeskinError, match=r"Shipped: .*desktop.* Did you mean desktop\?"):
        shipped.find("profiles", "dekstop")


def test_the_default_release_is_the_shipped_one_whatever_stands_in_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shipped, "folder", lambda kind: tmp_path / "shipped" / kind)
    (tmp_path / "shipped" / "release" / "clinic-1").mkdir(parents=True)
    (tmp_path / "shipped" / "release" / "default").write_text("clinic-1\n")
    (tmp_path / "clinic-1").mkdir()
    monkeypatch.chdir(tmp_path)
    assert shipped.default_release() == tmp_path / "shipped" / "release" / "clinic-1"
    (tmp_path / "shipped" / "release" / "default").write_text("clinic-2\n")
    with pytest.raises(EdgeskinError, match="names clinic-2, which is not shipped"):
        shipped.default_release()


def test_a_release_is_found_by_name_where_no_folder_of_that_name_is_at_hand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shipped, "folder", lambda kind: tmp_path / "shipped" / kind)
    clinic = tmp_path / "shipped" / "release" / "clinic-1"
    clinic.mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert shipped.release(Path("clinic-1")) == clinic
    assert shipped.release(Path("./runs/clinic-1")) == Path("runs/clinic-1")
    with pytest.raises(
        EdgeskinError, match=r"no shipped release has that name. Shipped: clinic-1. Did you mean clinic-1"
    ):
        shipped.release(Path("clinc-1"))
    (tmp_path / "clinic-1").mkdir()
    assert shipped.release(Path("clinic-1")) == Path("clinic-1")


def test_what_lies_in_the_package_belongs_to_the_installation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shipped, "_PACKAGE", tmp_path)
    assert shipped.installed(tmp_path / "_shipped" / "release" / "clinic-1")
    assert not shipped.installed(tmp_path / "release" / "clinic-1")
