import re

import pytest

from edgeskin import shipped, targets
from edgeskin.benchmarks.budget import Budget
from edgeskin.benchmarks.gate import Gate
from edgeskin.errors import EdgeskinError, RecipeError, TargetError
from edgeskin.export.profile import Profile

SHIPPED = sorted(path.stem for path in shipped.folder("profiles").glob("*.toml"))
DEVICES = {
    "jetson_orin_nano": ("tensorrt", "NVIDIA Jetson Orin Nano Developer Kit"),
    "jetson_agx_orin": ("tensorrt", "NVIDIA Jetson AGX Orin Developer Kit"),
    "jetson_xavier_nx": ("tensorrt", "NVIDIA Jetson Xavier NX Developer Kit"),
    "desktop_rtx": ("tensorrt", None),
    "raspberry_pi_5": ("tflite", "Raspberry Pi 5 Model B Rev 1.0"),
    "android_low_end": ("tflite", "Google Pixel 3a"),
    "android_flagship": ("tflite", "Samsung Galaxy S24"),
    "iphone": ("coreml", None),
    "x86_cpu": ("onnx", None),
}
"""The device profiles that issue 6 asks for: target, and what a board may call itself."""
ON_DEVICES = {"latency", "memory", "placement"}


def test_the_desktop_profile_leaves_nothing_open():
    profile = Profile.find("desktop")
    assert (profile.target, profile.precision, profile.threads) == ("onnx", "int8", 1)
    assert profile.may_be_pending == frozenset()
    assert profile.accept_inherited


@pytest.mark.parametrize("name", SHIPPED)
def test_every_shipped_profile_is_named_like_its_file_and_has_its_gate_and_target(name):
    profile = Profile.find(name)
    assert profile.name == name
    assert Gate.find(profile.gate) != Gate()
    assert profile.target in targets.TARGETS


@pytest.mark.parametrize("name", DEVICES)
def test_every_device_has_a_budget_whose_figures_name_their_sources(name):
    profile = Profile.find(name)
    assert profile.target == DEVICES[name][0]
    for field in Budget.model_fields:
        ceiling = getattr(profile.budget, field)
        assert ceiling is not None, field
        # A title and its publisher, or that there is none.
        assert re.search(r": \S+|no published", ceiling.source), ceiling.source


@pytest.mark.parametrize("name", [name for name in DEVICES if name != "iphone"])
def test_what_only_the_device_can_tell_waits_for_it(name):
    profile = Profile.find(name)
    assert profile.device is not None
    assert profile.may_be_pending >= ON_DEVICES


def test_each_board_is_told_from_the_others():
    boards = {name: board for name, (_, board) in DEVICES.items() if board}
    for name, board in boards.items():
        found = {
            other
            for other in boards
            if re.search(rf"\b{Profile.find(other).device.board}\b", board)  # type: ignore[union-attr]
        }
        assert found == {name}


@pytest.mark.parametrize("target", targets.TARGETS)
def test_every_target_has_one_default_profile(target):
    defaults = [
        profile.name for profile in map(Profile.find, SHIPPED) if profile.target == target and profile.is_default
    ]
    assert defaults == [Profile.default(target).name]
    assert Profile.default(target).device is None


def test_what_was_built_by_default_still_is():
    assert {name: Profile.default(name).name for name in ("onnx", "tflite", "coreml")} == {
        "onnx": "desktop",
        "tflite": "android",
        "coreml": "iphone",
    }


def test_a_target_without_a_default_profile_says_what_to_give(monkeypatch):
    monkeypatch.setitem(targets.TARGETS, "lonely", targets.TARGETS["onnx"])
    with pytest.raises(
        EdgeskinError, match=r"no profile is shipped for the target lonely\. Give one with --profile FILE"
    ):
        Profile.default("lonely")


def test_generations_of_gpus_are_asked_of_a_target_that_builds_for_them():
    profile = Profile.find("desktop_rtx")
    assert profile.choices["gpus"] == ("ampere", "ada", "blackwell")
    assert Profile.find("jetson_orin_nano").choices["gpus"] == ()
    with pytest.raises(TargetError, match="onnx has no"):
        profile.model_copy(update={"target": "onnx"}).altered()


def test_other_choices_leave_device_and_budget():
    profile = Profile.find("raspberry_pi_5")
    altered = profile.altered(precision="fp32", gate="iphone", split="val")
    assert (altered.device, altered.budget, altered.threads) == (profile.device, profile.budget, 4)


def test_a_profile_with_mistakes_names_them_all(tmp_path):
    path = tmp_path / "phone.toml"
    path.write_text(
        'name = "phone"\ntarget = "onnx"\nthread = 2\nprecision = "int4"\nmay_be_pending = ["latency", "cost"]\n'
        'defualt = true\n[device]\nname = "a phone"\nbord = "Phone"\n'
        "[budget.latency_p90_ms]\nat_most = 0\n[budget.size_mb]\nat_most = 3\n"
    )
    with pytest.raises(RecipeError) as caught:
        Profile.read(path)
    text = str(caught.value)
    for sentence in (
        "thread is not a known key; did you mean threads?",
        "defualt is not a known key; did you mean default?",
        "description is missing",
        "precision is 'int4'",
        "may_be_pending",
        "device.bord is not a known key; did you mean board?",
        "budget.latency_p90_ms.at_most is 0",
        "budget.latency_p90_ms.source is missing",
        "budget.size_mb is not a known key; did you mean size_mib?",
    ):
        assert sentence in text
    assert len(caught.value.problems) == 9


def test_a_device_that_nothing_tells_is_refused(tmp_path):
    path = tmp_path / "phone.toml"
    path.write_text('name = "phone"\ndescription = "A phone."\ntarget = "onnx"\n[device]\nname = "a phone"\n')
    with pytest.raises(RecipeError, match="device: nothing tells the device; give board, gpu, cpu, os or flag"):
        Profile.read(path)


def test_an_unknown_profile_is_told_which_are_shipped():
    with pytest.raises(EdgeskinError, match=r"Shipped: android, .*x86_cpu\. Did you mean raspberry_pi_5\?"):
        Profile.find("raspberrypi5")
