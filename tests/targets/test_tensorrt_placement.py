"""What an engine is made of, from files in the spelling of each generation.

The sentences and keys are those of NVIDIA's own files: TREx (NVIDIA/TensorRT, tools/experimental/trt-engine-explorer,
tests/inputs and trex/activations.py) and issues 3737, 4020 and 4397 of NVIDIA/TensorRT. The layers are those that an
engine of the small network could have.
"""

import json
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from edgeskin.errors import TargetError
from edgeskin.graph.folder import Graph
from edgeskin.graph.ir import Network
from edgeskin.graph.read import read
from edgeskin.targets.base import Placement
from edgeskin.targets.tensorrt.placement import EngineLayer, of, rows

INT8 = "Thirty-two wide channel vectorized row major Int8 format"
FP16 = "Channel major FP16 format where channel % 8 == 0"
FP32 = "Row major linear FP32"
UNTOLD = "N/A due to dynamic shapes"
GEMM = "sm80_xmma_gemm_i8f32_i8i32_f32_tn_n_tilesize32x32x64"
KERNEL = (
    "sm80_xmma_fprop_implicit_gemm_interleaved_i8i8_i8i32_f32_nchw_vect_c_32kcrs_vect_c_32_nchw_vect_c_32_tilesize64"
)


@dataclass(frozen=True)
class Made:
    """One layer as a test says it. reads: tensor and format, each. metadata: where it is not of the nodes."""

    nodes: tuple[str, ...]
    type: str
    reads: tuple[tuple[str, str], ...]
    writes: tuple[str, str]
    weights: str | None = None
    tactic: str = ""
    parameters: str | None = None


def conv(name: str, read: str, *, fused: tuple[str, ...] = ()) -> Made:
    return Made((name, *fused), "CaskConvolution", ((read, INT8),), (name, INT8), "Int8", KERNEL, "Convolution")


def other(name: str, kind: str, *reads: str) -> Made:
    return Made((name,), kind, tuple((each, INT8) for each in reads), (name, INT8))


ENGINE = {
    each.nodes[0]: each
    for each in (
        Made(("pixels_1_quantized",), "Reformat", (("image", FP32),), ("pixels_1", INT8), parameters="Reformat"),
        conv("encoder.stem", "pixels_1", fused=("encoder.stem_relu6",)),
        replace(conv("encoder.deep", "encoder.stem"), type="CudaDepthwiseConvolution", tactic=""),
        other("mean_1", "Reduce", "encoder.deep"),
        conv("encoder.squeeze", "mean_1"),
        conv("encoder.excite", "encoder.squeeze"),
        other("hard_sigmoid_1", "PointWiseV2", "encoder.excite"),
        other("mul_1", "ElementWise", "encoder.deep", "hard_sigmoid_1"),
        other("add_1", "kgen", "mul_1", "encoder.stem"),
        other("mean_2", "Reduce", "add_1"),
        other("resize_1", "Resize", "add_1"),
        conv("decoder.lateral", "pixels_1"),
        other("concat_1", "NoOp", "resize_1", "decoder.lateral"),
        conv("heads.mask.logits", "concat_1"),
        Made(("mask.sigmoid",), "PointWise", (("heads.mask.logits", FP32),), ("mask", FP32)),
        Made(("heads.diagnosis.logits",), "gemm", (("mean_2", "Int8"),), ("d", "Float"), None, GEMM),
        Made(("heads.melanoma.logits",), "gemm", (("mean_2", "Int8"),), ("m", "Float"), None, GEMM),
    )
}  # fmt: skip


def tensor(name: str, told: str, generation: str) -> dict[str, object]:
    common: dict[str, object] = {"Name": name, "Location": "Device", "Dimensions": [1, 32, 8, 8]}
    if generation == "11":
        word = "Int8" if told == INT8 else "Half" if told == FP16 else "Float" if told == FP32 else told
        return common | {"Format": "Format not available due to dynamic shapes", "Datatype": word}
    return common | {"Format/Datatype": told}


def layer(made: Made, generation: str) -> dict[str, object]:
    name = made.nodes[0]
    if generation == "8.5":
        acts = " + ".join(f"PWN({each})" for each in made.nodes[1:])
        name = " + ".join(filter(None, (f"{name}.weight + {name}_quantized" if made.weights else "", name, acts)))
    written: dict[str, object] = {
        "Name": name,
        "LayerType": made.type,
        "Inputs": [tensor(*each, generation) for each in made.reads],
        "Outputs": [tensor(*made.writes, generation)],
        "TacticValue": "0x00000000000003ea",
    }
    if made.parameters is not None:
        written["ParameterType"] = made.parameters
    if made.weights is not None:
        written |= {"Weights": {"Type": made.weights, "Count": 864}, "Bias": {"Type": "Float", "Count": 32}}
    if made.tactic:
        written["TacticName"] = made.tactic
    if generation != "8.5":
        mark = "\x1e" if generation == "8.6" else "\x1f"
        written |= {
            "Name": name.replace(".", "_"),
            "Metadata": mark.join(f"[ONNX Layer: {each}]" for each in made.nodes),
        }
    return written


def write(
    folder: Path, generation: str = "10.3", engine: dict[str, Made] | None = None, **changes: Made | None
) -> Path:
    """The file of an engine in a generation's spelling, some of whose layers are others or absent."""
    kept = {name: made for name, made in {**(engine or ENGINE), **changes}.items() if made is not None}
    content: dict[str, object] = {"Layers": [layer(made, generation) for made in kept.values()]}
    names = ["image", "mask", "d", "m"]
    content |= {"I/O Tensors": [{"Name": each, "IOMode": "Input"} for each in names]} if generation == "11" else {
        "Bindings": names
    }  # fmt: skip
    path = folder / "layers.json"
    path.write_text(json.dumps(content))
    return path


@pytest.fixture(scope="module")
def network(graph: Graph) -> Network:
    return read(graph.int8)


def seen(path: Path, network: Network) -> tuple[int | None, tuple[str, ...] | None]:
    found = of(path, network, "TensorRT")
    return found.integer_convolutions, found.float_operators


# --- an engine as it should be, in every generation's spelling ---


@pytest.mark.parametrize("generation", ["8.5", "8.6", "10.3", "11"])
def test_an_engine_of_integers_is_told_so(tmp_path: Path, network: Network, generation: str) -> None:
    path = write(tmp_path, generation)
    found = of(path, network, "TensorRT, Orin")
    assert replace(found, layers=()) == Placement(
        provider="TensorRT, Orin", convolutions=6, integer_convolutions=6, float_operators=()
    )
    assert [(each.name, each.type, each.precision, each.nodes) for each in found.layers] == [
        (each.name, each.type, each.precision, each.nodes) for each in rows(path)
    ]


def test_its_layers_are_rows(tmp_path: Path) -> None:
    found = {each.name: each for each in rows(write(tmp_path, "8.5"))}
    assert found[
        "encoder.stem.weight + encoder.stem_quantized + encoder.stem + PWN(encoder.stem_relu6)"
    ] == EngineLayer(
        name="encoder.stem.weight + encoder.stem_quantized + encoder.stem + PWN(encoder.stem_relu6)",
        type="CaskConvolution",
        nodes=("encoder.stem.weight", "encoder.stem_quantized", "encoder.stem", "encoder.stem_relu6"),
        weights="int8",
        kernel="int8",
        inputs=("int8",),
    )
    assert len(found) == len(ENGINE)
    assert [(each.type, each.precision) for each in found.values()][:4] == [
        ("Reformat", "fp32"),
        ("CaskConvolution", "int8"),
        ("CudaDepthwiseConvolution", "int8"),
        ("Reduce", "int8"),
    ]


@pytest.mark.parametrize("mark", ["\x1e", "\x1f", ""])
@pytest.mark.parametrize("raw", [False, True])
def test_names_in_metadata_are_read_with_any_mark_between(tmp_path: Path, mark: str, raw: bool) -> None:
    written = layer(ENGINE["encoder.stem"], "10.3") | {"Metadata": f"[ONNX Layer: a.b]{mark}[ONNX Layer: c]"}
    text = json.dumps({"Layers": [written]})
    (tmp_path / "l.json").write_text(text.replace("\\u001e", "\x1e").replace("\\u001f", "\x1f") if raw else text)
    assert rows(tmp_path / "l.json")[0].nodes == ("a.b", "c")


@pytest.mark.parametrize(
    ("name", "nodes"),
    [
        ("a || b + PWN(c)", ("a", "b", "c")),
        ("PWN(PWN(a), b)", ("a", "b")),
        ("{ForeignNode[a.b...c.d]}", ("a.b", "c.d")),
        ("w.weight + w_quantized + w + add_1", ("w.weight", "w_quantized", "w", "add_1")),
    ],
)
def test_without_metadata_the_layers_name_tells_its_nodes(tmp_path: Path, name: str, nodes: tuple[str, ...]) -> None:
    written = layer(ENGINE["encoder.stem"], "8.5") | {"Name": name}
    (tmp_path / "l.json").write_text(json.dumps({"Layers": [written]}))
    assert rows(tmp_path / "l.json")[0].nodes == nodes


FORMATS = {  # trex/activations.py
    "Four wide channel vectorized row major Int8 format": "int8",
    "Channel major INT8 format where channel == 4 and column stride % 32 == 0": "int8",
    "Row major Int8 format": "int8",
    "Thirty-two wide channel vectorized row major Int8 format.": "int8",
    "Int8": "int8",
    "Sixteen wide channel vectorized row major FP16 format": "fp16",
    "Row major linear FP16 format": "fp16",
    "Half": "fp16",
    "Row major linear BFloat16 format": "bf16",
    "BFloat16": "bf16",
    "Row major linear FP32": "fp32",
    "Channel major FP32 format where channel % 4 == 0": "fp32",
    "Row major linear FP32 format (kLINEAR)": "fp32",
    "Float": "fp32",
    "Row major linear UInt8 format": "other",
    "Row major linear Int32": "other",
    "Row major linear Int64 format": "other",
    "Row major linear BOOL": "other",
    "Row major linear FP8 format": "other",
    "N/A due to dynamic shapes": None,
    "Unknown format": None,
    "None": None,
}


@pytest.mark.parametrize("told", FORMATS)
def test_every_word_for_a_type_is_known(tmp_path: Path, told: str) -> None:
    path = write(tmp_path, engine={"a": Made(("a",), "PointWise", (("image", told),), ("a", INT8))})
    assert rows(path)[0].precision == FORMATS[told]


KERNELS = {  # of TREx's files and issue 4397, besides the last
    "sm75_xmma_fprop_implicit_gemm_interleaved_i8i8_i8i32_f32_nchw_vect_c_32kcrs_vect_c_32": "int8",
    "sm80_xmma_fprop_implicit_gemm_interleaved_i8f32_i8i32_f32_nchw_vect_c_32": "int8",
    "volta_int8x4_icudnn_int8x4_128x32_relu_xregs_medium_c32_nn_v1": "int8",
    "turing_fp16_i8816cudnn_int8_128x128_ldg16_relu_small_nt_v1": "int8",
    "sm80_xmma_gemm_f16f16_f16f16_f16_nn_n_tilesize32x32x64_stage6": "fp16",
    "sm80_xmma_gemm_f32f32_tf32f32_f32_tn_n_tilesize32x32x64_": "fp32",
    "__myl_AddCastMeanSubMulMeanAddSqrtDivMulCastMulAdd_0xf2543c36ff9f104bbb1655b0183afb47": None,
    "__myl_Fc_i8i8_": None,
    "": None,
}


@pytest.mark.parametrize("tactic", KERNELS)
def test_a_kernels_name_tells_what_it_multiplies(tmp_path: Path, tactic: str) -> None:
    path = write(tmp_path, engine={"a": Made(("a",), "gemm", (("image", UNTOLD),), ("a", INT8), None, tactic)})
    assert rows(path)[0].kernel == rows(path)[0].precision == KERNELS[tactic]


def test_a_convolution_that_pools_as_well_has_its_weights_under_another_name(tmp_path: Path) -> None:
    """As TREx's resnet-qat-residual-qgap."""
    written = layer(ENGINE["encoder.deep"], "8.5") | {"LayerType": "ConvActPool"}
    written["ConvWeights"] = written.pop("Weights")
    (tmp_path / "l.json").write_text(json.dumps({"Layers": [written, {"Name": "w", "LayerType": "wait"}]}))
    assert [each.precision for each in rows(tmp_path / "l.json")] == ["int8", None]


# --- layers that silently run in float ---


@pytest.mark.parametrize(
    ("told", "weights", "kernel"),
    [
        (FP32, "Float", ""),
        (FP16, "Half", ""),
        (FP32, "FP32", ""),
        (INT8, "Int8", "sm80_xmma_fprop_f16f16_f16f16_f16_x"),
    ],
)
@pytest.mark.parametrize("generation", ["8.5", "10.3", "11"])
def test_a_quantized_convolution_in_float_is_named(
    tmp_path: Path, network: Network, generation: str, told: str, weights: str, kernel: str
) -> None:
    slow = replace(ENGINE["encoder.deep"], reads=(("encoder.stem", told),), weights=weights, tactic=kernel)
    assert seen(write(tmp_path, generation, **{"encoder.deep": slow}), network) == (5, ("encoder.deep",))


def test_integer_weights_do_not_excuse_a_float_input(tmp_path: Path, network: Network) -> None:
    slow = replace(ENGINE["encoder.deep"], reads=(("encoder.stem", FP16),))
    assert seen(write(tmp_path, **{"encoder.deep": slow}), network) == (5, ("encoder.deep",))


@pytest.mark.parametrize("name", ["mean_1", "hard_sigmoid_1", "mul_1", "add_1", "resize_1"])
def test_any_other_operator_in_float_is_named_as_well(tmp_path: Path, network: Network, name: str) -> None:
    first, *rest = ENGINE[name].reads
    slow = replace(ENGINE[name], reads=((first[0], FP32), *rest))
    assert seen(write(tmp_path, **{name: slow}), network) == (6, (name,))


@pytest.mark.parametrize("tactic", ["", "sm80_xmma_gemm_f32f32_tf32f32_f32_tn"])
def test_a_matrix_product_in_float_is_named(tmp_path: Path, network: Network, tactic: str) -> None:
    slow = replace(ENGINE["heads.melanoma.logits"], reads=(("mean_2", "Float"),), tactic=tactic)
    assert seen(write(tmp_path, **{"heads.melanoma.logits": slow}), network) == (6, ("heads.melanoma.logits",))


def test_a_float_addend_is_the_additions_fault_and_not_that_of_the_convolution_it_is_fused_into(
    tmp_path: Path, network: Network
) -> None:
    """As TREx's mobilenet.qat: a convolution of integers that adds a residual in float16."""
    fused = replace(conv("heads.mask.logits", "concat_1", fused=("add_1",)), writes=("add_1", INT8))
    for reads in ((("concat_1", INT8), ("encoder.stem", FP16)), (("encoder.stem", FP16), ("concat_1", INT8))):
        path = write(tmp_path, **{"add_1": None, "heads.mask.logits": replace(fused, reads=reads)})
        assert seen(path, network) == (6, ("add_1",))
    whole = replace(fused, reads=(("concat_1", INT8), ("encoder.stem", INT8)))
    assert seen(write(tmp_path, **{"add_1": None, "heads.mask.logits": whole}), network) == (6, ())


def test_a_scale_that_is_a_constant_makes_no_layer_float(tmp_path: Path, network: Network) -> None:
    mixed = replace(ENGINE["add_1"], reads=(*ENGINE["add_1"].reads, ("__mye1234_dconst", "Float")))
    stored = Made(("scale",), "Constant", (), ("scale", FP32))
    assert seen(write(tmp_path, add_1=mixed), network) == (6, ())
    mixed = replace(ENGINE["add_1"], reads=(*ENGINE["add_1"].reads, ("scale", FP32)))
    assert seen(write(tmp_path, scale=stored, add_1=mixed), network) == (6, ())


def test_moving_and_reformatting_is_no_float_operator(tmp_path: Path, network: Network) -> None:
    copy = Made(("concat_1", "add_1"), "Reformat", (("resize_1", FP32),), ("c", FP32), parameters="Reformat")
    assert seen(write(tmp_path, copy=copy), network) == (6, ())


def test_what_the_network_leaves_in_float_is_no_fault(tmp_path: Path, network: Network, graph: Graph) -> None:
    floats = {
        name: replace(made, reads=tuple((each, FP32) for each, _ in made.reads), weights=made.weights and "Float")
        for name, made in ENGINE.items()
    }
    floats = {name: replace(made, tactic="") for name, made in floats.items()}
    path = write(tmp_path, engine=floats)
    found = of(path, read(graph.fp32), "TensorRT")
    assert (found.convolutions, found.integer_convolutions, found.float_operators) == (6, 0, ())
    assert seen(path, network)[0] == 0
    assert set(seen(path, network)[1] or ()) == {*ENGINE} - {"pixels_1_quantized", "concat_1", "mask.sigmoid"}


# --- what nobody tells ---


@pytest.mark.parametrize(
    "strange", [{"type": "NewConvolution"}, {"type": "Myelin"}, {"weights": None, "tactic": "", "reads": ()}]
)
def test_a_convolution_of_which_nothing_is_known_never_counts_as_integer(
    tmp_path: Path, network: Network, strange: dict[str, object]
) -> None:
    untold = replace(ENGINE["encoder.stem"], parameters=None, **strange)  # type: ignore[arg-type]
    assert seen(write(tmp_path, **{"encoder.stem": untold}), network) == (None, None)


def test_integer_inputs_alone_do_not_make_a_convolution_integer(tmp_path: Path, network: Network) -> None:
    untold = replace(ENGINE["encoder.stem"], weights=None, tactic="")
    assert seen(write(tmp_path, **{"encoder.stem": untold}), network) == (None, None)


def test_a_kernel_that_reads_integers_hides_what_a_convolution_in_it_computes_in(
    tmp_path: Path, network: Network
) -> None:
    hidden = replace(ENGINE["encoder.stem"], type="kgen", weights=None, tactic="__myl_ConvClip_0x1", parameters=None)
    assert seen(write(tmp_path, **{"encoder.stem": hidden}), network) == (None, None)


@pytest.mark.parametrize("name", ["encoder.stem", "add_1"])
def test_a_node_that_no_layer_names_is_untold(tmp_path: Path, network: Network, name: str) -> None:
    assert seen(write(tmp_path, **{name: None}), network) == (None if name == "encoder.stem" else 6, None)


def test_a_fault_that_is_told_is_named_beside_what_is_not(tmp_path: Path, network: Network) -> None:
    slow = replace(ENGINE["encoder.deep"], reads=(("encoder.stem", FP32),), weights="Float")
    path = write(tmp_path, **{"encoder.stem": None, "encoder.deep": slow})
    assert seen(path, network) == (None, ("encoder.deep",))


def test_an_engine_for_several_batches_tells_its_convolutions_by_weights_and_kernels(
    tmp_path: Path, network: Network
) -> None:
    """As `--exportLayerInfo` beside `--skipInference` writes it, without an execution context."""
    untold = {
        name: replace(made, reads=tuple((each, UNTOLD) for each, _ in made.reads), writes=(made.writes[0], UNTOLD))
        for name, made in ENGINE.items()
    }
    assert seen(write(tmp_path, engine=untold), network) == (6, None)
    slow = replace(untold["encoder.deep"], weights="Float")
    assert seen(write(tmp_path, engine=untold | {"encoder.deep": slow}), network) == (5, ("encoder.deep",))


def test_a_layer_shared_with_a_node_that_the_network_leaves_in_float_proves_nothing(
    tmp_path: Path, network: Network
) -> None:
    shared = Made(("resize_1", "mask.sigmoid"), "kgen", (("heads.mask.logits", "Float"),), ("mask", "Float"))
    assert seen(write(tmp_path, **{"resize_1": None, "mask.sigmoid": shared}), network) == (6, None)


# --- files ---


def test_layers_without_details_are_an_error_that_says_how_to_build(tmp_path: Path, network: Network) -> None:
    (tmp_path / "l.json").write_text('{"Layers": ["encoder.stem + PWN(encoder.stem_relu6)"], "Bindings": ["image"]}')
    with pytest.raises(TargetError, match=r"does not say what its layers compute in.*--profilingVerbosity=detailed"):
        of(tmp_path / "l.json", network, "TensorRT")
    (tmp_path / "l.json").write_text('{"Layers": []}')
    with pytest.raises(TargetError, match="--profilingVerbosity=detailed"):
        rows(tmp_path / "l.json")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "cannot be read as JSON"),
        ('{"Layers": [', "cannot be read as JSON"),
        ("[]", "is no layer information of TensorRT"),
        ('{"layers": []}', "is no layer information of TensorRT: Layers: Field required"),
        ('{"Layers": [{"Name": "a"}]}', "Layers.0.LayerType: Field required"),
        ('{"Layers": [{"Name": 1, "LayerType": "gemm"}]}', "Layers.0.Name: "),
        ('{"Layers": [{"Name": "a", "LayerType": "gemm"}, "b"]}', "Layers.1: "),
        ('{"Layers": [{"Name": "a", "LayerType": "gemm", "Inputs": [{}]}]}', "Layers.0.Inputs.0.Name: "),
    ],
)
def test_a_file_that_is_none_is_refused_in_one_line(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "l.json").write_text(text)
    with pytest.raises(TargetError, match=told) as caught:
        rows(tmp_path / "l.json")
    assert str(caught.value).endswith("Remove the engine's folder, and it is built again")
    assert "\n" not in str(caught.value)


def test_an_absent_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(TargetError, match="no such file"):
        rows(tmp_path / "l.json")
