"""Workflows and the action are what GitHub takes, call commands that exist, and let through only what they say."""

import json
import os
import re
import shlex
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from test_docs import parse

from edgeskin import shipped
from edgeskin.benchmarks.gate import Gate
from edgeskin.targets import BY_NAME_ALONE, TARGETS

yaml = pytest.importorskip("yaml", reason="PyYAML is not installed")

BASH = shutil.which("bash")
ROOT = Path(__file__).parents[1]
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
ACTION = ROOT / ".github/actions/edgeskin-gate/action.yml"
FILES = [*WORKFLOWS, ACTION]
IDS = [path.relative_to(ROOT / ".github").as_posix() for path in FILES]


def steps(path: Path) -> Iterator[dict[str, Any]]:
    """Every step of a workflow or an action."""
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    jobs = content["jobs"].values() if "jobs" in content else (content["runs"],)
    for job in jobs:
        yield from job["steps"]


@pytest.mark.parametrize("path", FILES, ids=IDS)
def test_github_takes_it(path: Path) -> None:
    checker = shutil.which("check-jsonschema", path=str(Path(sys.executable).parent)) or shutil.which(
        "check-jsonschema"
    )
    if checker is None:
        pytest.skip("check-jsonschema is not installed")
    schema = "vendor.github-actions" if path == ACTION else "vendor.github-workflows"
    done = subprocess.run([checker, "--builtin-schema", schema, str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("path", WORKFLOWS, ids=[path.name for path in WORKFLOWS])
def test_a_workflow_may_read_and_no_more(path: Path) -> None:
    assert yaml.safe_load(path.read_text(encoding="utf-8"))["permissions"] == {"contents": "read"}


@pytest.mark.parametrize("path", FILES, ids=IDS)
def test_other_peoples_actions_are_pinned_by_major_version_and_ours_are_there(path: Path) -> None:
    used = [step["uses"] for step in steps(path) if "uses" in step]
    assert used
    for name in used:
        if name.startswith("./"):
            assert (ROOT / name / "action.yml").is_file()
        else:
            assert re.fullmatch(r"actions/[a-z-]+@v\d+", name)


@pytest.mark.parametrize("path", FILES, ids=IDS)
def test_no_input_is_pasted_into_a_shell(path: Path) -> None:
    assert [step["run"] for step in steps(path) if "${{" in step.get("run", "")] == []


@pytest.mark.parametrize("path", FILES, ids=IDS)
def test_every_input_of_the_action_is_one_that_it_has(path: Path) -> None:
    inputs = yaml.safe_load(ACTION.read_text(encoding="utf-8"))["inputs"]
    for step in steps(path):
        if step.get("uses") == "./.github/actions/edgeskin-gate":
            assert set(step["with"]) <= set(inputs)
    assert set(re.findall(r"inputs\.([a-z-]+)", ACTION.read_text(encoding="utf-8"))) == set(inputs)


def test_every_command_parses() -> None:
    runs = [step["run"] for path in FILES for step in steps(path) if "run" in step]
    lines = [found for run in runs for found in re.findall(r"\bedgeskin ([a-z]+ [^|&\n]*[^|&\n ])", run)]
    commands = [shlex.split(line) for line in lines if "{" not in line and ")" not in line]
    assert {"attest", "gate", "compare"} <= {command[0] for command in commands}
    for command in commands:
        parse(command)


def test_the_matrix_has_every_target_and_release_and_says_which_stay_pending() -> None:
    content = yaml.safe_load((ROOT / ".github/workflows/export.yml").read_text(encoding="utf-8"))
    rows = content["jobs"]["linux"]["strategy"]["matrix"]["include"]
    assert {row["target"] for row in rows} == set(TARGETS) - BY_NAME_ALONE
    for row in rows:
        assert row["state"] == ("pending" if row["target"] in {"coreml", "tensorrt"} else "passed")
    on_a_mac = content["jobs"]["coreml-on-a-mac"]["steps"]
    assert not any("accept-pending" in step.get("with", {}) for step in on_a_mac)
    graphs = {(ROOT / row["graph"]).name if "graph" in row else shipped.default_release().name for row in rows}
    assert graphs == set(shipped.releases())
    for row in rows:
        if "gate" in row:
            Gate.find(row["gate"])
    kept = [ROOT / "benchmarks/baselines" / f"{row['baseline']}.json" for row in rows if "baseline" in row]
    assert kept
    assert all(path.is_file() for path in kept)


@pytest.mark.skipif(BASH is None, reason="bash is not installed")
@pytest.mark.parametrize("path", FILES, ids=IDS)
def test_every_shell_step_parses(path: Path) -> None:
    for step in steps(path):
        if "run" in step:
            done = subprocess.run([BASH, "-n", "-c", step["run"]], capture_output=True, text=True, check=False)
            assert done.returncode == 0, f"{step['run']}\n{done.stderr}"


# --- the action, run as a runner does ---


@dataclass(frozen=True)
class Step:
    """How a step ended. called: the arguments of every call of edgeskin."""

    code: int
    out: str
    outputs: dict[str, str]
    summary: str
    called: list[list[str]]


Judge: TypeAlias = Callable[..., Step]


@dataclass(frozen=True)
class Runner:
    """Runs a shell step of the action as GitHub's runner does, with a stand-in for edgeskin."""

    folder: Path

    def run(self, name: str, code: int, variables: dict[str, str]) -> Step:
        """code: how edgeskin ends."""
        (step,) = (step for step in steps(ACTION) if step.get("name") == name)
        assert set(variables) == set(step["env"])
        calls, output, summary = (self.folder / name for name in ("calls", "output", "summary"))
        for path in (calls, output, summary):
            path.write_text("")
        stand_in = self.folder / "bin" / "edgeskin"
        stand_in.parent.mkdir(exist_ok=True)
        stand_in.write_text(
            f"#!{sys.executable}\nimport json, sys\nopen({str(calls)!r}, 'a').write(json.dumps(sys.argv[1:]) + '\\n')\n"
            f"print('said by edgeskin')\nsys.exit({code})\n"
        )
        stand_in.chmod(stand_in.stat().st_mode | stat.S_IXUSR)
        path = f"{stand_in.parent}{os.pathsep}{os.environ['PATH']}"
        done = subprocess.run(
            [str(BASH), "--noprofile", "--norc", "-e", "-o", "pipefail", "-c", step["run"]],
            env={
                "PATH": path,
                "GITHUB_ACTION_PATH": str(ACTION.parent),
                "GITHUB_OUTPUT": str(output),
                "GITHUB_STEP_SUMMARY": str(summary),
            }
            | variables,
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
        )
        outputs = dict(line.split("=", 1) for line in output.read_text().splitlines())
        called = [json.loads(line) for line in calls.read_text().splitlines()]
        return Step(done.returncode, done.stdout + done.stderr, outputs, summary.read_text(), called)


@pytest.fixture
def runner(tmp_path: Path) -> Runner:
    if BASH is None:
        pytest.skip("bash is not installed")
    return Runner(tmp_path)


@pytest.fixture
def judge(runner: Runner) -> Judge:
    """`judge(exit_code, target="onnx")` runs the step that judges, with these inputs of the action."""
    action = yaml.safe_load(ACTION.read_text(encoding="utf-8"))
    (step,) = (step for step in action["runs"]["steps"] if step.get("name") == "Judge")

    def run(code: int, **given: str) -> Step:
        inputs = {name: one["default"] for name, one in action["inputs"].items()}
        inputs |= {name.replace("_", "-"): value for name, value in given.items()}
        assert len(inputs) == len(action["inputs"])
        words = {
            name: re.sub(r"\$\{\{ inputs\.([a-z-]+) \}\}", lambda found: inputs[found[1]], value)
            for name, value in step["env"].items()
        }
        return runner.run("Judge", code, words)

    return run


@pytest.mark.parametrize(
    ("code", "accept", "ends", "state"),
    [
        (0, "false", 0, "passed"),
        (0, "true", 0, "passed"),
        (4, "false", 4, "pending"),
        (4, "true", 0, "pending"),
        (3, "false", 3, "failed"),
        (3, "true", 3, "failed"),
        (1, "true", 1, "error"),
        (2, "true", 2, "error"),
        (130, "true", 130, "error"),
    ],
)
def test_only_what_is_pending_is_let_through_and_only_where_asked(
    judge: Judge, code: int, accept: str, ends: int, state: str
) -> None:
    done = judge(code, target="coreml", accept_pending=accept)
    assert (done.code, done.outputs["state"], done.outputs["exit-code"]) == (ends, state, str(code))
    assert ("::notice" in done.out) == (code == 4 and accept == "true")


def test_what_is_given_is_handed_on_and_nothing_else(judge: Judge) -> None:
    done = judge(
        0, target="tflite", graph="ours/a graph", profile="android", gate="g.toml", data="d", options="--precision fp16"
    )
    where = "bundles/a-graph-tflite-precision-fp16"  # two graphs of one workflow have two reports
    options = [
        "--profile",
        "android",
        "--gate",
        "g.toml",
        "--from",
        "ours/a graph",
        "--data",
        "d",
        "--precision",
        "fp16",
    ]
    assert done.called == [["export", "--target", "tflite", *options, "--out", where]]
    parse(done.called[0])
    assert (done.outputs["bundle"], done.outputs["name"]) == (where, where.removeprefix("bundles/"))
    assert judge(0, target="onnx").called == [["export", "--target", "onnx", "--out", "bundles/onnx"]]


def test_a_finished_bundle_is_judged_again(judge: Judge) -> None:
    done = judge(3, bundle="our bundle", gate="ours.toml", accept_pending="true")
    assert done.called == [["gate", "our bundle", "--gate", "ours.toml"]]
    parse(done.called[0])
    assert (done.code, done.outputs["bundle"]) == (3, "our bundle")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "give a bundle, or a target"),
        ({"bundle": "b", "target": "onnx"}, "give a bundle, or what one is made of"),
        ({"bundle": "b", "data": "d"}, "give a bundle, or what one is made of"),
        ({"target": "all"}, "judge one target a step"),
        ({"target": "onnx", "accept_pending": "yes"}, "accept-pending is 'yes': write true or false"),
        ({"target": "onnx", "accept_pending": ""}, "write true or false"),
    ],
)
def test_a_wrong_input_is_an_error_before_anything_runs(judge: Judge, given: dict[str, str], said: str) -> None:
    done = judge(0, **given)
    assert (done.code, done.called, done.outputs) == (2, [], {})
    assert f"::error title=edgeskin-gate::{said}" in done.out or said in done.out


def test_an_input_is_data_and_never_a_command(judge: Judge, tmp_path: Path) -> None:
    done = judge(0, bundle='$(touch harm)"; touch harm; #')
    assert done.called == [["gate", '$(touch harm)"; touch harm; #']]
    assert not (tmp_path / "harm").exists()


@pytest.mark.parametrize("code", [0, 1, 3])
def test_a_comparison_ends_as_edgeskin_did_and_stands_in_the_summary(runner: Runner, code: int) -> None:
    done = runner.run("Compare", code, {"BASELINE": "a baseline", "BUNDLE": "bundles/onnx"})
    assert (done.code, done.called) == (code, [["compare", "a baseline", "bundles/onnx"]])
    assert done.summary == "said by edgeskin\n"


@pytest.mark.parametrize(
    ("target", "extras", "asked"),
    [
        ("", "", ""),
        ("onnx", "", "[onnx]"),
        ("tflite", "", "[onnx,tflite]"),
        ("coreml", "", "[onnx,coreml]"),
        ("tensorrt", "", "[onnx,tensorrt-rtx]"),
        ("tensorrt", "onnx,tensorrt", "[onnx,tensorrt]"),
    ],
)
def test_what_a_target_needs_is_installed_of_the_actions_own_version(
    runner: Runner, target: str, extras: str, asked: str
) -> None:
    python = runner.folder / "bin" / "python"
    python.parent.mkdir()
    python.write_text('#!/bin/sh\nif [ "$1" = -c ]; then echo 3.11; else printf "%s\\n" "$@" > asked; fi\n')
    python.chmod(0o755)
    step = "Install the edgeskin of this action's version"
    assert runner.run(step, 0, {"TARGET": target, "EXTRAS": extras}).code == 0
    arguments = (runner.folder / "asked").read_text().splitlines()
    assert arguments[-1] == f"{ROOT}{asked}"
    assert arguments[arguments.index("-c") + 1] == str(ROOT / ".ci/constraints-3.11.txt")
