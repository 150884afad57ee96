"""What is told of a file of each format: ours, foreign ones, and files that are none."""

import json
import shutil
import struct
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgeskin import optional
from edgeskin.errors import GraphError, MissingDependencyError
from edgeskin.graph.folder import Graph
from edgeskin.targets.inspection import Inspection, Row, inspect, matrix_product, stored_bytes
from edgeskin.targets.tflite import TfliteTarget
from edgeskin.targets.tflite.parse import parse

tflite = pytest.importorskip("tflite", reason=str(optional.missing("tflite")))
flatbuffers = pytest.importorskip("flatbuffers", reason=str(optional.missing("flatbuffers")))

NO_COREML = optional.missing("coremltools")
needs_coreml = pytest.mark.skipif(NO_COREML is not None, reason=str(NO_COREML))

BY_HAND: Mapping[str, int] = {
    "encoder.stem": 16 * 16 * 8 * (3 * 3 * 3),
    "encoder.deep": 16 * 16 * 8 * (3 * 3),
    "encoder.squeeze": 4 * 8,
    "encoder.excite": 8 * 4,
    "decoder.lateral": 32 * 32 * 8 * 3,
    "heads.mask.logits": 32 * 32 * 1 * 16,
    "heads.diagnosis.logits": 3 * 8,
    "heads.melanoma.logits": 1 * 8,
}
"""Of `graph`: values of the output, times the products that each sums."""


@pytest.fixture(scope="module")
def tflite_file(graph: Graph, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return TfliteTarget().build(graph, "int8", tmp_path_factory.mktemp("tflite")).path


def counted(found: Inspection) -> dict[str, int]:
    return {row.name: row.multiply_adds for row in found.operators if row.multiply_adds}


def named(found: Inspection, name: str) -> Row:
    rows = [row for row in found.operators if row.name == name]
    return next((row for row in rows if row.multiply_adds), rows[0])


# --- one network in both formats ---


def test_both_formats_of_a_network_cost_what_was_counted_by_hand(graph: Graph, tflite_file: Path) -> None:
    for path in (graph.int8, graph.fp32, tflite_file):
        found = inspect(path)
        assert counted(found) == BY_HAND, path.name
        assert found.totals.multiply_adds == sum(BY_HAND.values())
        assert found.totals.uncounted == 0
        assert found.file_bytes == path.stat().st_size


def test_integers_are_told_from_floats(graph: Graph, tflite_file: Path) -> None:
    assert inspect(graph.int8).totals.integer_share == 1
    assert inspect(tflite_file).totals.integer_share == 1
    assert inspect(graph.fp32).totals.integer_share == 0


def test_weights_are_counted_in_bytes_alike(graph: Graph, tflite_file: Path) -> None:
    ours, theirs = inspect(graph.int8), inspect(tflite_file)
    folded = "heads.mask.logits"  # eight pixels at once: eight copies on the diagonal of a matrix, and of the bias
    for name in BY_HAND.keys() - {folded}:
        assert named(ours, name).weight_bytes == named(theirs, name).weight_bytes
    assert named(theirs, folded).weight_bytes == 8 * 8 * 16 + 4 * 8
    assert any("convolutions that take several pixels at once: 1;" in note for note in theirs.notes)
    # One byte a weight, four a bias.
    assert named(ours, "encoder.stem").weight_bytes == 8 * 3 * 3 * 3 + 4 * 8
    assert named(inspect(graph.fp32), "encoder.stem").weight_bytes == 4 * (8 * 3 * 3 * 3 + 8)


def test_scales_stand_on_what_they_quantize_and_pairs_are_no_rows(graph: Graph, tflite_file: Path) -> None:
    found = inspect(graph.int8)
    assert not {"QuantizeLinear", "DequantizeLinear"} & set(found.totals.kinds)
    assert any("QuantizeLinear" in note and "shown as the types and scales" in note for note in found.notes)
    excite = named(found, "encoder.excite")
    # raw_graphs.small says 0.0234375.
    assert (excite.type, excite.scale, excite.zero_point) == ("int8", 0.0234375, 0)
    same = named(inspect(tflite_file), "encoder.excite")
    assert (same.type, same.scale, same.zero_point) == ("int8", 0.0234375, 0)
    assert (excite.shape, same.shape) == ((1, 8, 1, 1), (1, 1, 1, 8))


def test_a_symbolic_batch_is_shown_at_the_ends_and_counted_as_one(graph: Graph) -> None:
    found = inspect(graph.int8)
    (image,) = found.inputs
    assert (image.name, image.type, image.shape) == ("image", "uint8", ("N", 3, 32, 32))
    assert [value.name for value in found.outputs] == ["mask", "diagnosis", "melanoma"]
    assert any(note.startswith("N is not fixed") for note in found.notes)


def test_all_of_it_is_json(graph: Graph, tflite_file: Path) -> None:
    for path in (graph.int8, tflite_file):
        facts = json.loads(json.dumps(inspect(path).facts()))
        assert len(facts["operators"]) == facts["totals"]["operators"]


# --- foreign ONNX ---


def save(
    path: Path,
    nodes: list[onnx.NodeProto],
    stored: Mapping[str, np.ndarray],
    image: list[int | str],
    output: str,
    **given: object,
) -> Path:
    model = helper.make_model(
        helper.make_graph(
            nodes,
            "foreign",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, image)],
            [helper.make_empty_tensor_value_info(output)],
            [numpy_helper.from_array(value, name) for name, value in stored.items()],
        ),
        opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid("com.example", 1)],
        **given,
    )
    onnx.save(model, path)
    return path


def weights(*shape: int) -> np.ndarray:
    return np.ones(shape, np.float32)


def test_grouped_and_transposed_convolutions_and_matrices_of_any_rank(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Conv", ["x", "grouped"], ["a"], name="grouped", group=2, pads=[1, 1, 1, 1]),
        helper.make_node("ConvTranspose", ["a", "up"], ["b"], name="up", group=4, strides=[2, 2]),
        helper.make_node("Flatten", ["b"], ["c"], name="flat"),
        helper.make_node("Gemm", ["c", "gemm"], ["d"], name="gemm", transB=1),
        helper.make_node("Reshape", ["d", "sizes"], ["e"], name="rows"),
        helper.make_node("MatMul", ["e", "matrix"], ["y"], name="matrix"),
    ]
    stored = {
        "grouped": weights(8, 2, 3, 3),
        "up": weights(8, 3, 2, 2),
        "gemm": weights(12, 12 * 10 * 14),
        "sizes": np.array([1, 2, 3, 2], np.int64),
        "matrix": weights(2, 7),
    }
    found = inspect(save(tmp_path / "a.onnx", nodes, stored, [1, 4, 5, 7], "y"))
    assert counted(found) == {
        "grouped": 5 * 7 * 8 * (3 * 3 * 2),
        "up": 5 * 7 * 8 * (2 * 2 * 3),
        "gemm": 12 * (12 * 10 * 14),
        "matrix": (2 * 3) * 7 * 2,
    }
    assert named(found, "matrix").shape == (1, 2, 3, 7)


def test_torch_counts_the_same() -> None:
    """models/count.py, which runs a network and counts what its layers see, is the judge."""
    torch = pytest.importorskip("torch", reason=str(optional.missing("torch")))
    pytest.importorskip("onnxscript", reason=str(optional.missing("onnxscript")))
    from edgeskin.models.count import count

    network = torch.nn.Sequential(
        torch.nn.Conv2d(4, 8, 3, stride=2, padding=1, groups=2),
        torch.nn.ConvTranspose2d(8, 6, 3, stride=2, groups=2),
        torch.nn.Flatten(),
        torch.nn.Linear(6 * 17 * 17, 5),
    ).eval()
    example = torch.zeros(1, 4, 16, 16)
    judged = [part.multiply_adds for part in count(network, example) if part.multiply_adds]
    exported = torch.onnx.export(network, (example,), dynamo=True, verbose=False)
    assert judged == list(_of_model(exported.model_proto).values())


def _of_model(model: onnx.ModelProto) -> dict[str, int]:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        onnx.save(model, path)
        return counted(inspect(path))


def test_an_operator_of_another_domain_is_shown_and_said_to_be_unknown(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], name="known"),
        helper.make_node("Unheard", ["a", "table"], ["b"], name="mystery", domain="com.example"),
        helper.make_node("Conv", ["b", "w"], ["y"], name="behind"),
    ]
    stored = {"w": weights(3, 3, 1, 1), "table": weights(256)}
    found = inspect(save(tmp_path / "a.onnx", nodes, stored, ["batch", 3, 4, 4], "y"))
    mystery = named(found, "mystery")
    assert (mystery.kind, mystery.multiply_adds, mystery.weight_bytes) == ("com.example.Unheard", None, 1024)
    assert named(found, "known").multiply_adds == 4 * 4 * 3 * 3
    assert named(found, "behind").multiply_adds is None
    assert (found.totals.uncounted, found.totals.multiply_adds) == (2, 144)
    assert any("1 com.example.Unheard" in note and "domain" in note for note in found.notes)
    assert any("1 Conv are not known: its shapes" in note for note in found.notes)
    assert any(note.startswith("batch is not fixed") for note in found.notes)


def test_sizes_that_only_a_caller_knows_are_words(tmp_path: Path) -> None:
    nodes = [helper.make_node("Conv", ["x", "w"], ["y"], name="conv", pads=[1, 1, 1, 1])]
    found = inspect(save(tmp_path / "a.onnx", nodes, {"w": weights(3, 3, 3, 3)}, ["N", 3, "height", "width"], "y"))
    assert found.inputs[0].shape == ("N", 3, "height", "width")
    row = named(found, "conv")
    assert row.multiply_adds is None
    assert row.shape is not None
    assert row.shape[:2] == (1, 3)
    assert found.totals.integer_share is None


def test_what_holds_a_graph_or_has_no_rule_is_not_counted_as_nothing(tmp_path: Path) -> None:
    branch = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["z"])], "b", [], [helper.make_empty_tensor_value_info("z")]
    )
    nodes = [
        helper.make_node("If", ["choice"], ["a"], name="if", then_branch=branch, else_branch=branch),
        helper.make_node("Einsum", ["a", "a"], ["y"], name="einsum", equation="ij,ij->ij"),
    ]
    found = inspect(save(tmp_path / "a.onnx", nodes, {"choice": np.array(True)}, [2, 2], "y"))
    assert found.totals.uncounted == 2
    assert {"1 If", "1 Einsum"} <= {note.split(" of ")[1].split(" are ")[0] for note in found.notes}


def test_functions_of_a_file_are_shown_as_what_they_do(tmp_path: Path) -> None:
    inside = [helper.make_node("MatMul", ["p", "q"], ["r"]), helper.make_node("Relu", ["r"], ["s"])]
    opset = helper.make_opsetid("", 17)
    function = helper.make_function("com.example", "Dense", ["p", "q"], ["s"], inside, [opset])
    nodes = [helper.make_node("Dense", ["x", "w"], ["y"], domain="com.example")]
    found = inspect(save(tmp_path / "a.onnx", nodes, {"w": weights(4, 5)}, [2, 4], "y", functions=[function]))
    assert (found.totals.kinds, found.totals.multiply_adds) == ({"MatMul": 1, "Relu": 1}, 2 * 5 * 4)
    assert any("com.example.Dense" in note for note in found.notes)


def test_integer_operators_and_a_change_of_scale(tmp_path: Path) -> None:
    byte = np.uint8(128)
    stored = {"s": np.float32(0.5), "t": np.float32(0.25), "z": byte, "w": np.ones((2, 3, 1, 1), np.int8)}
    stored |= {"ws": np.float32(0.125), "wz": np.int8(0)}
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["xq"], name="entry"),
        helper.make_node("QLinearConv", ["xq", "s", "z", "w", "ws", "wz", "t", "z"], ["a"], name="conv"),
        helper.make_node("DequantizeLinear", ["a", "t", "z"], ["b"], name="floats"),
        helper.make_node("QuantizeLinear", ["b", "s", "z"], ["c"], name="rescale"),
        helper.make_node("DequantizeLinear", ["c", "s", "z"], ["y"], name="end"),
    ]
    found = inspect(save(tmp_path / "a.onnx", nodes, stored, [1, 3, 4, 4], "y"))
    assert [row.name for row in found.operators] == ["entry", "conv", "rescale", "end"]
    conv = named(found, "conv")
    assert (conv.type, conv.scale, conv.zero_point) == ("uint8", 0.25, 128)
    assert (conv.multiply_adds, conv.on_integers) == (4 * 4 * 2 * 3, True)
    assert named(found, "rescale").scale == 0.5


def test_integer_weights_alone_are_not_called_integer_arithmetic(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("DequantizeLinear", ["w", "s"], ["wf"]),
        helper.make_node("MatMul", ["x", "wf"], ["y"], name="matrix"),
    ]
    found = inspect(save(tmp_path / "a.onnx", nodes, {"w": np.ones((4, 4), np.int8), "s": np.float32(1)}, [1, 4], "y"))
    assert named(found, "matrix").on_integers is False
    assert named(found, "matrix").weight_bytes == 16
    assert any("multiply floats by integers: 1" in note for note in found.notes)


def test_a_weight_that_two_read_counts_once(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"], name="first"),
        helper.make_node("MatMul", ["a", "w"], ["y"], name="second"),
    ]
    found = inspect(save(tmp_path / "a.onnx", nodes, {"w": weights(4, 4)}, [1, 4], "y"))
    assert (named(found, "first").weight_bytes, named(found, "second").weight_bytes) == (64, 0)
    assert found.totals.weight_bytes == 64


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda path: None, "is not part of the file's size"),
        (lambda path: path.unlink(), "which is not there"),
        (lambda path: path.write_bytes(path.read_bytes()[:-1]), "is cut off"),
    ],
    ids=["whole", "absent", "truncated"],
)
def test_external_data_is_told_of_and_not_read(change: Callable[[Path], object], said: str, tmp_path: Path) -> None:
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"], name="matrix")]
    path = save(tmp_path / "a.onnx", nodes, {"w": weights(64, 64)}, [1, 64], "y")
    onnx.save(onnx.load(path), path, save_as_external_data=True, location="a.data", size_threshold=0)
    change(tmp_path / "a.data")
    found = inspect(path)
    assert named(found, "matrix").weight_bytes == 4 * 64 * 64
    assert named(found, "matrix").multiply_adds == 64 * 64
    assert any("external data" in note and said in note for note in found.notes)


def test_every_model_that_onnx_itself_is_tested_on_is_shown() -> None:
    models = sorted((Path(onnx.__file__).parent / "backend/test/data").rglob("*.onnx"))
    assert len(models) > 100
    for path in models:
        assert inspect(path).format == "ONNX"


# --- foreign TensorFlow Lite ---


def table(builder: "flatbuffers.Builder", name: str, **fields: int) -> int:
    getattr(tflite, f"{name}Start")(builder)
    for field, value in fields.items():
        getattr(tflite, f"{name}Add{field}")(builder, value)
    return int(getattr(tflite, f"{name}End")(builder))


def vector(builder: "flatbuffers.Builder", offsets: list[int]) -> int:
    builder.StartVector(4, len(offsets), 4)
    for offset in reversed(offsets):
        builder.PrependUOffsetTRelative(offset)
    return int(builder.EndVector())


def foreign(path: Path, *, subgraphs: int = 1, points: tuple[int, ...] = (0,), named: bool = True) -> Path:
    """x [?, 4, 4, 3] -> CONV_2D to 8 channels -> GELU -> a custom operator -> y. No signature, no note."""
    builder = flatbuffers.Builder(1024)

    def numbers(values: object, kind: type) -> int:
        return int(builder.CreateNumpyVector(np.asarray(values, kind)))

    def tensor(name: str, shape: tuple[int, ...], kind: int, buffer: int, **fields: int) -> int:
        fields |= {"Name": builder.CreateString(name)} if named else {}
        return table(builder, "Tensor", Shape=numbers(shape, np.int32), Type=kind, Buffer=buffer, **fields)

    types, operators = tflite.TensorType, tflite.BuiltinOperator
    signature = numbers((-1, 4, 4, 3), np.int32)
    several = table(
        builder,
        "QuantizationParameters",
        Scale=numbers(np.full(len(points), 0.5), np.float32),
        ZeroPoint=numbers(points, np.int64),
        QuantizedDimension=0,
    )
    tensors = [
        tensor("x", (1, 4, 4, 3), types.FLOAT32, 0, ShapeSignature=signature),
        tensor("w", (8, 1, 1, 3), types.INT8, 1, Quantization=several),
        tensor("a", (1, 4, 4, 8), types.FLOAT32, 0),
        tensor("b", (1, 4, 4, 8), types.FLOAT32, 0),
        tensor("y", (1, 4, 4, 8), types.FLOAT32, 0),
    ]
    codes = [
        table(builder, "OperatorCode", DeprecatedBuiltinCode=operators.CONV_2D, BuiltinCode=operators.CONV_2D),
        table(builder, "OperatorCode", DeprecatedBuiltinCode=127, BuiltinCode=operators.GELU),
        table(
            builder,
            "OperatorCode",
            DeprecatedBuiltinCode=operators.CUSTOM,
            BuiltinCode=operators.CUSTOM,
            CustomCode=builder.CreateString("Unheard"),
        ),
    ]
    steps = [
        table(builder, "Operator", OpcodeIndex=code, Inputs=numbers(reads, np.int32), Outputs=numbers(writes, np.int32))
        for code, reads, writes in ((0, (0, 1, -1), (2,)), (1, (2,), (3,)), (2, (3,), (4,)))
    ]
    graph = table(
        builder,
        "SubGraph",
        Tensors=vector(builder, tensors),
        Inputs=numbers((0,), np.int32),
        Outputs=numbers((4,), np.int32),
        Operators=vector(builder, steps),
    )
    buffers = [
        table(builder, "Buffer"),
        table(builder, "Buffer", Data=int(builder.CreateByteVector(bytes(range(24))))),
    ]
    model = table(
        builder,
        "Model",
        Version=3,
        OperatorCodes=vector(builder, codes),
        Subgraphs=vector(builder, [graph] * subgraphs),
        Buffers=vector(builder, buffers),
    )
    builder.Finish(model, b"TFL3")
    path.write_bytes(bytes(builder.Output()))
    return path


def test_a_foreign_program_is_shown_with_operators_that_edgeskin_cannot_read(tmp_path: Path) -> None:
    found = inspect(foreign(tmp_path / "a.tflite"))
    assert [(row.kind, row.multiply_adds) for row in found.operators] == [
        ("CONV_2D", 4 * 4 * 8 * 3),
        ("GELU", 0),
        ("Unheard", None),
    ]
    assert found.inputs[0].shape == ("?", 4, 4, 3)
    assert found.operators[0].weight_bytes == 24
    assert found.operators[0].on_integers is False
    assert any("1 Unheard" in note for note in found.notes)
    assert any("sizes that a caller may choose" in note for note in found.notes)
    assert any("multiply floats by integers: 1" in note for note in found.notes)


def test_several_subgraphs_and_zero_points_are_told_of_here_and_refused_by_our_reader(tmp_path: Path) -> None:
    two = foreign(tmp_path / "two.tflite", subgraphs=2)
    found = inspect(two)
    assert len(found.operators) == 3
    assert any("holds 2 subgraphs" in note for note in found.notes)
    assert "only the first subgraph is listed" in found.notes
    with pytest.raises(GraphError, match=r"two\.tflite: holds 2 subgraphs; networks of one are read"):
        parse(two)
    points = foreign(tmp_path / "points.tflite", points=(0, 1, 2))
    assert any("w: has 3 different zero points" in note for note in inspect(points).notes)
    with pytest.raises(GraphError, match=r"points\.tflite: w: has 3 different zero points"):
        parse(points)


def test_a_program_without_names_is_shown(tmp_path: Path) -> None:
    assert [row.kind for row in inspect(foreign(tmp_path / "a.tflite", named=False)).operators][1] == "GELU"


# --- Core ML ---


def package(path: Path, model: bytes, blob: bytes = b"") -> Path:
    place = path / "Data/com.apple.CoreML"
    (place / "weights").mkdir(parents=True)
    (place / "model.mlmodel").write_bytes(model)
    (place / "weights/weight.bin").write_bytes(blob)
    entries = {"1": {"path": "com.apple.CoreML/model.mlmodel", "name": "model.mlmodel"}}
    manifest = {"fileFormatVersion": "1.0.0", "itemInfoEntries": entries, "rootModelIdentifier": "1"}
    (path / "Manifest.json").write_text(json.dumps(manifest))
    return path


WEIGHTS = bytes(8 * 3 * 3 * 3)
BLOB = (
    struct.pack("<II", 1, 2).ljust(64, b"\0")
    + struct.pack("<IIQQ", 0xDEADBEEF, 4, len(WEIGHTS), 128).ljust(64, b"\0")
    + WEIGHTS
)


def program() -> bytes:
    """quantize -> dequantize -> conv with int8 weights -> relu, and an operator that nobody knows."""
    from coremltools.proto import MIL_pb2 as mil
    from coremltools.proto import Model_pb2

    def typed(kind: int, *shape: int) -> object:
        sizes = [mil.Dimension(constant=mil.Dimension.ConstantDimension(size=size)) for size in shape]
        return mil.ValueType(tensorType=mil.TensorType(dataType=kind, rank=len(shape), dimensions=sizes))

    def operation(kind: str, output: str, form: object, **names: str) -> object:
        made = mil.Operation(type=kind, outputs=[mil.NamedValueType(name=output, type=form)])
        for key, name in names.items():
            made.inputs[key].arguments.add(name=name)
        return made

    image, map_ = typed(mil.FLOAT32, 1, 3, 32, 32), typed(mil.FLOAT32, 1, 8, 16, 16)
    scale = operation("const", "scale", typed(mil.FLOAT32))
    scale.attributes["val"].type.CopyFrom(typed(mil.FLOAT32))
    scale.attributes["val"].immediateValue.tensor.floats.values.append(0.0078125)
    kept = operation("constexpr_affine_dequantize", "w", typed(mil.FLOAT32, 8, 3, 3, 3))
    kept.attributes["quantized_data"].type.CopyFrom(typed(mil.INT8, 8, 3, 3, 3))
    kept.attributes["quantized_data"].blobFileValue.fileName = "@model_path/weights/weight.bin"
    kept.attributes["quantized_data"].blobFileValue.offset = 64
    operations = [
        scale,
        operation("quantize", "xq", typed(mil.INT8, 1, 3, 32, 32), input="image", scale="scale"),
        operation("dequantize", "xf", image, input="xq", scale="scale"),
        kept,
        operation("conv", "stem", map_, x="xf", weight="w"),
        operation("relu", "clipped", map_, x="stem"),
        operation("unheard", "y", map_, x="clipped"),
    ]
    model = Model_pb2.Model(specificationVersion=8)
    model.description.input.add(name="image").type.multiArrayType.shape.extend([1, 3, 32, 32])
    model.description.output.add(name="y").type.multiArrayType.SetInParent()
    function = model.mlProgram.functions["main"]
    function.inputs.append(mil.NamedValueType(name="image", type=image))
    function.opset = "CoreML7"
    function.block_specializations["CoreML7"].operations.extend(operations)
    function.block_specializations["CoreML7"].outputs.append("y")
    return bytes(model.SerializeToString())


@needs_coreml
def test_a_core_ml_program_is_shown(tmp_path: Path) -> None:
    found = inspect(package(tmp_path / "a.mlpackage", program(), BLOB))
    assert found.format == "Core ML mlProgram, specification 8"
    assert [row.kind for row in found.operators] == ["quantize", "conv", "relu", "unheard"]
    stem = named(found, "stem")
    assert (stem.multiply_adds, stem.on_integers) == (16 * 16 * 8 * 3 * 3 * 3, True)
    assert stem.weight_bytes == len(WEIGHTS)
    assert named(found, "xq").scale == 0.0078125
    assert [(value.name, value.shape) for value in found.outputs] == [("y", (1, 8, 16, 16))]
    assert found.totals.uncounted == 1
    assert any("1 unheard" in note for note in found.notes)


@needs_coreml
def test_a_core_ml_package_that_is_cut_off_is_refused_by_name(tmp_path: Path) -> None:
    model = program()
    for length in range(0, len(model), 37):
        with pytest.raises(GraphError, match="copy or export the package again"):
            inspect(package(tmp_path / f"{length}.mlpackage", model[:length], BLOB))
    for length in (0, 64, 80, len(BLOB) - 1):
        with pytest.raises(GraphError, match=r"weight\.bin: .* at offset 64.*; copy or export the package again"):
            inspect(package(tmp_path / f"blob{length}.mlpackage", model, BLOB[:length]))


def test_without_coremltools_it_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(optional, "available", lambda module: "coremltools" not in module)
    with pytest.raises(MissingDependencyError, match=r"coremltools.* is not installed.*edgeskin\[coreml\]"):
        inspect(package(tmp_path / "a.mlpackage", b""))


# --- what is none of these ---


@pytest.mark.parametrize("suffix", ["tflite", "onnx"])
def test_a_file_that_is_cut_off_anywhere_is_refused_or_shown(
    suffix: str, graph: Graph, tflite_file: Path, tmp_path: Path
) -> None:
    whole = (tflite_file if suffix == "tflite" else graph.int8).read_bytes()
    path = tmp_path / f"cut.{suffix}"
    lengths = [*range(1, 200, 3), *range(200, len(whole), len(whole) // 150)]
    refused = 0
    for length in lengths:
        path.write_bytes(whole[:length])
        try:
            inspect(path)
        except GraphError as error:
            refused += 1
            assert str(error).startswith(f"{path}: ")
            assert "copy or export it again" in str(error)
    # Each format ends with what is not the network: metadata.
    assert refused > 0.8 * len(lengths)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.onnx", b"", "is empty"),
        ("a.tflite", b"", "is empty"),
        ("a.onnx", b"just words\n", "not an ONNX file"),
        ("a.tflite", b"just words\n", "not a TensorFlow Lite file"),
        ("a.txt", b"just words\n", "neither a .tflite, an .onnx nor an .mlpackage"),
        ("a.mlpackage", b"just words\n", "a .mlpackage is a folder"),
    ],
)
def test_what_is_no_network_is_refused(name: str, content: bytes, said: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(GraphError) as caught:
        inspect(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert said in str(caught.value)


def test_an_absent_file_and_a_folder_that_is_no_package_are_refused(tmp_path: Path) -> None:
    with pytest.raises(GraphError, match="no such file"):
        inspect(tmp_path / "absent.onnx")
    with pytest.raises(GraphError, match=r"a folder, and no \.mlpackage"):
        inspect(tmp_path)


@needs_coreml
def test_a_package_without_its_manifest_or_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.mlpackage").mkdir()
    with pytest.raises(GraphError, match=r"Manifest\.json: cannot be read"):
        inspect(tmp_path / "empty.mlpackage")
    without = package(tmp_path / "b.mlpackage", b"")
    shutil.rmtree(without / "Data")
    with pytest.raises(GraphError, match=r"model\.mlmodel: no such file"):
        inspect(without)
    (without / "Manifest.json").write_text("[]")
    with pytest.raises(GraphError, match="does not name the model"):
        inspect(without)


def test_content_is_believed_before_the_suffix(graph: Graph, tflite_file: Path, tmp_path: Path) -> None:
    assert inspect(Path(shutil.copy(tflite_file, tmp_path / "a.onnx"))).format == "TensorFlow Lite"
    assert inspect(Path(shutil.copy(graph.int8, tmp_path / "model"))).format == "ONNX"


# --- counting ---


def test_bytes_by_the_name_of_a_type() -> None:
    assert [stored_bytes(kind, (3, 3)) for kind in ("float32", "bfloat16", "int8", "int4", "bool")] == [36, 18, 9, 5, 9]
    assert stored_bytes("string", (3,)) == 0
    assert stored_bytes("float8e4m3fn", (3,)) == 3
    assert stored_bytes("float32", ()) == 4


def test_products_of_matrices_either_way_round() -> None:
    assert matrix_product((5, 7), (7, 3), (5, 3)) == 105
    assert matrix_product((7, 5), (3, 7), (5, 3)) == 105
    assert matrix_product((2, 5, 7), (2, 7, 3), (2, 5, 3)) == 210
    assert matrix_product((7,), (7, 3), (3,)) == 21
    assert matrix_product((5, 7), (7,), (5,)) == 35
    assert matrix_product((5, "k"), ("k", 3), (5, 3)) is None
    assert matrix_product((0, 7), (7, 3), (0, 3)) == 0
