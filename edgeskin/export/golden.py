"""Golden cases: what the network must answer on photos that anybody may see, part of every Graph folder and bundle.

golden.json  photos/<case>.png  inputs/<case>.png  outputs.npz

A case is a phantom photo, the square that the network gets for it, the outputs of float and int8 by the reference
engine (onnxruntime, ORT_DISABLE_ALL) and the findings of int8. `outputs.npz` holds `float/<head>` and `int8/<head>`,
cases along the first axis: probabilities as float32; masks as uint16 in steps of 1/65535, an error of at most 7.7e-6,
260 times below what equivalence tolerates (float16 would be off by 2.4e-4 at the same size). Equal inputs give equal
bytes.
"""

import io
import json
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image
from pydantic import Field, ValidationError

from edgeskin import files
from edgeskin.benchmarks import numerics
from edgeskin.contract.findings import Findings, decode
from edgeskin.contract.image import letterbox, read_photo
from edgeskin.contract.model import Frozen, ModelCard
from edgeskin.errors import GraphError, PhotoError

UInt8: TypeAlias = npt.NDArray[np.uint8]
Float32: TypeAlias = npt.NDArray[np.float32]
Outputs: TypeAlias = Mapping[str, Float32]
Run: TypeAlias = Callable[[UInt8], Outputs]
"""uint8 [1, 3, S, S] -> by head a mask [1, 1, S, S], any other [1, labels]; what `Session.run` is."""

FORMAT = 1
_STEPS = 65535


class _Case(Frozen):
    name: Annotated[str, Field(pattern=r"^[a-z0-9_]+$")]
    findings: Findings


class _Index(Frozen):
    format: Literal[1] = 1
    cases: tuple[_Case, ...]


@dataclass(frozen=True, eq=False)
class GoldenCase:
    """One photo and what int8 finds in it. image: the network's input, uint8 RGB [3, S, S]."""

    name: str
    photo: Path
    image: UInt8
    findings: Findings


@dataclass(frozen=True, eq=False)
class Golden:
    """All cases. float_outputs, int8_outputs: by head, in the order of the cases along the first axis."""

    cases: tuple[GoldenCase, ...]
    float_outputs: Outputs
    int8_outputs: Outputs

    def run(self, run: Run) -> Outputs:
        """The outputs of any form of the network on these cases, one photo at a time."""
        return numerics.concatenate([run(case.image[None]) for case in self.cases])

    def changed_inputs(self) -> tuple[str, ...]:
        """Names of the cases whose photo no longer becomes the stored input, to the byte."""
        return tuple(
            case.name
            for case in self.cases
            if not np.array_equal(letterbox(read_photo(case.photo), case.image.shape[-1])[0], case.image)
        )


def write(folder: Path, photos: Sequence[UInt8], card: ModelCard, run_float: Run, run_int8: Run) -> None:
    """Make the golden cases and put them in the place of `folder`.

    photos: uint8 RGB [H, W, 3], as phantom.golden_photos gives them. run_float, run_int8: the reference engine.
    """
    cases, outputs = [], []
    with files.new_folder(folder) as building:
        for number, photo in enumerate(photos):
            name = f"{number:02d}"
            image, box = letterbox(photo, card.size)
            answers = run_int8(image[None])
            outputs.append((run_float(image[None]), answers))
            cases.append(_Case(name=name, findings=decode(_first(answers), card, box, f"{name}.png")[0]))
            files.write_bytes(building / "photos" / f"{name}.png", _png(photo))
            files.write_bytes(building / "inputs" / f"{name}.png", _png(image.transpose(1, 2, 0)))
        of_float, of_int8 = (numerics.concatenate(side) for side in zip(*outputs, strict=True))
        files.write_bytes(building / "outputs.npz", _pack({"float": of_float, "int8": of_int8}, card))
        files.write_json(building / "golden.json", _Index(cases=tuple(cases)).model_dump(mode="json"))


def read(folder: Path, card: ModelCard) -> Golden:
    """Read golden cases and check that they belong to `card`.

    Raises: GraphError that names the file that is missing, damaged or of another shape.
    """
    cases = []
    for case in _read_index(folder / "golden.json").cases:
        image = _read_png(folder / "inputs" / f"{case.name}.png").transpose(2, 0, 1)
        if image.shape != (3, card.size, card.size):
            raise _broken(
                folder / "inputs" / f"{case.name}.png", f"has the shape {image.shape}, the network {card.size}"
            )
        photo = folder / "photos" / f"{case.name}.png"
        if not photo.is_file():
            raise _broken(photo, "no such file")
        cases.append(GoldenCase(case.name, photo, np.ascontiguousarray(image), case.findings))
    of_float, of_int8 = _unpack(folder / "outputs.npz", card, len(cases))
    return Golden(tuple(cases), of_float, of_int8)


def _first(outputs: Outputs) -> dict[str, Float32]:
    return {name: values[0] for name, values in outputs.items()}


def _png(picture: UInt8) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, "PNG", compress_level=9)
    return stream.getvalue()


def _pack(sides: Mapping[str, Outputs], card: ModelCard) -> bytes:
    arrays: dict[str, npt.NDArray[np.uint16] | Float32] = {}
    for side, outputs in sides.items():
        for head in card.heads:
            values = outputs[head.name].astype(np.float64)
            packed = np.rint(values * _STEPS).astype(np.uint16) if head.kind == "mask" else values.astype(np.float32)
            arrays[f"{side}/{head.name}"] = packed
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w") as member:  # dated 1980, so that equal outputs give equal bytes
                np.save(member, array, allow_pickle=False)
    return stream.getvalue()


def _unpack(path: Path, card: ModelCard, cases: int) -> tuple[Outputs, Outputs]:
    sides: dict[str, dict[str, Float32]] = {"float": {}, "int8": {}}
    try:
        with np.load(path, allow_pickle=False) as archive:
            for side, outputs in sides.items():
                for head in card.heads:
                    values = archive[f"{side}/{head.name}"]
                    expected = (cases, 1, card.size, card.size) if head.kind == "mask" else (cases, len(head.labels))
                    if values.shape != expected:
                        raise _broken(path, f"{side}/{head.name} has the shape {values.shape}, not {expected}")
                    scale = 1 / _STEPS if values.dtype == np.uint16 else 1
                    outputs[head.name] = (values * np.float64(scale)).astype(np.float32)
    except FileNotFoundError as error:
        raise _broken(path, "no such file") from error
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise _broken(path, f"is damaged: {error}") from error
    return sides["float"], sides["int8"]


def _read_index(path: Path) -> _Index:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(value, dict) and value.get("format") != FORMAT:
            raise _broken(path, f"format {value.get('format')!r}, this edgeskin reads format {FORMAT}")
        return _Index.model_validate(value)
    except FileNotFoundError as error:
        raise _broken(path, "no such file") from error
    except ValidationError as error:
        first = error.errors()[0]
        raise _broken(path, f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from error
    except (OSError, ValueError) as error:
        raise _broken(path, f"cannot be read as JSON: {error}") from error


def _read_png(path: Path) -> UInt8:
    try:
        return read_photo(path)
    except PhotoError as error:
        raise GraphError(f"golden case: {error}") from error


def _broken(path: Path, what: str) -> GraphError:
    return GraphError(f"{path}: {what}. Make the golden cases again: edgeskin export --from RUN")
