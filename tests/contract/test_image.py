import io
import itertools
import struct
import time
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from edgeskin.contract.image import Letterbox, decode_photo, letterbox, read_photo, resize
from edgeskin.errors import PhotoError

UInt8 = npt.NDArray[np.uint8]


def colours(width: int, height: int, seed: int = 0) -> UInt8:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def png(width: int, height: int, depth: int, colour_type: int, rows: bytes) -> bytes:
    """A PNG file written by hand, so that its header can say anything."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def tiff_sixteen_bit(width: int, height: int) -> bytes:
    """An uncompressed little-endian 16-bit RGB TIFF written by hand; Pillow reads such files but cannot write them."""
    bits_at, data_at = 200, 256
    tags = [(256, 3, 1, width), (257, 3, 1, height), (258, 3, 3, bits_at), (259, 3, 1, 1), (262, 3, 1, 2)]
    tags += [(273, 4, 1, data_at), (277, 3, 1, 3), (278, 3, 1, height), (279, 4, 1, width * height * 6)]
    directory = struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", *tag) for tag in tags) + bytes(4)
    head = b"II*\0" + struct.pack("<I", 8) + directory
    bits = struct.pack("<HHH", 16, 16, 16)
    pixels = np.random.default_rng(0).integers(0, 65536, width * height * 3, dtype=np.uint16).tobytes()
    return head.ljust(bits_at, b"\0") + bits.ljust(data_at - bits_at, b"\0") + pixels


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def half(content: bytes) -> bytes:
    return content[: len(content) // 2]


def rgb(width: int = 48, height: int = 40) -> Image.Image:
    return Image.fromarray(colours(width, height))


def refusal(path: Path) -> PhotoError:
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # Pillow's own words never reach the user
        with pytest.raises(PhotoError) as caught:
            read_photo(path)
    return caught.value


# --- reading ---


def test_a_png_is_read_as_it_was_stored(tmp_path: Path) -> None:
    pixels = colours(40, 33)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    photo = read_photo(tmp_path / "a.png")
    assert photo.dtype == np.uint8
    assert np.array_equal(photo, pixels)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF"])
def test_every_usual_format_is_read(kind: str) -> None:
    assert decode_photo(io.BytesIO(saved(rgb(), kind)), "a").shape == (40, 48, 3)


# Where the top left and the top right corner of the stored picture stand once it is upright: the EXIF 2.32 standard's
# table "row 0 is the visual top / bottom / left / right side, column 0 is the …" for orientations 1 to 8.
CORNERS = {
    1: ("top left", "top right"),
    2: ("top right", "top left"),
    3: ("bottom right", "bottom left"),
    4: ("bottom left", "bottom right"),
    5: ("top left", "bottom left"),
    6: ("top right", "bottom right"),
    7: ("bottom right", "top right"),
    8: ("bottom left", "top left"),
}
PLACE = {"top left": (0, 0), "top right": (0, -1), "bottom left": (-1, 0), "bottom right": (-1, -1)}


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", CORNERS)
def test_a_photo_is_turned_upright(orientation: int, kind: str) -> None:
    stored = colours(48, 40)
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True, "exact": True} if kind == "WEBP" else {}
    photo = decode_photo(io.BytesIO(saved(Image.fromarray(stored), kind, exif=exif, **options)), "a")
    assert photo.shape == ((40, 48, 3) if orientation < 5 else (48, 40, 3))
    top_left, top_right = CORNERS[orientation]
    assert np.array_equal(photo[PLACE[top_left]], stored[0, 0])
    assert np.array_equal(photo[PLACE[top_right]], stored[0, -1])


def test_a_phones_jpeg_is_turned_upright() -> None:
    stored = np.zeros((40, 48, 3), np.uint8)
    stored[:, :24, 0] = stored[:, 24:, 2] = 255  # red left, blue right
    exif = Image.Exif()
    exif[0x0112] = 6  # row 0 is the right side: what is stored left belongs on top
    photo = decode_photo(io.BytesIO(saved(Image.fromarray(stored), "JPEG", exif=exif)), "a").astype(int)
    assert photo.shape == (48, 40, 3)
    assert (photo[:20, :, 0] - photo[:20, :, 2]).min() > 200
    assert (photo[28:, :, 2] - photo[28:, :, 0]).min() > 200


def test_an_opaque_alpha_channel_is_dropped() -> None:
    pixels = colours(40, 40)
    opaque = Image.fromarray(pixels).convert("RGBA")
    assert np.array_equal(decode_photo(io.BytesIO(saved(opaque, "PNG")), "a"), pixels)


def test_a_palette_becomes_rgb() -> None:
    palette = rgb().convert("P")
    assert np.array_equal(decode_photo(io.BytesIO(saved(palette, "PNG")), "a"), np.asarray(palette.convert("RGB")))


def test_a_phones_jpeg_with_a_preview_behind_it_is_one_photo() -> None:
    several = saved(rgb(), "MPO", save_all=True, append_images=[rgb(24, 20)])
    assert Image.open(io.BytesIO(several)).format == "MPO"
    assert decode_photo(io.BytesIO(several), "a").shape == (40, 48, 3)


def test_the_limits_themselves_are_allowed() -> None:
    assert decode_photo(io.BytesIO(saved(rgb(256, 32), "PNG")), "a").shape == (32, 256, 3)


# --- refusing ---

ANIMATION = [Image.fromarray(colours(48, 40, seed)) for seed in range(2)]
PARTLY = Image.fromarray(np.dstack([colours(48, 40), np.full((40, 48), 255, np.uint8)]), "RGBA")
PARTLY.putpixel((5, 5), (1, 2, 3, 254))
GREY = Image.fromarray(colours(48, 40)[..., 0])
BAD: dict[str, tuple[str, Callable[[], bytes]]] = {
    "zero bytes": ("empty", lambda: b""),
    "a text file": ("unreadable", lambda: b"Dear colleague,\nplease find the photo attached.\n"),
    "a jpeg cut in half": ("truncated", lambda: half(saved(rgb(), "JPEG"))),
    "a jpeg cut in its header": ("truncated", lambda: saved(rgb(), "JPEG")[:30]),
    "a png cut in half": ("truncated", lambda: half(saved(rgb(), "PNG"))),
    "a webp cut in half": ("truncated", lambda: half(saved(rgb(), "WEBP"))),
    "a tiff cut in half": ("truncated", lambda: half(saved(rgb(), "TIFF"))),
    "500 megapixels": ("too-large", lambda: png(25_000, 20_000, 8, 2, b"")),
    "129 megapixels": ("too-large", lambda: png(12_900, 10_000, 8, 2, b"")),
    "31 pixels high": ("too-small", lambda: saved(rgb(40, 31), "PNG")),
    "more than 8 to 1": ("too-elongated", lambda: saved(rgb(257, 32), "PNG")),
    "more than 1 to 8": ("too-elongated", lambda: saved(rgb(32, 257), "PNG")),
    "16-bit grey png": ("sixteen-bit", lambda: png(40, 40, 16, 0, bytes(40 * 81))),
    "16-bit rgb png": ("sixteen-bit", lambda: png(40, 40, 16, 2, bytes(range(241)) * 40)),
    "16-bit rgba png": ("sixteen-bit", lambda: png(40, 40, 16, 6, bytes(40 * 321))),
    "16-bit grey tiff": ("sixteen-bit", lambda: saved(GREY.convert("I;16"), "TIFF")),
    "16-bit rgb tiff": ("sixteen-bit", lambda: tiff_sixteen_bit(40, 40)),
    "float tiff": ("sixteen-bit", lambda: saved(GREY.convert("F"), "TIFF")),
    "grey png": ("greyscale", lambda: saved(GREY, "PNG")),
    "grey jpeg": ("greyscale", lambda: saved(GREY, "JPEG")),
    "grey with alpha": ("greyscale", lambda: saved(GREY.convert("LA"), "PNG")),
    "black and white": ("greyscale", lambda: saved(GREY.convert("1"), "PNG")),
    "grey saved as rgb": ("greyscale", lambda: saved(GREY.convert("RGB"), "PNG")),
    "grey palette": ("greyscale", lambda: saved(GREY.convert("P"), "PNG")),
    "cmyk jpeg": ("cmyk", lambda: saved(rgb().convert("CMYK"), "JPEG")),
    "cmyk tiff": ("cmyk", lambda: saved(rgb().convert("CMYK"), "TIFF")),
    "one pixel nearly opaque": ("transparent", lambda: saved(PARTLY, "PNG")),
    "transparent webp": ("transparent", lambda: saved(PARTLY, "WEBP", lossless=True)),
    "transparent palette": ("transparent", lambda: saved(rgb().quantize(16), "PNG", transparency=3)),
    "animated gif": ("animated", lambda: saved(ANIMATION[0], "GIF", save_all=True, append_images=ANIMATION[1:])),
    "animated webp": ("animated", lambda: saved(ANIMATION[0], "WEBP", save_all=True, append_images=ANIMATION[1:])),
    "animated png": ("animated", lambda: saved(ANIMATION[0], "PNG", save_all=True, append_images=ANIMATION[1:])),
    "tiff of two pages": ("animated", lambda: saved(ANIMATION[0], "TIFF", save_all=True, append_images=ANIMATION[1:])),
    "lab tiff": ("unreadable", lambda: saved(Image.new("LAB", (40, 40)), "TIFF")),
}


@pytest.mark.parametrize("what", BAD)
def test_a_photo_that_cannot_be_screened_is_refused_with_its_reason(what: str, tmp_path: Path) -> None:
    code, make = BAD[what]
    path = tmp_path / "photo.jpg"
    path.write_bytes(make())
    error = refusal(path)
    assert error.code == code
    assert str(error).startswith(f"{path}: ")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    error = refusal(tmp_path / "none.jpg")
    assert error.code == "missing"
    assert "none.jpg" in str(error)


def test_a_folder_is_no_photo(tmp_path: Path) -> None:
    error = refusal(tmp_path)
    assert error.code == "unreadable"
    assert "folder" in str(error)


def test_a_500_megapixel_header_is_refused_before_anything_is_decoded() -> None:
    start = time.perf_counter()
    with pytest.raises(PhotoError, match="128 megapixels"):
        decode_photo(io.BytesIO(png(25_000, 20_000, 8, 2, b"")), "a")
    assert time.perf_counter() - start < 0.5  # decoding 500 megapixels takes seconds


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF"])
def test_damage_gives_a_photo_error_or_a_photo_and_nothing_else(kind: str) -> None:
    content = saved(rgb(), kind)
    rng = np.random.default_rng(7)
    refused = 0
    for trial in range(150):
        damaged = bytearray(content[: rng.integers(1, len(content))] if trial % 3 == 0 else content)
        for place in rng.integers(0, min(len(damaged), 64 if trial % 2 else len(damaged)), 3):
            damaged[place] = rng.integers(0, 256)
        try:
            decode_photo(io.BytesIO(bytes(damaged)), "a")
        except PhotoError:
            refused += 1
    assert refused > 50  # a third of the files was cut


# --- resizing ---


def slow_pass(values: list[int], m: int) -> list[int]:
    """One pass by the words of contract/image.py, in Python integers."""
    n = len(values)
    p = max(n, m)
    out = []
    for i in range(m):
        weights = [max(0, 2 * p - abs((2 * j + 1) * m - (2 * i + 1) * n)) for j in range(n)]
        running = list(itertools.accumulate(weights, initial=0))
        rounded = [(2**15 * a + running[n]) // (2 * running[n]) for a in running]
        coefficients = [after - before for before, after in itertools.pairwise(rounded)]
        assert min(coefficients) >= 0
        assert sum(coefficients) == 2**14
        out.append((sum(q * v for q, v in zip(coefficients, values, strict=True)) + 2**13) >> 14)
    return out


def slow_resize(photo: UInt8, width: int, height: int) -> UInt8:
    wide = np.array([[slow_pass(row[:, c].tolist(), width) for c in range(3)] for row in photo])  # [H, 3, width]
    return np.array(
        [[slow_pass(wide[:, c, x].tolist(), height) for c in range(3)] for x in range(width)], np.uint8
    ).transpose(2, 0, 1)


sides = st.integers(1, 40)


@settings(max_examples=60, deadline=None)
@given(sides, sides, sides, sides, st.integers(0, 2**32 - 1))
def test_resizing_equals_the_specification_to_the_byte(w: int, h: int, width: int, height: int, seed: int) -> None:
    photo = colours(w, h, seed)
    assert np.array_equal(resize(photo, width, height), slow_resize(photo, width, height))


@pytest.mark.parametrize("extreme", [0, 255])
def test_black_and_white_survive_any_resize(extreme: int) -> None:
    assert np.unique(resize(np.full((300, 170, 3), extreme, np.uint8), 61, 333)).tolist() == [extreme]


def test_a_photo_in_strips_equals_the_specification() -> None:
    photo = colours(6000, 70)  # 1.26 million values: more than one strip
    rows = [0, 57, 58, 69]  # the first strip ends after row 57
    wide = resize(photo, 37, 70)
    assert [wide[row, :, 1].tolist() for row in rows] == [slow_pass(photo[row, :, 1].tolist(), 37) for row in rows]


def test_halving_by_hand() -> None:
    # n = 4, m = 2, P = 4: the weights of output 0 are 8 − |2(2j + 1) − 4| = 6, 6, 2, 0 of 14, so that
    # R rounds 0, 7021.7, 14043.4 and 16384.
    q = [7022, 7021, 2341]
    row = np.array([10, 20, 30, 40], np.uint8)
    photo = np.repeat(row[None, :, None], 3, axis=2)
    expected = (10 * q[0] + 20 * q[1] + 30 * q[2] + 2**13) >> 14
    assert resize(photo, 2, 1)[0, :, 0].tolist() == [expected, 50 - expected]


def test_the_same_size_is_the_identity() -> None:
    photo = colours(50, 31)
    assert np.array_equal(resize(photo, 50, 31), photo)


@pytest.mark.parametrize("size", [(192, 144), (100, 300), (400, 31), (512, 384)])
def test_resizing_agrees_with_pillows_bilinear_filter(size: tuple[int, int]) -> None:
    photo = colours(256, 192)
    theirs = np.asarray(Image.fromarray(photo).resize(size, Image.Resampling.BILINEAR))
    assert np.abs(theirs.astype(int) - resize(photo, *size)).max() <= 2


# --- letterbox ---


def test_a_wide_photo_stands_in_the_middle_on_grey() -> None:
    photo = colours(80, 40)
    square, box = letterbox(photo, 64)
    assert box == Letterbox(80, 40, 64, left=0, top=16, width=64, height=32)
    assert square.shape == (3, 64, 64)
    assert square.dtype == np.uint8
    assert np.array_equal(square[:, 16:48].transpose(1, 2, 0), resize(photo, 64, 32))
    assert set(square[:, :16].ravel()) | set(square[:, 48:].ravel()) == {128}


@pytest.mark.parametrize(
    ("photo", "content"),
    [
        ((100, 75), (0, 24, 192, 144)),
        ((75, 100), (24, 0, 144, 192)),
        ((1000, 333), (0, 64, 192, 64)),  # 63.936 rounds to 64
        ((384, 65), (0, 79, 192, 33)),  # 32.5 rounds up; 159 pixels are left, the odd one at the bottom
        ((8, 8), (0, 0, 192, 192)),
        ((10_000, 1), (0, 95, 192, 1)),
    ],
)
def test_the_content_rectangle_by_hand(photo: tuple[int, int], content: tuple[int, int, int, int]) -> None:
    box = Letterbox.fit(*photo, 192)
    assert (box.left, box.top, box.width, box.height) == content


def test_a_square_photo_of_the_networks_size_passes_unchanged() -> None:
    photo = colours(64, 64)
    square, _ = letterbox(photo, 64)
    assert np.array_equal(square.transpose(1, 2, 0), photo)


def test_the_coefficients_are_reused_and_a_small_photo_is_quick() -> None:
    content = saved(rgb(256, 256), "JPEG")
    best = min(_seconds(lambda: letterbox(decode_photo(io.BytesIO(content), "a"), 192)) for _ in range(20))
    assert best < 0.01  # the budget is 2 ms on an idle machine; this one may be busy


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
