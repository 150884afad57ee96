"""A page as Chromium shows it: what its own script measures, and what it looks like.

Chromium draws no window narrower than 500 pixels, so a page is put into a frame as wide as a phone.
"""

import html
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

NAMES = ("chromium", "chromium-browser", "google-chrome")
PROGRAM = next((found for name in NAMES if (found := shutil.which(name))), None)
needs_chromium = pytest.mark.skipif(PROGRAM is None, reason="Chromium is not installed: apt-get install chromium")

_DARK = "--blink-settings=preferredColorScheme=0"
_LIGHT = "--blink-settings=preferredColorScheme=1"


def _run(*options: str) -> str:
    assert PROGRAM is not None
    command = [PROGRAM, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout


def widths(page: str, frames: tuple[int, ...], folder: Path) -> dict[int, int]:
    """How wide a page is that is given so many pixels, by those pixels; wider means that it must be moved sideways."""
    made = "".join(
        f'<iframe style="width:{width}px;height:900px;border:0" srcdoc="{html.escape(page)}"></iframe>'
        for width in frames
    )
    script = """addEventListener('load', () => { document.title = 'widths ' + [...document.querySelectorAll('iframe')]
        .map(frame => frame.contentDocument.documentElement.scrollWidth).join(' ') })"""
    place = folder / "frames.html"
    place.write_text(f"<!doctype html><meta charset=utf-8><title>none</title>{made}<script>{script}</script>")
    found = re.search(r"<title>widths ([\d ]+)</title>", _run("--dump-dom", place.as_uri()))
    assert found is not None, "Chromium measured nothing"
    return dict(zip(frames, map(int, found[1].split()), strict=True))


def picture(page: str, width: int, height: int, folder: Path, *, dark: bool) -> npt.NDArray[np.uint8]:
    """What a page looks like from its top. Shapes: -> uint8 RGB [height, width, 3]."""
    place, shot = folder / "page.html", folder / "page.png"
    framed = f'<iframe style="width:{width}px;height:{height}px;border:0" srcdoc="{html.escape(page)}"></iframe>'
    place.write_text(f'<!doctype html><meta charset=utf-8><body style="margin:0">{framed}')
    size = f"--window-size={max(width, 500)},{height}"
    _run(_DARK if dark else _LIGHT, size, f"--screenshot={shot}", place.as_uri())
    with Image.open(shot) as drawn:
        return np.asarray(drawn.convert("RGB"))[:height, :width]
