"""The network as data, a recipe's `[network]` table: encoder, decoder, and the links between them and the heads."""

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field, PositiveInt

from edgeskin.contract.model import Frozen, HeadSpec, Name

EncoderName = Literal["mobilenet_v2", "mobilenet_v3_small", "mobilenet_v3_large", "squeezenet_1_0", "squeezenet_1_1"]
Level = Annotated[int, Field(ge=1, le=5)]
"""An encoder level: level i has stride 2^i."""
Names = Annotated[tuple[Name, ...], Field(min_length=1)]
Levels = Annotated[tuple[Level, ...], Field(min_length=1)]


class Cbam(Frozen):
    """CBAM on encoder levels, before the classifiers pool them (papers/joint_reverse_mtl_2024.txt, section 3.4.3).

    reduction: how much narrower than the map the hidden layer of its channel attention is.
    """

    levels: Levels = (4, 5)
    reduction: PositiveInt = 16


class MaskAttention(Frozen):
    """The lesion mask multiplies the features that `heads` pool (papers/joint_reverse_mtl_2024.txt, section 3.4.2).

    decoder_levels: so many of the last decoder levels, multiplied too, join what these heads pool.
    """

    heads: Names
    decoder_levels: Annotated[int, Field(ge=0, le=4)] = 2


class JointReverse(Frozen):
    """The last `levels` decoder levels run a second time, on channels re-weighted by the hidden layer of `head`.

    Source: papers/joint_reverse_mtl_2024.txt, section 3.4.2, equation 2.
    """

    head: Name
    levels: Annotated[int, Field(ge=1, le=4)] = 2


class ActivationMap(Frozen):
    """The class-activation map of the head `source` enters the features of `heads` through an E-layer.

    channels: what the E-layer's 1×1 convolution gives. Source: papers/se_lcn_symmetry_cascade_2024.txt, figure 4.
    """

    source: Name
    heads: Names
    channels: PositiveInt = 256


class MetadataFusion(Frozen):
    """The metadata encoder and where it meets the image (papers/metadata_superresolution_pad_ufes_2024.txt, 2.1, 2.3).

    kind: `multiply` (equation 2) or `concat`. widths: of the encoder's layers. imputation: width of the hidden layer
    of the network that fills in unknown fields; without it they stay explicit unknowns.
    """

    heads: Names
    kind: Literal["multiply", "concat"] = "multiply"
    widths: Annotated[tuple[PositiveInt, ...], Field(min_length=1)] = (64, 128, 256, 512)
    imputation: PositiveInt | None = None


class NetworkSpec(Frozen):
    """The network's parts.

    activation: of MobileNetV3 and SqueezeNet, `native` (hard-swish, ReLU) or `relu6`. start: `imagenet` (weights
    folder given at the command line), `random`, or the path of a torchvision state dict; a width below 1 selects
    channels from either. decoder: channels after each decoder level, from stride 16 down: three end at stride 4, four
    at stride 2. pooled_levels: the encoder levels that classifiers pool.
    """

    encoder: EncoderName = "mobilenet_v2"
    width: Annotated[float, Field(ge=0.25, le=2)] = 1.0
    activation: Literal["native", "relu6"] = "native"
    start: str = "imagenet"
    size: Annotated[int, Field(ge=32, le=1024, multiple_of=32)] = 192
    decoder: Annotated[tuple[PositiveInt, ...], Field(min_length=1, max_length=4)] = (96, 64, 32, 16)
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.2
    pooled_levels: Levels = (5,)
    cbam: Cbam | None = None
    mask_attention: MaskAttention | None = None
    joint_reverse: JointReverse | None = None
    activation_map: ActivationMap | None = None
    fusion: MetadataFusion | None = None


@dataclass(frozen=True)
class HeadLayout:
    """A head as the network builds it: its specification, and the width of its hidden layer if it has one."""

    spec: HeadSpec
    hidden: int | None = None
