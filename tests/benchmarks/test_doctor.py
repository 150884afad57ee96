"""What the doctor says, on folders and packages that the tests lay out."""

import importlib.metadata
from email.message import Message
from pathlib import Path

import pytest

from edgeskin import shipped
from edgeskin.benchmarks import doctor
from edgeskin.errors import EdgeskinError


@pytest.fixture
def packages(monkeypatch: pytest.MonkeyPatch) -> None:
    """edgeskin declares three extras; of what they ask for only onnx and pillow are installed."""
    metadata = Message()
    for extra in ("onnx", "train", "serve"):
        metadata["Provides-Extra"] = extra
    requirements = [
        "pillow>=11",
        "tomli>=2; python_version < '3.11'",
        "onnx>=1.18; extra == 'onnx'",
        "onnxruntime>=1.22; extra == 'onnx'",
        'torch<2.14,>=2.13; extra == "train"',
        "edgeskin[onnx]; extra == 'train'",
        "pillow; extra == 'serve'",
    ]

    def version(name: str) -> str:
        if name in {"onnx", "pillow"}:
            return "1"
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "metadata", lambda name: metadata)
    monkeypatch.setattr(importlib.metadata, "requires", lambda name: requirements)
    monkeypatch.setattr(importlib.metadata, "version", version)


@pytest.mark.usefixtures("packages")
def test_an_extra_names_what_it_lacks_through_the_extras_it_includes() -> None:
    onnx, train, serve = doctor.extras()
    assert onnx.missing == ("onnxruntime",)
    assert onnx.install == "pip install 'edgeskin[onnx]'"
    assert train.missing == ("onnxruntime", "torch")
    assert (serve.name, serve.missing) == ("serve", ())


def test_folders_are_looked_at_and_nothing_is_made(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("EDGESKIN_DATA", str(tmp_path / "absent"))
    monkeypatch.setenv("EDGESKIN_RUNS", str(tmp_path / "a" / "runs"))
    found = doctor.examine()
    assert (found.data, found.data_exists) == (str(tmp_path / "absent"), False)
    assert found.runs == str(tmp_path / "a" / "runs")
    assert found.runs_free_mib is not None
    assert list(tmp_path.iterdir()) == []


def test_a_variable_that_names_no_tensorrt_is_said_in_its_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGESKIN_TENSORRT", "nonsense")
    states = {state.name: state for state in doctor.examine().targets}
    assert states["tensorrt"].missing == (
        "EDGESKIN_TENSORRT=nonsense is none that edgeskin knows: bindings, trtexec, rtx"
    )
    assert "nonsense" not in (states["onnx"].missing or "")


def test_every_shipped_release_is_told() -> None:
    found = doctor.examine()
    assert found.release is not None
    assert Path(found.release).name in found.releases
    assert all((shipped.folder("release") / name / "model.json").is_file() for name in found.releases)


def test_a_checkout_without_a_release_says_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent() -> Path:
        raise EdgeskinError("no release is shipped")

    monkeypatch.setattr(shipped, "default_release", absent)
    assert doctor.examine().release is None
