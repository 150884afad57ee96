"""Each node of a program run alone in an interpreter, on values of somebody else's."""

import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from edgeskin.graph.ir import Network, Node
from edgeskin.targets.tflite.program import Program, compact
from edgeskin.targets.tflite.serialize import serialize

Values = Mapping[str, npt.NDArray[np.generic]]


def cut(program: Program, owner: str) -> Program:
    """The part of a program that carries out one node; what it reads of others becomes its inputs."""
    operations = [each for each in program.operations if each.owner == owner]
    written = {index for each in operations for index in each.outputs}
    read = dict.fromkeys(index for each in operations for index in each.inputs if index >= 0)
    tensors = program.tensors
    inputs = {tensors[i].name: i for i in read if i not in written and tensors[i].data is None}
    output = operations[-1].outputs[0]
    return compact(
        replace(program, operations=tuple(operations), inputs=inputs, outputs={tensors[output].name: output})
    )


def interpret(program: Program, feeds: Values, *, plain: bool) -> dict[str, npt.NDArray[np.generic]]:
    """Run a program, image by image, on values [N, C, H, W]; a name with `:quantized` is an input's integers."""
    kind = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES if plain else OpResolverType.AUTO
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "alone.tflite"
        path.write_bytes(serialize(program, "test"))
        interpreter = Interpreter(model_path=str(path), num_threads=1, experimental_op_resolver_type=kind)
        runner = interpreter.get_signature_runner()
    found: dict[str, list[npt.NDArray[np.generic]]] = {}
    count = len(next(iter(feeds.values())))
    for row in range(count):
        given = {name: nhwc(feeds[name.removesuffix(":quantized")][row : row + 1]) for name in program.inputs}
        for name, value in runner(**given).items():
            found.setdefault(name, []).append(nchw(value))
    return {name: np.concatenate(rows) for name, rows in found.items()}


def nhwc(value: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
    return np.ascontiguousarray(value.transpose(0, 2, 3, 1) if value.ndim == 4 else value)


def nchw(value: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
    return np.ascontiguousarray(value.transpose(0, 3, 1, 2) if value.ndim == 4 else value)


def run_alone(
    program: Program, network: Network, node: Node, values: Values, *, plain: bool
) -> npt.NDArray[np.generic]:
    """What a node's operators make of the values of its operands."""
    return interpret(cut(program, node.name), values, plain=plain)[network.result(node).name]
