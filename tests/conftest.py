"""A tiny network trained on phantom photos, shared by every room; made once a session, whatever the number of workers.

Where torch is not installed, the tests that train are not collected, and the header says so.
"""

import fcntl
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import pytest
from tiny_recipe import TINY

from edgeskin import shipped
from edgeskin.data.phantom import write_dataset
from edgeskin.graph.folder import Graph
from edgeskin.optional import missing

if TYPE_CHECKING:
    from edgeskin.train.checkpoint import RunRecord

NO_TORCH = missing("torch", "torchao", "safetensors", "tensorboard", "onnxscript", "onnx", "onnxruntime")
WITH_TORCH = [
    "models/*",
    "train/*",
    "export/test_ablate.py",
    "export/test_analyse.py",
    "export/test_debug_in_torch.py",
    "export/test_from_run.py",
    "export/test_trace.py",
    "export/test_quantize.py",
]
collect_ignore_glob = WITH_TORCH if NO_TORCH else []


def pytest_report_header() -> str | None:
    return f"not collected: {', '.join(WITH_TORCH)} ({NO_TORCH})" if NO_TORCH else None


Once = Callable[[str, Callable[[Path], object]], Path]


@pytest.fixture(scope="session")
def once(tmp_path_factory: pytest.TempPathFactory) -> Once:
    """`once(name, make)`: a folder that the first worker makes and the others wait for."""
    root = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent

    def make_once(name: str, make: Callable[[Path], object]) -> Path:
        folder = root / name
        with (root / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not folder.exists():
                make(root / f"{name}.part")
                (root / f"{name}.part").rename(folder)
        return folder

    return make_once


@pytest.fixture(scope="session")
def phantom_data(once: Once) -> Path:
    """A phantom data folder: 60 cases to train on, 9 in val, 9 in test, 64² each."""
    return once("phantom_data", lambda folder: write_dataset(folder, 60, 9, 9, size=64, seed=0))


class TrainTiny(Protocol):
    """`train_tiny(run, *overrides, resume=…)`: train the tiny recipe into a run folder."""

    def __call__(self, run: Path, *overrides: str, resume: bool = False) -> "RunRecord": ...


@pytest.fixture(scope="session")
def train_tiny(phantom_data: Path) -> TrainTiny:
    if NO_TORCH:
        pytest.skip(NO_TORCH)
    import torch

    from edgeskin.train import recipe
    from edgeskin.train.loop import Places, train

    path = shipped.find("recipes", "phantom_tiny")

    def call(run: Path, *overrides: str, resume: bool = False) -> "RunRecord":
        # One network on every processor: without this, one that has bfloat16 trains another.
        with pytest.MonkeyPatch.context() as processor:
            for instructions in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
                processor.setattr(torch.cpu, instructions, lambda: False)
            return train(recipe.read(path, TINY + overrides), Places(path, phantom_data, run, None), resume=resume)

    return call


@pytest.fixture(scope="session")
def tiny_run(once: Once, train_tiny: TrainTiny) -> Path:
    """A finished run of six float and two quantization-aware epochs: it finds most lesions and knows no diagnosis."""
    return once("tiny_run", train_tiny)


@pytest.fixture(scope="session")
def tiny_graph(once: Once, tiny_run: Path) -> Graph:
    """The Graph folder of `tiny_run`."""
    from edgeskin.export.from_run import graph_from_run

    return Graph.open(once("tiny_graph", lambda folder: graph_from_run(tiny_run, folder)))


@pytest.fixture(scope="session")
def isic2017() -> Path:
    """The real images, where EDGESKIN_DATA names their parent."""
    return _real("isic2017")


@pytest.fixture(scope="session")
def ham10000() -> Path:
    """Likewise."""
    return _real("ham10000")


@pytest.fixture(scope="session")
def pad_ufes_20() -> Path:
    """Likewise."""
    return _real("pad_ufes_20")


def _real(name: str) -> Path:
    folder = Path(os.environ.get("EDGESKIN_DATA", "")) / name
    if not os.environ.get("EDGESKIN_DATA") or not folder.is_dir():
        pytest.skip(f"needs {name} under EDGESKIN_DATA")
    return folder
