from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from edgeskin.contract.image import letterbox
from edgeskin.contract.model import HeadSpec
from edgeskin.data.cases import read_cases, read_image, read_mask
from edgeskin.train.loader import Batch, Samples, decode, plain_batches, training_batches
from edgeskin.train.recipe import Augmentation

MASK = HeadSpec(name="mask", kind="mask", labels=("lesion",), threshold=0.5)
DIAGNOSIS = HeadSpec(name="diagnosis", kind="softmax", labels=("melanoma", "nevus", "seborrheic_keratosis"))


def samples(count: int = 11, size: int = 32) -> Samples:
    """Noise of several shapes; every third has no mask, every fourth no label."""
    random = np.random.default_rng(0)
    shapes = [((40, 56), (56, 40), (32, 32), (20, 64))[index % 4] for index in range(count)]
    images = tuple(random.integers(0, 256, (*shape, 3), np.uint8) for shape in shapes)
    masks = tuple(None if i % 3 == 0 else np.ones(shape, np.uint8) for i, shape in enumerate(shapes))
    labels = np.array([-1 if index % 4 == 0 else index % 3 for index in range(count)])
    return Samples(images, masks, {"diagnosis": labels}, size)


def epoch(seed: tuple[int, ...], batch: int = 4) -> list[Batch]:
    return list(training_batches(samples(), Augmentation(), batch, seed))


def test_the_same_seed_gives_the_same_batches_to_the_bit() -> None:
    for first, again in zip(epoch((1, 1, 0)), epoch((1, 1, 0)), strict=True):
        assert torch.equal(first.image, again.image)
        assert torch.equal(first.mask, again.mask)
        assert torch.equal(first.labels["diagnosis"], again.labels["diagnosis"])


def test_another_epoch_has_another_order_and_other_views() -> None:
    first, second = epoch((1, 1, 0)), epoch((1, 1, 1))
    assert not any(torch.equal(a.image, b.image) for a, b in zip(first, second, strict=True))
    assert [b.labels["diagnosis"].tolist() for b in first] != [b.labels["diagnosis"].tolist() for b in second]


def test_a_view_depends_on_its_place_in_the_data_not_on_its_batch() -> None:
    fours, pairs = epoch((1, 1, 0), 4), epoch((1, 1, 0), 2)
    assert torch.equal(torch.cat([item.image for item in fours]), torch.cat([item.image for item in pairs[:4]]))


def test_every_case_has_a_view_of_its_own() -> None:
    image = samples().images[0]
    twins = Samples((image, image), (None, None), {}, 32)
    (item,) = training_batches(twins, Augmentation(), 2, (1,))
    assert not torch.equal(item.image[0], item.image[1])


def test_a_last_batch_that_is_not_full_is_left_out() -> None:
    assert [len(item.image) for item in epoch((1,), 4)] == [4, 4]
    assert [len(item.image) for item in epoch((1,), 11)] == [11]
    assert epoch((1,), 12) == []


def test_an_epoch_shows_no_case_twice() -> None:
    marked = Samples(
        tuple(np.full((32, 32, 3), 10 * index, np.uint8) for index in range(10)), (None,) * 10, {}, size=32
    )
    still = Augmentation(brightness=0, contrast=0, saturation=0, hue=0, white_balance=0, bars=0)
    seen = torch.cat([item.image[:, 0, 16, 16] for item in training_batches(marked, still, 3, (0,))])
    assert sorted((seen * 128 + 128).round().int().tolist()) == sorted(set((seen * 128 + 128).round().int().tolist()))
    assert len(seen) == 9


def test_missing_masks_and_labels_are_marked() -> None:
    (item,) = plain_batches(samples(8), 8)
    assert item.has_mask.tolist() == [0, 1, 1, 0, 1, 1, 0, 1]
    assert item.labels["diagnosis"].tolist() == [-1, 1, 2, 0, -1, 2, 0, 1]
    assert not item.mask[0].any()


def test_plain_batches_are_the_contracts_letterbox_to_the_byte() -> None:
    given = samples(7)
    batches = list(plain_batches(given, 3))
    assert [len(item.image) for item in batches] == [3, 3, 1]
    pixels = torch.cat([item.image for item in batches]) * 128 + 128
    masks = torch.cat([item.mask for item in batches])
    for index, image in enumerate(given.images):
        square, box = letterbox(image, 32)
        np.testing.assert_array_equal(pixels[index].numpy(), square)
        content = np.zeros((32, 32))
        if given.masks[index] is not None:
            content[box.top : box.top + box.height, box.left : box.left + box.width] = 1
        np.testing.assert_array_equal(masks[index, 0].numpy(), content)


def test_pixels_are_channels_last_and_in_the_contracts_range() -> None:
    for item in epoch((1,)):
        assert item.image.is_contiguous(memory_format=torch.channels_last)
        assert item.image.min() >= -1
        assert item.image.max() <= 127 / 128


def test_decoding_keeps_small_pictures_as_they_are(phantom_data: Path) -> None:
    cases = read_cases(phantom_data).split("val")
    decoded = decode(cases, (MASK, DIAGNOSIS), 64)
    assert len(decoded) == 9
    for case, image, mask in zip(cases, decoded.images, decoded.masks, strict=True):
        np.testing.assert_array_equal(image, read_image(case))
        assert mask is not None
        np.testing.assert_array_equal(mask, read_mask(case))
    assert decoded.labels["diagnosis"].tolist() == [DIAGNOSIS.labels.index(case.value("diagnosis")) for case in cases]


def test_decoding_reduces_what_is_much_larger_than_the_network(phantom_data: Path) -> None:
    cases = read_cases(phantom_data).split("val")
    decoded = decode(cases, (MASK,), 32)
    # 4/3 · 32 = 42.67
    assert {image.shape for image in decoded.images} == {(43, 43, 3)}
    for case, mask in zip(cases, decoded.masks, strict=True):
        assert mask is not None
        assert set(np.unique(mask)) <= {0, 1}
        assert mask.mean() == pytest.approx(read_mask(case).mean(), abs=0.02)


def test_without_a_mask_head_no_mask_is_read(phantom_data: Path) -> None:
    decoded = decode(read_cases(phantom_data).split("val"), (DIAGNOSIS,), 64)
    assert decoded.masks == (None,) * 9


def test_a_letterboxed_mask_lies_on_its_lesion() -> None:
    image = np.full((30, 60, 3), 250, np.uint8)
    mask = np.zeros((30, 60), np.uint8)
    cv2.circle(mask, (40, 12), 8, 1, cv2.FILLED)
    image[mask == 1] = 0
    (item,) = plain_batches(Samples((image,), (mask,), {}, 60), 1)
    assert torch.equal(item.mask[0, 0] == 1, item.image[0, 0] == -1)
