"""The file beside the photos: CSV and JSON, by path, name or stem, all mistakes at once."""

import json
from pathlib import Path

import pytest

from edgeskin.contract.metadata import ChoiceField, MetadataSpec, NumberField
from edgeskin.errors import DataError
from edgeskin.screen import metadata

SPEC = MetadataSpec(
    fields=(NumberField(name="age", low=0, high=100), ChoiceField(name="sex", values=("female", "male")))
)
PHOTOS = (Path("in/a.jpg"), Path("in/b.png"), Path("in/c.jpg"))


def read(tmp_path: Path, text: str, name: str = "known.csv", photos: tuple[Path, ...] = PHOTOS) -> dict:
    (tmp_path / name).write_text(text, encoding="utf-8")
    return metadata.read(tmp_path / name, photos, SPEC)


def test_rows_find_their_photos_by_path_name_or_stem(tmp_path: Path) -> None:
    found = read(tmp_path, "file,age,sex\nin/a.jpg,40,male\nb.png, 50 ,\nc,,female\n")
    assert found == {
        PHOTOS[0]: {"age": "40", "sex": "male"},
        PHOTOS[1]: {"age": "50", "sex": ""},
        PHOTOS[2]: {"age": "", "sex": "female"},
    }
    assert [SPEC.encode(found[photo]).tolist()[2:] for photo in PHOTOS] == [[0, 1, 0], [0, 0, 1], [1, 0, 0]]


def test_json_says_the_same_and_a_photo_may_be_left_out(tmp_path: Path) -> None:
    rows = [{"file": "a", "age": 40, "sex": "male"}, {"file": "b.png", "age": None}]
    found = read(tmp_path, json.dumps(rows), "known.json")
    assert found == {PHOTOS[0]: {"age": 40, "sex": "male"}, PHOTOS[1]: {"age": None}}
    assert read(tmp_path, "\ufefffile,age\r\na,40\r\n") == {PHOTOS[0]: {"age": "40"}}


def test_a_photo_given_twice_has_one_row(tmp_path: Path) -> None:
    assert set(read(tmp_path, "file,age\na,40\n", photos=(PHOTOS[0], PHOTOS[0]))) == {PHOTOS[0]}


def test_a_name_is_preferred_to_a_stem(tmp_path: Path) -> None:
    photos = (Path("a.jpg"), Path("a.jpg.png"))
    assert read(tmp_path, "file,age\na.jpg,40\n", photos=photos) == {photos[0]: {"age": "40"}}


def test_all_mistakes_of_a_file_come_at_once(tmp_path: Path) -> None:
    text = "file,agee,sex\na,40,male\nz,50,male\nb,50,man\nb,60,male\n,1,male\n"
    with pytest.raises(DataError) as caught:
        read(tmp_path, text)
    said = str(caught.value)
    assert "known.csv: cannot be used (5 problems)" in said
    assert "no field 'agee'; did you mean 'age'?" in said
    assert "row 2 (z): is none of the photos" in said
    assert "row 3 (b): sex is 'man'; did you mean 'male'?" in said
    assert "row 4 (b): a second row for in/b.png" in said
    assert "row 5 (no file): is none of the photos" in said


def test_a_stem_that_two_photos_have_is_refused(tmp_path: Path) -> None:
    photos = (Path("one/a.jpg"), Path("two/a.jpg"))
    with pytest.raises(DataError, match=r"row 1 \(a\): fits one/a.jpg, two/a.jpg; write the path as given"):
        read(tmp_path, "file,age\na,1\n", photos=photos)
    assert read(tmp_path, "file,age\ntwo/a.jpg,1\n", photos=photos) == {photos[1]: {"age": "1"}}


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("known.csv", "", "its first line must name the columns"),
        ("known.csv", "photo,age\na,1\n", "its first line must name the columns, file"),
        ("known.csv", "file,age,age\na,1,2\n", "each field once"),
        ("known.csv", "file,age\na\n", "row 1 has 1 cells, the header 2"),
        ("known.json", "{", "cannot be read as JSON"),
        ("known.json", '{"a": {"age": 1}}', "must be a list of objects"),
        ("known.json", '[{"file": "a", "age": [1]}]', "must be a list of objects"),
        ("known.json", '[{"file": "a", "age": true}]', "age is True, which is no number"),
    ],
)
def test_a_file_that_is_no_table_is_refused(tmp_path: Path, name: str, text: str, said: str) -> None:
    with pytest.raises(DataError, match=said):
        read(tmp_path, text, name)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"absent\.csv: the metadata file cannot be read"):
        metadata.read(tmp_path / "absent.csv", PHOTOS, SPEC)
