import pytest
import torch
from torch import Tensor
from torch.nn import functional

from edgeskin.contract.metadata import ChoiceField, MetadataSpec, NumberField
from edgeskin.contract.model import HeadSpec
from edgeskin.models.attention import CbamBlock, MaskGate
from edgeskin.models.fusion import Imputation
from edgeskin.models.heads import ClassifyHead, MapHead
from edgeskin.models.mobilenet import MobileNetV2
from edgeskin.models.multitask import MultiTask
from edgeskin.models.spec import (
    ActivationMap,
    Cbam,
    HeadLayout,
    JointReverse,
    MaskAttention,
    MetadataFusion,
    NetworkSpec,
)

MASK = HeadSpec(name="mask", kind="mask", labels=("lesion",), threshold=0.5)
DIAGNOSIS = HeadSpec(name="diagnosis", kind="softmax", labels=("melanoma", "nevus", "keratosis"))
MELANOMA = HeadSpec(name="melanoma", kind="sigmoid", labels=("melanoma",), threshold=0.5)
SYMMETRY = HeadSpec(name="symmetry", kind="softmax", labels=("symmetric", "asymmetric"))
FIELDS = MetadataSpec(
    fields=(NumberField(name="age", low=0, high=100), ChoiceField(name="sex", values=("female", "male")))
)


def network(
    *heads: HeadSpec,
    hidden: int | None = None,
    metadata: MetadataSpec | None = None,
    super_resolution: bool = False,
    **parts: object,
) -> MultiTask:
    """A small network; `hidden` is given to sigmoid heads."""
    torch.manual_seed(0)
    spec = NetworkSpec.model_validate({"decoder": (16, 8), "dropout": 0.0, **parts})
    layouts = [HeadLayout(head, hidden if head.kind == "sigmoid" else None) for head in heads]
    return MultiTask(MobileNetV2(0.35), spec, layouts, metadata, super_resolution=super_resolution).eval()


def photos(size: int = 64) -> Tensor:
    return torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(1)) * 2 - 1


@pytest.mark.parametrize(("widths", "stride"), [((16,), 16), ((16, 8), 8), ((16, 8, 8), 4), ((16, 8, 8, 8), 2)])
def test_a_mask_has_the_size_of_the_image_from_whatever_stride(widths: tuple[int, ...], stride: int) -> None:
    built = network(MASK, decoder=widths)
    assert built.decoder is not None
    assert built.decoder.stride == stride
    (mask,) = built(torch.zeros(2, 3, 64, 64))
    assert mask.shape == (2, 1, 64, 64)


def test_heads_answer_in_the_order_in_which_they_are_declared() -> None:
    shapes = [tuple(logits.shape) for logits in network(MELANOMA, MASK, DIAGNOSIS)(torch.zeros(2, 3, 32, 32))]
    assert shapes == [(2, 1), (2, 1, 32, 32), (2, 3)]


def test_without_a_mask_head_there_is_no_decoder() -> None:
    built = network(DIAGNOSIS)
    assert built.decoder is None
    assert not any("decoder" in name for name in built.state_dict())


def test_outputs_are_logits_not_probabilities() -> None:
    built = network(MELANOMA, DIAGNOSIS)
    with torch.no_grad():
        for head in built.heads.values():
            head.logits.weight.zero_()
            head.logits.bias.fill_(-3.0)
        for logits in built(torch.zeros(1, 3, 32, 32)):
            assert (logits == -3).all()


def test_dropout_falls_on_pooled_features_in_training_only() -> None:
    built = network(DIAGNOSIS, dropout=0.5)
    image = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(built(image)[0], built(image)[0], rtol=0, atol=0)
    built.heads["diagnosis"].train()
    assert not torch.equal(built(image)[0], built(image)[0])


def test_a_heads_activation_map_is_its_pooled_linear_head_written_as_a_convolution() -> None:
    head, features = MapHead(8, 2), torch.randn(3, 8, 5, 5)
    maps, logits = head(features)
    weight = head.logits.weight.flatten(1)
    torch.testing.assert_close(logits, functional.linear(features.mean((2, 3)), weight, head.logits.bias))
    torch.testing.assert_close(maps[1, 0, 2, 3], features[1, :, 2, 3] @ weight[0] + head.logits.bias[0])


def test_the_symmetry_map_reaches_the_diagnosis_and_no_other_head() -> None:
    link = ActivationMap(source="symmetry", heads=("diagnosis",), channels=16)
    built = network(SYMMETRY, DIAGNOSIS, MELANOMA, activation_map=link)
    before = built(photos())
    with torch.no_grad():
        built.heads["symmetry"].logits.bias.add_(2)
    after = built(photos())
    assert not torch.equal(before[1], after[1])
    torch.testing.assert_close(before[2], after[2], rtol=0, atol=0)


def test_where_the_mask_is_empty_an_attending_head_sees_nothing() -> None:
    built = network(MASK, MELANOMA, DIAGNOSIS, mask_attention=MaskAttention(heads=("melanoma",)))
    head = built.heads["melanoma"]
    assert isinstance(head, ClassifyHead)
    with torch.no_grad():
        built.heads["mask"].logits.weight.zero_()
        built.heads["mask"].logits.bias.fill_(-100)
    _, melanoma, diagnosis = built(photos())
    torch.testing.assert_close(melanoma, head.logits.bias.expand(2, 1), rtol=0, atol=0)
    assert diagnosis.std() > 0


def test_an_attending_head_also_pools_the_last_decoder_levels() -> None:
    plain, attending = (network(MASK, MELANOMA, **link) for link in ({}, {"mask_attention": {"heads": ["melanoma"]}}))
    widths = [built.heads["melanoma"].logits.in_features for built in (plain, attending)]
    assert widths == [1280, 1280 + 16 + 8]


def test_a_mask_gate_at_a_coarser_stride_is_the_mean_of_what_it_covers() -> None:
    gates = MaskGate(4)(torch.tensor([[[[-9.0, 9.0], [0.0, 0.0]]]]), (4, 8))
    # Hard sigmoid by hand: clip(x/6 + 1/2, 0, 1).
    assert gates[4].flatten().tolist() == [0, 1, 0.5, 0.5]
    assert gates[8].flatten().tolist() == [0.5]


def test_joint_reverse_learning_lets_the_classifier_move_the_mask() -> None:
    link = JointReverse(head="melanoma", levels=2)
    built = network(MASK, MELANOMA, DIAGNOSIS, hidden=12, joint_reverse=link)
    before = built(photos())
    with torch.no_grad():
        built.heads["melanoma"].hidden.bias.add_(3)
    after = built(photos())
    assert not torch.equal(before[0], after[0])
    torch.testing.assert_close(before[2], after[2], rtol=0, atol=0)


def test_the_second_run_shares_every_convolution_with_the_first() -> None:
    link = JointReverse(head="melanoma", levels=2)
    built, plain = (network(MASK, MELANOMA, hidden=12, **parts) for parts in ({"joint_reverse": link}, {}))
    added = set(built.state_dict()) - set(plain.state_dict())
    assert {name.split(".")[1] for name in added} == {"projections", "depthwise_norms", "pointwise_norms"}


def test_with_every_gate_open_the_second_run_is_the_first() -> None:
    built = network(MASK, MELANOMA, hidden=12, joint_reverse=JointReverse(head="melanoma", levels=2))
    plain = network(MASK, MELANOMA, hidden=12)
    assert built.reverse is not None
    with torch.no_grad():
        for projection in built.reverse.projections:
            projection.weight.zero_()
            projection.bias.fill_(3)  # clip(3/6 + 1/2) = 1
    shared = {name: value for name, value in built.state_dict().items() if not name.startswith("reverse")}
    plain.load_state_dict(shared)
    torch.testing.assert_close(built(photos())[0], plain(photos())[0])


def test_cbam_follows_its_formula() -> None:
    block, x = CbamBlock(16, 2), torch.randn(2, 16, 7, 7)
    excited = [
        block.excite(functional.relu(block.squeeze(vector)))
        for vector in (functional.adaptive_avg_pool2d(x, 1), functional.adaptive_max_pool2d(x, 1))
    ]
    refined = x * functional.hardsigmoid(excited[0] + excited[1])
    channels = torch.stack([refined.mean(1), refined.max(1).values], 1)
    expected = refined * functional.hardsigmoid(block.spatial(channels))
    torch.testing.assert_close(block(x), expected)


def test_cbam_serves_the_classifiers_and_leaves_the_decoder_its_own_view() -> None:
    built = network(MASK, MELANOMA, pooled_levels=(4, 5), cbam=Cbam(levels=(4, 5)))
    before = built(photos())
    with torch.no_grad():
        built.pooling.cbam["5"].spatial.bias.add_(2)
    after = built(photos())
    torch.testing.assert_close(before[0], after[0], rtol=0, atol=0)
    assert not torch.equal(before[1], after[1])


@pytest.mark.parametrize("kind", ["multiply", "concat"])
def test_clinical_fields_move_the_heads_they_are_fused_into_and_no_other(kind: str) -> None:
    fusion = MetadataFusion.model_validate({"heads": ("diagnosis",), "kind": kind, "widths": (8, 16)})
    built = network(DIAGNOSIS, MELANOMA, metadata=FIELDS, fusion=fusion)
    old, young = (
        torch.from_numpy(FIELDS.encode({"age": age, "sex": "male"})).expand(2, FIELDS.width) for age in (90, 10)
    )
    first, second = built(photos(), old), built(photos(), young)
    assert not torch.equal(first[0], second[0])
    torch.testing.assert_close(first[1], second[1], rtol=0, atol=0)


def test_multiplicative_fusion_is_the_product_of_two_vectors() -> None:
    fusion = MetadataFusion(heads=("diagnosis",), widths=(8, 16))
    built = network(DIAGNOSIS, metadata=FIELDS, fusion=fusion)
    assert built.fusion is not None
    metadata = torch.from_numpy(FIELDS.unknown())[None]
    pooled = torch.randn(1, 1280)
    fused, _ = built.fusion({"diagnosis": pooled}, metadata)
    block = built.fusion
    expected = block.fusions["diagnosis"].project(pooled) * block.encoder(metadata)
    torch.testing.assert_close(fused["diagnosis"], expected)


def test_imputation_fills_in_the_slots_of_unknown_fields_and_no_other() -> None:
    imputation = Imputation(FIELDS, 8)
    metadata = torch.from_numpy(FIELDS.encode({"sex": "female"}))[None]
    filled, predicted = imputation(metadata)
    # Slots: age, age=unknown, sex=female, sex=male, sex=unknown.
    assert filled[0, 0] == predicted[0, 0]
    torch.testing.assert_close(filled[0, 1:], metadata[0, 1:], rtol=0, atol=0)


def test_taps_stand_behind_the_logits_in_training_and_auxiliary_parts_outside_the_forward_pass() -> None:
    fusion = MetadataFusion(heads=("diagnosis",), widths=(8, 16), imputation=8)
    built = network(DIAGNOSIS, metadata=FIELDS, fusion=fusion, super_resolution=True)
    outputs = built(photos(), torch.from_numpy(FIELDS.unknown()).expand(2, FIELDS.width))
    assert built.taps == ("features", "imputed")
    assert [tuple(output.shape) for output in outputs] == [(2, 3), (2, 1280, 2, 2), (2, FIELDS.width)]
    assert built.auxiliary["super_resolution"](outputs[1]).shape == (2, 3, 128, 128)
