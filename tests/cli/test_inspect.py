"""`edgeskin inspect` as a user meets it."""

import json
from pathlib import Path

import pytest

from edgeskin import shipped
from edgeskin.optional import missing

onnx = pytest.importorskip("onnx", reason=str(missing("onnx")))
pytest.importorskip("onnxruntime", reason=str(missing("onnxruntime")))

NO_TORCH = missing("torch", "torchao")


@pytest.fixture
def strange(tmp_path: Path) -> Path:
    """A file with a name that commands a terminal, and an operator that nobody knows."""
    nodes = [
        onnx.helper.make_node("Relu", ["x"], ["a"], name="harmless\x1b[31m\n"),
        onnx.helper.make_node("Unheard", ["a"], ["y"], name="mystery", domain="com.example"),
    ]
    graph = onnx.helper.make_graph(
        nodes,
        "g",
        [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["N", 2])],
        [onnx.helper.make_empty_tensor_value_info("y")],
    )
    onnx.save(onnx.helper.make_model(graph), tmp_path / "strange.onnx")
    return tmp_path / "strange.onnx"


@pytest.mark.parametrize("width", [80, 140])
def test_a_table_of_operators_then_totals(edgeskin, graph: Path, width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    done = edgeskin("inspect", graph / "int8.onnx")
    assert (done.code, done.err) == (0, "")
    lines = done.out.splitlines()
    assert lines[0].startswith(f"{graph / 'int8.onnx'}: ONNX, ")
    (header,) = (line for line in lines if line.startswith("operator "))
    assert header.split() == ["operator", "kind", "output", "type", "scale", "KiB", "adds"]
    assert any(line.startswith("multiply-adds  ") and line.endswith(" % of them on integers") for line in lines)
    assert "What this does not show or know" in lines
    assert max(map(len, lines[1:])) <= width


def test_the_same_facts_as_json(edgeskin, graph: Path) -> None:
    done = edgeskin("inspect", graph / "int8.onnx", "--json")
    assert (done.code, done.err) == (0, "")
    facts = json.loads(done.out)
    assert facts["file"] == str(graph / "int8.onnx")
    assert sum(row["multiply_adds"] for row in facts["operators"]) == facts["totals"]["multiply_adds"] > 0
    assert sum(row["weight_bytes"] for row in facts["operators"]) == facts["totals"]["weight_bytes"]
    short = json.loads(edgeskin("inspect", graph / "int8.onnx", "--json", "--summary").out)
    assert "operators" not in short
    assert short["totals"] == facts["totals"]


def test_a_summary_has_no_table(edgeskin, graph: Path) -> None:
    done = edgeskin("inspect", graph / "fp32.onnx", "--summary")
    assert done.code == 0
    assert "operator " not in done.out
    assert ", 0 % of them on integers" in done.out


def test_what_is_not_known_is_said_and_no_name_commands_the_terminal(edgeskin, strange: Path) -> None:
    done = edgeskin("inspect", strange)
    assert (done.code, done.err) == (0, "")
    (row,) = (line for line in done.out.splitlines() if line.startswith("mystery"))
    assert row.split() == ["mystery", "com.example.Unheard", "?", "unknown", "?"]
    assert "multiply-adds  not known\n" in done.out
    assert "1 com.example.Unheard are not known" in done.out
    assert "\x1b" not in done.out
    assert "harmless�[31m�" in done.out


@pytest.mark.parametrize(("name", "said"), [("a.onnx", "not an ONNX file"), ("a.txt", "neither a .tflite")])
def test_what_is_no_network_is_one_sentence(edgeskin, name: str, said: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("just words\n")
    done = edgeskin("inspect", tmp_path / name)
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith(f"error: {tmp_path / name}: {said}")
    assert done.err.count("\n") == 1


def test_a_folder_and_a_missing_file_are_one_sentence(edgeskin, tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "absent.tflite"):
        done = edgeskin("inspect", path)
        assert (done.code, done.out) == (1, "")
        assert done.err.count("\n") == 1
    assert edgeskin("inspect").code == 2


def test_the_help_explains_its_exit_codes(edgeskin) -> None:
    assert "Exit codes: 0 shown, 1 error, 2 usage." in edgeskin("inspect", "--help").out


@pytest.mark.skipif(NO_TORCH is not None, reason=str(NO_TORCH))
def test_the_release_costs_what_its_recipe_is_described_to(edgeskin) -> None:
    """`edgeskin describe` counts in torch, layer by layer as they run."""
    if not (shipped.folder("release") / "default").is_file():
        pytest.skip("no release is shipped: export/release/default does not exist")
    folder = shipped.default_release()
    recipe = json.loads((folder / "model.json").read_text())["provenance"]["recipe"]
    described = json.loads(edgeskin("describe", recipe, "--json").out)["exported"]["multiply_adds"]
    for name in ("int8.onnx", "fp32.onnx"):
        facts = json.loads(edgeskin("inspect", folder / name, "--json", "--summary").out)
        assert facts["totals"]["multiply_adds"] == described
