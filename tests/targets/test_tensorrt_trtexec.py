"""trtexec's command lines, and what is made of the files and words that it leaves.

The program runs on a board alone. A stand-in takes its place: it writes the files in the formats that
samples/common/sampleReporting.cpp of NVIDIA/TensorRT prints, and says what forums quote of it when it fails.
"""

import json
import os
import stat
import sys
from pathlib import Path

import numpy as np
import pytest
from metadata_graphs import SPEC

from edgeskin.contract.model import ModelCard
from edgeskin.errors import TargetError
from edgeskin.graph.folder import Graph
from edgeskin.targets.base import Effort
from edgeskin.targets.tensorrt.generations import RTX, TRTEXEC, Generation
from edgeskin.targets.tensorrt.runtime import LARGEST_BATCH, Gpu, machine, trtexec
from edgeskin.targets.tensorrt.runtime.reasons import NOT_STARTED
from edgeskin.targets.tensorrt.runtime.trtexec import Trtexec, build_line, read_outputs, read_times

STAND_IN = """#!{python}
import json, math, struct, sys
from pathlib import Path

here = Path(__file__).parent
says = json.loads((here / "says.json").read_text())
print("&&&& RUNNING TensorRT.trtexec [TensorRT v" + says["version"] + "] # trtexec", *sys.argv[1:])
if sys.argv[1:] == ["--help"]:
    sys.exit(0)
if sys.argv[1:] == ["--loadEngine=none"]:
    print(says.get("device", ""))
    sys.exit(1)
describes = {each.partition("=")[0] for each in sys.argv} >= {"--loadEngine", "--exportLayerInfo"}
kept = "layers.json" if describes else "arguments.json"
(here / kept).write_text(json.dumps(sys.argv[1:]))
if "log" in says:
    print(says["log"])
    sys.exit(says["code"])
options = dict(each.split("=", 1) for each in sys.argv[1:] if "=" in each)
if "--saveEngine" in options and not says.get("idle"):
    Path(options["--saveEngine"]).write_bytes(b"engine")
    Path(options["--exportLayerInfo"]).write_text('{"Layers": []}')
if "--loadEngine" in options and "--exportLayerInfo" in options:
    assert Path(options["--loadEngine"]).read_bytes() == b"engine"
    Path(options["--exportLayerInfo"]).write_text('{"Layers": ["as run on %s"]}' % options["--shapes"])
elif "--loadEngine" in options and not says.get("idle"):
    shapes = {name: list(map(int, shape.split("x")))
              for name, shape in (each.split(":") for each in options["--shapes"].split(","))}
    total = 0.0
    for name, path in (each.split(":") for each in options["--loadInputs"].split(",")):
        kind = "B" if name == "image" and int(says["version"]) >= 101500 else "f"
        count = math.prod(shapes[name])
        content = Path(path).read_bytes()
        assert len(content) == count * struct.calcsize(kind), (name, len(content))
        total += sum(struct.unpack("<%d%s" % (count, kind), content))
    batch, size = shapes["image"][0], shapes["image"][2]
    with open(options["--exportOutput"], "w") as stream:
        stream.write("[\\n")
        separator = "  "
        for name, shape in (("mask", (batch, 1, size, size)), ("diagnosis", (batch, 3)), ("melanoma", (batch, 1))):
            values = ["%g" % (total / 1e9 + place / 1e5) for place in range(math.prod(shape))]
            stream.write('%s{ "name" : "%s"\\n  , "dimensions" : "%s"\\n  , "values" : [ %s ]\\n  }\\n'
                         % (separator, name, "x".join(map(str, shape)), ", ".join(values)))
            separator = ", "
        stream.write("]\\n")
    Path(options["--exportTimes"]).write_text(says.get("times", ""))
print("&&&& PASSED TensorRT.trtexec")
"""

QUERY = (  # one line of exportJSONTrace
    '{ "startEnqMs" : 1, "endEnqMs" : 2, "startH2dMs" : 1, "endH2dMs" : 1.5, "startComputeMs" : %g'
    ', "endComputeMs" : 5, "startD2hMs" : 5, "endD2hMs" : 6, "h2dMs" : 0.5, "computeMs" : %g, "d2hMs" : 1'
    ', "latencyMs" : %g }\n'
)
TRACE = "[\n  " + ", ".join(QUERY % each for each in ((0.5, 9, 10), (200, 2.5, 4), (210, 3, 5))) + "]\n"


def stand_in(folder: Path, version: str, **says: object) -> Trtexec:
    """A program that says and does what it is told."""
    program = folder / "trtexec"
    program.write_text(STAND_IN.replace("{python}", sys.executable))
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    (folder / "says.json").write_text(json.dumps({"version": version, "times": TRACE, **says}))
    return Trtexec.at(program)


def asked(folder: Path) -> list[str]:
    found: list[str] = json.loads((folder / "arguments.json").read_text())
    return found


# --- command lines ---

SHAPES = {"image": (3, 192, 192), "metadata": (8,)}
PRECISION_OF = {
    "8.5": ["--int8", "--noTF32"],
    "8.6": ["--int8", "--noTF32"],
    "10.0": ["--stronglyTyped", "--noTF32"],
    "10.15": ["--stronglyTyped", "--noTF32"],
    "11.0": [],  # NVIDIA, Migrating trtexec Usage from TensorRT 10.x to 11.x: all precision flags are removed
}


@pytest.mark.parametrize("generation", TRTEXEC, ids=lambda each: each.name)
def test_the_line_that_builds_says_precision_as_its_generation_does(generation: Generation) -> None:
    line = build_line(
        generation, "int8", onnx="m.onnx", engine="m.plan", layers="l.json", inputs=SHAPES, largest_batch=4,
        timing_cache="t.cache",
    )  # fmt: skip
    assert list(line) == [
        "--onnx=m.onnx",
        *PRECISION_OF[generation.name],
        "--minShapes=image:1x3x192x192,metadata:1x8",
        "--optShapes=image:1x3x192x192,metadata:1x8",
        "--maxShapes=image:4x3x192x192,metadata:4x8",
        "--saveEngine=m.plan",
        "--timingCacheFile=t.cache",
        "--profilingVerbosity=detailed",
        "--exportLayerInfo=l.json",
        # TensorRT 8.5's help knows --buildOnly, 8.6's --skipInference
        "--buildOnly" if generation.name == "8.5" else "--skipInference",
    ]


def test_float_permits_no_other_precision() -> None:
    line = build_line(TRTEXEC[0], "fp32", onnx="m", engine="e", layers="l", inputs=SHAPES, largest_batch=1)
    assert not {"--int8", "--fp16", "--best"} & set(line)


def test_float16_is_the_float_file_and_a_flag_or_a_file_of_its_own() -> None:
    flags, typed = (
        build_line(each, "fp16", onnx="m", engine="e", layers="l", inputs=SHAPES, largest_batch=1)
        for each in (TRTEXEC[0], TRTEXEC[3])
    )
    assert "--fp16" in flags
    assert "--int8" not in flags
    assert not {"--int8", "--fp16"} & set(typed)


def test_a_precision_that_it_cannot_build_is_refused() -> None:
    with pytest.raises(TargetError, match="builds no w8a16 of our files; choose int8, fp16, fp32"):
        build_line(TRTEXEC[0], "w8a16", onnx="m", engine="e", layers="l", inputs=SHAPES, largest_batch=1)


def test_tensorrt_rtx_has_no_line() -> None:
    with pytest.raises(TargetError, match="RTX 1 is not built by trtexec"):
        build_line(RTX, "int8", onnx="m", engine="e", layers="l", inputs=SHAPES, largest_batch=1)


# --- finding it ---


def test_it_is_found_on_the_path_and_says_its_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(tmp_path, "8502")
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    found = Trtexec.find()
    assert (found.program, found.version, found.generation.name) == (tmp_path / "trtexec", (8, 5, 2), "8.5")


def test_it_is_found_where_jetpack_puts_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(tmp_path, "100300")
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(trtexec, "JETPACK_PLACE", tmp_path / "trtexec")
    assert Trtexec.find().generation.name == "10.0"


def test_where_there_is_none_the_error_says_where_it_was_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert not trtexec.JETPACK_PLACE.exists()
    with pytest.raises(TargetError, match="no trtexec is on the PATH, nor at /usr/src/tensorrt/bin/trtexec"):
        Trtexec.find()


# what trtexec 10.16.2 prints on an Orin NX (pull request 2243 of OE4T/meta-tegra)
DEVICE = """[01/01/1970-03:47:30] [I] === Device Information ===
[01/01/1970-03:47:30] [I] Available Devices:
[01/01/1970-03:47:30] [I]   Device 0: "Orin" UUID: GPU-f5507ee1-b6b1-556b-8350-83af993dbffd
[01/01/1970-03:47:30] [I] Selected Device: Orin
[01/01/1970-03:47:30] [I] Selected Device ID: 0
[01/01/1970-03:47:30] [I] Selected Device UUID: GPU-f5507ee1-b6b1-556b-8350-83af993dbffd
[01/01/1970-03:47:30] [I] Compute Capability: 8.7
[01/01/1970-03:47:30] [I] SMs: 8
[01/01/1970-03:47:30] [I] Device Global Memory: 15536 MiB
"""


def test_the_gpu_is_the_one_that_it_takes_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "driver", lambda: "L4T 39.2.0")
    monkeypatch.setattr(machine, "board", lambda: None)
    assert stand_in(tmp_path, "101602", device=DEVICE).gpu == Gpu("Orin", (8, 7), "L4T 39.2.0", 15536.0)
    monkeypatch.setattr(machine, "board", lambda: "NVIDIA Jetson Orin NX")
    assert stand_in(tmp_path, "101602", device=DEVICE).gpu.name == "Orin (NVIDIA Jetson Orin NX)"


def test_where_it_does_not_print_the_gpu_the_machine_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listed = Gpu("Tesla T4", (7, 5), "535.104.05", 15360.0)
    monkeypatch.setattr(machine, "gpu", lambda: listed)
    assert stand_in(tmp_path, "8502").gpu is listed


@pytest.mark.parametrize(
    ("device", "said"),
    [
        ("Cuda failure: no CUDA-capable device is detected", "Cuda failure: no CUDA-capable device is detected"),
        ("[I] Cannot find any available devices (GPUs)!", "Cannot find any available devices (GPUs)"),
        ("Cuda failure: CUDA driver version is insufficient for CUDA runtime version", NOT_STARTED),
    ],
)
def test_where_it_finds_no_gpu_it_cannot_be_used(device: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(TargetError) as refusal:
        stand_in(tmp_path, "100300", device=device).gpu  # noqa: B018
    assert str(refusal.value).startswith(f"trtexec of TensorRT 10.3.0 finds no GPU: {said}")


def test_another_program_of_that_name_is_refused(tmp_path: Path) -> None:
    program = tmp_path / "trtexec"
    program.write_text("#!/bin/sh\necho hello\n")
    with pytest.raises(TargetError, match="cannot be run: Permission denied"):
        Trtexec.at(program)
    program.chmod(0o755)
    with pytest.raises(TargetError, match="does not say which TensorRT it is of"):
        Trtexec.at(program)


def test_a_version_that_nobody_has_tried_is_refused_before_anything_is_built(tmp_path: Path, graph: Graph) -> None:
    with pytest.raises(TargetError, match=r"TensorRT 8\.4\.1 is none that edgeskin knows"):
        stand_in(tmp_path, "8401").build(graph.int8, graph.card, "int8", tmp_path)


# --- building ---


def test_an_engine_and_what_is_in_it_are_put_into_the_folder(tmp_path: Path, graph: Graph) -> None:
    (out := tmp_path / "out").mkdir()
    built = stand_in(tmp_path, "101600").build(graph.int8, graph.card, "int8", out, timing_cache=out / "t.cache")
    assert built.engine.read_bytes() == b"engine"
    # What it writes without running the engine says N/A of every tensor; it is run once at batch 1.
    assert json.loads(built.layers.read_text()) == {"Layers": ["as run on image:1x3x32x32"]}
    loaded, *others = json.loads((tmp_path / "layers.json").read_text())
    assert loaded.startswith("--loadEngine=") and loaded.endswith("/engine.plan")
    assert others == [
         "--shapes=image:1x3x32x32", "--warmUp=0", "--duration=0", "--iterations=1",
        "--profilingVerbosity=detailed", "--exportLayerInfo=layers.json",
    ]  # fmt: skip
    assert {each.name for each in out.iterdir()} == {"engine.plan", "layers.json"}
    assert f"--onnx={graph.int8}" in asked(tmp_path)
    assert f"--timingCacheFile={out / 't.cache'}" in asked(tmp_path)
    assert "--maxShapes=image:8x3x32x32" in asked(tmp_path)


def test_a_build_that_leaves_nothing_is_an_error_and_the_old_engine_stands(tmp_path: Path, graph: Graph) -> None:
    (out := tmp_path / "out").mkdir()
    (out / "engine.plan").write_bytes(b"old")
    with pytest.raises(TargetError, match=r"engine\.plan is not what was asked for: was not written"):
        stand_in(tmp_path, "8502", idle=True).build(graph.int8, graph.card, "int8", out)
    assert {each.name: each.read_bytes() for each in out.iterdir()} == {"engine.plan": b"old"}


# --- running ---


def loaded(folder: Path, version: str, card: ModelCard, **says: object) -> trtexec.TrtexecEngine:
    """An engine of the stand-in."""
    (engine := folder / "engine.plan").write_bytes(b"engine")
    return stand_in(folder, version, **says).load(engine, card)


@pytest.mark.parametrize("version", ["8502", "101600"])
def test_an_engine_is_run_on_what_it_takes_and_answers_by_head(version: str, tmp_path: Path, graph: Graph) -> None:
    """The stand-in demands float32 pixels of 8.5 and bytes of 10.16, counts them, and answers with their sum."""
    image = np.random.default_rng(1).integers(0, 256, (2, 3, 32, 32), np.uint8)
    outputs = loaded(tmp_path, version, graph.card).run(image)
    assert {name: values.shape for name, values in outputs.items()} == {
        "mask": (2, 1, 32, 32),
        "diagnosis": (2, 3),
        "melanoma": (2, 1),
    }
    total = image.sum(dtype=np.int64) / 1e9
    expected = (total + np.arange(6) / 1e5).reshape(2, 3)
    # six significant digits of numbers below 0.01
    np.testing.assert_allclose(outputs["diagnosis"], expected, atol=1e-8, rtol=0)
    assert all(values.dtype == np.float32 for values in outputs.values())


def test_more_pictures_than_an_engine_takes_are_split_and_none_needs_no_program(tmp_path: Path, graph: Graph) -> None:
    engine = loaded(tmp_path, "8502", graph.card)
    assert {name: len(values) for name, values in engine.run(np.zeros((0, 3, 32, 32), np.uint8)).items()} == {
        "mask": 0,
        "diagnosis": 0,
        "melanoma": 0,
    }
    assert not (tmp_path / "arguments.json").exists()
    image = np.zeros((LARGEST_BATCH + 2, 3, 32, 32), np.uint8)
    image[LARGEST_BATCH:] = 255
    answered = engine.run(image)["melanoma"]
    assert answered.shape == (LARGEST_BATCH + 2, 1)
    assert answered[0, 0] == 0
    assert answered[LARGEST_BATCH, 0] == np.float32(f"{2 * 3 * 32 * 32 * 255 / 1e9:g}")
    assert "--shapes=image:2x3x32x32" in asked(tmp_path)


def test_metadata_is_handed_over_as_float32(tmp_path: Path, graph: Graph) -> None:
    card = ModelCard.model_validate(graph.card.model_dump() | {"metadata": SPEC.model_dump()})
    image, metadata = np.zeros((1, 3, 32, 32), np.uint8), np.full((1, SPEC.width), 1000, np.float32)
    engine = loaded(tmp_path, "101600", card)
    assert engine.run(image, metadata)["melanoma"][0, 0] == np.float32(1000 * SPEC.width / 1e9)
    assert f"--shapes=image:1x3x32x32,metadata:1x{SPEC.width}" in asked(tmp_path)
    with pytest.raises(TargetError, match="takes metadata as float32"):
        engine.run(image)


def test_how_long_it_runs_is_said_and_the_warm_up_is_not_counted(tmp_path: Path, graph: Graph) -> None:
    image = np.zeros((1, 3, 32, 32), np.uint8)
    times = loaded(tmp_path, "8502", graph.card).times(image, None, Effort(200, 3, 10))
    assert {"--warmUp=200", "--duration=3", "--iterations=10"} < set(asked(tmp_path))
    assert times.compute_ms == (2.5, 3.0)  # TRACE, but for what began at 0.5 ms
    assert times.latency_ms == (4.0, 5.0)


def test_an_input_of_another_shape_never_reaches_it(tmp_path: Path, graph: Graph) -> None:
    engine = loaded(tmp_path, "8502", graph.card)
    with pytest.raises(TargetError, match=r"takes image as uint8 \[N, 3, 32, 32\]"):
        engine.run(np.zeros((1, 3, 16, 16), np.uint8))
    assert not (tmp_path / "arguments.json").exists()


def test_an_engine_that_is_not_there_is_refused_at_once(tmp_path: Path, graph: Graph) -> None:
    with pytest.raises(TargetError, match=r"engine\.plan: no such file\. Build the engine again"):
        stand_in(tmp_path, "8502").load(tmp_path / "engine.plan", graph.card)


def test_it_says_what_it_is_of_and_how_much_memory_nobody_tells(tmp_path: Path, graph: Graph) -> None:
    engine = loaded(tmp_path, "8502", graph.card)
    assert engine.program.name == "trtexec of TensorRT 8.5.2"
    assert engine.device_mib is None


# --- what it says when it fails ---

FAILURES = {
    "its last errors": (
        1,
        "[I] Start\n[E] Error[4]: first\n[W] slow\n[E] Error[2]: last\n&&&& FAILED TensorRT.trtexec",
        r"failed: exit code 1: \[E\] Error\[4\]: first; \[E\] Error\[2\]: last$",
    ),
    "its last lines where none is an error": (3, "one\ntwo", r"failed: exit code 3: .*one; two$"),
    "how much memory was asked for": (  # NVIDIA/TensorRT's words, as forums quote them
        1,
        "[E] [TRT] Requested amount of GPU memory (57662592 bytes) could not be allocated.\nError Code 2: OutOfMemory",
        r"out of memory: 55\.0 MiB were asked for at once",  # 57662592 / 2**20 = 54.99
    ),
    "which GPUs differ": (  # NVIDIA/TensorRT issue 3130: built on one of 8.6, run on a T4
        1,
        "[E] Error Code 6: The engine plan file is generated on an incompatible device, expecting compute 7.5 got "
        "compute 8.6, please rebuild.",
        r"built for a GPU of compute capability 8\.6, and this one has 7\.5\. Build it again",
    ),
    "that it is no engine": (  # NVIDIA/TensorRT issue 2915
        1,
        "[E] 1: [runtime.cpp::parsePlan::314] Error Code 1: Serialization (Serialization assertion "
        "plan->header.magicTag == rt::kPLAN_MAGIC_TAG failed.)",
        r"the file is damaged, or no engine at all\. Build it again",
    ),
    "that the driver is old": (  # NVIDIA/TensorRT issue 2913
        1,
        "[W] CUDA initialization failure with error: 35. Please check your CUDA installation",
        r"no NVIDIA driver, or it is too old .* Update the driver",
    ),
    "that memory was missing": (1, "[E] Error Code 1: Cuda Runtime (out of memory)", "out of memory: it does not say"),
    "that the system stopped it": (137, "", "out of memory: the system stopped it"),
    "which versions differ": (
        1,
        "[E] Error Code 6: The engine plan file is not compatible with this version of TensorRT, expecting library "
        "version 10.3.0.30 got 8.5.2.2, please rebuild.",
        r"another version of TensorRT: it is of 8\.5\.2\.2, this is 10\.3\.0\.30\. Build it again",
    ),
    "that versions differ": (
        1,
        "[E] The engine plan file is not compatible with this version of TensorRT",
        r"another version of TensorRT\. Build it again",
    ),
}


@pytest.mark.parametrize("what", FAILURES)
def test_a_failure_tells(what: str, tmp_path: Path, graph: Graph) -> None:
    code, log, told = FAILURES[what]
    engine = loaded(tmp_path, "100300", graph.card, code=code, log=log)
    with pytest.raises(TargetError, match=told) as failure:
        engine.run(np.zeros((1, 3, 32, 32), np.uint8))
    assert str(failure.value).startswith(f"{tmp_path / 'trtexec'} of TensorRT 10.3.0 failed: ")


@pytest.mark.parametrize(
    ("code", "log"),
    [
        (1, "[E] Error Code 1: Cuda Runtime (out of memory)"),
        (137, ""),
        (1, FAILURES["how much memory was asked for"][1]),
    ],
)
def test_where_memory_is_missing_what_is_free_is_said(
    code: int, log: str, tmp_path: Path, graph: Graph, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "memory", lambda: "512.0 MiB of the board's memory are free")
    engine = loaded(tmp_path, "100300", graph.card, code=code, log=log)
    with pytest.raises(TargetError, match=r"out of memory: .*, 512\.0 MiB of the board's memory are free"):
        engine.run(np.zeros((1, 3, 32, 32), np.uint8))


# --- files that are not what was asked for ---

ONE = '[ { "name" : "melanoma"\n , "dimensions" : "1x2"\n , "values" : [ 0.25, 0.5 ]\n } ]'


def test_outputs_are_read_as_float32_in_the_order_asked_for(tmp_path: Path) -> None:
    (tmp_path / "outputs.json").write_text(ONE)
    outputs = read_outputs(tmp_path / "outputs.json", {"melanoma": (1, 2)})
    np.testing.assert_array_equal(outputs["melanoma"], np.array([[0.25, 0.5]], np.float32))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (None, "was not written"),
        ("", "Invalid JSON"),
        ("[ ]", "has no outputs, and melanoma were asked for"),
        (ONE.replace("melanoma", "mask"), "has mask, and melanoma were asked for"),
        (ONE.replace("1x2", "2x1"), "has melanoma as 2x1 with 2 values, and 1x2 was asked for"),
        (ONE.replace(", 0.5", ""), "has melanoma as 1x2 with 1 values, and 1x2 was asked for"),
        (ONE.replace("0.25", "nan"), "holds nan, which is no finite number"),
        (ONE.replace("0.5", "-inf"), "holds -inf, which is no finite number"),
        (ONE.replace("0.25", '"x"'), r"0\.values\.0: "),
        (ONE.replace('"values"', '"data"'), r"0\.values: Field required"),
    ],
)
def test_outputs_that_are_not_what_was_asked_for_are_an_error(text: str | None, told: str, tmp_path: Path) -> None:
    path = tmp_path / "outputs.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(TargetError, match=rf"trtexec's outputs\.json is not what was asked for: {told}"):
        read_outputs(path, {"melanoma": (1, 2)})


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (None, "was not written"),
        ("[\n]\n", "has no query behind the first 200 ms"),
        (f"[ {QUERY % (0.5, 9, 10)} ]", "has no query behind the first 200 ms"),
        (TRACE.replace('"computeMs"', '"compute"'), r"0\.computeMs: Field required"),
        (TRACE.replace(": 2.5", ": 0"), r"1\.computeMs: Input should be greater than 0"),
        (TRACE[:-40], "Invalid JSON"),
    ],
)
def test_times_that_are_not_what_was_asked_for_are_an_error(text: str | None, told: str, tmp_path: Path) -> None:
    path = tmp_path / "times.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(TargetError, match=rf"trtexec's times\.json is not what was asked for: {told}"):
        read_times(path, 200)
