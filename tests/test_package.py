"""The package as a whole: what importing it costs, what it offers, and what its wheel carries."""

import subprocess
import sys
import zipfile
from pathlib import Path
from types import ModuleType

import pytest

import edgeskin

ROOT = Path(__file__).parents[1]
ENGINES = (
    "torch",
    "torchao",
    "onnx",
    "onnxruntime",
    "onnxscript",
    "safetensors",
    "tensorboard",
    "coremltools",
    "ai_edge_litert",
)
COMMAND_LINE = (
    "import sys; from edgeskin.cli import main; sys.argv[1:] = {arguments}\ntry: main()\nexcept SystemExit: pass"
)


def engines_loaded_by(code: str) -> set[str]:
    """Which engines stand in sys.modules after `code` ran in a Python of its own."""
    report = f"\nimport sys; print('loaded:', *sorted(set({ENGINES}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code + report], capture_output=True, text=True, check=True)
    return set(done.stdout.rpartition("loaded:")[2].split())


def test_the_probe_sees_an_engine_that_is_loaded() -> None:
    pytest.importorskip("onnx")
    assert "onnx" in engines_loaded_by("import onnx")


@pytest.mark.parametrize(
    "code",
    [
        "import edgeskin",
        COMMAND_LINE.format(arguments=["--help"]),
        COMMAND_LINE.format(arguments=["--version"]),
        COMMAND_LINE.format(arguments=["train", "--help"]),
        COMMAND_LINE.format(arguments=["export", "--help"]),
        COMMAND_LINE.format(arguments=["doctor"]),
    ],
    ids=["import", "--help", "--version", "train --help", "export --help", "doctor"],
)
def test_no_engine_is_loaded_before_it_is_used(code: str) -> None:
    assert engines_loaded_by(code) == set()


def test_all_is_what_is_public() -> None:
    public = {name for name, value in vars(edgeskin).items() if name[0] != "_" and not isinstance(value, ModuleType)}
    assert public | {"__version__"} == set(edgeskin.__all__)


def test_the_wheel_carries_the_declarations_and_its_types(tmp_path: Path) -> None:
    wheel = pytest.importorskip("hatchling.builders.wheel")
    (built,) = wheel.WheelBuilder(str(ROOT)).build(directory=str(tmp_path), versions=["standard"])
    with zipfile.ZipFile(built) as archive:
        inside = set(archive.namelist())
    shipped = {
        f"edgeskin/_shipped/{packed}/{path.relative_to(ROOT / place).as_posix()}"
        for packed, place in {
            "recipes": "train/recipes",
            "families": "train/families",
            "papers": "benchmarks/papers",
            "profiles": "export/profiles",
            "release": "export/release",
            "gates": "benchmarks/gates",
        }.items()
        for path in (ROOT / place).rglob("*")
        if path.is_file()
    }
    assert "edgeskin/_shipped/recipes/isic2017_mobilenet_v2.toml" in shipped
    assert shipped | {"edgeskin/py.typed"} <= inside
    assert {name.split("/")[0] for name in inside} == {"edgeskin", f"edgeskin-{edgeskin.__version__}.dist-info"}
