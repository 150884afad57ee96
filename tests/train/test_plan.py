import shutil
from pathlib import Path

import numpy as np
import pytest

from edgeskin import shipped
from edgeskin.data.cases import read_cases
from edgeskin.data.sets import SPLIT_SEED, open_set
from edgeskin.data.symmetry import hold_out_voted
from edgeskin.errors import RecipeError
from edgeskin.train import recipe
from edgeskin.train.plan import Places, plan, problems

PHANTOM = shipped.find("recipes", "phantom_tiny")
FIELDS = (
    "metadata.fields=[{kind='number', name='age', low=0, high=100}, {kind='choice', name='sex', values=['female',"
    " 'male']}]",
    "network.fusion.heads=['diagnosis']",
)


def places(data: Path) -> Places:
    return Places(PHANTOM, data, data / "run", None)


def chosen(*overrides: str) -> recipe.Recipe:
    return recipe.read(PHANTOM, ("data.select=12", *overrides))


def renamed(source: Path, target: Path, prefix: str) -> Path:
    """The same phantom set under other image ids."""
    shutil.copytree(source, target)
    table = target / "labels.csv"
    table.write_text(table.read_text(encoding="utf-8").replace("phantom_", prefix), encoding="utf-8")
    for path in [*(target / "images").iterdir(), *(target / "masks").iterdir()]:
        path.rename(path.with_name(path.name.replace("phantom_", prefix)))
    return target


def test_train_select_and_held_out_share_no_case(phantom_data: Path) -> None:
    made = plan(chosen("data.folds=3", "data.fold=1", "data.select=8"), places(phantom_data))
    ids = [{case.image_id for case in cases} for cases in (made.train.cases, made.select.cases, made.held_out)]
    assert not ids[0] & ids[1] | ids[0] & ids[2] | ids[1] & ids[2]
    assert ids[0] | ids[1] | ids[2] == {case.image_id for case in read_cases(phantom_data).split("train")}


def test_every_training_case_is_held_out_by_exactly_one_fold(phantom_data: Path) -> None:
    held = [
        case.image_id
        for fold in range(3)
        for case in plan(chosen("data.folds=3", f"data.fold={fold}"), places(phantom_data)).held_out
    ]
    assert sorted(held) == sorted(case.image_id for case in read_cases(phantom_data).split("train"))


def test_teachers_hold_out_all_that_is_trained_on_part_by_part(phantom_data: Path) -> None:
    made = plan(chosen("distill.folds=4"), places(phantom_data))
    ids = [case.image_id for teacher in made.teachers for case in teacher.held_out]
    assert sorted(ids) == sorted(case.image_id for case in made.train.cases)
    for teacher in made.teachers:
        assert not {case.image_id for case in teacher.held_out} & {case.image_id for case in teacher.train.cases}
        assert len(teacher.held_out) + len(teacher.train.cases) == len(made.train.cases)
        assert teacher.select is made.select
        assert {name: len(answers) for name, answers in teacher.train.labels.items()} == dict.fromkeys(
            made.train.labels, len(teacher.train.cases)
        )


def test_a_teacher_that_would_lack_a_batch_is_told(phantom_data: Path) -> None:
    with pytest.raises(RecipeError, match=r"float\.batch is 40, more than the \d+ images trained on"):
        plan(chosen("distill.folds=2", "float.batch=40"), places(phantom_data))


def test_what_does_not_fit_the_data_is_told_all_at_once(phantom_data: Path) -> None:
    wrong = chosen(
        "heads.diagnosis.labels=['melanoma', 'nevus', 'seborrheic_keratosis', 'angioma']",
        "heads.ulcer={kind='sigmoid'}",
        "float.batch=512",
        "network.start='imagenet'",
    )
    with pytest.raises(RecipeError) as caught:
        plan(wrong, places(phantom_data))
    told = "\n".join(caught.value.problems)
    for words in (
        "head diagnosis: the split 'train' has no case of the class angioma",
        "no column 'ulcer'",
        "float.batch is 512, more than the 48 images trained on",
        'network.start is "imagenet", which needs mobilenet_v2_1.0_imagenet.npz',
    ):
        assert words in told


def test_links_and_labels_that_do_not_fit_are_told_together(phantom_data: Path) -> None:
    overrides = ("data.select=12", "network.cbam.levels=[1]", "heads.ulcer={kind='sigmoid'}")
    with pytest.raises(RecipeError) as caught:
        recipe.read(PHANTOM, overrides, lambda read: problems(read, places(phantom_data)))
    told = "\n".join(caught.value.problems)
    assert "network.cbam.levels" in told
    assert "no column 'ulcer'" in told


def test_a_field_that_no_table_has_is_a_mistake(phantom_data: Path) -> None:
    fields = "metadata.fields=[{kind='number', name='weight', low=0, high=200}]"
    told = problems(chosen(fields, FIELDS[1]), places(phantom_data))
    assert any("no column 'weight'" in problem for problem in told)


def test_fields_are_hidden_in_training_and_shown_whole_on_select(phantom_data: Path) -> None:
    made = plan(chosen(*FIELDS, "metadata.hide=0.9"), places(phantom_data))
    for part, hides in ((made.train, True), (made.select, False)):
        assert part.fields is not None
        index = np.arange(len(part.cases))
        shown = part.fields.draw(index, [np.random.default_rng(int(case)) for case in index])
        assert (shown.hidden.any(1).mean() > 0.5) == hides


def test_several_data_sets_teach_each_head_what_they_know(phantom_data: Path, tmp_path: Path) -> None:
    first = tmp_path / "first"
    shutil.copytree(phantom_data, first)
    table = renamed(phantom_data, tmp_path / "ham10000", "other_") / "labels.csv"
    header, *rows = table.read_text(encoding="utf-8").splitlines()
    header = header.replace(",melanoma,", ",malignant,") + ",lesion_id,dx_type"
    rows = [f"{row},lesion_{number},histo" for number, row in enumerate(rows)]
    table.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    made = plan(chosen("data.also=['ham10000']"), places(first))
    assert made.datasets == ("generic", "ham10000")
    other = np.array([case.image_id.startswith("other_") for case in made.train.cases])
    assert 0 < other.sum() < len(other)
    assert (made.train.labels["melanoma"][other] == -1).all()
    assert (made.train.labels["melanoma"][~other] >= 0).all()
    assert (made.train.labels["diagnosis"] >= 0).all()


@pytest.mark.data
def test_isic_2016_is_a_view_of_isic_2017_without_what_its_test_shows(isic2017: Path) -> None:
    mtl = recipe.read(shipped.find("recipes", "isic2016_mtl0"), ("network.start='random'",))
    made = plan(mtl, Places(PHANTOM, isic2017, Path("run"), None))
    test = {case.image_id for case in read_cases(isic2017).cases if case.labels["isic2016_split"] == "test"}
    ids = {case.image_id for part in (made.train, made.select) for case in part.cases}
    assert not ids & test
    # The same photographs in test: ISIC_0009998, ISIC_0000420, ISIC_0000392 (edgeskin data check --dataset isic2016).
    alike = {"ISIC_0000240", "ISIC_0009910", "ISIC_0010475"}
    assert not ids & alike
    # data/README.md: 846 of its train images are present, these three among them.
    assert len(ids) + len(alike) + sum(int(note.split()[1]) for note in made.notes) == 846


@pytest.mark.data
def test_what_the_symmetry_is_measured_on_is_what_training_left_out(isic2017: Path) -> None:
    path = shipped.find("recipes", "isic2017_mobilenet_v2")
    symmetric = "heads.symmetry={kind='softmax', labels=['symmetric', 'asymmetric']}"
    made = plan(recipe.read(path, (symmetric, "network.start='random'")), Places(path, isic2017, Path("run"), None))
    trained = {case.image_id for part in (made.train, made.select) for case in part.cases}
    _, voted = hold_out_voted(open_set(isic2017).split("train"), seed=SPLIT_SEED)
    assert len(voted) == 367, "a fifth of the 1834 voted images"
    assert not trained & {case.image_id for case in voted}
    settings = (symmetric, "network.start='random'", "data.hold_out_voted=false")
    with_all = plan(recipe.read(path, settings), Places(path, isic2017, Path("run"), None))
    assert len(with_all.train.cases) > len(made.train.cases) + 300


def test_what_a_network_answers_may_not_be_a_field_it_is_given() -> None:
    with pytest.raises(RecipeError, match=r"metadata\.fields names ulcer, which a head is asked"):
        chosen(
            "heads.ulcer={kind='sigmoid'}",
            "metadata.fields=[{kind='choice', name='ulcer', values=['0', '1']}]",
            FIELDS[1],
        )


def test_one_photograph_stands_on_one_side_of_a_fold(phantom_data: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(phantom_data, data)
    ids = [case.image_id for case in read_cases(data).split("train")]
    pairs = list(zip(ids[0::2], ids[1::2], strict=False))
    lines = ["image_a,image_b", *(f"{a},{b}" for a, b in pairs)]
    (data / "near_duplicates.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    made = plan(chosen("data.folds=3", "data.select=8"), places(data))
    parts = [{case.image_id for case in cases} for cases in (made.train.cases, made.select.cases, made.held_out)]
    assert all(any({a, b} <= part for part in parts) for a, b in pairs)
