"""Accuracy from files on disk: a network that reads its answers off the pixels, so every figure is known by hand."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgeskin.benchmarks.accuracy import measure, predict
from edgeskin.benchmarks.answers import Predictions
from edgeskin.benchmarks.gate import Drops, Gate, Limit, judge
from edgeskin.benchmarks.measurements import AccuracyReport, Measurements
from edgeskin.benchmarks.metrics import PixelCounts
from edgeskin.contract.metadata import ChoiceField, MetadataSpec
from edgeskin.contract.model import MaskCleanup, ModelCard
from edgeskin.contract.preprocess import Clahe, network_input
from edgeskin.contract.region import SecondPass
from edgeskin.data.cases import Cases, read_cases
from edgeskin.data.datasets import DatasetLayout, Subset
from edgeskin.errors import DataError, TargetError
from edgeskin.targets.base import Placement

LABELS = ("melanoma", "nevus", "seborrheic_keratosis")
N = 12


class PixelSession:
    """Red above 128 is lesion; the darker the green the likelier melanoma; class by the blue of the middle."""

    def __init__(self, shift: float = 0.0) -> None:
        self.shift = shift
        self.batches: list[int] = []

    @property
    def metadata_width(self) -> None:
        return None

    def run(self, image: np.ndarray, metadata: np.ndarray | None = None) -> Mapping[str, np.ndarray]:
        self.batches.append(len(image))
        middle = image[:, :, image.shape[2] // 2, image.shape[3] // 2].astype(np.float32) / 255
        classes = np.full((len(image), 3), 0.1, np.float32)
        classes[np.arange(len(image)), np.round(middle[:, 2] * 2).astype(int)] = 0.8
        return {
            "mask": (image[:, :1] > 128 + 40 * self.shift).astype(np.float32),
            "diagnosis": classes,
            "melanoma": np.clip(1 - middle[:, 1:2] + self.shift, 0, 1),
        }

    def placement(self) -> Placement:
        return Placement("pixels", 0, 0, ())


@pytest.fixture
def card(card: ModelCard) -> ModelCard:
    cleanup = MaskCleanup(close_fraction=0, largest_component=True, fill_holes=True)
    return card.model_copy(update={"cleanup": cleanup})


@pytest.fixture
def data(tmp_path: Path) -> Cases:
    """Twelve photos of 64 × 64 whose centre square is the lesion, with a speck beside it that clean-up removes."""
    (tmp_path / "images").mkdir()
    (tmp_path / "masks").mkdir()
    rows = ["image_id,split,diagnosis,melanoma,shape"]
    for i in range(N):
        kind = i % 3
        pixels = np.zeros((64, 64, 3), np.uint8)
        pixels[..., 1] = 40 + 15 * i
        pixels[..., 2] = (0, 128, 255)[kind]
        pixels[16:48, 16:48, 0] = 255
        pixels[2:4, 2:4, 0] = 255
        Image.fromarray(pixels).save(tmp_path / "images" / f"p{i:02}.png")
        if i < 10:
            mask = np.zeros((64, 64), np.uint8)
            mask[16:48, 16:48] = 255
            Image.fromarray(mask).save(tmp_path / "masks" / f"p{i:02}.png")
        melanoma = "" if i == 11 else str(int(kind == 0))
        rows.append(f"p{i:02},val,{LABELS[kind]},{melanoma},{'crop' if i < 6 else 'square'}")
    (tmp_path / "labels.csv").write_text("\n".join(rows) + "\n")
    return read_cases(tmp_path)


LAYOUT = DatasetLayout(
    name="pixels",
    split_column="split",
    subsets=(Subset("crop", "shape", "crop"),),
    cautions=("squares are not skin",),
)


def test_predictions_keep_probabilities_and_pixel_counts_of_every_case(card, data):
    session = PixelSession()
    seen = []
    found = predict(session, card, data.cases, workers=2, on_case=lambda: seen.append(1))
    assert found.image_ids == tuple(f"p{i:02}" for i in range(N))
    assert found.probabilities["diagnosis"].shape == (N, 3)
    np.testing.assert_allclose(found.probabilities["melanoma"][:, 0], 1 - (40 + 15 * np.arange(N)) / 255, rtol=1e-6)
    assert found.masked.tolist() == [True] * 10 + [False] * 2
    # By hand: the square has 32 · 32 pixels, the speck 4; 64² − 1028 are skin.
    assert set(found.raw.tp) == {1024}
    assert set(found.raw.fp) == {4}
    assert set(found.raw.tn) == {64 * 64 - 1028}
    assert set(found.cleaned.fp) == {0}
    assert session.batches == [1] * N
    assert len(seen) == N


def test_more_workers_find_the_same_in_the_same_order(card, data):
    one, four = (predict(PixelSession(), card, data.cases, workers=workers) for workers in (1, 4))
    np.testing.assert_array_equal(one.probabilities["melanoma"], four.probabilities["melanoma"])
    np.testing.assert_array_equal(one.raw.fp, four.raw.fp)


def test_every_promised_metric_is_measured_and_right(card, data):
    found = predict(PixelSession(), card, data.cases)
    report = measure(found, found, data.cases, card, layout=LAYOUT, split="val", resamples=100)
    assert set(report.metrics) == {
        *("mask_jaccard", "mask_jaccard_raw", "mask_jaccard_thresholded", "mask_dice", "mask_mcc"),
        *("mask_pixel_sensitivity", "mask_pixel_specificity", "mask_pixel_accuracy", "mean_performance"),
        *("melanoma_auroc", "melanoma_auroc_crop", "melanoma_sensitivity", "melanoma_specificity"),
        *("melanoma_sensitivity_at_specificity_80", "melanoma_ece"),
        *("diagnosis_auroc", "diagnosis_ece"),
        *(
            f"{head}_{name}"
            for head in ("diagnosis", "melanoma")
            for name in ("balanced_accuracy", "accuracy", "weighted_f1", "macro_f1", "kappa")
        ),
    }
    values = {name: figure.int8 for name, figure in report.metrics.items()}
    assert values["mask_jaccard"] == 1
    assert values["mask_jaccard_raw"] == pytest.approx(1024 / 1028)
    assert values["diagnosis_balanced_accuracy"] == 1
    assert values["mean_performance"] == 1
    assert values["diagnosis_ece"] == pytest.approx(0.2)  # always 0.8 sure, always right
    # By hand: melanoma are images 0, 3, 6, 9 of 0 … 10, scores fall with the number; pairs won: 7 + 5 + 3 + 1 of 4 · 7.
    assert values["melanoma_auroc"] == pytest.approx(16 / 28)
    # Among images 0 … 5: melanoma 0 and 3, pairs won 4 + 2 of 2 · 4.
    assert values["melanoma_auroc_crop"] == pytest.approx(6 / 8)
    # The threshold 0.4 is a green of 153: images 0 … 7 say melanoma.
    assert values["melanoma_sensitivity"] == pytest.approx(3 / 4)
    assert values["melanoma_specificity"] == pytest.approx(2 / 7)
    # By hand from those: 3 of 4 yes and 2 of 7 no are right; F1 is 2·3 / (4 + 8) of yes and 2·2 / (7 + 3) of no.
    assert values["melanoma_accuracy"] == pytest.approx(5 / 11)
    assert values["melanoma_balanced_accuracy"] == pytest.approx((3 / 4 + 2 / 7) / 2)
    assert values["melanoma_weighted_f1"] == pytest.approx((4 * 6 / 12 + 7 * 4 / 10) / 11)
    assert values["mask_pixel_accuracy"] == 1
    assert values["diagnosis_auroc"] == 1
    # At most 1 of 7 negatives may be found: the threshold is image 1's score, and only image 0 is a melanoma above it.
    assert values["melanoma_sensitivity_at_specificity_80"] == pytest.approx(1 / 4)
    assert {name: report.metrics[name].n for name in ("mask_dice", "melanoma_auroc", "melanoma_auroc_crop")} == {
        "mask_dice": 10,
        "melanoma_auroc": 11,
        "melanoma_auroc_crop": 6,
    }
    assert report.confusion["diagnosis"].int8 == ((4, 0, 0), (0, 4, 0), (0, 0, 4))
    assert (report.dataset, report.split, report.n) == ("pixels", "val", N)
    assert report.cautions == ("squares are not skin",)


def test_a_network_that_got_worse_shows_its_drop(card, data):
    in_float = predict(PixelSession(), card, data.cases)
    in_int8 = predict(PixelSession(shift=0.2), card, data.cases)
    report = measure(in_float, in_int8, data.cases, card, layout=LAYOUT, split="val", resamples=200)
    specificity = report.metrics["melanoma_specificity"]
    # By hand: 0.2 more puts the threshold at a green of 204, so that images 0 … 10 all say melanoma.
    assert specificity.int8 == 0
    assert specificity.drop == pytest.approx(2 / 7)
    assert specificity.drop_upper95 >= specificity.drop
    assert report.metrics["melanoma_ece"].drop == pytest.approx(
        report.metrics["melanoma_ece"].int8 - report.metrics["melanoma_ece"].float
    )


def test_equal_inputs_give_an_equal_report(card, data):
    found = predict(PixelSession(), card, data.cases)
    first, second = (
        measure(found, found, data.cases, card, layout=LAYOUT, split="val", resamples=50) for _ in range(2)
    )
    assert first == second


def test_a_head_without_a_column_is_not_measured_and_the_report_says_so(card, data):
    heads = (*card.heads, card.heads[2].model_copy(update={"name": "symmetry"}))
    wider = card.model_copy(update={"heads": heads})
    found = predict(PixelSession(), card, data.cases)
    found = Predictions(
        found.image_ids,
        {**found.probabilities, "symmetry": found.probabilities["melanoma"]},
        found.masked,
        found.cleaned,
        found.raw,
    )
    report = measure(found, found, data.cases, wider, layout=LAYOUT, split="val", resamples=20)
    assert not any(name.startswith("symmetry") for name in report.metrics)
    assert "labels.csv has no column symmetry: head symmetry was not measured" in report.cautions


def test_data_that_measures_nothing_is_refused(card, data):
    other = card.model_copy(update={"heads": (card.heads[2].model_copy(update={"name": "symmetry"}),)})
    empty = PixelCounts.join([])
    found = Predictions(tuple(case.image_id for case in data.cases), {}, np.zeros(N, bool), empty, empty)
    with pytest.raises(DataError, match="nothing to measure"):
        measure(found, found, data.cases, other, layout=LAYOUT, split="val", resamples=20)


def test_a_label_that_the_head_does_not_know_is_refused(card, data):
    fewer = card.heads[1].model_copy(update={"labels": ("melanoma", "nevus", "seborrhoeic_keratosis")})
    changed = card.model_copy(update={"heads": (card.heads[0], fewer)})
    found = predict(PixelSession(), card, data.cases)
    with pytest.raises(DataError, match="did you mean 'seborrhoeic_keratosis'"):
        measure(found, found, data.cases, changed, layout=LAYOUT, split="val", resamples=20)


def test_an_answer_that_is_no_number_is_refused(card, data):
    class Broken(PixelSession):
        def run(self, image: np.ndarray, metadata: np.ndarray | None = None) -> Mapping[str, np.ndarray]:
            return {**super().run(image), "melanoma": np.full((1, 1), np.nan, np.float32)}

    with pytest.raises(TargetError, match=r"p00\.png: the network's output melanoma is not a number"):
        predict(Broken(), card, data.cases)


def test_an_unreadable_photo_stops_the_measurement_and_is_named(card, data):
    data.cases[7].image.write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"p07\.png"):
        predict(PixelSession(), card, data.cases, workers=3)


# --- with metadata ---

FIELDS = MetadataSpec(fields=(ChoiceField(name="shape", values=("crop", "square")),))


class ToldSession(PixelSession):
    """Keeps what it was told."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[list[float]] = []

    def run(self, image: np.ndarray, metadata: np.ndarray | None = None) -> Mapping[str, np.ndarray]:
        assert metadata is not None
        self.told += metadata.tolist()
        return super().run(image)


@pytest.mark.parametrize("given", ["real", "unknown"])
def test_every_case_is_told_its_own_fields_or_nothing(card, data, given):
    told = card.model_copy(update={"metadata": FIELDS})
    session = ToldSession()
    found = predict(session, told, data.cases, workers=2, metadata=given)
    crop, square, unknown = [1, 0, 0], [0, 1, 0], [0, 0, 1]
    assert session.told == ([crop] * 6 + [square] * 6 if given == "real" else [unknown] * N)
    report = measure(found, found, data.cases, told, layout=LAYOUT, split="val", metadata=given, resamples=20)
    assert report.metadata == given


def test_a_cell_that_no_field_knows_stops_the_measurement_before_it_begins(card, data):
    fields = MetadataSpec(fields=(ChoiceField(name="shape", values=("crop", "squashed")),))
    session = ToldSession()
    with pytest.raises(DataError, match=r"6 problems.*\n.*p06: shape is 'square'; did you mean 'squashed'"):
        predict(session, card.model_copy(update={"metadata": fields}), data.cases, metadata="real")
    assert session.told == []


# --- with preprocessing and a second pass ---


class RedSession(PixelSession):
    """Melanoma is the mean of red over 255; keeps the first image it was shown."""

    def __init__(self) -> None:
        super().__init__()
        self.first: np.ndarray | None = None

    def run(self, image: np.ndarray, metadata: np.ndarray | None = None) -> Mapping[str, np.ndarray]:
        self.first = image if self.first is None else self.first
        return {**super().run(image), "melanoma": np.array([[image[0, 0].mean() / 255]], np.float32)}


def test_heads_of_a_second_pass_are_measured_from_it(card, data):
    twice = card.model_copy(update={"second_pass": SecondPass(strategy="mask", heads=("melanoma",))})
    session = RedSession()
    found = predict(session, twice, data.cases, workers=2)
    assert session.batches == [1] * 2 * N
    # By hand: 32 · 32 of 64 · 64 pixels are the lesion, of red 255; clean-up takes the speck; around them is 128.
    np.testing.assert_allclose(found.probabilities["melanoma"], (255 + 3 * 128) / 4 / 255, rtol=1e-6)
    once = predict(RedSession(), card, data.cases)
    np.testing.assert_allclose(once.probabilities["melanoma"], 1028 / 64**2, rtol=1e-6)
    np.testing.assert_array_equal(found.raw.tp, once.raw.tp)
    np.testing.assert_array_equal(found.probabilities["diagnosis"], once.probabilities["diagnosis"])


def test_images_are_preprocessed_as_the_card_declares(card, data):
    session, steps = RedSession(), (Clahe(),)
    predict(session, card.model_copy(update={"preprocessing": steps}), data.cases[:1])
    with Image.open(data.cases[0].image) as photo:
        pixels = np.asarray(photo)
    np.testing.assert_array_equal(session.first[0], network_input(pixels, 64, steps)[0])
    assert (session.first[0] != network_input(pixels, 64, ())[0]).any()


# --- by subgroup ---


def told(data: Cases, **columns: list[str]) -> Cases:
    """The same cases with more columns."""
    cases = data.cases
    for column, cells in columns.items():
        cases = tuple(case.noting(column, cell) for case, cell in zip(cases, cells, strict=True))
    return replace(data, cases=cases)


def test_figures_of_a_subgroup_are_those_of_its_cases_alone(card, data):
    sexes = ["female"] * 6 + ["male"] * 5 + [""]
    known = told(data, sex=sexes)
    found = predict(PixelSession(), card, known.cases)
    report = measure(found, found, known.cases, card, layout=LAYOUT, split="val", resamples=100)
    assert [(one.name, one.n) for one in report.subgroups] == [("sex=female", 6), ("sex=male", 5)]
    female, male = report.subgroups
    # As the subset `crop` above: melanoma are images 0 and 3 of 0 … 5.
    assert female.metrics["melanoma_auroc"].int8 == pytest.approx(6 / 8)
    assert female.metrics["melanoma_auroc"] == report.metrics["melanoma_auroc_crop"]
    assert female.classes == {
        "diagnosis": {"melanoma": 2, "nevus": 2, "seborrheic_keratosis": 2},
        "melanoma": {"no": 4, "yes": 2},
    }
    assert female.weakest == {
        "mask_jaccard": 6,
        "diagnosis_balanced_accuracy": 2,
        "melanoma_auroc": 2,
        "melanoma_sensitivity": 2,
        "melanoma_specificity": 4,
    }
    # Images 6 … 10: melanoma are 6, called so, and 9, not; images 10 and 11 have no mask.
    assert (male.metrics["mask_jaccard"].n, male.metrics["melanoma_sensitivity"].int8) == (4, 0.5)
    assert male.metrics["mask_jaccard"].int8 == 1


def test_a_subgroup_shows_a_drop_that_the_whole_hides(card, data):
    class WorseFor(PixelSession):
        """Finds no lesion in the first half of the photos."""

        def run(self, image: np.ndarray, metadata: np.ndarray | None = None) -> Mapping[str, np.ndarray]:
            answer = super().run(image)
            dark = image[0, 1, 0, 0] < 40 + 15 * 6  # images 0 … 5
            return {**answer, "mask": answer["mask"] * (0 if dark else 1)}

    known = told(data, sex=["female"] * 6 + ["male"] * 6)
    a, b = (predict(session, card, known.cases) for session in (PixelSession(), WorseFor()))
    report = measure(a, b, known.cases, card, layout=LAYOUT, split="val", resamples=100)
    drops = {one.value: one.metrics["mask_jaccard"].drop for one in report.subgroups}
    assert drops == {"female": 1, "male": 0}
    assert report.metrics["mask_jaccard"].drop == pytest.approx(0.6)


def test_a_subgroup_without_a_class_has_no_figure_for_it(card, data):
    known = told(data, sex=["female", *[""] * 11])
    found = predict(PixelSession(), card, known.cases)
    (alone,) = measure(found, found, known.cases, card, layout=LAYOUT, split="val", resamples=20).subgroups
    assert (alone.n, alone.metrics["melanoma_auroc"].int8, alone.weakest["melanoma_auroc"]) == (1, None, 0)
    assert "melanoma_specificity" in alone.metrics


def test_a_data_set_that_tells_no_attribute_has_no_subgroups(card, data):
    found = predict(PixelSession(), card, data.cases)
    report = measure(found, found, data.cases, card, layout=LAYOUT, split="val", resamples=20)
    assert report.subgroups == ()
    assert set(report.curves.roc) == {"melanoma"}
    assert set(report.worst) == {"mask", "diagnosis", "melanoma"}


def test_a_cell_that_no_subgroup_takes_is_a_caution(card, data):
    known = told(data, age=["44"] * 11 + ["old"])
    found = predict(PixelSession(), card, known.cases)
    report = measure(found, found, known.cases, card, layout=LAYOUT, split="val", resamples=20)
    assert "age is 'old' in 1 cases: in no subgroup" in report.cautions


def test_a_report_survives_json(card, data):
    known = told(data, sex=["female"] * 6 + ["male"] * 6)
    found = predict(PixelSession(), card, known.cases)
    report = measure(found, found, known.cases, card, layout=LAYOUT, split="val", resamples=20)
    assert AccuracyReport.model_validate_json(report.model_dump_json()) == report


def test_no_case_at_all_is_refused(card, data):
    found = predict(PixelSession(), card, ())
    with pytest.raises(DataError, match=r"pixels, val: no images: nothing to measure"):
        measure(found, found, (), card, layout=LAYOUT, split="val", resamples=20)


def test_images_of_one_class_pass_no_gate(card, data):
    benign = told(data, melanoma=["0"] * N, diagnosis=["nevus"] * N)
    found = predict(PixelSession(), card, benign.cases)
    report = measure(found, found, benign.cases, card, layout=LAYOUT, split="val", resamples=50)
    assert report.metrics["melanoma_auroc"].int8 is None
    assert report.metrics["diagnosis_balanced_accuracy"].int8 is None
    assert report.curves.roc == {}
    loose = Limit(estimate=1, bound=1)
    gate = Gate(
        minimum=1,
        drop=Drops(auroc=loose, sensitivity=loose, balanced_accuracy=loose),
        floor={"melanoma_sensitivity_at_specificity_80": 0},
    )
    report = report.model_copy(update={"seen_in_training": ()})
    verdict = judge(Measurements(accuracy=report), gate, card, "int8")
    assert {promise.state for promise in verdict.promises} == {"failed"}
    assert all("lack a class" in promise.sentence for promise in verdict.promises)
