"""TensorRT through its own program, `trtexec`, for boards whose Python bindings fit no Python of ours: JetPack 5.

trtexec takes files and leaves files. Raw input files hold the numbers in the order of memory, as `numpy.tofile` writes
them; it reads as many bytes as an input has and says nothing where there are fewer, so they are counted here. Outputs
come back as JSON with six significant digits, at most 5e-7 of a probability. Times are JSON too, in milliseconds; some
versions list the warm-up among them, so it is left out here, by trtexec's own rule: what began computing before
`--warmUp` milliseconds.

Sources, all of NVIDIA/TensorRT: samples/trtexec/README.md (raw inputs, `--loadInputs`, shapes, `--stronglyTyped`);
samples/common/sampleOptions.cpp (every option, in its help); sampleReporting.cpp (exportJSONTrace, exportJSONOutput,
printPerformanceReport); sampleUtils.cpp (loadFromFile); sampleDevice.cpp (setCudaDevice: which GPU it takes, printed
before it opens any file). Nothing here has met the program itself yet: tests run a
stand-in that writes these formats. No source was found that trtexec 11 still has `--noTF32`, so it is not told there.
"""

import math
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TypeVar

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from edgeskin import files
from edgeskin.contract.declaration import wrong_fields
from edgeskin.contract.model import ModelCard
from edgeskin.errors import TargetError
from edgeskin.targets.base import IMAGE, METADATA, Effort, Float32, Inputs, Precision, Times, UInt8
from edgeskin.targets.tensorrt.generations import Generation, Version, from_number, of, words
from edgeskin.targets.tensorrt.runtime import ENGINE, LARGEST_BATCH, LAYERS, AbsentError, Built, Gpu, machine
from edgeskin.targets.tensorrt.runtime.inputs import demand_precision, input_shapes, output_shapes
from edgeskin.targets.tensorrt.runtime.reasons import why

JETPACK_PLACE = Path("/usr/src/tensorrt/bin/trtexec")
"""Where JetPack puts it, outside the PATH."""

OUTPUTS, TIMES = "outputs.json", "times.json"

_BANNER = re.compile(r"\[TensorRT v(\d+)\]")
_SELECTED = re.compile(r"\bSelected Device: (.+?)\s*$", re.MULTILINE)
_CAPABILITY = re.compile(r"\bCompute Capability: (\d+)\.(\d+)")
_MEMORY_MIB = re.compile(r"\bDevice Global Memory: (\d+) MiB")
_NO_GPU = re.compile(r"Cuda failure: .+|Cannot find any available devices \(GPUs\)")
_KILLED = (-9, 137)
"""How a program ends that the kernel stopped for want of memory: by signal 9, or as a shell says it."""
_LAST_LINES = 5


# --- command lines ---


def build_line(
    generation: Generation,
    precision: Precision,
    *,
    onnx: str,
    engine: str,
    layers: str,
    inputs: Mapping[str, tuple[int, ...]],
    largest_batch: int,
    timing_cache: str | None = None,
) -> tuple[str, ...]:
    """The options that build an engine for batches of 1 to `largest_batch`, fastest at 1, without running it.

    onnx: the file of this generation's opset, in that precision; where precision is said by flags, fp16 is built of
    the float file. engine, layers: where the engine and what is in it are written.
    inputs: as `input_shapes`. timing_cache: a file that makes the next build faster, made where there is none.

    Raises: TargetError for a precision or a generation that it cannot build.
    """
    demand_precision(precision)
    if generation.build_only is None:
        raise TargetError(f"TensorRT {generation.name} is not built by trtexec; its Python bindings build it")
    # int8 without --fp16: between integers it computes in float32, as the network that is measured does
    permitted = {"int8": ("--int8",), "fp16": ("--fp16",)}.get(precision, ())
    said = {
        # TF32 is on by itself, and would make float32 less than it says
        "flags": (*permitted, "--noTF32"),
        "asked": ("--stronglyTyped", "--noTF32"),
        "always": (),
    }
    smallest, largest = _shapes(inputs, 1), _shapes(inputs, largest_batch)
    return (
        f"--onnx={onnx}",
        *said[generation.typing],
        f"--minShapes={smallest}",
        f"--optShapes={smallest}",
        f"--maxShapes={largest}",
        f"--saveEngine={engine}",
        *(() if timing_cache is None else (f"--timingCacheFile={timing_cache}",)),
        "--profilingVerbosity=detailed",
        f"--exportLayerInfo={layers}",
        generation.build_only,
    )


ONCE = Effort(0, 0, 1)
"""For the answers alone."""
TIMED = Effort(1000, 10, 1024)
"""For times."""


def run_line(
    engine: str, raw: Mapping[str, str], shapes: Mapping[str, tuple[int, ...]], effort: Effort
) -> tuple[str, ...]:
    """The options that run a saved engine on given inputs.

    raw: the file of each input, by name. shapes: of each input, with the batch.
    """
    return (
        f"--loadEngine={engine}",
        f"--loadInputs={','.join(f'{name}:{file}' for name, file in raw.items())}",
        f"--shapes={','.join(f'{name}:{_by(shape)}' for name, shape in shapes.items())}",
        f"--warmUp={effort.warm_up_ms}",
        f"--duration={effort.duration_s}",
        f"--iterations={effort.iterations}",
        f"--exportOutput={OUTPUTS}",
        f"--exportTimes={TIMES}",
    )


def layers_line(engine: str, layers: str, inputs: Mapping[str, tuple[int, ...]]) -> tuple[str, ...]:
    """The options that write what is in a saved engine, at batch 1.

    An engine for several batch sizes tells what its tensors are stored as only where it is run: without a context whose
    shapes are set, `N/A due to dynamic shapes` stands in their place (samples/trtexec/trtexec.cpp, printLayerInfo).
    """
    return (
        f"--loadEngine={engine}",
        f"--shapes={_shapes(inputs, 1)}",
        f"--warmUp={ONCE.warm_up_ms}",
        f"--duration={ONCE.duration_s}",
        f"--iterations={ONCE.iterations}",
        "--profilingVerbosity=detailed",
        f"--exportLayerInfo={layers}",
    )


def _shapes(inputs: Mapping[str, tuple[int, ...]], batch: int) -> str:
    return ",".join(f"{name}:{_by((batch, *shape))}" for name, shape in inputs.items())


def _by(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))


# --- what it leaves ---


class _Written(BaseModel):
    """Strict about what is read of it; other keys are other versions' business."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)


class _Output(_Written):
    name: str
    dimensions: str
    values: tuple[float, ...]


class _Query(_Written):
    began_ms: float = Field(alias="startComputeMs")
    compute_ms: float = Field(alias="computeMs", gt=0)
    latency_ms: float = Field(alias="latencyMs", gt=0)


_OUTPUTS, _QUERIES = TypeAdapter(tuple[_Output, ...]), TypeAdapter(tuple[_Query, ...])
_NO_NUMBER = re.compile(r"[\s,:\[](-?(?:nan|inf)\w*)[\s,\]}]", re.IGNORECASE)
"""How C++ prints what is not finite; JSON has no word for it."""
_T = TypeVar("_T")


def read_outputs(path: Path, expected: Mapping[str, tuple[int, ...]]) -> Mapping[str, Float32]:
    """The outputs that `--exportOutput` wrote, by name. expected: the shape of each, with the batch.

    Raises: TargetError for a file that is absent or no such JSON, an output that is missing, of another shape, or not
    finite.
    """
    found = {output.name: output for output in _parsed(path, _OUTPUTS)}
    if found.keys() != expected.keys():
        raise _unlike(path, f"has {', '.join(found) or 'no outputs'}, and {', '.join(expected)} were asked for")
    for name, shape in expected.items():
        if found[name].dimensions != _by(shape) or len(found[name].values) != math.prod(shape):
            given = f"{found[name].dimensions} with {len(found[name].values)} values"
            raise _unlike(path, f"has {name} as {given}, and {_by(shape)} was asked for")
    return {name: np.asarray(found[name].values, np.float32).reshape(shape) for name, shape in expected.items()}


def read_times(path: Path, warm_up_ms: float) -> Times:
    """The times that `--exportTimes` wrote, those of the warm-up left out.

    Raises: TargetError for a file that is absent or no such JSON, or that holds nothing behind the warm-up.
    """
    queries = [each for each in _parsed(path, _QUERIES) if each.began_ms >= warm_up_ms]
    if not queries:
        raise _unlike(path, f"has no query behind the first {warm_up_ms:g} ms")
    return Times(tuple(each.compute_ms for each in queries), tuple(each.latency_ms for each in queries))


def _parsed(path: Path, kind: TypeAdapter[_T]) -> _T:
    try:
        text = path.read_text(encoding="utf-8")
        if found := _NO_NUMBER.search(text):
            raise _unlike(path, f"holds {found[1]}, which is no finite number")
        return kind.validate_json(text)
    except FileNotFoundError as error:
        raise _unlike(path, "was not written") from error
    except ValidationError as error:
        raise _unlike(path, wrong_fields(error)) from error
    except (OSError, ValueError) as error:
        raise _unlike(path, f"cannot be read: {error}") from error


def _written(path: Path) -> Path:
    """Raises: TargetError where trtexec did not write a file, or wrote nothing into it."""
    if not path.is_file() or not path.stat().st_size:
        raise _unlike(path, "was not written")
    return path


def _unlike(path: Path, what: str) -> TargetError:
    return TargetError(
        f"trtexec's {path.name} is not what was asked for: {what}. Run trtexec by hand to see what it says"
    )


# --- the program ---


@dataclass(frozen=True)
class Trtexec:
    """The program on this machine, and the version of TensorRT that it is of."""

    program: Path
    version: Version

    @staticmethod
    def find() -> "Trtexec":
        """The program on the PATH, or where JetPack puts it.

        Raises: AbsentError where there is none; TargetError where it does not say its version.
        """
        found = shutil.which("trtexec")
        if found is None and not JETPACK_PLACE.is_file():
            raise AbsentError(f"no trtexec is on the PATH, nor at {JETPACK_PLACE}, where JetPack puts it")
        return Trtexec.at(JETPACK_PLACE if found is None else Path(found))

    @staticmethod
    def at(program: Path) -> "Trtexec":
        """The program at a place. Raises: TargetError where it cannot be run, or does not say its version."""
        _, log = _call(program, ("--help",), Path.cwd())
        banner = _BANNER.search(log)
        if banner is None:
            raise TargetError(f"{program}: does not say which TensorRT it is of, as [TensorRT v8502]. Is it trtexec?")
        return Trtexec(program, from_number(int(banner[1])))

    @property
    def name(self) -> str:
        """`trtexec of TensorRT 8.5.2`."""
        return f"trtexec of TensorRT {words(self.version)}"

    @property
    def generation(self) -> Generation:
        """What its version is handed. Raises: TargetError for one that edgeskin does not know."""
        return of(self.version)

    @cached_property
    def gpu(self) -> Gpu:
        """The GPU that it takes, as it prints it; where it does not, as far as the machine tells without CUDA.

        Raises: TargetError where it finds none that it can use.
        """
        with tempfile.TemporaryDirectory(prefix="edgeskin-trtexec-") as place:
            _, log = _call(self.program, ("--loadEngine=none",), Path(place))
        if failed := _NO_GPU.search(log):
            raise TargetError(f"{self.name} finds no GPU: {why(log) or failed[0]}")
        name, capability, memory_mib = (each.search(log) for each in (_SELECTED, _CAPABILITY, _MEMORY_MIB))
        if name is None:
            return machine.gpu()
        return Gpu(
            machine.named(name[1]),
            (int(capability[1]), int(capability[2])) if capability else None,
            machine.driver(),
            float(memory_mib[1]) if memory_mib else None,
        )

    def build(
        self,
        onnx: Path,
        card: ModelCard,
        precision: Precision,
        folder: Path,
        *,
        largest_batch: int = LARGEST_BATCH,
        timing_cache: Path | None = None,
    ) -> Built:
        """Build an engine into an existing folder, wholly or not at all, and run it once for what is in it.

        onnx: the file for this generation, which `lint.check` should have passed.

        Raises: TargetError as `build_line`, and where trtexec fails, with its last words.
        """
        with tempfile.TemporaryDirectory(dir=folder, prefix=".trtexec-") as place:
            line = build_line(
                self.generation,
                precision,
                onnx=str(onnx.resolve()),
                engine=ENGINE,
                layers=LAYERS,
                inputs=input_shapes(card),
                largest_batch=largest_batch,
                timing_cache=None if timing_cache is None else str(timing_cache.resolve()),
            )
            self.call(line, Path(place))
            engine, layers = _written(Path(place) / ENGINE), Path(place) / LAYERS
            files.write_text(layers, self.describe(engine, card))
            engine, layers = (path.replace(folder / path.name) for path in (engine, layers))
        return Built(engine, layers)

    def describe(self, engine: Path, card: ModelCard) -> str:
        """What TensorRT says is in an engine, as JSON. Raises: TargetError where trtexec cannot run it."""
        with tempfile.TemporaryDirectory(prefix="edgeskin-trtexec-") as place:
            self.call(layers_line(str(engine.resolve()), LAYERS, input_shapes(card)), Path(place))
            return _written(Path(place) / LAYERS).read_text(encoding="utf-8")

    def load(self, engine: Path, card: ModelCard) -> "TrtexecEngine":
        """An engine that is loaded anew for each batch. Raises: TargetError where there is no such file."""
        if not engine.is_file():
            raise TargetError(f"{engine}: no such file. Build the engine again")
        return TrtexecEngine(self, engine, card)

    def call(self, line: tuple[str, ...], folder: Path) -> None:
        """Run it in a folder. Raises: TargetError where it fails, with the reason or its last words."""
        code, log = _call(self.program, line, folder)
        if code:
            raise TargetError(f"{self.program} of TensorRT {words(self.version)} failed: {_reason(code, log)}")


@dataclass(frozen=True)
class TrtexecEngine:
    """An engine file, run by trtexec: a process for each batch, which loads it first.

    device_mib: trtexec does not tell.
    """

    program: Trtexec
    engine: Path
    card: ModelCard
    device_mib: float | None = None

    def run(self, image: UInt8, metadata: Float32 | None = None) -> Mapping[str, Float32]:
        """Shapes: image uint8 [N, 3, S, S], metadata float32 [N, M] exactly where the network takes it -> a mask output
        [N, 1, S, S], any other [N, labels]. More than `LARGEST_BATCH` pictures are split.

        Raises: TargetError for an input of another shape or type; where trtexec fails, with its last words: an engine
        of another version, memory that was not there; where its answers are not what was asked for.
        """
        given = self._given(image, metadata)
        parts = [
            self._run({name: values[begin : begin + LARGEST_BATCH] for name, values in given.items()}, ONCE)[0]
            for begin in range(0, len(image), LARGEST_BATCH)
        ]
        return {
            name: np.concatenate([np.zeros((0, *shape), np.float32), *(part[name] for part in parts)])
            for name, shape in output_shapes(self.card).items()
        }

    def times(self, image: UInt8, metadata: Float32 | None, effort: Effort) -> Times:
        """Run one batch again and again in one process. Raises: TargetError as `run`."""
        return self._run(self._given(image, metadata), effort)[1]

    def _given(self, image: UInt8, metadata: Float32 | None) -> dict[str, UInt8 | Float32]:
        width = None if self.card.metadata is None else self.card.metadata.width
        Inputs(str(self.engine), input_shapes(self.card)[IMAGE], width).demand(image, metadata)
        pixels: UInt8 | Float32 = image if self.program.generation.takes_bytes else image.astype(np.float32)
        return {IMAGE: pixels} if metadata is None else {IMAGE: pixels, METADATA: metadata}

    def _run(self, given: Mapping[str, UInt8 | Float32], effort: Effort) -> tuple[Mapping[str, Float32], Times]:
        with tempfile.TemporaryDirectory(prefix="edgeskin-trtexec-") as place:
            folder = Path(place)
            raw = {name: f"{name}.bin" for name in given}
            for name, values in given.items():
                files.write_bytes(folder / raw[name], values.tobytes())
            shapes = {name: values.shape for name, values in given.items()}
            self.program.call(run_line(str(self.engine.resolve()), raw, shapes, effort), folder)
            batch = len(given[IMAGE])
            expected = {name: (batch, *shape) for name, shape in output_shapes(self.card).items()}
            return read_outputs(folder / OUTPUTS, expected), read_times(folder / TIMES, effort.warm_up_ms)


def _call(program: Path, line: tuple[str, ...], folder: Path) -> tuple[int, str]:
    """Run the program in a folder: its exit code, and all that it said."""
    try:
        done = subprocess.run(  # noqa: S603  (trtexec with our own options, and no shell reads them)
            [str(program), *line],
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
            text=True,
            errors="replace",
        )
    except OSError as error:
        raise TargetError(
            f"{program}: cannot be run: {error.strerror or error}. Is it trtexec for this machine?"
        ) from error
    return done.returncode, done.stdout


def _reason(code: int, log: str) -> str:
    """Why it failed and what to do, from what it said."""
    free = machine.memory()
    if told := why(log, free):
        return told
    if code in _KILLED:
        left = f", {free} now" if free else ""
        return (
            f"out of memory: the system stopped it{left}. Close other programs, add swap, or build for a smaller batch"
        )
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    errors = [line for line in lines if "[E]" in line] or lines
    return f"exit code {code}: " + ("; ".join(errors[-_LAST_LINES:]) or "without a word")
