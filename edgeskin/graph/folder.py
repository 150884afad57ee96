"""The Graph folder: what training hands to every target, and where torch ends.

fp32.onnx  int8.onnx  model.json  golden/  evidence.json  training_ids.txt  checkpoint.safetensors
"""

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from edgeskin import files
from edgeskin.contract.model import ModelCard
from edgeskin.errors import GraphError

TRAINING_IDS = "training_ids.txt"
PARTS = (
    "fp32.onnx",
    "int8.onnx",
    "model.json",
    "golden",
    "chain.json",
    "evidence.json",
    TRAINING_IDS,
    "checkpoint.safetensors",
)
"""Everything that the Graph folder of a run holds, by name."""
REPAIR = "repair.json"
"""Besides, in the Graph folder of a repaired network: which layers went back to float, and what that cost."""


@dataclass(frozen=True)
class Graph:
    """A Graph folder on disk, its model card read and its parts known to exist."""

    folder: Path
    card: ModelCard

    @staticmethod
    def open(folder: Path) -> "Graph":
        """Open a Graph folder.

        Raises: GraphError that names the first missing or unreadable part.
        """
        card = ModelCard.read(folder / "model.json")
        for part in ("fp32.onnx", "int8.onnx"):
            if not (folder / part).is_file():
                raise GraphError(f"{folder / part}: no such file. Export the run again: edgeskin export --from RUN")
        return Graph(folder, card)

    @property
    def fp32(self) -> Path:
        """The float baseline."""
        return self.folder / "fp32.onnx"

    @property
    def int8(self) -> Path:
        """The quantized network that carries the scales."""
        return self.folder / "int8.onnx"

    @property
    def golden(self) -> Path:
        """The golden cases."""
        return self.folder / "golden"

    @property
    def evidence(self) -> Path:
        """What was measured on real images, one entry an evaluation."""
        return self.folder / "evidence.json"

    @property
    def training_ids(self) -> Path:
        """The ids of the images it was trained on, sorted, one a line: the file whose SHA-256 the model card names."""
        return self.folder / TRAINING_IDS

    @cached_property
    def sha256(self) -> str:
        """One hash for what the network computes and how it is read: fp32.onnx, int8.onnx and model.json."""
        digest = hashlib.sha256()
        for path in (self.fp32, self.int8, self.folder / "model.json"):
            digest.update(files.sha256(path).encode())
        return digest.hexdigest()
