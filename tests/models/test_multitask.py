import pytest
import torch

from edgeskin.contract.model import HeadSpec
from edgeskin.models.mobilenet import MobileNetV2
from edgeskin.models.multitask import MultiTask

MASK = HeadSpec(name="mask", kind="mask", labels=("lesion",), threshold=0.5)
DIAGNOSIS = HeadSpec(name="diagnosis", kind="softmax", labels=("melanoma", "nevus", "keratosis"))
MELANOMA = HeadSpec(name="melanoma", kind="sigmoid", labels=("melanoma",), threshold=0.5)


@pytest.mark.parametrize(("widths", "stride"), [((16,), 16), ((16, 8), 8), ((16, 8, 8), 4), ((16, 8, 8, 8), 2)])
def test_a_mask_has_the_size_of_the_image_from_whatever_stride(widths: tuple[int, ...], stride: int) -> None:
    network = MultiTask(MobileNetV2(0.35), [MASK], widths, 0.0).eval()
    assert network.decoder is not None
    assert network.decoder.stride == stride
    (mask,) = network(torch.zeros(2, 3, 64, 64))
    assert mask.shape == (2, 1, 64, 64)


def test_heads_answer_in_the_order_in_which_they_are_declared() -> None:
    network = MultiTask(MobileNetV2(0.35), [MELANOMA, MASK, DIAGNOSIS], (16,), 0.0).eval()
    shapes = [tuple(logits.shape) for logits in network(torch.zeros(2, 3, 32, 32))]
    assert shapes == [(2, 1), (2, 1, 32, 32), (2, 3)]


def test_without_a_mask_head_there_is_no_decoder() -> None:
    network = MultiTask(MobileNetV2(0.35), [DIAGNOSIS], (16,), 0.0)
    assert network.decoder is None
    assert not any("decoder" in name for name in network.state_dict())


def test_outputs_are_logits_not_probabilities() -> None:
    network = MultiTask(MobileNetV2(0.35), [MELANOMA, DIAGNOSIS], (16,), 0.0).eval()
    with torch.no_grad():
        for head in network.heads.values():
            head.logits.weight.zero_()
            head.logits.bias.fill_(-3.0)
        for logits in network(torch.zeros(1, 3, 32, 32)):
            assert (logits == -3).all()


def test_dropout_falls_on_pooled_features_in_training_only() -> None:
    network = MultiTask(MobileNetV2(0.35), [DIAGNOSIS], (16,), 0.5).eval()
    image = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(network(image)[0], network(image)[0], rtol=0, atol=0)
    network.heads["diagnosis"].train()
    assert not torch.equal(network(image)[0], network(image)[0])
