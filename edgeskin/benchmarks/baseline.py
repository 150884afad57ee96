"""What can be compared: a bundle, a report, what `edgeskin benchmark --json` printed, or a baseline that was kept.

benchmarks/baselines/<device>/<network>-<target>-<form>.json

A baseline is a report without what only a reader looks at, so whatever reads a report reads it.
"""

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

from pydantic import Field, ValidationError

from edgeskin import files
from edgeskin.benchmarks import attestation
from edgeskin.benchmarks.gate import Promise
from edgeskin.benchmarks.measurements import AccuracyReport, DeviceFacts, Form, Measurements
from edgeskin.benchmarks.report import JSON_NAME, Report
from edgeskin.contract.bundle import MANIFEST, Bundle
from edgeskin.contract.declaration import wrong_fields
from edgeskin.contract.frozen import Frozen
from edgeskin.errors import BundleError, EdgeskinError

FOLDER = Path("benchmarks/baselines")
"""Where baselines are kept, in whatever project they belong to."""
_DOT_PRODUCTS = ("amx_int8", "avx512_vnni", "avx_vnni", "i8mm", "asimddp", "avx512f", "avx2")
"""The flags that decide the speed of integers, the fastest first: of them a device is named by the first it has."""


class Subject(Frozen):
    """One side of a comparison.

    source: as the user wrote it. report: None for what `edgeskin benchmark` printed. attested: what other machines
    measured of the same bundle, by the name of the attestation; those that no gate counts are left out.
    """

    source: str
    measurements: Measurements
    report: Report | None = None
    attested: dict[str, Measurements] = Field(default_factory=dict)

    @property
    def promises(self) -> tuple[Promise, ...]:
        """What its gate said, by its own report."""
        return self.report.verdict.promises if self.report is not None else ()

    @property
    def form(self) -> Form | None:
        """What the artifact computes, or None where nobody says."""
        return None if self.report is None else self.report.form or self.report.precision

    def same_target(self, other: "Subject") -> bool:
        """Whether both are for one target, as far as anybody says."""
        return self.report is None or other.report is None or self.report.target == other.report.target

    def same_form(self, other: "Subject") -> bool:
        """Whether both compute the same function, as far as anybody says."""
        return self.form == other.form or self.form is None or other.form is None

    @property
    def title(self) -> str:
        """Network, version, target and form, where they are known."""
        one = self.report
        return self.source if one is None else f"{one.name} {one.version}, {one.target} {self.form}"


def read(source: str, baselines: Path = FOLDER) -> Subject:
    """Read one side of a comparison.

    source: a path, or a baseline's name, `<device>/<network>-<target>-<form>`. A report that lies in its bundle is read
    as the bundle, whose every file must be as the manifest says.

    Raises: BundleError where it is damaged or was changed; EdgeskinError that lists the baselines where there is
    nothing of that name.
    """
    folder, path = bundle_of(source), Path(source)
    if folder is not None:
        return _of_bundle(source, folder)
    if not path.is_file():
        path = baselines / f"{source}.json"
    if not path.is_file():
        known = ", ".join(sorted(found.relative_to(baselines).with_suffix("").as_posix() for found in kept(baselines)))
        raise EdgeskinError(
            f"{source}: no bundle, report or baseline of that name. Baselines in {baselines}: {known or 'none'}"
        )
    return _of_file(source, path)


def bundle_of(source: str) -> Path | None:
    """The folder that is read as a bundle, by itself or by the report in it; None for what is none."""
    path = Path(source)
    if path.name == JSON_NAME and (path.parent / MANIFEST).is_file():
        return path.parent
    return path if path.is_dir() else None


def of(new: Subject, baselines: Path = FOLDER, *, must: bool = True) -> Subject | None:
    """The baseline of the same network, target and form on the same device; None where there is none.

    Raises: EdgeskinError where there must be one.
    """
    path = beside(new, baselines)
    if path.is_file():
        return _of_file(path.relative_to(baselines).with_suffix("").as_posix(), path)
    if must:
        command = shlex.join(["edgeskin", "compare", new.source, "--save-baseline"])
        raise EdgeskinError(f"{path}: no such baseline. Make it: {command}")
    return None


def beside(subject: Subject, baselines: Path = FOLDER) -> Path:
    """Where the baseline of this network, target and form on this device is kept.

    Raises: EdgeskinError for what `edgeskin benchmark` printed, which names no network.
    """
    report, device = subject.report, subject.measurements.device
    if report is None or device is None:
        raise EdgeskinError(f"{subject.source}: names no {'network' if report is None else 'machine'}; give a bundle")
    return baselines / slug(device) / f"{report.name}-{report.target}-{subject.form}.json"


def save(subject: Subject, baselines: Path = FOLDER) -> Path:
    """Keep a report as the baseline of its device; the file. Raises: EdgeskinError as `beside`, or for a full disk."""
    path = beside(subject, baselines)
    assert subject.report is not None, "beside() refuses what has no report"
    figures = slim(subject.report).model_dump(mode="json", exclude_defaults=True)
    always = subject.report.model_dump(mode="json", include={"format", "created", "edgeskin_version"})
    files.write_json(path, figures | always)
    return path


def kept(folder: Path) -> Iterator[Path]:
    """Every baseline below a folder."""
    return folder.glob("*/*.json")


def slim(report: Report) -> Report:
    """The report with its figures alone: no commands, no layers of an engine, no curves, no subgroups."""
    measured = report.measurements
    accuracy, place = measured.accuracy, measured.placement
    figures = accuracy and AccuracyReport(
        dataset=accuracy.dataset,
        split=accuracy.split,
        form=accuracy.form,
        metadata=accuracy.metadata,
        n=accuracy.n,
        data_list_sha256=accuracy.data_list_sha256,
        metrics=accuracy.metrics,
        inherited_from=accuracy.inherited_from,
    )
    kept_figures = measured.model_copy(
        update={
            "accuracy": figures,
            "latency": tuple(figure.model_copy(update={"histogram": None}) for figure in measured.latency),
            "placement": place and place.model_copy(update={"layers": ()}),
        }
    )
    return report.model_copy(
        update={"measurements": kept_figures, "cautions": (), "next_commands": (), "attestations": ()}
    )


def slug(device: DeviceFacts) -> str:
    """What baselines call a device: board or CPU, its GPU and power mode, how it multiplies integers, its cores."""
    fastest = next((flag for flag in _DOT_PRODUCTS if flag in device.flags), "")
    told = (device.board or device.cpu, device.gpu, device.power_mode, fastest, f"{device.cores} cores")
    return "-".join(re.findall(r"[a-z0-9]+", " ".join(part for part in told if part).lower()))


def _of_bundle(source: str, folder: Path) -> Subject:
    opened = Bundle.intact(folder)
    report = Report.read(folder / JSON_NAME)
    counted = {
        one.name: one.measurements for one in attestation.read_all(folder, opened.sha256) if one.uncounted is None
    }
    return Subject(source=source, report=report, measurements=report.measurements, attested=counted)


def _of_file(source: str, path: Path) -> Subject:
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise BundleError(f"{path}: cannot be read as JSON: {error}") from error
    if not isinstance(value, dict):
        raise BundleError(f"{path}: is neither a report nor what `edgeskin benchmark --json` prints")
    if "verdict" in value:
        report = Report.read(path)
        return Subject(source=source, report=report, measurements=report.measurements)
    try:
        return Subject(source=source, measurements=Measurements.model_validate(value))
    except ValidationError as error:
        raise BundleError(
            f"{path}: is neither a report nor what `edgeskin benchmark --json` prints: {wrong_fields(error)}"
        ) from error
