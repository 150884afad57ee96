"""The Graph folder: what training hands to every target, and where torch ends.

fp32.onnx  int8.onnx  model.json  golden/  chain.json  evidence.json  training_ids.txt  training_prints.npy
checkpoint.safetensors  parts.json

`Graph.sha256` names the first three. `parts.json` holds it, and the SHA-256 of what stands beside them and never
changes afterwards, so that a golden case that was changed is seen. It is no signature: whoever writes it anew is not
caught.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from edgeskin import files
from edgeskin.contract.model import ModelCard
from edgeskin.errors import GraphError

TRAINING_IDS = "training_ids.txt"
TRAINING_PRINTS = "training_prints.npy"
"""In a run too."""
SEAL = "parts.json"
PARTS = (
    "fp32.onnx",
    "int8.onnx",
    "model.json",
    "golden",
    "chain.json",
    "evidence.json",
    TRAINING_IDS,
    TRAINING_PRINTS,
    "checkpoint.safetensors",
    SEAL,
)
"""Everything that the Graph folder of a run holds, by name."""
LATER = frozenset({TRAINING_IDS, TRAINING_PRINTS, SEAL})
"""Those that the folders of an older edgeskin do not hold."""
REPAIR = "repair.json"
"""Besides, in the Graph folder of a repaired network: which layers went back to float, and what that cost."""
_SEALED = ("golden", "chain.json", TRAINING_IDS, TRAINING_PRINTS, REPAIR)


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

    @property
    def training_prints(self) -> Path:
        """What other copies of those images are known by, in the order of their ids."""
        return self.folder / TRAINING_PRINTS

    def seal(self) -> None:
        """Write parts.json, the last step of making a Graph folder."""
        files.write_json(self.folder / SEAL, {"graph_sha256": self.sha256, "parts": self._parts()})

    @property
    def sealed(self) -> bool:
        """Whether there is a parts.json, which the folders of an older edgeskin do not hold."""
        return (self.folder / SEAL).exists()

    def changed(self) -> tuple[str, ...]:
        """A sentence for each part that differs from parts.json; none where it is not sealed.

        Raises: GraphError where it cannot be read.
        """
        return tuple(self._changed()) if self.sealed else ()

    def demand_unchanged(self) -> None:
        """Raises: GraphError as `changed`, and where a part was changed."""
        changed = self.changed()
        if changed:
            raise GraphError(
                f"{self.folder}: not the Graph folder that was written: {'; '.join(changed)}. Take a fresh copy, or "
                "export its run again"
            )

    def _parts(self) -> dict[str, str]:
        return {part: files.sha256(self.folder / part) for part in _SEALED if (self.folder / part).exists()}

    def _changed(self) -> Iterator[str]:
        path = self.folder / SEAL
        try:
            told = json.loads(path.read_bytes())
            graph_sha256, parts = told["graph_sha256"], dict(told["parts"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise GraphError(f"{path}: cannot be read: {error!r}. Take a fresh copy of the Graph folder") from error
        if graph_sha256 != self.sha256:
            yield f"{SEAL} is of another network"
        found = self._parts()
        for part in sorted({*parts, *found}):
            if part not in found:
                yield f"{part}: missing"
            elif found[part] != parts.get(part):
                yield f"{part}: changed" if part in parts else f"{part}: extra, not in {SEAL}"

    @cached_property
    def sha256(self) -> str:
        """One hash for what the network computes and how it is read: fp32.onnx, int8.onnx and model.json."""
        digest = hashlib.sha256()
        for path in (self.fp32, self.int8, self.folder / "model.json"):
            digest.update(files.sha256(path).encode())
        return digest.hexdigest()
