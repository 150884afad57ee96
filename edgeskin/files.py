"""Writing so that a kill, a full disk or a failed run never leaves half a result nor destroys an older one.

Everything is written under a temporary name beside its place and renamed at the end. A reader therefore sees the old
result or the new one, never a mixture.
"""

import contextlib
import errno
import hashlib
import json
import os
import secrets
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from edgeskin.errors import EdgeskinError

_REASONS = {
    errno.ENOSPC: "the disk is full; free some space",
    errno.EDQUOT: "the disk quota is used up; free some space",
    errno.EACCES: "permission denied; choose a folder you may write to",
    errno.EPERM: "permission denied; choose a folder you may write to",
    errno.EROFS: "the file system is read-only; choose another folder",
}
"""What keeps a user's disk from being written to, and what to do."""


def _explain(error: OSError, path: Path) -> EdgeskinError:
    reason = _REASONS.get(error.errno or 0, error.strerror or str(error))
    return EdgeskinError(f"{path}: cannot write: {reason}. What stood there before is untouched.")


def _beside(path: Path) -> Path:
    """A name nobody has, in the same folder, so that a rename stays on one disk; what is made there obeys the umask."""
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")


def cache_folder() -> Path:
    """Where what can be made again is kept: EDGESKIN_CACHE, or edgeskin's folder in the user's cache.

    It may be absent, not writable, or, for a user without a home, no absolute path.
    """
    own = os.environ.get("EDGESKIN_CACHE")
    if own:
        return Path(own).absolute()
    given = os.environ.get("XDG_CACHE_HOME") or (os.environ.get("LOCALAPPDATA") if sys.platform == "win32" else None)
    # expanduser, because Path.home() raises where a service has no home.
    user = given or os.path.expanduser("~/Library/Caches" if sys.platform == "darwin" else "~/.cache")  # noqa: PTH111
    return Path(user) / "edgeskin"


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file so that it is either wholly there or not at all.

    Raises: EdgeskinError where the disk is full or the folder is not writable; an existing file is then untouched.
    """
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = _beside(path)
        with temporary.open("xb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    except OSError as error:
        raise _explain(error, path) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def write_text(path: Path, content: str) -> None:
    """Write UTF-8 text as `write_bytes` does."""
    write_bytes(path, content.encode())


def json_text(value: object) -> str:
    """JSON with sorted keys and a final newline, so that equal values give equal bytes."""
    return json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def write_json(path: Path, value: object) -> None:
    """Write `json_text` as `write_bytes` does."""
    write_text(path, json_text(value))


@contextlib.contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Fill a folder under a temporary name; on success it takes the place of `path`, on failure it vanishes.

    An existing `path` is moved aside first and removed only once the new folder stands in its place. Any other error
    of whoever fills the folder passes through as it is.

    Raises: EdgeskinError where the disk is full or the place is not writable.
    """
    place = path.resolve()  # a link keeps pointing where it does
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        building = _beside(place)
        building.mkdir()
    except OSError as error:
        raise _explain(error, path) from error
    old = building.with_suffix(".old")
    try:
        try:
            yield building
        except OSError as error:
            if error.errno not in _REASONS:
                raise
            raise _explain(error, path) from error
        try:
            if place.exists():
                place.rename(old)
            building.rename(place)
        except OSError as error:
            raise _explain(error, path) from error
    finally:
        shutil.rmtree(building, ignore_errors=True)
        if old.exists() and not place.exists():
            old.rename(place)  # also when interrupted between the two renames
        shutil.rmtree(old, ignore_errors=True)


def copy(source: Path, destination: Path) -> None:
    """Copy a file, or a folder with all its files, to a place where nothing stands yet.

    It is for filling a `new_folder`, which is what makes the whole appear at once.
    """
    if source.is_file():
        destination.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, destination)
        return
    for path in sorted(source.rglob("*")):
        if path.is_file():
            copy(path, destination / path.relative_to(source))


def sha256(path: Path) -> str:
    """The SHA-256 of a file, or of all that `sha256sum` prints of a folder's files by relative path; in hexadecimal."""
    digest = hashlib.sha256()
    if path.is_dir():
        for name in sorted(part.relative_to(path).as_posix() for part in path.rglob("*") if part.is_file()):
            digest.update(f"{sha256(path / name)}  {name}\n".encode())
        return digest.hexdigest()
    with path.open("rb") as stream:
        for block in iter(lambda: stream.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()
