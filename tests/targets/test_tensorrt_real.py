"""The released network as NVIDIA's parser holds it, run by the executor on real images."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from edgeskin import shipped
from edgeskin.contract.preprocess import network_input
from edgeskin.data.cases import read_image
from edgeskin.data.sets import open_like
from edgeskin.graph import execute
from edgeskin.graph.folder import Graph
from edgeskin.graph.read import read
from edgeskin.targets.base import Artifact
from edgeskin.targets.onnx import reference_session
from edgeskin.targets.tensorrt import parser
from edgeskin.targets.tensorrt.target import TensorrtTarget

pytestmark = [
    pytest.mark.data,
    pytest.mark.skipif(parser.missing() is not None, reason=str(parser.missing())),
]

Outputs = Mapping[str, npt.NDArray[np.float32]]


@pytest.fixture(scope="module")
def released() -> Graph:
    return Graph.open(shipped.default_release())


@pytest.fixture(scope="module")
def images(released: Graph, isic2017: Path) -> npt.NDArray[np.uint8]:
    """20 images of validation."""
    card = released.card
    chosen = open_like(isic2017, card.provenance.data).split("val")[:20]
    return np.stack([network_input(read_image(case), card.size, card.preprocessing)[0] for case in chosen])


@pytest.fixture(scope="module")
def built(released: Graph, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Artifact]:
    target = TensorrtTarget()
    return {
        precision: target.build(released, precision, tmp_path_factory.mktemp(precision))
        for precision in ("int8", "fp32")
    }


def test_what_the_parser_holds_computes_in_float_what_onnxruntime_computes(
    released: Graph, built: Mapping[str, Artifact], images: npt.NDArray[np.uint8]
) -> None:
    """Within 1e-5, as issue 6 asks."""
    expected: Outputs = reference_session(released.fp32).run(images)
    answers: Outputs = TensorrtTarget().execute(built["fp32"]).run(images)
    assert answers.keys() == expected.keys()
    for name, values in expected.items():
        np.testing.assert_allclose(answers[name], values, atol=1e-5, rtol=0)


def test_what_the_parser_holds_computes_the_integers_of_int8_onnx(
    released: Graph, built: Mapping[str, Artifact], images: npt.NDArray[np.uint8]
) -> None:
    """Every value of every layer, against the executor's run of the file itself."""
    held, written = TensorrtTarget().read(built["int8"]), read(released.int8)
    for row in range(len(images)):
        feeds = {"image": images[row : row + 1]}
        found, expected = execute.run(held, feeds), execute.run(written, feeds)
        assert found.keys() == expected.keys()
        assert all(found[name].dtype == expected[name].dtype for name in expected)
        differing = [name for name in expected if not np.array_equal(found[name], expected[name])]
        assert differing == []
