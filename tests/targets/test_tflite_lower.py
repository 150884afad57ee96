"""What lowering refuses, by the node's name; and that lifting reads what is there, not what should be."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from edgeskin.errors import GraphError, TargetError
from edgeskin.graph.folder import Graph
from edgeskin.graph.ir import (
    Add,
    AveragePool,
    Conv,
    ConvTranspose,
    HardSigmoid,
    Linear,
    Max,
    MaxPool,
    Mean,
    Network,
    Node,
    Operator,
    Pad,
    Quantization,
    Requantize,
    Reshape,
    Sigmoid,
    Slice,
    Softmax,
    Tensor,
)
from edgeskin.graph.read import read
from edgeskin.targets.tflite.lift import lift
from edgeskin.targets.tflite.lower import lower
from edgeskin.targets.tflite.note import Note, owners
from edgeskin.targets.tflite.program import Operation, Program, Scale, Value

MAP = ("N", 4, 6, 6)


def scale(value: float) -> Quantization:
    return Quantization(np.asarray(value, np.float32))


def one_node(operator: Operator, *operands: Tensor, result: Tensor) -> Network:
    node = Node("it", operator, tuple(operand.name for operand in operands), result.name)
    names = tuple(operand.name for operand in operands if not operand.is_constant)
    return Network(names, (result.name,), (node,), {tensor.name: tensor for tensor in (*operands, result)})


def weight(shape: tuple[int, ...], value: float = 1.0) -> Tensor:
    return Tensor("w", shape, None, np.full(shape, value, np.float32))


X = Tensor("x", MAP)
PIXELS = Tensor("x", MAP, scale(1 / 128))
QUANTIZED = Tensor("x", MAP, scale(0.5))


@pytest.mark.parametrize(
    ("network", "words"),
    [
        (
            one_node(Add(), X, Tensor("c", (4, 1, 1), None, np.ones((4, 1, 1), np.float32)), result=Tensor("y", MAP)),
            r"it \(Add\): c of rank 3 meets rank 4.*export it as \[N, C, 1, 1\]",
        ),
        (
            one_node(Reshape(("N", 144)), X, result=Tensor("y", ("N", 144))),
            r"it \(Reshape\): \['N', 4, 6, 6\] to \['N', 144\] reorders values.*pool to one pixel first",
        ),
        (one_node(Softmax(3), X, result=Tensor("y", MAP)), r"it \(Softmax\): along axis 3; only along the channels"),
        (
            one_node(
                ConvTranspose((1, 1), (0, 0, 0, 0), (0, 0), (2, 1), 1),
                X,
                weight((4, 2, 2, 2)),
                result=Tensor("y", ("N", 2, 8, 7)),
            ),
            r"it \(ConvTranspose\): groups and dilations.*use neither",
        ),
        (
            one_node(AveragePool((2, 2), (2, 2), (1, 1, 0, 0)), X, result=Tensor("y", ("N", 4, 3, 3))),
            r"it \(AveragePool\): pads \(1, 1, 0, 0\) of an average are not those of SAME; pool without padding",
        ),
        (one_node(Pad((0, 0, -1, 0), 0.0), X, result=Tensor("y", ("N", 4, 5, 6))), r"it \(Pad\): .*cut off; slice"),
        (
            one_node(Pad((0, 0, 1, 0), 0.3), PIXELS, result=Tensor("y", ("N", 4, 7, 6), scale(1 / 128))),
            r"it \(Pad\): pads with 0.3, which its scale 0.0078125 does not hold",
        ),
        (
            one_node(Mean((1, 2), False), X, result=Tensor("y", ("N", 6))),
            r"it \(Mean\): over axes \(1, 2\) without keepdims.*keep the dims",
        ),
        (
            one_node(MaxPool((2, 2), (1, 1), (0, 0, 0, 0)), QUANTIZED, result=Tensor("y", ("N", 4, 5, 5), scale(0.25))),
            r"it \(MaxPool\): moves x to another scale; tie the two",
        ),
        (
            one_node(HardSigmoid(), QUANTIZED, result=Tensor("y", MAP, scale(0.03125))),
            r"it \(HardSigmoid\): its scale 0.03125 reaches beyond 1; a gate has 1/128",
        ),
        (
            one_node(
                Linear(),
                Tensor("m", ("N", 2)),
                Tensor("w", (1, 2), Quantization(np.ones(1, np.float32), 0), np.ones((1, 2), np.int8)),
                result=Tensor("y", ("N", 1)),
            ),
            r"it \(Linear\): reads float32, but its weight w is int8; quantize both",
        ),
        (one_node(Slice(1, 0, 4), X, result=Tensor("y", MAP)), r"it \(Slice\): takes the whole of its input; leave"),
        (one_node(Requantize(), X, result=Tensor("y", MAP)), r"it \(Requantize\): changes nothing"),
    ],
    ids=lambda value: value.nodes[0].kind if isinstance(value, Network) else "",
)  # fmt: skip
def test_what_the_format_has_no_words_for_is_refused_by_name(network: Network, words: str) -> None:
    with pytest.raises(TargetError, match=words):
        lower(network)


def test_a_constant_that_two_layers_need_in_two_forms_is_refused() -> None:
    shared, result = weight((4, 4, 1, 1)), Tensor("y", MAP)
    plain = Conv((1, 1), (0, 0, 0, 0), (1, 1), 1)
    nodes = (
        Node("first", plain, ("x", "w"), "y"),
        Node("second", ConvTranspose((1, 1), (0, 0, 0, 0), (0, 0), (1, 1), 1), ("y", "w"), "z"),
    )
    different = replace(shared, data=np.arange(16, dtype=np.float32).reshape(4, 4, 1, 1))
    tensors = {tensor.name: tensor for tensor in (X, different, result, Tensor("z", MAP))}
    with pytest.raises(TargetError, match="second: reads w in another form than a node before it; untie the two"):
        lower(Network(("x",), ("z",), nodes, tensors))


def test_a_weight_beyond_float16_is_refused_only_where_it_is_stored_so() -> None:
    network = one_node(Linear(), Tensor("m", ("N", 2)), weight((1, 2), 70000.0), result=Tensor("y", ("N", 1)))
    lower(network)
    with pytest.raises(TargetError, match=r"it \(Linear\): w holds 70000, beyond float16; build it as fp32"):
        lower(network, half=True)


def test_raw_outputs_are_refused_where_there_are_no_integer_logits() -> None:
    floating = one_node(Sigmoid(), X, result=Tensor("y", MAP))
    with pytest.raises(TargetError, match="y: its logits are kept in float; export it without raw outputs"):
        lower(floating, raw_outputs=True)
    other = one_node(Max((1,), True), X, result=Tensor("y", ("N", 1, 6, 6)))
    with pytest.raises(TargetError, match="y: does not end in a sigmoid or softmax"):
        lower(other, raw_outputs=True)


# --- lifting reads what is there ---


def change_operation(kind: str, **options: object) -> Callable[[Program], Program]:
    """The first operator of that kind with other options."""

    def change(program: Program) -> Program:
        place = next(index for index, each in enumerate(program.operations) if each.kind == kind)
        each = program.operations[place]
        assert any(each.options[name] != value for name, value in options.items())
        return with_operation(program, place, replace(each, options={**each.options, **options}))

    return change


def with_operation(program: Program, place: int, operation: Operation) -> Program:
    return replace(program, operations=(*program.operations[:place], operation, *program.operations[place + 1 :]))


def change_value(name: str, change: Callable[[Value], Value]) -> Callable[[Program], Program]:
    """One tensor changed, by the end of its name."""

    def changed(program: Program) -> Program:
        place = next(index for index, each in enumerate(program.tensors) if each.name.endswith(name))
        return replace(
            program,
            tensors=(*program.tensors[:place], change(program.tensors[place]), *program.tensors[place + 1 :]),
        )

    return changed


def one_more(value: Value) -> Value:
    assert value.data is not None
    data = value.data.copy()
    data.reshape(-1)[0] += 1
    return replace(value, data=data)


def wider(value: Value) -> Value:
    assert value.scale is not None
    return replace(value, scale=replace(value.scale, steps=value.scale.steps * np.float32(1.01)))


def swapped(kind: str) -> Callable[[Program], Program]:
    def change(program: Program) -> Program:
        place = next(index for index, each in enumerate(program.operations) if each.kind == kind)
        each = program.operations[place]
        return with_operation(program, place, replace(each, inputs=each.inputs[::-1]))

    return change


CHANGES: dict[str, Callable[[Program], Program]] = {
    "a weight": change_value("encoder.stem.weight", one_more),
    "a weight's scale": change_value("encoder.stem.weight", wider),
    "a bias": change_value("encoder.stem.bias", one_more),
    "a bias's scale": change_value("encoder.stem.bias", wider),
    "an activation's scale": change_value("encoder.stem", wider),
    "the pixels' scale": change_value("image", wider),
    "a zero point": change_value("encoder.stem", lambda value: replace(value, scale=Scale(value.scale.steps, 3))),
    "a stride": change_operation("CONV_2D", StrideW=1),
    "an activation": change_operation("CONV_2D", FusedActivationFunction=0),
    "half-pixel centres": change_operation("RESIZE_BILINEAR", HalfPixelCenters=False),
    "aligned corners": change_operation("RESIZE_BILINEAR", AlignCorners=True),
    "kept dimensions": change_operation("MEAN", KeepDims=False),
    "a softmax's steepness": change_operation("SOFTMAX", Beta=2.0),
    "a concatenation's axis": change_operation("CONCATENATION", Axis=2),
    "the order of a concatenation": swapped("CONCATENATION"),
    "a gate's sixth": change_value(":sixth", one_more),
    "a gate's half": change_value(":half", one_more),
    "the size": change_value("resize_1:size", one_more),
}  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_program_is_another_network_or_none(graph: Graph, change: str) -> None:
    network = read(graph.int8)
    program = lower(network)
    said = Note("", "int8", owners(program.operations))
    assert lift(program, said) == network
    changed = CHANGES[change](program)
    try:
        assert lift(changed, said) != network
    except GraphError as error:
        assert str(error)


def test_pads_that_are_not_those_of_same_are_read_from_the_file() -> None:
    network = one_node(
        Conv((2, 2), (1, 1, 1, 1), (1, 1), 1), X, weight((2, 4, 3, 3)), result=Tensor("y", ("N", 2, 3, 3))
    )
    program = lower(network)
    assert [each.kind for each in program.operations] == ["PAD", "CONV_2D"]
    said = Note("", "fp32", owners(program.operations))
    assert lift(program, said) == network
    (node,) = lift(change_value(":pads", lambda value: replace(value, data=value.data[::-1]))(program), said).nodes
    assert node.operator == Conv((2, 2), (1, 1, 1, 1), (1, 1), 1)  # the same on both sides: nothing is changed by that
    lopsided = change_value(":pads", lambda value: replace(value, data=np.int32([[0, 0], [1, 0], [1, 2], [0, 0]])))
    (node,) = lift(lopsided(program), said).nodes
    assert node.operator == Conv((2, 2), (1, 1, 0, 2), (1, 1), 1)
    with pytest.raises(GraphError, match="it: pads batch or channels"):
        lift(change_value(":pads", one_more)(program), said)


def test_an_operator_under_a_wrong_name_is_no_form_of_ours(graph: Graph) -> None:
    program = lower(read(graph.int8))
    names = list(owners(program.operations))
    names[2] = names[1]
    wrong = replace(
        program,
        operations=tuple(replace(each, owner=name) for each, name in zip(program.operations, names, strict=True)),
    )
    with pytest.raises(GraphError, match=r"is no form that edgeskin writes; export the file again"):
        lift(wrong, Note("", "int8", tuple(names)))


def test_a_layer_kept_in_float_is_an_island_between_integers(graph: Graph) -> None:
    network = read(graph.int8)
    kept = network.tensors["encoder.deep.weight"]
    island = replace(
        network, tensors={**network.tensors, kept.name: replace(kept, quantization=None, data=kept.real())}
    )
    program = lower(island)
    kinds = [each.kind for each in program.operations if each.owner == "encoder.deep"]
    assert kinds[0] == "DEQUANTIZE"
    assert kinds[-1] == "QUANTIZE"
    assert isinstance(next(node for node in network.nodes if node.name == "encoder.deep").operator, Conv)
    assert lift(program, Note("", "int8", owners(program.operations))) == island
