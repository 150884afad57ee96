"""What every command shares: how mistakes are told, exit codes, and what may be loaded."""

import logging
import subprocess
import sys
from pathlib import Path

import pytest

import edgeskin as package
from edgeskin import cli
from edgeskin.contract import bundle as bundles
from edgeskin.errors import BundleError, RecipeError

COMMANDS = (
    "describe",
    "train",
    "export",
    "evaluate",
    "benchmark",
    "compare",
    "debug",
    "gate",
    "attest",
    "verify",
    "sign",
    "inspect",
    "release",
    "predict",
    "doctor",
)


def test_the_version_is_that_of_the_package(edgeskin) -> None:
    assert edgeskin("--version") == (0, f"edgeskin {package.__version__}\n", "")


def test_no_command_is_a_usage_error_that_shows_the_help(edgeskin) -> None:
    done = edgeskin()
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("Usage: edgeskin")


def test_help_names_every_command_and_every_exit_code(edgeskin) -> None:
    done = edgeskin("--help")
    assert done.code == 0
    assert all(f"\n  {command} " in done.out for command in COMMANDS)
    assert "..." not in done.out.partition("Commands:")[2], "a summary is too long for one line"
    words = " ".join(done.out.split())
    assert "Exit codes: 0 passed, 1 error, 2 usage, 3 gate failed, 4 pending on a device, 130 interrupted." in words


@pytest.mark.parametrize("command", [*COMMANDS[:-1], "data check"])
def test_the_help_of_a_command_explains_its_exit_codes(edgeskin, command: str) -> None:
    done = edgeskin(*command.split(), "--help")
    assert done.code == 0
    assert "Exit codes: 0 " in done.out


def test_quiet_holds_for_the_librarys_warnings_until_the_command_is_done(
    edgeskin, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    def attest(*_: object, **__: object) -> None:
        logging.getLogger("edgeskin.targets").warning("an engine is built")
        raise BundleError("no bundle")

    monkeypatch.setattr("edgeskin.export.attest.attest", attest)
    assert edgeskin("attest", tmp_path, "--quiet") == (1, "", "error: no bundle\n")
    assert caplog.messages == []
    edgeskin("attest", tmp_path)
    assert caplog.messages == ["an engine is built"]


def test_a_misspelt_command_and_option_come_with_the_nearest(edgeskin) -> None:
    done = edgeskin("exprot", "--target", "onnx")
    assert (done.code, done.out) == (2, "")
    assert done.err.splitlines()[:2] == ["error: No such command 'exprot'.", "tip: a similar command exists: export"]
    done = edgeskin("export", "--taget", "onnx")
    assert (done.code, done.out) == (2, "")
    assert done.err.splitlines() == [
        "error: No such option: --taget",
        "tip: a similar option exists: --target",
        "Usage: edgeskin export [OPTIONS]",
        "Help: edgeskin export --help",
    ]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("export",), "error: Missing option '--target'."),
        (("verify",), "error: Missing argument"),
        (("benchmark", "bundle", "--threads", "0"), "error: Invalid value for '--threads'"),
        (("data",), "error: Missing command."),
    ],
)
def test_a_command_line_that_cannot_be_is_a_usage_error(edgeskin, words: tuple[str, ...], said: str) -> None:
    done = edgeskin(*words)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith(said)
    assert "Usage: edgeskin" in done.err


def test_a_mistake_is_told_without_a_traceback_line_by_line(edgeskin, monkeypatch: pytest.MonkeyPatch) -> None:
    def of(error: Exception) -> str:
        def fail(folder: Path) -> tuple[str, ...]:
            raise error

        monkeypatch.setattr(bundles, "verify", fail)
        done = edgeskin("verify", "bundle")
        assert (done.code, done.out) == (1, "")
        return done.err

    assert of(BundleError("b: changed")) == "error: b: changed\n"
    assert of(RecipeError("r.toml", ["one", "two"])) == "error: r.toml: one\nerror: r.toml: two\n"
    assert of(BundleError("b: two things:\n  one\n  two")) == "error: b: two things:\n  one\n  two\n"


def test_a_mistake_of_ours_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def bug(folder: Path) -> tuple[str, ...]:
        return (str(1 // 0),)

    monkeypatch.setattr(bundles, "verify", bug)
    with pytest.raises(ZeroDivisionError):
        cli.main(["verify", "bundle"])


def test_an_interruption_is_130(edgeskin, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(folder: Path) -> tuple[str, ...]:
        raise KeyboardInterrupt

    monkeypatch.setattr(bundles, "verify", interrupted)
    assert edgeskin("verify", "bundle") == (130, "", "interrupted\n")


def test_help_loads_nothing_that_takes_time() -> None:
    code = (
        "import sys\nfrom edgeskin import cli\ntry: cli.main(['--help'])\nexcept SystemExit: pass\n"
        "print(sorted({'numpy', 'cv2', 'PIL', 'pydantic', 'rich', 'onnx', 'torch'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_a_reader_that_leaves_early_leaves_no_traceback() -> None:
    code = "from edgeskin.cli import main; import typer, edgeskin.cli.doctor as d; main(['doctor', '--json'])"
    running = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert running.stdout is not None
    assert running.stderr is not None
    running.stdout.close()
    errors = running.stderr.read()
    running.stderr.close()
    assert (running.wait(), errors) == (1, b"")
