"""The predictor with a network that is a formula: order, failures, masks, overlays, and what it refuses."""

import json
import threading
import time
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgeskin.contract.findings import Failure, Findings
from edgeskin.contract.metadata import MetadataSpec, NumberField
from edgeskin.contract.model import HeadSpec, MaskCleanup, ModelCard, Provenance
from edgeskin.contract.preprocess import ShadesOfGray, network_input
from edgeskin.contract.region import SecondPass
from edgeskin.errors import EdgeskinError, TargetError
from edgeskin.screen import overlay
from edgeskin.screen import predictor as module
from edgeskin.screen.predictor import Predictor, photos_in
from edgeskin.targets.base import Float32, Placement, UInt8

CARD = ModelCard(
    name="tiny",
    version="1",
    size=64,
    heads=(
        HeadSpec(name="lesion", kind="mask", labels=("lesion",), threshold=0.5),
        HeadSpec(name="diagnosis", kind="softmax", labels=("melanoma", "nevus")),
        HeadSpec(name="melanoma", kind="sigmoid", labels=("melanoma",), threshold=0.3),
    ),
    cleanup=MaskCleanup(close_fraction=0, largest_component=False, fill_holes=False),
    intended_use="tests",
    licence="none",
    provenance=Provenance(
        recipe="none", recipe_sha256="0" * 64, data=(), data_list_sha256="0" * 64, seed=0, edgeskin_version="0"
    ),
)


@dataclass
class DarkIsLesion:
    """A network: a pixel is lesion where red is below 100; its other answers are fixed."""

    delay_s: float = 0.0
    threads: set[str] = field(default_factory=set)

    @property
    def metadata_width(self) -> None:
        return None

    def run(self, image: UInt8, metadata: Float32 | None = None) -> Mapping[str, Float32]:
        assert metadata is None
        assert image.shape == (1, 3, 64, 64)
        self.threads.add(threading.current_thread().name)
        time.sleep(self.delay_s)
        return {
            "lesion": np.where(image[:, :1] < 100, 0.9, 0.1).astype(np.float32),
            "diagnosis": np.array([[0.25, 0.75]], np.float32),
            "melanoma": np.array([[0.25]], np.float32),
        }

    def placement(self) -> Placement:
        return Placement("tests", 0, 0, ())


def save(path: Path, width: int = 96, height: int = 64, lesion: tuple[int, int, int, int] = (24, 16, 72, 48)) -> Path:
    """A photo of skin with a dark rectangle: left, top, right, bottom."""
    photo = np.full((height, width, 3), (220, 170, 150), np.uint8)
    left, top, right, bottom = lesion
    photo[top:bottom, left:right] = (60, 40, 30)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(photo).save(path)
    return path


@pytest.fixture
def predictor() -> Predictor:
    return Predictor(DarkIsLesion(), CARD, workers=2)


def test_answers_come_in_the_photos_own_order(predictor: Predictor, tmp_path: Path) -> None:
    # Large photos take longest to decode and come first.
    photos = [save(tmp_path / f"{n}.png", 96 * (12 - n), 64 * (12 - n)) for n in range(12)]
    assert [answer.file for answer in predictor.predict(photos)] == [str(photo) for photo in photos]


def test_findings_hold_what_the_network_said(predictor: Predictor, tmp_path: Path) -> None:
    (answer,) = predictor.predict([save(tmp_path / "a.png")])
    assert isinstance(answer, Findings)
    assert answer.heads == {"diagnosis": {"melanoma": 0.25, "nevus": 0.75}, "melanoma": {"melanoma": 0.25}}
    assert answer.decisions == {"melanoma": False}
    # 48 × 32 of 96 × 64 pixels are dark: a quarter; the square holds them at 2/3 of that size, edges on whole pixels.
    assert answer.lesion_fraction == pytest.approx(0.25, abs=0.02)


def test_a_bad_photo_is_a_failure_and_the_rest_still_runs(predictor: Predictor, tmp_path: Path) -> None:
    good = save(tmp_path / "good.png")
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.png").write_text("not a picture")
    Image.fromarray(np.zeros((64, 64), np.uint8)).save(tmp_path / "grey.png")
    names = ["good.png", "empty.png", "absent.png", "text.png", "grey.png"]
    answers = list(predictor.predict([tmp_path / name for name in names] + [good]))
    codes = [answer.error.code if isinstance(answer, Failure) else None for answer in answers]
    assert codes == [None, "empty", "missing", "unreadable", "greyscale", None]
    assert json.loads(answers[1].line())["file"].endswith("empty.png")


def test_masks_are_0_or_255_at_the_photos_own_size(predictor: Predictor, tmp_path: Path) -> None:
    photos = [save(tmp_path / "in" / "wide.png", 192, 64, (60, 8, 132, 56)), save(tmp_path / "in" / "tall.jpg", 40, 64)]
    list(predictor.predict(photos, masks=tmp_path / "masks"))
    with Image.open(tmp_path / "masks" / "wide.png") as picture:
        assert (picture.mode, picture.size) == ("L", (192, 64))
        mask = np.asarray(picture)
    assert set(np.unique(mask)) == {0, 255}
    assert mask[32, 96] == 255
    assert mask[32, 10] == mask[2, 96] == 0
    assert sorted(path.name for path in (tmp_path / "masks").iterdir()) == ["tall.png", "wide.png"]


def test_an_overlay_marks_the_edge_and_leaves_the_rest_of_the_photo(predictor: Predictor, tmp_path: Path) -> None:
    photo = save(tmp_path / "in" / "a.png", 300, 200, (90, 60, 210, 140))
    list(predictor.predict([photo], overlays=tmp_path / "overlays"))
    with Image.open(tmp_path / "overlays" / "a.jpg") as picture:
        assert picture.size == (300, 200)
        drawn = np.asarray(picture).astype(int)
    # Along the middle row cyan (green and blue far above red) stands near x = 90 and 210 and nowhere else.
    cyan = np.flatnonzero(drawn[100, :, 1] - drawn[100, :, 0] > 60)
    assert cyan.size > 0
    assert all(min(abs(x - 90), abs(x - 210)) <= 6 for x in cyan)
    assert any(abs(x - 90) <= 6 for x in cyan)
    assert any(abs(x - 210) <= 6 for x in cyan)
    assert np.abs(drawn[100, 150] - (60, 40, 30)).max() < 12
    assert np.abs(drawn[10, 10] - (220, 170, 150)).max() < 12


def test_a_large_photo_has_an_overlay_for_a_screen() -> None:
    small = overlay.backdrop(np.zeros((3000, 4096, 3), np.uint8))
    assert small.shape == (750, 1024, 3)
    mask = np.zeros((3000, 4096), bool)
    mask[1000:2000, 1024:3072] = True
    drawn = overlay.draw(small, mask)
    rows, columns = np.nonzero(drawn.any(axis=2))
    # The rectangle's corners over 4, give or take the line's width.
    assert (columns.min(), columns.max(), rows.min(), rows.max()) == pytest.approx((256, 768, 250, 500), abs=6)


def test_a_photo_without_a_lesion_has_an_empty_mask_and_a_plain_overlay(predictor: Predictor, tmp_path: Path) -> None:
    photo = save(tmp_path / "in" / "a.png", lesion=(0, 0, 0, 0))
    (answer,) = predictor.predict([photo], masks=tmp_path / "m", overlays=tmp_path / "o")
    assert isinstance(answer, Findings)
    assert answer.lesion_fraction == 0
    with Image.open(tmp_path / "m" / "a.png") as picture:
        assert picture.getextrema() == (0, 0)
    assert (tmp_path / "o" / "a.jpg").is_file()


@pytest.mark.parametrize("names", [("a/x.png", "b/x.png"), ("a/x.png", "a/x.jpg"), ("a/x.png", "b/X.png")])
def test_equal_stems_are_refused_before_anything_is_written(
    predictor: Predictor, tmp_path: Path, names: tuple[str, str]
) -> None:
    photos = [save(tmp_path / name) for name in names]
    with pytest.raises(EdgeskinError, match=r"stem.*x\.(png|jpg).*[xX]\.(png|jpg)"):
        predictor.predict(photos, masks=tmp_path / "masks")
    assert not (tmp_path / "masks").exists()
    assert len(list(predictor.predict(photos))) == 2  # without outputs they do not matter


def test_outputs_among_the_photos_are_refused(predictor: Predictor, tmp_path: Path) -> None:
    photo = save(tmp_path / "a.png")
    before = photo.read_bytes()
    for folders in ({"masks": tmp_path}, {"overlays": tmp_path / "sub" / ".."}):
        with pytest.raises(EdgeskinError, match="holds the photos themselves"):
            predictor.predict([photo], **folders)
    assert photo.read_bytes() == before


def test_a_network_without_a_mask_draws_none(tmp_path: Path) -> None:
    predictor = Predictor(DarkIsLesion(), CARD.model_copy(update={"heads": CARD.heads[1:]}))
    with pytest.raises(EdgeskinError, match="draws no mask"):
        predictor.predict([save(tmp_path / "in" / "a.png")], masks=tmp_path / "masks")
    (answer,) = predictor.predict([tmp_path / "in" / "a.png"])
    assert isinstance(answer, Findings)
    assert answer.lesion_fraction is None


def test_an_answer_that_is_no_probability_stops_the_run(tmp_path: Path) -> None:
    class Broken(DarkIsLesion):
        def run(self, image: UInt8, metadata: Float32 | None = None) -> Mapping[str, Float32]:
            return {**super().run(image), "melanoma": np.array([[np.nan]], np.float32)}

    with pytest.raises(TargetError, match="melanoma"):
        list(Predictor(Broken(), CARD).predict([save(tmp_path / "a.png")]))


def test_an_output_folder_that_cannot_be_written_is_an_error(predictor: Predictor, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(EdgeskinError, match="cannot write"):
        list(predictor.predict([save(tmp_path / "in" / "a.png")], masks=tmp_path / "file"))


def test_the_networks_share_of_the_time_is_accounted(tmp_path: Path) -> None:
    session = DarkIsLesion(delay_s=0.01)
    predictor = Predictor(session, CARD)
    assert predictor.network_share == 0
    photos = [save(tmp_path / f"{n}.png") for n in range(10)]
    list(predictor.predict(photos))
    assert predictor.network_seconds >= 0.1
    assert predictor.network_seconds < predictor.total_seconds
    assert predictor.network_share == predictor.network_seconds / predictor.total_seconds
    assert session.threads == {threading.main_thread().name}  # the engine is called from one thread only


def test_a_reader_that_stops_early_leaves_no_thread_behind(predictor: Predictor, tmp_path: Path) -> None:
    photos = [save(tmp_path / f"{n}.png") for n in range(20)]
    answers = predictor.predict(photos)
    next(answers)
    assert isinstance(answers, Generator)
    answers.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("edgeskin-photos")]


def test_only_a_few_photos_are_decoded_ahead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[Path] = []
    original = module.read_photo

    def counting(path: Path) -> UInt8:
        read.append(path)
        return original(path)

    monkeypatch.setattr(module, "read_photo", counting)
    photos = [save(tmp_path / f"{n:02d}.png") for n in range(30)]
    session = DarkIsLesion()
    seen = []

    class Watching(DarkIsLesion):
        def run(self, image: UInt8, metadata: Float32 | None = None) -> Mapping[str, Float32]:
            time.sleep(0.005)
            seen.append(len(read))
            return session.run(image)

    list(Predictor(Watching(), CARD, workers=2).predict(photos))
    # While photo n is in the network (n from 0), itself and at most 4 after it have been read.
    assert all(count <= number + 5 for number, count in enumerate(seen))
    assert len(read) == 30


def test_a_folder_stands_for_its_pictures_by_name(tmp_path: Path) -> None:
    for name in ("b.png", "a.JPG", "c.webp"):
        save(tmp_path / "photos" / name)
    (tmp_path / "photos" / "notes.txt").touch()
    (tmp_path / "photos" / "sub.png").mkdir()
    single = tmp_path / "z.png"
    assert [path.name for path in photos_in([single, tmp_path / "photos"])] == ["z.png", "a.JPG", "b.png", "c.webp"]
    (tmp_path / "none").mkdir()
    with pytest.raises(EdgeskinError, match="no picture in this folder"):
        photos_in([tmp_path / "none"])


# --- with metadata ---

TOLD = CARD.model_copy(update={"metadata": MetadataSpec(fields=(NumberField(name="age", low=0, high=100),))})


class Told(DarkIsLesion):
    """A network that answers with the age it was told, from 0 to 1; one half where it is unknown."""

    @property
    def metadata_width(self) -> int:
        return 2

    def run(self, image: UInt8, metadata: Float32 | None = None) -> Mapping[str, Float32]:
        assert metadata is not None
        return {**super().run(image), "melanoma": metadata[:, :1] / 2 + 0.5}


def test_each_photo_is_told_its_own_metadata_and_the_others_nothing(tmp_path: Path) -> None:
    photos = [save(tmp_path / f"{n}.png") for n in range(9)]
    told = {photos[3]: {"age": 100}, photos[7]: {"age": "0"}, photos[8]: {"age": "unknown"}}
    answers = list(Predictor(Told(), TOLD, workers=3).predict(photos, metadata=told))
    melanoma = [answer.heads["melanoma"]["melanoma"] for answer in answers if isinstance(answer, Findings)]
    assert melanoma == [0.5, 0.5, 0.5, 1, 0.5, 0.5, 0.5, 0, 0.5]
    known = [bool(answer.metadata and answer.metadata.known) for answer in answers if isinstance(answer, Findings)]
    assert known == [n in (3, 7) for n in range(9)]


def test_metadata_that_cannot_be_used_is_refused_before_any_photo_is_read(predictor: Predictor, tmp_path: Path) -> None:
    photo = tmp_path / "absent.png"
    with pytest.raises(EdgeskinError, match="age is 'old', which is no number"):
        Predictor(Told(), TOLD).predict([photo], metadata={photo: {"age": "old"}})
    with pytest.raises(EdgeskinError, match="tiny takes no metadata"):
        predictor.predict([photo], metadata={photo: {"age": 5}})


# --- with preprocessing and a second pass ---


@dataclass
class Remembering(DarkIsLesion):
    """Melanoma is the mean of red over 255; keeps what it was shown."""

    shown: list[UInt8] = field(default_factory=list)

    def run(self, image: UInt8, metadata: Float32 | None = None) -> Mapping[str, Float32]:
        self.shown.append(image)
        return {**super().run(image), "melanoma": np.array([[image[0, 0].mean() / 255]], np.float32)}


def test_a_second_pass_answers_for_its_heads_alone(tmp_path: Path) -> None:
    twice = CARD.model_copy(update={"second_pass": SecondPass(strategy="mask", heads=("melanoma",))})
    session = Remembering(delay_s=0.01)
    # A square photo of the network's own size, so that its pixels are the network's.
    photos = [save(tmp_path / "a.png", 64, 64, (16, 16, 48, 48)), save(tmp_path / "b.png", 64, 64, (0, 0, 0, 0))]
    predictor = Predictor(session, twice)
    found, clear = predictor.predict(photos)
    assert isinstance(found, Findings)
    assert isinstance(clear, Findings)
    # By hand: a quarter of the pixels is lesion, of red 60; the second look has 128 around it, the first 220.
    assert found.heads["melanoma"]["melanoma"] == pytest.approx((60 + 3 * 128) / 4 / 255, abs=1e-6)
    assert found.decisions == {"melanoma": True}
    assert found.lesion_fraction == 0.25
    # Where no lesion is found, the first look is the last.
    assert clear.heads["melanoma"]["melanoma"] == pytest.approx(220 / 255, abs=1e-6)
    assert len(session.shown) == 3
    assert 0.03 <= predictor.network_seconds < predictor.total_seconds
    assert session.threads == {threading.main_thread().name}


def test_declared_preprocessing_is_what_the_network_sees(tmp_path: Path) -> None:
    session = Remembering()
    steps = (ShadesOfGray(),)
    photo = save(tmp_path / "a.png")
    list(Predictor(session, CARD.model_copy(update={"preprocessing": steps})).predict([photo]))
    expected, _ = network_input(np.asarray(Image.open(photo)), 64, steps)
    plain, _ = network_input(np.asarray(Image.open(photo)), 64, ())
    np.testing.assert_array_equal(session.shown[0][0], expected)
    assert (expected != plain).any()
