"""Which code wrote a file: the git commit of the checkout that edgeskin runs from, or was installed from."""

import json
import shutil
import subprocess
from importlib import metadata
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[2]
_SECONDS = 5
"""How long git may take to answer."""


def commit(root: Path = _ROOT) -> str | None:
    """The commit in 40 hexadecimal digits, `-dirty` behind them where a tracked file differs from it.

    Of what pip installed from a repository, the commit that pip noted. None where edgeskin was installed from a folder
    or a wheel, or git cannot say.
    """
    git = shutil.which("git")
    if not (root / ".git").exists():
        return _noted()
    if git is None:
        return None
    options = ("--no-optional-locks", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*")
    try:
        done = subprocess.run(  # noqa: S603  (the options are those of the code, and no shell reads them)
            [git, "-C", str(root), *options], capture_output=True, text=True, timeout=_SECONDS, check=False
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None if done.returncode == 0 else None


def _noted() -> str | None:
    """What pip wrote down of where it took edgeskin from (PEP 610)."""
    try:
        text = metadata.distribution("edgeskin").read_text("direct_url.json")
        found = json.loads(text or "{}").get("vcs_info", {}).get("commit_id")
    except (metadata.PackageNotFoundError, ValueError, AttributeError):
        return None
    return found if isinstance(found, str) else None
