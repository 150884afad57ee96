import csv
import hashlib
from collections import Counter
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from edgeskin.contract.image import letterbox
from edgeskin.data.paint import Dice
from edgeskin.data.phantom import (
    ASYMMETRIC,
    DIAGNOSES,
    Phantom,
    Signs,
    asymmetry,
    golden_photos,
    photo,
    write_dataset,
)
from edgeskin.errors import DataError

SMALL = tuple(photo(11, index, 64, 64, DIAGNOSES[index % 3]) for index in range(150))


def hashed(*phantoms: Phantom) -> str:
    return hashlib.sha256(b"".join(p.image.tobytes() + p.mask.tobytes() for p in phantoms)).hexdigest()


# --- the same everywhere ---


def test_a_phantom_is_the_same_on_every_machine() -> None:
    # Written down from Linux x86-64, where Python 3.10 with numpy 2.2.6 and Python 3.11 with numpy 2.3.5 agree.
    assert hashed(photo(1, 2, 96, 64)) == "480baf273ccf8742d23da86bc487515bb164793bfe0200a0081e09422a285733"


def test_the_dice_are_raw_pcg64_bits() -> None:
    # numpy's own Generator.random uses the same 53 bits.
    theirs = np.random.Generator(np.random.PCG64(np.random.SeedSequence((3, 4)))).random(6)
    assert np.array_equal(Dice(3, 4).fractions(2, 3).ravel(), theirs)


def test_another_seed_or_index_is_another_photo() -> None:
    assert len({hashed(photo(seed, index, 48, 48)) for seed in (0, 1) for index in (0, 1)}) == 4


# --- what is drawn ---


@pytest.mark.parametrize(
    ("signs", "diagnosis"),
    [
        (Signs(irregular=True, pigments=3, keratin=False), "melanoma"),
        (Signs(irregular=True, pigments=3, keratin=True), "seborrheic_keratosis"),
        (Signs(irregular=True, pigments=1, keratin=False), "nevus"),
        (Signs(irregular=False, pigments=3, keratin=False), "nevus"),
    ],
)
def test_the_signs_give_the_diagnosis(signs: Signs, diagnosis: str) -> None:
    assert signs.diagnosis == diagnosis


@pytest.mark.parametrize("diagnosis", DIAGNOSES)
def test_the_diagnosis_asked_for_is_drawn(diagnosis: str) -> None:
    assert {p.diagnosis for p in SMALL[DIAGNOSES.index(diagnosis) :: 3]} == {diagnosis}


def test_image_and_mask_have_the_size_asked_for() -> None:
    phantom = photo(0, 0, 90, 40)
    assert phantom.image.shape == (40, 90, 3)
    assert phantom.image.dtype == np.uint8
    assert phantom.mask.shape == (40, 90)
    assert phantom.mask.dtype == bool


def test_every_lesion_is_a_sizeable_part_of_the_photo() -> None:
    fractions = [p.mask.mean() for p in SMALL]
    assert min(fractions) > 0.02
    assert max(fractions) < 0.6


def test_the_mask_is_where_the_photo_is_pigmented() -> None:
    # Melanin absorbs blue most, so a lesion is darker in blue than the skin around it; a white scar may outweigh that.
    plain = [p for p in SMALL if not (p.hair or p.ruler or p.dark_corner)]
    assert len(plain) > 30
    darker = [p.image[p.mask, 2].mean() < p.image[~p.mask, 2].mean() - 10 for p in plain]
    assert np.mean(darker) > 0.9


def measured(phantom: Phantom) -> list[float]:
    """What a simple eye sees in the pixels: spread of colour, contrast of small details, raggedness of the outline."""
    inside = phantom.image[phantom.mask].astype(float)
    grey = phantom.image.mean(axis=2)
    detail = grey[1:-1, 1:-1] * 4 - grey[:-2, 1:-1] - grey[2:, 1:-1] - grey[1:-1, :-2] - grey[1:-1, 2:]
    details = detail[phantom.mask[1:-1, 1:-1]]
    edge = (phantom.mask[1:] != phantom.mask[:-1]).sum() + (phantom.mask[:, 1:] != phantom.mask[:, :-1]).sum()
    hues = inside / inside.sum(axis=1, keepdims=True)
    skewness = ((details - details.mean()) ** 3).mean()
    return [
        *hues.std(axis=0).tolist(),
        *hues.mean(axis=0).tolist(),
        float(inside.mean(axis=1).std()),
        float(details.std()),
        float(np.cbrt(skewness)),
        float(np.percentile(details, 2)),
        float(np.percentile(details, 98)),
        float(edge / np.sqrt(phantom.mask.sum())),
    ]


def test_the_pixels_tell_the_diagnosis() -> None:
    features = np.array([measured(p) for p in SMALL])
    names = np.array([p.diagnosis for p in SMALL])
    reader = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(features[:100], names[:100])
    assert reader.score(features[100:], names[100:]) > 0.85  # chance is 0.33; a linear reading of a dozen numbers


def test_symmetry_is_what_the_mask_says_and_never_a_close_call() -> None:
    excess = np.array([asymmetry(p.mask) - ASYMMETRIC for p in SMALL])
    assert np.array_equal(excess > 0, [p.asymmetric for p in SMALL])
    assert np.abs(excess).min() > 0.05
    assert 0.25 < np.mean([p.asymmetric for p in SMALL]) < 0.75


def drawn(picture: str) -> npt.NDArray[np.bool_]:
    return np.array([[mark == "#" for mark in line] for line in picture.split()])


@pytest.mark.parametrize(
    ("picture", "expected"),
    [
        ("#### #### ####", 0.0),
        (".#. ### .#.", 0.0),
        # Six pixels, centroid (1, 1): row r turns to 2 − r, column c to 2 − c. The middle row's first three land on
        # each other; (1, 3) leaves the frame, (0, 0) and (2, 0) land on skin.
        ("#... #### #...", 3 / 6),
    ],
)
def test_asymmetry_by_hand(picture: str, expected: float) -> None:
    assert asymmetry(drawn(picture)) == pytest.approx(expected)


def test_hair_ruler_and_dark_corner_come_with_every_diagnosis() -> None:
    for artefact in ("hair", "ruler", "dark_corner"):
        shown = Counter(p.diagnosis for p in SMALL if getattr(p, artefact))
        assert set(shown) == set(DIAGNOSES)
        assert sum(shown.values()) < 0.6 * len(SMALL)


def test_metadata_is_missing_at_random_and_nearly_unrelated() -> None:
    for name in ("age_years", "sex", "site"):
        unknown = np.mean([getattr(p, name) is None for p in SMALL])
        assert 0.1 < unknown < 0.3
    ages = [p.age_years for p in SMALL if p.age_years is not None]
    assert min(ages) >= 30
    assert max(ages) < 90


def test_a_phantom_can_be_screened() -> None:
    square, box = letterbox(photo(0, 1, 100, 80).image, 64)
    assert square.shape == (3, 64, 64)
    assert (box.width, box.height) == (64, 51)


# --- many of them ---


def test_golden_photos_have_many_sizes_and_half_have_no_metadata() -> None:
    photos = golden_photos(16)
    assert hashed(*photos) == hashed(*golden_photos(16))
    sizes = {p.mask.shape for p in photos}
    assert len(sizes) == 8
    assert all(160 <= max(size) <= 400 for size in sizes)
    assert min(w / h for h, w in sizes) <= 0.5
    assert max(w / h for h, w in sizes) >= 2
    assert all((p.age_years, p.sex, p.site) == (None, None, None) for p in photos[8:])
    assert any(p.age_years is not None for p in photos[:8])
    assert [p.has_metadata for p in golden_photos()] == ([True] * 8 + [False] * 8) * 2
    assert {p.diagnosis for p in photos} == set(DIAGNOSES)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("data") / "phantom"
    write_dataset(target, 12, 6, 3, size=48, seed=5)
    return target


def table(folder: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((folder / "labels.csv").read_text().splitlines()))


def test_each_split_is_balanced(folder: Path) -> None:
    counts = Counter((row["split"], row["diagnosis"]) for row in table(folder))
    assert counts == {
        (split, diagnosis): n for split, n in (("train", 4), ("val", 2), ("test", 1)) for diagnosis in DIAGNOSES
    }


def test_the_table_agrees_with_the_files(folder: Path) -> None:
    rows = table(folder)
    for index, row in enumerate(rows):
        expected = photo(5, index, 48, 48, DIAGNOSES[index % 3])
        assert np.array_equal(np.asarray(Image.open(folder / "images" / f"{row['image_id']}.png")), expected.image)
        mask = Image.open(folder / "masks" / f"{row['image_id']}.png")
        assert mask.mode == "1"
        assert np.array_equal(np.asarray(mask), expected.mask)
        assert row["asymmetric"] == str(int(expected.asymmetric))
        assert row["melanoma"] == str(int(row["diagnosis"] == "melanoma"))
        assert row["seborrheic_keratosis"] == str(int(row["diagnosis"] == "seborrheic_keratosis"))
        assert row["age"] == ("" if expected.age_years is None else str(expected.age_years))
        assert row["has_mask"] == "1"
    assert len(list((folder / "images").iterdir())) == len(rows) == 21


def test_writing_again_gives_the_same_files(folder: Path, tmp_path: Path) -> None:
    write_dataset(tmp_path / "again", 12, 6, 3, size=48, seed=5)
    for path in sorted(folder.rglob("*.*")):
        assert path.read_bytes() == (tmp_path / "again" / path.relative_to(folder)).read_bytes()


def test_a_folder_with_something_in_it_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "precious.txt").write_text("mine")
    with pytest.raises(DataError, match="already exists"):
        write_dataset(tmp_path, 3, 0, 0, size=48)
    assert (tmp_path / "precious.txt").read_text() == "mine"
