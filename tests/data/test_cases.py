from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgeskin.contract.model import HeadSpec
from edgeskin.data.cases import (
    Cases,
    data_folder,
    data_list_sha256,
    read_cases,
    read_exclude,
    read_image,
    read_mask,
)
from edgeskin.data.labels import MISSING, binary, class_index, demand_every_class, truth
from edgeskin.errors import DataError

DIAGNOSIS = HeadSpec(name="diagnosis", kind="softmax", labels=("melanoma", "nevus"))
MELANOMA = HeadSpec(name="melanoma", kind="sigmoid", labels=("melanoma",), threshold=0.5)


def write_table(folder: Path, text: str) -> Path:
    (folder / "labels.csv").write_text(text, encoding="utf-8")
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Four cases a, b, c, d, 48 × 40 pixels, a mask for all but d."""
    random = np.random.default_rng(0)
    for part in ("images", "masks"):
        (tmp_path / part).mkdir()
    for image_id in "abcd":
        pixels = random.integers(0, 256, (40, 48, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / "images" / f"{image_id}.png")
    for image_id in "abc":
        Image.fromarray(np.arange(40 * 48).reshape(40, 48) % 3 == 0).save(tmp_path / "masks" / f"{image_id}.png")
    return write_table(
        tmp_path,
        "image_id,split,diagnosis,melanoma\na,train,nevus,0\nb,train,melanoma,1\nc,val,nevus,No\nd,,,\n",
    )


def refusal(folder: Path, table: str) -> str:
    with pytest.raises(DataError) as caught:
        read_cases(write_table(folder, table))
    return str(caught.value)


def test_a_folder_is_read_in_the_order_of_its_table(folder: Path) -> None:
    cases = read_cases(folder)
    assert [case.image_id for case in cases.cases] == ["a", "b", "c", "d"]
    assert cases.layout.name == "generic"
    assert [case.image_id for case in cases.split("train")] == ["a", "b"]
    assert [case.mask is None for case in cases.cases] == [False, False, False, True]
    assert cases.column("diagnosis") == ("nevus", "melanoma", "nevus", "")


def test_a_byte_order_mark_and_spaces_do_not_hide_the_image_id(folder: Path) -> None:
    (folder / "labels.csv").write_bytes("\ufeffimage_id , split\r\na, train\r\n".encode())
    assert read_cases(folder).split("train")[0].image_id == "a"


@pytest.mark.parametrize(
    ("header", "name", "split_column", "group_column"),
    [
        ("image_id,isic2017_split", "isic2017", "isic2017_split", None),
        ("image_id,lesion_id,dx_type", "ham10000", None, "lesion_id"),
        ("image_id,patient_id,lesion_id,fitspatrick", "pad_ufes_20", None, "patient_id"),
        ("image_id,lesion_id,dx_type,split", "ham10000", "split", "lesion_id"),
        ("image_id,age", "generic", None, None),
    ],
)
def test_the_header_tells_the_data_set(
    folder: Path, header: str, name: str, split_column: str | None, group_column: str | None
) -> None:
    row = ",".join(["a"] + ["train" if "split" in column else "7" for column in header.split(",")[1:]])
    cases = read_cases(write_table(folder, f"{header}\n{row}\n"))
    assert (cases.layout.name, cases.layout.split_column, cases.layout.group_column) == (
        name,
        split_column,
        group_column,
    )
    assert cases.cases[0].group == ("7" if group_column else None)


def test_isic_2017_knows_its_subset_and_the_words_beside_its_figures(folder: Path) -> None:
    layout = read_cases(write_table(folder, "image_id,isic2017_split\na,test\n")).layout
    assert [(s.name, s.column, s.value) for s in layout.subsets] == [("centre_crop", "geometry", "centre-crop")]
    assert layout.cautions == ("256² crops, masks on 529 of 600: not comparable with leaderboard values",)
    assert "CC-0" in layout.licence


def test_a_folder_that_is_absent_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere: no such folder"):
        read_cases(tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"labels\.csv: no such file"):
        read_cases(tmp_path)


def test_a_table_without_image_ids_is_refused(folder: Path) -> None:
    assert "the column image_id is missing. Columns: id, split" in refusal(folder, "id,split\na,train\n")
    assert "lists no case" in refusal(folder, "image_id,split\n")
    assert "row 3 has 3 cells, the header 2" in refusal(folder, "image_id,split\na,train\nb,val,x\n")
    assert "column 'age' appears 2 times" in refusal(folder, "image_id,age,age\na,1,2\n")
    (folder / "labels.csv").write_bytes(b"image_id\n\xff\xfe\n")
    with pytest.raises(DataError, match="UTF-8"):
        read_cases(folder)


def test_a_case_in_two_splits_is_refused(folder: Path) -> None:
    assert "a is listed in two splits: test, train" in refusal(folder, "image_id,split\na,train\na,test\n")
    assert "a is listed 2 times" in refusal(folder, "image_id,split\na,train\na,train\n")


def test_all_mistakes_of_a_table_come_at_once(folder: Path) -> None:
    message = refusal(folder, "image_id,split,has_mask\na,trian,1\na,val,1\nd,test,1\nzz,test,0\n,val,0\n")
    assert "5 problems" in message
    for part in (
        "a: split is 'trian'; write train, val, test or nothing",
        "a is listed in two splits: trian, val",
        "zz: no file images/zz.jpg",
        "d: has_mask is 1, but there is no masks/d.png",
        "image_id is empty in 1 row",
    ):
        assert part in message


def test_only_the_first_ten_of_many_mistakes_are_listed(folder: Path) -> None:
    message = refusal(folder, "image_id\n" + "\n".join(f"x{number:02}" for number in range(13)))
    assert message.count("no file images/x") == 10
    assert "x09" in message
    assert "x10" not in message
    assert "… and 3 more" in message


def test_two_files_of_one_image_are_refused(folder: Path) -> None:
    (folder / "images" / "a.jpg").write_bytes((folder / "images" / "a.png").read_bytes())
    with pytest.raises(DataError, match=r"images/ holds both a\.jpg and a\.png"):
        read_cases(folder)


def test_an_unknown_column_or_split_is_answered_with_the_nearest_name(folder: Path) -> None:
    cases = read_cases(folder)
    with pytest.raises(DataError, match=r"no column 'diagnose'; did you mean 'diagnosis'\?"):
        cases.column("diagnose")
    with pytest.raises(DataError, match=r"no column 'melanom'; did you mean 'melanoma'\?"):
        cases.cases[0].value("melanom")
    with pytest.raises(DataError, match=r"no split 'tests'; did you mean 'test'\?"):
        cases.split("tests")
    with pytest.raises(DataError, match=r"puts no case in the split 'test'\. Splits with cases: train"):
        cases.split("test")


def test_a_split_of_a_data_set_without_splits_is_refused(folder: Path) -> None:
    cases = read_cases(write_table(folder, "image_id,lesion_id,dx_type\na,L1,histo\n"))
    assert cases.cases[0].split == ""
    with pytest.raises(DataError, match=r"ham10000 has no split column.*lesion_id together"):
        cases.split("train")


def test_excluded_ids_are_left_out(folder: Path) -> None:
    (folder / "exclude.txt").write_text("# copies\nb  # test x (0.95)\n\n  unknown \n")
    exclude = read_exclude(folder / "exclude.txt")
    assert exclude == {"b", "unknown"}
    assert [case.image_id for case in read_cases(folder, exclude).cases] == ["a", "c", "d"]


def test_an_exclude_file_of_another_data_set_is_refused(folder: Path) -> None:
    with pytest.raises(DataError, match="none of the 1 excluded ids"):
        read_cases(folder, frozenset({"unknown"}))
    with pytest.raises(DataError, match="cannot be read"):
        read_exclude(folder / "absent.txt")


def test_the_hash_of_a_data_list_does_not_depend_on_its_order() -> None:
    assert data_list_sha256(["b", "a"]) == sha256(b"a\nb").hexdigest()


def test_the_data_folder_comes_from_the_option_before_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "isic2017").mkdir()
    (tmp_path / "mine").mkdir()
    monkeypatch.setenv("EDGESKIN_DATA", str(tmp_path))
    assert data_folder(None, "isic2017") == tmp_path / "isic2017"
    assert data_folder(tmp_path / "mine", "isic2017") == tmp_path / "mine"
    assert data_folder(Path("mine")) == tmp_path / "mine"
    monkeypatch.chdir(tmp_path)
    assert data_folder(Path("mine")) == Path("mine")  # what stands here comes first
    with pytest.raises(DataError, match=r"\Ayours: no such folder; check --data\Z"):
        data_folder(Path("yours"), "isic2017")
    with pytest.raises(DataError, match="check EDGESKIN_DATA"):
        data_folder(None, "ham10000")
    monkeypatch.delenv("EDGESKIN_DATA")
    with pytest.raises(DataError, match="--data DIR, or its parent in the environment variable EDGESKIN_DATA"):
        data_folder(None, "isic2017")


def test_an_image_and_its_mask_have_the_same_size_and_the_stored_pixels(folder: Path) -> None:
    case = read_cases(folder).cases[0]
    assert case.mask is not None
    image, mask = read_image(case), read_mask(case)
    assert image.shape == (40, 48, 3)
    assert (image == np.asarray(Image.open(case.image))).all()
    assert mask.dtype == bool
    assert (mask == (np.arange(40 * 48).reshape(40, 48) % 3 == 0)).all()


@pytest.mark.parametrize("white", [1, 255])
def test_a_grey_mask_of_two_values_is_binary(folder: Path, white: int) -> None:
    mask = np.zeros((40, 48), np.uint8)
    mask[:10] = white
    Image.fromarray(mask).save(folder / "masks" / "a.png")
    assert read_mask(read_cases(folder).cases[0]).sum() == 480


def test_the_mask_of_a_turned_photo_has_its_upright_size(folder: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    (folder / "images" / "a.png").unlink()
    random = np.random.default_rng(1).integers(0, 256, (48, 40, 3), np.uint8)
    Image.fromarray(random).save(folder / "images" / "a.jpg", exif=exif)
    case = read_cases(folder).cases[0]
    assert read_image(case).shape[:2] == read_mask(case).shape == (40, 48)


@pytest.mark.parametrize(
    ("mask", "complaint"),
    [
        (Image.new("1", (48, 41)), "is 48×41, its image 48×40"),
        (Image.new("L", (48, 40), 100), "is not a binary mask"),
        (Image.new("RGB", (48, 40)), "is not a binary mask"),
    ],
)
def test_a_mask_that_does_not_fit_is_refused(folder: Path, mask: Image.Image, complaint: str) -> None:
    mask.save(folder / "masks" / "a.png")
    with pytest.raises(DataError, match=rf"a\.png: {complaint}"):
        read_mask(read_cases(folder).cases[0])


def test_unreadable_files_are_named(folder: Path) -> None:
    (folder / "images" / "a.png").write_bytes(b"no picture")
    (folder / "masks" / "b.png").write_bytes((folder / "masks" / "b.png").read_bytes()[:60])
    cases = read_cases(folder).cases
    with pytest.raises(DataError, match=r"images/a\.png"):
        read_image(cases[0])
    with pytest.raises(DataError, match=r"masks/b\.png: the mask or its image is unreadable"):
        read_mask(cases[1])
    with pytest.raises(DataError, match="has no mask"):
        read_mask(cases[3])


def test_heads_read_their_columns(folder: Path) -> None:
    cases = read_cases(folder).cases
    assert truth(cases, DIAGNOSIS, "diagnosis").tolist() == [1, 0, 1, MISSING]
    assert truth(cases, MELANOMA, "melanoma").tolist() == [0, 1, 0, MISSING]
    assert class_index(cases[3], "diagnosis", DIAGNOSIS.labels) is None
    assert binary(cases[3], "melanoma") is None


def test_a_value_that_is_no_label_is_named_with_its_case(folder: Path) -> None:
    cases = read_cases(
        write_table(folder, "image_id,split,diagnosis,melanoma\na,train,nevi,2\nb,train,melanoma,1\n")
    ).cases
    with pytest.raises(DataError, match=r"a: diagnosis is 'nevi'; did you mean 'nevus'\?"):
        truth(cases, DIAGNOSIS, "diagnosis")
    with pytest.raises(DataError, match="a: melanoma is '2'; write 0 or 1"):
        truth(cases, MELANOMA, "melanoma")
    with pytest.raises(DataError, match=r"\A" + r"labels\.csv has no column 'diagnos'; did you mean 'diagnosis'\?\Z"):
        truth(cases, DIAGNOSIS, "diagnos")


def test_an_empty_class_is_refused_with_its_split(folder: Path) -> None:
    cases: Cases = read_cases(folder)
    demand_every_class(truth(cases.split("train"), DIAGNOSIS, "diagnosis"), DIAGNOSIS, "diagnosis", "train")
    answers = truth(cases.split("val"), DIAGNOSIS, "diagnosis")
    with pytest.raises(DataError, match="head diagnosis: the split 'val' has no case of the class melanoma"):
        demand_every_class(answers, DIAGNOSIS, "diagnosis", "val")
    answers = truth(cases.split("val"), MELANOMA, "melanoma")
    with pytest.raises(DataError, match=r"the class 1 \(yes\)"):
        demand_every_class(answers, MELANOMA, "melanoma", "val")
