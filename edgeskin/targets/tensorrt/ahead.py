"""An engine of TensorRT-RTX beside the ONNX file that it was built from, for desktops that should not have to build it.

int8.tensorrt-rtx.engine  int8.tensorrt-rtx.json

It is a cache that travels, never the artifact: two builds differ in their bytes. The note beside it is its key.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, cast

from pydantic import ValidationError

from edgeskin import files
from edgeskin.contract.bundle import Sha256
from edgeskin.contract.declaration import wrong_fields
from edgeskin.contract.frozen import Frozen
from edgeskin.errors import TargetError
from edgeskin.targets.tensorrt import engine, parser
from edgeskin.targets.tensorrt.runtime import Runtime


class Note(Frozen):
    """What an engine ahead of time is for.

    tensorrt: the version of TensorRT-RTX that built it, and the only one that loads it. gpus: generations, as
    `engine.Generation`. onnx_sha256: of the file it was built from. engine_sha256: its own.
    """

    format: Literal[1] = 1
    tensorrt: str
    gpus: tuple[str, ...]
    largest_batch: int
    onnx_sha256: Sha256
    engine_sha256: Sha256
    build_seconds: float


def engine_of(onnx: Path) -> Path:
    """The engine beside an ONNX file, whether it is there or not."""
    return onnx.with_suffix(".tensorrt-rtx.engine")


def note_of(onnx: Path) -> Path:
    """The note beside an ONNX file, whether it is there or not."""
    return onnx.with_suffix(".tensorrt-rtx.json")


def write(onnx: Path, gpus: Sequence[str]) -> Note:
    """Build the engine of an ONNX file for these generations of GPUs, and put it and its note beside it.

    Raises: TargetError as `engine.build`, which refuses other words.
    """
    built = engine.build(parser.define(onnx), cast("Sequence[engine.Generation]", gpus))
    files.write_bytes(engine_of(onnx), built.content)
    note = Note(
        tensorrt=built.version,
        gpus=built.generations,
        largest_batch=built.largest_batch,
        onnx_sha256=files.sha256(onnx),
        engine_sha256=files.sha256(engine_of(onnx)),
        build_seconds=round(built.build_seconds, 3),
    )
    files.write_json(note_of(onnx), note.model_dump(mode="json"))
    return note


def for_machine(onnx: Path, runtime: Runtime) -> Path | None:
    """The engine beside an ONNX file where it was built for this machine's GPU and TensorRT, or None.

    Raises: TargetError as `read`.
    """
    note = read(onnx)
    if note is None or runtime.name != f"TensorRT-RTX {note.tensorrt}":
        return None
    capability = runtime.gpu.capability
    fits = capability is not None and capability in map(engine.capability_of, note.gpus)
    return engine_of(onnx) if fits else None


def read(onnx: Path) -> Note | None:
    """The note beside an ONNX file, None where there is none.

    Raises: TargetError where it cannot be read, or the engine or the ONNX file is not the one it speaks of.
    """
    path = note_of(onnx)
    if not path.exists():
        return None
    try:
        note = Note.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except ValidationError as error:
        raise TargetError(f"{path}: {wrong_fields(error)}. {_AGAIN}") from error
    except (OSError, ValueError) as error:
        raise TargetError(f"{path}: cannot be read as JSON: {error}. {_AGAIN}") from error
    for part, sha256 in ((onnx, note.onnx_sha256), (engine_of(onnx), note.engine_sha256)):
        if not part.is_file() or files.sha256(part) != sha256:
            raise TargetError(f"{part}: is missing or was changed since {path.name} was written. {_AGAIN}")
    return note


_AGAIN = "Export the bundle again"
