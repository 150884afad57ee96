"""`report.json`: what was built, with what, what was measured and how it was judged."""

from datetime import datetime, timezone
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

import edgeskin
from edgeskin.benchmarks.attestation import Attestation
from edgeskin.benchmarks.gate import Verdict
from edgeskin.benchmarks.measurements import Form, Measurements
from edgeskin.benchmarks.repaired import Repair
from edgeskin.benchmarks.size import LayerSize
from edgeskin.contract.declaration import wrong_fields
from edgeskin.contract.model import Frozen
from edgeskin.errors import BundleError
from edgeskin.targets.base import Precision

FORMAT = 1
_READERS = {"graph": "", "parser": " by the engine's own parser"}


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


class Report(Frozen):
    """One bundle, measured and judged.

    name, version: of the network, from its model card. precision: the one used. form: what the artifact computes, where
    the precision alone does not tell. artifact: relative path within the bundle.
    golden_sha256: of the golden cases, as the Graph's parts.json has it; None in what an older edgeskin wrote.
    profile, gate: their names. gate_sha256: `Gate.sha256` of it; None in what an older edgeskin wrote.
    cautions: what a reader must know beside the figures, on top of those of the data set.
    next_commands: what to do next, as (word, command line), such as ("Predict", "edgeskin predict …"). attestations: of
    other machines, where it was judged again since; none in a bundle's own report.json. layer_sizes: what the artifact
    stores, layer by layer; none in what an older edgeskin wrote. repair: of the network that it was built from, if any.
    """

    format: Literal[1] = 1
    created: str = Field(default_factory=_now)
    edgeskin_version: str = edgeskin.__version__
    name: str
    version: str
    target: str
    precision: Precision
    form: Form | None = None
    artifact: str
    artifact_sha256: str
    graph_sha256: str
    golden_sha256: str | None = None
    profile: str
    gate: str
    gate_sha256: str | None = None
    measurements: Measurements
    verdict: Verdict
    cautions: tuple[str, ...] = ()
    next_commands: tuple[tuple[str, str], ...] = ()
    attestations: tuple[Attestation, ...] = ()
    layer_sizes: tuple[LayerSize, ...] = ()
    repair: Repair | None = None

    @staticmethod
    def read(path: Path) -> "Report":
        """Read a report.json.

        Raises: BundleError that names the file and each wrong field, or says that another edgeskin wrote it.
        """
        try:
            return Report.model_validate_json(path.read_bytes())
        except FileNotFoundError as error:
            raise BundleError(f"{path}: no such file. `edgeskin export` writes it into every bundle") from error
        except OSError as error:
            raise BundleError(f"{path}: cannot be read: {error.strerror}") from error
        except ValidationError as error:
            if any(item["loc"] == ("format",) for item in error.errors()):
                advice = f"this edgeskin reads format {FORMAT}; install the one that wrote it, or export again"
                raise BundleError(f"{path}: {advice}") from error
            problems = wrong_fields(error)
            raise BundleError(f"{path}: {problems}. Export the bundle again") from error

    @property
    def verification(self) -> str:
        """How it is known what the artifact computes, in one line."""
        made = self.measurements
        if made.equivalent is None:
            return "Not verified: the artifact was compared with nothing."
        by_bytes = made.verified != "device"
        cpu = made.device.cpu if made.device else "a machine that is not named"
        place = made.placement
        here = place.provider if place is not None and place.layers else cpu
        later = [one for one in self.attestations if one.uncounted is None]
        ran = [
            ("edgeskin's executor" if by_bytes else here, made),
            *((one.machine, made.overlaid(one.measurements)) for one in later),
        ]
        wrong = [machine for machine, figures in ran if not figures.equivalent]
        if wrong:
            what = "the artifact computes something else than the network it was built from"
            return f"Not verified: {what}, on {'; '.join(wrong)}."
        if by_bytes and not later:
            return (
                f"{made.verified.capitalize()}-verified: the saved bytes, parsed back{_READERS[made.verified]} and run "
                "by edgeskin's executor. No device has run it: latency, memory, placement and numerics on a device are "
                "not measured."
            )
        devices = "; ".join(machine for machine, _ in (ran[1:] if by_bytes else ran))
        made_here = f"{made.verified.capitalize()}-verified where it was made, d" if by_bytes else "D"
        return f"{made_here}evice-verified on {devices}."

    def with_verdict(self, verdict: Verdict, gate: str, attestations: tuple[Attestation, ...] = ()) -> "Report":
        """The same measurements under another verdict, which rests on these attestations too."""
        return self.model_copy(update={"verdict": verdict, "gate": gate, "attestations": attestations})
