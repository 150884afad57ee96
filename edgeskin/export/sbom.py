"""`sbom.cdx.json`: what a bundle is made of and what runs it, as a bill of materials in CycloneDX 1.6.

Equal bundles made beside equal packages give equal bytes: there is no time in it, and its serial number is drawn from
what it says.
"""

import importlib.metadata
import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import edgeskin
from edgeskin import files, optional
from edgeskin.benchmarks.report import Report
from edgeskin.contract.model import ModelCard
from edgeskin.export.card import licence_of

NAME = "sbom.cdx.json"
_PHOTO = ("numpy", "opencv-python-headless", "pillow", "pydantic")
"""What turns a photo into the network's input, and its answers into findings."""
_ENGINES = {
    "onnx": ("onnxruntime", "onnxruntime-gpu", "onnx"),
    "tflite": ("ai-edge-litert", "tflite-runtime", "tflite", "flatbuffers"),
    "coreml": ("coremltools",),
    "tensorrt": ("tensorrt", "tensorrt-rtx-cu13", "tensorrt-rtx", "cuda-python"),
}
"""The packages that may run the artifacts of a target; those that are installed here are listed."""


def missing() -> str | None:
    """One sentence why no bill of materials can be written here, or None."""
    return optional.missing("cyclonedx")


def write(folder: Path, report: Report, card: ModelCard) -> None:
    """Write the bill of materials of a bundle into its folder. Raises: MissingDependencyError."""
    model, component, licence = _library("model"), _library("model.component"), _library("model.license")
    kinds = component.ComponentType

    def facts(**known: str) -> list[object]:
        return [model.Property(name=f"edgeskin:{name}", value=value) for name, value in known.items()]

    def licences(sentence: str) -> list[object]:
        return [licence.DisjunctiveLicense(name=sentence)] if sentence else []

    provenance = card.provenance
    network = component.Component(
        type=kinds.MACHINE_LEARNING_MODEL,
        bom_ref="model",
        name=card.name,
        version=card.version,
        description=card.intended_use,
        licenses=licences(card.licence),
        properties=facts(
            target=report.target,
            precision=report.form or report.precision,
            graph_sha256=report.graph_sha256,
            recipe=provenance.recipe,
            recipe_sha256=provenance.recipe_sha256,
            training_images_sha256=provenance.data_list_sha256,
        ),
        components=[
            component.Component(
                type=kinds.FILE,
                bom_ref=f"file:{name}",
                name=name,
                hashes=[model.HashType(alg=model.HashAlgorithm.SHA_256, content=files.sha256(folder / name))],
            )
            for name in _artifact_files(folder, report.artifact)
        ],
    )
    data = [
        component.Component(type=kinds.DATA, bom_ref=f"data:{name}", name=name, licenses=licences(licence_of(name)))
        for name in provenance.data
    ]
    packages = [
        component.Component(type=kinds.LIBRARY, bom_ref=f"pkg:pypi/{name}", name=name, version=version, purl=purl)
        for name, version, purl in _packages(report.target)
    ]
    bill = _library("model.bom").Bom(components=[*data, *packages])
    bill.metadata.component = network
    bill.metadata.tools.components.add(
        component.Component(type=kinds.APPLICATION, bom_ref="edgeskin", name="edgeskin", version=edgeskin.__version__)
    )
    bill.register_dependency(network, [*data, *packages])
    value = json.loads(_library("output.json").JsonV1Dot6(bill).output_as_string())
    del value["serialNumber"], value["metadata"]["timestamp"]
    value["serialNumber"] = uuid.uuid5(uuid.NAMESPACE_OID, files.json_text(value)).urn
    files.write_json(folder / NAME, value)


def _library(name: str) -> ModuleType:
    return optional.require(f"cyclonedx.{name}")


def _artifact_files(folder: Path, artifact: str) -> Iterator[str]:
    path = folder / artifact
    if path.is_file():
        yield artifact
    for part in sorted(path.rglob("*")):
        if part.is_file():
            yield part.relative_to(folder).as_posix()


def _packages(target: str) -> Iterator[tuple[str, str, object]]:
    """Name, version and address of each package that runs a target's artifacts here."""
    address = optional.require("packageurl").PackageURL
    for name in (*_PHOTO, *_ENGINES.get(target, ())):
        try:
            version = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
        yield name, version, address(type="pypi", name=name, version=version)
