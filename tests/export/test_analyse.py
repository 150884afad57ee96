"""A run's float network is looked at on phantom photos; its weights are random, which is enough to count and draw."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgeskin import shipped
from edgeskin.benchmarks.localisation import score
from edgeskin.data.cases import read_cases, read_mask
from edgeskin.errors import DataError, EdgeskinError, RunError
from edgeskin.export.analyse import Analysis, analyse, enlarged, square_mask
from edgeskin.models.cam import explain
from edgeskin.train import recipe
from edgeskin.train.checkpoint import RunRecord, read_run, store, write_run
from edgeskin.train.loader import Showing, decode, plain_batches
from edgeskin.train.networks import build_network, float_network


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, phantom_data: Path) -> Path:
    """A run that stopped before its first step: the float network as it is initialised."""
    folder = tmp_path_factory.mktemp("run")
    chosen = recipe.read(
        shipped.find("recipes", "phantom_tiny"),
        ("network.width=0.25", "network.decoder=[16]", "data.select=12", "heads.melanoma.hidden=8"),
    )
    network = build_network(chosen)
    best = store(folder, "float-best", network.state_dict(), "float", 1, 0.5, {})
    ids = sorted(case.image_id for case in read_cases(phantom_data).split("train"))
    write_run(
        folder,
        RunRecord(
            recipe=chosen,
            recipe_sha256="0" * 64,
            dataset="generic",
            train_ids=tuple(ids[12:]),
            select_ids=tuple(ids[:12]),
            versions={},
            device="cpu",
            threads=1,
            best={"float": best},
        ),
    )
    return folder


@pytest.fixture(scope="module")
def analysed(run: Path, phantom_data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Analysis, Path]:
    out = tmp_path_factory.mktemp("analysis")
    return analyse(run, phantom_data, "val", out), out


def test_every_head_has_scores_of_the_maps_it_has(analysed: tuple[Analysis, Path]) -> None:
    found, out = analysed
    assert list(found.heads) == ["mask", "diagnosis", "melanoma", "seborrheic_keratosis"]
    assert list(found.heads["diagnosis"].maps) == ["grad_cam_pp", "activation_map"]
    assert list(found.heads["melanoma"].maps) == ["grad_cam_pp"]  # its logits stand behind a hidden layer
    assert list(found.heads["mask"].maps) == ["grad_cam_pp"]
    assert (found.n, found.split, found.network) == (9, "val", "float")
    assert json.loads((out / "localisation.json").read_text()) == found.model_dump(mode="json")


def test_the_scores_are_those_of_the_maps_one_by_one(
    analysed: tuple[Analysis, Path], run: Path, phantom_data: Path
) -> None:
    found, _ = analysed
    record = read_run(run)
    head = record.recipe.head_specs()[1]
    cases = read_cases(phantom_data).split("val")
    (batch,) = plain_batches(decode(cases, (), Showing(64), {}), 16)
    maps = explain(float_network(run, record), batch.inputs, head).activation_map
    assert maps is not None
    scores = [
        score(enlarged(one, 64), square_mask(read_mask(case), 64))
        for one, case in zip(maps.numpy(), cases, strict=True)
    ]
    summary = found.heads["diagnosis"].maps["activation_map"]
    assert summary.n == 9
    assert summary.iou.mean == pytest.approx(np.mean([one.iou for one in scores if one is not None]))


def test_pictures_are_written_for_every_head_that_has_them(analysed: tuple[Analysis, Path]) -> None:
    _, out = analysed
    names = sorted(path.name for path in out.iterdir())
    heads = ("diagnosis", "melanoma", "seborrheic_keratosis")
    assert names == sorted(
        [
            "localisation.json",
            "mask-maps.jpg",
            *(f"{h}-maps.jpg" for h in heads),
            *(f"{h}-embedding.png" for h in heads),
        ]
    )
    wide, narrow = (Image.open(out / f"{name}-maps.jpg") for name in ("diagnosis", "melanoma"))
    assert wide.height == narrow.height  # eight images each
    assert wide.width > narrow.width  # two kinds of map against one


def test_select_is_what_the_run_held_out(run: Path, phantom_data: Path, tmp_path: Path) -> None:
    found = analyse(run, phantom_data, "select", tmp_path, heads=("melanoma",))
    assert (found.n, list(found.heads)) == (12, ["melanoma"])


def test_t_sne_is_a_second_picture(run: Path, phantom_data: Path, tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    analyse(run, phantom_data, "val", tmp_path, heads=("diagnosis",), tsne=True)
    assert (tmp_path / "diagnosis-tsne.png").is_file()


def test_mistakes_are_told_before_anything_is_written(run: Path, phantom_data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    for split in ("test", "val+test"):
        with pytest.raises(EdgeskinError, match="nobody looks at those of test"):
            analyse(run, phantom_data, split, out)
    with pytest.raises(RunError, match="no head 'melanom'; did you mean 'melanoma'"):
        analyse(run, phantom_data, "val", out, heads=("melanom",))
    with pytest.raises(DataError, match="no split 'vall'"):
        analyse(run, phantom_data, "vall", out)
    with pytest.raises(RunError, match="no run here"):
        analyse(tmp_path, phantom_data, "val", out)
    assert not out.exists()


def test_a_mask_is_letterboxed_as_its_photo_is() -> None:
    mask = np.zeros((40, 80), bool)
    mask[10:30, 20:60] = True
    # By hand: 80 × 40 becomes 64 × 32, centred: the lesion is rows 16 + 8 to 16 + 24 and columns 16 to 48.
    square = square_mask(mask, 64)
    assert square.sum() == 16 * 32
    assert square[24:40, 16:48].all()
