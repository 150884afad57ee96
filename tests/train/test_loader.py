from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from edgeskin.contract.image import letterbox
from edgeskin.contract.metadata import MetadataSpec, NumberField
from edgeskin.contract.model import HeadSpec
from edgeskin.contract.preprocess import Clahe, ShadesOfGray, ZScore, network_input
from edgeskin.contract.region import SecondPass
from edgeskin.data.cases import Case, read_cases, read_image, read_mask
from edgeskin.train.clinical import clinical_fields
from edgeskin.train.loader import Batch, Samples, Showing, decode, plain_batches, training_batches
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
    return Samples(images, masks, {"diagnosis": labels}, Showing(size))


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
    twins = Samples((image, image), (None, None), {}, Showing(32))
    (item,) = training_batches(twins, Augmentation(), 2, (1,))
    assert not torch.equal(item.image[0], item.image[1])


def test_a_last_batch_that_is_not_full_is_left_out() -> None:
    assert [len(item.image) for item in epoch((1,), 4)] == [4, 4]
    assert [len(item.image) for item in epoch((1,), 11)] == [11]
    assert epoch((1,), 12) == []


def test_an_epoch_shows_no_case_twice() -> None:
    marked = Samples(
        tuple(np.full((32, 32, 3), 10 * index, np.uint8) for index in range(10)), (None,) * 10, {}, Showing(32)
    )
    still = Augmentation(brightness=0, contrast=0, saturation=0, hue=0, white_balance=0, bars=0)
    seen = torch.cat([item.image[:, 0, 16, 16] for item in training_batches(marked, still, 3, (0,))])
    assert sorted((seen * 128 + 128).round().int().tolist()) == sorted(set((seen * 128 + 128).round().int().tolist()))
    assert len(seen) == 9


def shown_in(order: list[int]) -> list[Batch]:
    return list(training_batches(samples(), Augmentation(), 1, (1, 1, 0), np.array(order)))


def test_a_case_shown_again_in_an_epoch_is_another_view_with_the_same_truth() -> None:
    first, other, again, third = shown_in([2, 5, 2, 2])
    views = [item.image for item in (first, again, third)]
    assert not any(torch.equal(a, b) for a, b in zip(views, views[1:] + views[:1], strict=True))
    assert first.labels["diagnosis"].tolist() == again.labels["diagnosis"].tolist() == [2]
    assert other.labels["diagnosis"].tolist() == [2]


def test_the_first_view_of_a_case_is_the_one_it_has_without_repetition() -> None:
    alone, _, repeated = shown_in([5])[0], *shown_in([2, 5])
    assert torch.equal(alone.image, repeated.image)
    assert torch.equal(shown_in([5, 5])[0].image, alone.image)


def test_an_order_with_every_case_once_gives_the_epoch_without_an_order() -> None:
    order = np.random.default_rng([1, 1, 0, 0]).permutation(11)
    for plain, ordered in zip(
        epoch((1, 1, 0)), training_batches(samples(), Augmentation(), 4, (1, 1, 0), order), strict=True
    ):
        assert torch.equal(plain.image, ordered.image)
        assert torch.equal(plain.mask, ordered.mask)


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
    decoded = decode(cases, (MASK, DIAGNOSIS), Showing(64), {})
    assert len(decoded) == 9
    for case, image, mask in zip(cases, decoded.images, decoded.masks, strict=True):
        np.testing.assert_array_equal(image, read_image(case))
        assert mask is not None
        np.testing.assert_array_equal(mask, read_mask(case))


def test_decoding_reduces_what_is_much_larger_than_the_network(phantom_data: Path) -> None:
    cases = read_cases(phantom_data).split("val")
    decoded = decode(cases, (MASK,), Showing(32), {})
    # 4/3 · 32 = 42.67
    assert {image.shape for image in decoded.images} == {(43, 43, 3)}
    for case, mask in zip(cases, decoded.masks, strict=True):
        assert mask is not None
        assert set(np.unique(mask)) <= {0, 1}
        assert mask.mean() == pytest.approx(read_mask(case).mean(), abs=0.02)


def test_without_a_mask_head_no_mask_is_read(phantom_data: Path) -> None:
    decoded = decode(read_cases(phantom_data).split("val"), (DIAGNOSIS,), Showing(64), {})
    assert decoded.masks == (None,) * 9


def test_a_letterboxed_mask_lies_on_its_lesion() -> None:
    image = np.full((30, 60, 3), 250, np.uint8)
    mask = np.zeros((30, 60), np.uint8)
    cv2.circle(mask, (40, 12), 8, 1, cv2.FILLED)
    image[mask == 1] = 0
    (item,) = plain_batches(Samples((image,), (mask,), {}, Showing(60)), 1)
    assert torch.equal(item.mask[0, 0] == 1, item.image[0, 0] == -1)


FIELDS = MetadataSpec(fields=(NumberField(name="age", low=0, high=100),))


def with_fields(rate: float) -> Samples:
    rows = [{"age": str(9 * index)} for index in range(11)]
    cases = [Case(str(index), Path("p.jpg"), None, "train", None, row) for index, row in enumerate(rows)]
    return replace(samples(), fields=clinical_fields(cases, FIELDS, rate, None))


def test_at_inference_fields_are_as_the_table_has_them() -> None:
    given = with_fields(1.0)
    (item,) = plain_batches(given, 11)
    assert given.fields is not None
    assert item.metadata is not None
    np.testing.assert_array_equal(item.metadata.numpy(), given.fields.complete)
    assert item.inputs == (item.image, item.metadata)


def test_in_training_a_case_hides_its_fields_by_its_own_lot_not_by_its_batch() -> None:
    given = with_fields(0.5)
    fours, elevens = (list(training_batches(given, Augmentation(), size, (3,))) for size in (4, 11))
    shown = [torch.cat([item.metadata for item in items if item.metadata is not None]) for items in (fours, elevens)]
    assert torch.equal(shown[0], shown[1][:8])
    unknown = shown[1][:, 1]
    assert 0 < unknown.sum() < 11


def test_a_second_pass_view_teaches_only_the_heads_that_answer_there() -> None:
    image, mask = np.full((32, 32, 3), 200, np.uint8), np.zeros((32, 32), np.uint8)
    mask[8:20, 8:20] = 1
    labels = {"diagnosis": np.zeros(12, np.int64), "melanoma": np.ones(12, np.int64)}
    showing = Showing(32, second_pass=SecondPass(strategy="mask", heads=("diagnosis",)))
    given = Samples((image,) * 12, (mask,) * 12, labels, showing)
    (item,) = training_batches(given, Augmentation(), 12, (5,))
    second = item.labels["melanoma"] == -1
    assert 0 < second.sum() < 12
    assert torch.equal(item.has_mask, (~second).float())
    assert (item.labels["diagnosis"] == 0).all()


def test_declared_preprocessing_is_what_the_contract_does_at_inference() -> None:
    steps = (Clahe(), ShadesOfGray())
    given = replace(samples(3), showing=Showing(32, steps))
    (item,) = plain_batches(given, 3)
    expected = np.stack([network_input(image, 32, steps)[0] for image in given.images])
    np.testing.assert_array_equal((item.image * 128 + 128).numpy(), expected)


def test_a_z_score_knows_the_bars_in_training_as_at_inference() -> None:
    image = np.random.default_rng(0).integers(0, 256, (16, 32, 3), np.uint8)
    wide = Samples((image,), (None,), {}, Showing(32, (ZScore(),)))
    still = {"flip": False, "rotate": 0, "scale": (1, 1), "aspect": (1, 1), "shift": 0, "bars": 1, "blur": 0}
    colours = {"brightness": 0.3, "contrast": 0, "saturation": 0, "hue": 0, "white_balance": 0}
    (trained,) = training_batches(wide, Augmentation.model_validate(still | colours), 1, (1,))
    (shown,) = plain_batches(wide, 1)
    # A 32 × 16 photo in a square of 32 leaves 8 rows above and below. A gain is what a z-score takes away again, so
    # but for rounding and saturation at 255 both are the same picture.
    for batch in (trained, shown):
        assert (batch.image[0, :, :8] == 0).all()
        assert (batch.image[0, :, 24:] == 0).all()
    assert torch.allclose(trained.image, shown.image, atol=0.06)
