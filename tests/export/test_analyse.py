"""A run's float network is looked at on phantom photos; its weights are random, which is enough to count and draw."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgeskin import shipped
from edgeskin.benchmarks.localisation import score
from edgeskin.data.cases import data_list_sha256, read_cases, read_mask
from edgeskin.data.sets import open_set
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
            held_out_ids=tuple(ids[20:27]),
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
    assert wide.height == narrow.height  # four images each in a block
    assert wide.width > narrow.width  # two kinds of map against one


def test_select_is_what_the_run_held_out(run: Path, phantom_data: Path, tmp_path: Path) -> None:
    found = analyse(run, phantom_data, "select", tmp_path, heads=("melanoma",))
    assert (found.n, list(found.heads)) == (12, ["melanoma"])


def test_a_fold_is_what_a_cross_validation_held_out(run: Path, phantom_data: Path, tmp_path: Path) -> None:
    found = analyse(run, phantom_data, "fold", tmp_path / "out", heads=("melanoma",))
    ids = sorted(case.image_id for case in read_cases(phantom_data).split("train"))
    assert (found.n, found.data_list_sha256) == (7, data_list_sha256(ids[20:27]))
    bare = shutil.copytree(run, tmp_path / "bare")
    write_run(bare, read_run(bare).model_copy(update={"held_out_ids": ()}))
    with pytest.raises(DataError, match="phantom_tiny: kept no images as fold"):
        analyse(bare, phantom_data, "fold", tmp_path / "none")


def test_a_set_without_an_official_split_has_the_one_that_training_drew(
    run: Path, phantom_data: Path, tmp_path: Path
) -> None:
    data = Path(shutil.copytree(phantom_data, tmp_path / "ham10000"))
    rows = (phantom_data / "labels.csv").read_text().splitlines()
    header = rows[0].split(",")
    split = header.index("split")
    lines = [",".join(["lesion_id", "dx_type", *(name for name in header if name != "split")])]
    for number, row in enumerate(rows[1:]):
        cells = row.split(",")
        lines.append(",".join([f"lesion{number // 2}", "histo", *(c for i, c in enumerate(cells) if i != split)]))
    (data / "labels.csv").write_text("\n".join(lines) + "\n")
    copy = Path(shutil.copytree(run, tmp_path / "run"))
    record = read_run(copy)
    choice = record.recipe.data.model_copy(update={"dataset": "ham10000"})
    write_run(copy, record.model_copy(update={"recipe": record.recipe.model_copy(update={"data": choice})}))
    found = analyse(copy, data, "val", tmp_path / "out", heads=("melanoma",))
    drawn = open_set(data, "ham10000").split("val")
    assert found.data_list_sha256 == data_list_sha256(case.image_id for case in drawn)
    assert any("no official split" in caution for caution in found.cautions)
    with pytest.raises(DataError, match="has the layout of generic, the recipe is for ham10000"):
        analyse(copy, phantom_data, "val", tmp_path / "out")


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
