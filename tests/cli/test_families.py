"""analyse and ablate, as a user types them."""

import json
from pathlib import Path

import pytest

FAMILY = 'name = "pairs"\nbase = "phantom_tiny"\n[[members]]\nname = "one"\npaper = "joint_reverse_mtl_2024/MTL0"\n'


@pytest.fixture
def family(tmp_path: Path) -> Path:
    path = tmp_path / "pairs.toml"
    path.write_text(FAMILY)
    return path


def test_a_family_is_shown_without_training(edgeskin, family: Path, tmp_path: Path) -> None:
    done = edgeskin("ablate", family, "--show", "--runs", tmp_path)
    assert done.code == 0
    assert "| one | not run |" in done.out
    assert done.err == ""
    table = json.loads(edgeskin("ablate", family, "--show", "--json", "--runs", tmp_path).out)
    assert (table["family"], table["lines"][0]["note"]) == ("pairs", "not run")


def test_a_shipped_family_is_found_by_name(edgeskin, tmp_path: Path) -> None:
    done = edgeskin("ablate", "mtl", "--show", "--runs", tmp_path)
    assert done.code == 0
    # papers/joint_reverse_mtl_2024.txt, table 3: MTL3 has a DSC of 89.37.
    assert "| MTL3, paper | ISIC 2016 test |  | 0.894 |" in done.out
    assert done.out.count("not run") == 5
    done = edgeskin("ablate", "mlt", "--show")
    assert done.code == 1
    assert "none of the shipped families has that name" in done.err
    assert "Did you mean mtl?" in done.err


def test_mistakes_of_a_family_are_errors_without_a_traceback(edgeskin, family: Path, tmp_path: Path) -> None:
    family.write_text(FAMILY.replace("base", "bass"))
    done = edgeskin("ablate", family, "--show")
    assert done.code == 1
    assert f"error: {family}: bass is not a known key; did you mean base?" in done.err
    assert edgeskin("ablate", tmp_path / "none.toml", "--show").code == 1


def test_without_torch_both_say_what_to_install(
    edgeskin, family: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgeskin.optional.available", lambda name: name != "torch")
    for words in (("analyse", tmp_path), ("ablate", family, "--data", tmp_path)):
        done = edgeskin(*words)
        assert done.code == 1
        assert "torch is not installed. Install it with: pip install 'edgeskin[train]'" in done.err


def test_a_folder_that_is_no_run_is_named(edgeskin, tmp_path: Path) -> None:
    pytest.importorskip("torchao")
    done = edgeskin("analyse", tmp_path, "--data", tmp_path)
    assert done.code == 1
    assert f"{tmp_path / 'run.json'}: no run here" in done.err
