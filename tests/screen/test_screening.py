"""From a Graph folder and photos to findings, through onnxruntime; expected figures are computed from the pixels."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from edgeskin.contract.findings import Findings
from edgeskin.contract.image import letterbox
from edgeskin.data import phantom
from edgeskin.screen.predictor import Predictor

pytest.importorskip("onnxruntime")


@pytest.fixture(autouse=True)
def _cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def photos(tmp_path: Path) -> list[Path]:
    (tmp_path / "photos").mkdir()
    paths = []
    for number, case in enumerate(phantom.golden_photos(6)):
        paths.append(tmp_path / "photos" / f"{number}.png")
        Image.fromarray(case.image).save(paths[-1])
    return paths


def test_a_graph_folder_screens_photos_as_its_formula_says(graph_folder: Path, photos: list[Path]) -> None:
    answers = list(Predictor.open(graph_folder).predict(photos))
    for answer, case in zip(answers, phantom.golden_photos(6), strict=True):
        assert isinstance(answer, Findings)
        square, box = letterbox(case.image, 64)
        red = float((square[0].astype(float) - 128).mean() / 128)
        # int8 rounds the mean to 1/146 and the logit to 1/64: at most 3/256 on the logit, a quarter of it after it.
        assert answer.heads["melanoma"]["melanoma"] == pytest.approx(1 / (1 + np.exp(red)), abs=3 / 1024)
        assert answer.heads["diagnosis"]["nevus"] == pytest.approx(1 / (1 + np.exp(-2 * red)), abs=3 / 512)
        content = square[:, box.top : box.top + box.height, box.left : box.left + box.width].astype(int)
        # Bilinear enlarging moves the edge by less than a pixel of the square.
        assert answer.lesion_fraction == pytest.approx((content.sum(axis=0) <= 3 * 128).mean(), abs=0.02)


def test_a_second_run_gives_the_same_answers_from_the_cache(graph_folder: Path, photos: list[Path]) -> None:
    first = [answer.line() for answer in Predictor.open(graph_folder, threads=1).predict(photos)]
    second = [answer.line() for answer in Predictor.open(graph_folder, threads=2).predict(photos)]
    assert first == second


def test_the_command_prints_one_object_a_photo_and_fails_at_the_end(
    graph_folder: Path, photos: list[Path], tmp_path: Path
) -> None:
    cli = pytest.importorskip("edgeskin.cli")
    (tmp_path / "photos" / "3.png").write_bytes(b"")
    folders = ["--masks", str(tmp_path / "masks"), "--overlays", str(tmp_path / "overlays")]
    command = ["predict", str(tmp_path / "photos"), "--bundle", str(graph_folder), *folders]
    done = CliRunner().invoke(cli.app, command)
    assert done.exit_code == 1
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert [answer["file"] for answer in answers] == [str(photo) for photo in photos]
    assert [answer["error"]["code"] for answer in answers if "error" in answer] == ["empty"]
    assert set(answers[0]) == {"file", "heads", "decisions", "lesion_fraction"}
    assert "6 photos, 1 failed" in done.stderr
    assert len(list((tmp_path / "masks").iterdir())) == len(list((tmp_path / "overlays").iterdir())) == 5
