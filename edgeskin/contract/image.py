"""Reading a photo and making it the network's input: the one preprocessing of edgeskin, exact to the byte.

A photo is decoded, turned upright by its EXIF orientation, resized so that its longer side is S, and centred in an
S × S square of value 128. Colour profiles are not applied: the stored RGB bytes count. A phone that repeats the steps
below with integers gets the same bytes; nothing here depends on a library's rounding.

Letterbox. L is the photo's longer side. A side of n pixels becomes max(1, (2·n·S + L) div (2·L)) pixels. The content
stands at left = (S − width) div 2, top = (S − height) div 2. Every other byte is 128.

Resize. Each row is resampled to the new width, then each column of that result to the new height. A pass from n pixels
to m:

1. With P = max(n, m), input pixel j (0 … n−1) has in output pixel i (0 … m−1) the integer weight
   W(i, j) = max(0, 2·P − |(2·j + 1)·m − (2·i + 1)·n|):
   a triangle with half-pixel centres, as wide as the downscale asks (support n/m input pixels, never below 1).
2. With A(j) = W(i, 0) + … + W(i, j−1) and T = A(n), the coefficient is q(i, j) = R(j + 1) − R(j), where
   R(j) = (2^15·A(j) + T) div (2·T). R rounds the running sum, half up, so the coefficients of one output pixel are
   never negative and sum to exactly 2^14. (64-bit integers suffice.)
3. Output byte i = (Σ_j q(i, j)·input(j) + 2^13) >> 14. Each pass ends in bytes.

With n = m this is the identity. Every partial sum stays below 2^14·255 < 2^24, so this module may use float32 matrix
products: they are exact in any order of summation.
"""

import stat
import struct
import warnings
import zlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO, TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image

from edgeskin.errors import PhotoError

UInt8: TypeAlias = npt.NDArray[np.uint8]
Float32: TypeAlias = npt.NDArray[np.float32]

PAD = 128
"""The byte around the content: exactly zero for the network, which reads (pixel − 128) / 128."""
MAX_MEGAPIXELS = 128
"""Phones reach 108; a decoded photo of this size takes 384 MiB."""
MIN_SIDE = 32
MAX_ELONGATION = 8

_FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF")
_SIGNATURES = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"RIFF", b"II*\0", b"MM\0*", b"BM", b"GIF8")
_DAMAGE = (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error, IndexError, KeyError, TypeError,
           AttributeError, OverflowError, ZeroDivisionError)  # fmt: skip
"""What Pillow's decoders raise on damaged files, found by cutting and flipping bytes."""
_ORIENTATION = 0x0112
_BITS_PER_SAMPLE = 258
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def read_photo(path: Path) -> UInt8:
    """Read a photo as upright 8-bit RGB.

    Shapes: -> [H, W, 3]. Raises: PhotoError, see `decode_photo`; also `missing` and `empty`.
    """
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise PhotoError("unreadable", f"{path}: is a folder. Give the photos in it, for example {path}/*.jpg")
        if status.st_size == 0 and stat.S_ISREG(status.st_mode):
            raise PhotoError("empty", f"{path}: the file has no bytes. Copy or download the photo again")
        with path.open("rb") as stream:
            return decode_photo(stream, str(path))
    except FileNotFoundError as error:
        raise PhotoError("missing", f"{path}: no such file. Check the path") from error
    except OSError as error:
        raise PhotoError("unreadable", f"{path}: cannot be read: {error.strerror or error}") from error


def decode_photo(stream: BinaryIO, name: str) -> UInt8:
    """Decode a photo from a seekable stream as upright 8-bit RGB; `name` stands in messages.

    Shapes: -> [H, W, 3]. Raises: PhotoError with the code unreadable, truncated, too-large, too-small, too-elongated,
    sixteen-bit, greyscale, cmyk, transparent or animated.
    """
    head = stream.read(32)
    stream.seek(0)
    known = head.startswith(_SIGNATURES)
    damaged = PhotoError("truncated", f"{name}: the picture is damaged or incomplete. Copy or take the photo again")
    try:
        with warnings.catch_warnings():
            # Pillow warns from 89 megapixels on, where the limit here is an error, and about EXIF it cannot read.
            warnings.simplefilter("ignore")
            image: Image.Image = Image.open(stream, formats=_FORMATS)
            _refuse_by_header(image, head, name)
            image.load()
            orientation = image.getexif().get(_ORIENTATION, 1)
    except Image.DecompressionBombError as error:
        raise _too_large(name) from error
    except _DAMAGE as error:
        if known:
            raise damaged from error
        raise PhotoError(
            "unreadable", f"{name}: is not a {', '.join(_FORMATS)} picture. Save the photo as JPEG or PNG"
        ) from error
    if image.has_transparency_data:
        image = image.convert("RGBA")
        if image.getchannel("A").getextrema() != (255, 255):
            raise PhotoError("transparent", f"{name}: parts are transparent. Save the photo without transparency")
    image = image.convert("RGB")
    if orientation in _UPRIGHT:
        image = image.transpose(_UPRIGHT[orientation])
    photo = np.asarray(image)
    if _colourless(photo):
        raise _greyscale(name)
    return photo


def _refuse_by_header(image: Image.Image, head: bytes, name: str) -> None:
    """Refuse what the header alone tells, before any pixel is decoded."""
    width, height = image.size
    if width * height > MAX_MEGAPIXELS * 1_000_000:
        raise _too_large(name)
    if min(width, height) < MIN_SIDE:
        raise PhotoError(
            "too-small",
            f"{name}: {width}×{height} pixels; the shorter side needs at least {MIN_SIDE}. Give the original photo",
        )
    if max(width, height) > MAX_ELONGATION * min(width, height):
        raise PhotoError(
            "too-elongated",
            f"{name}: {width}×{height} pixels; one side is more than {MAX_ELONGATION} times the other. "
            "Crop the photo around the lesion",
        )
    if image.format != "MPO" and getattr(image, "n_frames", 1) > 1:  # MPO: a phone's JPEG with previews behind it
        raise PhotoError("animated", f"{name}: has several frames or pages. Give one photo a file")
    if _deep(image, head):
        raise PhotoError("sixteen-bit", f"{name}: has more than 8 bits a channel. Save it as 8-bit RGB")
    if image.mode in {"1", "L", "LA", "La"}:
        raise _greyscale(name)
    if image.mode == "CMYK":
        raise PhotoError("cmyk", f"{name}: is CMYK, made for print. Save it as RGB")
    if image.mode not in {"RGB", "RGBA", "RGBX", "RGBa", "P", "PA", "YCbCr"}:
        raise PhotoError("unreadable", f"{name}: has the colour space {image.mode}. Save it as RGB")


def _deep(image: Image.Image, head: bytes) -> bool:
    """Whether a channel is stored with more than 8 bits; Pillow would drop the lower ones without a word."""
    if image.mode.startswith(("I", "F")):
        return True
    if image.format == "PNG":
        return head[24] > 8  # the bit depth stands in IHDR, always the first chunk
    if image.format == "TIFF":
        bits: tuple[int, ...] = getattr(image, "tag_v2", {}).get(_BITS_PER_SAMPLE, (1,))
        return max(bits) > 8
    return False


def _too_large(name: str) -> PhotoError:
    return PhotoError("too-large", f"{name}: has more than {MAX_MEGAPIXELS} megapixels. Crop it around the lesion")


def _greyscale(name: str) -> PhotoError:
    return PhotoError(
        "greyscale", f"{name}: has no colour, and colour is needed to judge a lesion. Give the colour photo"
    )


def _colourless(photo: UInt8) -> bool:
    """Whether red, green and blue are equal everywhere: greyscale in the guise of RGB."""

    def grey(part: UInt8) -> bool:
        return bool((part[..., 0] == part[..., 1]).all() and (part[..., 1] == part[..., 2]).all())

    return grey(photo[::16, ::16]) and grey(photo)  # a sparse look settles it for nearly every photo


@dataclass(frozen=True)
class Letterbox:
    """Where a photo's content stands in the network's square; all in pixels.

    photo_width, photo_height: the upright photo. size: the square's side. left, top, width, height: the content.
    """

    photo_width: int
    photo_height: int
    size: int
    left: int
    top: int
    width: int
    height: int

    @staticmethod
    def fit(photo_width: int, photo_height: int, size: int) -> "Letterbox":
        """The largest centred content with the photo's proportions; the rule stands at the top of this module."""
        longer = max(photo_width, photo_height)
        width, height = (max(1, (2 * side * size + longer) // (2 * longer)) for side in (photo_width, photo_height))
        return Letterbox(photo_width, photo_height, size, (size - width) // 2, (size - height) // 2, width, height)


def letterbox(photo: UInt8, size: int) -> tuple[UInt8, Letterbox]:
    """The network's input for a photo, and where the photo stands in it.

    Shapes: photo uint8 RGB [H, W, 3] -> uint8 RGB [3, size, size].
    """
    box = Letterbox.fit(photo.shape[1], photo.shape[0], size)
    square = np.full((3, size, size), PAD, np.uint8)
    square[:, box.top : box.top + box.height, box.left : box.left + box.width] = _resample(photo, box.width, box.height)
    return square, box


def resize(photo: UInt8, width: int, height: int) -> UInt8:
    """A photo at another size, by the integer-exact antialiased filter specified at the top of this module.

    Shapes: uint8 [H, W, C] -> uint8 [height, width, C].
    """
    return np.ascontiguousarray(_resample(photo, width, height).transpose(1, 2, 0))


_STRIP = 1 << 20
"""Values of a photo that are float32 at a time (4 MiB), so that a large photo never is as a whole."""
_BLOCK = 16
"""Output pixels a matrix product; each block reads only the input under its triangles."""


@dataclass(frozen=True, eq=False)
class _Block:
    """Output pixels `out` of a pass, from input pixels `window`; weights float32 [window, out] in units of 1."""

    out: slice
    window: slice
    weights: Float32


@lru_cache(maxsize=64)
def _blocks(n: int, m: int) -> tuple[_Block, ...]:
    """The coefficients of a pass from n to m pixels, divided by 2^14, which is exact."""
    reach = 2 * max(n, m)
    blocks = []
    for first in range(0, m, _BLOCK):
        last = min(first + _BLOCK, m) - 1
        start = max(0, ((2 * first + 1) * n - reach - m) // (2 * m))
        stop = min(n, ((2 * last + 1) * n + reach + m) // (2 * m))
        i = np.arange(first, last + 1, dtype=np.int64)
        j = np.arange(start, stop, dtype=np.int64)[:, None]
        running = np.cumsum(np.maximum(0, reach - np.abs((2 * j + 1) * m - (2 * i + 1) * n)), axis=0)
        rounded = ((running << 15) + running[-1]) // (2 * running[-1])
        coefficients = np.diff(rounded, axis=0, prepend=0)
        blocks.append(
            _Block(slice(first, last + 1), slice(start, stop), (coefficients / 16384).astype(np.float32, order="C"))
        )
    return tuple(blocks)


def _bytes(values: Float32) -> Float32:
    """Round half up in place; still float32, now whole numbers from 0 to 255."""
    values += np.float32(0.5)
    np.floor(values, out=values)
    return values


def _resample(photo: UInt8, width: int, height: int) -> UInt8:
    """Shapes: uint8 [H, W, C] -> uint8 [C, height, width]."""
    rows, columns, channels = photo.shape
    if (columns, rows) == (width, height):
        return np.transpose(photo, (2, 0, 1))
    wide = np.empty((channels, rows, width), np.float32)
    step = max(1, _STRIP // (channels * columns))
    for top in range(0, rows, step):
        strip = photo[top : top + step].transpose(2, 0, 1).astype(np.float32, order="C")
        target = wide[:, top : top + step]
        if columns == width:
            target[:] = strip
            continue
        for block in _blocks(columns, width):
            np.matmul(strip[:, :, block.window], block.weights, out=target[:, :, block.out])
        _bytes(target)
    if rows == height:
        return wide.astype(np.uint8)
    result = np.empty((channels, height, width), np.float32)
    for block in _blocks(rows, height):
        np.matmul(block.weights.T, wide[:, block.window], out=result[:, block.out])
    return _bytes(result).astype(np.uint8)
