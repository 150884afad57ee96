"""A Graph folder of a small network, shared by the tests of every target."""

import pytest
from raw_graphs import small

from edgeskin.contract.model import HeadSpec, ModelCard, Provenance
from edgeskin.graph.folder import Graph
from edgeskin.graph.lint import float_tail
from edgeskin.graph.read import read
from edgeskin.graph.rewrite import rename, snap_biases
from edgeskin.graph.write import write_onnx

SIZE = 32


@pytest.fixture(scope="session")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Graph:
    """A Graph folder that keeps the contract: a mask, three diagnoses, melanoma."""
    folder = tmp_path_factory.mktemp("graph")
    int8 = rename(snap_biases(read(small(size=SIZE).model())))
    write_onnx(int8, folder / "int8.onnx")
    write_onnx(rename(read(small(size=SIZE, quantized=False).model())), folder / "fp32.onnx")
    provenance = Provenance(
        recipe="small",
        recipe_sha256="0" * 64,
        data=("phantom",),
        data_list_sha256="1" * 64,
        seed=1,
        edgeskin_version="0",
    )
    ModelCard(
        name="small",
        version="1",
        size=SIZE,
        heads=(
            HeadSpec(name="mask", kind="mask", labels=("lesion",), threshold=0.5),
            HeadSpec(name="diagnosis", kind="softmax", labels=("melanoma", "nevus", "seborrheic_keratosis")),
            HeadSpec(name="melanoma", kind="sigmoid", labels=("melanoma",), threshold=0.5),
        ),
        float_tail=tuple(node.name for node in float_tail(int8)),
        intended_use="Tests only.",
        licence="Apache-2.0",
        provenance=provenance,
    ).write(folder / "model.json")
    return Graph.open(folder)
