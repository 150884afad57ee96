"""Which code wrote a file: the git commit of the checkout that edgeskin runs from."""

import shutil
import subprocess
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[2]
_SECONDS = 5
"""How long git may take to answer."""


def commit(root: Path = _ROOT) -> str | None:
    """The commit in 40 hexadecimal digits, `-dirty` behind them where a tracked file differs from it.

    None where edgeskin was installed and is no checkout, or git cannot say.
    """
    git = shutil.which("git")
    if git is None or not (root / ".git").exists():
        return None
    options = ("--no-optional-locks", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*")
    try:
        done = subprocess.run(  # noqa: S603  (the options are those of the code, and no shell reads them)
            [git, "-C", str(root), *options], capture_output=True, text=True, timeout=_SECONDS, check=False
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None if done.returncode == 0 else None
