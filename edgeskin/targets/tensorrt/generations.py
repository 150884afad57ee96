"""The generations of TensorRT that a Jetson or a desktop may have, and what each is handed.

One table: which versions, where they come from, the highest opset that a source states, and how precision is said.
What no source states is None and called unpinned, never filled in. A parser reads older opsets, down to 9 (NVIDIA, ONNX
Opset Guide), so only too new a file can be wrong: who is not known to read 21 gets the file of opset 17.

Sources of the highest opsets: onnx-tensorrt, docs/operators.md of each release branch ("supports operators up to
Opset 17"). NVIDIA's ONNX Opset Guide says 25 for 11.x, but onnx-tensorrt's release notes say that 11.5 added it, so 11
is trusted with the 24 of 10.15. For 10.0 it says "opset 9 to opset 20"; no statement was found that names one of 10.1
to 10.14, so these are trusted with the 20 of 10.0. (Their copy of ONNX is 1.17, opset 22, from 10.6 on: docs/
Changelog.md. That is what can be parsed, not what is supported.)

Sources of where a version comes from: NVIDIA's page "Migrating TensorRT from 10.x to 11.x on Jetson/JetPack" at 11.4.1
(JetPack 7.2.2 is the first with 11, from 11.4.1 on; before it JetPack 7 has a 10.x); Torch-TensorRT's documentation
(JetPack 6.1 has 10.3); dusty-nv/jetson-containers, packages/cuda/tensorrt/config.py (L4T 34 and 35, that is JetPack 5,
have 8.5; L4T 36 with CUDA 12.2, which is JetPack 6.0, has 8.6.2). JetPack 6 has bindings for Python 3.10 alone (NVIDIA,
developer forum, thread 310262). That JetPack 5 has Python 3.8 was noted when the house was planned, without its page;
for 10.15 no JetPack was found.
"""

import re
from dataclasses import dataclass
from typing import Literal, TypeAlias

from edgeskin.errors import TargetError
from edgeskin.graph.write import Opset

Version: TypeAlias = tuple[int, int, int]
Typing: TypeAlias = Literal["flags", "asked", "always"]
"""How a network's precision is said: by flags that permit FP16 and INT8, by asking for a strongly typed network, or not
at all, because every network is strongly typed."""


@dataclass(frozen=True)
class Generation:
    """Versions of TensorRT that are handed the same file and the same options.

    oldest, below: the first version that belongs to it, and the first that does not. jetpack: the JetPack that brings
    it, None for desktops alone. python: of its Python bindings there, None where no source says. highest_opset: that
    its parser supports, None where that is unpinned; opset_source: who says so. opset: of the file that it gets: 17
    with float32 pixels or 21 with uint8 pixels. typing: how precision is said. build_only: trtexec's option that stops
    behind the build, None where no trtexec drives it.
    """

    name: str
    oldest: Version
    below: Version
    jetpack: str | None
    python: str | None
    highest_opset: int | None
    opset_source: str | None
    opset: Opset
    typing: Typing
    build_only: Literal["--buildOnly", "--skipInference"] | None

    @property
    def takes_bytes(self) -> bool:
        """Whether `image` enters as uint8; else as float32, each pixel as a whole number."""
        return self.opset != 17

    @property
    def largest_opset(self) -> int:
        """The highest opset that it can be trusted with: what a source states, or that of its own file."""
        return self.opset if self.highest_opset is None else self.highest_opset


TRTEXEC = (
    Generation(
        "8.5",
        (8, 5, 0),
        (8, 6, 0),
        "5.1",
        "3.8",
        17,
        "onnx-tensorrt, docs/operators.md at release/8.5-GA",
        17,
        "flags",
        "--buildOnly",
    ),
    Generation(
        "8.6",
        (8, 6, 0),
        (9, 0, 0),
        "6.0",
        "3.10",
        17,
        "onnx-tensorrt, docs/operators.md at release/8.6-GA",
        17,
        "flags",
        "--skipInference",
    ),
    Generation(
        "10.0",
        (10, 0, 0),
        (10, 15, 0),
        "6.1 to 7.2.1",
        None,
        20,
        "onnx-tensorrt, docs/operators.md at 10.0",
        17,
        "asked",
        "--skipInference",
    ),
    Generation(
        "10.15",
        (10, 15, 0),
        (11, 0, 0),
        None,
        None,
        24,
        "onnx-tensorrt, docs/operators.md at release/10.15-GA",
        21,
        "asked",
        "--skipInference",
    ),
    Generation(
        "11.0",
        (11, 0, 0),
        (12, 0, 0),
        "7.2.2",
        None,
        24,
        "onnx-tensorrt, docs/operators.md at release/10.15-GA; its release 11.5 GA added 25",
        21,
        "always",
        "--skipInference",
    ),
)
"""Those that trtexec drives, oldest first; each is called after its first version.

TensorRT 9 was for servers and is not among them. trtexec says `--buildOnly` up to 8.5 and `--skipInference` from 8.6 on
(its own help, samples/common/sampleOptions.cpp of NVIDIA/TensorRT); it has `--stronglyTyped` from 10 on and does
without in 11 (NVIDIA, Migrating trtexec Usage from TensorRT 10.x to 11.x).
"""

RTX = Generation("RTX 1", (1, 0, 0), (2, 0, 0), None, None, None, None, 21, "always", None)
"""TensorRT-RTX, for desktop GPUs. Its parser, 1.7.1, reads both of our files back to the same integers, and takes any
opset number; its Python bindings build the engine (`ahead.build`)."""

GENERATIONS: tuple[Generation, ...] = (*TRTEXEC, RTX)


def of(version: Version) -> Generation:
    """The generation of a version. Raises: TargetError that lists the known ones."""
    for generation in GENERATIONS:
        if generation.oldest <= version < generation.below:
            return generation
    known = ", ".join(f"{words(each.oldest)} to below {words(each.below)}" for each in GENERATIONS)
    raise TargetError(f"TensorRT {words(version)} is none that edgeskin knows: {known}. Use one of these")


def parse(text: str) -> Version:
    """A version as packages and modules write it: `8.5.2-1+cuda11.4`, `10.3.0.30`, `11.4`.

    Raises: TargetError for a text that does not begin with one.
    """
    found = re.match(r"(\d+)\.(\d+)(?:\.(\d+))?", text)
    if found is None:
        raise TargetError(f"{text!r} is no version of TensorRT; write one such as 8.5.2")
    major, minor, patch = found.groups(default="0")
    return int(major), int(minor), int(patch)


def from_number(number: int) -> Version:
    """The version in the one number that trtexec prints: `v8502` is 8.5.2, `v100300` is 10.3.0.

    Source: NV_TENSORRT_VERSION in NvInferVersion.h; a major version takes a thousand up to 8, ten thousand from 10 on.
    """
    major = 1000 if number < 10_000 else 10_000
    return number // major, number % major // 100, number % 100


def words(version: Version) -> str:
    """A version as people write it."""
    return ".".join(map(str, version))
