"""What edgeskin notes in its own package: which graph it is, how it computes, and what its values are called there.

What the operators compute is read from them; only names are read from here.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import get_args

from edgeskin.errors import GraphError
from edgeskin.targets.base import IMAGE, Compute, Precision
from edgeskin.targets.coreml.program import Program

ENTRY = "edgeskin.note"
"""The key of the entry in the model's own metadata."""
FORMAT = 1


@dataclass(frozen=True)
class Note:
    """graph_sha256, precision: of the Graph folder and as built. compute: the float between operators.

    nodes: the node behind the value that it ends in. tensors: names of those whose identifier is another.
    """

    graph_sha256: str
    precision: Precision
    compute: Compute
    nodes: Mapping[str, str]
    tensors: Mapping[str, str]

    def tensor(self, identifier: str) -> str:
        """The network's name of a value."""
        return self.tensors.get(identifier, identifier)

    def write(self) -> str:
        """As JSON."""
        value = {
            "format": FORMAT,
            "graph_sha256": self.graph_sha256,
            "precision": self.precision,
            "compute": self.compute,
            "nodes": dict(self.nodes),
            "tensors": dict(self.tensors),
        }
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"))

    @staticmethod
    def read(content: str) -> "Note":
        """Raises: GraphError where it is not such a note."""
        try:
            value = json.loads(content)
            if value["format"] != FORMAT:
                raise GraphError(f"its note is of format {value['format']!r}, this edgeskin reads format {FORMAT}")
            if value["precision"] not in get_args(Precision) or value["compute"] not in get_args(Compute):
                raise ValueError("words that no note of ours holds")
            nodes, tensors = ({str(a): str(b) for a, b in value[key].items()} for key in ("nodes", "tensors"))
            return Note(str(value["graph_sha256"]), value["precision"], value["compute"], nodes, tensors)
        except (AttributeError, KeyError, RecursionError, TypeError, ValueError) as error:
            raise GraphError("its edgeskin note is damaged; copy or export the package again") from error


def of(program: Program) -> Note:
    """What edgeskin noted in a package. Raises: GraphError for a package of another converter."""
    if ENTRY not in program.notes:
        raise GraphError("was not written by edgeskin; `edgeskin inspect` shows what is in it")
    found = Note.read(program.notes[ENTRY])
    if IMAGE not in program.inputs:
        raise GraphError("its note and its inputs speak of different networks; export it again")
    return found
