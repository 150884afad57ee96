"""Engines of TensorRT-RTX for named generations of desktop GPUs, built ahead of time on a machine without any.

int8.tensorrt-rtx.engine  int8.tensorrt-rtx.json

An engine lies beside the ONNX file that it was built from; the note beside it is its key. It is a cache that travels,
never the artifact: two builds of one network have the same size and different bytes, and one that follows a failed
build in the same process is larger by 2 to 5 MB. It holds the network, its weights and code for those generations; the
rest of the code is made on the first run, on the GPU itself. Nothing here can run it: loading fails with cudaError 35,
and so does building for `CURRENT`.

What was seen with tensorrt-rtx 1.7.1 and the released network, on two cores: 0.3 s and 11.2 MB in float, 0.9 s and
10.6 MB in int8, of which 2.8 MB are weights. Several generations at once take the same time and hardly more room.
Turing can be named and refuses the released network, because it has no float32 product of matrices ("FP32 GEMM is not
supported"); the heads end in one even in int8. A stripped plan (`STRIP_PLAN`) needs a GPU.
"""

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from edgeskin import files
from edgeskin.contract.bundle import Sha256
from edgeskin.contract.declaration import wrong_fields
from edgeskin.contract.frozen import Frozen
from edgeskin.errors import TargetError
from edgeskin.targets.tensorrt import parser
from edgeskin.targets.tensorrt.configuration import configure
from edgeskin.targets.tensorrt.log import log
from edgeskin.targets.tensorrt.runtime import LARGEST_BATCH, Runtime

_CAPABILITIES = {
    "turing": "SM75",
    "ampere-server": "SM80",
    "ampere": "SM86",
    "ada": "SM89",
    "blackwell": "SM120",
    "gb10": "SM121",
}
"""NVIDIA's GPUs that an engine can be built for, and TensorRT's word for each: GeForce RTX 20, A100, RTX 30, 40 and 50,
and DGX Spark. Source: the documentation of `ComputeCapability` in tensorrt-rtx 1.7.1."""


class Note(Frozen):
    """What an engine ahead of time is for.

    tensorrt: the version of TensorRT-RTX that built it, and the only one that loads it. gpus: generations, as `named`
    has them. onnx_sha256: of the file it was built from. engine_sha256: its own.
    """

    format: Literal[1] = 1
    tensorrt: str
    gpus: tuple[str, ...]
    largest_batch: int
    onnx_sha256: Sha256
    engine_sha256: Sha256
    build_seconds: float


def named(words: Sequence[str]) -> tuple[str, ...]:
    """Generations of GPUs as a person writes them, each once. Raises: TargetError for none, or a word that is none."""
    found = tuple(dict.fromkeys(filter(None, map(str.strip, words))))
    unknown = ", ".join(word for word in found if word not in _CAPABILITIES)
    if unknown or not found:
        raise TargetError(f"TensorRT-RTX cannot build for {unknown or 'nothing'}: choose {', '.join(_CAPABILITIES)}")
    return found


def engine_of(onnx: Path) -> Path:
    """The engine beside an ONNX file, whether it is there or not."""
    return onnx.with_suffix(".tensorrt-rtx.engine")


def note_of(onnx: Path) -> Path:
    """The note beside an ONNX file, whether it is there or not."""
    return onnx.with_suffix(".tensorrt-rtx.json")


def write(onnx: Path, gpus: Sequence[str]) -> Note:
    """Build the engine of an ONNX file for these generations of GPUs, and put it and its note beside it.

    Raises: TargetError as `build`; GraphError, MissingDependencyError as `parser.define`.
    """
    wanted = named(gpus)
    definition = parser.define(onnx)
    begin = time.perf_counter()
    files.write_bytes(engine_of(onnx), build(definition, wanted))
    note = Note(
        tensorrt=str(definition.library.__version__),
        gpus=wanted,
        largest_batch=LARGEST_BATCH,
        onnx_sha256=files.sha256(onnx),
        engine_sha256=files.sha256(engine_of(onnx)),
        build_seconds=round(time.perf_counter() - begin, 3),
    )
    files.write_json(note_of(onnx), note.model_dump(mode="json"))
    return note


def build(definition: parser.Definition, gpus: Sequence[str]) -> bytes:
    """An engine for batches of 1 to `LARGEST_BATCH`, fastest at 1.

    Raises: TargetError for generations that nobody knows, or not this TensorRT-RTX, and where it cannot build; the
    message has its own words.
    """
    library, builder = definition.library, definition.builder
    wanted = named(gpus)
    known = library.ComputeCapability.__members__
    newer = ", ".join(each for each in wanted if _CAPABILITIES[each] not in known)
    if newer:
        raise TargetError(f"TensorRT-RTX {library.__version__} does not know {newer}. Install a newer one")
    shapes = {name: shape[1:] for name, shape in parser.inputs(definition).items()}
    config = configure(library, builder, shapes, LARGEST_BATCH)
    config.num_compute_capabilities = len(wanted)
    for place, generation in enumerate(wanted):
        config.set_compute_capability(known[_CAPABILITIES[generation]], place)
    kept = log(library)
    mark = len(kept.errors)
    content = builder.build_serialized_network(definition.network, config)
    if content is None:
        raise TargetError(
            f"TensorRT-RTX {library.__version__} builds no engine for {', '.join(wanted)}: {kept.since(mark)}"
        )
    return bytes(content)


def for_machine(onnx: Path, runtime: Runtime) -> Path | None:
    """The engine beside an ONNX file where it was built for this machine's GPU and TensorRT, or None.

    Raises: TargetError as `read`.
    """
    note = read(onnx)
    if note is None or runtime.name != f"TensorRT-RTX {note.tensorrt}":
        return None
    return engine_of(onnx) if runtime.gpu.capability in [_capability(gpu) for gpu in note.gpus] else None


def _capability(generation: str) -> tuple[int, int]:
    """The compute capability of a generation; (0, 0) where it is one of a newer edgeskin."""
    number = int(_CAPABILITIES.get(generation, "SM0").removeprefix("SM"))
    return divmod(number, 10)


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
