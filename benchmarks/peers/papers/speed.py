"""Our network beside the papers': latency, parameters, multiply-adds, memory.

    python benchmarks/peers/papers/speed.py FOLDER [GRAPH] [--rounds N] [--json FILE]

FOLDER holds what `networks.py` writes, in an environment of its own; GRAPH is a run or Graph folder of a network that
takes the image alone, by default the shipped release. onnxruntime runs all, and LiteRT our int8 network once more, on
one thread, one picture at a time, all in this process: first each again and again, as `edgeskin benchmark` does, then
all in turn, in each round in another order, so that each finds the caches as any other left them. How much faster ours
is, is the median over those rounds, and between which values nine tenths of them lie.

A cascade runs its networks one after the other on each other's answers. Parameters are the numbers that the float file
stores, batch norms folded. Memory is the peak of a process of its own above Python with NumPy and edgeskin.
"""

import argparse
import math
import multiprocessing
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeskin import __version__, files, optional, targets
from edgeskin.benchmarks import device, latency, memory
from edgeskin.benchmarks.conditions import Watch
from edgeskin.contract.checkout import commit
from edgeskin.errors import EdgeskinError
from edgeskin.export import journey
from edgeskin.graph.folder import Graph
from edgeskin.targets.inspection import inspect

WARM_UP = 3
"""Rounds that are not counted."""
CASCADE = ("deeplab", "squeezenet", "efficientnet_b4")
PEERS: Mapping[str, tuple[str, ...]] = {
    "U-Net and classifier (MTL0)": ("unet",),
    "the same with joint reverse learning and CBAM (MTL4)": ("unet_joint_reverse",),
    "the thesis's U-Net and classifier": ("unet_thesis",),
    "cascade of the next three": CASCADE,
    "– DeepLabv3+ of ResNet-50": CASCADE[:1],
    "– SqueezeNet": CASCADE[1:2],
    "– EfficientNet-B4": CASCADE[2:],
    "cascade, DeepLabv3+ with plain convolutions": ("deeplab_plain", *CASCADE[1:]),
    "ResNet-50 and metadata": ("resnet_50_metadata",),
    "MobileNetV2 and metadata": ("mobilenet_v2_metadata",),
}
"""What the table calls a network, and its files in the order they run."""
OURS = (("onnx", "int8"), ("tflite", "int8"), ("onnx", "fp32"))
ENGINES = {"onnx": "onnxruntime", "tflite": "LiteRT"}

Run = Callable[[], object]


@dataclass
class Row:
    """What is known of one network. alone: run again and again; the rest in turn with all others.

    faster: by our int8 network's engine, its speed as a multiple of this one's.
    """

    name: str
    engine: str
    precision: str
    inputs: tuple[str, ...]
    parameters: int
    multiply_adds: int
    size_mib: float
    peak_mib: float | None = None
    alone_p50_ms: float | None = None
    p50_ms: float | None = None
    p90_ms: float | None = None
    cv: float | None = None
    faster: dict[str, dict[str, float]] = field(default_factory=dict)


def say(sentence: str) -> None:
    """Progress, beside the table that goes to standard output."""
    print(sentence, file=sys.stderr, flush=True)


# --- what runs ---


class Chain:
    """ONNX files run one after the other; each takes, by name, what those before it answer, and random values else."""

    def __init__(self, paths: Sequence[Path]) -> None:
        runtime = optional.require("onnxruntime")
        options = runtime.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        random = np.random.default_rng(0)
        self.known: dict[str, npt.NDArray[np.float32]] = {}
        self._stages = []
        for path in paths:
            session = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
            for each in session.get_inputs():
                self.known.setdefault(each.name, random.random(each.shape, np.float32))
            self._stages.append((session, [each.name for each in session.get_inputs()]))
            self._run(*self._stages[-1])

    def _run(self, session: Any, names: Sequence[str]) -> None:
        answers = session.run(None, {name: self.known[name] for name in names})
        self.known.update(zip((each.name for each in session.get_outputs()), answers, strict=True))

    def __call__(self) -> None:
        """One picture through all of them."""
        for stage in self._stages:
            self._run(*stage)


def peers(folder: Path) -> Iterator[tuple[Row, Run]]:
    """The papers' networks. Raises: EdgeskinError for a file that is not there."""
    for name, members in PEERS.items():
        paths = [folder / f"{member}.onnx" for member in members]
        for path in paths:
            if not path.is_file():
                raise EdgeskinError(f"{path}: no such file. Make it with networks.py beside this script")
        say(f"{name}: opening")
        row = described(name, "onnxruntime", "fp32", paths, paths)
        row.peak_mib = alone(paths)
        yield row, Chain(paths)


def described(name: str, engine: str, precision: str, paths: Sequence[Path], floats: Sequence[Path]) -> Row:
    """A row of what its files hold. floats: the files in which parameters and multiply-adds are counted."""
    found = [inspect(path) for path in floats]
    for path, each in zip(floats, found, strict=True):
        if each.totals.uncounted:
            raise EdgeskinError(f"{path}: {each.totals.uncounted} operators of unknown cost. Count them by hand")
    return Row(
        name=name,
        engine=engine,
        precision=precision,
        inputs=tuple("×".join(map(str, value.shape[1:])) for value in found[0].inputs if value.shape),
        parameters=sum(map(parameters, floats)),
        multiply_adds=sum(each.totals.multiply_adds for each in found),
        size_mib=sum(path.stat().st_size for path in paths) / 2**20,
    )


def parameters(path: Path) -> int:
    """The float numbers that an ONNX file stores."""
    onnx = optional.require("onnx")
    stored = onnx.load(path).graph.initializer
    return sum(math.prod(each.dims) for each in stored if each.data_type == onnx.TensorProto.FLOAT)


def alone(paths: Sequence[Path]) -> float | None:
    """Peak memory in MiB of a process that opens and runs these files; None where the system does not tell."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_peak, paths).result()


def _peak(paths: Sequence[Path]) -> float | None:
    before = memory.high_water_mib()
    chain = Chain(paths)
    for _ in range(2):  # opening has run them once
        chain()
    after = memory.high_water_mib()
    return None if before is None or after is None else after - before


def ours(graph: Graph, folder: Path) -> Iterator[tuple[Row, Run]]:
    """Our network as it is exported, built in `folder`."""
    image = np.random.default_rng(0).integers(0, 256, (1, 3, graph.card.size, graph.card.size), np.uint8)
    for name, precision in OURS:
        target = targets.get(name)
        place = folder / f"{name}-{precision}"
        place.mkdir()
        say(f"{graph.card.name} {precision}: building for {ENGINES[name]}")
        artifact = target.build(graph, targets.precision_of(target, precision), place)
        row = described(graph.card.name, ENGINES[name], precision, [artifact.path], [graph.fp32])
        taken = memory.measure(artifact, graph.card.size)
        row.peak_mib = None if isinstance(taken, memory.NotMeasured) else taken.peak_mib
        session = target.open(artifact, threads=1)
        yield row, lambda session=session: session.run(image)


# --- how fast ---


def in_turn(runs: Sequence[Run], rounds: int) -> npt.NDArray[np.float64]:
    """Milliseconds, [runs, rounds]."""
    random = np.random.default_rng(0)
    spent = np.zeros((len(runs), WARM_UP + rounds))
    for number in range(WARM_UP + rounds):
        for place in random.permutation(len(runs)):
            begin = time.perf_counter_ns()
            runs[place]()
            spent[place, number] = (time.perf_counter_ns() - begin) / 1e6
    return spent[:, WARM_UP:]


def judge(rows: Sequence[Row], spent: npt.NDArray[np.float64]) -> None:
    """Write into each row how long it took and how much faster our int8 network is."""
    fastest = {row.engine: each for row, each in zip(rows, spent, strict=True) if row.precision == "int8"}
    for row, each in zip(rows, spent, strict=True):
        figure = latency.of(each.tolist(), "quick", row.name, threads=1)
        row.p50_ms, row.p90_ms, row.cv = figure.p50_ms, figure.p90_ms, figure.cv
        for engine, own in fastest.items():
            middle, low, high = np.percentile(each / own, (50, 5, 95))
            row.faster[engine] = {"median": float(middle), "low": float(low), "high": float(high)}


def measure(folder: Path, graph: Graph, rounds: int) -> dict[str, Any]:
    """Everything, as the JSON file holds it."""
    with tempfile.TemporaryDirectory() as place:
        rows, runs = zip(*ours(graph, Path(place)), *peers(folder), strict=True)
        say(f"{rounds} rounds of {len(rows)} networks, some seconds each")
        begun = Watch().begin()
        for row, run in zip(rows, runs, strict=True):
            row.alone_p50_ms = latency.measure(run, "quick", row.name, threads=1).p50_ms
        spent = in_turn(runs, rounds)
        conditions = begun.end()
        judge(rows, spent)
    return {
        "edgeskin": __version__,
        "commit": commit(),
        "network": graph.card.name,
        "graph_sha256": graph.sha256,
        "rounds": rounds,
        "threads": 1,
        "device": device.facts().model_dump(mode="json"),
        "others_share": conditions.others_share,
        "rows": [asdict(row) for row in rows],
    }


def table(found: Mapping[str, Any]) -> str:
    """Markdown, of what the JSON file holds."""
    engines = [*found["rows"][0]["faster"]]
    heads = ("network", "input", "M parameters", "G multiply-adds", "MiB", "peak MiB", "ms alone", "ms in turn")
    lines = [f"| {' | '.join((*heads, *(f'ours in {engine} is faster by' for engine in engines)))} |"]
    lines.append("|---" * (len(heads) + len(engines)) + "|")
    for row in found["rows"]:
        own = row["name"] == found["network"]
        cells = (
            f"**{row['name']}** {row['precision']}, {row['engine']}" if own else row["name"],
            ", ".join(row["inputs"]),
            f"{row['parameters'] / 1e6:.2f}",
            f"{row['multiply_adds'] / 1e9:.2f}",
            f"{row['size_mib']:.1f}",
            "–" if row["peak_mib"] is None else f"{row['peak_mib']:.0f}",
            f"{row['alone_p50_ms']:.1f}",
            f"{row['p50_ms']:.1f}",
            *(_times(row["faster"][engine]) for engine in engines),
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _times(ratio: Mapping[str, float]) -> str:
    """Three digits, and one or two behind the point."""
    digits = 1 if ratio["median"] >= 10 else 2
    middle, low, high = (f"{ratio[key]:.{digits}f}" for key in ("median", "low", "high"))
    return f"{middle} ({low}–{high})"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print the table, and write every figure where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="what networks.py wrote")
    parser.add_argument("graph", type=Path, nargs="?", metavar="GRAPH", help="by default the shipped release")
    parser.add_argument("--rounds", type=int, default=100, metavar="N", help="by default 100")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure there")
    given = parser.parse_args(arguments)
    try:
        found = measure(given.folder, journey.find_graph(given.graph), given.rounds)
    except EdgeskinError as error:
        say(str(error))
        return 1
    print(table(found), end="")
    if given.json is not None:
        files.write_json(given.json, found)
    return 0


if __name__ == "__main__":
    sys.exit(main())
