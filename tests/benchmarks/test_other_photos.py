"""benchmarks/elsewhere.py: what it does to photos, which of them it takes, and what it says of its figures."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image
from scripts import loaded
from sklearn.metrics import roc_auc_score

from edgeskin.data.cases import Case
from edgeskin.export.unseen import Unseen


@pytest.fixture(scope="module")
def script() -> Iterator[ModuleType]:
    yield from loaded("elsewhere.py")


def case(number: int, group: str, image: Path = Path("unread.png")) -> Case:
    return Case(image_id=f"ISIC_{number}", image=image, mask=image, split="train", group=group, labels={})


def test_photos_are_cut_squashed_and_recompressed_and_lose_their_masks(script: ModuleType, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    sizes, seen = {}, {}
    for words, view in script.VIEWS.items():
        with script.seen([case(1, "a", tmp_path / "photo.png")], view) as (changed,):
            assert changed.mask is None
            seen[words] = np.asarray(Image.open(changed.image))
            sizes[words] = seen[words].shape[:2]
        assert not changed.image.exists()
    assert sizes == {
        "as they are": (64, 64),
        "cut to 4:3, letterboxed": (48, 64),
        "cut to 4:3, squashed to a square": (64, 64),
        "cut to the middle 75 %": (48, 48),
        "JPEG of quality 30": (64, 64),
    }
    np.testing.assert_array_equal(seen["as they are"], pixels)
    np.testing.assert_array_equal(seen["cut to 4:3, letterboxed"], pixels[8:56])
    np.testing.assert_array_equal(seen["cut to the middle 75 %"], pixels[8:56, 8:56])
    assert not np.array_equal(seen["JPEG of quality 30"], pixels)


def test_one_image_of_a_lesion_counts(script: ModuleType) -> None:
    cases = [case(3, "a"), case(2, "b"), case(1, "a")]
    assert [each.image_id for each in script.one_a_lesion(cases)] == ["ISIC_1", "ISIC_2"]


def test_a_row_is_what_scikit_learn_and_counting_make_of_the_answers(script: ModuleType) -> None:
    random = np.random.default_rng(1)
    positive = random.random(200) < 0.3
    scores = (0.4 * positive + 0.6 * random.random(200)).astype(np.float32)
    row = script.Row.of("n", "p", positive, scores, 0.5)
    assert (row.images, row.melanomas) == (200, int(positive.sum()))
    assert row.auroc.value == pytest.approx(roc_auc_score(positive, scores))
    assert row.sensitivity.value == pytest.approx((scores[positive] >= 0.5).mean())
    assert row.specificity.value == pytest.approx((scores[~positive] < 0.5).mean())
    for figure in (row.auroc, row.sensitivity, row.specificity):
        assert figure.low < figure.value < figure.high


def test_without_data_it_says_so_in_a_sentence(
    script: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("EDGESKIN_DATA", raising=False)
    with pytest.raises(SystemExit) as ended:
        script.main([])
    assert ended.value.code == 1
    assert "error: no data: give the isic2017 folder" in capsys.readouterr().err


def test_a_network_that_is_not_there_is_named(script: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        script.main(["clinic-9"])
    assert ended.value.code == 1
    assert "clinic-9" in capsys.readouterr().err


@pytest.mark.data
def test_the_shipped_network_answers_on_real_images_of_both_data_sets(
    script: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def few(_graph: object, cases: Sequence[Case], _folder: object, _progress: object) -> Unseen:
        return Unseen(tuple(cases[:: 1 + len(cases) // 90]), ())

    monkeypatch.setattr(script, "unseen", few)
    assert script.main(["--json", str(tmp_path / "rows.json")]) == 0
    rows = json.loads((tmp_path / "rows.json").read_text())
    assert [row["photos"] for row in rows] == [
        *(f"ISIC 2017, select and validation, {words}" for words in script.VIEWS),
        "HAM10000, against all others",
        "HAM10000, against nevi",
    ]
    assert all(0.5 < row["auroc"]["value"] <= 1 for row in rows)
    assert len(capsys.readouterr().out.splitlines()) == 2 + len(rows)
