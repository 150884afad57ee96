import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from edgeskin.cli.data import app
from edgeskin.data.cases import read_cases, read_exclude
from edgeskin.data.phantom import write_dataset


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A phantom data folder: six cases of train, three of val and three of test."""
    write_dataset(tmp_path / "phantom", 6, 3, 3, size=96)
    return tmp_path / "phantom"


@pytest.fixture
def copied(folder: Path) -> Path:
    """The same, a photo of train standing in test once more."""
    cases = read_cases(folder)
    shutil.copy(cases.split("train")[0].image, cases.split("test")[0].image)
    return folder


def test_a_sound_folder_is_told_in_words(folder: Path) -> None:
    result = CliRunner().invoke(app, ["check", str(folder)])
    assert result.exit_code == 0
    assert "phantom: 12 cases (generic)" in result.stdout
    assert "usable: 0 errors" in result.stdout


def test_a_copy_in_another_split_exits_with_one(copied: Path) -> None:
    result = CliRunner().invoke(app, ["check", str(copied)])
    assert result.exit_code == 1
    assert "are the same file" in result.stdout
    assert "not usable: 1 errors" in result.stdout


def test_json_gives_machines_the_same_facts_and_nothing_else(copied: Path) -> None:
    result = CliRunner().invoke(app, ["check", str(copied), "--json"])
    assert result.exit_code == 1
    report = json.loads(result.stdout)
    assert report["splits"] == {"train": 6, "val": 3, "test": 3}
    assert len(report["errors"]) == 1


def test_quiet_prints_errors_only_and_still_writes_the_exclude_file(copied: Path, tmp_path: Path) -> None:
    path = tmp_path / "exclude.txt"
    result = CliRunner().invoke(app, ["check", str(copied), "--quiet", "--write-exclude", str(path)])
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1
    assert len(read_exclude(path)) == 1


def test_a_view_is_looked_at_by_its_name(folder: Path) -> None:
    table = (folder / "labels.csv").read_text(encoding="utf-8")
    header, *rows = table.replace(",split", ",isic2017_split", 1).splitlines()
    assert "isic2017_split" in header
    seen = ["train", "test"] * 3
    rows = [f"{row},{seen[n] if n < 6 else ''},{n % 2}" for n, row in enumerate(rows)]
    lines = [f"{header},isic2016_split,isic2016_malignant", *rows]
    (folder / "labels.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    result = CliRunner().invoke(app, ["check", str(folder), "--dataset", "isic2016", "--json"])
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["splits"] == {"train": 3, "test": 3}
