"""What edgeskin notes in its own file beside the program: which graph it is, and whose node each operator carries out.

The format has no names for operators. What they compute is read from them; only their names are read from here.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from edgeskin.errors import GraphError
from edgeskin.targets.base import IMAGE, Precision
from edgeskin.targets.tflite.program import Operation, Program

ENTRY = "edgeskin"
"""The name of the entry in the file's table of metadata."""
FORMAT = 1


@dataclass(frozen=True)
class Tail:
    """What stands behind an output of integer logits, for an app to compute: `sigmoid` or `softmax` over the last axis.

    node: the network's name for it; place: its own among the network's nodes.
    """

    output: str
    node: str
    kind: str
    place: int


@dataclass(frozen=True)
class Note:
    """graph_sha256, precision: of the Graph folder and as built. owners: the node behind each operator, in order.

    tails: of the outputs that end at their logits, in the network's order.
    """

    graph_sha256: str
    precision: Precision
    owners: tuple[str, ...]
    tails: tuple[Tail, ...] = ()

    def write(self) -> bytes:
        """As JSON; a node that takes several operators is named once, with their number."""
        runs: list[list[str | int]] = []
        for owner in self.owners:
            if runs and runs[-1][0] == owner:
                runs[-1][1] = int(runs[-1][1]) + 1
            else:
                runs.append([owner, 1])
        value = {
            "format": FORMAT,
            "graph_sha256": self.graph_sha256,
            "precision": self.precision,
            "nodes": runs,
            "tails": [[tail.output, tail.node, tail.kind, tail.place] for tail in self.tails],
        }
        return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()

    @staticmethod
    def read(content: bytes) -> "Note":
        """Raises: GraphError where it is not such a note."""
        try:
            value = json.loads(content)
            if value["format"] != FORMAT:
                raise GraphError(f"its note is of format {value['format']!r}, this edgeskin reads format {FORMAT}")
            owners = tuple(str(name) for name, count in value["nodes"] for _ in range(int(count)))
            tails = tuple(Tail(str(a), str(b), str(c), int(d)) for a, b, c, d in value["tails"])
            if value["precision"] not in get_args(Precision) or not {tail.kind for tail in tails} <= {
                "sigmoid",
                "softmax",
            }:
                raise ValueError("words that no note of ours holds")
            return Note(str(value["graph_sha256"]), value["precision"], owners, tails)
        except (KeyError, RecursionError, TypeError, ValueError) as error:
            raise GraphError("its edgeskin note is damaged; copy or export the file again") from error


def of(program: Program, path: Path) -> Note:
    """What edgeskin noted in a file. Raises: GraphError for a file of another converter."""
    if ENTRY not in program.notes:
        raise GraphError(f"{path}: was not written by edgeskin; `edgeskin inspect` shows what is in it")
    try:
        found = Note.read(program.notes[ENTRY])
    except GraphError as error:
        raise GraphError(f"{path}: {error}") from error
    logits = {name for name, place in program.outputs.items() if program.tensors[place].kind == "int8"}
    if IMAGE not in program.inputs or logits != {tail.output for tail in found.tails}:
        raise GraphError(f"{path}: its note and its inputs and outputs speak of different networks; export it again")
    return found


def owners(operations: tuple[Operation, ...]) -> tuple[str, ...]:
    """The node behind each operator."""
    return tuple(operation.owner for operation in operations)
