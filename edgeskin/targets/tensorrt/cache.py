"""Engines that were built on this machine, kept for the next time and never loaded blindly.

CACHE/tensorrt/<key>/  engine.plan  layers.json  key.json         CACHE/tensorrt/<GPU and TensorRT>.timing

An engine runs on the GPU and the TensorRT that it was built with, and it is of one ONNX file: that is its key, and its
folder is named by the key's hash. `key.json` has the key in words, and the size and SHA-256 of both files; what differs
from them is damaged, and built again. Where there is none, what the nearest engine of the same ONNX file was built for
is said. What is intact is used where nothing may be written, too. A new engine takes the place of those of the same
network and GPU whose driver or TensorRT is no more. An engine for a GPU that does not say its name is not kept, because
nothing would tell it from one of another. CACHE is EDGESKIN_CACHE, or edgeskin's folder in the user's cache. Everything
in it may be removed at any time.

A plan that somebody built with a deploy folder's build.sh is not used: it does not say what it was built for.
"""

import atexit
import contextlib
import hashlib
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Annotated, Literal, TypeAlias

from pydantic import Field, ValidationError

from edgeskin import files
from edgeskin.contract.bundle import Sha256
from edgeskin.contract.frozen import Frozen
from edgeskin.errors import TargetError
from edgeskin.targets.base import Precision
from edgeskin.targets.tensorrt import ahead
from edgeskin.targets.tensorrt.deploy import Deploy
from edgeskin.targets.tensorrt.runtime import ENGINE, LAYERS, Built, Gpu, Runtime

if sys.platform != "win32":
    import fcntl

KEY = "key.json"
_SHORT = 16
"""Hexadecimal digits of a hash that name a folder."""
_ABANDONED_S = 24 * 3600
"""No build takes so long: what it writes meanwhile was left behind."""
_LEFTOVERS = (".timing-*", ".*.part", ".*.old")
"""What a build writes until it is done, here and in `files.new_folder`."""
Say: TypeAlias = Callable[[str], None]


def silent(_: str) -> None:
    """A `Say` for nobody."""


class Key(Frozen):
    """All that decides whether an engine may be used.

    gpu, capability, driver: as `Gpu`; None where the machine does not tell. tensorrt: who built it, as `Runtime.name`.
    onnx_sha256: of the file that it was built from. format: of what edgeskin asks for when it builds.
    """

    format: Literal[2] = 2
    gpu: str
    capability: tuple[int, int] | None
    driver: str | None
    tensorrt: str
    onnx_sha256: Sha256
    precision: Precision
    largest_batch: Annotated[int, Field(ge=1)]

    @staticmethod
    def of(gpu: Gpu, tensorrt: str, onnx: Path, precision: Precision, largest_batch: int) -> "Key":
        """The key of an engine of an ONNX file on a machine."""
        return Key(
            gpu=gpu.name,
            capability=gpu.capability,
            driver=gpu.driver,
            tensorrt=tensorrt,
            onnx_sha256=files.sha256(onnx),
            precision=precision,
            largest_batch=largest_batch,
        )

    @property
    def short(self) -> str:
        """What its folder is called."""
        return _hash(self.model_dump_json())

    @property
    def machine(self) -> str:
        """What the timing cache of its machine is called."""
        return _hash(self.model_dump_json(include={"gpu", "capability", "driver", "tensorrt"}))

    def replaces(self, other: "Key") -> bool:
        """Whether an engine of another key is of no more use: all is equal but the version of driver or TensorRT."""
        versions = {"driver", "tensorrt"}
        same = self.model_dump(exclude=versions) == other.model_dump(exclude=versions)
        return same and self != other and _without_number(self.tensorrt) == _without_number(other.tensorrt)

    def differences(self, wanted: "Key") -> tuple[str, ...]:
        """What this key has in the place of what is wanted, each in words."""
        pairs = [(word, getattr(self, name), getattr(wanted, name)) for name, word in _WORDS.items()]
        return tuple(f"{word} {_word(has)} instead of {_word(wants)}" for word, has, wants in pairs if has != wants)


_WORDS = {
    "gpu": "GPU",
    "capability": "compute capability",
    "driver": "driver",
    "tensorrt": "builder",
    "precision": "precision",
    "largest_batch": "largest batch",
}
"""What may differ between two engines of one ONNX file."""


class Note(Frozen):
    """What `key.json` says. Sizes in bytes."""

    key: Key
    engine_bytes: int
    engine_sha256: Sha256
    layers_sha256: Sha256


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:_SHORT]


def _without_number(runtime: str) -> str:
    """`trtexec of TensorRT` of `trtexec of TensorRT 8.5.2`."""
    return runtime.rpartition(" ")[0]


def _word(value: object) -> str:
    if value is None:
        return "unknown"
    return ".".join(map(str, value)) if isinstance(value, tuple) else str(value)


def folder() -> Path:
    """Where engines are kept. Raises: TargetError for a user without a home."""
    found = files.cache_folder()
    if not found.is_absolute():
        raise TargetError("no place for engines: this user has no home. Set EDGESKIN_CACHE to a folder for them")
    return found / "tensorrt"


def engine_for(runtime: Runtime, made: Deploy, precision: Precision, *, say: Say = silent) -> Built:
    """The engine of a deploy folder for this very machine: found intact, or built now, wholly or not at all.

    One that was built ahead of time and travels in the deploy folder is taken where it is for this machine.

    say: is told why one must be built. A second process that wants the same engine waits for the first.

    Raises: TargetError where the folder of engines cannot be written to, or as `Runtime.build`; GraphError where the
    deploy folder has no file for this TensorRT.
    """
    onnx = made.onnx(runtime.generation, precision)
    key = Key.of(runtime.gpu, runtime.name, onnx, precision, made.recipe.largest_batch)
    root = folder() if runtime.gpu.known else _of_this_process()
    place = root / key.short
    built = Built(place / ENGINE, place / LAYERS)
    if _unusable(place, key) is None:  # asked before the lock, which a folder that may only be read has not
        return built
    with _alone(root, key, say):
        reason = _unusable(place, key)
        if reason is not None:
            ready = ahead.for_machine(onnx, runtime)
            does = f"{runtime.name} builds one" if ready is None else f"{ready.name} is taken"
            kept = "" if runtime.gpu.known else ", and it is not kept for the next time"
            say(f"{onnx.name}: {reason}. {does} for {runtime.gpu.name}{kept}")
            _build(runtime, made, onnx, key, place, ready)
            _clear(root, key)
    return built


@cache
def _of_this_process() -> Path:
    """A folder that is removed when this process ends."""
    place = Path(tempfile.mkdtemp(prefix="edgeskin-engines-"))
    atexit.register(shutil.rmtree, place, ignore_errors=True)
    return place


def _clear(root: Path, key: Key) -> None:
    """Remove what an engine of a key takes the place of, and what builds that were stopped have left long ago."""
    replaced = [path for path, note in _notes(root) if key.replaces(note.key)]
    for path in [*replaced, *(path for pattern in _LEFTOVERS for path in root.glob(pattern) if _abandoned(path))]:
        shutil.rmtree(path, ignore_errors=True)


def _abandoned(path: Path) -> bool:
    try:
        return time.time() - path.stat().st_mtime > _ABANDONED_S
    except OSError:
        return False


def _build(runtime: Runtime, made: Deploy, onnx: Path, key: Key, place: Path, ready: Path | None) -> None:
    """Fill the folder of a key, and renew the timing cache of its machine. ready: an engine that need not be built."""
    timing = place.parent / f"{key.machine}.timing"
    with tempfile.TemporaryDirectory(dir=place.parent, prefix=".timing-") as aside, files.new_folder(place) as building:
        renewed = Path(aside) / timing.name  # so that a build that is stopped leaves no half of one
        with contextlib.suppress(FileNotFoundError):
            shutil.copyfile(timing, renewed)
        if ready is not None:
            shutil.copyfile(ready, building / ENGINE)
            files.write_text(building / LAYERS, runtime.describe(ready, made.graph.card))
        else:
            built = runtime.build(
                onnx,
                made.graph.card,
                key.precision,
                building,
                largest_batch=key.largest_batch,
                timing_cache=renewed,
            )
            built.engine.replace(building / ENGINE)
            built.layers.replace(building / LAYERS)
        files.write_json(building / KEY, _note(building, key).model_dump(mode="json"))
        if renewed.is_file():
            renewed.replace(timing)


def _note(place: Path, key: Key) -> Note:
    engine = place / ENGINE
    return Note(
        key=key,
        engine_bytes=engine.stat().st_size,
        engine_sha256=files.sha256(engine),
        layers_sha256=files.sha256(place / LAYERS),
    )


# --- what is there ---


def _unusable(place: Path, key: Key) -> str | None:
    """Why the engine in a folder cannot be used, or None where it can."""
    if not place.is_dir():
        return _nearest(place.parent, key)
    note = _read(place)
    if note is None or note.key != key:
        return f"{place} does not say what its engine is for"
    try:
        found = _note(place, key)
    except OSError:
        return f"{place} is not whole"
    if found.engine_bytes < note.engine_bytes:
        return f"the engine in {place} is truncated: {found.engine_bytes} of {note.engine_bytes} bytes are there"
    return None if found == note else f"what is in {place} was changed after it was built"


def _read(place: Path) -> Note | None:
    try:
        return Note.model_validate_json((place / KEY).read_bytes())
    except (OSError, ValidationError):
        return None


def _notes(root: Path) -> Iterator[tuple[Path, Note]]:
    """The folder of each engine that is kept, and what it says of itself."""
    for path in sorted(root.glob(f"*/{KEY}")):
        note = _read(path.parent)
        if note is not None:
            yield path.parent, note


def _nearest(root: Path, key: Key) -> str:
    """What tells the nearest engine of the same ONNX file from the one that is wanted."""
    others = [note.key for _, note in _notes(root)]
    known = [other.differences(key) for other in others if other.onnx_sha256 == key.onnx_sha256 and other != key]
    if not known:
        return "no engine of it was built here yet"
    nearest = min(known, key=len)
    return f"the engine that is here is for another use: {', '.join(nearest)}"


@contextlib.contextmanager
def _alone(root: Path, key: Key, say: Say) -> Iterator[None]:
    """Hold the key, so that no two processes build the same engine at once; a process that ends lets go of it."""
    path = root / f"{key.short}.lock"
    try:
        root.mkdir(parents=True, exist_ok=True)
        stream = path.open("ab")
    except OSError as error:
        raise TargetError(
            f"{root}: engines cannot be kept there: {error.strerror or error}. Set EDGESKIN_CACHE to a folder that you "
            "may write to"
        ) from error
    with stream:
        if sys.platform != "win32":
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                say("another process builds this engine; waiting for it")
                fcntl.flock(stream, fcntl.LOCK_EX)
            except OSError:  # a file system without locks: then two processes build it twice, and the last one stays
                pass
        yield
