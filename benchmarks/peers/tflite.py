"""Our `.tflite` beside what the usual converters make of the same network: speed, size, time, and what it answers.

    python benchmarks/peers/tflite.py GRAPH [--envs DIR] [--data DIR] [--out FILE.json] [--python PATH] [--keep DIR]
        [--release]

GRAPH is a Graph folder of a network that takes the image alone. Each converter runs in an environment of its own under
DIR, made at the first call; pip's own settings say where packages come from. litert-torch wants torch: where the
default wheel of torch is not wanted, let pip find another (PIP_FIND_LINKS). onnx2tf wants Python 3.12 or later:
--python, or else `python3.13` or `python3.12` of the path.

What is compared, all from the numbers of GRAPH:

- ours: int8 and fp32, as `edgeskin export` builds them;
- litert-torch: `fp32.onnx` rebuilt in torch and converted; and the trained quantization of `int8.onnx` handed on, as
  torchao leaves it after quantization-aware training;
- litert-torch + ai-edge-quantizer: int8 calibrated on images; of `fp32.onnx`, and of the weights of `int8.onnx`;
- onnx2tf: `fp32.onnx`, and int8 calibrated on images.

Without --data the images are the golden photos, which the peers then are both calibrated on and judged by, to their
favour. With it they are calibrated on 100 images of train and judged by val.

All files run in this process in LiteRT on one thread, in turn. A call is from the pixels uint8 [1, S, S, 3] to the
probabilities as float32, whatever the file itself takes and gives; `alone` is the network without that. Ratios are
medians over pairs run one right after the other. What could not be converted or run says why, in its own words.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeskin import files, optional
from edgeskin.benchmarks import device, latency, numerics
from edgeskin.contract.model import HeadSpec, ModelCard
from edgeskin.contract.preprocess import network_input
from edgeskin.data.cases import Case, read_cases, read_image
from edgeskin.errors import EdgeskinError
from edgeskin.export import golden
from edgeskin.graph.folder import Graph
from edgeskin.graph.read import read
from edgeskin.targets.onnx import optimised_session, reference_session

UInt8 = npt.NDArray[np.uint8]
HERE = Path(__file__).resolve().parent
CALIBRATION = 100
LONGEST = 400
"""Characters of a peer's own words in the table; the JSON has them whole."""
NEWER = ("python3.13", "python3.12")
ROUNDS = {"quick": 100, "release": 1024}
"""Samples of each file's own time."""

# --- who is compared ---


@dataclass(frozen=True)
class Environment:
    """Where a converter lives. pythons: what may make it, the first that is found."""

    name: str
    packages: tuple[str, ...]
    pythons: tuple[str, ...] = (sys.executable,)


@dataclass(frozen=True)
class Peer:
    """One file to be made. program: in this folder. source: which of `sources` it converts."""

    name: str
    precision: str
    environment: str
    program: str
    mode: str
    source: str


def environments(newer_python: str | None) -> tuple[Environment, ...]:
    """In the versions that were tried; torch in the one that writes the programs, which no other need read."""
    torch = optional.require("torch").__version__.partition("+")[0]
    return (
        Environment("edgeskin", ("-e", f"{HERE.parents[1]}[onnx,tflite]")),
        Environment("litert-torch", (f"torch=={torch}", "litert-torch==0.10.0", "ai-edge-quantizer==0.10.0")),
        Environment("onnx2tf", ("onnx2tf==2.6.9",), (newer_python,) if newer_python else NEWER),
    )


OURS, OUR_BASELINE = "edgeskin", "edgeskin fp32"
PEERS = (
    Peer(OURS, "int8", "edgeskin", "edgeskin_convert.py", "int8", "graph"),
    Peer(OUR_BASELINE, "fp32", "edgeskin", "edgeskin_convert.py", "fp32", "graph"),
    Peer("litert-torch, scales kept", "int8", "litert-torch", "litert_torch_convert.py", "scales", "scales.pt2"),
    Peer("ai-edge-quantizer", "int8", "litert-torch", "litert_torch_convert.py", "calibrated", "float.pt2"),
    Peer("ai-edge-quantizer, QAT weights", "int8", "litert-torch", "litert_torch_convert.py", "calibrated", "qat.pt2"),
    Peer("litert-torch fp32", "fp32", "litert-torch", "litert_torch_convert.py", "float", "float.pt2"),
    Peer("onnx2tf", "int8", "onnx2tf", "onnx2tf_convert.py", "per-channel", "float.onnx"),
    Peer("onnx2tf, per tensor", "int8", "onnx2tf", "onnx2tf_convert.py", "per-tensor", "float.onnx"),
    Peer("onnx2tf fp32", "fp32", "onnx2tf", "onnx2tf_convert.py", "float", "float.onnx"),
)


@dataclass
class Row:
    """What is known of one file. Times in milliseconds, ratios above 1 are faster than our fp32 file.

    conversion_s: of the whole process, its imports too. failed: why there is nothing to measure, in its own words.
    versus_ours: our int8 file's speed as a multiple of this one's; below 1 we are slower.
    """

    name: str
    precision: str
    environment: str
    failed: str | None = None
    conversion_s: float | None = None
    steps_s: Mapping[str, float] = field(default_factory=dict)
    size_mib: float | None = None
    install_mib: float | None = None
    p50_ms: float | None = None
    p90_ms: float | None = None
    alone_p50_ms: float | None = None
    alone_p90_ms: float | None = None
    speedup: Mapping[str, Any] | None = None
    speedup_alone: Mapping[str, Any] | None = None
    versus_ours: Mapping[str, Any] | None = None
    versus_ours_alone: Mapping[str, Any] | None = None
    equivalence: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


def say(sentence: str) -> None:
    """Progress, beside the table that goes to standard output."""
    print(sentence, file=sys.stderr, flush=True)


# --- environments ---


def make(environment: Environment, folder: Path) -> Path:
    """The interpreter of an environment, made where it is absent. Raises: EdgeskinError that says why it cannot be."""
    place = folder / environment.name
    python = place / ("Scripts" if os.name == "nt" else "bin") / "python"
    if (place / "installed.json").exists():
        return python
    maker = next((found for each in environment.pythons if (found := _working(each))), None)
    if maker is None:
        raise EdgeskinError(f"{environment.name}: needs {' or '.join(environment.pythons)}, and there is none")
    say(f"{environment.name}: making its environment in {place}, which takes minutes and up to a few GB")
    shutil.rmtree(place, ignore_errors=True)
    begin = time.perf_counter()
    _demand([maker, "-m", "venv", str(place)], environment.name)
    _demand([str(python), "-m", "pip", "install", "--quiet", *environment.packages], environment.name)
    files.write_json(place / "installed.json", {"seconds": time.perf_counter() - begin})
    return python


def _working(name: str) -> str | None:
    """The command where it starts; version managers put commands on the path that do not."""
    found = shutil.which(name)
    works = found and subprocess.run([found, "--version"], capture_output=True, check=False).returncode == 0  # noqa: S603
    return found if works else None


def _demand(command: Sequence[str], whose: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 -- our own words
    if done.returncode:
        raise EdgeskinError(
            f"{whose}: {' '.join(command[1:4])} …: {(done.stderr.strip().splitlines() or ['no word said'])[-1]}"
        )


def install_mib(python: Path) -> float:
    """What the environment's packages take, without pip; files that two names share count once."""
    (site,) = python.parents[1].rglob("site-packages")
    parts = (path for path in site.rglob("*") if path.is_file() and path.relative_to(site).parts[0] != "pip")
    return sum({path.stat().st_ino: path.stat().st_size for path in parts}.values()) / 2**20


# --- what is converted, and the conversion ---


def write_sources(graph: Graph, folder: Path) -> None:
    """The network in the form each converter takes; writing them is not counted as conversion."""
    import torch_network

    fp32, int8 = read(graph.fp32), read(graph.int8)
    torch_network.write(fp32, folder / "float.pt2", scales=False)
    torch_network.write(int8, folder / "qat.pt2", scales=False)
    torch_network.write(int8, folder / "scales.pt2", scales=True)
    _write_without_door(graph.fp32, folder / "float.onnx")
    (folder / "graph").symlink_to(graph.folder.resolve(), target_is_directory=True)


def _write_without_door(source: Path, path: Path) -> None:
    """The ONNX file with its input behind the scaling of pixels: float [1, 3, S, S] in [−1, 1)."""
    onnx = optional.require("onnx")
    model = onnx.load(source)
    network, image = model.graph, model.graph.input[0]
    behind = image.name
    while True:
        after = [node for node in network.node if behind in node.input]
        if len(after) != 1 or after[0].op_type not in ("Cast", "Sub", "Mul"):
            break
        behind = after[0].output[0]
        network.node.remove(after[0])
    for node in network.node:
        node.input[:] = [image.name if name == behind else name for name in node.input]
    image.type.tensor_type.elem_type = onnx.TensorProto.FLOAT
    image.type.tensor_type.shape.dim[0].dim_value = 1
    del network.value_info[:]
    onnx.save(model, path)


def converted(peer: Peer, python: Path, sources: Path, path: Path) -> Row:
    """Run the peer's program; the file stands at `path` unless the row says that it failed."""
    row = Row(peer.name, peer.precision, peer.environment, install_mib=install_mib(python))
    say(f"{peer.name}: converting to {peer.precision}")
    # Isolated, or this file would be what `import tflite` finds there.
    command = [str(python), "-I", str(HERE / peer.program), peer.mode, str(sources / peer.source)]
    command += [] if peer.environment == "edgeskin" else [str(sources / "images.npy")]
    # onnx2tf starts commands of its environment by their bare names.
    tools = os.environ | {"PATH": f"{python.parent}{os.pathsep}{os.environ['PATH']}"}
    begin = time.perf_counter()
    done = subprocess.run([*command, str(path)], capture_output=True, text=True, check=False, env=tools)  # noqa: S603
    row.conversion_s = time.perf_counter() - begin
    try:
        answer = json.loads(done.stdout.strip().splitlines()[-1])
    except (IndexError, ValueError):
        answer = {"failed": (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]}
    row.failed, row.steps_s = answer.get("failed"), answer.get("seconds", {})
    if path.exists():
        row.size_mib = path.stat().st_size / 2**20
    return row


# --- running a file, whatever it takes ---


class File:
    """A `.tflite` in LiteRT on one thread, from pixels to probabilities.

    Raises: RuntimeError or ValueError of LiteRT's where it cannot run it.
    """

    def __init__(self, path: Path, heads: Sequence[HeadSpec]) -> None:
        self._interpreter = optional.require("ai_edge_litert.interpreter").Interpreter(str(path), num_threads=1)
        self._interpreter.allocate_tensors()
        (self._input,) = self._interpreter.get_input_details()
        self._door = _door(self._input)
        by_name = self._by_name()
        names = [head.name for head in heads]
        # litert-torch numbers outputs in the order of the program's, which is that of the heads.
        found = names if set(names) <= set(by_name) else sorted(by_name)
        self._outputs = {head.name: by_name[name] for head, name in zip(heads, found, strict=True)}

    def _by_name(self) -> Mapping[str, Mapping[str, Any]]:
        """Its outputs, by the names of its signature where it has one."""
        if self._interpreter.get_signature_list():
            details: Mapping[str, Mapping[str, Any]] = self._interpreter.get_signature_runner().get_output_details()
            return details
        return {detail["name"]: detail for detail in self._interpreter.get_output_details()}

    def give(self, pixels: UInt8) -> None:
        """Shapes: pixels uint8 [1, S, S, 3]."""
        given = pixels if self._door is None else self._door[pixels]
        self._interpreter.set_tensor(self._input["index"], given)

    def alone(self) -> None:
        """Run the network on what it was given last."""
        self._interpreter.invoke()

    def answer(self) -> dict[str, npt.NDArray[np.float32]]:
        """Probabilities by head, as our reference gives them: a mask [1, 1, S, S], any other [1, labels]."""
        return {name: self._real(detail) for name, detail in self._outputs.items()}

    def _real(self, detail: Mapping[str, Any]) -> npt.NDArray[np.float32]:
        value: npt.NDArray[Any] = self._interpreter.get_tensor(detail["index"])
        if value.dtype != np.float32:
            scale, zero = detail["quantization"]
            value = (value.astype(np.float32) - zero) * np.float32(scale)
        # A mask has one channel, so [1, S, S, 1] and [1, 1, S, S] are the same values in the same order.
        return value.reshape(1, 1, *sorted(value.shape)[-2:]) if value.ndim == 4 else value

    def whole(self, pixels: UInt8) -> dict[str, npt.NDArray[np.float32]]:
        """One photo, from its pixels to its probabilities."""
        self.give(pixels)
        self.alone()
        return self.answer()


def _door(given: Mapping[str, Any]) -> npt.NDArray[np.generic] | None:
    """What each of the 256 values of a pixel is to a file that does not take pixels: the fastest way to make it."""
    if given["dtype"] == np.uint8:
        return None
    real: npt.NDArray[np.float32] = (np.arange(256, dtype=np.float32) - 128) / np.float32(128)
    if given["dtype"] == np.float32:
        return real
    scale, zero = given["quantization"]
    stored: npt.NDArray[np.int8] = np.clip(np.rint(real / np.float32(scale)) + zero, -128, 127).astype(np.int8)
    return stored


# --- what is measured ---


def compared(name: str, graph: Graph, file: File, images: Sequence[UInt8], precision: str) -> dict[str, dict[str, Any]]:
    """A file's answers against int8.onnx, or a float file's against fp32.onnx, in the reference engine; by head."""
    source = graph.int8 if precision == "int8" else graph.fp32
    expected, optimised = _references(source, images)
    actual = numerics.concatenate([file.whole(_channels_last(image)) for image in images])
    gaps = numerics.engine_gaps(optimised, expected, graph.card)
    hops = numerics.compare(f"{source.name} → {name}", expected, actual, graph.card, engine_gap=gaps)
    return {
        head.name: {
            "mean_abs": hop.mean_abs,
            "max_abs": hop.max_abs,
            "mask_agreement": hop.mask_agreement,
            "decisions_equal": None if head.kind == "mask" else _decisions_equal(head, expected, actual),
            "equivalent": hop.equivalent,
        }
        for head, hop in zip(graph.card.heads, hops, strict=True)
    }


def _references(source: Path, images: Sequence[UInt8]) -> tuple[numerics.Outputs, numerics.Outputs]:
    """What onnxruntime answers with every operator as written, and what it does at its fastest."""
    plain, fast = (
        numerics.concatenate([session.run(image[None]) for image in images])
        for session in (reference_session(source), optimised_session(source))
    )
    return plain, fast


def _decisions_equal(head: HeadSpec, expected: numerics.Outputs, actual: numerics.Outputs) -> float:
    """Share of the images on which both decide alike, however close the decision is."""

    def decide(values: npt.NDArray[np.float32]) -> npt.NDArray[np.generic]:
        return np.asarray(values.argmax(axis=1) if head.threshold is None else values >= head.threshold)

    return float((decide(expected[head.name]) == decide(actual[head.name])).mean())


def _channels_last(image: UInt8) -> UInt8:
    return np.ascontiguousarray(image.transpose(1, 2, 0))[None]


def time_all(opened: Mapping[str, File], rows: Mapping[str, Row], pixels: UInt8, mode: latency.Mode) -> None:
    """Every file's time in turn, then pairs against our fp32 and our int8 file."""
    wholes: dict[str, Callable[[], None]] = {name: _run(file, pixels) for name, file in opened.items()}
    alones: dict[str, Callable[[], None]] = {name: file.alone for name, file in opened.items()}
    say(f"timing {len(opened)} files in turn, {ROUNDS[mode]} rounds")
    for runs, p50, p90 in ((wholes, "p50_ms", "p90_ms"), (alones, "alone_p50_ms", "alone_p90_ms")):
        for name, samples in _in_turn(runs, ROUNDS[mode]).items():
            middle, high = np.percentile(samples, (50, 90))
            setattr(rows[name], p50, float(middle))
            setattr(rows[name], p90, float(high))
    for name, row in rows.items():
        if name not in opened:
            continue
        say(f"timing {name} in pairs")
        if OUR_BASELINE in opened and name != OUR_BASELINE:
            row.speedup = _pairs(wholes[OUR_BASELINE], wholes[name], mode)
            row.speedup_alone = _pairs(alones[OUR_BASELINE], alones[name], mode)
        if OURS in opened and name != OURS and row.precision == "int8":
            row.versus_ours = _pairs(wholes[name], wholes[OURS], mode)
            row.versus_ours_alone = _pairs(alones[name], alones[OURS], mode)


def _run(file: File, pixels: UInt8) -> Callable[[], None]:
    def run() -> None:
        file.whole(pixels)

    return run


def _in_turn(runs: Mapping[str, Callable[[], None]], rounds: int) -> dict[str, list[float]]:
    """Milliseconds by name. Every other round goes backwards, so that nobody always follows the same one."""
    names = list(runs)
    samples: dict[str, list[float]] = {name: [] for name in names}
    warm_up = 10
    for number in range(warm_up + rounds):
        for name in names if number % 2 else names[::-1]:
            begin = time.perf_counter_ns()
            runs[name]()
            if number >= warm_up:
                samples[name].append((time.perf_counter_ns() - begin) / 1e6)
    return samples


def _pairs(slow: Callable[[], None], fast: Callable[[], None], mode: latency.Mode) -> dict[str, Any]:
    found = latency.ratio(slow, fast, mode, threads=1)
    return {"median": found.speedup_vs_fp32, "low": found.low, "high": found.high, "pairs": found.pairs}


# --- images ---


def images_of(graph: Graph, data: Path | None) -> tuple[list[UInt8], list[UInt8]]:
    """Those to calibrate on and those to judge by, each uint8 [3, S, S]."""
    if data is None:
        cases = [case.image for case in golden.read(graph.golden, graph.card).cases]
        return cases, cases
    folder = read_cases(data)
    shown = partial(_shown, card=graph.card)
    return [*map(shown, folder.split("train")[:CALIBRATION])], [*map(shown, folder.split("val"))]


def _shown(case: Case, card: ModelCard) -> UInt8:
    return network_input(read_image(case), card.size, card.preprocessing)[0]


# --- the whole ---


@dataclass(frozen=True)
class Request:
    """What a call asks for. newer_python: for onnx2tf. kept: a folder for the files, which otherwise vanish."""

    graph: Graph
    envs: Path
    data: Path | None
    mode: latency.Mode
    newer_python: str | None
    kept: Path | None


def measure(asked: Request) -> list[Row]:
    """Convert everything, then run everything in this process."""
    calibration, judged = images_of(asked.graph, asked.data)
    pythons, absent = made(asked)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        say("writing what the converters take")
        write_sources(asked.graph, folder)
        pixels = np.concatenate([_channels_last(image) for image in calibration])
        np.save(folder / "images.npy", (pixels.astype(np.float32) - 128) / 128)
        rows, opened = dict[str, Row](), dict[str, File]()
        for peer in PEERS:
            if peer.environment in absent:
                rows[peer.name] = Row(peer.name, peer.precision, peer.environment, failed=absent[peer.environment])
                continue
            path = folder / f"{peer.name.replace(', ', '-').replace(' ', '-')}.tflite"
            row = rows[peer.name] = converted(peer, pythons[peer.environment], folder, path)
            if not path.exists():
                continue
            if asked.kept is not None:
                files.write_bytes(asked.kept / path.name, path.read_bytes())
            try:
                file = File(path, asked.graph.card.heads)
                row.equivalence = compared(peer.name, asked.graph, file, judged, peer.precision)
            except (RuntimeError, ValueError) as error:  # LiteRT's for a file that it cannot run
                row.failed = "; then LiteRT: ".join(filter(None, (row.failed, str(error))))
                continue
            opened[peer.name] = file
        time_all(opened, rows, _channels_last(judged[0]), asked.mode)
    return [*rows.values()]


def made(asked: Request) -> tuple[dict[str, Path], dict[str, str]]:
    """The interpreter of each environment, and why those that are absent are."""
    pythons, absent = dict[str, Path](), dict[str, str]()
    for environment in environments(asked.newer_python):
        try:
            pythons[environment.name] = make(environment, asked.envs)
        except EdgeskinError as error:
            absent[environment.name] = str(error)
    return pythons, absent


def table(rows: Sequence[Row]) -> Iterator[str]:
    """Markdown; then, for each file that failed, why."""
    yield (
        "| file | p50 ms | p90 ms | alone | × our fp32 | ours is × | MiB | conversion s | install MiB |"
        " mask agreement | mean abs Δp | decisions equal | equivalent |"
    )
    yield "|---|" + "---|" * 12
    for row in rows:
        heads = row.equivalence.values()
        masks = [head["mask_agreement"] for head in heads if head["mask_agreement"] is not None]
        decisions = [head["decisions_equal"] for head in heads if head["decisions_equal"] is not None]
        cells = (
            f"{row.name} {row.precision}" if row.precision not in row.name else row.name,
            _number(row.p50_ms),
            _number(row.p90_ms),
            _number(row.alone_p50_ms),
            _ratio(row.speedup),
            _ratio(row.versus_ours),
            _number(row.size_mib),
            _number(row.conversion_s, 1),
            _number(row.install_mib, 0),
            _number(min(masks, default=None), 5),
            _number(max((head["mean_abs"] for head in heads), default=None), 6),
            _number(min(decisions, default=None), 3),
            "–" if not heads else "yes" if all(head["equivalent"] for head in heads) else "no",
        )
        yield f"| {' | '.join(cells)} |"
    for row in rows:
        if row.failed is not None:
            words = row.failed if len(row.failed) <= LONGEST else f"{row.failed[:LONGEST]} …"
            yield f"\n{row.name} {row.precision}: {words}"


def _number(value: float | None, digits: int = 2) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def _ratio(value: Mapping[str, Any] | None) -> str:
    return "–" if value is None else f"{value['median']:.2f} ({value['low']:.2f}–{value['high']:.2f})"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print the table, and write every figure where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("graph", type=Path, metavar="GRAPH", help="a Graph folder")
    home = Path(tempfile.gettempdir()) / "edgeskin-peers"
    parser.add_argument("--envs", type=Path, default=home, metavar="DIR", help=f"the environments; by default {home}")
    parser.add_argument("--data", type=Path, metavar="DIR", help="real images, with splits train and val")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write every figure there, as JSON")
    parser.add_argument("--python", metavar="PATH", help="a Python of 3.12 or later, which onnx2tf wants")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep the converted files there")
    parser.add_argument("--release", action="store_true", help="at least 1024 samples and 60 s a pair, for publishing")
    given = parser.parse_args(arguments)
    mode: latency.Mode = "release" if given.release else "quick"
    try:
        graph = Graph.open(given.graph)
        rows = measure(Request(graph, given.envs, given.data, mode, given.python, given.keep))
    except EdgeskinError as error:
        say(str(error))
        return 1
    print(*table(rows), sep="\n")
    if given.out is not None:
        facts = device.facts().model_dump(mode="json")
        images = "golden" if given.data is None else given.data.name
        about = {"network": graph.card.name, "graph_sha256": graph.sha256, "mode": mode, "images": images}
        files.write_json(given.out, about | {"device": facts, "files": [asdict(row) for row in rows]})
    return 0


if __name__ == "__main__":
    sys.exit(main())
