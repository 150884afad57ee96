"""Which code wrote a file."""

import subprocess
from importlib import metadata
from pathlib import Path

import pytest

from edgeskin.contract import checkout


def git(folder: Path, *words: str) -> str:
    known = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false")
    done = subprocess.run(["git", "-C", str(folder), *known, *words], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_a_checkout_tells_its_commit_and_whether_a_file_differs_from_it(tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet")
    (tmp_path / "code.py").write_text("1\n")
    git(tmp_path, "add", "code.py")
    git(tmp_path, "commit", "--quiet", "-m", "one")
    git(tmp_path, "tag", "-m", "v1", "v1")
    head = git(tmp_path, "rev-parse", "HEAD")
    assert len(head) == 40
    assert checkout.commit(tmp_path) == head
    (tmp_path / "notes.txt").write_text("not of the code\n")
    assert checkout.commit(tmp_path) == head
    (tmp_path / "code.py").write_text("2\n")
    assert checkout.commit(tmp_path) == f"{head}-dirty"


def test_what_is_no_checkout_tells_nothing_even_inside_of_one(tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet")
    assert checkout.commit(tmp_path) is None  # nothing was committed yet
    (tmp_path / "site-packages").mkdir()
    assert checkout.commit(tmp_path / "site-packages") is None


@pytest.mark.parametrize(
    ("noted", "commit"),
    [
        ('{"url": "https://example.org/edgeskin", "vcs_info": {"vcs": "git", "commit_id": "abab"}}', "abab"),
        ('{"url": "file:///edgeskin", "dir_info": {}}', None),
        (None, None),
        ("no JSON", None),
        ("[]", None),
    ],
)
def test_what_pip_installed_from_a_repository_tells_the_commit_that_pip_noted(
    noted: str | None, commit: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Installed:
        def read_text(self, name: str) -> str | None:
            return noted if name == "direct_url.json" else None

    monkeypatch.setattr(metadata, "distribution", lambda _: Installed())
    assert checkout.commit(tmp_path) == commit
