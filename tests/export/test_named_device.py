"""A bundle for one device: built anywhere, its figures waited for, and those of another machine not taken for them."""

import shutil
from pathlib import Path

import pytest
from small_graphs import GATE

from edgeskin.benchmarks import device
from edgeskin.benchmarks.measurements import DeviceFacts
from edgeskin.export import journey
from edgeskin.export.attest import attest
from edgeskin.export.profile import Profile
from edgeskin.graph.folder import Graph

PROFILE = """name = "board"
description = "A board that no test runs on."
target = "onnx"
gate = "{gate}"
threads = {threads}
may_be_pending = {pending}
[device]
name = "a Board 7"
board = "Board 7"
[budget.latency_p90_ms]
at_most = 100000
source = "a day has more"
"""
WAITING = '["latency", "memory", "placement"]'


@pytest.fixture
def board(tmp_path: Path) -> Path:
    """The profile of a board that may wait."""
    return profile(tmp_path)


def profile(folder: Path, threads: int = 1, pending: str = WAITING) -> Path:
    (folder / "board_gate.toml").write_text(GATE + "integer_convolutions_min = 0.5\n")
    path = folder / "board.toml"
    path.write_text(PROFILE.format(gate=folder / "board_gate.toml", threads=threads, pending=pending))
    return path


def on_the_board(patch: pytest.MonkeyPatch) -> None:
    """Attest as the board would, from here on."""
    facts = DeviceFacts(cpu="Board 7 Rev 2", cores=4, os="Linux", python="3.11")
    patch.setattr(device, "facts", lambda: facts)


def test_a_bundle_for_a_board_waits_for_it_and_says_how(small_graph: Graph, tmp_path: Path) -> None:
    chosen = Profile.find(str(profile(tmp_path, threads=2)))
    done = journey.export(small_graph, chosen, tmp_path / "bundle")
    assert done.verdict.exit_code == 4, [promise.sentence for promise in done.verdict.in_state("failed")]
    waiting = {promise.name: promise.sentence for promise in done.verdict.in_state("pending")}
    assert set(waiting) == {"latency_p90_ms", "peak_memory_mib", "integer_convolutions"}
    assert "not on a Board 7. There: edgeskin attest BUNDLE" in waiting["latency_p90_ms"]
    assert waiting["latency_p90_ms"].startswith("not measured, and must be at most 100000 (a day has more): only on ")
    # What was measured here stands in the report all the same, beside the machine.
    assert done.report.measurements.memory is not None
    assert done.report.measurements.verified == "device"
    assert ("Attest", f"edgeskin attest {tmp_path / 'bundle'} --threads 2") in done.report.next_commands


def test_where_the_profile_cannot_wait_another_machine_fails_the_bundle(small_graph: Graph, tmp_path: Path) -> None:
    chosen = Profile.find(str(profile(tmp_path, pending="[]")))
    assert journey.export(small_graph, chosen, tmp_path / "bundle").verdict.exit_code == 3


def test_a_finished_bundle_is_judged_for_a_board_by_what_the_board_attests(
    bundle: Path, board: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy, rules = Path(shutil.copytree(bundle, tmp_path / "copy")), str(tmp_path / "board_gate.toml")

    def judged() -> int:
        return journey.judge(copy, rules=rules, profile=str(board)).verdict.exit_code

    assert journey.judge(copy).verdict.exit_code == 0
    assert judged() == 4
    attest(copy, name="laptop")
    assert judged() == 4
    on_the_board(monkeypatch)
    attest(copy, name="board", threads=2)
    assert judged() == 4  # its latency is that of other threads
    attest(copy, name="board")
    assert judged() == 0


def test_latency_at_other_threads_than_those_of_the_profile_that_judges_does_not_count(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = profile(tmp_path, threads=2)
    path.write_text(path.read_text().replace('[device]\nname = "a Board 7"\nboard = "Board 7"\n', ""))
    (promise,) = journey.judge(bundle, rules=str(tmp_path / "board_gate.toml"), profile=str(path)).verdict.in_state(
        "pending"
    )
    assert promise.name == "latency_p90_ms"
    assert "--threads 2" in promise.sentence


def test_attest_takes_the_threads_of_a_shipped_profile(small_graph: Graph, tmp_path: Path) -> None:
    pytest.importorskip("ai_edge_litert")
    done = journey.export(small_graph, Profile.find("raspberry_pi_5"), tmp_path / "bundle")
    assert {figure.threads for figure in attest(done.folder, name="here").measurements.latency} == {4}
