"""TFLite Metadata, the format's own words for people and tools: what goes in, what comes out, which files explain it.

A flatbuffer of the published schema (`metadata_schema.fbs`, identifier M001) in the model's entry TFLITE_METADATA, and
the files it speaks of in a zip behind the model, stored, not compressed. No maintained package writes it, so the few
tables in use are written here by the numbers of their fields.
"""

import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import TYPE_CHECKING, Literal, TypeAlias

from edgeskin.contract.model import HeadSpec, ModelCard
from edgeskin.graph.ir import PIXEL_SCALE
from edgeskin.optional import require
from edgeskin.targets.tflite.program import Program, Value

if TYPE_CHECKING:
    import flatbuffers

ENTRY = "TFLITE_METADATA"
_IDENTIFIER = b"M001"
_PARSER_VERSION = "1.0.0"
_EPOCH = (1980, 1, 1, 0, 0, 0)
"""The date of every file in the zip, so that equal models have equal bytes."""

# Numbers of the schema's enumerations.
_FEATURE, _IMAGE = 1, 2
_RGB = 1
_NORMALIZATION, _SCORE_THRESHOLDING = 1, 3
_DESCRIPTIONS, _AXIS_LABELS = 1, 2


@dataclass(frozen=True)
class Table:
    """A table of the schema: its fields by number."""

    fields: Mapping[int, "Field"]


@dataclass(frozen=True)
class Number:
    """A number: `byte` for enumerations and unions, `int` and `float` in 32 bits."""

    value: float
    kind: Literal["byte", "int", "float"] = "byte"


Field: TypeAlias = Table | Number | str | Sequence[Table] | Sequence[float] | None


@dataclass(frozen=True)
class Description:
    """A model's metadata. files: contents by name, for the zip."""

    table: Table
    files: Mapping[str, bytes] = field(default_factory=dict)

    def flatbuffer(self) -> bytes:
        """The bytes of the model's entry."""
        library = require("flatbuffers")
        builder: flatbuffers.Builder = library.Builder(1024)
        builder.Finish(_write(library, builder, self.table), _IDENTIFIER)
        return bytes(builder.Output())

    def behind(self, model: bytes) -> bytes:
        """The model with its files behind it."""
        content = io.BytesIO(model)
        with zipfile.ZipFile(content, "a", zipfile.ZIP_STORED) as archive:
            for name, part in sorted(self.files.items()):
                info = zipfile.ZipInfo(name, _EPOCH)
                info.create_system = 3  # the same on every system
                info.external_attr = 0o644 << 16
                archive.writestr(info, part)
        return content.getvalue()


def describe(card: ModelCard, program: Program) -> Description:
    """What the model card says of a program's inputs and outputs, in the format's words."""
    files = {"model.json": (json.dumps(card.model_dump(mode="json"), indent=2, ensure_ascii=False) + "\n").encode()}
    inputs = [_image(card)]
    if card.metadata is not None:
        files["metadata_slots.txt"] = _lines(card.metadata.slots)
        inputs.append(_metadata(card.metadata.slots))
    outputs = []
    for head in card.heads:
        files[f"{head.name}.txt"] = _lines(head.labels)
        outputs.append(_output(head, program.tensors[program.outputs[head.name]]))
    whole = _file("model.json", "Everything a program needs to run the network and to read its answers.", None)
    model = Table(
        {
            0: card.name,
            1: card.intended_use,
            2: card.version,
            3: [Table({0: "main", 2: inputs, 3: outputs})],
            4: f"edgeskin {card.provenance.edgeskin_version}",
            5: card.licence,
            6: [whole],
            7: _PARSER_VERSION,
        }
    )
    return Description(model, files)


def _lines(words: Sequence[str]) -> bytes:
    return ("\n".join(words) + "\n").encode()


def _image(card: ModelCard) -> Table:
    half = 1 / PIXEL_SCALE
    normalization = Table({0: Number(_NORMALIZATION), 1: Table({0: [half], 1: [half]})})
    size = Table({0: Number(card.size, "int"), 1: Number(card.size, "int")})
    words = (
        f"A photo as {card.size}×{card.size} RGB bytes: turned upright, resized as model.json and edgeskin's contract "
        "say, letterboxed with 128. The bytes go in as they are: the network itself computes (pixel − 128) / 128."
    )
    return Table(
        {
            0: "image",
            1: words,
            3: Table({0: Number(_IMAGE), 1: Table({0: Number(_RGB), 1: size})}),
            4: [normalization],
            5: Table({0: [(255 - half) / half], 1: [-1.0]}),
        }
    )


def _metadata(slots: Sequence[str]) -> Table:
    words = f"What is known of the patient in {len(slots)} slots, encoded as model.json says; so are unknown fields."
    return Table(
        {
            0: "metadata",
            1: words,
            3: _features(),
            6: [_file("metadata_slots.txt", "What each slot stands for.", _DESCRIPTIONS)],
        }
    )


def _output(head: HeadSpec, value: Value) -> Table:
    meaning = {
        "mask": "The probability of each pixel to be lesion, in the square of the input",
        "softmax": f"The probability of each of {len(head.labels)} diagnoses, which exclude each other",
        "sigmoid": f"The probability of {head.labels[0]}",
    }[head.kind]
    if value.scale is not None:
        function = "softmax" if head.kind == "softmax" else "sigmoid"
        meaning += f", as int8 logits: {function}({float(value.scale.steps[0]):g} × value)"
    decides = "" if head.threshold is None else f" At or above {head.threshold:g} it decides yes."
    units = None
    if head.threshold is not None and value.scale is None:
        thresholding = Table({0: Number(head.threshold, "float")})
        units = [Table({0: Number(_SCORE_THRESHOLDING), 1: thresholding})]
    limits = None if value.scale is not None else Table({0: [1.0], 1: [0.0]})
    return Table(
        {
            0: head.name,
            1: f"{meaning}.{decides}",
            3: _features(),
            4: units,
            5: limits,
            6: [_file(f"{head.name}.txt", "Its labels, one a line.", _AXIS_LABELS)],
        }
    )


def _features() -> Table:
    return Table({0: Number(_FEATURE), 1: Table({})})


def _file(name: str, words: str, kind: int | None) -> Table:
    return Table({0: name, 1: words, 2: None if kind is None else Number(kind)})


# --- flatbuffers ---


def _write(library: ModuleType, builder: "flatbuffers.Builder", table: Table) -> int:
    """A table's offset, its parts written before it, as the format demands."""
    offsets = {number: _part(library, builder, value) for number, value in table.fields.items()}
    builder.StartObject(max(table.fields, default=-1) + 1)
    for number, value in table.fields.items():
        offset = offsets[number]
        if isinstance(value, Number):
            prepend = {
                "byte": builder.PrependUint8Slot,
                "int": builder.PrependUint32Slot,
                "float": builder.PrependFloat32Slot,
            }[value.kind]
            prepend(number, value.value if value.kind == "float" else int(value.value), 0)
        elif offset is not None:
            builder.PrependUOffsetTRelativeSlot(number, offset, 0)
    return int(builder.EndObject())


def _part(library: ModuleType, builder: "flatbuffers.Builder", value: Field) -> int | None:
    """The offset of what stands outside its table; None for what stands inside or is absent."""
    if value is None or isinstance(value, Number):
        return None
    if isinstance(value, Table):
        return _write(library, builder, value)
    if isinstance(value, str):
        return int(builder.CreateString(value))
    tables = [_write(library, builder, each) for each in value if isinstance(each, Table)]
    numbers = [float(each) for each in value if not isinstance(each, Table)]
    builder.StartVector(4, len(value), 4)
    for offset in reversed(tables):
        builder.PrependUOffsetTRelative(offset)
    for number in reversed(numbers):
        builder.PrependFloat32(number)
    return int(builder.EndVector())
