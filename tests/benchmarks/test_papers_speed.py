"""benchmarks/peers/papers: its networks are the papers' in what can be counted, and its table is what was measured."""

import json
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from scripts import loaded

torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

ROOT = Path(__file__).parents[2]
SCRIPTS = ROOT / "benchmarks/peers/papers"


@pytest.fixture(scope="module")
def networks() -> Iterator[ModuleType]:
    yield from loaded("peers/papers/networks.py")


@pytest.fixture(scope="module")
def speed() -> Iterator[ModuleType]:
    yield from loaded("peers/papers/speed.py")


def parameters(module: "torch.nn.Module", *without: str) -> int:
    return sum(each.numel() for name, each in module.named_parameters() if not name.startswith(without))


def test_the_networks_have_the_parameters_that_the_papers_print(networks: ModuleType) -> None:
    with torch.device("meta"):
        base, linked, thesis = networks.JointUNet(), networks.JointUNet(links=True), networks.ThesisUNet()
    # joint_reverse_mtl_2024.txt, table 3: U-Net 10.71 M, MTL0 10.76 M, MTL4 10.90 M.
    assert round(parameters(base, "hidden", "verdict") / 1e6, 2) == 10.71
    assert parameters(base) / 1e6 == pytest.approx(10.76, abs=0.02)
    assert parameters(linked) / 1e6 == pytest.approx(10.90, abs=0.03)
    # unet_multitask_thesis.txt, tables V, VII and X: 7M, 42M and 50M.
    assert int(parameters(thesis, "classifier") / 1e6) == 7
    assert int((parameters(thesis) - parameters(thesis, "classifier")) / 1e6) == 42
    assert int(parameters(thesis) / 1e6) == 50


def test_the_thesis_network_is_cropped_as_the_original_is(networks: ModuleType) -> None:
    with torch.device("meta"):
        mask, diagnosis = networks.ThesisUNet()(torch.zeros(1, 3, 572, 572))
    assert (mask.shape, diagnosis.shape) == ((1, 1, 388, 388), (1, 3))  # Ronneberger et al. 2015, figure 1


def test_what_a_file_costs_is_what_one_counts_by_hand(networks: ModuleType, speed: ModuleType, tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    path = tmp_path / "tiny.onnx"
    built = networks.Built(
        lambda: networks.JointUNet((1, 2), 3), (networks.Shaped("image", (3, 4, 4)),), ("mask", "melanoma")
    )
    networks.write(built, path)
    row = speed.described("tiny", "onnxruntime", "fp32", [path], [path])
    # Each batch norm is a bias; level by level, then the transposed convolution, mask, hidden layer, verdict.
    weights = (27 + 9) + (18 + 36) + (18 + 9) + 8 + 2 + 6 + 6
    biases = (1 + 1) + (2 + 2) + (1 + 1) + 1 + 2 + 3 + 2
    assert row.parameters == weights + biases
    # The first and the last two convolutions at 4×4, the middle two at 2×2, whose 8 values each meet 4 taps.
    assert row.multiply_adds == (27 + 9) * 16 + (18 + 36) * 4 + 8 * 4 + (18 + 9) * 16 + 2 * 16 + 6 + 6
    assert row.inputs == ("3×4×4",)


def test_a_cascade_hands_on_what_its_networks_answer(speed: ModuleType, tmp_path: Path) -> None:
    paths = []
    for takes, gives in (("image", "mask"), ("mask", "diagnosis")):
        node = onnx.helper.make_node("Neg", [takes], [gives])
        ends = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [2]) for name in (takes, gives)]
        graph = onnx.helper.make_graph([node], takes, ends[:1], ends[1:])
        model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=10)
        paths.append(tmp_path / f"{takes}.onnx")
        onnx.save(model, paths[-1])
    chain = speed.Chain(paths)
    chain.known["image"] = np.array([1, 2], np.float32)
    chain()
    assert chain.known["diagnosis"].tolist() == [1, 2]


def test_ours_is_compared_round_by_round_and_every_network_runs_in_every_round(speed: ModuleType) -> None:
    ran: list[int] = []
    spent = speed.in_turn([lambda: ran.append(0), lambda: ran.append(1)], rounds=5)
    assert spent.shape == (2, 5)
    assert [sorted(ran[place : place + 2]) for place in range(0, len(ran), 2)] == [[0, 1]] * (speed.WARM_UP + 5)
    rows = [
        speed.Row(name, "onnxruntime", precision, ("3×4×4",), 1, 1, 1.0)
        for name, precision in (("ours", "int8"), ("theirs", "fp32"))
    ]
    # Slow moments of the machine, the third and the fourth round, slow both.
    speed.judge(rows, np.array([[1.0, 1, 10, 20, 1], [2.0, 2, 20, 40, 4]]))
    assert rows[1].p50_ms == 4
    assert rows[1].faster["onnxruntime"] == pytest.approx({"median": 2, "low": 2, "high": 3.6})
    assert rows[0].faster["onnxruntime"]["median"] == 1


def test_a_missing_network_says_how_to_make_it(speed: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(speed.EdgeskinError, match=r"unet\.onnx: no such file\. Make it with networks\.py"):
        next(speed.peers(tmp_path))


def test_the_guide_holds_the_table_of_the_figures(speed: ModuleType) -> None:
    found = json.loads((SCRIPTS / "amd-epyc-avx512-vnni-2-cores.json").read_text(encoding="utf-8"))
    guide = (ROOT / "benchmarks/README.md").read_text(encoding="utf-8")
    assert speed.table(found) in guide, "benchmarks/README.md: write there what speed.py prints of those figures"


def test_the_readme_holds_the_same_figures_rounded() -> None:
    rows = json.loads((SCRIPTS / "amd-epyc-avx512-vnni-2-cores.json").read_text(encoding="utf-8"))["rows"]
    by_name = {row["name"]: row for row in rows}
    readme = (ROOT / "README.md").read_text(encoding="utf-8")

    def rounded(value: float) -> str:
        return f"{value:.0f}" if value >= 10 else f"{value:.1f}"

    for names in (
        ("U-Net and classifier (MTL0)", "the same with joint reverse learning and CBAM (MTL4)"),
        ("the thesis's U-Net and classifier",),
        ("cascade of the next three", "cascade, DeepLabv3+ with plain convolutions"),
        ("ResNet-50 and metadata",),
        ("MobileNetV2 and metadata",),
    ):
        figures = [
            (by_name[name]["p50_ms"], by_name[name]["size_mib"], by_name[name]["faster"]["LiteRT"]["median"])
            for name in names
        ]
        cells = ["; ".join(map(rounded, column)) for column in zip(*figures, strict=True)]
        assert f"| {' | '.join(cells)} |" in readme, names
    ours = next(row for row in rows if row["engine"] == "LiteRT")
    assert f"({ours['p50_ms']:.1f} ms, {ours['size_mib']:.1f} MiB)" in readme
