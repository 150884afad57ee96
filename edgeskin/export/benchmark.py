"""How fast a finished bundle is on this machine, and what it takes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from edgeskin import targets
from edgeskin.benchmarks import cold, device, latency
from edgeskin.benchmarks.conditions import Watch
from edgeskin.benchmarks.measurements import ColdStart, LatencyFigure, Measurements
from edgeskin.benchmarks.memory import NotMeasured
from edgeskin.contract.bundle import Bundle
from edgeskin.contract.findings import decode
from edgeskin.contract.image import read_photo
from edgeskin.contract.model import ModelCard
from edgeskin.contract.preprocess import network_input
from edgeskin.contract.second_pass import look
from edgeskin.errors import TargetError
from edgeskin.export import golden
from edgeskin.export.evaluate import Say, silent
from edgeskin.export.golden import GoldenCase
from edgeskin.export.measure import memory_of, placement_of, size_mib
from edgeskin.targets.base import Artifact, Float32, Session, Target, UInt8


def benchmark(
    folder: Path,
    threads: int,
    mode: latency.Mode,
    *,
    more_threads: Sequence[int] = (),
    batches: Sequence[int] = (),
    cold_start: bool = False,
    say: Say = silent,
) -> Measurements:
    """Speed and memory of a bundle: one pass of the network alone, and from photo to findings with all that it takes.

    threads: of every figure. more_threads: other numbers of threads to time both with. batches: how many pictures to
    give the network at once besides one, for its throughput. cold_start: time loading and first run too. What the
    target cannot do so is in `not_measured`, with the reason. A release figure waits until the machine has cooled down.

    Raises: BundleError, TargetError; EdgeskinError for a clock that steps backwards; MissingDependencyError where the
    engine is not installed.
    """
    opened = Bundle.intact(folder)
    manifest, card = opened.manifest, opened.card
    artifact = Artifact(opened.artifact, manifest.target, manifest.precision, manifest.graph_sha256)
    bench = _Bench(artifact, card, golden.read(opened.golden, card).cases, mode, Watch.of(mode), say)
    session = bench.open(threads)
    timed = (
        _Timed(bench.figures(session, threads)),
        bench.by_threads([number for number in more_threads if number != threads]),
        bench.by_batch(session, threads, [batch for batch in batches if batch > 1]),
    )
    say("measuring memory")
    used, placed = memory_of(artifact, card.size, threads), placement_of(session)
    started = bench.cold_start(threads) if cold_start else None
    not_started = {"cold start": started.reason} if isinstance(started, NotMeasured) else {}
    return Measurements(
        latency=tuple(figure for part in timed for figure in part.figures),
        cold_start=started if isinstance(started, ColdStart) else None,
        size_mib=size_mib(session.path),
        memory=used.figure,
        placement=placed.figure,
        device=device.facts(),
        not_measured={name: why for part in timed for name, why in part.not_measured.items()}
        | used.not_measured
        | placed.not_measured
        | not_started,
    )


@dataclass(frozen=True)
class _Timed:
    """Figures, and by the names of others why they are not there."""

    figures: tuple[LatencyFigure, ...] = ()
    not_measured: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class _Bench:
    """What is timed, and how."""

    artifact: Artifact
    card: ModelCard
    cases: Sequence[GoldenCase]
    mode: latency.Mode
    watch: Watch
    say: Say

    @property
    def name(self) -> str:
        return f"model {self.artifact.precision}"

    @property
    def target(self) -> Target:
        return targets.get(self.artifact.target)

    def open(self, threads: int) -> Session:
        return self.target.open(self.artifact, threads=threads)

    def figures(self, session: Session, threads: int) -> tuple[LatencyFigure, ...]:
        """One pass of the network alone, and all that a photo takes."""
        self.say(f"timing the network, threads: {threads}")
        alone = latency.of_network(session, self.cases[0].inputs, self.mode, self.name, threads, watch=self.watch)
        self.say(f"timing from photo to findings, threads: {threads}")
        return (*alone, self._whole(session, threads))

    def by_threads(self, numbers: Sequence[int]) -> _Timed:
        own = self.target.own_threads
        if own is not None and numbers:
            return _Timed(not_measured={"other numbers of threads": f"{own} chooses its own"})
        return _Timed(tuple(figure for number in numbers for figure in self.figures(self.open(number), number)))

    def by_batch(self, session: Session, threads: int, batches: Sequence[int]) -> _Timed:
        """One pass of the network alone with several pictures at once, as far as its engine takes them."""
        names = {batch: f"{self.name}, batch {batch}" for batch in batches}
        if self.target.one_at_a_time:
            why_not = f"{self.artifact.target} takes one picture at a time"
            return _Timed(not_measured=dict.fromkeys(names.values(), why_not))
        figures, not_measured = list[LatencyFigure](), dict[str, str]()
        for batch, name in names.items():
            self.say(f"timing the network, pictures at once: {batch}")
            inputs = _pictures(self.cases, batch)
            try:
                figures += latency.of_network(session, inputs, self.mode, name, threads, watch=self.watch)
            except TargetError as error:
                not_measured[name] = str(error)
        return _Timed(tuple(figures), not_measured)

    def cold_start(self, threads: int) -> ColdStart | NotMeasured:
        self.say("timing cold starts")
        return cold.measure(self.artifact, self.card.size, self.mode, threads=threads)

    def _whole(self, session: Session, threads: int) -> LatencyFigure:
        """From a photo on disk to its findings: in two passes where a golden case needs them."""
        card = self.card
        case = next((case for case in self.cases if case.second is not None), self.cases[0])
        passes = "photo to findings" if case.second is None else "photo to findings, two passes"

        def run() -> None:
            square, box = network_input(read_photo(case.photo), card.size, card.preprocessing)
            metadata = None if card.metadata is None else card.metadata.encode(case.values)[None]
            outputs = look(session.run, card, box, square[None], metadata)
            decode({name: values[0] for name, values in outputs.items()}, card, box, case.photo.name, case.values)

        return latency.measure(run, self.mode, passes, threads, watch=self.watch)


def _pictures(cases: Sequence[GoldenCase], batch: int) -> tuple[UInt8, Float32 | None]:
    """The inputs of the golden cases, over and over, until they are `batch` pictures."""
    images, rows = zip(*(case.inputs for case in cases), strict=True)
    image = np.resize(np.concatenate(images), (batch, *images[0].shape[1:]))
    told = [row for row in rows if row is not None]
    return image, np.resize(np.concatenate(told), (batch, *told[0].shape[1:])) if told else None
