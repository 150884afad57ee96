"""A session of Core ML: what goes into the engine and what comes out, and what Apple's library is asked.

The engine itself is on no machine of ours. The executor stands in for it, or coremltools' own Python does, with
nothing but its compiled part replaced: that checks, as on a Mac, what it is handed.
"""

import platform
import sys
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from types import ModuleType
from typing import Any

import metadata_graphs
import numpy as np
import pytest
from coreml_packages import unswept
from coreml_stand_in import PROCESSORS, StandIn, on_a_mac
from PIL import Image

from edgeskin import optional
from edgeskin.errors import TargetError
from edgeskin.graph.folder import Graph
from edgeskin.targets.base import Artifact
from edgeskin.targets.coreml import CoremlTarget, engine
from edgeskin.targets.coreml.parse import parse

pytest.importorskip("coremltools")
from coremltools import ComputeUnit
from coremltools.models import MLModel, compute_device, compute_plan
from coremltools.models import model as models

TARGET = CoremlTarget()


@pytest.fixture(scope="module")
def artifact(graph: Graph, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    with unswept():
        return TARGET.build(graph, "int8", tmp_path_factory.mktemp("int8"))


@pytest.fixture(scope="module")
def told(once, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """Of a network that takes metadata."""
    graph = Graph.open(once("told_graph", metadata_graphs.write_metadata_graph))
    with unswept():
        return TARGET.build(graph, "int8", tmp_path_factory.mktemp("told"))


@pytest.fixture
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (3, 3, 32, 32), dtype=np.uint8)


# --- what goes in and comes out ---


def test_the_engine_gets_each_picture_as_an_app_hands_it_over(
    artifact: Artifact, images: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = on_a_mac(monkeypatch)
    TARGET.open(artifact).run(images)
    assert [list(each) for each in loaded[0].handed] == [["image"]] * 3
    for given, image in zip(loaded[0].handed, images, strict=True):
        picture = given["image"]
        assert isinstance(picture, Image.Image)
        assert (picture.mode, picture.size) == ("RGB", (32, 32))
        for row, column in ((0, 0), (0, 31), (31, 0), (5, 7)):  # x before y, red before blue
            assert picture.getpixel((column, row)) == tuple(image[:, row, column])
        np.testing.assert_array_equal(np.asarray(picture), image.transpose(1, 2, 0))


def test_the_engine_gets_metadata_a_row_at_a_time(
    told: Artifact, images: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = on_a_mac(monkeypatch)
    rows = np.random.default_rng(1).uniform(-1, 1, (3, 5)).astype(np.float32)
    session = TARGET.open(told)
    assert session.metadata_width == 5
    session.run(images, rows)
    for given, row in zip(loaded[0].handed, rows, strict=True):
        array = given["metadata"]
        assert isinstance(array, np.ndarray)
        assert (array.dtype, array.shape) == (np.float32, (1, 5))
        np.testing.assert_array_equal(array[0], row)


def test_answers_come_back_in_the_order_of_pictures_and_heads(
    artifact: Artifact, images: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Disordered(StandIn):
        """Names in another order, scalars without axes, numbers in float64: Core ML promises none of it."""

        def predict(self, features: Mapping[str, object]) -> Mapping[str, np.ndarray]:
            found = super().predict(features)
            return {name: values.squeeze().astype(np.float64) for name, values in reversed(found.items())}

    on_a_mac(monkeypatch, stand_in=Disordered)
    expected = TARGET.execute(artifact).run(images)
    found = TARGET.open(artifact).run(images)
    assert list(found) == ["mask", "diagnosis", "melanoma"]
    for name, values in expected.items():
        assert (found[name].shape, found[name].dtype) == (values.shape, np.float32)
        np.testing.assert_array_equal(found[name], values)


def test_no_picture_is_no_row(artifact: Artifact, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = on_a_mac(monkeypatch)
    found = TARGET.open(artifact).run(np.zeros((0, 3, 32, 32), np.uint8))
    shapes = {"mask": (0, 1, 32, 32), "diagnosis": (0, 3), "melanoma": (0, 1)}
    assert {name: value.shape for name, value in found.items()} == shapes
    assert loaded[0].handed == []


def test_wrong_inputs_are_refused_before_the_engine_sees_them(
    artifact: Artifact, told: Artifact, images: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = on_a_mac(monkeypatch)
    alone, with_row = TARGET.open(artifact), TARGET.open(told)
    assert alone.metadata_width is None
    row = np.zeros((3, 5), np.float32)
    for session, given, said in (
        (alone, (images.astype(np.float32),), r"takes image as uint8 \[N, 3, 32, 32\], not float32 \[3, 3, 32, 32\]"),
        (alone, (images.transpose(0, 2, 3, 1),), r"not uint8 \[3, 32, 32, 3\]"),
        (alone, (images[0],), r"not uint8 \[3, 32, 32\]"),
        (alone, (images, row), "takes image alone, and metadata was given"),
        (with_row, (images,), r"takes metadata as float32 \[N, 5\] beside image, and none was given"),
        (with_row, (images, row[:2]), "3 rows of image, but 2 of metadata"),
        (with_row, (images, row[:, :4]), r"not float32 \[3, 4\]"),
    ):
        with pytest.raises(TargetError, match=said):
            session.run(*given)
    assert [each.handed for each in loaded] == [[], []]


def test_an_output_that_is_missing_or_of_another_size_is_an_error(
    artifact: Artifact, images: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Forgetful(StandIn):
        def predict(self, features: Mapping[str, object]) -> Mapping[str, np.ndarray]:
            return {name: values for name, values in super().predict(features).items() if name != "diagnosis"}

    class Short(StandIn):
        def predict(self, features: Mapping[str, object]) -> Mapping[str, np.ndarray]:
            return {name: values.reshape(-1)[:2] for name, values in super().predict(features).items()}

    for stand_in, named in ((Forgetful, "diagnosis"), (Short, "mask, diagnosis")):
        on_a_mac(monkeypatch, stand_in=stand_in)
        session = TARGET.open(artifact)
        with pytest.raises(TargetError, match=rf"model\.mlpackage: Core ML gave no {named} of the package's shape"):
            session.run(images)


def test_a_session_says_for_which_processor_it_is_and_that_a_stand_in_answers(
    artifact: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = on_a_mac(monkeypatch)
    assert TARGET.processors() == PROCESSORS
    for processor in (None, *PROCESSORS):
        session = TARGET.open(artifact, processor=processor, threads=4)
        assert session.simulated is True
        assert loaded[-1].processor == (processor or "all")
        assert session.placement().provider.startswith(f"Core ML, {processor or 'all'}")
    with pytest.raises(TargetError, match="coreml runs on no tpu here"):
        TARGET.open(artifact, processor="tpu")


def test_a_placement_counts_operators_by_where_they_are_planned(
    artifact: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [each.output.name for each in parse(artifact.path).operations]
    plan = dict.fromkeys(names, "neural engine") | {names[0]: "cpu", names[1]: "cpu"}
    on_a_mac(monkeypatch, plan=plan)
    placement = TARGET.open(artifact).placement()
    assert placement.provider == f"Core ML, all: {len(names) - 2} on the neural engine, 2 on the cpu"
    assert (placement.convolutions, placement.integer_convolutions) == (6, None)  # of tests/graph/raw_graphs.small
    assert not placement.float_operators  # which Core ML does not tell
    assert (placement.partitions, placement.undelegated) == (None, ())
    on_a_mac(monkeypatch)
    expected = "Core ML, all; this system does not tell where operators run"
    assert TARGET.open(artifact).placement().provider == expected


# --- which machine runs it ---


@pytest.fixture
def mac(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A Mac by all that Python tells, with coremltools' compiled part in it."""
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(platform, "mac_ver", lambda: ("14.5", ("", "", ""), "arm64"))
    monkeypatch.setitem(sys.modules, "coremltools.libcoremlpython", ModuleType("libcoremlpython"))
    return monkeypatch


@pytest.mark.parametrize("version", ["14.0", "14.5", "15.1", "26.0"])
def test_a_mac_from_the_first_with_these_operators_on_runs_it(version: str, mac: pytest.MonkeyPatch) -> None:
    mac.setattr(platform, "mac_ver", lambda: (version, ("", "", ""), "arm64"))
    assert engine.why_not() is None


def test_what_keeps_a_machine_from_running_it_is_said_in_a_sentence(mac: pytest.MonkeyPatch) -> None:
    here = optional.available
    with mac.context() as patch:
        patch.setattr(platform, "mac_ver", lambda: ("13.6.1", ("", "", ""), "x86_64"))
        said = "Core ML runs these operators from macOS 14 on, and this is macOS 13.6.1. Update it"
        assert engine.why_not() == said
        assert engine.processors() == ()
    with mac.context() as patch:
        patch.setattr(optional, "available", lambda module: "coremltools" not in module and here(module))
        assert engine.why_not() == "coremltools is not installed. Install it with: pip install 'edgeskin[coreml]'"
    with mac.context() as patch:
        patch.setitem(sys.modules, "coremltools.libcoremlpython", None)  # as on any Python without a wheel
        assert engine.why_not() == (
            "coremltools is here without its bindings to Core ML. Use a Python for which it has a wheel"
        )
    with mac.context() as patch:
        patch.setattr(sys, "platform", "linux")
        assert engine.why_not() == "Core ML runs on Apple's systems alone. On a Mac: edgeskin attest BUNDLE"


@pytest.mark.parametrize(
    ("devices", "processors"),
    [
        (["MLCPUComputeDevice"], ("all", "cpu")),
        (["MLCPUComputeDevice", "MLGPUComputeDevice"], ("all", "cpu", "gpu")),
        (["MLNeuralEngineComputeDevice", "MLGPUComputeDevice", "MLCPUComputeDevice"], PROCESSORS),
        (["MLCPUComputeDevice", "ABC"], ("all", "cpu")),
    ],
    ids=["virtual", "Intel", "Apple silicon", "of the future"],
)
def test_the_processors_are_those_that_core_ml_finds(
    devices: list[str], processors: tuple[str, ...], mac: pytest.MonkeyPatch
) -> None:
    native = ModuleType("native")
    native.get_all_compute_devices = lambda: list(map(device, devices))
    mac.setattr(compute_device, "_MLModelProxy", native)
    assert engine.processors() == processors


def device(name: str) -> object:
    """A device of coremltools' own class."""
    return object.__new__(getattr(compute_device, name, type(name, (), {})))


# --- what Apple's library is asked ---


class Native:
    """The compiled part of coremltools: it compiles a package, answers from the executor, and tells a plan."""

    refuses: str | None = None
    """What it says against a package."""
    fails: str | None = None
    """What it says where it runs."""
    newest = 8
    asked: list[tuple[object, ...]]

    def __init__(self, path: str, units: str, *more: object) -> None:
        type(self).asked.append((path, units))
        if self.refuses is not None:
            raise RuntimeError(self.refuses)
        self._model = StandIn(Path(path), units)

    @classmethod
    def maximum_supported_specification_version(cls) -> int:
        return cls.newest

    def get_compiled_model_path(self) -> str:
        return "compiled.mlmodelc"

    def predict(self, features: Mapping[str, object], state: object) -> Mapping[str, np.ndarray]:
        if self.fails is not None:
            raise RuntimeError(self.fails)
        return self._model.predict(features)

    @classmethod
    def get_compute_plan(cls, path: str, units: str) -> Any:
        cls.asked.append((path, units))
        return compute_plan.MLComputePlan(Plan())


class Plan:
    """Compiled, too: two operators on the GPU, one on the neural engine, a constant nowhere."""

    def __init__(self) -> None:
        names = {"a": "MLGPUComputeDevice", "b": "MLGPUComputeDevice", "c": "MLNeuralEngineComputeDevice", "d": None}
        self._places = names
        kind = compute_plan.MLModelStructureProgramValueType()
        operations = [
            compute_plan.MLModelStructureProgramOperation(
                inputs={},
                operator_name="conv",
                outputs=[compute_plan.MLModelStructureProgramNamedValueType(name, kind)],
                blocks=[],
                __proxy__=None,
            )
            for name in names
        ]
        block = compute_plan.MLModelStructureProgramBlock(inputs=[], operations=operations, output_names=[])
        function = compute_plan.MLModelStructureProgramFunction(inputs=[], block=block)
        program = compute_plan.MLModelStructureProgram({"main": function})
        self.model_structure = compute_plan.MLModelStructure(neuralnetwork=None, program=program, pipeline=None)

    def get_compute_device_usage_for_mlprogram_operation(self, operation: Any) -> Any:
        place = self._places[operation.outputs[0].name]
        return None if place is None else compute_plan.MLComputePlanDeviceUsage(device(place), [])


@pytest.fixture
def native(mac: pytest.MonkeyPatch) -> Iterator[type[Native]]:
    """A Mac whose coremltools is whole but for its compiled part."""
    mac.setattr(sys, "platform", "linux")  # coremltools asks Apple's tools for the version of macOS
    mac.setattr(engine, "why_not", lambda: None)
    made = type("Native", (Native,), {"asked": []})
    for module in (models, compute_plan):
        mac.setattr(module, "_MLModelProxy", made)
    mac.setattr(compute_plan, "_MLComputePlanProxy", Plan)
    yield made


@pytest.mark.parametrize(
    ("processor", "units"),
    [("all", "ALL"), ("cpu", "CPU_ONLY"), ("gpu", "CPU_AND_GPU"), ("neural engine", "CPU_AND_NE")],
)
def test_apples_library_takes_what_it_is_handed(
    processor: str, units: str, told: Artifact, images: np.ndarray, native: type[Native], mac: pytest.MonkeyPatch
) -> None:
    mac.setattr(engine, "processors", lambda: PROCESSORS)
    rows = np.random.default_rng(1).uniform(-1, 1, (3, 5)).astype(np.float32)
    session = TARGET.open(told, processor=processor)
    assert session.simulated is False
    found, expected = session.run(images, rows), TARGET.execute(told).run(images, rows)
    for name, values in expected.items():
        np.testing.assert_array_equal(found[name], values)
    placement = session.placement()
    assert placement.provider == f"Core ML, {processor}: 2 on the gpu, 1 on the neural engine"
    assert native.asked == [(str(told.path), units), ("compiled.mlmodelc", units)]


def test_what_core_ml_refuses_is_an_error_in_a_line_and_no_warning(artifact: Artifact, native: type[Native]) -> None:
    native.refuses = 'Error compiling model: {\n    NSLocalizedDescription = "unknown operator";\n}'
    with warnings.catch_warnings(record=True) as heard, pytest.raises(TargetError) as caught:
        TARGET.open(artifact)
    said = str(caught.value)
    assert said.startswith(f"{artifact.path}: Core ML cannot load it for all: ")
    assert said.endswith('Error compiling model: { NSLocalizedDescription = "unknown operator"; }')
    assert not heard


def test_a_package_that_is_too_new_for_the_library_is_an_error(artifact: Artifact, native: type[Native]) -> None:
    native.newest = 7
    with pytest.raises(TargetError, match="Core ML cannot load it for all: This model was not loaded or compiled"):
        TARGET.open(artifact)


def test_what_fails_where_it_runs_is_an_error_in_a_line(
    artifact: Artifact, images: np.ndarray, native: type[Native]
) -> None:
    native.fails = "{\n    NSLocalizedDescription = oh;\n}"
    session = TARGET.open(artifact)
    with pytest.raises(TargetError) as caught:
        session.run(images)
    assert str(caught.value) == f"{artifact.path}: Core ML cannot run it: {{ NSLocalizedDescription = oh; }}"


def test_a_system_that_has_no_plans_does_not_tell(
    artifact: Artifact, native: type[Native], mac: pytest.MonkeyPatch
) -> None:
    def older(path: str, units: str) -> None:
        raise RuntimeError("MLComputePlan is only available on macOS >= 14.4")

    mac.setattr(native, "get_compute_plan", older)
    assert TARGET.open(artifact).placement().provider.endswith("this system does not tell where operators run")


def test_loading_a_package_leaves_its_bytes_as_they_are(artifact: Artifact, native: type[Native]) -> None:
    from edgeskin import files

    before = files.sha256(artifact.path)
    TARGET.open(artifact)
    assert files.sha256(artifact.path) == before


def test_all_that_the_engine_asks_of_coremltools_is_there() -> None:
    """What cannot be called without a Mac is at least still called so."""
    assert {"ALL", "CPU_ONLY", "CPU_AND_GPU", "CPU_AND_NE"} == {unit.name for unit in ComputeUnit}
    assert set(engine.UNITS.values()) == {unit.name for unit in ComputeUnit}
    assert callable(MLModel.get_compiled_model_path)
    assert callable(MLModel.predict)
    assert callable(compute_device.MLComputeDevice.get_all_compute_devices)
    for name in ("MLCPUComputeDevice", "MLGPUComputeDevice", "MLNeuralEngineComputeDevice"):
        assert issubclass(getattr(compute_device, name), compute_device.MLComputeDevice)
    plan = compute_plan.MLComputePlan
    assert callable(plan.load_from_path)
    assert callable(plan.get_compute_device_usage_for_mlprogram_operation)
    assert isinstance(plan.model_structure, property)
    for kind, attribute in (
        (compute_plan.MLModelStructure, "program"),
        (compute_plan.MLModelStructureProgram, "functions"),
        (compute_plan.MLModelStructureProgramFunction, "block"),
        (compute_plan.MLModelStructureProgramBlock, "operations"),
        (compute_plan.MLModelStructureProgramOperation, "outputs"),
        (compute_plan.MLModelStructureProgramNamedValueType, "name"),
        (compute_plan.MLComputePlanDeviceUsage, "preferred_compute_device"),
    ):
        assert attribute in {each.name for each in fields(kind)}
