"""The model card (`model.json`): everything a program needs to run a network and to read its answers.

It is written once, at export, and read by every target, by the gate and by the phone.
"""

import json
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, SerializerFunctionWrapHandler, ValidationError, model_serializer, model_validator

from edgeskin import files
from edgeskin.contract.declaration import nearest, wrong_fields
from edgeskin.contract.frozen import Frozen, Name, Probability, without_absent
from edgeskin.contract.metadata import MetadataSpec
from edgeskin.contract.preprocess import PortablePreprocessing
from edgeskin.contract.region import SecondPass
from edgeskin.errors import GraphError

__all__ = ["Frozen", "HeadSpec", "MaskCleanup", "ModelCard", "Name", "Probability", "Provenance"]

FORMAT = 1
"""The version of model.json and of the Graph folder around it."""

_LATER = ("metadata", "preprocessing", "second_pass")
"""Keys that came after the first release: left out where they say nothing, so that its card keeps its bytes."""


class HeadSpec(Frozen):
    """One answer of the network; heads are data, not classes.

    kind: `mask` (one probability a pixel), `softmax` (labels exclude each other) or `sigmoid` (one yes-or-no question).
    labels: what the probabilities stand for, in the output's order; a mask or sigmoid head has exactly one.
    threshold: at or above it a mask pixel is lesion, or a sigmoid head decides yes. A softmax head has none.
    column: where the truth stands in a data set's table, if not under the head's own name. values: words of that column
    by label, where they differ from the labels; `no` and `yes` for a sigmoid head, '' for what says nothing.
    """

    name: Name
    kind: Literal["mask", "softmax", "sigmoid"]
    labels: tuple[str, ...]
    threshold: Probability | None = None
    column: str | None = None
    values: dict[str, tuple[str, ...]] | None = None

    @property
    def truth_column(self) -> str:
        """The column that holds its truth."""
        return self.column or self.name

    @model_serializer(mode="wrap")
    def _write(self, written: SerializerFunctionWrapHandler) -> dict[str, object]:
        return without_absent(written(self), "column", "values")

    @model_validator(mode="after")
    def _consistent(self) -> "HeadSpec":
        if self.kind == "softmax":
            if len(self.labels) < 2 or len(set(self.labels)) != len(self.labels):
                raise ValueError(f"head {self.name}: a softmax head needs two or more different labels")
            if self.threshold is not None:
                raise ValueError(
                    f"head {self.name}: a softmax head decides by its largest probability; it has no threshold"
                )
        elif len(self.labels) != 1:
            raise ValueError(f"head {self.name}: a {self.kind} head has exactly one label, not {len(self.labels)}")
        elif self.threshold is None:
            raise ValueError(f"head {self.name}: a {self.kind} head needs a threshold")
        return self

    @model_validator(mode="after")
    def _values_decide(self) -> "HeadSpec":
        classes = self.labels if self.kind == "softmax" else ("no", "yes")
        values = self.values or {}
        for label in values:
            if label not in (*classes, ""):
                raise ValueError(
                    f"head {self.name}: values.{label} is no label of it; write {', '.join(classes)}, or '' for words "
                    "that say nothing"
                )
        # A softmax head's label without words of its own stands in the column under its own name.
        own = {label: (label,) for label in classes if self.kind == "softmax" and label not in values}
        label_of: dict[str, str] = {}
        for label, words in (values | own).items() if values else ():
            for word in words:
                if label_of.setdefault(word, label) != label:
                    raise ValueError(
                        f"head {self.name}: values has the word {word!r} under both {label_of[word]!r} and {label!r}; "
                        "leave it under one of them"
                    )
        return self


class MaskCleanup(Frozen):
    """How a lesion mask is tidied at the photo's own size: threshold, close, largest component, fill holes.

    close_fraction: radius of the closing disc over the photo's longer side, from 0 (off) to 0.1.
    Source: papers/unet_multitask_thesis.txt, post-processing.
    """

    close_fraction: Annotated[float, Field(ge=0, le=0.1)] = 0.01
    largest_component: bool = True
    fill_holes: bool = True


class Provenance(Frozen):
    """Where the weights come from; printed in reports and carried into every artifact.

    data: names of the data sets trained on. data_list_sha256: hash of the sorted training image ids.
    select_ids: image ids that training held out to choose epochs and thresholds. recipe_sha256: hash of the recipe with
    all its values.
    """

    recipe: str
    recipe_sha256: str
    data: tuple[str, ...]
    data_list_sha256: str
    select_ids: tuple[str, ...] = ()
    seed: int
    edgeskin_version: str
    notes: tuple[str, ...] = ()


class ModelCard(Frozen):
    """The contents of `model.json`.

    size: side S of the square input `image`, uint8 RGB [N, 3, S, S]. heads: in the order of the network's outputs, each
    output named like its head. metadata: the fields of the input `metadata`, float32 [N, M], None for a network that
    takes the image alone. preprocessing: what a photo's content goes through behind the letterbox, in that order.
    second_pass: which heads answer from a second run on the region that the mask found, None where the network runs
    once. float_tail: the final sigmoid and softmax operators, float in every target. kept_float: nodes of int8.onnx
    kept in float on purpose.
    """

    format: Literal[1] = 1
    name: str
    version: str
    size: Annotated[int, Field(ge=32, le=2048, multiple_of=32)]
    heads: tuple[HeadSpec, ...]
    metadata: MetadataSpec | None = None
    preprocessing: PortablePreprocessing = ()
    second_pass: SecondPass | None = None
    cleanup: MaskCleanup = MaskCleanup()
    float_tail: tuple[str, ...] = ()
    kept_float: tuple[str, ...] = ()
    intended_use: str
    licence: str
    provenance: Provenance

    @model_validator(mode="after")
    def _heads_are_distinct(self) -> "ModelCard":
        names = [head.name for head in self.heads]
        if not names or len(set(names)) != len(names):
            raise ValueError("a model needs at least one head, each with a name of its own")
        if sum(head.kind == "mask" for head in self.heads) > 1:
            raise ValueError("a model has at most one mask head")
        return self

    @model_validator(mode="after")
    def _second_pass_has_its_heads(self) -> "ModelCard":
        if self.second_pass is None:
            return self
        if self.mask is None:
            raise ValueError("second_pass needs a mask head: the first pass's mask decides the region")
        answering = [head.name for head in self.heads if head.kind != "mask"]
        for name in self.second_pass.heads:
            if name == self.mask.name:
                raise ValueError(f"second_pass.heads names {name}, the mask, which the first pass alone draws")
            if name not in answering:
                raise ValueError(f"second_pass.heads names {name}, which is no head{nearest(name, answering)}")
        return self

    @model_serializer(mode="wrap")
    def _write(self, written: SerializerFunctionWrapHandler) -> dict[str, object]:
        card = written(self)
        return without_absent({**card, "preprocessing": card.get("preprocessing") or None}, *_LATER)

    @property
    def mask(self) -> HeadSpec | None:
        """The mask head, if the network has one."""
        return next((head for head in self.heads if head.kind == "mask"), None)

    def head(self, name: str) -> HeadSpec:
        """The head of that name; a KeyError is a programming mistake."""
        return {head.name: head for head in self.heads}[name]

    @staticmethod
    def read(path: Path) -> "ModelCard":
        """Read a model.json.

        Raises: GraphError that names the file and each wrong field, or says which edgeskin wrote a newer format.
        """
        try:
            value = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise GraphError(
                f"{path}: no such file. A Graph folder holds model.json, fp32.onnx and int8.onnx"
            ) from error
        except (OSError, ValueError) as error:
            raise GraphError(f"{path}: cannot be read as JSON: {error}") from error
        if isinstance(value, dict) and value.get("format") != FORMAT:
            raise GraphError(
                f"{path}: format {value.get('format')!r}, this edgeskin reads format {FORMAT}. "
                "Install the edgeskin that wrote it, or export it again"
            )
        try:
            return ModelCard.model_validate(value)
        except ValidationError as error:
            problems = wrong_fields(error)
            raise GraphError(f"{path}: {problems}") from error

    def write(self, path: Path) -> None:
        """Write model.json; equal cards give equal bytes."""
        files.write_json(path, self.model_dump(mode="json"))
