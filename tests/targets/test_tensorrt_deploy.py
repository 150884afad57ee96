"""The deploy folder: whole, equal for equal inputs, and a script that a board's shell runs."""

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from metadata_graphs import SPEC, write_metadata_graph
from raw_graphs import pixels, run

from edgeskin import files
from edgeskin.contract import bundle as bundles
from edgeskin.errors import ContractError, GraphError, TargetError
from edgeskin.graph.folder import Graph
from edgeskin.graph.load import load
from edgeskin.targets.tensorrt import ahead, deploy
from edgeskin.targets.tensorrt.deploy import Deploy
from edgeskin.targets.tensorrt.generations import RTX, TRTEXEC, Generation
from edgeskin.targets.tensorrt.runtime.inputs import PRECISIONS

each_generation = pytest.mark.parametrize("generation", TRTEXEC, ids=lambda each: each.name)


@pytest.fixture(scope="module")
def whole(graph: Graph, tmp_path_factory: pytest.TempPathFactory) -> Graph:
    """A Graph folder with golden cases, evidence and a checkpoint."""
    folder = tmp_path_factory.mktemp("whole") / "graph"
    shutil.copytree(graph.folder, folder)
    (folder / "golden" / "inputs").mkdir(parents=True)
    (folder / "golden" / "inputs" / "00.png").write_bytes(b"a photo")
    (folder / "golden" / "golden.json").write_text("{}")
    (folder / "evidence.json").write_text("[]")
    (folder / "checkpoint.safetensors").write_bytes(b"large")
    return Graph.open(folder)


@pytest.fixture
def made(whole: Graph, tmp_path: Path) -> Deploy:
    return deploy.write(whole, tmp_path / "deploy")


def test_it_is_a_graph_folder_of_the_same_network_without_the_checkpoint(made: Deploy, whole: Graph) -> None:
    assert made.graph.sha256 == whole.sha256 == made.recipe.graph_sha256
    assert sorted(each.name for each in made.folder.iterdir()) == [
        "build.sh",
        "evidence.json",
        "fp16.onnx",
        "fp16.opset17.onnx",
        "fp32.onnx",
        "fp32.opset17.onnx",
        "golden",
        "int8.onnx",
        "int8.opset17.onnx",
        "model.json",
        "recipe.json",
    ]
    assert files.sha256(made.graph.golden) == files.sha256(whole.golden)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_both_spellings_compute_the_same(precision: str, made: Deploy) -> None:
    image = pixels(size=32, count=2)
    newer = run(load(made.folder / f"{precision}.onnx"), {"image": image})
    older = run(load(made.folder / f"{precision}.opset17.onnx"), {"image": image.astype(np.float32)})
    for one, other in zip(newer, older, strict=True):
        np.testing.assert_array_equal(one, other)


@each_generation
@pytest.mark.parametrize("precision", PRECISIONS)
def test_every_generation_has_a_line_with_a_file_of_its_opset(
    generation: Generation, precision: "deploy.Precision", made: Deploy
) -> None:
    line = made.line(generation, precision)
    path = made.onnx(generation, precision)
    assert line.opset == generation.opset == onnx.load(path).opset_import[0].version
    assert line.options[0] == f"--onnx={path.name}"
    assert f"--saveEngine={line.engine}" in line.options
    assert "--maxShapes=image:8x3x32x32" in line.options


@each_generation
def test_float16_is_a_flag_where_there_are_flags_and_a_file_where_there_are_none(
    generation: Generation, made: Deploy
) -> None:
    model, options = load(made.onnx(generation, "fp16")), made.line(generation, "fp16").options
    kinds = {each.data_type for each in model.graph.initializer if each.name.endswith((".weight", ".bias"))}
    flags = generation.typing == "flags"
    assert kinds == {onnx.TensorProto.FLOAT if flags else onnx.TensorProto.FLOAT16}
    assert ("--fp16" in options) == flags


def test_tensorrt_rtx_builds_the_newest_files(made: Deploy) -> None:
    assert [made.onnx(RTX, precision).name for precision in PRECISIONS] == ["int8.onnx", "fp16.onnx", "fp32.onnx"]


def test_tensorrt_rtx_has_no_line(made: Deploy) -> None:
    with pytest.raises(GraphError, match=r"recipe\.json: no line for TensorRT RTX 1 in int8"):
        made.line(RTX, "int8")


def test_equal_inputs_give_equal_bytes(made: Deploy, whole: Graph, tmp_path: Path) -> None:
    other = deploy.write(whole, tmp_path / "other")
    assert files.sha256(made.folder) == files.sha256(other.folder)
    larger = deploy.write(whole, tmp_path / "larger", largest_batch=16)
    assert files.sha256(made.folder) != files.sha256(larger.folder)


def test_made_of_a_deploy_folder_it_is_that_folder_with_its_engines_ahead_of_time(
    made: Deploy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is written anew: what NVIDIA's parser read is what goes on."""
    onnx = made.folder / "int8.onnx"
    ahead.engine_of(onnx).write_bytes(b"engine")
    note = ahead.Note(
        tensorrt="1.7.1",
        gpus=("ada",),
        largest_batch=8,
        onnx_sha256=files.sha256(onnx),
        engine_sha256=files.sha256(ahead.engine_of(onnx)),
        build_seconds=1.0,
    )
    files.write_json(ahead.note_of(onnx), note.model_dump(mode="json"))
    whole = files.sha256(made.folder)
    (made.folder / "int8.tensorrt-8.5.plan").write_bytes(b"what build.sh made")
    monkeypatch.setattr(deploy, "write_onnx", None)
    again = deploy.write(Graph.open(made.folder), tmp_path / "again")
    assert files.sha256(again.folder) == whole
    assert os.access(again.folder / "build.sh", os.X_OK)
    ahead.engine_of(onnx).write_bytes(b"other")
    with pytest.raises(TargetError, match=r"int8\.tensorrt-rtx\.engine: is missing or was changed"):
        deploy.write(Graph.open(made.folder), tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_for_other_batches_a_deploy_folder_is_made_anew(made: Deploy, whole: Graph, tmp_path: Path) -> None:
    again = deploy.write(made.graph, tmp_path / "again", largest_batch=16)
    assert again.recipe == deploy.write(whole, tmp_path / "first", largest_batch=16).recipe


def test_a_deploy_folder_that_was_changed_is_not_made_into_another(made: Deploy, tmp_path: Path) -> None:
    append("int8.opset17.onnx")(made.folder)
    with pytest.raises(GraphError, match=r"int8\.opset17\.onnx was changed\. Make the deploy folder again"):
        deploy.write(made.graph, tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_no_golden_cases_no_deploy_folder(graph: Graph, tmp_path: Path) -> None:
    with pytest.raises(GraphError, match=r"golden: no such folder\. Export the run again"):
        deploy.write(graph, tmp_path / "deploy")
    assert not (tmp_path / "deploy").exists()


def edited(whole: Graph, tmp_path: Path, name: str, change: Callable[[onnx.ModelProto], None]) -> Graph:
    """The Graph folder again, with one network changed."""
    shutil.copytree(whole.folder, tmp_path / "graph")
    model = load(whole.folder / name)
    change(model)
    onnx.save(model, tmp_path / "graph" / name)
    return Graph.open(tmp_path / "graph")


def test_a_file_that_breaks_a_rule_of_tensorrt_is_not_deployed(whole: Graph, tmp_path: Path) -> None:
    """Opset 25 is one more than TensorRT 10.15 reads; the contract leaves the opset of fp32.onnx open."""

    def newer(model: onnx.ModelProto) -> None:
        model.opset_import[0].version = 25
        model.ir_version = 13

    changed = edited(whole, tmp_path, "fp32.onnx", newer)
    with pytest.raises(ContractError, match=r"graph/fp32\.onnx: is not for TensorRT 10\.15:\n  opset: .*up to 24"):
        deploy.write(changed, tmp_path / "deploy")
    assert not (tmp_path / "deploy").exists()


def test_a_network_that_breaks_the_contract_is_not_deployed(whole: Graph, tmp_path: Path) -> None:
    def odd_scale(model: onnx.ModelProto) -> None:
        stored = next(each for each in model.graph.initializer if each.name == "encoder.stem_scale")
        stored.CopyFrom(onnx.numpy_helper.from_array(np.asarray(1 / 3, np.float32), stored.name))

    with pytest.raises(ContractError, match=r"graph/int8\.onnx breaks the QAT contract:(?s:.*)scales-fp16"):
        deploy.write(edited(whole, tmp_path, "int8.onnx", odd_scale), tmp_path / "deploy")


def test_a_network_with_metadata_is_deployed_with_both_inputs(tmp_path: Path) -> None:
    write_metadata_graph(tmp_path / "graph")
    made = deploy.write(Graph.open(tmp_path / "graph"), tmp_path / "deploy")
    assert all(f"--maxShapes=image:8x3x32x32,metadata:8x{SPEC.width}" in line.options for line in made.recipe.lines)


# --- read back ---


def test_what_a_board_adds_is_left_alone(made: Deploy) -> None:
    (made.folder / "int8.tensorrt-8.5.plan").write_bytes(b"engine")
    assert deploy.read(made.folder) == made


def test_evidence_that_was_added_goes_on(made: Deploy, tmp_path: Path) -> None:
    """`edgeskin evaluate` adds to what a Graph folder has."""
    (made.folder / "evidence.json").write_text("[{}]")
    again = deploy.write(made.graph, tmp_path / "again")
    assert again.graph.evidence.read_text() == "[{}]"


def append(name: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        (folder / name).write_bytes((folder / name).read_bytes() + b" ")

    return change


def set_in_recipe(**values: object) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        recipe = json.loads((folder / "recipe.json").read_text())
        (folder / "recipe.json").write_text(json.dumps(recipe | values))

    return change


def drop_a_hash(folder: Path) -> None:
    recipe = json.loads((folder / "recipe.json").read_text())
    del recipe["files"]["int8.opset17.onnx"]
    (folder / "recipe.json").write_text(json.dumps(recipe))


DAMAGE: dict[str, tuple[Callable[[Path], None], str]] = {
    "a network was changed": (append("int8.onnx"), "int8.onnx was changed"),
    "the script was changed": (append("build.sh"), "build.sh was changed"),
    "a golden case was changed": (append("golden/inputs/00.png"), "golden was changed"),
    "a golden case is missing": (lambda folder: (folder / "golden/inputs/00.png").unlink(), "golden was changed"),
    "a network is missing": (lambda folder: (folder / "fp32.opset17.onnx").unlink(), "fp32.opset17.onnx is missing"),
    "all golden cases are missing": (lambda folder: shutil.rmtree(folder / "golden"), "golden is missing"),
    "the recipe is missing": (lambda folder: (folder / "recipe.json").unlink(), r"recipe\.json: no such file"),
    "the recipe is no JSON": (lambda folder: (folder / "recipe.json").write_text("{"), "cannot be read as JSON"),
    "the recipe is newer": (set_in_recipe(format=2), "format 2, this edgeskin reads format 1"),
    "the recipe lacks a key": (set_in_recipe(lines=[{}]), r"recipe\.json: lines\.0\.generation: Field required"),
    "the recipe is another network's": (set_in_recipe(graph_sha256="0" * 64), "speaks of another network"),
    "the recipe lacks a hash": (drop_a_hash, r"has lines for int8\.opset17\.onnx, but not their hashes"),
}


@pytest.mark.parametrize("what", DAMAGE)
def test_damage_is_an_error_that_says(what: str, made: Deploy) -> None:
    change, told = DAMAGE[what]
    change(made.folder)
    with pytest.raises(GraphError, match=rf"{told}.*Make the deploy folder again"):
        deploy.read(made.folder)


# --- the script ---


def boards(tmp_path: Path, banner: str, code: int = 0) -> dict[str, str]:
    """The environment of a board whose trtexec says `banner`, and keeps each argument on a line of its own."""
    (tools := tmp_path / "bin").mkdir()
    (tools / "trtexec").write_text(
        f'#!/bin/sh\necho "{banner} # $*"\n[ "$1" = --help ] && exit 0\n'
        f'printf "%s\\n" "$@" > "{tmp_path}/arguments"\npwd >> "{tmp_path}/arguments"\nexit {code}\n'
    )
    (tools / "trtexec").chmod(0o755)
    return {"PATH": f"{tools}{os.pathsep}{os.defpath}"}


def build(made: Deploy, environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["/bin/sh", str(made.folder / "build.sh"), *arguments],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("number", "name"),
    # As trtexec prints versions: NV_TENSORRT_VERSION in NvInferVersion.h.
    [("8502", "8.5"), ("8601", "8.6"), ("100300", "10.0"), ("101600", "10.15"), ("110401", "11.0")],
)
@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_script_runs_the_line_for_the_tensorrt_that_is_there(
    number: str, name: str, precision: "deploy.Precision", made: Deploy, tmp_path: Path
) -> None:
    done = build(made, boards(tmp_path, f"&&&& RUNNING TensorRT.trtexec [TensorRT v{number}]"), precision)
    assert done.returncode == 0, done.stderr
    generation = next(each for each in TRTEXEC if each.name == name)
    line = made.line(generation, precision)
    assert (tmp_path / "arguments").read_text().splitlines() == [*line.options, str(made.folder)]
    assert f"built {line.engine}, which nobody has run" in done.stdout
    assert f"edgeskin export --from '{made.folder}' --target tensorrt\nIt builds an engine of its own" in done.stdout


def test_the_script_can_be_told_the_version(made: Deploy, tmp_path: Path) -> None:
    done = build(made, boards(tmp_path, "without a word"), "int8", "8.5.2-1+cuda11.4")
    assert done.returncode == 0, done.stderr
    assert "built int8.tensorrt-8.5.plan, " in done.stdout


def test_the_script_asks_dpkg_where_trtexec_does_not_say(made: Deploy, tmp_path: Path) -> None:
    environment = boards(tmp_path, "without a word")
    (tmp_path / "bin" / "dpkg-query").write_text("#!/bin/sh\necho 10.3.0.30-1+cuda12.5\nexit 1\n")
    (tmp_path / "bin" / "dpkg-query").chmod(0o755)
    done = build(made, environment, "fp32")
    assert done.returncode == 0, done.stderr
    assert "built fp32.tensorrt-10.0.plan, " in done.stdout


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("int8", "8.4.1"), "TensorRT 8.4.1 is none that this folder has a line for: 8.5 to below 8.6, "),
        (("int8", "9.2"), "TensorRT 9.2 is none that this folder has a line for"),
        (("int8", "latest"), "cannot tell which TensorRT this is ('latest'). Say it: sh build.sh int8 8.5.2"),
        (("int8", "8.x"), "cannot tell which TensorRT this is ('8.x')"),
        (("int8", "10"), "cannot tell which TensorRT this is ('10')"),
        (("int8", "-.5"), "cannot tell which TensorRT this is ('-.5')"),
        (("int8",), "cannot tell which TensorRT this is ('')"),
        (("w8a16", "8.5"), "cannot build 'w8a16'; choose one of int8|fp16|fp32"),
    ],
)
def test_the_script_refuses(arguments: tuple[str, ...], told: str, made: Deploy, tmp_path: Path) -> None:
    done = build(made, boards(tmp_path, "without a word"), *arguments)
    assert done.returncode == 1
    assert f"build.sh: {told}" in done.stderr
    assert not (tmp_path / "arguments").exists()


def test_the_script_says_so_where_trtexec_fails(made: Deploy, tmp_path: Path) -> None:
    done = build(made, boards(tmp_path, "[TensorRT v8502]", code=3))
    assert done.returncode == 1
    assert "trtexec failed; its last lines say why" in done.stderr
    assert "built" not in done.stdout


def test_the_script_says_where_it_looked_for_trtexec(made: Deploy) -> None:
    done = build(made, {"PATH": os.defpath})
    assert done.returncode == 1
    assert "no trtexec on the PATH, nor at /usr/src/tensorrt/bin/trtexec" in done.stderr


def test_in_a_bundle_the_script_builds_nothing_and_says_how_to_copy_it_out(whole: Graph, tmp_path: Path) -> None:
    """An engine beside the files that a manifest lists would break the bundle."""
    bundle = tmp_path / "the bundle"
    made = deploy.write(whole, bundle / "deploy")
    bundles.write_manifest(
        bundle, artifact="deploy/int8.onnx", target="tensorrt", precision="int8", graph_sha256="0" * 64
    )
    environment = boards(tmp_path, "[TensorRT v8502]")
    done = build(made, environment)
    assert done.returncode == 1
    assert bundles.verify(bundle) == ()
    command = done.stderr.partition("Copy it out and build there: ")[2]
    assert command.startswith(f"cp -r '{made.folder}' DIR && ")
    subprocess.run(command.replace("DIR", str(tmp_path / "out")), shell=True, check=True, env=environment)
    assert (tmp_path / "arguments").read_text().splitlines()[-1] == str(tmp_path / "out")
    assert bundles.verify(bundle) == ()


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="shellcheck is not installed")
def test_the_script_is_clean_to_shellcheck(made: Deploy) -> None:
    done = subprocess.run(["shellcheck", str(made.folder / "build.sh")], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
