"""The Core ML target: built in every form, read back, described to an app, and computed by judges of their own."""

import importlib
import platform
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import metadata_graphs
import numpy as np
import pytest
from coreml_packages import unswept, written

from edgeskin import files, optional
from edgeskin.contract.model import ModelCard
from edgeskin.errors import ContractError, GraphError, TargetError
from edgeskin.graph import execute
from edgeskin.graph.folder import Graph
from edgeskin.graph.ir import Mean, Network, Node, Pixels, Quantization, Reshape, Softmax, Tensor
from edgeskin.graph.read import read
from edgeskin.graph.rewrite import WEIGHTED
from edgeskin.graph.write import write_onnx
from edgeskin.targets.base import Artifact, Precision
from edgeskin.targets.coreml import CoremlTarget, engine
from edgeskin.targets.coreml.lift import lift
from edgeskin.targets.coreml.parse import parse
from edgeskin.targets.onnx import reference_session

tools = pytest.importorskip("coremltools")
converting = importlib.import_module("edgeskin.targets.coreml.convert")  # where the function of that name stands

Values = dict[str, np.ndarray]
TARGET, EXACT = CoremlTarget(), CoremlTarget(compute="float32")
FORMS: Mapping[str, tuple[CoremlTarget, Precision]] = {
    "int8": (TARGET, "int8"),
    "int8-float32": (EXACT, "int8"),
    "w8a16": (TARGET, "w8a16"),
    "fp16": (TARGET, "fp16"),
    "fp32": (TARGET, "fp32"),
}
NETWORKS = ("small", "told")
ROUNDINGS = 2 / 64
"""A logit moves by single steps of 1/16 or less, a probability by a quarter of that; few of them do."""


@dataclass(frozen=True)
class Built:
    """A package, what built it, and from what."""

    graph: Graph
    target: CoremlTarget
    artifact: Artifact

    @property
    def model(self) -> Any:
        """Its specification, read by coremltools alone."""
        return tools.utils.load_spec(str(self.artifact.path))

    @property
    def operations(self) -> Any:
        """The operators of its program, constants among them."""
        function = self.model.mlProgram.functions["main"]
        return function.block_specializations[function.opset].operations


@pytest.fixture(scope="module", autouse=True)
def _unswept() -> Iterator[None]:
    with unswept():
        yield


@pytest.fixture(scope="module")
def packages(graph: Graph, once, tmp_path_factory: pytest.TempPathFactory) -> Mapping[tuple[str, str], Built]:
    """By network and form: `small`, and `told`, which takes metadata."""
    graphs = {"small": graph, "told": Graph.open(once("told_graph", metadata_graphs.write_metadata_graph))}
    return {
        (name, form): Built(made, target, target.build(made, precision, tmp_path_factory.mktemp(form)))
        for name, made in graphs.items()
        for form, (target, precision) in FORMS.items()
    }


@pytest.fixture(params=[(name, form) for name in NETWORKS for form in FORMS], ids="-".join)
def built(request: pytest.FixtureRequest, packages: Mapping[tuple[str, str], Built]) -> Built:
    """Each of them."""
    return packages[request.param]


def fed(network: Network, count: int = 3) -> Values:
    """Pictures, and what is told of them where the network takes it."""
    random = np.random.default_rng(0)
    feeds: Values = {"image": random.integers(0, 256, (count, 3, 32, 32), dtype=np.uint8)}
    if "metadata" in network.inputs:
        feeds["metadata"] = random.uniform(-1, 1, (count, 5)).astype(np.float32)
    return feeds


def in_torch(path: Path, feeds: Values) -> list[dict[str, np.ndarray]]:
    """Every value of a package, picture by picture, by MIL's documentation and nothing of ours."""
    pytest.importorskip("torch")
    from mil_in_torch import Package

    package = Package(path)
    count = len(feeds["image"])
    return [package.run({name: each[row : row + 1] for name, each in feeds.items()}) for row in range(count)]


# --- read back ---


def test_every_form_reads_back_as_the_network_it_holds(built: Built) -> None:
    artifact = built.artifact
    assert built.target.read(artifact) == built.target.holds(built.graph, artifact.precision)
    assert (artifact.target, artifact.graph_sha256) == ("coreml", built.graph.sha256)
    assert artifact.path.name == "model.mlpackage"


@pytest.mark.parametrize("name", NETWORKS)
def test_in_float32_it_is_the_very_network_of_the_graph(name: str, packages: Mapping[tuple[str, str], Built]) -> None:
    int8, fp32 = packages[name, "int8-float32"], packages[name, "fp32"]
    assert EXACT.read(int8.artifact) == read(int8.graph.int8)
    assert TARGET.read(fp32.artifact) == read(fp32.graph.fp32)


@pytest.mark.parametrize("name", NETWORKS)
def test_in_float16_every_float_is_the_nearest_float16(name: str, packages: Mapping[tuple[str, str], Built]) -> None:
    for form in ("int8", "fp16", "w8a16"):
        made = packages[name, form]
        original = read(made.graph.fp32 if form == "fp16" else made.graph.int8)
        rounded = 0
        for tensor in TARGET.read(made.artifact).tensors.values():
            known = original.tensors[tensor.name]
            if tensor.data is not None and tensor.quantization is None:
                assert tensor.data.dtype == np.float32
                np.testing.assert_array_equal(tensor.data, known.real().astype(np.float16).astype(np.float32))
                rounded += tensor.data.size
            elif tensor.quantization is not None and known.quantization is not None:
                scale = known.quantization.scale.astype(np.float16).astype(np.float32)
                np.testing.assert_array_equal(tensor.quantization.scale, scale)
                rounded += 1
        assert rounded


def test_weights_alone_are_int8_in_a_file_of_floats(packages: Mapping[tuple[str, str], Built]) -> None:
    made = packages["small", "w8a16"]
    program, original = parse(made.artifact.path), read(made.graph.int8)
    weights = {node.inputs[1] for node in original.nodes if isinstance(node.operator, WEIGHTED)}
    held = TARGET.read(made.artifact).tensors
    for name in weights:
        np.testing.assert_array_equal(held[name].data, original.tensors[name].data)
    assert len(program.integers) == len(weights) == 8  # of tests/graph/raw_graphs.small
    assert {each.data.dtype for each in program.integers.values()} == {np.dtype(np.int8)}
    assert {value.output.kind for value in program.operations} == {"float16", "float32"}
    assert {name for name, tensor in held.items() if tensor.quantization is not None} == weights


def blob_bytes(made: Built) -> int:
    """The bytes of numbers in the file of weights, as the specification says."""
    sizes = {"FLOAT32": 4, "FLOAT16": 2, "INT8": 1}
    kinds = importlib.import_module("coremltools.proto.MIL_pb2").DataType
    total = 0
    for operation in made.operations:
        for value in operation.attributes.values():
            if value.WhichOneof("value") == "blobFileValue":
                tensor = value.type.tensorType
                count = int(np.prod([each.constant.size for each in tensor.dimensions]))
                total += sizes[kinds.Name(tensor.dataType)] * count
    return total


def test_half_the_bits_are_half_the_weights(packages: Mapping[tuple[str, str], Built]) -> None:
    whole, half, int8 = (packages["small", form] for form in ("fp32", "fp16", "w8a16"))
    assert blob_bytes(half) * 2 == blob_bytes(whole)
    assert blob_bytes(int8) < blob_bytes(half)
    weights = Path("Data/com.apple.CoreML/weights/weight.bin")
    sizes = [(made.artifact.path / weights).stat().st_size for made in (whole, half, int8)]
    assert sizes == sorted(sizes, reverse=True)


def float_layer(network: Network) -> Network:
    """One layer's weights are float."""
    weight = network.tensors["encoder.deep.weight"]
    return replace(
        network, tensors={**network.tensors, weight.name: Tensor(weight.name, weight.shape, None, weight.real())}
    )


def float_map(network: Network) -> Network:
    """What one node computes is float."""
    return replace(network, tensors={**network.tensors, "add_1": replace(network.tensors["add_1"], quantization=None)})


def altered(graph: Graph, folder: Path, network: Network, **card: object) -> Graph:
    """A Graph folder with another int8 network."""
    folder.mkdir()
    write_onnx(network, folder / "int8.onnx")
    write_onnx(read(graph.fp32), folder / "fp32.onnx")
    ModelCard.model_validate(graph.card.model_dump() | card).write(folder / "model.json")
    return Graph.open(folder)


@pytest.mark.parametrize(
    ("island", "kept"),
    [(float_layer, ("encoder.deep",)), (float_map, ("add_1", "mean_2", "resize_1"))],
    ids=["layer", "map"],
)
def test_what_is_kept_in_float_stays_float(island: Any, kept: tuple[str, ...], graph: Graph, tmp_path: Path) -> None:
    network = island(read(graph.int8))
    other = altered(graph, tmp_path / "graph", network, kept_float=kept)
    for target in (TARGET, EXACT):
        (tmp_path / target.computes("int8")).mkdir()
        artifact = target.build(other, "int8", tmp_path / target.computes("int8"))
        assert target.read(artifact) == target.holds(other, "int8")
    assert target.read(artifact) == network != read(graph.int8)
    feeds = fed(network, 1)
    expected, found = reference_session(other.int8).run(feeds["image"]), in_torch(artifact.path, feeds)[0]
    for name, values in expected.items():
        assert np.abs(found[name] - values).max() <= ROUNDINGS


# --- computed ---


@pytest.mark.parametrize("name", NETWORKS)
def test_fp32_in_the_executor_answers_as_onnxruntime(name: str, packages: Mapping[tuple[str, str], Built]) -> None:
    made = packages[name, "fp32"]
    feeds = fed(read(made.graph.fp32))
    expected = reference_session(made.graph.fp32).run(**feeds)
    for output, values in TARGET.execute(made.artifact).run(**feeds).items():
        np.testing.assert_allclose(values, expected[output], atol=1e-5, rtol=0, err_msg=output)


@pytest.mark.parametrize("name", NETWORKS)
def test_int8_in_float32_has_every_integer_of_the_graphs_own_network(
    name: str, packages: Mapping[tuple[str, str], Built]
) -> None:
    made = packages[name, "int8-float32"]
    expected = read(made.graph.int8)
    feeds = fed(expected)
    ours, theirs = execute.run(EXACT.read(made.artifact), feeds), execute.run(expected, feeds)
    assert set(ours) == set(theirs)
    for tensor, values in theirs.items():
        assert ours[tensor].dtype == values.dtype
        np.testing.assert_array_equal(ours[tensor], values, err_msg=tensor)
    np.testing.assert_array_equal(
        EXACT.execute(made.artifact).run(**feeds)["mask"], execute.outputs(expected, feeds)["mask"]
    )


def test_a_judge_of_its_own_computes_of_the_package_what_onnxruntime_computes_of_the_graph(built: Built) -> None:
    precision = built.artifact.precision
    file = built.graph.int8 if precision in ("int8", "w8a16") else built.graph.fp32
    feeds = fed(read(file))
    expected, found = reference_session(file).run(**feeds), in_torch(built.artifact.path, feeds)
    # Weights alone do not round activations, of which there are six in a row; float16 has ten bits.
    allowed = {"fp32": 1e-5, "fp16": 1e-3, "w8a16": 4 * ROUNDINGS}.get(precision, ROUNDINGS)
    for name, values in expected.items():
        assert np.abs(np.concatenate([each[name] for each in found]) - values).max() <= allowed, name


def test_metadata_multiplies_what_is_seen(packages: Mapping[tuple[str, str], Built]) -> None:
    for form in FORMS:
        made = packages["told", form]
        session = made.target.execute(made.artifact)
        assert session.metadata_width == 5
        image = np.zeros((1, 3, 32, 32), np.uint8)
        # The formula of metadata_graphs: red is −1, so the logit is 4 times the gate.
        for gate, values in ((1, {"sex": "female"}), (0.75, {"sex": "male", "age": 100}), (0.25, {})):
            row = metadata_graphs.SPEC.encode(values)[None]
            # int8 rounds gate and product (half of 3/256, times 4) and logit (half of 3/64): a quarter of that after.
            found = float(session.run(image, row)["melanoma"][0, 0])
            assert found == pytest.approx(1 / (1 + np.exp(-4 * gate)), abs=0.02)


# --- the same bytes ---


def test_equal_graphs_give_equal_bytes(built: Built, tmp_path: Path) -> None:
    again = built.target.build(built.graph, built.artifact.precision, tmp_path)
    first, second = (
        {part.relative_to(path).as_posix(): part.read_bytes() for part in path.rglob("*") if part.is_file()}
        for path in (built.artifact.path, again.path)
    )
    assert first == second
    assert set(first) == {
        "Manifest.json", "Data/com.apple.CoreML/model.mlmodel", "Data/com.apple.CoreML/weights/weight.bin"
    }  # fmt: skip
    assert files.sha256(built.artifact.path) == files.sha256(again.path)


def test_opening_it_with_coremltools_changes_no_byte(built: Built) -> None:
    """The library writes the manifest again whenever it has read it; a bundle's own manifest holds its hash."""
    before = files.sha256(built.artifact.path)
    assert built.model.WhichOneof("Type") == "mlProgram"
    tools.models.MLModel(str(built.artifact.path), skip_model_load=True)
    assert files.sha256(built.artifact.path) == before


def test_nothing_inside_tells_of_the_machine_or_the_day(built: Built) -> None:
    import datetime

    told = [str(Path.home()), tempfile.gettempdir(), platform.node(), str(Path.cwd())]
    told += [datetime.datetime.now(datetime.timezone.utc).strftime(form) for form in ("%Y-%m-%d", "%Y%m%d")]
    for part in built.artifact.path.rglob("*"):
        content = part.read_bytes() if part.is_file() else b""
        assert not [each for each in told if each.encode() in content]
    assert {key.split(".")[0] for key in built.model.description.metadata.userDefined} == {"edgeskin"}


# --- what an app sees ---


def test_apples_own_reader_of_packages_finds_model_and_weights(built: Built) -> None:
    from coremltools.libmodelpackage import ModelPackage

    path = built.artifact.path
    assert ModelPackage.isValid(str(path))
    package = ModelPackage(str(path))
    assert Path(package.getRootModel().path()) == path / "Data/com.apple.CoreML/model.mlmodel"
    weights = package.findItemByNameAuthor("weights", "com.apple.CoreML")
    assert Path(weights.path()) == path / "Data/com.apple.CoreML/weights"


def test_coremltools_infers_the_types_that_the_program_says(built: Built) -> None:
    from coremltools.converters.mil.frontend.milproto.load import load

    weights = built.artifact.path / "Data/com.apple.CoreML/weights"
    function = load(built.model, built.model.specificationVersion, str(weights)).functions["main"]
    inferred = {value.name: tuple(value.shape) for each in function.operations for value in each.outputs}
    compared = 0
    for operation in built.operations:
        for output in operation.outputs:
            shape = tuple(each.constant.size for each in output.type.tensorType.dimensions)
            if operation.type != "const":
                assert inferred[output.name] == shape, output.name
                compared += 1
    assert compared > 10


def test_an_app_sees_a_picture_named_inputs_and_the_outputs_of_the_card(built: Built) -> None:
    model = built.model
    assert model.specificationVersion == 8  # coremltools._SPECIFICATION_VERSION_IOS_17
    assert model.mlProgram.functions["main"].opset == "CoreML7"
    inputs = {each.name: each.type for each in model.description.input}
    image = inputs.pop("image").imageType
    colours = type(image).ColorSpace
    assert (image.width, image.height, colours.Name(image.colorSpace)) == (32, 32, "RGB")
    if built.graph.card.metadata is None:
        assert not inputs
    else:
        array = inputs.pop("metadata").multiArrayType
        assert (tuple(array.shape), array.ArrayDataType.Name(array.dataType)) == ((1, 5), "FLOAT32")
        assert not inputs
    outputs = [(each.name, tuple(each.type.multiArrayType.shape)) for each in model.description.output]
    assert outputs == [("mask", (1, 1, 32, 32)), ("diagnosis", (1, 3)), ("melanoma", (1, 1))]
    assert {each.type.multiArrayType.dataType for each in model.description.output} == {
        each.type.multiArrayType.FLOAT32 for each in model.description.output
    }
    # The order of model.json, by which an app that knows no names finds them.
    assert [name for name, _ in outputs] == [head.name for head in built.graph.card.heads]


def test_the_pixel_is_scaled_once_and_by_the_program(built: Built) -> None:
    steps = [each for each in built.operations if each.type != "const"]
    constants = {each.outputs[0].name: each.attributes["val"] for each in built.operations if each.type == "const"}
    first, second = [each for each in steps if "metadata" not in each.outputs[0].name][:2]
    assert (first.type, first.inputs["x"].arguments[0].name) == ("mul", "image")
    assert (second.type, second.inputs["x"].arguments[0].name) == ("add", first.outputs[0].name)
    factor, offset = (
        set(constants[each.inputs["y"].arguments[0].name].immediateValue.tensor.floats.values)
        for each in (first, second)
    )
    assert (factor, offset) == ({1 / 128}, {-1})
    ramp = np.arange(256, dtype=np.uint8).repeat(12).reshape(1, 3, 32, 32)
    feeds = fed(read(built.graph.int8), 1) | {"image": ramp}
    found = in_torch(built.artifact.path, feeds)[0][second.outputs[0].name]
    np.testing.assert_array_equal(found, (ramp.astype(np.float32) - 128) / 128)


def test_a_model_tells_who_it_is_and_what_goes_in_and_out(built: Built) -> None:
    card = built.graph.card
    model = tools.models.MLModel(str(built.artifact.path), skip_model_load=True)
    assert model.short_description == f"{card.name}. Tests only."
    assert (model.version, model.license) == ("1", "Apache-2.0")
    assert model.author == f"Trained by the recipe {card.provenance.recipe} of edgeskin 0"
    assert "no mean and no deviation" in model.input_description["image"]
    if card.metadata is not None:
        assert all(slot in model.input_description["metadata"] for slot in card.metadata.slots)
    assert model.output_description["mask"] == (
        "Probability of lesion at each pixel of the square; lesion at 0.5 and above"
    )
    assert model.output_description["diagnosis"] == (
        "Probabilities of melanoma, nevus, seborrheic_keratosis, in this order"
    )
    assert model.output_description["melanoma"] == "Probability of melanoma; positive at 0.5 and above"
    told = dict(model.user_defined_metadata)
    assert ModelCard.model_validate_json(told.pop("edgeskin.model")) == card
    assert told.pop("edgeskin.note")
    assert told == {
        "edgeskin.graph_sha256": built.graph.sha256,
        "edgeskin.precision": built.artifact.precision,
        "edgeskin.labels.mask": "lesion",
        "edgeskin.labels.diagnosis": "melanoma,nevus,seborrheic_keratosis",
        "edgeskin.labels.melanoma": "melanoma",
        "edgeskin.threshold.mask": "0.5",
        "edgeskin.threshold.melanoma": "0.5",
    }


# --- the passes of the converter ---

DROPPING = "common::int_op_canonicalization"


def flattened(before: float, after: float) -> Network:
    """A mean at one scale, flattened at another; softmax."""

    def tensor(name: str, shape: tuple[int | str, ...], scale: float | None) -> Tensor:
        return Tensor(name, shape, None if scale is None else Quantization(np.asarray(scale, np.float32)))

    tensors = (
        tensor("image", ("N", 3, 8, 8), None),
        tensor("x", ("N", 3, 8, 8), 1 / 128),
        tensor("mean", ("N", 3, 1, 1), before),
        tensor("flat", ("N", 3), after),
        tensor("out", ("N", 3), None),
    )
    nodes = (
        Node("door", Pixels(), ("image",), "x"),
        Node("pool", Mean((2, 3), keepdims=True), ("x",), "mean"),
        Node("flatten", Reshape(("N", 3)), ("mean",), "flat"),
        Node("tail", Softmax(1), ("flat",), "out"),
    )
    return Network(("image",), ("out",), nodes, {each.name: each for each in tensors})


@pytest.mark.parametrize("passes", [(DROPPING,), None], ids=["that one", "all that are run by default"])
def test_a_pass_that_drops_a_change_of_scale_is_seen_by_reading_back(
    passes: tuple[str, ...] | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert DROPPING not in converting.PASSES
    network = flattened(1 / 128, 1 / 32)
    image = np.repeat(np.array([0, 128, 255], np.uint8), 64).reshape(1, 3, 8, 8)
    expected = execute.outputs(network, {"image": image})["out"]
    (tmp_path / "ours").mkdir()
    path, note = written(network, tmp_path / "ours")
    assert lift(parse(path), note) == network
    np.testing.assert_allclose(in_torch(path, {"image": image})[0]["out"], expected, atol=1e-6)

    chosen = tuple(tools.PassPipeline.DEFAULT.passes) if passes is None else passes
    assert DROPPING in chosen
    monkeypatch.setattr(converting, "PASSES", chosen)
    (tmp_path / "theirs").mkdir()
    path, note = written(network, tmp_path / "theirs")
    try:
        found = lift(parse(path), note)
    except GraphError:
        found = None
    assert found != network
    # (1, 0, −1) at 1/128 are read as if they stood at 1/32: four times as large before the softmax.
    miscompiled = in_torch(path, {"image": image})[0]["out"]
    assert np.abs(miscompiled - expected).max() > 0.08  # as much as in the heads of a trained network, once


# --- what is refused ---


def test_nothing_here_runs_it_and_it_says_where_it_can_be_run(
    packages: Mapping[tuple[str, str], Built], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.platform", "linux")
    assert TARGET.processors() == ()
    sentence = engine.why_not()
    assert sentence == "Core ML runs on Apple's systems alone. On a Mac: edgeskin attest BUNDLE"
    artifact = packages["small", "int8"].artifact
    with pytest.raises(TargetError) as caught:
        TARGET.open(artifact)
    there = sentence.replace("BUNDLE", str(artifact.path.parent))
    assert str(caught.value) == f"{artifact.path}: cannot be run here. {there}"
    with pytest.raises(TargetError, match=r"coreml runs on no gpu here\. The processors for it: none"):
        TARGET.open(artifact, processor="gpu")


def test_a_precision_it_cannot_build_is_refused_with_those_it_can(graph: Graph, tmp_path: Path) -> None:
    with pytest.raises(TargetError, match="coreml cannot build int4; it builds fp16, fp32, int8, w8a16"):
        TARGET.build(graph, "int4", tmp_path)
    with pytest.raises(TargetError, match="coreml cannot build fp16; it builds int8"):
        EXACT.build(graph, "fp16", tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_graph_that_breaks_the_contract_is_not_built(graph: Graph, tmp_path: Path) -> None:
    network = read(graph.int8)
    strange = replace(network.tensors["mul_1"], quantization=Quantization(np.asarray(0.04, np.float32)))
    other = altered(graph, tmp_path / "graph", replace(network, tensors={**network.tensors, strange.name: strange}))
    with pytest.raises(ContractError, match="scales-fp16: mul_1"):
        TARGET.build(other, "int8", tmp_path)
    assert not (tmp_path / "model.mlpackage").exists()


def test_where_coremltools_is_not_installed_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    here = optional.available
    monkeypatch.setattr(optional, "available", lambda module: "coremltools" not in module and here(module))
    assert TARGET.missing() == "coremltools is not installed. Install it with: pip install 'edgeskin[coreml]'"


def test_heads_that_core_ml_cannot_name_are_refused(tmp_path: Path) -> None:
    network, name = flattened(1 / 128, 1 / 32), "2nd head"
    *nodes, tail = network.nodes
    other = Network(
        ("image",),
        (name,),
        (*nodes, replace(tail, output=name)),
        {**network.tensors, name: replace(network.tensors["out"], name=name)},
    )
    with pytest.raises(TargetError, match=r"called image and 2nd head; it made them .*Give the heads other names"):
        written(other, tmp_path)


def test_numbers_beyond_float16_are_refused_with_the_tensors_name(graph: Graph, tmp_path: Path) -> None:
    network = read(graph.fp32)
    name = "encoder.stem.bias"
    large = replace(network.tensors[name], data=np.full(8, 1e5, np.float32))
    with pytest.raises(TargetError, match=r"encoder\.stem\.bias: holds 100000, beyond float16; build it in float32"):
        written(replace(network, tensors={**network.tensors, name: large}), tmp_path, "float16")


def test_inputs_of_another_shape_or_type_are_refused(packages: Mapping[tuple[str, str], Built]) -> None:
    image, row = np.zeros((2, 3, 32, 32), np.uint8), np.zeros((2, 5), np.float32)
    small, told = (TARGET.execute(packages[name, "int8"].artifact) for name in NETWORKS)
    with pytest.raises(TargetError, match=r"takes image as uint8 \[N, 3, 32, 32\], not float32 \[2, 3, 32, 32\]"):
        small.run(image.astype(np.float32))
    with pytest.raises(TargetError, match="takes image alone, and metadata was given"):
        small.run(image, row)
    with pytest.raises(TargetError, match=r"takes metadata as float32 \[N, 5\] beside image, and none was given"):
        told.run(image)
