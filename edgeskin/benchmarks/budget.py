"""What a device leaves to the network, and which machine's figures count as its own.

A budget is a requirement, never a measurement: each figure stands beside the words that say where it comes from.
"""

import re
from typing import Annotated

from pydantic import Field, model_validator

from edgeskin.benchmarks.measurements import DeviceFacts, Measurements
from edgeskin.contract.model import Frozen

Words = Annotated[str, Field(min_length=1)]


class Ceiling(Frozen):
    """The most that a figure may be, and where that comes from: a title and its publisher, or how it was derived."""

    at_most: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    source: Words


class Budget(Frozen):
    """The ceilings of a device, by the names of the promises; what is left out is left to the gate."""

    latency_p90_ms: Ceiling | None = None
    size_mib: Ceiling | None = None
    peak_memory_mib: Ceiling | None = None


class NamedDevice(Frozen):
    """The machine that a profile is for; what another one measured of itself does not count for it.

    name: with its article, as in "a Raspberry Pi 5". board, gpu, cpu, os: whole words that the machine says of itself,
    in any case; all that are given must be found. flag: one of its CPU's. engine: words of what ran the network there,
    where a machine may have several.
    """

    name: Words
    board: Words | None = None
    gpu: Words | None = None
    cpu: Words | None = None
    os: Words | None = None
    flag: Words | None = None
    engine: Words | None = None

    @model_validator(mode="after")
    def _can_be_told(self) -> "NamedDevice":
        if not any((self.board, self.gpu, self.cpu, self.os, self.flag)):
            raise ValueError("nothing tells the device; give board, gpu, cpu, os or flag, as the machine says it")
        return self

    def is_that_of(self, measured: Measurements) -> bool:
        """Whether these figures are those of such a device; where nobody says whose they are, they are not."""
        facts, placement = measured.device, measured.placement
        if facts is None:
            return False
        if self.engine is not None and (placement is None or not _says(placement.provider, self.engine)):
            return False
        # A board stands in front of its CPU's name too, and stood nowhere else before `board` was a fact of its own.
        board = facts.board or facts.cpu
        said = ((self.board, board), (self.gpu, facts.gpu), (self.cpu, facts.cpu), (self.os, facts.os))
        heard = all(word is None or _says(text, word) for word, text in said)
        return heard and (self.flag is None or self.flag in facts.flags)


def of_device(measured: Measurements, device: NamedDevice | None) -> Measurements:
    """The same without latency, memory and placement where another machine than `device` measured them of itself.

    What the artifact answers, and how large it is, counts wherever it was found. Without a device everything counts.
    """
    if device is None or device.is_that_of(measured):
        return measured
    here = "a machine that is not named" if measured.device is None else _machine(measured.device)
    found = {
        "latency": measured.latency or measured.speed or measured.cold_start,
        "memory": measured.memory,
        "placement": measured.placement,
    }
    why = f"only on {here}, not on {device.name}. There: edgeskin attest BUNDLE"
    return measured.model_copy(
        update={
            "latency": (),
            "speed": None,
            "cold_start": None,
            "memory": None,
            "placement": None,
            "not_measured": measured.not_measured | {section: why for section, figure in found.items() if figure},
        }
    )


def _says(text: str | None, words: str) -> bool:
    """Whole words: a Raspberry Pi 500 is no Raspberry Pi 5."""
    return text is not None and re.search(rf"(?<!\w){re.escape(words)}(?!\w)", text, re.IGNORECASE) is not None


def _machine(facts: DeviceFacts) -> str:
    """A machine by what it runs networks with."""
    return ", ".join(part for part in (facts.cpu, facts.gpu) if part)
