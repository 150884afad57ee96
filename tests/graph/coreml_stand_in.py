"""A stand-in for Apple's engine, which none of our machines has: the executor on the saved package, and it says so.

It shows that what an app would hand over is handed over, and that answers come back in order; of Core ML it shows
nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from edgeskin.targets.base import Artifact
from edgeskin.targets.coreml import CoremlTarget, engine, note
from edgeskin.targets.coreml.parse import parse

PROCESSORS = ("all", "cpu", "gpu", "neural engine")
"""Those of an Apple silicon Mac."""


@dataclass
class StandIn:
    """A loaded model. plan: where its operators are to run. handed: what it was given, call by call."""

    path: Path
    processor: str
    plan: Mapping[str, str] | None = None
    simulated: bool = True
    handed: list[Mapping[str, object]] = field(default_factory=list)

    def __post_init__(self) -> None:
        written = note.of(parse(self.path))
        self._session = CoremlTarget().execute(Artifact(self.path, "coreml", written.precision, written.graph_sha256))

    def predict(self, features: Mapping[str, object]) -> Mapping[str, npt.NDArray[np.float32]]:
        self.handed.append(features)
        picture, row = features["image"], features.get("metadata")
        assert isinstance(picture, Image.Image)
        assert row is None or isinstance(row, np.ndarray)
        return dict(self._session.run(np.asarray(picture).transpose(2, 0, 1)[None], row))

    def placed(self) -> Mapping[str, str] | None:
        return self.plan


def on_a_mac(
    patch: pytest.MonkeyPatch, *processors: str, plan: Mapping[str, str] | None = None, stand_in: type = StandIn
) -> list[StandIn]:
    """Be on a Mac of these processors from here on, where stand-ins answer; those that get loaded, as they do."""
    loaded: list[StandIn] = []

    def load(path: Path, processor: str) -> StandIn:
        loaded.append(stand_in(path, processor, plan))
        return loaded[-1]

    patch.setattr(engine, "why_not", lambda: None)
    patch.setattr(engine, "processors", lambda: processors or PROCESSORS)
    patch.setattr(engine, "load", load)
    return loaded
