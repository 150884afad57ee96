"""What a recipe trains on: the cases, how they are shown, which clinical fields come with them."""

from typing import Annotated

from pydantic import Field, PositiveInt, ValidationError, model_validator

from edgeskin.contract.metadata import MetadataField, MetadataSpec
from edgeskin.contract.model import Frozen, Probability
from edgeskin.train.recipe.learning import Fraction, Positive


class DataChoice(Frozen):
    """Which cases are trained on.

    dataset: the layout the data folder must have. also: further data sets, whose folders stand beside it under their
    names; each head learns from the cases that carry its label. exclude: a file of image ids, beside the recipe, that
    are left out. select: cases carved from the training split to choose epochs and thresholds, stratified by the first
    softmax head, or without one by the first sigmoid head. reports: data sets whose test cases, by id and by
    near-duplicate, are removed beside those of the data sets trained on. folds: of a stratified, grouped
    cross-validation over the training split; `fold` (from 0) is held out. hold_out_voted: leave out the fifth of the
    voted cases on which symmetry is measured (`evaluate --split voted`), where a head learns from votes; without it
    the network has no figure of its own for that head.
    """

    dataset: str
    also: tuple[str, ...] = ()
    exclude: str | None = None
    select: PositiveInt = 200
    reports: tuple[str, ...] = ()
    folds: Annotated[int, Field(ge=2, le=20)] | None = None
    fold: Annotated[int, Field(ge=0)] = 0
    hold_out_voted: bool = True

    @model_validator(mode="after")
    def _consistent(self) -> "DataChoice":
        if self.fold >= (self.folds or 1):
            raise ValueError(f"fold is {self.fold}, but there are {self.folds or 'no'} folds; they count from 0")
        if self.dataset in self.also or len(set(self.also)) < len(self.also):
            raise ValueError("also names a data set that is trained on already")
        return self


class MetadataChoice(Frozen):
    """The clinical fields the network is given.

    hide: probability that a known field is hidden in training, independently of class. hide_all: probability that all
    of them are, as where nobody entered any. equalise: hide more where a class has fewer unknowns, so that every class
    has the same share of them and their pattern tells nothing.
    """

    fields: Annotated[tuple[MetadataField, ...], Field(min_length=1)]
    hide: Fraction = 0.3
    hide_all: Fraction = 0.0
    equalise: bool = True

    @model_validator(mode="after")
    def _fields_are_fit(self) -> "MetadataChoice":
        try:
            self.spec()
        except ValidationError as error:
            raise ValueError("; ".join(str(item["ctx"]["error"]) for item in error.errors())) from error
        return self

    def spec(self) -> MetadataSpec:
        """The fields as the contract knows them."""
        return MetadataSpec(fields=self.fields)


class Augmentation(Frozen):
    """Random changes of every training image; ranges are drawn uniformly (scale and aspect on a logarithmic axis).

    flip: also all quarter turns. rotate: further degrees either way. scale: zoom. aspect: width over height, wide
    enough that geometry is no shortcut. bars: probability that what lies outside the photo is mid-grey, as behind a
    letterbox, rather than its mirror image. brightness, contrast, saturation: ± relative. hue: ± degrees.
    white_balance: ± relative gain a channel. blur: probability of a slight defocus.
    """

    flip: bool = True
    rotate: Annotated[float, Field(ge=0, le=180)] = 25
    scale: tuple[Positive, Positive] = (0.8, 1.3)
    aspect: tuple[Positive, Positive] = (0.7, 1.4)
    shift: Fraction = 0.08
    bars: Probability = 0.5
    brightness: Fraction = 0.2
    contrast: Fraction = 0.2
    saturation: Fraction = 0.25
    hue: Annotated[float, Field(ge=0, le=180)] = 8
    white_balance: Fraction = 0.08
    blur: Probability = 0.1

    @model_validator(mode="after")
    def _ranges_ascend(self) -> "Augmentation":
        for name in ("scale", "aspect"):
            low, high = getattr(self, name)
            if low > high:
                raise ValueError(f"{name} is [{low}, {high}]; write the smaller number first")
        return self
