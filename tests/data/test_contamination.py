from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgeskin.data.cases import Case
from edgeskin.data.contamination import SAME_PIXELS, contaminated, grouped, known_pairs, same_pixels
from edgeskin.data.sets import open_set
from edgeskin.errors import DataError


def case(image_id: str, group: str | None = None, image: Path = Path("unread.png")) -> Case:
    return Case(image_id, image, None, "train", group, {})


def test_a_case_leaves_by_id_by_copy_and_by_lesion_each_counted_once() -> None:
    train = [case("a"), case("b"), case("c", "L1"), case("d"), case("e", "L2"), case("f")]
    reported = [case("a"), case("x", "L1"), case("y"), case("z")]
    # b is a copy of y; d of q, which is of z; f of e, which is not reported.
    kept, sentences = contaminated(train, reported, [("b", "y"), ("d", "q"), ("z", "q"), ("e", "f")])
    assert [one.image_id for one in kept] == ["e", "f"]
    assert sentences == (
        "1 training cases left out: each is of the same lesion or patient as a reported test case",
        "2 training cases left out: each is the same photograph as a reported test case",
        "1 training cases left out: each stands in a test split that is reported",
    )


def test_cases_without_a_group_have_none_in_common() -> None:
    assert contaminated([case("a")], [case("b")]) == ((case("a"),), ())


def test_one_photograph_is_one_group_with_the_lesions_it_shows() -> None:
    cases = [case("a"), case("b", "L1"), case("c", "L1"), case("d"), case("e"), case("f", "L2")]
    # a is a copy of b, whose lesion c shows too; d of x, which is not among them; e and f stand alone.
    groups = [one.group for one in grouped(cases, [("a", "b"), ("d", "x")])]
    assert groups == ["a", "a", "a", None, None, "L2"]


def test_the_list_of_a_folder_counts(tmp_path: Path) -> None:
    assert known_pairs([tmp_path]) == SAME_PIXELS
    (tmp_path / "near_duplicates.csv").write_text("image_a,split_a,image_b\na,train,b\n")
    assert known_pairs([tmp_path])[len(SAME_PIXELS) :] == (("a", "b"),)
    (tmp_path / "near_duplicates.csv").write_text("image_a,other\na,b\n")
    with pytest.raises(DataError, match="the column image_b is missing"):
        known_pairs([tmp_path])


def test_equal_pixels_are_found_in_different_files(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    one, other = (random.integers(0, 256, (40, 40, 3), np.uint8) for _ in range(2))
    for name, pixels, level in (("a", one, 1), ("b", other, 1), ("c", one, 9)):
        Image.fromarray(pixels).save(tmp_path / f"{name}.png", compress_level=level)
    cases = [case(name, image=tmp_path / f"{name}.png") for name in "abc"]
    assert same_pixels(cases) == (("a", "c"),)


@pytest.mark.data
def test_isic_2016_test_is_mostly_isic_2017_train(isic2017: Path) -> None:
    train = open_set(isic2017, "isic2017").split("train")
    reported = open_set(isic2017, "isic2016").split("test")
    kept, sentences = contaminated(train, reported)
    # 305 of the 352 images: see data/README.md.
    assert len(train) - len(kept) == 305
    assert sentences == ("305 training cases left out: each stands in a test split that is reported",)


@pytest.mark.data
def test_the_listed_copies_of_test_leave_train(isic2017: Path) -> None:
    cases = open_set(isic2017)
    kept, _ = contaminated(cases.split("train"), cases.split("test"), known_pairs([isic2017]))
    # Counted in the list: 15 pairs of train and test.
    assert len(kept) == 2000 - 15
    assert not {"ISIC_0000162", "ISIC_0012887"} & {case.image_id for case in kept}
