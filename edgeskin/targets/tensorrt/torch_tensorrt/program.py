"""`model.pt2`: a network as `torch.export` keeps it, and a note of what it is and how its values are called.

Torch alone reads the file; what is in it needs no GPU and is for none in particular. Equal networks give equal bytes.
"""

import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

import torch
from torch.export import Dim, ExportedProgram

from edgeskin import files
from edgeskin.errors import GraphError
from edgeskin.graph.ir import Network
from edgeskin.targets.base import Artifact, Precision
from edgeskin.targets.tensorrt.torch_tensorrt import reading
from edgeskin.targets.tensorrt.torch_tensorrt.network import NetworkModule, zeros

NOTE = "edgeskin.note"
FORMAT = 1
_TRACES = ("stack_trace", "nn_module_stack", "torch_fn", "custom", "eager_input_vals", "source_fn_stack")
"""What torch notes of the code that was traced: paths and lines of this machine."""


@dataclass(frozen=True)
class Note:
    """graph_sha256, precision: of the Graph folder and as built. nodes, tensors: our names by torch's."""

    graph_sha256: str
    precision: Precision
    nodes: Mapping[str, str]
    tensors: Mapping[str, str]

    def write(self) -> str:
        """As JSON."""
        value = {"format": FORMAT, "graph_sha256": self.graph_sha256, "precision": self.precision}
        return json.dumps(value | {"nodes": dict(self.nodes), "tensors": dict(self.tensors)}, ensure_ascii=False)

    @staticmethod
    def read(content: str) -> "Note":
        """Raises: GraphError where it is no such note."""
        try:
            value = json.loads(content)
            if value["format"] != FORMAT or value["precision"] not in get_args(Precision):
                raise ValueError("words that no note of ours holds")
            nodes, tensors = ({str(a): str(b) for a, b in value[key].items()} for key in ("nodes", "tensors"))
            return Note(str(value["graph_sha256"]), value["precision"], nodes, tensors)
        except (AttributeError, KeyError, RecursionError, TypeError, ValueError) as error:
            raise GraphError("its edgeskin note is absent or damaged; export the bundle again") from error


def write(path: Path, network: Network, artifact: Artifact, facts: Mapping[str, str]) -> None:
    """Write a network's program; `artifact` says which it is.

    Raises: TargetError for a node that has no form in torch; GraphError where what was written is not the network.
    """
    with torch.no_grad():
        module = NetworkModule(network, half=artifact.precision == "fp16").eval()
        batch = tuple({0: Dim("batch")} for _ in network.inputs)
        # Two rows: torch takes a dimension of 0 or 1 for a constant.
        program = torch.export.export(module, zeros(network, 2), dynamic_shapes=batch)
    _forget_traces(program)
    note = _note(network, reading.read(program), artifact)
    content = io.BytesIO()
    torch.export.save(program, content, extra_files={**facts, NOTE: note.write()})
    files.write_bytes(path, content.getvalue())


def _forget_traces(program: ExportedProgram) -> None:
    """Without what speaks of the code and the machine that traced it."""
    for node in [*program.graph.nodes]:
        if str(node.target) == "aten._assert_tensor_metadata.default":
            program.graph.erase_node(node)
        for key in _TRACES:
            node.meta.pop(key, None)
    program.graph_module.recompile()


def _note(network: Network, found: Network, artifact: Artifact) -> Note:
    pairs = [*zip(found.nodes, network.nodes, strict=True)]
    nodes = {theirs.name: ours.name for theirs, ours in pairs}
    tensors = dict(zip(found.inputs, network.inputs, strict=True))
    for theirs, ours in pairs:
        tensors |= zip((*theirs.inputs, theirs.output), (*ours.inputs, ours.output), strict=True)
    note = Note(artifact.graph_sha256, artifact.precision, nodes, tensors)
    if _named(found, note) != network:
        raise GraphError(f"{network.outputs}: torch.export made another network of it; report this to edgeskin")
    return note


def load(path: Path) -> tuple[ExportedProgram, Note]:
    """Raises: GraphError for a file that is damaged, of another torch, or not ours."""
    if not zipfile.is_zipfile(path):
        raise GraphError(f"{path}: is no exported program of torch, or a part of one; take a fresh copy of the bundle")
    extra: dict[str, Any] = {NOTE: ""}
    try:
        program = torch.export.load(path, extra_files=extra)
    except Exception as error:  # torch raises many kinds for a damaged file
        told = next(iter(str(error).splitlines()), type(error).__name__)
        raise GraphError(
            f"{path}: torch {torch.__version__} cannot read it: {told}. Export the bundle again"
        ) from error
    try:
        return program, Note.read(extra[NOTE])
    except GraphError as error:
        raise GraphError(f"{path}: {error}") from error


def read(artifact: Artifact) -> tuple[ExportedProgram, Network]:
    """An artifact's program and the network in it, under our names.

    Raises: GraphError for a file that is damaged, not ours, or not that artifact.
    """
    program, note = load(artifact.path)
    if (note.precision, note.graph_sha256) != (artifact.precision, artifact.graph_sha256):
        raise GraphError(
            f"{artifact.path}: says that it is {note.precision} of the graph {note.graph_sha256[:12]}, not "
            f"{artifact.precision} of {artifact.graph_sha256[:12]}; take a fresh copy of the bundle, or export it again"
        )
    try:
        return program, _named(reading.read(program), note)
    except GraphError as error:
        raise GraphError(f"{artifact.path}: {error}") from error
    except (AttributeError, KeyError, IndexError, TypeError, ValueError) as error:
        raise GraphError(f"{artifact.path}: is damaged, or not ours ({error}); export the bundle again") from error


def _named(network: Network, note: Note) -> Network:
    """A network under our names instead of torch's."""
    names = note.tensors
    nodes = tuple(
        replace(
            node,
            name=note.nodes[node.name],
            inputs=tuple(names[name] for name in node.inputs),
            output=names[node.output],
        )
        for node in network.nodes
    )
    tensors = {names[name]: replace(tensor, name=names[name]) for name, tensor in network.tensors.items()}
    inputs, outputs = (tuple(names[name] for name in group) for group in (network.inputs, network.outputs))
    return Network(inputs, outputs, nodes, tensors)
