"""The same file in LiteRT's aarch64 build, under an emulator: the integers of this machine, on every golden case.

`make test-arm` makes the emulated root (tests/arm/setup.sh) and runs this. With XNNPACK nothing may differ. Without it
LiteRT multiplies matrices by ruy, whose x86 kernels round twice where its ARM kernels round once; told to use its
portable code (RUY_PATHS=1), ruy rounds here as there, and nothing differs either.
"""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from edgeskin import shipped
from edgeskin.export import golden
from edgeskin.graph.folder import Graph
from edgeskin.targets.base import Precision
from edgeskin.targets.tflite import TfliteTarget

pytestmark = [pytest.mark.arm, pytest.mark.slow]

INTERPRET = Path(__file__).parents[1] / "arm" / "interpret.py"
PROCESSORS = ("cortex-a53", "neoverse-n1", "max,sme=off")
"""Without integer dot products, with them, and with integer matrix products."""
Outputs = dict[str, npt.NDArray[np.generic]]


@pytest.fixture(scope="module")
def emulated() -> Path:
    root = os.environ.get("EDGESKIN_ARM")
    if not root or not (Path(root) / "python").is_file():
        pytest.skip("needs an emulated root; make test-arm makes one and names it in EDGESKIN_ARM")
    return Path(root).absolute() / "python"


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    graph = Graph.open(shipped.default_release())
    images = np.stack([case.image for case in golden.read(graph.golden, graph.card).cases])
    path = tmp_path_factory.mktemp("cases") / "cases.npz"
    np.savez(path, image=images.transpose(0, 2, 3, 1))
    return path


def built(folder: Path, precision: Precision, *, raw_outputs: bool = False) -> Path:
    graph = Graph.open(shipped.default_release())
    return TfliteTarget(raw_outputs=raw_outputs).build(graph, precision, folder).path


def interpret(python: Path | str, model: Path, cases: Path, *options: str, **environment: str) -> Outputs:
    out = model.parent / "outputs.npz"
    subprocess.run(
        [str(python), str(INTERPRET), str(model), str(cases), str(out), *options],
        check=True,
        env={**os.environ, **environment},
        capture_output=True,
    )
    with np.load(out) as found:
        return dict(found)


@pytest.mark.parametrize("processor", PROCESSORS)
def test_every_integer_of_every_golden_case_is_that_of_this_machine(
    processor: str, emulated: Path, cases: Path, tmp_path: Path
) -> None:
    model = built(tmp_path, "int8", raw_outputs=True)
    here, there = interpret(sys.executable, model, cases), interpret(emulated, model, cases, QEMU_CPU=processor)
    assert set(here) == set(there)
    for name, values in here.items():
        assert values.dtype == np.int8
        assert len(np.unique(values)) > 2
        np.testing.assert_array_equal(there[name], values, err_msg=name)


def test_without_xnnpack_only_a_rounding_of_ruy_differs(emulated: Path, cases: Path, tmp_path: Path) -> None:
    model = built(tmp_path, "int8", raw_outputs=True)
    few = tmp_path / "few.npz"
    with np.load(cases) as whole:
        np.savez(few, image=whole["image"][:3])
    there = interpret(emulated, model, few, "--plain")
    here, portable = (
        interpret(sys.executable, model, few, "--plain"),
        interpret(sys.executable, model, few, "--plain", RUY_PATHS="1"),
    )
    assert any((there[name] != values).any() for name, values in here.items())
    for name, values in portable.items():
        np.testing.assert_array_equal(there[name], values, err_msg=name)


@pytest.mark.parametrize(("precision", "tolerance"), [("int8", 1e-6), ("fp32", 1e-5), ("fp16", 1e-5)])
def test_probabilities_are_those_of_this_machine(
    precision: Precision, tolerance: float, emulated: Path, cases: Path, tmp_path: Path
) -> None:
    model = built(tmp_path, precision)
    here, there = (interpret(python, model, cases) for python in (sys.executable, emulated))
    for name, values in here.items():
        np.testing.assert_allclose(there[name], values, atol=tolerance, err_msg=name)
