"""The TFLite target: built, read back, described for tools, run, and asked where it ran."""

import errno
import importlib.util
import io
import json
import zipfile
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import metadata_graphs
import numpy as np
import pytest

from edgeskin.errors import ContractError, GraphError, TargetError
from edgeskin.graph.folder import Graph
from edgeskin.graph.ir import Quantization
from edgeskin.graph.read import read
from edgeskin.graph.rewrite import WEIGHTED, halve_weights
from edgeskin.graph.write import write_onnx
from edgeskin.targets.base import Artifact
from edgeskin.targets.onnx import reference_session
from edgeskin.targets.tflite import TfliteTarget, metadata, note, session
from edgeskin.targets.tflite.parse import parse
from edgeskin.targets.tflite.serialize import serialize
from edgeskin.targets.tflite.session import TfliteSession

interpreters = pytest.importorskip("ai_edge_litert.interpreter")

TARGET, RAW = TfliteTarget(), TfliteTarget(raw_outputs=True)


def built(graph: Graph, target: TfliteTarget, precision: str, factory: pytest.TempPathFactory) -> Artifact:
    return target.build(graph, precision, factory.mktemp(precision))


@pytest.fixture(scope="module")
def int8(graph: Graph, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return built(graph, TARGET, "int8", tmp_path_factory)


@pytest.fixture(scope="module")
def raw(graph: Graph, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return built(graph, RAW, "int8", tmp_path_factory)


@pytest.fixture(scope="module")
def fp16(graph: Graph, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return built(graph, TARGET, "fp16", tmp_path_factory)


@pytest.fixture(scope="module")
def fp32(graph: Graph, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return built(graph, TARGET, "fp32", tmp_path_factory)


@pytest.fixture
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (3, 3, 32, 32), dtype=np.uint8)


def test_every_precision_reads_back_as_the_network_it_was_built_from(
    graph: Graph, int8: Artifact, raw: Artifact, fp16: Artifact, fp32: Artifact
) -> None:
    assert TARGET.read(int8) == TARGET.read(raw) == read(graph.int8)
    assert TARGET.read(fp32) == read(graph.fp32)
    assert TARGET.read(fp16) == halve_weights(read(graph.fp32)) != read(graph.fp32)
    assert (int8.target, int8.precision, int8.graph_sha256) == ("tflite", "int8", graph.sha256)


@pytest.mark.parametrize("target", [TARGET, RAW], ids=["probabilities", "raw"])
def test_equal_graphs_give_equal_bytes(graph: Graph, target: TfliteTarget, tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    for folder in (first, second):
        folder.mkdir()
        target.build(graph, "int8", folder)
    assert (first / "model.tflite").read_bytes() == (second / "model.tflite").read_bytes()


def test_the_file_knows_its_graph(graph: Graph, int8: Artifact) -> None:
    program = parse(int8.path)
    written = note.of(program, int8.path)
    assert (written.graph_sha256, written.precision) == (graph.sha256, "int8")
    assert set(written.owners) == {node.name for node in read(graph.int8).nodes}


def test_every_weight_of_a_float_network_and_nothing_else_is_stored_as_float16(graph: Graph, fp16: Artifact) -> None:
    network = read(graph.fp32)
    weights = {node.inputs[1] for node in network.nodes if isinstance(node.operator, WEIGHTED)}
    narrow = {value.name.removesuffix(":float16") for value in parse(fp16.path).tensors if value.kind == "float16"}
    assert narrow == weights
    assert len(weights) == 8


# --- what tools see ---


def test_the_stock_interpreter_finds_raw_pixels_in_and_named_probabilities_out(
    graph: Graph, int8: Artifact, images: np.ndarray
) -> None:
    interpreter = interpreters.Interpreter(model_path=str(int8.path))
    signature = interpreter.get_signature_list()["serving_default"]
    assert signature["inputs"] == ["image"]
    assert set(signature["outputs"]) == {"mask", "diagnosis", "melanoma"}
    interpreter.allocate_tensors()
    entrance = interpreter.get_input_details()[0]
    assert (entrance["name"], entrance["dtype"], entrance["shape"].tolist()) == ("image", np.uint8, [1, 32, 32, 3])
    assert entrance["quantization"] == (1 / 128, 128)
    exits = interpreter.get_output_details()
    # The order of model.json, by which an app that knows no names finds them.
    assert [(each["name"], each["dtype"]) for each in exits] == [
        ("mask", np.float32),
        ("diagnosis", np.float32),
        ("melanoma", np.float32),
    ]
    interpreter.set_tensor(entrance["index"], images[:1].transpose(0, 2, 3, 1))
    interpreter.invoke()
    expected = reference_session(graph.int8).run(images[:1])
    np.testing.assert_allclose(interpreter.get_tensor(exits[1]["index"]), expected["diagnosis"], atol=0.02)
    mask = interpreter.get_tensor(exits[0]["index"])
    assert mask.shape == (1, 32, 32, 1)
    np.testing.assert_allclose(mask.transpose(0, 3, 1, 2), expected["mask"], atol=0.05)


def test_raw_outputs_are_the_integers_of_the_logits(graph: Graph, raw: Artifact, images: np.ndarray) -> None:
    interpreter = interpreters.Interpreter(model_path=str(raw.path))
    answer = interpreter.get_signature_runner()(image=images[:1].transpose(0, 2, 3, 1))
    assert {value.dtype for value in answer.values()} == {np.dtype(np.int8)}
    scale = next(
        each["quantization"][0] for each in interpreter.get_output_details() if each["shape"].tolist() == [1, 1]
    )
    expected = reference_session(graph.int8).run(images[:1])["melanoma"]
    np.testing.assert_allclose(1 / (1 + np.exp(-scale * answer["melanoma"].astype(float))), expected, atol=0.02)


def test_its_files_lie_uncompressed_behind_it(graph: Graph, int8: Artifact) -> None:
    with zipfile.ZipFile(io.BytesIO(int8.path.read_bytes())) as archive:
        assert archive.testzip() is None
        assert {info.compress_type for info in archive.infolist()} == {zipfile.ZIP_STORED}
        assert {info.date_time for info in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        assert json.loads(archive.read("model.json")) == graph.card.model_dump(mode="json")
        assert archive.read("diagnosis.txt").decode().split() == ["melanoma", "nevus", "seborrheic_keratosis"]


def published_schema() -> ModuleType:
    """The classes that another project generated from the published schema; its package wants much that we do not."""
    found = importlib.util.find_spec("mediapipe")
    if found is None or not found.submodule_search_locations:
        pytest.skip("needs the metadata schema that mediapipe brings")
    path = Path(found.submodule_search_locations[0]) / "tasks/metadata/metadata_schema_py_generated.py"
    spec = importlib.util.spec_from_file_location("metadata_schema", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_metadata_says_what_goes_in_and_out_to_a_reader_of_the_published_schema(
    graph: Graph, int8: Artifact
) -> None:
    schema = published_schema()
    content = parse(int8.path).notes[metadata.ENTRY]
    assert schema.ModelMetadata.ModelMetadataBufferHasIdentifier(content, 0)
    model = schema.ModelMetadataT.InitFromObj(schema.ModelMetadata.GetRootAsModelMetadata(content, 0))
    assert (model.name, model.version, model.license) == (b"small", b"1", b"Apache-2.0")
    assert model.description == b"Tests only."
    graph_part = model.subgraphMetadata[0]
    (image,) = graph_part.inputTensorMetadata
    assert image.content.contentPropertiesType == schema.ContentProperties.ImageProperties
    assert image.content.contentProperties.colorSpace == schema.ColorSpaceType.RGB
    assert image.content.contentProperties.defaultSize.height == 32
    (unit,) = image.processUnits
    assert unit.optionsType == schema.ProcessUnitOptions.NormalizationOptions
    assert (unit.options.mean.tolist(), unit.options.std.tolist()) == ([128], [128])
    outputs = graph_part.outputTensorMetadata
    assert [output.name for output in outputs] == [b"mask", b"diagnosis", b"melanoma"]
    assert [output.associatedFiles[0].name for output in outputs] == [b"mask.txt", b"diagnosis.txt", b"melanoma.txt"]
    assert {output.associatedFiles[0].type for output in outputs} == {schema.AssociatedFileType.TENSOR_AXIS_LABELS}
    threshold = outputs[2].processUnits[0]
    assert threshold.optionsType == schema.ProcessUnitOptions.ScoreThresholdingOptions
    assert threshold.options.globalScoreThreshold == graph.card.head("melanoma").threshold


# --- run ---


@pytest.mark.parametrize("plain", [False, True], ids=["XNNPACK", "own kernels"])
@pytest.mark.parametrize("threads", [1, 2])
def test_a_session_answers_as_the_reference_but_for_single_roundings(
    graph: Graph, int8: Artifact, raw: Artifact, images: np.ndarray, plain: bool, threads: int
) -> None:
    reference = reference_session(graph.int8).run(images)
    for artifact in (int8, raw):
        found = TARGET.open(artifact, plain=plain, threads=threads).run(images)
        assert list(found) == ["mask", "diagnosis", "melanoma"]
        for name, values in reference.items():
            assert (found[name].shape, found[name].dtype) == (values.shape, np.float32)
            # A logit moves by single steps of 1/16 or less, a probability by a quarter of that; few of them do.
            assert np.abs(found[name] - values).max() <= 2 / 64
            assert np.abs(found[name] - values).mean() <= 0.3 / 64


def test_a_float_session_answers_as_onnxruntime(
    graph: Graph, fp32: Artifact, fp16: Artifact, images: np.ndarray
) -> None:
    reference = reference_session(graph.fp32).run(images)
    for artifact, tolerance in ((fp32, 1e-5), (fp16, 5e-3)):
        for name, values in TARGET.open(artifact).run(images).items():
            np.testing.assert_allclose(values, reference[name], atol=tolerance)


def test_a_batch_gives_what_its_images_give_alone(int8: Artifact, images: np.ndarray) -> None:
    session = TARGET.open(int8)
    together = session.run(images)
    for index in range(len(images)):
        for name, values in session.run(images[index : index + 1]).items():
            np.testing.assert_array_equal(values[0], together[name][index])


def test_one_delegate_takes_everything_and_what_is_float_is_named(int8: Artifact, fp32: Artifact) -> None:
    placement = TARGET.open(int8).placement()
    total = len(parse(int8.path).operations)
    assert placement.provider == f"ai_edge_litert, XNNPACK for {total} of {total} operators"
    assert placement.convolutions == placement.integer_convolutions == 6
    assert (placement.partitions, placement.undelegated, placement.why_undelegated) == (1, (), None)
    assert placement.float_operators == ("add_1", "resize_1")
    floating = TARGET.open(fp32).placement()
    assert (floating.convolutions, floating.integer_convolutions) == (6, 0)
    assert (floating.partitions, floating.undelegated) == (1, ())


def test_without_xnnpack_nothing_is_delegated_and_all_stays_integer(int8: Artifact) -> None:
    placement = TARGET.open(int8, plain=True).placement()
    total = len(parse(int8.path).operations)
    assert placement.provider == f"ai_edge_litert, XNNPACK for 0 of {total} operators"
    assert (placement.partitions, len(placement.undelegated), placement.integer_convolutions) == (0, total, 6)
    assert placement.why_undelegated == "it was asked for its own kernels"


@pytest.mark.parametrize(
    ("partitions", "words"), [(1, "takes no operator of their kinds and types"), (0, "is absent or")]
)
def test_what_xnnpack_leaves_has_a_reason(
    int8: Artifact, monkeypatch: pytest.MonkeyPatch, partitions: int, words: str
) -> None:
    opened = TARGET.open(int8)
    monkeypatch.setattr(session, "_outside", lambda *_: iter([3]))
    monkeypatch.setattr(session, "_details", lambda _: [{"op_name": session.DELEGATE}] * partitions)
    placement = opened.placement()
    assert len(placement.undelegated) == 1
    assert placement.why_undelegated is not None
    assert placement.why_undelegated.startswith(f"the XNNPACK in ai_edge_litert {words}")


def test_the_interpreter_says_nothing_on_stderr(int8: Artifact, capfd: pytest.CaptureFixture[str]) -> None:
    TARGET.open(int8)
    assert capfd.readouterr().err == ""


def test_a_process_without_stderr_runs_it_too(
    int8: Artifact, images: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stderr", None)
    assert TARGET.open(int8).run(images)

    def closed(_: int) -> int:
        raise OSError(errno.EBADF, "closed")

    monkeypatch.setattr("os.dup", closed)
    assert TARGET.open(int8).run(images)


def test_no_image_is_no_row(int8: Artifact, raw: Artifact) -> None:
    for artifact in (int8, raw):
        found = TARGET.open(artifact).run(np.zeros((0, 3, 32, 32), np.uint8))
        assert {name: value.shape for name, value in found.items()} == {
            "mask": (0, 1, 32, 32),
            "diagnosis": (0, 3),
            "melanoma": (0, 1),
        }


# --- what is refused ---


def test_a_note_of_another_network_is_refused(graph: Graph, raw: Artifact, tmp_path: Path) -> None:
    program = parse(raw.path)
    written = note.of(program, raw.path)
    path = tmp_path / "model.tflite"
    for wrong in (replace(written, tails=()), replace(written, tails=(replace(written.tails[0], kind="tanh"),))):
        path.write_bytes(serialize(replace(program, notes={note.ENTRY: wrong.write()}), "edgeskin"))
        with pytest.raises(GraphError, match=r"model\.tflite: its .*note"):
            TfliteSession(path)


def test_the_old_runtime_is_refused_with_a_numpy_it_cannot_load(monkeypatch: pytest.MonkeyPatch) -> None:
    from edgeskin import optional

    here = optional.available
    monkeypatch.setattr(
        optional, "available", lambda module: module == "tflite_runtime" or ("litert" not in module and here(module))
    )
    monkeypatch.setattr(np, "__version__", "2.3.5")
    assert TARGET.missing() == "tflite_runtime does not work with numpy 2.3.5: pip install 'edgeskin[tflite-runtime]'"
    monkeypatch.setattr(np, "__version__", "1.26.4")
    assert TARGET.missing() is None


def test_a_precision_it_cannot_build_is_refused_with_those_it_can(graph: Graph, tmp_path: Path) -> None:
    with pytest.raises(TargetError, match="tflite cannot build int4; it builds fp16, fp32, int8"):
        TARGET.build(graph, "int4", tmp_path)
    with pytest.raises(TargetError, match="tflite cannot build fp16; it builds int8"):
        RAW.build(graph, "fp16", tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_graph_that_breaks_the_contract_is_not_built(graph: Graph, tmp_path: Path) -> None:
    folder = tmp_path / "graph"
    folder.mkdir()
    network = read(graph.int8)
    tensor = Quantization(np.float32(0.04))
    changed = {
        **network.tensors,
        "mul_1": type(network.tensors["mul_1"])("mul_1", network.tensors["mul_1"].shape, tensor),
    }
    write_onnx(type(network)(network.inputs, network.outputs, network.nodes, changed), folder / "int8.onnx")
    write_onnx(read(graph.fp32), folder / "fp32.onnx")
    graph.card.write(folder / "model.json")
    with pytest.raises(ContractError, match="scales-fp16: mul_1"):
        TARGET.build(Graph.open(folder), "int8", tmp_path)
    assert not (tmp_path / "model.tflite").exists()


def test_an_image_of_another_shape_or_type_is_refused(int8: Artifact, images: np.ndarray) -> None:
    session = TARGET.open(int8)
    with pytest.raises(TargetError, match=r"takes image as uint8 \[N, 3, 32, 32\], not float32 \[3, 3, 32, 32\]"):
        session.run(images.astype(np.float32))
    with pytest.raises(TargetError, match=r"not uint8 \[3, 32, 32, 3\]"):
        session.run(images.transpose(0, 2, 3, 1))


@pytest.mark.parametrize("content", [b"", b"TFL3", b"no model at all, but long enough", b"\x1c\0\0\0TFL3" + bytes(40)])
def test_what_is_no_tflite_file_is_refused_by_name(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "model.tflite"
    path.write_bytes(content)
    with pytest.raises(GraphError, match=r"model\.tflite: "):
        TfliteSession(path)
    with pytest.raises(GraphError, match="no such file"):
        TfliteSession(tmp_path / "absent.tflite")


def test_a_damaged_file_is_an_error_and_never_a_crash(graph: Graph, int8: Artifact, tmp_path: Path) -> None:
    """Truncated anywhere, or with any byte of its tables changed: refused, or another network; never a traceback."""
    whole = int8.path.read_bytes()
    random = np.random.default_rng(0)
    path = tmp_path / "model.tflite"
    damaged = Artifact(path, "tflite", "int8", int8.graph_sha256)
    expected = read(graph.int8)
    refused = 0
    for place in random.integers(8, len(whole), 150).tolist():
        for content in (whole[:place], whole[:place] + bytes([whole[place] ^ 0x55]) + whole[place + 1 :]):
            path.write_bytes(content)
            try:
                found = TARGET.read(damaged)
            except GraphError as error:
                assert str(path) in str(error)
                refused += 1
            else:
                # In the files behind the model, in padding, or in the description, nothing of the network changes.
                assert found == expected or content != whole
    assert refused > 50


def test_a_file_of_another_converter_is_refused_and_shown_where_to_look(int8: Artifact, tmp_path: Path) -> None:
    program = parse(int8.path)
    path = tmp_path / "model.tflite"
    path.write_bytes(
        serialize(type(program)(program.tensors, program.operations, program.inputs, program.outputs), "x")
    )
    with pytest.raises(GraphError, match="was not written by edgeskin; `edgeskin inspect` shows what is in it"):
        TfliteSession(path)


def test_where_no_interpreter_is_installed_it_says_how_to_get_one(monkeypatch: pytest.MonkeyPatch) -> None:
    from edgeskin import optional

    here = optional.available
    monkeypatch.setattr(optional, "available", lambda module: "lite" not in module and here(module))
    assert TARGET.missing() == "tflite is not installed. Install it with: pip install 'edgeskin[tflite]'"
    monkeypatch.setattr(optional, "available", lambda module: "litert" not in module and "runtime" not in module)
    assert TARGET.missing() == "ai_edge_litert is not installed. Install it with: pip install 'edgeskin[tflite]'"


# --- with metadata ---


@pytest.fixture(scope="module")
def told(once) -> Artifact:
    graph = Graph.open(once("told_graph", metadata_graphs.write_metadata_graph))
    return TARGET.build(graph, "int8", once("told_tflite", Path.mkdir))


def answer(session: TfliteSession, **values: object) -> float:
    """Melanoma of a photo of red 0 about whose owner `values` are known."""
    image = np.zeros((1, 3, 32, 32), np.uint8)
    return float(session.run(image, metadata_graphs.SPEC.encode(values)[None])["melanoma"][0, 0])


def test_metadata_multiplies_what_is_seen(told: Artifact) -> None:
    assert TARGET.read(told) == metadata_graphs.told_and_seen(quantized=True)
    for plain in (False, True):
        session = TARGET.open(told, plain=plain)
        assert session.metadata_width == 5
        # The formula of metadata_graphs: red is −1, so the logit is 4 times the gate.
        for gate, values in ((1, {"sex": "female"}), (0.75, {"sex": "male", "age": 100}), (0.25, {})):
            # int8 rounds gate and product (half of 3/256, times 4) and logit (half of 3/64): a quarter of that after.
            assert answer(session, **values) == pytest.approx(1 / (1 + np.exp(-4 * gate)), abs=0.02)


def test_the_slots_of_metadata_are_described(told: Artifact) -> None:
    with zipfile.ZipFile(io.BytesIO(told.path.read_bytes())) as archive:
        assert tuple(archive.read("metadata_slots.txt").decode().splitlines()) == metadata_graphs.SPEC.slots


def test_metadata_that_is_missing_or_not_taken_is_refused(told: Artifact, int8: Artifact) -> None:
    image, row = np.zeros((2, 3, 32, 32), np.uint8), np.zeros((2, 5), np.float32)
    with pytest.raises(TargetError, match=r"takes metadata as float32 \[N, 5\] beside image, and none was given"):
        TARGET.open(told).run(image)
    with pytest.raises(TargetError, match="takes image alone, and metadata was given"):
        TARGET.open(int8).run(image, row)
