"""Engines as caches: found, built, damaged, of another machine, wanted twice at once. A stand-in builds them."""

import json
import os
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from edgeskin.errors import TargetError
from edgeskin.targets.tensorrt import cache
from edgeskin.targets.tensorrt.cache import engine_for
from edgeskin.targets.tensorrt.generations import TRTEXEC
from edgeskin.targets.tensorrt.runtime import NAMELESS, Built, Gpu

ORIN = Gpu("Orin", (8, 7), "R36.4.3", 7620.0)


@dataclass
class StandIn:
    """Builds an engine of a few bytes. asked: the batch and the timing cache of each build, as they were then."""

    gpu: Gpu = ORIN
    name: str = "TensorRT 10.3.0"
    content: bytes = b"an engine"
    generation: object = TRTEXEC[2]
    asked: list[tuple[int, bytes | None]] = field(default_factory=list)
    fails: bool = False
    begun: threading.Event = field(default_factory=threading.Event)
    goes_on: threading.Event | None = None

    def build(self, onnx, card, precision, folder, *, largest_batch=8, timing_cache=None):  # type: ignore[no-untyped-def]
        self.asked.append((largest_batch, timing_cache.read_bytes() if timing_cache.exists() else None))
        self.begun.set()
        if self.goes_on is not None:
            assert self.goes_on.wait(10)
        timing_cache.write_bytes(b"timed %d" % len(self.asked))
        (folder / "some.plan").write_bytes(self.content)
        if self.fails:
            raise TargetError("out of memory")
        (folder / "some.json").write_text('{"Layers": []}')
        return Built(folder / "some.plan", folder / "some.json")


@dataclass
class Made:
    """As much of a deploy folder as is asked for."""

    file: Path
    graph: object = field(default_factory=lambda: SimpleNamespace(card=None))
    recipe: object = field(default_factory=lambda: SimpleNamespace(largest_batch=4))

    def onnx(self, generation, precision):  # type: ignore[no-untyped-def]
        return self.file


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Made:
    monkeypatch.setenv("EDGESKIN_CACHE", str(tmp_path / "cache"))
    (tmp_path / "int8.onnx").write_bytes(b"a network")
    return Made(tmp_path / "int8.onnx")


def kept(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


# --- found or built ---


def test_an_engine_is_built_once_and_found_from_then_on(made: Made) -> None:
    runtime, said = StandIn(), []
    first = engine_for(runtime, made, "int8", say=said.append)
    second = engine_for(runtime, made, "int8", say=said.append)
    assert first == second
    assert first.engine.read_bytes() == b"an engine"
    assert first.layers.read_text() == '{"Layers": []}'
    assert runtime.asked == [(4, None)]
    assert said == ["int8.onnx: no engine of it was built here yet. TensorRT 10.3.0 builds one for Orin"]


def test_its_key_is_in_words_beside_it(made: Made) -> None:
    note = json.loads((engine_for(StandIn(), made, "int8").engine.parent / "key.json").read_text())
    assert note["key"] | {"onnx_sha256": ""} == {
        "format": 2,
        "gpu": "Orin",
        "capability": [8, 7],
        "driver": "R36.4.3",
        "tensorrt": "TensorRT 10.3.0",
        "onnx_sha256": "",
        "precision": "int8",
        "largest_batch": 4,
    }
    assert note["engine_bytes"] == 9


OTHERS = {
    "GPU Orin instead of Xavier": StandIn(gpu=replace(ORIN, name="Xavier")),
    "compute capability 8.7 instead of 7.2": StandIn(gpu=replace(ORIN, capability=(7, 2))),
    "driver R36.4.3 instead of unknown": StandIn(gpu=replace(ORIN, driver=None)),
    "builder TensorRT 10.3.0 instead of TensorRT 10.7.0": StandIn(name="TensorRT 10.7.0"),
}


@pytest.mark.parametrize("difference", OTHERS)
def test_an_engine_of_another_machine_is_not_used_and_what_differs_is_said(made: Made, difference: str) -> None:
    said: list[str] = []
    old = engine_for(StandIn(), made, "int8")
    new = engine_for(replace(OTHERS[difference], content=b"another"), made, "int8", say=said.append)
    assert new.engine.read_bytes() == b"another"
    assert f": {difference}. " in said[0]
    # A GPU that was put in may be taken out again; a driver or a TensorRT that was updated is no more.
    assert old.engine.exists() == difference.startswith(("GPU", "compute capability"))


def test_the_nearest_engine_is_the_one_that_is_spoken_of(made: Made) -> None:
    said: list[str] = []
    engine_for(StandIn(gpu=replace(ORIN, name="Xavier", capability=(7, 2))), made, "int8")
    engine_for(StandIn(name="TensorRT 10.7.0"), made, "int8")
    engine_for(StandIn(), made, "int8", say=said.append)
    assert said[0].startswith(
        "int8.onnx: the engine that is here is for another use: builder TensorRT 10.7.0 instead of TensorRT 10.3.0. "
    )


def test_the_memory_of_the_gpu_decides_nothing(made: Made) -> None:
    runtime = StandIn()
    engine_for(runtime, made, "int8")
    assert engine_for(StandIn(gpu=replace(ORIN, memory_mib=None), fails=True), made, "int8").engine.is_file()


def test_another_network_precision_or_batch_is_another_engine(made: Made) -> None:
    runtime = StandIn()
    folders = {engine_for(runtime, made, "int8").engine.parent}
    folders.add(engine_for(runtime, made, "fp32").engine.parent)
    folders.add(engine_for(runtime, replace(made, recipe=SimpleNamespace(largest_batch=1)), "int8").engine.parent)
    made.file.write_bytes(b"another network")
    said: list[str] = []
    folders.add(engine_for(runtime, made, "int8", say=said.append).engine.parent)
    assert len(folders) == len(runtime.asked) == 4
    assert "no engine of it was built here yet" in said[0]


# --- damage ---


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-3])


def flip(path: Path) -> None:
    path.write_bytes(bytes([path.read_bytes()[0] ^ 1]) + path.read_bytes()[1:])


DAMAGE = {
    "is truncated: 6 of 9 bytes are there": ("engine.plan", cut),
    "was changed after it was built": ("engine.plan", flip),
    " was changed after it was built": ("layers.json", flip),
    "is not whole": ("engine.plan", Path.unlink),
    " is not whole": ("layers.json", Path.unlink),
    "does not say what its engine is for": ("key.json", Path.unlink),
    " does not say what its engine is for": ("key.json", cut),
}


@pytest.mark.parametrize("problem", DAMAGE)
def test_a_damaged_engine_is_built_again_and_why_is_said(made: Made, problem: str) -> None:
    name, damage = DAMAGE[problem]
    runtime, said = StandIn(), []
    whole = kept(engine_for(runtime, made, "int8").engine.parent)
    damage(engine_for(runtime, made, "int8").engine.parent / name)
    again = engine_for(runtime, made, "int8", say=said.append)
    assert problem in said[0]
    assert kept(again.engine.parent) == whole
    assert len(runtime.asked) == 2


def test_a_folder_that_holds_the_engine_of_another_key_is_not_believed(made: Made) -> None:
    said: list[str] = []
    other = engine_for(StandIn(gpu=replace(ORIN, name="Xavier"), content=b"another"), made, "int8").engine.parent
    mine = engine_for(StandIn(), made, "int8").engine.parent
    for path in other.iterdir():
        (mine / path.name).write_bytes(path.read_bytes())
    assert engine_for(StandIn(), made, "int8", say=said.append).engine.read_bytes() == b"an engine"
    assert "does not say what its engine is for" in said[0]


# --- what is kept ---


def test_an_engine_takes_the_place_of_those_of_an_older_driver_or_tensorrt_alone(made: Made) -> None:
    def built(runtime: StandIn, precision: str = "int8") -> Path:
        return engine_for(runtime, made, precision).engine  # type: ignore[arg-type]

    others = [
        built(StandIn(), "fp32"),
        built(StandIn(gpu=replace(ORIN, name="Xavier"))),
        built(StandIn(name="trtexec of TensorRT 10.3.0")),
        built(StandIn(name="TensorRT-RTX 1.7.1")),
    ]
    old = built(StandIn())
    with pytest.raises(TargetError):
        built(StandIn(name="TensorRT 10.7.0", fails=True))
    assert old.is_file()
    new = built(StandIn(name="TensorRT 10.7.0", gpu=replace(ORIN, driver="R36.5")))
    assert not old.parent.exists()
    assert all(engine.is_file() for engine in [*others, new])


def test_what_a_stopped_build_left_is_removed_a_day_later(made: Made, tmp_path: Path) -> None:
    (root := tmp_path / "cache" / "tensorrt").mkdir(parents=True)
    for name in (".timing-abc", ".0123.4567.part", ".0123.4567.old"):
        for age_s in (3600, 25 * 3600):
            (left := root / name.replace("4567", str(age_s)).replace("abc", str(age_s))).mkdir()
            (left / "engine.plan").write_bytes(b"half")
            os.utime(left, (time.time() - age_s,) * 2)
    engine_for(StandIn(), made, "int8")
    assert {path.name for path in root.glob(".*")} == {".timing-3600", ".0123.3600.part", ".0123.3600.old"}


def test_an_engine_for_a_gpu_without_a_name_is_not_kept(made: Made, tmp_path: Path) -> None:
    cache._of_this_process.cache_clear()
    unknown = StandIn(gpu=Gpu(NAMELESS, None, None, None))
    said: list[str] = []
    first = engine_for(unknown, made, "int8", say=said.append)
    assert said[0].endswith(f"builds one for {NAMELESS}, and it is not kept for the next time")
    assert engine_for(unknown, made, "int8") == first
    assert len(unknown.asked) == 1
    assert not (tmp_path / "cache").exists()
    script = (
        "from edgeskin.targets.tensorrt import cache\n"
        "(place := cache._of_this_process()).joinpath('engine.plan').write_bytes(b'engine')\n"
        "print(place)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert not Path(done.stdout.strip()).exists()
    assert Path(done.stdout.strip()) != first.engine.parents[1]


# --- while it is built ---


def test_a_build_that_fails_leaves_no_engine_and_no_timing(made: Made, tmp_path: Path) -> None:
    with pytest.raises(TargetError, match="out of memory"):
        engine_for(StandIn(fails=True), made, "int8")
    assert [path.suffix for path in (tmp_path / "cache" / "tensorrt").iterdir()] == [".lock"]


def test_one_timing_cache_serves_all_builds_of_a_machine(made: Made) -> None:
    runtime = StandIn()
    engine_for(runtime, made, "int8")
    engine_for(runtime, made, "fp32")
    assert [timing for _, timing in runtime.asked] == [None, b"timed 1"]
    other = StandIn(name="TensorRT 10.7.0")
    engine_for(other, made, "int8")
    assert [timing for _, timing in other.asked] == [None]


def test_whoever_wants_the_same_engine_waits_for_it(made: Made) -> None:
    runtime = StandIn(goes_on=threading.Event())
    said: list[str] = []
    found: list[Built] = []
    first = threading.Thread(target=lambda: found.append(engine_for(runtime, made, "int8")))
    first.start()
    assert runtime.begun.wait(10)

    def hear(sentence: str) -> None:
        said.append(sentence)
        runtime.goes_on.set()  # type: ignore[union-attr]

    found.append(engine_for(runtime, made, "int8", say=hear))
    first.join(10)
    assert said == ["another process builds this engine; waiting for it"]
    assert len(runtime.asked) == 1
    assert found[0] == found[1]


# --- where ---


def test_engines_are_kept_in_the_users_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("EDGESKIN_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache.folder() == tmp_path / "edgeskin" / "tensorrt"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.delenv("LOCALAPPDATA", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache.folder() == tmp_path / ".cache" / "edgeskin" / "tensorrt"


def test_a_user_without_a_home_is_told_to_name_a_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("EDGESKIN_CACHE", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    with pytest.raises(TargetError, match="Set EDGESKIN_CACHE to a folder"):
        cache.folder()


def test_an_intact_engine_is_used_where_nothing_may_be_written(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime = StandIn()
    built = engine_for(runtime, made, "int8")
    root = tmp_path / "cache" / "tensorrt"
    (root / f"{built.engine.parent.name}.lock").unlink()
    before = kept(root)

    def refused(self: Path, *_: object, **__: object) -> None:  # as root, whom no mode stops, would not be
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "mkdir", refused)
    assert engine_for(runtime, made, "int8") == built
    assert kept(root) == before
    assert len(runtime.asked) == 1


def test_a_cache_that_cannot_be_written_to_is_an_error_that_says_what_to_set(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("EDGESKIN_CACHE", str(tmp_path / "file"))
    with pytest.raises(TargetError, match=r"engines cannot be kept there: .*\. Set EDGESKIN_CACHE to a folder"):
        engine_for(StandIn(), made, "int8")
