from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from edgeskin import shipped
from edgeskin.data.cases import read_cases, read_exclude
from edgeskin.data.check import check, write_exclude
from edgeskin.errors import DataError

Pixels = npt.NDArray[np.uint8]
Draw = Callable[[int], Pixels]
SPLITS = ("train",) * 6 + ("val",) * 3 + ("test",) * 3


@pytest.fixture
def folder(tmp_path: Path, lesion: Draw) -> Path:
    """Twelve different lesions, half of each split a nevus, every mask a quarter of the frame."""
    for part in ("images", "masks"):
        (tmp_path / part).mkdir()
    rows = ["image_id,split,diagnosis,age"]
    for number, split in enumerate(SPLITS):
        rows.append(f"case_{number},{split},{'nevus' if number % 2 else 'melanoma'},{number or ''}")
        save(tmp_path, number, lesion(number))
        Image.fromarray(np.indices((96, 96)).max(axis=0) < 48).save(tmp_path / "masks" / f"case_{number}.png")
    (tmp_path / "labels.csv").write_text("\n".join(rows))
    return tmp_path


def save(folder: Path, number: int, pixels: Pixels) -> None:
    Image.fromarray(pixels).save(folder / "images" / f"case_{number}.png")


def recoloured(pixels: Pixels) -> Pixels:
    return (pixels * np.array([0.7, 0.85, 1.0])).astype(np.uint8)


def test_a_sound_folder_is_counted_and_usable(folder: Path) -> None:
    report = check(folder)
    assert report.ok
    assert report.warnings == ()
    assert report.splits == {"train": 6, "val": 3, "test": 3}
    assert report.masks == report.splits
    assert report.sizes == {"96×96": 12}
    assert report.classes == {
        "diagnosis": {
            "melanoma": {"train": 3, "val": 2, "test": 1},
            "nevus": {"train": 3, "val": 1, "test": 2},
        }
    }
    assert report.missing == {"age": 1}


@pytest.mark.parametrize(("case", "yes"), [(0, "0"), (1, "1")])
def test_a_table_that_contradicts_itself_is_an_error(folder: Path, case: int, yes: str) -> None:
    head, *rows = (folder / "labels.csv").read_text().splitlines()
    told = [f"{row},{int('melanoma' in row)}" for row in rows]
    (folder / "labels.csv").write_text("\n".join([f"{head},melanoma", *told]))
    assert check(folder).ok
    told[case] = told[case][:-1] + yes
    (folder / "labels.csv").write_text("\n".join([f"{head},melanoma", *told]))
    assert check(folder).errors == (f"melanoma contradicts diagnosis in 1 cases: case_{case}. Correct labels.csv",)


def test_the_same_picture_in_two_splits_is_an_error(folder: Path, lesion: Draw) -> None:
    save(folder, 9, lesion(2))
    report = check(folder)
    assert not report.ok
    assert report.errors == ("case_2 (train) and case_9 (test) are the same file",)
    # Another file of the same pixels, and the same split: only the first is an error.
    Image.fromarray(lesion(2)).save(folder / "images" / "case_9.png", compress_level=1)
    save(folder, 3, lesion(4))
    report = check(folder)
    assert report.errors == ("case_2 (train) and case_9 (test) have the same pixels",)
    assert "case_3 (train) and case_4 (train) are the same file" in report.notes


def test_a_recoloured_copy_in_another_split_is_a_warning_that_names_the_pair(folder: Path, lesion: Draw) -> None:
    save(folder, 9, np.rot90(recoloured(lesion(2))))
    report = check(folder)
    assert report.ok
    (warning,) = report.warnings
    assert warning.startswith("case_2 (train) and case_9 (test) look like the same photograph (correlation ")


def test_broken_files_are_errors_that_name_them(folder: Path) -> None:
    (folder / "images" / "case_0.png").write_bytes(b"")
    image = folder / "images" / "case_1.png"
    image.write_bytes(image.read_bytes()[:3000])
    Image.new("1", (96, 95)).save(folder / "masks" / "case_2.png")
    Image.new("L", (96, 96), 77).save(folder / "masks" / "case_3.png")
    report = check(folder)
    assert len(report.errors) == 4
    for error, part in zip(
        report.errors,
        ("case_0.png: the file has no bytes", "case_1.png", "case_2.png: is 96×95", "case_3.png: is not a binary mask"),
        strict=True,
    ):
        assert part in error


def test_a_table_that_cannot_be_used_is_one_error(folder: Path) -> None:
    (folder / "images" / "case_0.png").unlink()
    with pytest.raises(DataError, match="case_0: no file"):
        check(folder)


def test_a_photo_without_colour_is_a_warning_and_is_left_out(folder: Path, lesion: Draw) -> None:
    save(folder, 0, np.repeat(lesion(0)[..., :1], 3, axis=2))
    report = check(folder)
    assert report.ok
    assert report.colourless == ("case_0",)
    assert "case_0.png" in report.warnings[0]
    assert write_exclude(folder / "exclude.txt", report) == {"case_0"}


def test_a_lesion_in_two_splits_is_an_error(folder: Path) -> None:
    lesions = ["lesion_id,dx_type", *(f"lesion_{number // 4},histo" for number in range(12))]
    table = (folder / "labels.csv").read_text().splitlines()
    (folder / "labels.csv").write_text("\n".join(f"{row},{lesion}" for row, lesion in zip(table, lesions, strict=True)))
    # Cases 4 to 7 are lesion_1, two of them in train and two in val; 8 to 11 are lesion_2, one in val.
    assert check(folder).errors == (
        "lesion_id lesion_1 stands in train and val",
        "lesion_id lesion_2 stands in test and val",
    )


def test_an_empty_class_and_an_empty_mask_are_warnings(folder: Path) -> None:
    table = (folder / "labels.csv").read_text()
    (folder / "labels.csv").write_text(table.replace("val,nevus", "val,melanoma"))
    Image.new("1", (96, 96)).save(folder / "masks" / "case_5.png")
    warnings = check(folder).warnings
    assert "diagnosis: no case with 'nevus' in val" in warnings
    assert "case_5: its mask shows no lesion" in warnings


def test_files_that_no_row_names_are_noted(folder: Path, lesion: Draw) -> None:
    save(folder, 99, lesion(99))
    assert "1 image files are not in labels.csv and are ignored" in check(folder).notes


def test_the_exclude_file_keeps_val_and_test_whole(folder: Path, lesion: Draw) -> None:
    save(folder, 9, recoloured(lesion(2)))  # train and test: train goes
    save(folder, 10, lesion(6))  # val and test: both stay
    save(folder, 1, recoloured(lesion(8)))  # train and val: train goes
    table = (folder / "labels.csv").read_text()
    (folder / "labels.csv").write_text(table.replace("case_4,train", "case_4,").replace("case_5,train", "case_5,"))
    save(folder, 4, recoloured(lesion(0)))  # train and extra: train goes
    save(folder, 5, recoloured(lesion(11)))  # extra and test: extra goes
    path = folder / "exclude.txt"
    dropped = write_exclude(path, check(folder))
    assert dropped == {"case_0", "case_1", "case_2", "case_5"}
    assert read_exclude(path) == dropped
    assert "# kept: val case_6 is test case_10 (1.00)" in path.read_text()
    assert str(folder.parent) not in path.read_text()


def test_what_was_written_makes_the_splits_disjoint(folder: Path, lesion: Draw) -> None:
    save(folder, 9, lesion(2))
    dropped = write_exclude(folder / "exclude.txt", check(folder))
    assert {case.image_id for case in read_cases(folder).cases} - {
        case.image_id for case in read_cases(folder, dropped).cases
    } == {"case_2"}


def test_a_view_of_a_folder_is_checked_by_the_name_a_recipe_calls_it(folder: Path, lesion: Draw) -> None:
    # Both are train in 2017; in 2016 case_2 is test. case_3 plays no part in 2016.
    splits_2016 = ("train", "train", "test", "", *SPLITS[4:])
    rows = ["image_id,isic2017_split,isic2016_split,isic2016_malignant"]
    rows += [
        f"case_{n},{split},{other},{n % 2}" for n, (split, other) in enumerate(zip(SPLITS, splits_2016, strict=True))
    ]
    (folder / "labels.csv").write_text("\n".join(rows))
    save(folder, 2, recoloured(lesion(0)))
    save(folder, 3, recoloured(lesion(1)))
    assert check(folder).duplicates == ()
    report = check(folder, dataset="isic2016")
    assert report.dataset == "isic2016"
    assert report.splits == {"train": 4, "val": 3, "test": 4}
    path = folder / "exclude.txt"
    assert write_exclude(path, report) == {"case_0"}
    assert f"edgeskin data check {folder.name} --dataset isic2016 --write-exclude exclude.txt" in path.read_text()


def test_a_view_that_a_folder_does_not_hold_is_refused(folder: Path) -> None:
    with pytest.raises(DataError, match="layout of generic"):
        check(folder, dataset="isic2016")


@pytest.mark.data
@pytest.mark.slow
def test_the_shipped_list_of_isic_2016_is_what_the_check_finds(isic2017: Path, tmp_path: Path) -> None:
    path = tmp_path / "isic2016_exclude.txt"
    write_exclude(path, check(isic2017, dataset="isic2016"))
    assert read_exclude(path) == read_exclude(shipped.find("recipes", "isic2016_mtl0").parent / path.name)
