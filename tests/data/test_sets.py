from pathlib import Path

import pytest
from PIL import Image

from edgeskin.contract.model import HeadSpec
from edgeskin.data.cases import Case, data_folder, read_cases
from edgeskin.data.labels import MISSING, truth
from edgeskin.data.sets import isic2016, mix, open_set
from edgeskin.data.splits import carve_select
from edgeskin.errors import DataError

MELANOMA = HeadSpec(name="melanoma", kind="sigmoid", labels=("melanoma",), threshold=0.5)
DIAGNOSIS = HeadSpec(name="diagnosis", kind="softmax", labels=("mel", "nv"))


def folder(root: Path, header: str, *rows: str) -> Path:
    (root / "images").mkdir(parents=True, exist_ok=True)
    for row in rows:
        Image.new("RGB", (40, 40)).save(root / "images" / f"{row.partition(',')[0]}.png")
    (root / "labels.csv").write_text("\n".join([header, *rows]) + "\n")
    return root


def case(image_id: str, **labels: str) -> Case:
    return Case(image_id, Path("unread.png"), None, "train", None, labels)


@pytest.fixture
def grouped(tmp_path: Path) -> Path:
    rows = (f"i{n:03},{'mel' if n % 5 == 0 else 'nv'},L{n // 2},histo" for n in range(100))
    return folder(tmp_path / "ham10000", "image_id,diagnosis,lesion_id,dx_type", *rows)


def test_a_set_without_a_split_is_given_one_that_what_is_left_out_does_not_change(grouped: Path) -> None:
    cases = open_set(grouped, "ham10000")
    assert [len(cases.split(name)) for name in ("train", "val", "test")] == [80, 10, 10]
    assert cases.layout.cautions[-1] == "no official split: drawn 80/10/10 by lesion_id, seed 0"
    gone = frozenset(case.image_id for case in cases.cases[:30])
    fewer = open_set(grouped, "ham10000", gone)
    assert [case for case in cases.cases if case.image_id not in gone] == list(fewer.cases)


def test_another_data_set_than_the_recipes_is_refused(grouped: Path) -> None:
    with pytest.raises(DataError, match="layout of ham10000, the recipe is for isic2017"):
        open_set(grouped, "isic2017")


@pytest.fixture
def both_years(tmp_path: Path) -> Path:
    return folder(
        tmp_path / "isic2017",
        "image_id,diagnosis,isic2017_split,melanoma,isic2016_split,isic2016_malignant",
        "a,nevus,train,0,test,0",
        "b,melanoma,train,1,train,1",
        "c,nevus,test,0,,",
        "d,,,,train,1",
    )


def test_isic_2016_is_a_view_of_the_isic_2017_folder(both_years: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cases = open_set(both_years, "isic2016")
    assert cases.layout.name == "isic2016"
    assert [(case.image_id, case.split, case.value("melanoma")) for case in cases.cases] == [
        ("a", "test", "0"),
        ("b", "train", "1"),
        ("d", "train", "1"),
    ]
    assert not {"diagnosis", "isic2017_split"} & set(cases.columns)
    assert cases.column("melanoma") == ("0", "1", "1")
    monkeypatch.setenv("EDGESKIN_DATA", str(both_years.parent))
    assert data_folder(None, "isic2016") == both_years


def test_a_folder_without_the_split_of_2016_has_no_such_view(tmp_path: Path) -> None:
    bare = folder(tmp_path, "image_id,isic2017_split", "a,train")
    with pytest.raises(DataError, match="no column 'isic2016_split'"):
        isic2016(read_cases(bare))


def test_a_head_learns_only_from_cases_that_carry_its_label() -> None:
    mixed = mix(
        {"isic2017": [case("a", melanoma="1"), case("b", melanoma="")], "ham10000": [case("c", diagnosis="nv")]}
    )
    assert [one.image_id for one in mixed] == ["a", "b", "c"]
    assert truth(mixed, MELANOMA, "melanoma").tolist() == [1, MISSING, MISSING]
    assert truth(mixed, DIAGNOSIS, "diagnosis").tolist() == [MISSING, MISSING, 1]
    with pytest.raises(DataError, match="no column 'symmetry'"):
        truth(mixed, MELANOMA, "symmetry")


def test_sets_that_share_an_image_are_not_mixed() -> None:
    with pytest.raises(DataError, match="b stands in isic2017 and isic2018"):
        mix({"isic2017": [case("a"), case("b")], "isic2018": [case("b"), case("c")]})


def test_select_is_carved_of_a_mixture_by_a_column_that_some_lack() -> None:
    mixed = mix({"one": [case(f"a{n}", diagnosis="nv") for n in range(10)], "two": [case(f"b{n}") for n in range(30)]})
    _, select = carve_select(mixed, 8, seed=0, stratify="diagnosis")
    assert sum("diagnosis" in one.labels for one in select) == 2


@pytest.mark.data
def test_the_real_view_has_the_images_that_are_present(isic2017: Path) -> None:
    cases = open_set(isic2017, "isic2016")
    # data/README.md: 846 of 900 train and 352 of 379 test images are here.
    assert (len(cases.split("train")), len(cases.split("test"))) == (846, 352)
    assert cases.column("melanoma").count("1") == 236
