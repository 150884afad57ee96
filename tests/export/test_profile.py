import pytest

from edgeskin import shipped
from edgeskin.benchmarks.gate import Gate
from edgeskin.errors import EdgeskinError, RecipeError
from edgeskin.export.profile import Profile

SHIPPED = sorted(path.stem for path in shipped.folder("profiles").glob("*.toml"))


def test_the_desktop_profile_leaves_nothing_open():
    profile = Profile.find("desktop")
    assert (profile.target, profile.precision, profile.threads) == ("onnx", "int8", 1)
    assert profile.may_be_pending == frozenset()
    assert profile.accept_inherited


@pytest.mark.parametrize("name", SHIPPED)
def test_every_shipped_profile_is_named_like_its_file_and_has_its_gate(name):
    profile = Profile.find(name)
    assert profile.name == name
    assert Gate.find(profile.gate) != Gate()


def test_a_profile_with_mistakes_names_them_all(tmp_path):
    path = tmp_path / "phone.toml"
    path.write_text(
        'name = "phone"\ntarget = "onnx"\nthread = 2\nprecision = "int4"\nmay_be_pending = ["latency", "cost"]\n'
    )
    with pytest.raises(RecipeError) as caught:
        Profile.read(path)
    text = str(caught.value)
    assert "thread is not a known key; did you mean threads?" in text
    assert "description is missing" in text
    assert "precision is 'int4'" in text
    assert "may_be_pending" in text
    assert len(caught.value.problems) == 4


def test_an_unknown_profile_is_told_which_are_shipped():
    with pytest.raises(EdgeskinError, match="desktop"):
        Profile.find("dekstop")
