"""The released network in LiteRT on real images: end to end, and each operator alone on onnxruntime's integers."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from operator_suite import computed, demand_same

from edgeskin import shipped
from edgeskin.benchmarks import numerics
from edgeskin.contract.preprocess import network_input
from edgeskin.data.cases import read_image
from edgeskin.data.sets import open_like
from edgeskin.graph.folder import Graph
from edgeskin.graph.read import read
from edgeskin.targets.onnx import optimised_session, reference_session
from edgeskin.targets.tflite import TfliteTarget
from edgeskin.targets.tflite.fold import fold
from edgeskin.targets.tflite.lower import lower

pytest.importorskip("ai_edge_litert")
from tflite_alone import run_alone

pytestmark = [pytest.mark.data, pytest.mark.slow]

TARGET = TfliteTarget()
FLOAT = ("Sigmoid", "Softmax")
"""The heads' ends, which are float in every target."""


@pytest.fixture(scope="module")
def released() -> Graph:
    return Graph.open(shipped.default_release())


def shown(graph: Graph, folder: Path, count: int) -> npt.NDArray[np.uint8]:
    """Images of validation and, where those are too few, of train."""
    cases = open_like(folder, graph.card.provenance.data)
    chosen = [*cases.split("val"), *cases.split("train")][:count]
    card = graph.card
    squares = [network_input(read_image(case), card.size, card.preprocessing)[0] for case in chosen]
    return np.stack(squares)


def test_int8_is_equivalent_on_200_real_images(released: Graph, isic2017: Path, tmp_path: Path) -> None:
    images = shown(released, isic2017, 200)
    assert len(images) == 200
    plain, optimised = (make(released.int8).run(images) for make in (reference_session, optimised_session))
    gaps = numerics.engine_gaps(optimised, plain, released.card)
    session = TARGET.open(TARGET.build(released, "int8", tmp_path))
    for hop in numerics.compare("int8.onnx → artifact", plain, session.run(images), released.card, engine_gap=gaps):
        assert hop.equivalent, hop


def test_fp32_answers_as_onnxruntime_on_real_images(released: Graph, isic2017: Path, tmp_path: Path) -> None:
    images = shown(released, isic2017, 50)
    expected = reference_session(released.fp32).run(images)
    for name, values in TARGET.open(TARGET.build(released, "fp32", tmp_path)).run(images).items():
        np.testing.assert_allclose(values, expected[name], atol=1e-4, err_msg=name)


def test_each_operator_alone_computes_onnxruntimes_integers_on_real_images(released: Graph, isic2017: Path) -> None:
    network = read(released.int8)
    program = fold(lower(network))
    values = computed(network, {"image": shown(released, isic2017, 4)})
    equal: dict[str, list[npt.NDArray[np.bool_]]] = {}
    for node in network.nodes:
        found, expected = run_alone(program, network, node, values, plain=False), values[node.output]
        equal.setdefault(node.kind, []).append((found == expected).reshape(-1))
        if not equal[node.kind][-1].all():
            # What differs lies halfway between two integers: onnxruntime rounds that to even, XNNPACK some of it up.
            demand_same(network, node, values, found, expected)
    shares = {kind: float(np.concatenate(each).mean()) for kind, each in equal.items() if kind not in FLOAT}
    # A map twice as large has weights of 1/16, and many exact ties.
    assert shares.pop("Resize") >= 0.999
    assert min(shares.values()) >= 0.9999, shares
