"""A family is read from its files, every mistake at once; the shipped ones fit the shipped recipes and papers."""

from pathlib import Path

import pytest

from edgeskin import shipped
from edgeskin.contract.model import HeadSpec, ModelCard
from edgeskin.errors import RecipeError
from edgeskin.export import family as families

FAMILY = """
name = "pairs"
base = "phantom_tiny"
set = ["float.epochs=2", "data.select=12"]

[[members]]
name = "narrow"
set = ["network.width=0.25"]
paper = "joint_reverse_mtl_2024/MTL0"

[[members]]
name = "wide"
"""


@pytest.fixture
def family(tmp_path: Path) -> Path:
    path = tmp_path / "pairs.toml"
    path.write_text(FAMILY)
    return path


def test_a_member_is_the_base_with_the_familys_changes_and_then_its_own(family: Path, tmp_path: Path) -> None:
    _, (first, second) = families.read(family, tmp_path)
    assert (first.choice.name, second.choice.name) == ("narrow", "wide")
    (narrow,), (wide,) = first.each, second.each
    assert (narrow.recipe.float_phase.epochs, narrow.recipe.network.width, narrow.recipe.data.select) == (2, 0.25, 12)
    assert wide.recipe.network.width == 0.35
    assert narrow.folder == tmp_path / "ablations" / narrow.recipe.sha256()
    assert narrow.folder != wide.folder
    assert first.average is None


def test_a_recipe_with_folds_is_one_trial_a_fold_and_their_average(family: Path, tmp_path: Path) -> None:
    family.write_text(FAMILY.replace('"data.select=12"', '"data.folds=3"'))
    _, (narrow, wide) = families.read(family, tmp_path)
    assert [trial.name for trial in narrow.each] == ["narrow, fold 0", "narrow, fold 1", "narrow, fold 2"]
    assert [trial.recipe.data.fold for trial in wide.each] == [0, 1, 2]
    assert narrow.average is not None
    assert narrow.average.name == "narrow, average of 3 folds"
    assert len({trial.folder for one in (narrow, wide) for trial in (*one.each, one.average) if trial}) == 8
    # Two and three folds share no average, though fold 0 of both is called the same.
    family.write_text(FAMILY.replace('"data.select=12"', '"data.folds=2"'))
    _, (narrow_of_two, _) = families.read(family, tmp_path)
    assert narrow_of_two.average is not None
    assert narrow_of_two.average.folder != narrow.average.folder


def test_members_may_be_recipes_of_their_own_and_then_need_no_base(family: Path, tmp_path: Path) -> None:
    family.write_text('name = "own"\n[[members]]\nname = "a"\nrecipe = "isic2016_mtl0"\n')
    _, (only,) = families.read(family, tmp_path)
    assert only.each[0].recipe.name == "isic2016_mtl0"
    family.write_text('name = "own"\n[[members]]\nname = "a"\n')
    with pytest.raises(RecipeError, match="members: a needs a recipe; write one, or a base for all"):
        families.read(family, tmp_path)


def test_one_network_may_be_measured_with_other_fields_told(tmp_path: Path) -> None:
    _, trials = families.read(shipped.find("families", "pad_ufes_20_fields"), tmp_path)
    (told, *_), (none, *_), (pattern, *_) = (
        one.each for one in trials if one.each[0].recipe.super_resolution and one.each[0].recipe.metadata
    )
    assert told.run == none.run == pattern.run == told.folder / "run"
    assert [one.folder for one in (none, pattern)] == [told.folder / "unknown", told.folder / "pattern"]
    assert [one.fields for one in (told, none, pattern)] == ["real", "unknown", "pattern"]


def test_fields_are_told_to_recipes_that_have_some(family: Path, tmp_path: Path) -> None:
    family.write_text(FAMILY + 'fields = "unknown"\n')
    with pytest.raises(RecipeError, match=r'wide: fields is "unknown", but this recipe is told none\. Leave it out'):
        families.read(family, tmp_path)


def test_one_network_may_be_measured_deciding_elsewhere(family: Path, tmp_path: Path) -> None:
    family.write_text(FAMILY + '[[members]]\nname = "wide, at one half"\nthreshold = 0.5\n')
    _, (_, own, half) = families.read(family, tmp_path)
    (stored,), (decided,) = own.each, half.each
    assert decided.run == stored.run
    assert decided.folder == stored.folder / "at-0.5"
    heads = (
        HeadSpec(name="mask", kind="mask", labels=("lesion",), threshold=0.4),
        HeadSpec(name="diagnosis", kind="softmax", labels=("nevus", "melanoma")),
        HeadSpec(name="melanoma", kind="sigmoid", labels=("melanoma",), threshold=0.2),
    )
    card = ModelCard.model_construct(name="own", heads=heads)
    assert stored.card(card) is card
    assert [head.threshold for head in decided.card(card).heads] == [0.4, None, 0.5]
    family.write_text(family.read_text().replace('"data.select=12"', '"data.folds=3"'))
    _, (_, own, half) = families.read(family, tmp_path)
    assert own.average is not None
    assert half.average is None, "an average decides by its own threshold"


def test_costs_are_measured_where_a_column_asks_and_only_of_what_ships(family: Path, tmp_path: Path) -> None:
    assert not any(trial.costs for one in families.read(family, tmp_path)[1] for trial in one.each)
    _, trials = families.read(shipped.find("families", "phantom_quick"), tmp_path)
    assert [one.each[0].costs for one in trials] == [True, False, True, False, False]


def test_the_mistakes_of_all_members_are_told_at_once(family: Path, tmp_path: Path) -> None:
    broken = FAMILY.replace("network.width=0.25", "network.widht=0.25")
    family.write_text(broken + 'paper = "joint_reverse_mtl_2024/MTL7"\n')
    with pytest.raises(RecipeError) as raised:
        families.read(family, tmp_path)
    first, second = raised.value.problems
    assert first == "narrow: network.widht is not a known key; did you mean width?"
    assert second.startswith("wide: joint_reverse_mtl_2024 has no row 'MTL7'")
    family.write_text(FAMILY.replace('"wide"', '"narrow"'))
    with pytest.raises(RecipeError, match="several called narrow"):
        families.read(family, tmp_path)


@pytest.mark.parametrize("path", sorted(shipped.folder("families").glob("*.toml")), ids=lambda path: path.stem)
def test_every_shipped_family_holds(path: Path, tmp_path: Path) -> None:
    declared, trials = families.read(path, tmp_path)
    assert declared.name == path.stem
    folders = [trial.folder for one in trials for trial in one.each]
    assert len(set(folders)) == len(folders)


def test_mtl_is_the_papers_five_steps(tmp_path: Path) -> None:
    _, trials = families.read(shipped.find("families", "mtl"), tmp_path)
    steps = [f"MTL{step}" for step in range(5)]
    assert [one.choice.name for one in trials] == steps
    assert [one.choice.paper for one in trials] == [f"joint_reverse_mtl_2024/{step}" for step in steps]
    assert [one.each[0].recipe.name for one in trials] == [f"isic2016_{step.lower()}" for step in steps]
