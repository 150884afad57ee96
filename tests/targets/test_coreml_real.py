"""The released network as Core ML packages, their saved bytes run by the executor on real images."""

from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from coreml_packages import unswept

from edgeskin import shipped
from edgeskin.benchmarks.measurements import Form
from edgeskin.contract.model import ModelCard
from edgeskin.contract.preprocess import network_input
from edgeskin.contract.second_pass import Run
from edgeskin.data.cases import read_image
from edgeskin.data.sets import open_like
from edgeskin.export import reference
from edgeskin.graph import execute
from edgeskin.graph.folder import Graph
from edgeskin.graph.read import read
from edgeskin.targets.base import Artifact, Precision
from edgeskin.targets.coreml import CoremlTarget
from edgeskin.targets.onnx import reference_session

pytest.importorskip("coremltools")

pytestmark = [pytest.mark.data, pytest.mark.slow]

Outputs = Mapping[str, npt.NDArray[np.float32]]


@pytest.fixture(scope="module", autouse=True)
def _unswept() -> Iterator[None]:
    with unswept():
        yield


@pytest.fixture(scope="module")
def released() -> Graph:
    return Graph.open(shipped.default_release())


@pytest.fixture(scope="module")
def images(released: Graph, isic2017: Path) -> npt.NDArray[np.uint8]:
    """200 images of validation and, as those are too few, of train."""
    cases = open_like(isic2017, released.card.provenance.data)
    chosen = [*cases.split("val"), *cases.split("train")][:200]
    card = released.card
    return np.stack([network_input(read_image(case), card.size, card.preprocessing)[0] for case in chosen])


def run_alone(artifact: Artifact, images: npt.NDArray[np.uint8]) -> Outputs:
    """What the saved bytes compute, in a process of its own."""
    return CoremlTarget().execute(artifact).run(images)


def run(artifact: Artifact, images: npt.NDArray[np.uint8]) -> Outputs:
    """The same of two halves at once: on one thread each, as four on two cores take a second a picture, not 0.25."""
    with pytest.MonkeyPatch.context() as patch, ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        patch.setenv("OPENBLAS_NUM_THREADS", "1")
        halves = list(pool.map(run_alone, [artifact] * 2, np.array_split(images, 2)))
    return {name: np.concatenate([half[name] for half in halves]) for name in halves[0]}


@dataclass(frozen=True)
class Pictures:
    """What `reference` asks of golden cases, of real images."""

    graph: Graph
    images: npt.NDArray[np.uint8]

    @property
    def card(self) -> ModelCard:
        return self.graph.card

    def run(self, run: Run) -> Outputs:
        return run(self.images)

    @cached_property
    def int8_outputs(self) -> Outputs:
        return reference_session(self.graph.int8).run(self.images)

    @cached_property
    def float_outputs(self) -> Outputs:
        return reference_session(self.graph.fp32).run(self.images)


@pytest.mark.parametrize(("form", "precision"), [("fp16", "fp16"), ("w8a16", "w8a16"), ("int8-float16", "int8")])
def test_in_float16_it_is_equivalent_on_200_real_images(
    form: Form, precision: Precision, released: Graph, images: npt.NDArray[np.uint8], tmp_path: Path
) -> None:
    target, pictures = CoremlTarget(), Pictures(released, images)
    assert len(pictures.images) == 200
    artifact = target.build(released, precision, tmp_path)
    assert target.read(artifact) == target.holds(released, precision)
    judge = reference.of_graph(released, pictures, form)
    for hop in judge.compare(lambda given: run(artifact, given), pictures):
        assert hop.equivalent, hop


def test_fp32_answers_as_onnxruntime_on_real_images(
    released: Graph, images: npt.NDArray[np.uint8], tmp_path: Path
) -> None:
    some = images[:20]
    expected = reference_session(released.fp32).run(some)
    for name, values in run(CoremlTarget().build(released, "fp32", tmp_path), some).items():
        np.testing.assert_allclose(values, expected[name], atol=1e-5, rtol=0, err_msg=name)


def test_int8_in_float32_has_every_integer_of_int8_onnx_on_real_images(
    released: Graph, images: npt.NDArray[np.uint8], tmp_path: Path
) -> None:
    target = CoremlTarget(compute="float32")
    found, expected = target.read(target.build(released, "int8", tmp_path)), read(released.int8)
    for image in images[:3]:
        ours, theirs = (execute.run(network, {"image": image[None]}) for network in (found, expected))
        assert set(ours) == set(theirs)
        for name, values in theirs.items():
            np.testing.assert_array_equal(ours[name], values, err_msg=name)


def test_its_files_are_as_small_as_their_numbers(released: Graph, tmp_path: Path) -> None:
    sizes = {}
    for precision in ("fp32", "fp16", "w8a16", "int8"):
        (tmp_path / precision).mkdir()
        path = CoremlTarget().build(released, precision, tmp_path / precision).path
        sizes[precision] = (path / "Data/com.apple.CoreML/weights/weight.bin").stat().st_size
    # Headers, and biases and scales beside the weights, are what is not halved.
    assert sizes["fp16"] == pytest.approx(sizes["fp32"] / 2, rel=0.02)
    assert sizes["w8a16"] == pytest.approx(sizes["fp32"] / 4, rel=0.06)
    assert sizes["int8"] == pytest.approx(sizes["w8a16"], rel=0.01)
