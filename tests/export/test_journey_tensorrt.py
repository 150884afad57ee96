"""The same journey to TensorRT on its three kinds of machine: with a GPU, with NVIDIA's parser alone, with neither."""

import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from small_graphs import GATE, contents

pytest.importorskip("onnxruntime")
from tensorrt_stand_in import StandIn, on_a_board

from edgeskin import targets
from edgeskin.benchmarks import memory
from edgeskin.contract import bundle as bundles
from edgeskin.errors import GraphError, TargetError
from edgeskin.export import journey
from edgeskin.export.attest import attest
from edgeskin.export.profile import Profile
from edgeskin.graph.folder import Graph
from edgeskin.graph.read import read
from edgeskin.graph.write import write_onnx
from edgeskin.targets.base import Artifact
from edgeskin.targets.tensorrt import ahead, deploy, parser
from edgeskin.targets.tensorrt.runtime import Gpu, find
from edgeskin.targets.tensorrt.target import TensorrtTarget

ON_A_BOARD = {"device_numerics", "latency_p90_ms", "peak_memory_mib", "integer_convolutions", "float_operators"}
"""The promises of the gate below that only a device can keep."""
RULES = GATE + "latency_p90_ms_max = 1000\ninteger_convolutions_min = 0.9\nfloat_operators_max = 0\n"
MEASURE_MEMORY = memory.measure
"""As it is where no fixture stands in for it."""
with_parser = pytest.mark.skipif(parser.missing() is not None, reason=str(parser.missing()))


@pytest.fixture
def profile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Profile:
    """Without the promise of accuracy, for which the small network has no evidence; on a machine without a GPU."""
    monkeypatch.setattr(find, "find", lambda prefer=None: None)
    (tmp_path / "gate.toml").write_text(RULES)
    return Profile.default("tensorrt").altered(gate=str(tmp_path / "gate.toml"))


@pytest.fixture
def pending(small_graph: Graph, profile: Profile, tmp_path: Path) -> Path:
    """A bundle that waits for a board."""
    return journey.export(small_graph, profile, tmp_path / "pending").folder


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """Where a board keeps its engines."""
    return tmp_path / "cache"


def sentences(folder: Path) -> str:
    return (folder / "report.md").read_text()


# --- without a GPU ---


@with_parser
@pytest.mark.parametrize("precision", ["int8", "fp16", "fp32"])
def test_where_only_the_parser_is_a_bundle_is_parser_verified_and_waits_for_a_board(
    precision: str, small_graph: Graph, profile: Profile, tmp_path: Path
) -> None:
    done = journey.export(small_graph, profile.altered(precision=precision), tmp_path / "bundle")
    measured = done.report.measurements
    assert done.verdict.exit_code == 4, [promise.sentence for promise in done.verdict.in_state("failed")]
    assert {promise.name for promise in done.verdict.in_state("pending")} == (
        ON_A_BOARD if precision == "int8" else ON_A_BOARD - {"integer_convolutions", "float_operators"}
    )
    assert (measured.verified, measured.reads_back, measured.equivalent) == ("parser", True, True)
    assert (measured.latency, measured.memory, measured.placement) == ((), None, None)
    assert (done.report.target, done.report.artifact) == ("tensorrt", f"deploy/{precision}.onnx")
    assert "edgeskin attest BUNDLE" in done.verdict.in_state("pending")[0].sentence
    told = sentences(done.folder)
    assert "\nParser-verified: the saved bytes, parsed back by the engine's own parser and run by" in told
    assert "- No GPU with TensorRT here: a deploy folder is made and NVIDIA's own parser reads it" in told
    assert bundles.verify(done.folder) == ()


@pytest.mark.parametrize("precision", ["int8", "fp16", "fp32"])
def test_without_the_parser_it_is_graph_verified_and_says_what_to_install(
    precision: str, small_graph: Graph, profile: Profile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parser, "missing", lambda: "tensorrt_rtx is not installed. Install it with: pip install X")
    heard: list[str] = []
    done = journey.export(small_graph, profile.altered(precision=precision), tmp_path / "bundle", say=heard.append)
    measured = done.report.measurements
    assert (measured.verified, measured.reads_back, done.verdict.exit_code) == ("graph", True, 4)
    (kind,) = [line for line in heard if "neither" in line]
    assert "tensorrt_rtx is not installed. Install it with: pip install X" in kind
    assert "\nGraph-verified: " in sentences(done.folder)


@with_parser
def test_a_file_that_the_parser_reads_as_another_network_fails(
    small_graph: Graph, profile: Profile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The artifact is compared with the Graph, whichever file of its precision was written wrong."""
    write = deploy.write

    def wrongly(graph: Graph, folder: Path, **more: int) -> deploy.Deploy:
        made = write(graph, folder, **more)
        network = read(folder / "int8.onnx")
        weight = next(
            tensor for tensor in network.tensors.values() if tensor.data is not None and tensor.data.ndim == 4
        )
        weight.data[0, 0, 0, 0] ^= 1  # type: ignore[index]
        write_onnx(network, folder / "int8.onnx")
        write_onnx(network, folder / "int8.opset17.onnx", opset=17)
        return made

    monkeypatch.setattr(deploy, "write", wrongly)
    done = journey.export(small_graph, profile, tmp_path / "bundle")
    assert "read_back_differences" in {promise.name for promise in done.verdict.in_state("failed")}
    assert done.verdict.exit_code == 3


@with_parser
def test_two_files_of_a_precision_that_differ_are_refused(
    small_graph: Graph, profile: Profile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = deploy.write

    def wrongly(graph: Graph, folder: Path, **more: int) -> deploy.Deploy:
        made = write(graph, folder, **more)
        write_onnx(read(folder / "fp32.onnx"), folder / "int8.opset17.onnx", opset=17)
        return made

    monkeypatch.setattr(deploy, "write", wrongly)
    with pytest.raises(GraphError, match=r"int8\.opset17\.onnx holds another network than int8\.onnx"):
        journey.export(small_graph, profile, tmp_path / "bundle")
    assert not (tmp_path / "bundle").exists()


def test_two_exports_are_equal_to_the_byte_but_for_the_report(
    small_graph: Graph, profile: Profile, pending: Path, tmp_path: Path
) -> None:
    again = journey.export(small_graph, profile, tmp_path / "again").folder
    reports = ("report.json", "report.md", "report.html", "report.junit.xml", "MODEL_CARD.md", "manifest.json")
    first, second = (
        {name: data for name, data in contents(folder).items() if name not in reports} for folder in (pending, again)
    )
    assert first == second


def test_what_is_here_and_cannot_be_used_is_said_where_it_was_not_measured(
    pending: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(find, "refused", lambda: "the driver is for CUDA 12.2")
    with pytest.raises(TargetError, match=r"runs tensorrt \(the driver is for CUDA 12\.2\)\. On a Jetson"):
        attest(pending, name="pc")


def test_nothing_here_runs_it_and_the_error_says_what_would(pending: Path) -> None:
    opened = bundles.Bundle.open(pending)
    assert opened.manifest.artifact == "deploy/int8.onnx"
    from edgeskin.screen.predictor import Predictor

    with pytest.raises(
        TargetError, match=r"nothing here runs it: no TensorRT here builds and runs engines: .*nvidia-jetpack"
    ):
        Predictor.open(pending)


# --- engines ahead of time ---


@with_parser
def test_an_engine_for_named_gpus_lies_beside_the_file_it_was_built_from(
    small_graph: Graph, profile: Profile, tmp_path: Path
) -> None:
    done = journey.export(small_graph, profile.altered(gpus=("ada", "ampere")), tmp_path / "bundle")
    artifact = done.folder / done.report.artifact
    note = ahead.read(artifact)
    assert note is not None
    assert (note.gpus, note.largest_batch) == (("ada", "ampere"), 8)
    assert ahead.engine_of(artifact).stat().st_size > 100_000
    assert bundles.verify(done.folder) == ()
    assert done.verdict.exit_code == 4
    ahead.engine_of(artifact).write_bytes(b"other")
    with pytest.raises(TargetError, match=r"int8\.tensorrt-rtx\.engine: is missing or was changed"):
        ahead.read(artifact)


@with_parser
def test_gpus_that_no_engine_can_be_built_for_are_named(small_graph: Graph, profile: Profile, tmp_path: Path) -> None:
    with pytest.raises(TargetError, match="cannot build for volta: choose turing, ampere-server"):
        journey.export(small_graph, profile.altered(gpus=("volta",)), tmp_path / "bundle")
    assert not (tmp_path / "bundle").exists()


@with_parser
def test_an_engine_ahead_of_time_is_taken_by_the_gpus_it_is_for(
    small_graph: Graph, profile: Profile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    """By no other, and not by another TensorRT; the engine is a stand-in's, which is the ONNX file itself."""
    library = SimpleNamespace(__version__="1.7.1")
    monkeypatch.setattr(
        ahead,
        "parser",
        SimpleNamespace(define=lambda path: SimpleNamespace(library=library, content=path.read_bytes())),
    )
    monkeypatch.setattr(ahead, "build", lambda definition, _: definition.content)
    waiting = journey.export(small_graph, profile.altered(gpus=("ada",)), tmp_path / "bundle").folder
    ada = StandIn(version=(1, 7, 1), gpu=Gpu("NVIDIA GeForce RTX 4070", (8, 9), "580.65", 12282.0))
    on_a_board(monkeypatch, cache, ada)
    assert attest(waiting, name="ada").measurements.verified == "device"
    assert ada.built == []
    assert journey.judge(waiting).verdict.exit_code == 0
    for other in (replace(ada, gpu=replace(ada.gpu, capability=(8, 6))), replace(ada, version=(1, 8, 0))):
        on_a_board(monkeypatch, cache, replace(other, built=[]))
        attest(waiting, name="other")
        assert find.find().built == ["int8.onnx"]  # type: ignore[union-attr]


# --- with a GPU; the engine is a stand-in for TensorRT's ---


@pytest.mark.parametrize(
    ("version", "file"),
    [((8, 5, 2), "int8.opset17.onnx"), ((10, 3, 0), "int8.opset17.onnx"), ((11, 4, 1), "int8.onnx")],
)
def test_with_a_gpu_the_engine_is_built_run_measured_and_judged(
    version: tuple[int, int, int],
    file: str,
    small_graph: Graph,
    profile: Profile,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    cache: Path,
) -> None:
    board = on_a_board(monkeypatch, cache, StandIn(version=version))
    done = journey.export(small_graph, profile, tmp_path / "bundle")
    measured = done.report.measurements
    assert done.verdict.exit_code == 0, [promise.sentence for promise in done.verdict.promises]
    assert board.built == [file, file.replace("int8", "fp32")]  # the engine, and the float one it is compared with
    assert (measured.verified, measured.equivalent) == ("device", True)
    assert {figure.name: figure.p50_ms for figure in measured.latency} == {
        "model int8": 2.0, "model int8, engine alone": 1.0, "model fp32": 2.0, "model fp32, engine alone": 1.0
    }  # fmt: skip
    assert measured.speed is not None
    assert measured.speed.speedup_vs_fp32 == 1.0
    assert measured.placement is not None
    assert (measured.placement.integer_fraction, measured.placement.float_operators) == (1.0, ())
    assert measured.placement.provider == f"{board.name}, Orin"
    (engine,) = [
        path for path in cache.rglob("engine.plan") if path.read_bytes() == (done.folder / "deploy" / file).read_bytes()
    ]
    assert measured.size_mib == engine.stat().st_size / 2**20


def test_a_quantized_layer_that_runs_in_float_fails_the_gate(
    small_graph: Graph, profile: Profile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    name = next(node.name for node in read(small_graph.int8).nodes if node.name.startswith("encoder"))
    on_a_board(monkeypatch, cache, StandIn(floating=frozenset({name})))
    done = journey.export(small_graph, profile, tmp_path / "bundle")
    failed = {promise.name: promise for promise in done.verdict.in_state("failed")}
    assert failed["float_operators"].measured == 1
    assert done.verdict.exit_code == 3
    told = sentences(done.folder)
    assert f"left in float: {name}" in told
    assert re.search(r"<summary>\d+ layers of the engine: \d+ int8, \d fp32</summary>", told)
    assert re.search(rf"\| {re.escape(name)} +\| CaskConvolution \| fp32 ", told)


def test_an_engine_whose_layers_are_not_told_is_measured_all_the_same(
    pending: Path, monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    on_a_board(monkeypatch, cache, StandIn(detailed=False))
    measured = attest(pending, name="orin").measurements
    assert measured.placement is None
    assert "does not say what its layers compute in" in measured.not_measured["placement"]
    assert measured.latency
    states = {promise.name: promise.state for promise in journey.judge(pending).verdict.promises}
    assert states["device_numerics"] == "passed"
    assert states["integer_convolutions"] != "passed"


def test_an_engine_runs_without_its_network_being_read(
    pending: Path, monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    """So that neither onnx nor NVIDIA's parser counts where the memory of the engine is measured."""
    on_a_board(monkeypatch, cache)
    monkeypatch.setattr(TensorrtTarget, "read", None)
    opened = bundles.Bundle.open(pending)
    artifact = Artifact(opened.artifact, "tensorrt", "int8", opened.manifest.graph_sha256)
    size = opened.card.size
    session = targets.get("tensorrt").open(artifact)
    assert session.run(np.zeros((1, 3, size, size), np.uint8))["mask"].shape == (1, 1, size, size)
    with pytest.raises(TypeError):
        session.placement()


def test_an_engine_that_does_not_tell_its_memory_keeps_no_promise_of_memory(
    pending: Path, monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    """As trtexec's, which is loaded by a process of its own."""
    on_a_board(monkeypatch, cache)
    told = memory.Alone(40.0, 41.0, None, load_ms=9.0, first_run_ms=9.0, accelerated=True)
    monkeypatch.setattr(memory, "alone", lambda *_, **__: told)
    monkeypatch.setattr(memory, "measure", MEASURE_MEMORY)
    measured = attest(pending, name="orin").measurements
    assert measured.memory is None
    assert "tensorrt" in measured.not_measured["memory"]
    states = {promise.name: promise.state for promise in journey.judge(pending).verdict.promises}
    assert states["peak_memory_mib"] != "passed"


def test_a_gpu_that_computes_something_else_fails_the_gate(
    small_graph: Graph, profile: Profile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    on_a_board(monkeypatch, cache, StandIn(off=0.1))
    done = journey.export(small_graph, profile, tmp_path / "bundle")
    assert "mean_probability_difference" in {promise.name for promise in done.verdict.in_state("failed")}
    assert done.verdict.exit_code == 3


def test_a_board_finishes_from_the_deploy_folder_what_a_machine_without_a_gpu_began(
    pending: Path, profile: Profile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    on_a_board(monkeypatch, cache)
    with pytest.raises(GraphError, match=r"or .*pending/deploy, which a board builds from"):
        journey.find_graph(pending)
    done = journey.export(journey.find_graph(pending / "deploy"), profile, tmp_path / "board")
    assert done.verdict.exit_code == 0
    assert contents(pending / "deploy") == contents(done.folder / "deploy")


def test_a_board_attests_the_very_bundle(
    pending: Path, small_graph: Graph, monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    assert journey.judge(pending).verdict.exit_code == 4
    board = on_a_board(monkeypatch, cache)
    done = attest(pending, name="orin", graph=small_graph)
    assert (done.simulated, done.measurements.verified) == (False, "device")
    report = journey.judge(pending)
    assert report.verdict.exit_code == 0, report.verdict.promises
    assert "device-verified on " in report.verification
    # The engine was kept: a second look builds none.
    count = len(board.built)
    attest(pending, name="orin", graph=small_graph)
    assert len(board.built) == count


def test_an_engine_of_another_machine_is_built_again_and_said(
    pending: Path, monkeypatch: pytest.MonkeyPatch, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    on_a_board(monkeypatch, cache)
    attest(pending, name="old")
    newer = on_a_board(monkeypatch, cache, StandIn(version=(10, 7, 0)))
    attest(pending, name="new")
    assert newer.built == ["int8.opset17.onnx"]
    assert "builder TensorRT 10.3.0 instead of TensorRT 10.7.0" in caplog.text


def test_a_deploy_folder_that_was_changed_is_not_built_from(
    pending: Path, monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    on_a_board(monkeypatch, cache)
    (pending / "deploy" / "int8.opset17.onnx").write_bytes(b"")
    artifact = Artifact(pending / "deploy" / "int8.onnx", "tensorrt", "int8", "0" * 64)
    with pytest.raises(GraphError, match=r"int8\.opset17\.onnx was changed"):
        targets.get("tensorrt").open(artifact)
