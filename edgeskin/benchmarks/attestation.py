"""Attestations: what another machine measured of a finished bundle, kept beside its manifest.

attestations/<name>.json

An attestation names the hash of the manifest, and through it every byte of what was measured. It is the word of whoever
wrote it: no signature covers it, so a bundle is signed without it, and it counts only where no key is trusted.
"""

import re
import shlex
from datetime import datetime, timezone
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError

import edgeskin
from edgeskin import files
from edgeskin.benchmarks.measurements import DeviceFacts, Measurements
from edgeskin.contract import signature
from edgeskin.contract.bundle import ATTESTATIONS, Sha256
from edgeskin.contract.declaration import wrong_fields
from edgeskin.contract.frozen import Frozen
from edgeskin.errors import BundleError

FORMAT = 1
NAME = r"[a-z0-9]+(-[a-z0-9]+)*"
_LONGEST = 80
"""Letters of a name, so that the file fits every file system."""


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


class Attestation(Frozen):
    """One machine's measurements of one bundle.

    name: of the file. manifest_sha256: of the bundle. edgeskin_commit: as `checkout.commit` tells it there; versions of
    the engines stand with the device. simulated: a stand-in answered where an engine should have.
    """

    format: Literal[1] = 1
    name: Annotated[str, Field(pattern=f"^{NAME}$", max_length=_LONGEST)]
    manifest_sha256: Sha256
    created: str = Field(default_factory=_now)
    edgeskin_version: str = edgeskin.__version__
    edgeskin_commit: str | None = None
    simulated: bool
    measurements: Measurements

    @property
    def uncounted(self) -> str | None:
        """Why no gate counts it, or None. Nobody signs it, so it counts only where no key is trusted."""
        if self.simulated:
            return "simulated, a stand-in answered in the place of an engine"
        if self.measurements.verified != "device":
            return "nothing on that machine runs the artifact"
        if self.measurements.device is None:
            return "it names no machine"
        if not self.measurements.artifact_hops:
            return "it compared the artifact with nothing"
        if signature.trusted() is not None:
            return f"nobody signed it, and {signature.TRUSTED_KEY} lets signed figures alone count"
        return None

    @property
    def machine(self) -> str:
        """The machine, in words."""
        device = self.measurements.device
        return "a machine that is not named" if device is None else f"{device.cpu}, {device.os}"

    @property
    def sentence(self) -> str:
        """Who measured, when, and whether it counts."""
        doubt = "" if self.uncounted is None else f"; not counted: {self.uncounted}"
        return f"{self.name}: {self.machine}, {self.created}{doubt}"


def name_of(device: DeviceFacts) -> str:
    """What a machine is called where nobody says: CPU and system, never a host or a user."""
    words = re.findall(r"[a-z0-9]+", f"{device.cpu} {device.os}".lower())
    return "-".join(words)[:_LONGEST].strip("-")


def demand_name(name: str) -> None:
    """Raises: BundleError for what is no name of an attestation."""
    if len(name) > _LONGEST or not re.fullmatch(NAME, name):
        raise BundleError(
            f"{name!r}: an attestation is named in at most {_LONGEST} small letters, digits and hyphens, "
            "such as iphone-15-pro"
        )


def write(folder: Path, attestation: Attestation) -> Path:
    """Put an attestation into a bundle, in the place of an older one of its name; the file.

    Raises: EdgeskinError where that cannot be done.
    """
    path = folder / ATTESTATIONS / f"{attestation.name}.json"
    files.write_json(path, attestation.model_dump(mode="json"))
    return path


def read_all(folder: Path, manifest_sha256: str) -> tuple[Attestation, ...]:
    """Every attestation of a bundle, by name.

    Raises: BundleError that names the file that is damaged, of a newer format, or of another bundle.
    """
    return tuple(_read(path, manifest_sha256) for path in sorted((folder / ATTESTATIONS).glob("*.json")))


def _read(path: Path, manifest_sha256: str) -> Attestation:
    try:
        found = Attestation.model_validate_json(path.read_bytes())
    except OSError as error:
        raise BundleError(f"{path}: cannot be read: {error.strerror}") from error
    except ValidationError as error:
        if any(item["loc"] == ("format",) for item in error.errors()):
            advice = f"this edgeskin reads format {FORMAT}; install the one that wrote it"
            raise BundleError(f"{path}: {advice}") from error
        raise BundleError(f"{path}: {wrong_fields(error)}. {_again(path)}") from error
    if found.manifest_sha256 != manifest_sha256:
        raise BundleError(f"{path}: attests another bundle, whose manifest has another hash. {_again(path)}")
    if found.name != path.stem:
        raise BundleError(f"{path}: calls itself {found.name}, so it was copied or renamed. {_again(path)}")
    return found


def _again(path: Path) -> str:
    return f"Remove it, and measure on that machine again: edgeskin attest {shlex.quote(str(path.parent.parent))}"
