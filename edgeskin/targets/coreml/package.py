"""A package on disk (`.mlpackage`): a manifest, the model's specification, and its weights in blobs beside that.

Manifest.json
Data/com.apple.CoreML/model.mlmodel         the specification, a protobuf message
Data/com.apple.CoreML/weights/weight.bin    a header of 64 bytes, then a header and its numbers for each blob
"""

import json
import struct
import uuid
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from edgeskin import files
from edgeskin.errors import GraphError
from edgeskin.graph.ir import Array
from edgeskin.optional import require

MANIFEST = "Manifest.json"
AGAIN = "copy or export the package again"
_AUTHOR = "com.apple.CoreML"
_SPECIFICATION = f"{_AUTHOR}/model.mlmodel"
_WEIGHTS = f"{_AUTHOR}/weights"
WEIGHT_FILE = "weight.bin"

_STORAGE = struct.Struct("<II")
"""How a file of weights begins: how many blobs, the version of the layout."""
_STORAGE_VERSION = 2
_BLOB = struct.Struct("<IIQQ")
"""How a blob begins: a mark, its type, its bytes, where they begin."""
_BLOB_MARK = 0xDEADBEEF
_BLOB_KINDS = {1: "float16", 2: "float32", 3: "uint8", 4: "int8", 6: "int16", 7: "uint16", 14: "int32", 15: "uint32"}


def specification(package: Path) -> Path:
    """Where the package says that its model lies. Raises: GraphError where it says nothing or nothing lies there."""
    manifest = package / MANIFEST
    try:
        value = json.loads(manifest.read_bytes())
        name = value["itemInfoEntries"][value["rootModelIdentifier"]]["path"]
        return _part(manifest, package / "Data", name)
    except OSError as error:
        raise GraphError(f"{manifest}: cannot be read: {error.strerror}; {AGAIN}") from error
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise GraphError(f"{manifest}: does not name the model; {AGAIN}") from error


def _part(named_by: Path, folder: Path, name: str) -> Path:
    """A file of the package, by the path below `folder` that another of its files has for it.

    Raises: GraphError where that leads out of the package, or to no file.
    """
    path = PurePosixPath(name)
    if not name.isprintable() or path.is_absolute() or ".." in path.parts:
        raise GraphError(f"{named_by}: names {name!r}, which is no part of the package; {AGAIN}")
    place = folder / path
    try:
        is_there = place.is_file()
    except OSError as error:  # such as a name that is too long
        raise GraphError(f"{place}: cannot be read: {error.strerror}; {AGAIN}") from error
    if not is_there:
        raise GraphError(f"{place}: no such file; {AGAIN}")
    return place


def model(place: Path) -> Any:
    """The message in a specification. Raises: GraphError where it is damaged; MissingDependencyError."""
    schema, message = require("coremltools.proto.Model_pb2"), require("google.protobuf.message")
    try:
        content = place.read_bytes()
        found = schema.Model.FromString(content)
    except OSError as error:
        raise GraphError(f"{place}: cannot be read: {error.strerror or error}") from error
    except message.DecodeError as error:
        raise GraphError(f"{place}: no Core ML model, or truncated, in its {len(content)} bytes; {AGAIN}") from error
    if found.WhichOneof("Type") is None:
        raise GraphError(f"{place}: no Core ML model, or empty, in its {len(content)} bytes; {AGAIN}")
    return found


@dataclass(frozen=True)
class Blob:
    """Where the numbers of one blob lie in its file."""

    place: Path
    offset: int
    type: int
    size_bytes: int
    start: int

    @property
    def kind(self) -> str:
        """The numbers' type as NumPy has it; `unknown` for one that this edgeskin cannot read."""
        return _BLOB_KINDS.get(self.type, "unknown")

    def numbers(self, kind: str, shape: tuple[int, ...]) -> Array:
        """The numbers, as the specification says they are. Raises: GraphError where the file says otherwise."""
        expected = np.dtype(kind).itemsize * int(np.prod(shape, dtype=np.int64))
        if (self.kind, self.size_bytes) != (kind, expected):
            raise GraphError(
                f"{self.place}: the blob at offset {self.offset} holds {self.size_bytes} bytes of {self.kind}, but the "
                f"specification says {expected} bytes of {kind}; {AGAIN}"
            )
        with self.place.open("rb") as file:
            file.seek(self.start)
            content = file.read(self.size_bytes)
        return np.frombuffer(content, kind).reshape(shape)


def blob(specification: Path, name: str, offset: int) -> Blob:
    """A blob by the file name and offset that the specification has for it.

    Raises: GraphError that names the file and the offset where no whole blob lies there.
    """
    place = _part(specification, specification.parent, name.removeprefix("@model_path/"))
    try:
        end = place.stat().st_size
        with place.open("rb") as file:
            _, version = _STORAGE.unpack(file.read(_STORAGE.size))
            file.seek(min(offset, end))
            mark, kind, size, start = _BLOB.unpack(file.read(_BLOB.size))
    except OSError as error:
        raise GraphError(f"{place}: cannot be read: {error.strerror}; {AGAIN}") from error
    except struct.error as error:
        raise GraphError(f"{place}: truncated, it ends before the blob at offset {offset}; {AGAIN}") from error
    if version != _STORAGE_VERSION:
        raise GraphError(f"{place}: the header at offset 0 says version {version}, not {_STORAGE_VERSION}; {AGAIN}")
    if mark != _BLOB_MARK:
        raise GraphError(f"{place}: no blob begins at offset {offset}; {AGAIN}")
    if start + size > end:
        raise GraphError(f"{place}: the blob at offset {offset} ends at {start + size}, the file at {end}; {AGAIN}")
    return Blob(place, offset, kind, size, start)


def write(package: Path, specification: bytes, weights: bytes) -> None:
    """Write a package where nothing stands yet. Equal contents give equal packages.

    weights: none where the specification holds every number itself.

    Whoever opens a package with coremltools has its manifest written again, in that library's spelling. So that the
    bundle keeps its hashes, it is spelled so from the start.
    """
    parts = {_SPECIFICATION: "Specification"} | ({_WEIGHTS: "Weights"} if weights else {})
    manifest = {
        "fileFormatVersion": "1.0.0",
        "itemInfoEntries": {
            _identifier(path): {
                "author": _AUTHOR,
                "description": f"CoreML Model {what}",
                "name": path.rpartition("/")[2],
                "path": path,
            }
            for path, what in parts.items()
        },
        "rootModelIdentifier": _identifier(_SPECIFICATION),
    }
    files.write_bytes(package / "Data" / _SPECIFICATION, specification)
    if weights:
        files.write_bytes(package / "Data" / _WEIGHTS / WEIGHT_FILE, weights)
    files.write_text(package / MANIFEST, json.dumps(manifest, indent=4, sort_keys=True) + "\n")


def _identifier(path: str) -> str:
    """An identifier of the form that a manifest has, the same for the same path."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, path)).upper()
