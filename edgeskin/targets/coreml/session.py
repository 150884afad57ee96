"""Run a package of ours in Core ML, as an app does: a picture in, arrays out."""

import math
import shlex
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from edgeskin.errors import TargetError
from edgeskin.targets.base import IMAGE, METADATA, Float32, Inputs, Placement, UInt8, one_by_one
from edgeskin.targets.coreml import engine
from edgeskin.targets.coreml.program import Program

CONVOLUTIONS = ("conv", "conv_transpose")


class CoremlSession:
    """A package in Core ML, for one processor; how many threads it takes is its own affair.

    program: what is in the package. Raises: TargetError where Core ML does not run here, or refuses it.
    """

    def __init__(self, path: Path, program: Program, processor: str) -> None:
        sentence = engine.why_not()
        if sentence is not None:
            there = sentence.replace("BUNDLE", shlex.quote(str(path.parent)))
            raise TargetError(f"{path}: cannot be run here. {there}")
        self.path = path
        self._processor = processor
        self._model = engine.load(path, processor)
        self._convolutions = [each.output.name for each in program.operations if each.kind in CONVOLUTIONS]
        shapes = {each.output.name: each.output.shape[1:] for each in program.operations}
        self._shapes = {name: shapes[name] for name in program.outputs}
        metadata = program.inputs.get(METADATA)
        width = None if metadata is None else metadata.shape[-1]
        self._inputs = Inputs(str(path), program.inputs[IMAGE].shape[1:], width)

    @property
    def simulated(self) -> bool:
        """Whether something else than Core ML answers."""
        return self._model.simulated

    @property
    def metadata_width(self) -> int | None:
        """M of the input `metadata`, read from the package; None where the network takes the image alone."""
        return self._inputs.metadata_width

    def run(self, image: UInt8, metadata: Float32 | None = None) -> Mapping[str, Float32]:
        """Shapes: image uint8 [N, 3, S, S], metadata float32 [N, M] exactly where the network takes it -> a mask output
        [N, 1, S, S], any other [N, labels]; probabilities.

        The package takes one image at a time; so does this. Raises: TargetError as `Session` says.
        """
        self._inputs.demand(image, metadata)
        return one_by_one(self._one, self._shapes, image, metadata)

    def _one(self, image: UInt8, metadata: Float32 | None) -> dict[str, Float32]:
        features: dict[str, object] = {IMAGE: Image.fromarray(np.ascontiguousarray(image[0].transpose(1, 2, 0)))}
        if metadata is not None:
            features[METADATA] = metadata
        found = self._model.predict(features)
        absent = [name for name, shape in self._shapes.items() if np.size(found.get(name, ())) != math.prod(shape)]
        if absent:
            raise TargetError(
                f"{self.path}: Core ML gave no {', '.join(absent)} of the package's shape. Export the package again"
            )
        return {name: np.asarray(found[name], np.float32).reshape(1, *shape) for name, shape in self._shapes.items()}

    def placement(self) -> Placement:
        """Where Core ML plans to run each operator. Whether it multiplies integers there, it does not tell."""
        placed = self._model.placed()
        if placed is None:
            provider = f"Core ML, {self._processor}; this system does not tell where operators run"
        else:
            counts = Counter(placed.values()).most_common()
            provider = f"Core ML, {self._processor}: " + ", ".join(f"{count} on the {name}" for name, count in counts)
        return Placement(provider, len(self._convolutions), None, None)
