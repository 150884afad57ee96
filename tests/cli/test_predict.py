"""`edgeskin predict` on every kind of picture that people have."""

import io
import json
import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from edgeskin.data.phantom import golden_photos


def _jpeg(path: Path, image: Image.Image, **options: object) -> None:
    image.save(path, "JPEG", quality=92, **options)


def _rotated(path: Path, image: Image.Image) -> None:
    """Stored lying on its side, with the EXIF note that a viewer shall turn it."""
    exif = Image.Exif()
    exif[0x0112] = 6
    _jpeg(path, image.transpose(Image.Transpose.ROTATE_90), exif=exif)


def _truncated(path: Path, image: Image.Image) -> None:
    stream = io.BytesIO()
    image.save(stream, "JPEG")
    path.write_bytes(stream.getvalue()[: len(stream.getvalue()) // 2])


def _huge(path: Path, image: Image.Image) -> None:
    """A PNG whose header promises 25000 × 20000 pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 25000, 20000, 8, 2, 0, 0, 0))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b""))


def _transparent(path: Path, image: Image.Image) -> None:
    alpha = Image.new("L", image.size, 255)
    alpha.paste(0, (0, 0, 20, 20))
    image.putalpha(alpha)
    image.save(path)


PICTURES = {
    "a_good.jpg": (_jpeg, None),
    "b_truncated.jpg": (_truncated, "truncated"),
    "c_sixteen.png": (
        lambda path, image: cv2.imwrite(str(path), np.asarray(image).astype(np.uint16) * 257),
        "sixteen-bit",
    ),
    "d_cmyk.jpg": (lambda path, image: _jpeg(path, image.convert("CMYK")), "cmyk"),
    "e_grey.jpg": (lambda path, image: _jpeg(path, image.convert("L")), "greyscale"),
    "f_alpha.png": (_transparent, "transparent"),
    "g_rotated.jpg": (_rotated, None),
    "h_panorama.png": (lambda path, image: image.resize((900, 90)).save(path), "too-elongated"),
    "i_empty.jpg": (lambda path, image: path.write_bytes(b""), "empty"),
    "j_huge.png": (_huge, "too-large"),
    "k_text.png": (lambda path, image: path.write_text("no picture"), "unreadable"),
    "l_good.png": (lambda path, image: image.save(path), None),
}
"""File name -> how it is made of a photo, and the code of its error, None where it can be screened."""


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    photos = [case.image for case in golden_photos(len(PICTURES))]
    for photo, (name, (make, _)) in zip(photos, PICTURES.items(), strict=True):
        make(folder / name, Image.fromarray(photo))
    return folder


def test_every_picture_gets_one_line_in_order_and_the_good_ones_are_answered(
    edgeskin, bundle: Path, pictures: Path, tmp_path: Path
) -> None:
    files = [pictures / name for name in PICTURES]
    absent = pictures / "absent.jpg"
    done = edgeskin("predict", *files[::-1], absent, "--bundle", bundle)
    answers = [json.loads(line) for line in done.out.splitlines()]
    assert done.code == 1
    assert [answer["file"] for answer in answers] == [str(file) for file in (*files[::-1], absent)]
    codes = [answer["error"]["code"] if "error" in answer else None for answer in answers]
    assert codes == [*[code for _, code in PICTURES.values()][::-1], "missing"]
    assert "13 photos, 10 failed" in done.err
    good = next(answer for answer in answers if answer["file"].endswith("l_good.png"))
    assert set(good) == {"file", "heads", "decisions", "lesion_fraction"}
    assert set(good["heads"]) == {"diagnosis", "melanoma"}
    assert sum(good["heads"]["diagnosis"].values()) == pytest.approx(1, abs=2e-6)
    assert good["decisions"] == {"melanoma": good["heads"]["melanoma"]["melanoma"] >= 0.5}
    # A folder stands for its pictures, by name.
    assert edgeskin("predict", pictures, "--bundle", bundle).out.splitlines() == done.out.splitlines()[-2::-1]


def test_a_photo_on_its_side_gives_what_it_gives_upright(
    edgeskin, bundle: Path, pictures: Path, tmp_path: Path
) -> None:
    photo = golden_photos(len(PICTURES))[list(PICTURES).index("g_rotated.jpg")].image
    masks = tmp_path / "masks"
    files = [pictures / name for name, (_, code) in PICTURES.items() if code is None]
    done = edgeskin("predict", *files, "--bundle", bundle, "--masks", masks, "--overlays", tmp_path / "overlays")
    assert done.code == 0
    mask = np.asarray(Image.open(masks / "g_rotated.png"))
    assert photo.shape[0] != photo.shape[1]
    assert mask.shape == photo.shape[:2]
    assert mask.dtype == np.uint8
    assert set(np.unique(mask).tolist()) <= {0, 255}
    answer = next(json.loads(line) for line in done.out.splitlines() if "g_rotated" in line)
    assert answer["lesion_fraction"] == pytest.approx((mask == 255).mean(), abs=1e-6)
    assert sorted(path.name for path in masks.iterdir()) == ["a_good.png", "g_rotated.png", "l_good.png"]
    assert sorted(path.name for path in (tmp_path / "overlays").iterdir()) == [
        "a_good.jpg",
        "g_rotated.jpg",
        "l_good.jpg",
    ]


def test_the_answers_are_those_of_the_bundles_own_golden_cases(edgeskin, bundle: Path) -> None:
    golden = json.loads((bundle / "golden" / "golden.json").read_text())
    photos = [bundle / "golden" / "photos" / f"{case['name']}.png" for case in golden["cases"]]
    for line, case in zip(
        edgeskin("predict", *photos, "--bundle", bundle).out.splitlines(), golden["cases"], strict=True
    ):
        answer, expected = json.loads(line), case["findings"]
        for head, labels in expected["heads"].items():
            # What the gate tolerates as equivalent, on the mean of all cases; ten times that for a single one.
            assert answer["heads"][head] == pytest.approx(labels, abs=0.02)
        assert answer["lesion_fraction"] == pytest.approx(expected["lesion_fraction"], abs=0.02)


def test_masks_that_would_overwrite_each_other_are_refused_before_anything_is_read(
    edgeskin, bundle: Path, pictures: Path, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    twin = tmp_path / "other" / "l_good.png"
    twin.write_bytes((pictures / "l_good.png").read_bytes())
    words = ("predict", pictures / "l_good.png", twin, "--bundle", bundle)
    done = edgeskin(*words, "--masks", tmp_path / "masks")
    assert (done.code, done.out) == (1, "")
    assert "these are equal" in done.err
    assert not (tmp_path / "masks").exists()
    assert edgeskin(*words).code == 0


def test_a_graph_folder_is_built_and_kept_for_later(
    edgeskin, small_graph, bundle: Path, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    by_bundle = edgeskin("predict", pictures / "l_good.png", "--bundle", bundle, "--quiet")
    assert edgeskin("predict", pictures / "l_good.png", "--bundle", small_graph.folder, "--quiet") == by_bundle
    assert len(list((tmp_path / "cache" / "edgeskin").iterdir())) == 1


@pytest.mark.skipif(os.name != "posix", reason="only there a file name may be no text")
def test_a_file_name_that_is_no_text_is_answered_all_the_same(
    edgeskin, bundle: Path, pictures: Path, tmp_path: Path
) -> None:
    strange = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.png"))
    strange.write_bytes((pictures / "l_good.png").read_bytes())
    done = edgeskin("predict", strange, pictures / "l_good.png", "--bundle", bundle)
    assert done.code == 0
    first, second = (json.loads(line) for line in done.out.splitlines())
    assert first["heads"] == second["heads"]
    assert first["file"].startswith(f"{tmp_path}/caf")


def test_a_reader_that_leaves_early_leaves_no_traceback(bundle: Path, pictures: Path) -> None:
    """`edgeskin predict … | head -1`"""
    words = ["predict", *[str(pictures / "l_good.png")] * 40, "--bundle", str(bundle), "--quiet"]
    code = f"from edgeskin.cli import main; main({words!r})"
    running = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert running.stdout is not None
    assert running.stderr is not None
    assert json.loads(running.stdout.readline())["heads"]
    running.stdout.close()
    errors = running.stderr.read()
    running.stderr.close()
    assert (running.wait(), errors) == (1, b"")


# --- with metadata ---


def test_photos_are_screened_with_what_is_known_beside_them(
    edgeskin, told_graph: Path, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    photos = [pictures / "a_good.jpg", pictures / "l_good.png"]
    (tmp_path / "known.csv").write_text("file,age,sex\nl_good,130,FEMALE\n")
    words = ("predict", *photos, "--bundle", told_graph, "--quiet")
    told = edgeskin(*words, "--metadata", tmp_path / "known.csv")
    assert told.code == 0
    first, second = (json.loads(line) for line in told.out.splitlines())
    assert first["metadata"] == {"known": [], "unknown": ["age", "sex"], "clipped": []}
    assert second["metadata"] == {"known": ["age", "sex"], "unknown": [], "clipped": ["age"]}
    nothing = [json.loads(line) for line in edgeskin(*words).out.splitlines()]
    assert nothing[0] == first
    assert nothing[1]["metadata"] == first["metadata"]
    # A gate of 1.25 instead of 0.25 (metadata_graphs): the logit moves away from 0, and its sign stays.
    melanoma, plain = (answer["heads"]["melanoma"]["melanoma"] - 0.5 for answer in (second, nothing[1]))
    assert melanoma / plain > 2
    (tmp_path / "known.json").write_text('[{"file": "l_good.png", "age": 130, "sex": "female"}]')
    assert edgeskin(*words, "--metadata", tmp_path / "known.json") == told


def test_a_metadata_file_with_mistakes_is_refused_before_any_photo_is_read(
    edgeskin, told_graph: Path, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "known.csv").write_text("file,agee\nl_good,30\nother,40\n")
    done = edgeskin("predict", pictures, "--bundle", told_graph, "--metadata", tmp_path / "known.csv")
    assert (done.code, done.out) == (1, "")
    assert "no field 'agee'; did you mean 'age'?" in done.err
    assert "row 2 (other): is none of the photos" in done.err


def test_metadata_for_a_network_that_takes_none_is_a_usage_error(
    edgeskin, bundle: Path, pictures: Path, tmp_path: Path
) -> None:
    (tmp_path / "known.csv").write_text("file\n")
    done = edgeskin("predict", pictures, "--bundle", bundle, "--metadata", tmp_path / "known.csv")
    assert (done.code, done.out) == (2, "")
    assert "error: Invalid value for --metadata: small takes no metadata" in done.err
