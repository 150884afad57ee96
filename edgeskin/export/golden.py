"""Golden cases: what the network must answer on photos that anybody may see, part of every Graph folder and bundle.

golden.json  photos/<case>.png  inputs/<case>.png  [inputs/metadata.npy]  [second/<case>.png]  outputs.npz

A case is a phantom photo, the square that the network gets for it, the outputs of float and int8 by the reference
engine (onnxruntime, ORT_DISABLE_ALL) and the findings of int8. For a network that takes metadata, golden.json also
holds the fields of each case, drawn from the network's own specification (half of the photos have none), and
`inputs/metadata.npy` what they are encoded as, float32 [cases, M].

Of a network that runs twice, golden.json says for each case whether a lesion was found, and `second/<case>.png` is what
the second pass is then shown. It follows to the byte from the mask of int8 as `outputs.npz` holds it, and every form of
the network is shown the same one: a pixel of the mask that differs would make two networks look different that are not.

`outputs.npz` holds `float/<head>` and `int8/<head>`, cases along the first axis: probabilities as float32; masks as
uint16 in steps of 1/65535, an error of at most 7.7e-6, 260 times below what equivalence tolerates (float16 would be off
by 2.4e-4 at the same size). Heads of the second pass hold its answers. Equal inputs give equal bytes.
"""

import io
import json
import struct
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image
from pydantic import Field, SerializerFunctionWrapHandler, ValidationError, model_serializer, model_validator

from edgeskin import files
from edgeskin.benchmarks import numerics
from edgeskin.contract.declaration import wrong_fields
from edgeskin.contract.findings import Findings, decode
from edgeskin.contract.frozen import Frozen, without_absent
from edgeskin.contract.image import read_photo
from edgeskin.contract.metadata import Values
from edgeskin.contract.model import ModelCard
from edgeskin.contract.preprocess import network_input
from edgeskin.contract.second_pass import Float32, Outputs, Run, UInt8, second_view, with_second
from edgeskin.data.phantom import GOLDEN_PHOTOS, Phantom
from edgeskin.errors import DataError, GraphError
from edgeskin.export.subjects import subjects

Inputs: TypeAlias = tuple[UInt8, Float32 | None]
"""image uint8 [1, 3, S, S]; metadata float32 [1, M], None for a network that takes the image alone."""

FORMAT = 1
_STEPS = 65535
_METADATA = "inputs/metadata.npy"


class _Case(Frozen):
    name: Annotated[str, Field(pattern=r"^[a-z0-9_]+$")]
    findings: Findings
    metadata: dict[str, str | float | None] | None = None
    second_pass: bool | None = None

    @model_serializer(mode="wrap")
    def _write(self, written: SerializerFunctionWrapHandler) -> dict[str, object]:
        return without_absent(written(self), "metadata", "second_pass")


class _Index(Frozen):
    """written: how many cases there were when they were made; left out where those are as many as of every network
    that was trained here.
    """

    format: Literal[1] = 1
    written: Annotated[int, Field(ge=1)] | None = None
    cases: tuple[_Case, ...]

    @staticmethod
    def of(cases: Sequence[_Case]) -> "_Index":
        return _Index(written=None if len(cases) == GOLDEN_PHOTOS else len(cases), cases=tuple(cases))

    @model_validator(mode="after")
    def _whole(self) -> "_Index":
        written = self.written or GOLDEN_PHOTOS
        names = [case.name for case in self.cases]
        if len(names) != written or len(set(names)) != written:
            raise ValueError(f"holds {len(set(names))} of {written} cases")
        return self

    @model_serializer(mode="wrap")
    def _write(self, written: SerializerFunctionWrapHandler) -> dict[str, object]:
        return without_absent(written(self), "written")


@dataclass(frozen=True, eq=False)
class GoldenCase:
    """One photo and what int8 finds in it.

    image: the network's input, uint8 RGB [3, S, S]. values, metadata: the fields and what they are encoded as, float32
    [M]; no fields and None for a network that takes the image alone. second: what the second pass is run on, uint8
    [1, 3, S, S]; None where the network runs once.
    """

    name: str
    photo: Path
    image: UInt8
    values: Values
    metadata: Float32 | None
    second: UInt8 | None
    findings: Findings

    @property
    def inputs(self) -> Inputs:
        """What the network is run on, a batch of one; in two passes, what the first is."""
        return self.image[None], None if self.metadata is None else self.metadata[None]


@dataclass(frozen=True, eq=False)
class Golden:
    """All cases of one network. float_outputs, int8_outputs: by head, in the cases' order along the first axis."""

    card: ModelCard
    cases: tuple[GoldenCase, ...]
    float_outputs: Outputs
    int8_outputs: Outputs

    def run(self, run: Run) -> Outputs:
        """The outputs of any form of the network on these cases, one photo at a time."""
        return numerics.concatenate([self._run(run, case) for case in self.cases])

    def _run(self, run: Run, case: GoldenCase) -> Outputs:
        image, metadata = case.inputs
        return with_second(run(image, metadata), run, case.second, metadata, self.card)

    def changed_inputs(self) -> tuple[str, ...]:
        """Names of the cases whose photo, fields or mask no longer become the stored inputs, to the byte."""
        return tuple(case.name for number, case in enumerate(self.cases) if not self._unchanged(number, case))

    def _unchanged(self, number: int, case: GoldenCase) -> bool:
        image, box = network_input(read_photo(case.photo), self.card.size, self.card.preprocessing)
        first = {name: values[number : number + 1] for name, values in self.int8_outputs.items()}
        second = second_view(first, self.card, box, image[None])
        return np.array_equal(image, case.image) and _equal(second, case.second) and self._told_unchanged(case)

    def _told_unchanged(self, case: GoldenCase) -> bool:
        if self.card.metadata is None or case.metadata is None:
            return True
        try:
            return np.array_equal(self.card.metadata.encode(case.values), case.metadata)
        except DataError:
            return False


def write(folder: Path, photos: Sequence[Phantom], card: ModelCard, run_float: Run, run_int8: Run) -> None:
    """Make the golden cases and put them in the place of `folder`.

    photos: from phantom.golden_photos. run_float, run_int8: the reference engine.
    """
    cases, outputs, rows = list[_Case](), list[tuple[Outputs, Outputs]](), list[Float32]()
    with files.new_folder(folder) as building:
        for number, subject in enumerate(subjects(photos, card)):
            name, image, metadata = f"{number:02d}", subject.image, subject.metadata
            first = run_int8(image, metadata)
            second = second_view(_masks_as_stored(first, card), card, subject.box, image)
            answers = with_second(first, run_int8, second, metadata, card)
            outputs.append((with_second(run_float(image, metadata), run_float, second, metadata, card), answers))
            findings = decode(_first(answers), card, subject.box, f"{name}.png", subject.values)[0]
            if metadata is not None:
                rows.append(metadata[0])
            told = None if metadata is None else dict(subject.values)
            twice = None if card.second_pass is None else second is not None
            cases.append(_Case(name=name, findings=findings, metadata=told, second_pass=twice))
            files.write_bytes(building / "photos" / f"{name}.png", _png(subject.photo))
            files.write_bytes(building / "inputs" / f"{name}.png", _png(image[0].transpose(1, 2, 0)))
            if second is not None:
                files.write_bytes(building / "second" / f"{name}.png", _png(second[0].transpose(1, 2, 0)))
        if rows:
            files.write_bytes(building / _METADATA, _npy(np.stack(rows)))
        of_float, of_int8 = (numerics.concatenate(side) for side in zip(*outputs, strict=True))
        files.write_bytes(building / "outputs.npz", _pack({"float": of_float, "int8": of_int8}, card))
        files.write_json(building / "golden.json", _Index.of(cases).model_dump(mode="json"))


def read(folder: Path, card: ModelCard) -> Golden:
    """Read golden cases and check that they belong to `card`.

    Raises: GraphError that names the file that is missing, damaged or of another shape.
    """
    cases = []
    index = _read_index(folder / "golden.json").cases
    rows = _read_metadata(folder / _METADATA, index, card)
    for case, metadata in zip(index, rows, strict=True):
        image = _read_square(folder / "inputs" / f"{case.name}.png", card.size)
        photo = folder / "photos" / f"{case.name}.png"
        if not photo.is_file():
            raise _broken(photo, "no such file")
        if (case.second_pass is None) != (card.second_pass is None):
            runs = "once" if card.second_pass is None else "twice"
            raise _broken(folder / "golden.json", f"case {case.name} is of another network: {card.name} runs {runs}")
        second = _read_square(folder / "second" / f"{case.name}.png", card.size)[None] if case.second_pass else None
        cases.append(GoldenCase(case.name, photo, image, case.metadata or {}, metadata, second, case.findings))
    of_float, of_int8 = _unpack(folder / "outputs.npz", card, len(cases), "float", "int8")
    return Golden(card, tuple(cases), of_float, of_int8)


def write_outputs(path: Path, outputs: Outputs, card: ModelCard) -> None:
    """The answers of one more form of the network, stored as those of golden cases are."""
    files.write_bytes(path, _pack({"reference": outputs}, card))


def read_outputs(path: Path, card: ModelCard, cases: int) -> Outputs:
    """What `write_outputs` wrote of so many cases. Raises: GraphError as `read`."""
    (outputs,) = _unpack(path, card, cases, "reference")
    return outputs


def _first(outputs: Outputs) -> dict[str, Float32]:
    return {name: values[0] for name, values in outputs.items()}


def _png(picture: UInt8) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, "PNG", compress_level=9)
    return stream.getvalue()


def _npy(array: Float32) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=False)
    return stream.getvalue()


def _steps(values: Float32) -> npt.NDArray[np.uint16]:
    return np.rint(values.astype(np.float64) * _STEPS).astype(np.uint16)


def _values(steps: npt.NDArray[np.uint16]) -> Float32:
    values: Float32 = (steps * np.float64(1 / _STEPS)).astype(np.float32)
    return values


def _masks_as_stored(outputs: Outputs, card: ModelCard) -> Outputs:
    """The mask as whoever reads `outputs.npz` sees it, so that the second pass's input follows from there."""
    return {head.name: _values(_steps(outputs[head.name])) for head in card.heads if head.kind == "mask"}


def _pack(sides: Mapping[str, Outputs], card: ModelCard) -> bytes:
    arrays: dict[str, npt.NDArray[np.uint16] | Float32] = {}
    for side, outputs in sides.items():
        for head in card.heads:
            values = outputs[head.name]
            arrays[f"{side}/{head.name}"] = _steps(values) if head.kind == "mask" else values.astype(np.float32)
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w") as member:  # dated 1980, so that equal outputs give equal bytes
                np.save(member, array, allow_pickle=False)
    return stream.getvalue()


def _unpack(path: Path, card: ModelCard, cases: int, *names: str) -> tuple[Outputs, ...]:
    sides: dict[str, dict[str, Float32]] = {name: {} for name in names}
    try:
        with np.load(path, allow_pickle=False) as archive:
            for side, outputs in sides.items():
                for head in card.heads:
                    values = archive[f"{side}/{head.name}"]
                    expected = (cases, 1, card.size, card.size) if head.kind == "mask" else (cases, len(head.labels))
                    if values.shape != expected:
                        raise _broken(path, f"{side}/{head.name} has the shape {values.shape}, not {expected}")
                    stepped = values.dtype == np.uint16
                    outputs[head.name] = _values(values) if stepped else values.astype(np.float32)
    except FileNotFoundError as error:
        raise _broken(path, "no such file") from error
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise _broken(path, f"is damaged: {error}") from error
    return tuple(sides.values())


def _read_metadata(path: Path, cases: Sequence[_Case], card: ModelCard) -> Sequence[Float32] | Sequence[None]:
    """The stored metadata of every case, None for each where the network takes the image alone."""
    if card.metadata is None:
        return [None] * len(cases)
    untold = [case.name for case in cases if case.metadata is None]
    if untold:
        raise _broken(path.parents[1] / "golden.json", f"case {untold[0]} has no metadata, and {card.name} takes some")
    try:
        rows = np.load(path, allow_pickle=False)
    except FileNotFoundError as error:
        raise _broken(path, "no such file") from error
    except (OSError, ValueError, EOFError) as error:
        raise _broken(path, f"is damaged: {error}") from error
    expected = (len(cases), card.metadata.width)
    if not isinstance(rows, np.ndarray) or rows.dtype != np.float32 or rows.shape != expected:
        raise _broken(path, f"is not float32 of the shape {expected}, which {card.name} takes")
    return list(rows)


def _read_index(path: Path) -> _Index:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(value, dict) and value.get("format") != FORMAT:
            raise _broken(path, f"format {value.get('format')!r}, this edgeskin reads format {FORMAT}")
        return _Index.model_validate(value)
    except FileNotFoundError as error:
        raise _broken(path, "no such file") from error
    except ValidationError as error:
        raise _broken(path, wrong_fields(error)) from error
    except (OSError, ValueError) as error:
        raise _broken(path, f"cannot be read as JSON: {error}") from error


def _read_square(path: Path, size: int) -> UInt8:
    """Shapes: -> [3, S, S]. Not a photo: what is left of one in a second pass may well be without colour."""
    try:
        with Image.open(path, formats=("PNG",)) as picture:
            image = np.asarray(picture.convert("RGB")).transpose(2, 0, 1)
    except FileNotFoundError as error:
        raise _broken(path, "no such file") from error
    except (OSError, ValueError, SyntaxError, EOFError, struct.error, zlib.error) as error:
        raise _broken(path, f"is damaged: {error}") from error
    if image.shape != (3, size, size):
        raise _broken(path, f"has the shape {image.shape}, the network {size}")
    return np.ascontiguousarray(image)


def _equal(one: UInt8 | None, other: UInt8 | None) -> bool:
    return one is other if one is None or other is None else np.array_equal(one, other)


def _broken(path: Path, what: str) -> GraphError:
    return GraphError(f"{path}: {what}. Make the golden cases again: edgeskin export --from RUN")
