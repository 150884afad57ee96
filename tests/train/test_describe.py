"""What a recipe's network is made of, and what of it is exported."""

import json
from dataclasses import replace
from functools import cache
from math import prod

import pytest
import torch

from edgeskin import shipped
from edgeskin.export.trace import trace
from edgeskin.graph.ir import Conv, Linear
from edgeskin.models.count import count
from edgeskin.models.encoder import encoder
from edgeskin.train import recipe
from edgeskin.train.describe import Description, Part, describe
from edgeskin.train.describe.description import amount, shape_in_words, shapes_in_words
from edgeskin.train.describe.levels import encoder_levels
from edgeskin.train.describe.text import to_json, to_text
from edgeskin.train.networks import build_network

RECIPES = sorted(path.stem for path in shipped.folder("recipes").glob("*.toml"))
ENCODERS = ("mobilenet_v2", "mobilenet_v3_small", "mobilenet_v3_large", "squeezenet_1_0", "squeezenet_1_1")
FIELDS = "metadata.fields=[{kind='number', name='age', low=0, high=100}]"
LINKED = (
    FIELDS,
    "network.activation_map={source='seborrheic_keratosis', heads=['diagnosis']}",
    "network.fusion={heads=['diagnosis', 'melanoma'], imputation=8}",
    "network.pooled_levels=[4, 5]",
    "network.cbam.levels=[4, 5]",
    "heads.sharper={kind='super_resolution'}",
)


def read(name: str, *overrides: str) -> recipe.Recipe:
    return recipe.read(shipped.find("recipes", name), overrides)


@cache
def described(name: str, *overrides: str) -> Description:
    return describe(read(name, *overrides))


def part(description: Description, name: str) -> Part:
    return next(part for part in description.parts if part.name == name)


def changed(before: str, after: str) -> tuple[set[str], set[str]]:
    """Parts that a recipe adds to another's, and those that both have but not alike; none is taken away."""
    old, new = ({part.name: part for part in described(name).parts} for name in (before, after))
    assert old.keys() <= new.keys()
    return new.keys() - old.keys(), {name for name in old if old[name] != new[name]}


@pytest.mark.parametrize(
    ("name", "overrides"),
    [
        *((name, ()) for name in RECIPES),
        *(("phantom_tiny", (f"network.encoder='{name}'",)) for name in ENCODERS),
        ("phantom_tiny", LINKED),
        ("isic2016_mtl4", ("network.joint_reverse.levels=3", "network.mask_attention.decoder_levels=0")),
    ],
)
def test_totals_are_those_of_the_whole_network(name: str, overrides: tuple[str, ...]) -> None:
    chosen, description = read(name, *overrides), described(name, *overrides)
    with torch.device("meta"):
        network = build_network(chosen).eval()
        metadata = () if chosen.metadata is None else (torch.empty(1, chosen.metadata.spec().width),)
        costs = count(network, torch.empty(1, 3, chosen.network.size, chosen.network.size), *metadata)
    auxiliary = sum(parameter.numel() for parameter in network.auxiliary.parameters())
    assert description.training_only.parameters == auxiliary
    assert description.exported.parameters == sum(p.numel() for p in network.parameters()) - auxiliary
    everything = sum(part.multiply_adds for part in description.parts)
    assert description.exported.multiply_adds + description.training_only.multiply_adds == everything
    # `count` runs the network as it is called, without the auxiliary decoder.
    assert everything == sum(cost.multiply_adds for cost in costs) + sum(
        part.multiply_adds for part in description.parts if part.kind == "auxiliary"
    )
    assert description.exported.parameters == sum(part.parameters for part in description.parts if part.exported)


@pytest.mark.parametrize("name", [*RECIPES, "linked"])
def test_every_part_stands_behind_what_it_reads(name: str) -> None:
    description = described("phantom_tiny", *LINKED) if name == "linked" else described(name)
    known = [given.name for given in description.inputs]
    for part in description.parts:
        assert set(part.reads) <= set(known)
        assert part.name not in known
        known.append(part.name)
    links = {(link.source, link.target) for link in description.links}
    assert links <= {(read, part.name) for part in description.parts for read in part.reads}


def test_mtl1_adds_the_mask_gate_and_what_the_classifier_sees_through_it() -> None:
    assert changed("isic2016_mtl0", "isic2016_mtl1") == ({"mask gate"}, {"pooling", "head melanoma"})
    before, after = described("isic2016_mtl0"), described("isic2016_mtl1")
    assert part(after, "pooling").reads == ("encoder 5", "decoder 2", "decoder 3", "mask gate")
    assert part(after, "pooling").shapes == ((1280 + 64 + 32,),)
    hidden = part(after, "head melanoma").parameters - part(before, "head melanoma").parameters
    assert hidden == (64 + 32) * 128, "the hidden layer of 128 reads two decoder levels more"
    assert part(after, "mask gate").multiply_adds == 0, "it reads what the head computes anyway"


def test_mtl2_adds_joint_reverse_learning_and_the_encoder_level_above() -> None:
    added, altered = changed("isic2016_mtl1", "isic2016_mtl2")
    assert added == {"joint reverse"}
    assert altered == {"pooling", "head melanoma", "head mask", "mask gate"}
    before, after = described("isic2016_mtl1"), described("isic2016_mtl2")
    assert part(after, "head mask").reads == ("joint reverse",)
    assert replace(part(after, "head mask"), reads=("decoder 3",)) == part(before, "head mask")
    reverse = part(after, "joint reverse")
    assert reverse.reads == ("decoder 1", "decoder 2", "decoder 3", "head melanoma")
    # Level 2 mixes 96 + 64 channels into 64 at 24², level 3 mixes 64 + 32 into 32 at 48²: a linear projection of 128
    # activations each, a depthwise 3×3 and a pointwise convolution once more, batch norm of its own behind both.
    projections = 128 * 160 + 128 * 96
    again = (9 * 160 + 160 * 64) * 24**2 + (9 * 96 + 96 * 32) * 48**2
    assert reverse.multiply_adds == projections + again
    gate = part(after, "mask gate")
    assert gate.multiply_adds == 32 * 48 * 48, (
        "the mask's 1×1 convolution at stride 4; the head now reads the second run"
    )
    assert gate.dropped_multiply_adds == 0
    assert reverse.parameters == projections + 160 + 96 + 2 * (160 + 64) + 2 * (96 + 32)


def test_mtl3_adds_cbam_between_encoder_and_pooling() -> None:
    assert changed("isic2016_mtl2", "isic2016_mtl3") == ({"cbam 4", "cbam 5"}, {"pooling"})
    assert part(described("isic2016_mtl3"), "pooling").reads[:2] == ("cbam 4", "cbam 5")


def test_mtl4_is_the_network_of_mtl3() -> None:
    assert changed("isic2016_mtl3", "isic2016_mtl4") == (set(), set())


def test_super_resolution_is_dropped_at_export_and_nothing_else_is() -> None:
    description = described("phantom_tiny", *LINKED)
    dropped = [part for part in description.parts if not part.exported]
    assert [part.name for part in dropped] == ["super-resolution"]
    assert dropped[0].shapes == ((3, 128, 128),), "the input is 64²"
    # models/super_resolution.py: 3×3 convolutions to 4·(128, 64, 32, 16, 8, 3) channels, the first on level 5 at 2².
    layers = list(zip((1280, 128, 64, 32, 16, 8), (128, 64, 32, 16, 8, 3), (2, 4, 8, 16, 32, 64), strict=True))
    assert dropped[0].parameters == sum(9 * a * 4 * b + 4 * b for a, b, _ in layers)
    assert dropped[0].multiply_adds == sum(9 * a * 4 * b * side**2 for a, b, side in layers)
    facts = {head.name: head for head in description.heads}
    assert (facts["sharper"].part, facts["sharper"].loss, facts["sharper"].exported) == (
        "super-resolution",
        "mse",
        False,
    )
    assert description.taps == ("features", "imputed")


def test_a_first_run_that_nothing_reads_is_not_exported() -> None:
    overrides = ("network.joint_reverse={head='melanoma', levels=1}",)
    description = described("isic2016_mtl0", *overrides)
    level = part(description, "decoder 3")
    assert level.exported, "the convolution on the encoder's side is read by the second run"
    assert level.dropped_multiply_adds == (9 * 96 + 96 * 32) * 48**2, "see MTL2"
    assert description.training_only.multiply_adds == level.dropped_multiply_adds
    assert description.training_only.parameters == 0
    assert f"{level.dropped_multiply_adds:,} of its multiply-adds" in "\n".join(to_text(description, 200))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["isic2016_mtl1", "reverse_alone"])
def test_exported_multiply_adds_are_those_of_the_traced_graph(name: str) -> None:
    reverse = ("network.joint_reverse={head='melanoma'}",) if name == "reverse_alone" else ()
    chosen = read("isic2016_mtl0" if reverse else name, "network.width=0.25", "network.size=64", *reverse)
    graph = trace(build_network(chosen).eval(), chosen.head_specs(), 64)
    in_graph = 0
    for node in graph.nodes:
        if isinstance(node.operator, (Conv, Linear)):
            output, weight = graph.tensors[node.output], graph.tensors[node.inputs[1]]
            in_graph += prod(int(side) for side in (*output.shape[1:], *weight.shape[1:]))
    assert describe(chosen).exported.multiply_adds == in_graph


def test_levels_that_lead_to_no_head_are_dropped() -> None:
    overrides = ("heads.mask=false", "network.pooled_levels=[4]")
    dropped = [part.name for part in described("phantom_tiny", *overrides).parts if not part.exported]
    assert dropped == ["encoder 5"]


def test_metadata_is_an_input_with_named_slots() -> None:
    description = described("phantom_tiny", *LINKED)
    assert [(given.name, given.shape) for given in description.inputs] == [("image", (3, 64, 64)), ("metadata", (2,))]
    assert description.inputs[1].slots == ("age", "age=unknown")
    assert part(description, "imputation").reads == ("metadata",)
    assert part(description, "fusion melanoma").reads == ("pooling melanoma", "metadata encoder")
    assert part(description, "pooling diagnosis").reads == ("cbam 4", "E-layer")
    assert part(description, "E-layer").reads == ("cbam 5", "head seborrheic_keratosis")


@pytest.mark.parametrize("name", ENCODERS)
def test_levels_share_out_all_of_an_encoder(name: str) -> None:
    with torch.device("meta"):
        chosen = encoder(name, 0.25).eval()
        levels = encoder_levels(chosen, torch.empty(1, 3, 64, 64))
    assert [level.shape for level in levels] == [(c, 64 >> i, 64 >> i) for i, c in enumerate(chosen.channels, 1)]
    layers = [layer for level in levels for layer in level.layers]
    assert len(layers) == len(set(layers))
    assert set(layers) == {module for module in chosen.modules() if not list(module.children())}
    assert set(levels[0].layers) >= set(chosen.stem.children()) - {None}


def test_the_table_holds_every_part_and_the_sums() -> None:
    description = described("phantom_tiny", *LINKED)
    lines = to_text(description, 120)
    table = lines[: lines.index("", 5)]
    for part in description.parts:
        (row,) = [line for line in table if line.startswith(f"{part.name}  ")]
        assert (f" {part.parameters:,} " in row) == bool(part.parameters)
        assert ("  dropped  " in row) == (not part.exported)
    assert any(line.startswith("exported ") and f"{description.exported.parameters:,}" in line for line in table)
    assert any(line.startswith("dropped at export ") for line in table)
    assert max(map(len, table)) <= 120
    assert "super-resolution learns by mse, weight 1" in lines


def test_json_tells_the_same_facts() -> None:
    description = described("isic2016_mtl4")
    facts = json.loads(to_json(description))
    assert facts["exported"]["parameters"] == description.exported.parameters
    assert [part["name"] for part in facts["parts"]] == [part.name for part in description.parts]
    assert facts["links"][0] == {
        "kind": "mask_attention",
        "source": "mask gate",
        "target": "pooling",
        "label": "× mask",
    }


def test_shapes_and_amounts_in_words() -> None:
    assert shape_in_words((3, 64, 64)) == "3 × 64²"
    assert shape_in_words((2, 3, 4)) == "2 × 3 × 4"
    assert shapes_in_words(((1, 12, 12), (1, 6, 6))) == "1 × 12², 6²"
    assert shapes_in_words(((2, 12, 12), (1, 6, 6), (5,), (5,))) == "2 × 12², 1 × 6², 5"
    assert [amount(n) for n in (0, 7, 999, 1000, 12_345, 999_499, 999_500, 3_060_000, 1_140_000_000)] == [
        "–", "7", "999", "1.00 k", "12.3 k", "999 k", "1.00 M", "3.06 M", "1.14 G",
    ]  # fmt: skip
