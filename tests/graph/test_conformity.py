"""What a network alone cannot show: how the file spells it, and whether the card speaks of the same heads."""

from pathlib import Path

import metadata_graphs
import pytest
from raw_graphs import small

from edgeskin.contract.model import HeadSpec, ModelCard, Provenance
from edgeskin.graph.conformity import card_findings, file_findings
from edgeskin.graph.ir import Network
from edgeskin.graph.lint import float_tail
from edgeskin.graph.load import load
from edgeskin.graph.read import read
from edgeskin.graph.rewrite import rename, snap_biases
from edgeskin.graph.write import to_onnx, write_onnx

MASK = HeadSpec(name="mask", kind="mask", labels=("lesion",), threshold=0.5)
DIAGNOSIS = HeadSpec(name="diagnosis", kind="softmax", labels=("melanoma", "nevus", "seborrheic_keratosis"))
MELANOMA = HeadSpec(name="melanoma", kind="sigmoid", labels=("melanoma",), threshold=0.5)


@pytest.fixture(scope="module")
def network() -> Network:
    return rename(snap_biases(read(small(size=32).model())))


def card(network: Network, *heads: HeadSpec, size: int = 32, tail: tuple[str, ...] | None = None) -> ModelCard:
    return ModelCard(
        name="small",
        version="1",
        size=size,
        heads=heads or (MASK, DIAGNOSIS, MELANOMA),
        float_tail=tuple(node.name for node in float_tail(network)) if tail is None else tail,
        intended_use="Tests only.",
        licence="Apache-2.0",
        provenance=Provenance(
            recipe="small", recipe_sha256="0", data=(), data_list_sha256="0", seed=1, edgeskin_version="0"
        ),
    )


def rules(findings: object) -> list[tuple[str, str]]:
    return [(finding.rule, finding.node) for finding in findings]


def test_the_canonical_file_and_its_card_conform(network: Network, tmp_path: Path) -> None:
    write_onnx(network, tmp_path / "int8.onnx")
    assert rules(file_findings(load(tmp_path / "int8.onnx"))) == []
    assert rules(card_findings(network, card(network))) == []


def test_the_uint8_twin_is_not_the_canonical_file(network: Network) -> None:
    found = {rule for rule, _ in rules(file_findings(to_onnx(network, activations="uint8")))}
    assert found == {"int8-activations", "float-bias"}


def test_another_opset_is_not_the_contracts(network: Network) -> None:
    model = to_onnx(network)
    model.opset_import[0].version = 20
    assert rules(file_findings(model)) == [("opset", "the file")]


@pytest.mark.parametrize(
    ("heads", "size", "tail", "expected"),
    [
        ((DIAGNOSIS, MASK, MELANOMA), 32, None, [("card-heads", "model.json")]),
        ((MASK, DIAGNOSIS), 32, None, [("card-heads", "model.json")]),
        ((MASK, DIAGNOSIS.model_copy(update={"labels": ("a", "b")}), MELANOMA), 32, None,
         [("card-heads", "diagnosis")]),
        ((), 64, None, [("card-heads", "mask"), ("card-size", "image")]),
        ((), 32, ("nonsense",), [("card-float-tail", "model.json")]),
    ],
)  # fmt: skip
def test_a_card_of_another_network_is_named(
    network: Network,
    heads: tuple[HeadSpec, ...],
    size: int,
    tail: tuple[str, ...] | None,
    expected: list[tuple[str, str]],
) -> None:
    assert rules(card_findings(network, card(network, *heads, size=size, tail=tail))) == expected


def test_a_head_that_another_operator_computes_is_named(network: Network) -> None:
    swapped = DIAGNOSIS.model_copy(update={"kind": "sigmoid", "labels": ("melanoma",), "threshold": 0.5})
    found = rules(card_findings(network, card(network, MASK, swapped, MELANOMA)))
    assert found == [("card-heads", "diagnosis")]


def test_the_cards_metadata_is_the_networks_second_input(network: Network) -> None:
    told = metadata_graphs.told_and_seen(quantized=True)
    its_card = metadata_graphs.card()
    assert rules(card_findings(told, its_card)) == []
    assert rules(card_findings(told, its_card.model_copy(update={"metadata": None}))) == [("card-inputs", "model.json")]
    narrower = its_card.metadata.model_copy(update={"fields": its_card.metadata.fields[:1]})
    (finding,) = card_findings(told, its_card.model_copy(update={"metadata": narrower}))
    assert str(finding) == "card-inputs: metadata: has the shape (5,), the card's fields have 2 slots"
    asking = card(network).model_copy(update={"metadata": its_card.metadata})
    assert rules(card_findings(network, asking)) == [("card-inputs", "model.json")]
