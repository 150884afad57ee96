import cv2
import numpy as np
import numpy.typing as npt
import pytest
from pydantic import TypeAdapter, ValidationError

from edgeskin.contract.colour import clahe, shades_of_gray
from edgeskin.contract.image import letterbox
from edgeskin.contract.preprocess import (
    Clahe,
    HairRemoval,
    PortablePreprocessing,
    Preprocessing,
    ShadesOfGray,
    Step,
    ZScore,
    apply,
    demand_portable,
    network_input,
)
from edgeskin.errors import RunError

UInt8 = npt.NDArray[np.uint8]

RECIPE: TypeAdapter[tuple[Step, ...]] = TypeAdapter(Preprocessing)
CARD: TypeAdapter[tuple[Step, ...]] = TypeAdapter(PortablePreprocessing)
SKIN = (205, 160, 140)


def skin(width: int, height: int, seed: int = 0) -> UInt8:
    return (np.array(SKIN) + np.random.default_rng(seed).integers(-3, 4, (height, width, 3))).astype(np.uint8)


def hairy(width: int, height: int) -> tuple[UInt8, npt.NDArray[np.bool_]]:
    """Skin with two dark lines, and where they are."""
    lines = np.zeros((height, width), np.uint8)
    cv2.line(lines, (width // 8, height // 6), (width * 7 // 8, height * 5 // 6), 1, 2)
    cv2.line(lines, (width // 2, 5), (width // 3, height - 5), 1, 2)
    return np.where(lines[..., None] == 1, np.uint8((60, 45, 40)), skin(width, height)), lines == 1


# --- as data ---


def test_steps_are_written_as_tables_that_name_them() -> None:
    written = [{"step": "hair_removal"}, {"step": "shades_of_gray", "norm": 4}, {"step": "clahe"}, {"step": "z_score"}]
    steps = RECIPE.validate_python(written)
    assert steps == (HairRemoval(), ShadesOfGray(norm=4), Clahe(clip_limit=2.0, tiles=8), ZScore())
    assert RECIPE.validate_json(RECIPE.dump_json(steps)) == steps


@pytest.mark.parametrize(
    ("written", "complaint"),
    [
        ([{"step": "clahe"}, {"step": "clahe", "tiles": 4}], "a step stands twice"),
        ([{"step": "z_score"}, {"step": "clahe"}], "put it last"),
        ([{"step": "dehair"}], "'shades_of_gray', 'clahe', 'hair_removal', 'z_score'"),
        ([{"step": "clahe", "clip": 2}], "Extra inputs"),
        ([{"step": "clahe", "clip_limit": 0.5}], "greater than or equal to 1"),
        ([{"step": "clahe", "clip_limit": float("nan")}], "less than or equal to 256"),
        ([{"step": "shades_of_gray", "norm": 0}], "greater than or equal to 1"),
        ([{"norm": 6}], "Unable to extract tag"),
    ],
)
def test_steps_that_make_no_sense_are_refused(written: object, complaint: str) -> None:
    with pytest.raises(ValidationError, match=complaint):
        RECIPE.validate_python(written)


def test_a_model_card_takes_only_what_a_device_repeats() -> None:
    assert CARD.validate_python([{"step": "shades_of_gray"}, {"step": "clahe"}]) == (ShadesOfGray(), Clahe())
    for step in ("hair_removal", "z_score"):
        with pytest.raises(ValidationError, match="'shades_of_gray', 'clahe'"):
            CARD.validate_python([{"step": step}])


def test_export_refuses_every_step_that_no_device_repeats_all_at_once() -> None:
    assert demand_portable((ShadesOfGray(), Clahe()), "runs/a") == (ShadesOfGray(), Clahe())
    with pytest.raises(RunError) as caught:
        demand_portable((HairRemoval(), Clahe(), ZScore()), "runs/a")
    hair, scores = str(caught.value).splitlines()
    assert hair.startswith("runs/a: preprocessing hair_removal cannot be exported")
    assert scores.startswith("runs/a: preprocessing z_score cannot be exported")
    assert all(problem.endswith("Train without it") for problem in (hair, scores))


# --- in their order, on the content ---


def test_steps_run_one_behind_the_other() -> None:
    image = skin(40, 30) // 2
    assert np.array_equal(apply((ShadesOfGray(), Clahe()), image), clahe(shades_of_gray(image, 6), 2.0, 8))
    assert np.array_equal(apply((Clahe(), ShadesOfGray()), image), shades_of_gray(clahe(image, 2.0, 8), 6))
    assert not np.array_equal(apply((ShadesOfGray(), Clahe()), image), apply((Clahe(), ShadesOfGray()), image))


def test_the_z_score_changes_no_byte() -> None:
    image = skin(40, 30)
    assert np.array_equal(apply((ZScore(),), image), image)


def test_without_steps_the_input_is_the_letterboxed_photo() -> None:
    photo = skin(100, 60)
    square, box = network_input(photo, 64, ())
    plain, plain_box = letterbox(photo, 64)
    assert np.array_equal(square, plain)
    assert box == plain_box


@pytest.mark.parametrize("shape", [(100, 60), (60, 100), (64, 64), (64, 20)])
@pytest.mark.parametrize("steps", [(ShadesOfGray(),), (Clahe(),), (HairRemoval(), ShadesOfGray(), Clahe())])
def test_only_the_content_is_looked_at_and_changed(shape: tuple[int, int], steps: tuple[Step, ...]) -> None:
    photo = skin(*shape)
    before = photo.copy()
    square, box = network_input(photo, 64, steps)
    content = np.s_[:, box.top : box.top + box.height, box.left : box.left + box.width]
    reduced = np.ascontiguousarray(letterbox(photo, 64)[0][content].transpose(1, 2, 0))
    assert np.array_equal(square[content], apply(steps, reduced).transpose(2, 0, 1))
    bars = square.copy()
    bars[content] = 128
    assert (bars == 128).all()
    assert np.array_equal(photo, before)


def test_grey_bars_would_have_changed_both_filters() -> None:
    # Otherwise the test above could not fail.
    square, box = letterbox(skin(96, 48), 64)
    content = np.s_[box.top : box.top + box.height]
    with_bars = np.ascontiguousarray(square.transpose(1, 2, 0))
    for step in (ShadesOfGray(norm=1), Clahe()):
        assert not np.array_equal(apply((step,), with_bars)[content], apply((step,), with_bars[content].copy()))


# --- hair ---


def test_hair_is_painted_over_with_the_skin_around_it() -> None:
    image, hair = hairy(320, 240)
    cleaned = apply((HairRemoval(),), image).astype(int)
    assert np.abs(image[hair].astype(int) - SKIN).min() > 90
    assert np.abs(cleaned - SKIN).max() <= 12


def test_skin_far_from_hair_keeps_its_bytes() -> None:
    image, hair = hairy(320, 240)
    far = cv2.dilate(hair.astype(np.uint8), np.ones((21, 21), np.uint8)) == 0
    assert far.mean() > 0.5
    assert np.array_equal(apply((HairRemoval(),), image)[far], image[far])


def test_on_ham10000s_size_hair_removal_is_what_the_papers_source_published() -> None:
    # github.com/Rohit-Kundu/MFSNet, inpaint.py: cross of 17 × 17, threshold 10, radius 1, Telea.
    image, _ = hairy(600, 450)
    dark = cv2.morphologyEx(
        cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.MORPH_BLACKHAT, cv2.getStructuringElement(1, (17, 17))
    )
    hair = cv2.threshold(dark, 10, 255, cv2.THRESH_BINARY)[1]
    assert np.array_equal(apply((HairRemoval(),), image), cv2.inpaint(image, hair, 1, cv2.INPAINT_TELEA))


def test_a_photo_without_hair_stays_as_it_is() -> None:
    assert np.array_equal(apply((HairRemoval(),), skin(200, 150)), skin(200, 150))
