"""Folders as the publishers give them, with tiny pictures."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgeskin.data.cases import Cases, read_cases, read_image, read_mask
from edgeskin.data.check import check
from edgeskin.errors import DataError

SIZE = (40, 36)


def photo(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(sum(path.stem.encode())).integers(0, 256, (*SIZE[::-1], 3), np.uint8)
    Image.fromarray(pixels).save(path)


def mask(path: Path, mode: str = "L") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.zeros(SIZE[::-1], np.uint8)
    pixels[10:20, 10:30] = 255
    Image.fromarray(pixels).convert(mode).save(path)


def text(path: Path, *lines: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def isic2016(root: Path) -> None:
    for word, ids in (("Training", "01"), ("Test", "2")):
        start = f"ISBI2016_ISIC_Part{{}}_{word}"
        for one in ids:
            photo(root / (start.format(1) + "_Data") / f"ISIC_000000{one}.jpg")
            mask(root / (start.format(1) + "_GroundTruth") / f"ISIC_000000{one}_Segmentation.png")
            mask(root / (start.format("3B") + "_Data") / f"ISIC_000000{one}_Segmentation.png")
            photo(root / (start.format("3B") + "_Data") / f"ISIC_000000{one}.jpg")
    text(root / "ISBI2016_ISIC_Part3_Training_GroundTruth.csv", "ISIC_0000000,benign", "ISIC_0000001,malignant")
    text(root / "ISBI2016_ISIC_Part3B_Test_GroundTruth.csv", "ISIC_0000002,1.0")


def isic2017(root: Path) -> None:
    for word, one in (("Training", 0), ("Validation", 1), ("Test_v2", 2)):
        data = root / f"ISIC-2017_{word}_Data"
        photo(data / f"ISIC_000000{one}.jpg")
        mask(data / f"ISIC_000000{one}_superpixels.png")
        mask(root / f"ISIC-2017_{word}_Part1_GroundTruth" / f"ISIC_000000{one}_segmentation.png")
        truth = ("0.0,1.0", "1.0,0.0", "0.0,0.0")[one]
        header = "image_id,melanoma,seborrheic_keratosis"
        text(root / f"ISIC-2017_{word}_Part3_GroundTruth.csv", header, f"ISIC_000000{one},{truth}")
    people = root / "ISIC-2017_Training_Data" / "ISIC-2017_Training_Data_metadata.csv"
    text(people, "image_id,age_approximate,sex", "ISIC_0000000,55,unknown")


def isic2018(root: Path) -> None:
    photo(root / "ISIC2018_Task1-2_Training_Input" / "ISIC_0000000.jpg")
    mask(root / "ISIC2018_Task1_Training_GroundTruth" / "ISIC_0000000_segmentation.png")
    header = "image,MEL,NV,BCC,AKIEC,BKL,DF,VASC"
    for word, one in (("Training", "ISIC_0024306"), ("Test", "ISIC_0034524")):
        photo(root / f"ISIC2018_Task3_{word}_Input" / f"{one}.jpg")
        truth = f"ISIC2018_Task3_{word}_GroundTruth"
        text(root / truth / f"{truth}.csv", header, f"{one},0.0,0.0,1.0,0.0,0.0,0.0,0.0")
    lesions = "image,lesion_id,diagnosis_confirm_type"
    text(root / "ISIC2018_Task3_Training_LesionGroupings.csv", lesions, "ISIC_0024306,HAM_0000550,histopathology")


def ham10000(root: Path) -> None:
    for part, one in (("part_1", "ISIC_0024306"), ("part_2", "ISIC_0029306")):
        photo(root / f"HAM10000_images_{part}" / f"{one}.jpg")
        mask(root / "HAM10000_segmentations_lesion_tschandl" / f"{one}_segmentation.png")
    header = "lesion_id,image_id,dx,dx_type,age,sex,localization,dataset"
    rows = ("HAM_1,ISIC_0024306,nv,histo,45.0,male,back,rosendahl", "HAM_2,ISIC_0029306,mel,histo,,unknown,back,x")
    text(root / "HAM10000_metadata", header, *rows)


def ph2(root: Path) -> None:
    for one in ("IMD003", "IMD009", "IMD405"):
        folder = root / "PH2Dataset" / "PH2 Dataset images" / one
        photo(folder / f"{one}_Dermoscopic_Image" / f"{one}.bmp")
        mask(folder / f"{one}_lesion" / f"{one}_lesion.bmp", "1")
    text(
        root / "PH2Dataset" / "PH2_dataset.txt",
        "|| Name || Histological Diagnosis || Clinical Diagnosis || Asymmetry || Pigment Network || Colors ||",
        "|| IMD003 ||                     ||                  0 ||         0 ||               T ||      4 ||",
        "|| IMD009 ||                     ||                  1 ||         1 ||               T ||      3 ||",
        "|| IMD405 || Melanoma            ||                  2 ||         2 ||              AT ||  1 2 3 ||",
        "",
        "Legends:",
        "Clinical Diagnosis || 0 - Common Nevus; 1 - Atypical Nevus; 2 - Melanoma.",
    )


def pad_ufes_20(root: Path) -> None:
    photo(root / "images" / "imgs_part_1" / "PAT_1_2_3.png")
    photo(root / "images" / "imgs_part_2" / "imgs_part_2" / "PAT_1_2_4.png")
    header = "patient_id,lesion_id,smoke,fitspatrick,diagnostic,grew,img_id,biopsed"
    text(
        root / "metadata.csv",
        header,
        "PAT_1,2,,,NEV,UNK,PAT_1_2_3.png,False",
        "PAT_1,2,True,2.0,BCC,True,PAT_1_2_4.png,True",
    )


ALL = {
    "isic2016": isic2016,
    "isic2017": isic2017,
    "isic2018": isic2018,
    "ham10000": ham10000,
    "ph2": ph2,
    "pad_ufes_20": pad_ufes_20,
}


@pytest.fixture
def made(tmp_path: Path) -> Callable[[str], Cases]:
    def make(name: str) -> Cases:
        ALL[name](tmp_path)
        return read_cases(tmp_path)

    return make


def said(cases: Cases, *columns: str) -> list[tuple[str, ...]]:
    return [(case.image_id, case.split, *(case.value(column) for column in columns)) for case in cases.cases]


def test_isic_2016_has_words_in_one_table_and_numbers_in_the_other(made: Callable[[str], Cases]) -> None:
    assert said(made("isic2016"), "melanoma", "isic2016_malignant", "has_mask") == [
        ("ISIC_0000000", "train", "0", "0", "1"),
        ("ISIC_0000001", "train", "1", "1", "1"),
        ("ISIC_0000002", "test", "1", "1", "1"),
    ]


def test_isic_2017_has_three_splits_and_no_superpixels(made: Callable[[str], Cases]) -> None:
    cases = made("isic2017")
    assert said(cases, "diagnosis", "melanoma", "seborrheic_keratosis", "age", "sex") == [
        ("ISIC_0000000", "train", "seborrheic_keratosis", "0", "1", "55", "unknown"),
        ("ISIC_0000001", "val", "melanoma", "1", "0", "", ""),
        ("ISIC_0000002", "test", "nevus", "0", "0", "", ""),
    ]
    assert cases.unlisted == 0


def test_isic_2018_joins_two_tasks_about_different_images(made: Callable[[str], Cases]) -> None:
    cases = made("isic2018")
    assert said(cases, "diagnosis", "lesion_id", "dx_type") == [
        ("ISIC_0000000", "train", "", "", ""),
        ("ISIC_0024306", "train", "bcc", "HAM_0000550", "histopathology"),
        ("ISIC_0034524", "test", "bcc", "", ""),
    ]
    assert [case.mask is not None for case in cases.cases] == [True, False, False]
    assert [case.group for case in cases.cases] == [None, "HAM_0000550", None]


def test_a_part_of_a_challenge_is_enough(tmp_path: Path) -> None:
    photo(tmp_path / "ISIC2018_Task1-2_Training_Input" / "ISIC_0000000.jpg")
    mask(tmp_path / "ISIC2018_Task1_Training_GroundTruth" / "ISIC_0000000_segmentation.png")
    cases = read_cases(tmp_path)
    assert "diagnosis" not in cases.columns
    assert [case.image_id for case in cases.split("train")] == ["ISIC_0000000"]


@pytest.mark.parametrize(("name", "delimiter"), [("HAM10000_metadata.csv", ","), ("HAM10000_metadata.tab", "\t")])
def test_ham10000_stands_in_two_folders_and_one_table(tmp_path: Path, name: str, delimiter: str) -> None:
    ham10000(tmp_path)
    table = tmp_path / "HAM10000_metadata"
    (tmp_path / name).write_text(table.read_text().replace(",", delimiter))
    table.unlink()
    cases = read_cases(tmp_path)
    assert said(cases, "diagnosis", "lesion_id", "age", "sex") == [
        ("ISIC_0024306", "", "nv", "HAM_1", "45.0", "male"),
        ("ISIC_0029306", "", "mel", "HAM_2", "", "unknown"),
    ]
    assert cases.layout.group_column == "lesion_id"


def test_ph2_is_test_and_tells_symmetry(made: Callable[[str], Cases]) -> None:
    assert said(made("ph2"), "diagnosis", "melanoma", "symmetry") == [
        ("IMD003", "test", "common_nevus", "0", "symmetric"),
        ("IMD009", "test", "atypical_nevus", "0", "symmetric"),
        ("IMD405", "test", "melanoma", "1", "asymmetric"),
    ]


def test_pad_ufes_20_is_found_in_its_nested_folders(made: Callable[[str], Cases]) -> None:
    cases = made("pad_ufes_20")
    assert said(cases, "diagnosis", "patient_id", "grew") == [
        ("PAT_1_2_3", "", "NEV", "PAT_1", "UNK"),
        ("PAT_1_2_4", "", "BCC", "PAT_1", "True"),
    ]
    assert {case.group for case in cases.cases} == {"PAT_1"}


@pytest.mark.parametrize("name", ALL)
def test_every_layout_is_recognised_read_and_checked(tmp_path: Path, name: str) -> None:
    ALL[name](tmp_path)
    before = sorted(tmp_path.rglob("*"))
    cases = read_cases(tmp_path)
    assert cases.layout.name == name
    for case in cases.cases:
        assert read_image(case).shape == (*SIZE[::-1], 3)
        assert case.mask is None or read_mask(case).sum() == 200
    report = check(tmp_path)
    assert report.dataset == name
    assert report.cases == len(cases.cases)
    assert report.ok
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("name", "lost", "complaint"),
    [
        ("isic2016", "ISBI2016_ISIC_Part1_Training_GroundTruth/ISIC_0000001_Segmentation.png", "no ISIC_0000001_Seg"),
        ("isic2017", "ISIC-2017_Validation_Data", "folder ISIC-2017_Validation_Data with the photos of val is missing"),
        ("isic2018", "ISIC2018_Task3_Test_Input/ISIC_0034524.jpg", "ISIC_0034524: no file ISIC_0034524.jpg in"),
        ("ham10000", "HAM10000_metadata", "download HAM10000_metadata into it"),
        ("ham10000", "HAM10000_images_part_2", "ISIC_0029306: no file"),
        ("ph2", "PH2Dataset/PH2_dataset.txt", "PH2 without PH2_dataset.txt"),
        ("ph2", "PH2Dataset/PH2 Dataset images/IMD009", "IMD009: no file PH2 Dataset images/IMD009/IMD009_Dermo"),
        ("pad_ufes_20", "metadata.csv", "PAD-UFES-20 without its table"),
        ("pad_ufes_20", "images", "PAD-UFES-20 without its photos"),
    ],
)  # fmt: skip
def test_what_is_missing_is_named(tmp_path: Path, name: str, lost: str, complaint: str) -> None:
    ALL[name](tmp_path)
    for path in sorted((tmp_path / lost).rglob("*"), reverse=True) if (tmp_path / lost).is_dir() else ():
        path.unlink() if path.is_file() else path.rmdir()
    (tmp_path / lost).unlink() if (tmp_path / lost).is_file() else (tmp_path / lost).rmdir()
    with pytest.raises(DataError, match=complaint):
        read_cases(tmp_path)


def test_two_downloads_in_one_folder_are_refused(tmp_path: Path) -> None:
    ham10000(tmp_path)
    isic2018(tmp_path)
    with pytest.raises(DataError, match="downloads of ISIC 2018 and HAM10000"):
        read_cases(tmp_path)


def test_a_folder_that_is_nobodys_names_the_layouts(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"labels\.csv: no such file.*ISIC 2016, ISIC 2017.*PH2 or PAD-UFES-20"):
        read_cases(tmp_path)


@pytest.mark.parametrize(
    ("name", "table", "line", "complaint"),
    [
        ("isic2016", "ISBI2016_ISIC_Part3_Training_GroundTruth.csv", "ISIC_0000000,maybe", "'maybe', neither 0 nor 1"),
        ("isic2017", "ISIC-2017_Training_Part3_GroundTruth.csv", "image_id,melanoma\nISIC_0000000,1", "column sebor"),
        (
            "isic2018",
            "ISIC2018_Task3_Test_GroundTruth/ISIC2018_Task3_Test_GroundTruth.csv",
            "image,MEL,NV,BCC,AKIEC,BKL,DF,VASC\nISIC_0034524,1,1,0,0,0,0,0",
            "ISIC_0034524 has 2 of seven diagnoses",
        ),
        ("ph2", "PH2Dataset/PH2_dataset.txt", "|| IMD003 ||  || 3 || 0 ||", "line 1: clinical diagnosis '3'"),
        ("ham10000", "HAM10000_metadata", "image_id,dx\nISIC_0024306,nv", "columns lesion_id, dx_type, age"),
    ],
)  # fmt: skip
def test_a_damaged_table_is_named(tmp_path: Path, name: str, table: str, line: str, complaint: str) -> None:
    ALL[name](tmp_path)
    text(tmp_path / table, line)
    with pytest.raises(DataError, match=complaint) as caught:
        read_cases(tmp_path)
    assert Path(table).name in str(caught.value)
