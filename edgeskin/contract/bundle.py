"""A bundle: one target at one precision, a folder with everything needed to run it, check it and judge it.

artifact  model.json  labels/<head>.txt  golden/  [reference.npz]  report.json  report.md  MODEL_CARD.md
[sbom.cdx.json]  manifest.json  [manifest.sig]  [attestations/]

`manifest.json` holds the SHA-256 and the size of every other file. The signature and the attestations of other machines
come later and name the manifest's own hash, so they stand outside it.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Annotated, Literal, TypeAlias

from pydantic import Field, ValidationError, field_validator

import edgeskin
from edgeskin import files
from edgeskin.contract import checkout, signature
from edgeskin.contract.declaration import wrong_fields
from edgeskin.contract.model import Frozen, ModelCard
from edgeskin.errors import BundleError

FORMAT = 2
"""The version of manifest.json and of the folder around it. Format 1 is read too: it tells less of its origin, and has
no checksum."""

MANIFEST = "manifest.json"
SIGNATURE = signature.NAME
ATTESTATIONS = "attestations"

Precision: TypeAlias = Literal["int8", "w8a16", "fp16", "fp32"]
"""w8a16: weights alone are int8, everything between operators is float16."""
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class FileEntry(Frozen):
    """One file of a bundle as it was when the manifest was written."""

    sha256: Sha256
    size_bytes: Annotated[int, Field(ge=0)]


class Manifest(Frozen):
    """The contents of `manifest.json`.

    precision: the precision used. artifact: path of the file or folder that runs, relative to the bundle.
    graph_sha256: hash of the Graph folder it was built from. edgeskin_commit: as `checkout.commit` tells it where the
    bundle was made. tool_versions: of the engines there, by module name. files: every other file, by relative path with
    slashes. checksum: of all the other fields, so that damage is seen where nobody signed.
    """

    format: Literal[1, 2] = 2
    target: str
    precision: Precision
    artifact: str
    graph_sha256: Sha256
    edgeskin_version: str
    edgeskin_commit: str | None = None
    tool_versions: Mapping[str, str] = Field(default_factory=dict)
    files: Mapping[str, FileEntry]
    checksum: Sha256 | None = None

    @field_validator("files")
    @classmethod
    def _stay_inside(cls, entries: Mapping[str, FileEntry]) -> Mapping[str, FileEntry]:
        for name in entries:
            path = PurePosixPath(name)
            inside = not path.is_absolute() and not PureWindowsPath(name).drive and ".." not in path.parts
            if not inside or "\\" in name or str(path) != name or not name.isprintable():
                raise ValueError(f"{name!r} is not a plain path inside the bundle")
        return entries

    def of(self, path: str) -> dict[str, FileEntry]:
        """The entries of one file, or of all files below one folder."""
        return {name: entry for name, entry in self.files.items() if name == path or name.startswith(f"{path}/")}


@dataclass(frozen=True)
class Bundle:
    """A bundle on disk whose manifest is read and whose artifact and model card are known to be unchanged."""

    folder: Path
    manifest: Manifest
    card: ModelCard

    @staticmethod
    def open(folder: Path, *, unsigned_too: bool = False) -> "Bundle":
        """Open a bundle to run it. What else lies in it is checked by `verify`.

        unsigned_too: also where the machine trusts a key and nobody signed with it.

        Raises: BundleError where the manifest is absent, newer or damaged, artifact or model.json were changed, or the
        signature is not of this manifest or not by the trusted key.
        """
        manifest = read_manifest(folder)
        if unsigned_too:
            signature.read(folder / MANIFEST)
        else:
            signature.demand_trusted(folder / MANIFEST)
        needed = manifest.of(manifest.artifact) | manifest.of("model.json")
        if not manifest.of(manifest.artifact) or "model.json" not in needed:
            raise BundleError(f"{folder / MANIFEST}: lists no artifact or no model.json. Export the bundle again")
        problems = [problem for name, entry in needed.items() if (problem := _difference(folder, name, entry))]
        below = f"{manifest.artifact}/"
        problems += [problem for name, problem in _extra(folder, manifest).items() if name.startswith(below)]
        if problems:
            what = "; ".join(problems)
            raise BundleError(
                f"{folder}: not the bundle that was exported: {what}. Take a fresh copy or export it again"
            )
        return Bundle(folder, manifest, ModelCard.read(folder / "model.json"))

    @staticmethod
    def intact(folder: Path, *, unsigned_too: bool = False) -> "Bundle":
        """Open a bundle to judge it or to measure it. Raises: BundleError as `open`, and where any file was changed."""
        opened = Bundle.open(folder, unsigned_too=unsigned_too)
        changed = verify(folder)
        if changed:
            raise BundleError(f"{folder}: not the bundle that was exported: {'; '.join(changed)}")
        return opened

    @property
    def artifact(self) -> Path:
        """The file or folder that runs."""
        return self.folder / self.manifest.artifact

    @property
    def golden(self) -> Path:
        """The golden cases."""
        return self.folder / "golden"

    @cached_property
    def sha256(self) -> str:
        """The hash of the manifest, and through it of everything it lists; attestations name it."""
        return files.sha256(self.folder / MANIFEST)


def read_manifest(folder: Path) -> Manifest:
    """Read a bundle's manifest.

    Raises: BundleError that says whether it is absent, of a newer format, or names the wrong field.
    """
    path = folder / MANIFEST
    try:
        if path.exists() and not path.is_file():
            raise ValueError("it is no regular file")
        text = path.read_bytes().decode()
        value = json.loads(text)
        files.json_text(value).encode()  # half a letter can be written in JSON, and in no file
    except (FileNotFoundError, NotADirectoryError) as error:
        raise BundleError(f"{path}: no such file. A bundle is a folder that `edgeskin export` wrote") from error
    except (OSError, ValueError, RecursionError) as error:
        raise BundleError(f"{path}: cannot be read as JSON: {error}. Export the bundle again") from error
    if isinstance(value, dict) and value.get("format") not in range(1, FORMAT + 1):
        raise BundleError(
            f"{path}: format {value.get('format')!r}, this edgeskin {edgeskin.__version__} reads up to {FORMAT}. "
            f"Install edgeskin {value.get('edgeskin_version', 'in the version that wrote it')}, or export it again"
        )
    try:
        manifest = Manifest.model_validate(value)
    except ValidationError as error:
        problems = wrong_fields(error)
        raise BundleError(f"{path}: {problems}. Export the bundle again") from error
    told = value.pop("checksum", None)
    if (manifest.format > 1 or told is not None) and (
        told != _checksum(value) or text != files.json_text({**value, "checksum": told})
    ):
        raise BundleError(f"{path}: was changed since it was written. Take a fresh copy or export the bundle again")
    return manifest


def write_manifest(
    folder: Path,
    *,
    target: str,
    precision: Precision,
    artifact: str,
    graph_sha256: str,
    tool_versions: Mapping[str, str] | None = None,
) -> Manifest:
    """Record every file of a finished folder; the last step of making a bundle.

    artifact: relative path of what runs. tool_versions: of the engines, by module name, where somebody asked them.

    Raises: BundleError where the artifact is not there or a link stands in the folder.
    """
    links = [name for name in _members(folder) if (folder / name).is_symlink()]
    if links:
        raise BundleError(f"{folder}: {', '.join(links)}: a bundle holds files, not links")
    manifest = Manifest(
        target=target,
        precision=precision,
        artifact=artifact,
        graph_sha256=graph_sha256,
        edgeskin_version=edgeskin.__version__,
        edgeskin_commit=checkout.commit(),
        tool_versions=tool_versions or {},
        files={
            name: FileEntry(sha256=files.sha256(folder / name), size_bytes=(folder / name).stat().st_size)
            for name in _members(folder)
        },
    )
    if not manifest.of(artifact):
        raise BundleError(f"{folder / artifact}: the artifact is not in the bundle")
    value = manifest.model_dump(mode="json", exclude={"checksum"})
    manifest = manifest.model_copy(update={"checksum": _checksum(value)})
    files.write_json(folder / MANIFEST, manifest.model_dump(mode="json"))
    return manifest


def _checksum(fields: Mapping[str, object]) -> str:
    return hashlib.sha256(files.json_text(fields).encode()).hexdigest()


def lists(folder: Path, path: str) -> bool:
    """Whether a folder is a bundle that holds a file or folder of this relative path."""
    try:
        return bool(read_manifest(folder).of(path))
    except BundleError:
        return False


def verify(folder: Path) -> tuple[str, ...]:
    """Compare every file with the manifest, reading only; one sentence for each that is changed, missing or extra.

    Raises: BundleError where there is no manifest that this edgeskin can read.
    """
    manifest = read_manifest(folder)
    listed = (_difference(folder, name, entry) for name, entry in sorted(manifest.files.items()))
    return tuple(problem for problem in listed if problem is not None) + tuple(_extra(folder, manifest).values())


def _extra(folder: Path, manifest: Manifest) -> dict[str, str]:
    """By name what lies in a bundle and not in its manifest, a sentence each."""
    return {name: f"{name}: extra, not in the manifest" for name in _members(folder) if name not in manifest.files}


def refuse_to_replace(folder: Path) -> None:
    """Called before a bundle is made at `folder`: only nothing, an empty folder or a bundle alone may be replaced.

    Raises: BundleError where something else stands there, or something beside the bundle's own files.
    """
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    try:
        manifest = read_manifest(folder)
    except BundleError as error:
        raise BundleError(
            f"{folder}: stands there already and is no bundle that this edgeskin may replace ({error}). "
            "Choose another place with --out, or remove it yourself"
        ) from error
    others = [name for name in _members(folder) if name not in manifest.files]
    others += [name for name in (SIGNATURE, ATTESTATIONS) if (folder / name).exists()]
    if others:
        raise BundleError(
            f"{folder}: holds more than the bundle that was exported there: {', '.join(others)}. "
            "Choose another place with --out, or move that away"
        )


def write_labels(folder: Path, card: ModelCard) -> None:
    """Write `labels/<head>.txt`, one label a line in the output's order, for programs that read no JSON."""
    for head in card.heads:
        files.write_text(folder / "labels" / f"{head.name}.txt", "".join(f"{label}\n" for label in head.labels))


def _members(folder: Path) -> list[str]:
    """Relative paths of all that the manifest must list, sorted; links are named, never followed."""
    found = []
    for root, subfolders, names in os.walk(folder):
        below = Path(root)
        links = [name for name in subfolders if (below / name).is_symlink()]
        found += [(below / name).relative_to(folder).as_posix() for name in [*names, *links]]
    return sorted(name for name in found if name not in (MANIFEST, SIGNATURE) and not _attests(folder, name))


def _attests(folder: Path, name: str) -> bool:
    """Whether a file stands where attestations do, and is one by its name."""
    path = PurePosixPath(name)
    place = folder / name
    return (
        path.parent.as_posix() == ATTESTATIONS and path.suffix == ".json" and not place.is_symlink() and place.is_file()
    )


def _difference(folder: Path, name: str, entry: FileEntry) -> str | None:
    path = folder / name
    try:
        if path.is_symlink():
            return f"{name}: changed, a link stands in its place"
        if not path.is_file():
            return f"{name}: missing"
        size_bytes = path.stat().st_size
        if size_bytes != entry.size_bytes:
            return f"{name}: changed, {size_bytes} bytes instead of {entry.size_bytes}"
        return None if files.sha256(path) == entry.sha256 else f"{name}: changed, other contents of the same size"
    except OSError as error:
        return f"{name}: cannot be read: {error.strerror}"
