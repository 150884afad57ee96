"""Packages that are damaged, or another's: each is read as a network or refused in one line, and nothing is overlooked.

What is read as the same network after its program changed, torch must compute alike, by MIL's documentation alone.
"""

import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import metadata_graphs
import numpy as np
import pytest
from coreml_packages import unswept

from edgeskin.errors import GraphError
from edgeskin.graph.folder import Graph
from edgeskin.graph.ir import Network
from edgeskin.targets.base import Artifact
from edgeskin.targets.coreml import CoremlTarget, package

tools = pytest.importorskip("coremltools")

MANIFEST, MODEL = "Manifest.json", "Data/com.apple.CoreML/model.mlmodel"
WEIGHTS = "Data/com.apple.CoreML/weights/weight.bin"
PARTS = (MANIFEST, MODEL, WEIGHTS)
TARGET = CoremlTarget()


@pytest.fixture(scope="module")
def whole(once, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """An int8 package in float16, of a network that takes metadata: small, and every form of value is in it."""
    graph = Graph.open(once("told_graph", metadata_graphs.write_metadata_graph))
    with unswept():
        return TARGET.build(graph, "int8", tmp_path_factory.mktemp("whole"))


@pytest.fixture
def damaged(whole: Artifact, tmp_path: Path) -> Artifact:
    """A copy to damage."""
    return copied(whole, tmp_path)


def copied(artifact: Artifact, folder: Path) -> Artifact:
    return replace(artifact, path=Path(shutil.copytree(artifact.path, folder / "model.mlpackage")))


def model(artifact: Artifact) -> Any:
    """The specification as a message."""
    return tools.proto.Model_pb2.Model.FromString((artifact.path / MODEL).read_bytes())


def block(message: Any) -> Any:
    function = message.mlProgram.functions["main"]
    return function.block_specializations[function.opset]


def keep(artifact: Artifact, message: Any) -> None:
    """Put a specification in the place of the package's."""
    (artifact.path / MODEL).write_bytes(message.SerializeToString(deterministic=True))


def found(artifact: Artifact) -> Network | None:
    """The network that a package is read as, None where it is refused: in one line that names a file of it."""
    try:
        return TARGET.read(artifact)
    except GraphError as error:
        assert str(artifact.path) in str(error)
        assert "\n" not in str(error)
        return None


def refusal(artifact: Artifact) -> str:
    """The line in which a package is refused, from its path on."""
    with pytest.raises(GraphError) as caught:
        TARGET.read(artifact)
    said = str(caught.value)
    assert said.startswith(str(artifact.path))
    assert "\n" not in said
    return said.removeprefix(str(artifact.path)).lstrip("/")


class InTorch:
    """What torch computes of packages for one picture, by MIL's documentation alone."""

    def __init__(self, artifact: Artifact) -> None:
        pytest.importorskip("torch")
        random = np.random.default_rng(0)
        self.artifact = artifact
        self.feeds = {
            "image": random.integers(0, 256, (1, 3, 32, 32), dtype=np.uint8),
            "metadata": random.uniform(-1, 1, (1, 5)).astype(np.float32),
        }
        self.expected = self.outputs()

    def outputs(self) -> list[np.ndarray]:
        from mil_in_torch import Package

        found = Package(self.artifact.path).run(self.feeds)
        return [found[name] for name in ("mask", "diagnosis", "melanoma")]

    def demand_the_same(self) -> None:
        for one, other in zip(self.outputs(), self.expected, strict=True):
            np.testing.assert_array_equal(one, other)


# --- any damage ---


@pytest.mark.parametrize("part", PARTS)
def test_a_truncated_file_is_refused(part: str, damaged: Artifact) -> None:
    content = (damaged.path / part).read_bytes()
    step = max(1, len(content) // 600)
    expected = TARGET.read(damaged)
    for length in range(0, len(content) - 1, step):
        (damaged.path / part).write_bytes(content[:length])
        # Behind the last brace of a manifest stands a line's end.
        assert found(damaged) is None, length
    (damaged.path / part).write_bytes(content)
    assert found(damaged) == expected


def flipped(content: bytes, places: Iterable[int]) -> Iterator[tuple[int, bytes]]:
    """Contents with one byte changed: its lowest bit, its highest, or all."""
    for place in places:
        for bits in (0x01, 0x80, 0xFF):
            yield place, content[:place] + bytes([content[place] ^ bits]) + content[place + 1 :]


def test_a_changed_byte_of_the_manifest_is_refused_or_changes_nothing(damaged: Artifact) -> None:
    path = damaged.path / MANIFEST
    expected = TARGET.read(damaged)
    refused = 0
    original = path.read_bytes()
    for place, content in flipped(original, range(len(original))):
        path.write_bytes(content)
        network = found(damaged)
        assert network in (None, expected), place
        refused += network is None
    assert refused > 1000


def test_no_changed_byte_of_a_specification_is_overlooked(damaged: Artifact) -> None:
    path = damaged.path / MODEL
    original, judge, expected = model(damaged), InTorch(damaged), TARGET.read(damaged)
    refused = judged = 0
    whole = path.read_bytes()
    for _, content in flipped(whole, np.random.default_rng(0).choice(len(whole), 800, replace=False).tolist()):
        path.write_bytes(content)
        network = found(damaged)
        refused += network is None
        if network == expected and model(damaged).mlProgram != original.mlProgram:
            judge.demand_the_same()
            judged += 1
    assert refused > 1000
    assert judged > 100


def test_a_changed_byte_of_a_weight_is_another_network_and_one_of_its_header_refused(damaged: Artifact) -> None:
    path = damaged.path / WEIGHTS
    content, expected = path.read_bytes(), TARGET.read(damaged)
    (blob,) = (
        package.blob(damaged.path / MODEL, value.blobFileValue.fileName, value.blobFileValue.offset)
        for operation in block(model(damaged)).operations
        for value in operation.attributes.values()
        if value.WhichOneof("value") == "blobFileValue"
    )
    # The file's version; a blob's mark, type, size and place. Source: mlmodel/src/MILBlob of coremltools.
    header = {*range(4, 8), *range(blob.offset, blob.offset + 24)}
    numbers = range(blob.start, blob.start + blob.size_bytes)
    for place, changed in flipped(content, range(len(content))):
        path.write_bytes(changed)
        network = found(damaged)
        if place in numbers:
            assert network not in (None, expected), place
        elif place in header:
            assert network != expected, place
        else:
            assert network == expected, place


# --- every field ---


def fields(message: Any, path: tuple[tuple[str, Any], ...] = ()) -> Iterator[tuple[tuple[tuple[str, Any], ...], Any]]:
    """Every value that a message holds, at any depth, and the way there."""
    for field, value in message.ListFields():
        many = field.message_type is not None and field.message_type.GetOptions().map_entry
        if many:
            steps = [((field.name, key), value[key]) for key in sorted(value)]
        elif hasattr(value, "append") or hasattr(value, "add"):
            steps = [((field.name, index), each) for index, each in enumerate(value)]
        else:
            steps = [((field.name, None), value)]
        for step, each in steps:
            if hasattr(each, "ListFields"):
                yield from fields(each, (*path, step))
            else:
                yield (*path, step), each


def put(message: Any, path: tuple[tuple[str, Any], ...], value: Any) -> bool:
    """Put a value in the place of the one at that path; whether protobuf holds such a value there."""
    for name, key in path[:-1]:
        message = getattr(message, name) if key is None else getattr(message, name)[key]
    name, key = path[-1]
    try:
        if key is None:
            setattr(message, name, value)
        else:
            getattr(message, name)[key] = value
    except ValueError:
        return False
    return True


def copy_of(message: Any) -> Any:
    copied = type(message)()
    copied.CopyFrom(message)
    return copied


def others(value: Any, names: list[str]) -> list[Any]:
    """Values of the same type: near, and absurd."""
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, int):
        return [value + 1, value + 4, 1 << 30]
    if isinstance(value, float):
        return [value * 1.001 + 1e-6, -value - 1, float("nan")]
    if isinstance(value, bytes):
        return [bytes([value[0] ^ 1]) + value[1:], value + b"\0"]
    near = [names[names.index(value) - 1]] if value in names else []
    words = {"fp16": "fp32", "fp32": "fp16", "int8": "uint8"}
    return [*near, words.get(value, "another"), f"{value}\n", "x" * 5000]


UNREAD = ("name", "buildInfo")
"""Attributes that say nothing of what is computed: what a debugger calls an operator, and who wrote the program."""


def demand_that_every_field_counts(damaged: Artifact, ways: slice) -> None:
    """Change every field of the program, in some of the ways of `others`: it is refused, or another network."""
    original, expected = model(damaged), TARGET.read(damaged)
    names = [each.outputs[0].name for each in block(original).operations]
    tried = 0
    for path, value in fields(original.mlProgram):
        if path[-1][0] == "version" or any(step in (("attributes", name) for name in UNREAD) for step in path):
            continue
        for other in others(value, names)[ways]:
            changed = copy_of(original)
            if put(changed.mlProgram, path, other):
                keep(damaged, changed)
                assert found(damaged) != expected, (path, value, other)
                tried += 1
    assert tried > 500


def test_no_field_of_a_program_can_change_and_be_read_as_the_same(damaged: Artifact) -> None:
    demand_that_every_field_counts(damaged, slice(None))


def test_nor_of_one_with_more_kinds_of_operators(graph: Graph, tmp_path: Path) -> None:
    (tmp_path / "whole").mkdir()
    with unswept():
        artifact = TARGET.build(graph, "w8a16", tmp_path / "whole")
    demand_that_every_field_counts(copied(artifact, tmp_path), slice(1, 2))


def test_no_field_of_what_an_app_is_told_of_inputs_and_outputs_can_change(damaged: Artifact) -> None:
    """An app that was told BGR would hand over another picture."""
    original, expected = model(damaged), TARGET.read(damaged)
    tried = 0
    for side in ("input", "output"):
        for number, feature in enumerate(getattr(original.description, side)):
            for path, value in fields(feature):
                if path[-1][0] == "shortDescription":
                    continue
                for other in others(value, []):
                    changed = copy_of(original)
                    if put(getattr(changed.description, side)[number], path, other):
                        keep(damaged, changed)
                        assert found(damaged) != expected, (side, path, other)
                        tried += 1
    assert tried > 50


def test_a_picture_of_any_size_or_none_is_not_ours(damaged: Artifact) -> None:
    original = model(damaged)
    for change in (
        lambda described: setattr(described, "isOptional", True),
        lambda described: described.imageType.imageSizeRange.widthRange.__setattr__("upperBound", -1),
        lambda described: described.stringType.SetInParent(),
    ):
        changed = copy_of(original)
        change(changed.description.input[0].type)
        keep(damaged, changed)
        assert refusal(damaged).startswith(": tells an app of other inputs or outputs than its program has")


# --- damage with a name ---


def test_what_is_missing_is_named(damaged: Artifact, tmp_path: Path) -> None:
    (damaged.path / WEIGHTS).unlink()
    assert refusal(damaged) == f"{WEIGHTS}: no such file; copy or export the package again"
    (damaged.path / MODEL).unlink()
    assert refusal(damaged) == f"{MODEL}: no such file; copy or export the package again"
    (damaged.path / MANIFEST).unlink()
    assert (
        refusal(damaged) == f"{MANIFEST}: cannot be read: No such file or directory; copy or export the package again"
    )
    shutil.rmtree(damaged.path)
    damaged.path.write_text("a file")
    assert refusal(damaged) == f"{MANIFEST}: cannot be read: Not a directory; copy or export the package again"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", f"{MANIFEST}: does not name the model"),
        ("[]", f"{MANIFEST}: does not name the model"),
        ('{"itemInfoEntries": [], "rootModelIdentifier": 0}', f"{MANIFEST}: does not name the model"),
        ("[" * 100_000, f"{MANIFEST}: does not name the model"),
        ("../other.mlpackage/Data/model.mlmodel", f"{MANIFEST}: names '../other.mlpackage/Data/model.mlmodel', which"),
        ("/dev/stdin", f"{MANIFEST}: names '/dev/stdin', which is no part of the package"),
        ("two\nlines", f"{MANIFEST}: names 'two\\nlines', which is no part of the package"),
        ("x" * 5000, f"Data/{'x' * 5000}: cannot be read: File name too long"),
        ("com.apple.CoreML", "Data/com.apple.CoreML: no such file"),
    ],
    ids=["empty", "list", "lists", "deep", "outside", "device", "lines", "long", "folder"],
)
def test_a_manifest_that_names_no_part_of_the_package_is_refused(content: str, said: str, damaged: Artifact) -> None:
    path = damaged.path / MANIFEST
    if content and content[0] not in "[{":
        manifest = json.loads(path.read_bytes())
        manifest["itemInfoEntries"][manifest["rootModelIdentifier"]]["path"] = content
        content = json.dumps(manifest)
    path.write_text(content)
    assert refusal(damaged).startswith(said)


# --- more than was written ---


def of_kind(message: Any, kind: str) -> Any:
    """The first operator of a kind."""
    return next(each for each in block(message).operations if each.type == kind)


def stored(numbers: list[int]) -> Any:
    """A constant of whole numbers, to stand at its place."""
    value = tools.proto.MIL_pb2.Value()
    value.type.tensorType.dataType = tools.proto.MIL_pb2.DataType.INT32
    value.type.tensorType.rank = 1
    value.type.tensorType.dimensions.add().constant.size = len(numbers)
    value.immediateValue.tensor.ints.values.extend(numbers)
    return value


def says_more(kind: str, word: str) -> Callable[[Any], None]:
    def change(message: Any) -> None:
        of_kind(message, kind).inputs[word].arguments.add().value.CopyFrom(stored([1]))

    return change


def has_an_attribute(message: Any) -> None:
    of_kind(message, "conv").attributes["strides"].CopyFrom(stored([9, 9]))


def has_an_argument_in_a_constant(message: Any) -> None:
    of_kind(message, "const").inputs["val"].arguments.add().value.CopyFrom(stored([1]))


def is_defined_twice(message: Any) -> None:
    operations = block(message).operations
    weight = of_kind(message, "constexpr_affine_dequantize")
    operations.insert(0, weight)


def stands_behind(message: Any) -> None:
    operations = block(message).operations
    weight = of_kind(message, "constexpr_affine_dequantize")
    operations.append(weight)
    operations.remove(weight)


def is_cast_to_integers(message: Any) -> None:
    cast = of_kind(message, "cast")
    word = next(
        each for each in block(message).operations if each.outputs[0].name == cast.inputs["dtype"].arguments[0].name
    )
    word.attributes["val"].immediateValue.tensor.strings.values[0] = "int32"
    cast.outputs[0].type.tensorType.dataType = tools.proto.MIL_pb2.DataType.INT32


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (says_more("conv", "half_pixel_centers"), "a conv says 'half_pixel_centers'"),
        (says_more("quantize", "axis"), "a quantize says 'axis'"),
        (says_more("dequantize", "zero_point"), "a dequantize says 'zero_point'"),
        (has_an_attribute, "says 'strides'"),
        (has_an_argument_in_a_constant, "says 'val'"),
        (is_defined_twice, "is defined twice"),
        (stands_behind, "which stands behind it"),
        (is_cast_to_integers, "makes int32 of"),
    ],
)
def test_what_no_program_of_ours_says_is_refused_though_all_else_is_right(
    change: Callable[[Any], None], said: str, damaged: Artifact
) -> None:
    message = model(damaged)
    change(message)
    keep(damaged, message)
    assert said in refusal(damaged)


def with_blob(artifact: Artifact, **changes: Any) -> int:
    """Change where the specification says its blob lies; its true offset."""
    message = model(artifact)
    for operation in block(message).operations:
        for value in operation.attributes.values():
            if value.WhichOneof("value") == "blobFileValue":
                offset = int(value.blobFileValue.offset)
                for name, change in changes.items():
                    setattr(value.blobFileValue, name, change)
    keep(artifact, message)
    return offset


@pytest.mark.parametrize("offset", [1 << 20, (1 << 62) + 64, (1 << 64) - 1])
def test_a_blob_beyond_the_end_is_refused_with_its_offset(offset: int, damaged: Artifact) -> None:
    with_blob(damaged, offset=offset)
    said = f"{WEIGHTS}: truncated, it ends before the blob at offset {offset}; copy or export the package again"
    assert refusal(damaged) == said


@pytest.mark.parametrize(
    "name", ["@model_path/../../../../model.mlmodel", "/dev/stdin", "weights/../weights/weight.bin", "a\nb", "a\0b"]
)
def test_weights_outside_the_package_are_refused(name: str, damaged: Artifact) -> None:
    with_blob(damaged, fileName=name)
    named = name.removeprefix("@model_path/")
    assert refusal(damaged).startswith(f"{MODEL}: names {named!r}, which is no part of the package")


def test_a_pipe_in_the_place_of_a_file_is_not_waited_for(damaged: Artifact) -> None:
    (damaged.path / WEIGHTS).unlink()
    os.mkfifo(damaged.path / WEIGHTS)
    assert refusal(damaged) == f"{WEIGHTS}: no such file; copy or export the package again"


@pytest.mark.parametrize(
    ("place", "value", "said"),
    [
        (0, 0, "no blob begins at offset 64"),
        (4, 2, "the blob at offset 64 holds 15 bytes of float32, but the specification says 15 bytes of int8"),
        (4, 99, "the blob at offset 64 holds 15 bytes of unknown, but the specification says 15 bytes of int8"),
        (8, 14, "the blob at offset 64 holds 14 bytes of int8, but the specification says 15 bytes of int8"),
        (8, 16, "the blob at offset 64 ends at 144, the file at 143"),
        (16, 200, "the blob at offset 64 ends at 215, the file at 143"),
    ],
    ids=["mark", "type", "unknown", "less", "more", "beyond"],
)
def test_a_blob_that_is_not_what_the_specification_says_is_refused(
    place: int, value: int, said: str, damaged: Artifact
) -> None:
    path = damaged.path / WEIGHTS
    content = bytearray(path.read_bytes())
    # The 15 weights of the gate (metadata_graphs): behind a header of 64 bytes, and another of the blob's own.
    assert (with_blob(damaged), len(content)) == (64, 64 + 64 + 15)
    content[64 + place] = value
    path.write_bytes(content)
    assert refusal(damaged) == f"{WEIGHTS}: {said}; copy or export the package again"


def test_another_layout_of_the_weights_is_refused(damaged: Artifact) -> None:
    path = damaged.path / WEIGHTS
    content = path.read_bytes()
    path.write_bytes(content[:4] + b"\3" + content[5:])
    assert refusal(damaged).startswith(f"{WEIGHTS}: the header at offset 0 says version 3, not 2")


# --- another's ---


def newer(opset: str, specification: int) -> Callable[[Any], None]:
    def change(message: Any) -> None:
        function = message.mlProgram.functions["main"]
        function.block_specializations[opset].CopyFrom(function.block_specializations[function.opset])
        function.opset = opset
        message.specificationVersion = specification

    return change


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (newer("CoreML8", 9), "its operators are those of 'CoreML8' in specification 9, this edgeskin reads"),
        (newer("CoreML9", 10), "its operators are those of 'CoreML9' in specification 10, this edgeskin reads"),
        (newer("", 8), "its operators are those of '' in specification 8, this edgeskin reads"),
        (
            lambda message: message.mlProgram.functions["main"].block_specializations.clear(),
            "holds no code for CoreML7",
        ),
        (lambda message: message.mlProgram.functions.clear(), "its functions are [], not main alone"),
        (
            lambda message: message.mlProgram.functions["other"].SetInParent(),
            "its functions are ['main', 'other'], not main alone",
        ),
        (lambda message: message.neuralNetwork.layers.add(name="a"), "is a neuralNetwork, not an ML program"),
        (lambda message: message.Clear(), "no Core ML model, or empty, in its 0 bytes"),
    ],
    ids=["iOS 18", "iOS 26", "none", "no code", "no function", "two functions", "layers", "empty"],
)
def test_what_is_no_program_of_ios_17_is_refused(change: Callable[[Any], None], said: str, damaged: Artifact) -> None:
    message = model(damaged)
    change(message)
    keep(damaged, message)
    assert refusal(damaged).startswith(f"{MODEL}: {said}")


def test_a_package_of_another_converter_is_refused_and_shown_where_to_look(tmp_path: Path) -> None:
    from coremltools.converters.mil import Builder

    @Builder.program(input_specs=[Builder.TensorSpec(shape=(1, 3))], opset_version=tools.target.iOS17)
    def program(x: Any) -> Any:
        return Builder.relu(x=x)

    with unswept():
        made = tools.convert(program, convert_to="mlprogram", minimum_deployment_target=tools.target.iOS17)
    path = tmp_path / "theirs.mlpackage"
    made.save(str(path))
    theirs = Artifact(path, "coreml", "fp32", "")
    assert refusal(theirs) == ": was not written by edgeskin; `edgeskin inspect` shows what is in it"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "its edgeskin note is damaged"),
        ("[]", "its edgeskin note is damaged"),
        ('{"format": 2}', "its note is of format 2, this edgeskin reads format 1"),
        ('{"format": 1}', "its edgeskin note is damaged"),
        ("[" * 100_000, "its edgeskin note is damaged"),
    ],
    ids=["empty", "list", "newer", "bare", "deep"],
)
def test_a_note_that_is_none_is_refused(content: str, said: str, damaged: Artifact) -> None:
    message = model(damaged)
    message.description.metadata.userDefined["edgeskin.note"] = content
    keep(damaged, message)
    assert refusal(damaged).startswith(f": {said}")


def test_a_note_of_another_network_is_refused(damaged: Artifact) -> None:
    message = model(damaged)
    notes = message.description.metadata.userDefined
    written = json.loads(notes["edgeskin.note"])
    for change in ({"nodes": {}}, {"compute": "float32"}, {"nodes": {"mask": "all of it"}}):
        notes["edgeskin.note"] = json.dumps(written | change)
        keep(damaged, message)
        assert refusal(damaged).startswith(": ")


@pytest.mark.parametrize("other", [{"precision": "w8a16"}, {"graph_sha256": "0" * 64}])
def test_a_package_in_the_place_of_another_is_refused(other: dict[str, Any], damaged: Artifact) -> None:
    assert "take a fresh copy of the bundle" in refusal(replace(damaged, **other))
