from pathlib import Path

import pytest

from edgeskin import shipped
from edgeskin.errors import RecipeError
from edgeskin.train import recipe
from edgeskin.train.recipe.check import RESERVED

PHANTOM = shipped.find("recipes", "phantom_tiny")
RECIPES = sorted(shipped.folder("recipes").glob("*.toml"))


def problems(*overrides: str) -> tuple[str, ...]:
    with pytest.raises(RecipeError) as caught:
        recipe.read(PHANTOM, overrides)
    return caught.value.problems


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_shipped_recipe_parses_and_is_named_like_its_file(path: Path) -> None:
    read = recipe.read(path)
    assert read.name == path.stem
    assert [spec.name for spec in read.head_specs()] == [
        name for name, head in read.heads.items() if not head.auxiliary
    ]
    if read.data.exclude is not None:
        assert (path.parent / read.data.exclude).is_file()


def test_there_are_shipped_recipes() -> None:
    assert {"isic2017_mobilenet_v2", "phantom_tiny"} <= {path.stem for path in RECIPES}


def test_every_mistake_is_reported_at_once_with_its_key() -> None:
    found = problems(
        "seed=-1",
        "network.size=100",
        "network.widht=0.5",
        "heads.melanoma.kind='sigmod'",
        "heads.melanoma.weigth=2",
        "augment.scale=[2, 1]",
        "float.epoch=3",
        "qat.batch=1",
        "qatt.epochs=3",
    )
    assert len(found) == 9
    for expected in (
        "seed is -1: input should be greater than or equal to 0",
        "network.size is 100: input should be a multiple of 32",
        "network.widht is not a known key; did you mean width?",
        "heads.melanoma.kind is 'sigmod': input should be 'mask', 'softmax', 'sigmoid' or 'super_resolution'",
        "heads.melanoma.weigth is not a known key; did you mean weight?",
        "augment: scale is [2.0, 1.0]; write the smaller number first",
        "float.epoch is not a known key; did you mean epochs?",
        "qat.batch is 1: input should be greater than or equal to 2",
        "qatt is not a known key; did you mean qat?",
    ):
        assert expected in found


def test_the_nearest_name_of_a_misspelt_table_is_what_stands_in_the_file() -> None:
    # The field is called float_phase in Python, where `float` is taken.
    assert problems("flaot.epochs=3") == ("flaot is not a known key; did you mean float?",)


def test_mistakes_between_heads_are_reported_together() -> None:
    found = problems(
        "heads.diagnosis.labels=['one']",
        "heads.melanoma.labels=['a', 'b']",
        "heads.second={kind='mask'}",
        "heads.mask.target_sensitivity=0.9",
        "heads.diagnosis.threshold=0.4",
        "heads.melanoma.target_sensitivity=0.9",
        "heads.melanoma.threshold=0.4",
    )
    for part in (
        "head diagnosis: a softmax head needs two or more different labels",
        "head melanoma: a sigmoid head has exactly one label, not 2",
        "heads.mask.target_sensitivity is for sigmoid heads",
        "heads.diagnosis.threshold is for sigmoid heads",
        "heads.melanoma has a threshold and a target_sensitivity",
        "at most one mask head",
    ):
        assert any(part in sentence for sentence in found)


FIELDS = "metadata.fields=[{kind='number', name='age', low=0, high=100}]"


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (["network.mask_attention.heads=['malignant']"], "names the head 'malignant', which is not there; heads: diag"),
        (["network.mask_attention.heads=['mask']"], "names 'mask', a mask head; a softmax or sigmoid head is needed"),
        (["heads.mask=false", "network.mask_attention.heads=['melanoma']"], "network.mask_attention needs a mask head"),
        (["network.mask_attention={heads=['melanoma'], decoder_levels=3}"], "decoder_levels is 3, the decoder has 2"),
        (
            ["network.mask_attention.heads=['melanoma']", "network.pooled_levels=[2, 5]"],
            "network.pooled_levels holds 2, finer than the mask that attends to it: the decoder ends at level 3",
        ),
        (["network.joint_reverse.head='melanoma'"], "give heads.melanoma.hidden a width"),
        (["network.joint_reverse={head='melanoma', levels=4}"], "network.joint_reverse.levels is 4, the decoder has 2"),
        (["network.activation_map={source='melanoma', heads=['melanoma']}"], "melanoma cannot be both its source and"),
        (
            ["network.activation_map={source='melanoma', heads=['diagnosis']}", "heads.melanoma.hidden=8"],
            "heads.melanoma.hidden: the source of an activation map is pooled and linear",
        ),
        (["network.cbam.levels=[3]"], "network.cbam.levels holds 3, which network.pooled_levels does not"),
        (["network.fusion.heads=['diagnosis']"], "network.fusion needs fields: write a [metadata] table"),
        ([FIELDS], "metadata is given, but no network.fusion reads it"),
        (
            ["metadata.fields=[{kind='choice', name='biopsed', values=['true', 'false']}]"],
            "the field biopsed may not be given to a network: it is true for every cancer",
        ),
        (["heads.mask.loss='focal'"], "heads.mask.loss is 'focal'; a mask head learns by bce_dice or bce or dice or"),
        (["heads.mask.rank.margin=0.2"], 'heads.mask.rank is for loss = "dice_rank"'),
        (["heads.train={kind='sigmoid'}"], "a head cannot be called train; call it train_head, with column = 'train'"),
        (["heads.mask.column='outline'"], "heads.mask.column is for softmax and sigmoid heads"),
        (["network.activation='relu6'"], "mobilenet_v2 has no other than its own"),
        (["heads.mask.hidden=8"], "heads.mask.hidden is for softmax and sigmoid heads"),
        (["heads.melanoma.values.maybe=['2']"], "head melanoma: values.maybe is no label of it; write no, yes"),
        (["sampling={kind='balanced', head='mask'}"], "sampling.head names 'mask', a mask head"),
        (["sampling={kind='counts', head='melanoma'}"], "say how often in [sampling.counts]"),
        (
            ["sampling={kind='counts', head='melanoma', counts={melanoma=16}}"],
            "sampling.counts.melanoma is no class of melanoma; write no, yes",
        ),
        (["heads.mask=false", "balance.kind='alpha'"], "but there is no mask head"),
    ],
)
def test_a_wrong_combination_of_parts_is_a_recipe_error(overrides: list[str], sentence: str) -> None:
    assert any(sentence in problem for problem in problems(*overrides))


def test_all_wrong_combinations_are_told_at_once() -> None:
    found = problems("network.fusion.heads=['nothing']", "network.joint_reverse.head='mask'", "network.cbam.levels=[1]")
    assert len(found) == 4, "no fields, no such head, not a classifier, no level that is pooled"


def test_a_recipe_says_only_how_it_differs_from_what_it_extends(tmp_path: Path) -> None:
    (tmp_path / "phantom_tiny.toml").write_bytes(PHANTOM.read_bytes())
    child = tmp_path / "child.toml"
    child.write_text('extends = "phantom_tiny.toml"\nname = "child"\n[network]\nwidth = 0.5\n[heads]\nmask = false\n')
    plain, changed = recipe.read(PHANTOM), recipe.read(child)
    assert (changed.name, changed.network.width, list(changed.heads)) == ("child", 0.5, list(plain.heads)[1:])
    assert changed.network.decoder == plain.network.decoder
    assert changed.float_phase == plain.float_phase


def test_recipes_that_extend_each_other_are_refused(tmp_path: Path) -> None:
    for one, other in (("a", "b"), ("b", "a")):
        (tmp_path / f"{one}.toml").write_text(f'extends = "{other}.toml"\n')
    with pytest.raises(RecipeError, match=r"extends itself through a\.toml → b\.toml → a\.toml"):
        recipe.read(tmp_path / "a.toml")


def test_each_ablation_of_joint_reverse_learning_adds_one_link_to_the_one_before() -> None:
    networks = [recipe.read(shipped.find("recipes", f"isic2016_mtl{step}")).network for step in range(5)]
    links = [
        (one.mask_attention is not None, one.joint_reverse is not None, one.cbam is not None, one.pooled_levels)
        for one in networks
    ]
    assert links == [
        (False, False, False, (5,)),
        (True, False, False, (5,)),
        (True, True, False, (4, 5)),
        (True, True, True, (4, 5)),
        (True, True, True, (4, 5)),
    ]


@pytest.mark.parametrize(
    "impossible",
    [
        "float.learning_rate=0",
        "float.learning_rate=inf",
        "float.weight_decay=nan",
        "float.warmup=1.0",
        "float.ema=1.0",
        "qat.freeze_observers=1.5",
        "network.dropout=1.0",
        "network.decoder=[]",
        "network.decoder=[8, 8, 8, 8, 8]",
        "network.width=0.1",
        "data.select=0",
        "heads.melanoma.target_sensitivity=1.2",
        "format=2",
        "heads={}",
        "name='Two Words'",
    ],
)
def test_an_impossible_value_is_refused_by_its_key(impossible: str) -> None:
    assert any(problem.startswith(impossible.partition("=")[0]) for problem in problems(impossible))


def test_overrides_change_single_values_and_leave_the_rest() -> None:
    plain, changed = (
        recipe.read(PHANTOM),
        recipe.read(PHANTOM, ("qat.epochs=7", "network.start=weights.pth", "heads.melanoma.weight=0.25")),
    )
    assert (changed.qat.epochs, changed.network.start, changed.heads["melanoma"].weight) == (7, "weights.pth", 0.25)
    assert changed.float_phase == plain.float_phase
    assert changed.heads["mask"] == plain.heads["mask"]


@pytest.mark.parametrize(
    ("assignment", "words"),
    [("qat.epochs", "write key=value"), ("=3", "write key=value"), ("seed.deeper=1", "seed is a value, not a table")],
)
def test_an_override_that_is_no_assignment_is_refused(assignment: str, words: str) -> None:
    (sentence,) = problems(assignment)
    assert words in sentence


def test_a_syntax_error_names_the_file_and_the_line(tmp_path: Path) -> None:
    path = tmp_path / "broken.toml"
    path.write_text("format = 1\nname = [\n")
    with pytest.raises(RecipeError, match=r"broken\.toml: is not TOML: .*(line|end of document)"):
        recipe.read(path)


def test_a_missing_recipe_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"absent\.toml: cannot be read"):
        recipe.read(tmp_path / "absent.toml")


def test_a_recipe_that_extends_a_missing_one_is_named_with_it(tmp_path: Path) -> None:
    (tmp_path / "child.toml").write_text('extends = "absent.toml"\n')
    with pytest.raises(RecipeError, match=r"child\.toml: extends 'absent\.toml', but there is no file .*absent\.toml"):
        recipe.read(tmp_path / "child.toml")


def test_a_word_where_a_table_belongs_is_told_to_become_one() -> None:
    assert problems("float.schedule='cosin'") == ("float.schedule is 'cosin': write a table, [float.schedule]",)


def test_heads_get_their_labels_and_the_threshold_one_half() -> None:
    specs = {spec.name: spec for spec in recipe.read(PHANTOM).head_specs()}
    assert specs["mask"].labels == ("lesion",)
    assert specs["melanoma"].labels == ("melanoma",)
    assert (specs["melanoma"].threshold, specs["diagnosis"].threshold) == (0.5, None)
    assert list(specs) == ["mask", "diagnosis", "melanoma", "seborrheic_keratosis"], "the file's order"


def test_no_head_can_be_called_what_the_networks_table_of_heads_calls_its_own() -> None:
    nn = pytest.importorskip("torch.nn")
    own = {name for name in dir(nn.ModuleDict()) if name[0] != "_" and name.lower() == name}
    assert own <= RESERVED
    assert {"image", "metadata"} <= RESERVED


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("balance={kind='uncertainty', alpha=0.3}", "alpha is for kind = 'alpha'"),
        ("float.schedule={kind='constant', gamma=0.5}", "constant has no use for it"),
        ("float.schedule={kind='exponential', every=3}", "exponential has no use for it"),
    ],
)
def test_a_value_that_nothing_reads_is_refused(override: str, sentence: str) -> None:
    assert any(sentence in problem for problem in problems(override))


def test_a_recipe_in_another_folder_keeps_the_list_of_the_one_it_extends(tmp_path: Path) -> None:
    child = tmp_path / "child.toml"
    child.write_text(f'extends = "{shipped.find("recipes", "isic2017_mobilenet_v2").as_posix()}"\n')
    exclude = recipe.read(child).data.exclude
    assert exclude is not None
    assert (tmp_path / exclude).resolve() == (shipped.folder("recipes") / "isic2017_exclude.txt").resolve()


def test_an_option_left_at_its_default_does_not_rename_a_recipe() -> None:
    plain = recipe.read(PHANTOM)
    assert recipe.read(PHANTOM, ("float.momentum=0.9", "data.fold=0")).sha256() == plain.sha256()
    assert recipe.read(PHANTOM, ("float.momentum=0.8",)).sha256() != plain.sha256()
