"""Networks between int8 and float: what each answers, what it costs, and the least float that is no worse."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from edgeskin import files, targets
from edgeskin.benchmarks import device, gate, latency
from edgeskin.benchmarks.gate import Gate
from edgeskin.benchmarks.measurements import AccuracyReport, Measurements, SpeedRatio
from edgeskin.benchmarks.repaired import FILE, LayerError, Repair, RepairStep, Returned
from edgeskin.contract.model import ModelCard
from edgeskin.data.cases import Cases
from edgeskin.data.duplicates import Progress
from edgeskin.data.phantom import golden_photos
from edgeskin.errors import DataError
from edgeskin.export import evaluate, golden
from edgeskin.export.evaluate import SELECT, Say
from edgeskin.export.measure import size_mib
from edgeskin.export.profile import Profile
from edgeskin.export.repair.images import Errors, Images, errors_of, is_worse
from edgeskin.graph.folder import PARTS, SEAL, Graph
from edgeskin.graph.ir import Network
from edgeskin.graph.island import Group, Way, float_nodes, groups, in_float, keep_float
from edgeskin.graph.lint import float_tail
from edgeskin.graph.read import read
from edgeskin.graph.write import write_onnx
from edgeskin.targets.base import Artifact, Runnable
from edgeskin.targets.onnx import OnnxSession, reference_session

SHOWN = 32
"""How many images layers are chosen by: as many as there are golden cases."""
MOST = 12
"""The most groups that are tried: beyond, a network is better trained again."""

Ways: TypeAlias = Mapping[Group, Way]
"""Which groups are in float, and how."""


class Candidates:
    """Everything that layers are chosen by. scratch: a folder for what is built on the way. labelled: images with their
    truth, None where no data was given.
    """

    def __init__(
        self, graph: Graph, profile: Profile, scratch: Path, labelled: Cases | None, say: Say, progress: Progress
    ) -> None:
        self.graph, self.profile, self.say, self.progress = graph, profile, say, progress
        self.int8, self.fp32 = read(graph.int8), read(graph.fp32)
        self._scratch = scratch
        self._rules = Gate.find(profile.gate)
        self._target = targets.get(profile.target, **profile.choices)
        self._known: dict[tuple[tuple[Group, Way], ...], Errors] = {}
        in_float = self._session(self.fp32)
        self._labelled = labelled if labelled is not None and self._has_select(labelled) else None
        self.images = self._chosen_by(in_float)
        self._reference = self.images.answers(in_float)

    def _has_select(self, labelled: Cases) -> bool:
        try:
            evaluate.cases_of(self.graph, labelled, SELECT)
        except DataError as error:
            self.say(f"layers are chosen on the golden cases: {error}")
            return False
        return True

    def _chosen_by(self, fp32: Runnable) -> Images:
        card = self.graph.card
        if self._labelled is None:
            return Images.of_golden(golden.read(self.graph.golden, card))
        cases = evaluate.cases_of(self.graph, self._labelled, SELECT)
        shown = cases[:: max(1, len(cases) // SHOWN)][:SHOWN]
        return Images.of_cases(f"{len(shown)} images of {self._labelled.layout.name}, {SELECT}", card, shown, fp32)

    def _session(self, network: Network) -> OnnxSession:
        path = self._scratch / "network.onnx"
        write_onnx(network, path, activations="uint8")
        return OnnxSession(path, threads=device.usable_cores())

    # --- how far from float ---

    def _errors(self, network: Network) -> Errors:
        return errors_of(self.images.answers(self._session(network)), self._reference, self.graph.card)

    def errors(self, ways: Ways) -> Errors:
        """How far int8 with these groups in float is from float; each is measured once."""
        key = tuple(sorted(ways.items()))
        if key not in self._known:
            self._known[key] = self._errors(self.network(ways))
        return self._known[key]

    def network(self, ways: Ways) -> Network:
        """int8 with these groups in float."""
        return keep_float(self.int8, ways, self.fp32)

    def groups(self) -> tuple[Group, ...]:
        """What can go back to float; where an app computes the last step itself, its logits stay integers."""
        logits = {node.inputs[0] for node in float_tail(self.int8)} if self.profile.raw_outputs else set()
        last = {node.name for node in self.int8.nodes if node.output in logits}
        return tuple(group for group in groups(self.int8) if last.isdisjoint(group))

    def ranking(self) -> tuple[LayerError, ...]:
        """Every group by its error alone, the worst first; of the first ones, what each gives back."""
        found = self.groups()
        everything = {name for group in groups(self.int8) for name in group}
        alone = []
        for number, group in enumerate(found):
            others = in_float(self.int8, everything.difference(group), "both", self.fp32)
            alone.append((float(self._errors(others).mean()), group))
            self.progress("layers alone", number + 1, len(found))
        alone.sort(reverse=True)
        whole = float(self.errors({}).mean())
        return tuple(
            LayerError(layers=group, alone=error, given_back=whole - self._least(group) if rank < MOST else None)
            for rank, (error, group) in enumerate(alone)
        )

    def _least(self, group: Group) -> float:
        return min(float(self.errors({group: "output"}).mean()), float(self.errors({group: "both"}).mean()))

    def settled(self, chosen: Sequence[Group], least: float) -> Ways:
        """As little in float as is no worse: a group that can go is left out, else its weights or output alone are.

        int8's weights were trained with their neighbours, those of fp32.onnx with theirs, so both are tried.
        least: the smallest difference that counts.
        """
        ways: dict[Group, Way] = dict.fromkeys(chosen, "both")
        for group in reversed(chosen):
            own: dict[Group, Way] = {**ways, group: "output"}
            if not is_worse(self.errors(own), self.errors(ways), 0.0):
                ways = own
        for group in reversed(chosen):
            without: dict[Group, Way] = {each: way for each, way in ways.items() if each != group}
            simpler: tuple[dict[Group, Way], ...] = (without, {**ways, group: "weights"})
            reached = self.errors(ways)
            ways = next((each for each in simpler if not is_worse(self.errors(each), reached, least)), ways)
        return ways

    # --- what it costs ---

    def tried(self, ways: Ways) -> "Tried":
        """A network built for the target: its size, its speed where it runs here, and its drops on `select`."""
        network = self.network(ways)
        folder = self._scratch / "candidate"
        with files.new_folder(folder) as building:
            self._fill(building, network)
            files.copy(self.graph.golden, building / "golden")  # of int8: nobody asks it here
        candidate = Graph.open(folder)
        with files.new_folder(self._scratch / "artifact") as place:
            artifact = self._target.build(candidate, "int8", place)
            size, speed = size_mib(artifact.path), self._speed(candidate, artifact)
        known = Measurements(size_mib=size, speed=speed, accuracy=self._on_select(candidate))
        verdict = gate.judge(known, self._rules, self.graph.card, "int8", budget=self.profile.budget)
        bad = [promise for promise in verdict.in_state("failed") if promise.measured is not None]
        step = RepairStep(
            returned=returned(ways),
            in_float=len(float_nodes(network)),
            error=float(self.errors(ways).mean()),
            size_mib=size,
            speedup_vs_fp32=None if speed is None else speed.speedup_vs_fp32,
            drops={
                promise.name.removesuffix(_DROP): promise.measured
                for promise in verdict.promises
                if promise.name.endswith(_DROP) and promise.measured is not None
            },
        )
        return Tried(
            step=step,
            spent=tuple(one.name for one in bad if one.section != "accuracy"),
            short=tuple(one.name for one in bad if one.section == "accuracy" and not one.name.endswith(_BOUND)),
        )

    def _speed(self, candidate: Graph, artifact: Artifact) -> SpeedRatio | None:
        if not self._target.processors():
            return None
        threads = self.profile.threads
        session = self._target.open(artifact, threads=threads)
        if getattr(session, "simulated", False):
            return None
        with evaluate.baseline(candidate, self._target, threads) as fp32:
            return latency.speedup(fp32, session, self.images.first, "quick", threads)

    def _on_select(self, candidate: Graph) -> AccuracyReport | None:
        if self._labelled is None:
            return None
        with evaluate.opened(candidate) as (fp32, int8):
            return evaluate.measure(self.graph, int8, fp32, self._labelled, SELECT, progress=self.progress)

    # --- the repaired Graph ---

    def write(self, place: Path, ways: Ways, repair: Repair) -> Graph:
        """A Graph folder with these groups in float: the same float network, golden cases of its own, no evidence."""
        count = len(golden.read(self.graph.golden, self.graph.card).cases)
        with files.new_folder(place) as building:
            card = self._fill(building, self.network(ways))
            in_float, in_int8 = (reference_session(building / name) for name in ("fp32.onnx", "int8.onnx"))
            golden.write(building / "golden", golden_photos(count), card, in_float.run, in_int8.run)
            for part in set(PARTS).difference(_CHANGED):
                if (self.graph.folder / part).exists():
                    files.copy(self.graph.folder / part, building / part)
            files.write_json(building / "evidence.json", [])
            files.write_json(building / FILE, repair.model_dump(mode="json"))
            Graph.open(building).seal()
        return Graph.open(place)

    def _fill(self, folder: Path, network: Network) -> ModelCard:
        """Both networks, and the model card that declares what is in float."""
        files.copy(self.graph.fp32, folder / "fp32.onnx")
        write_onnx(network, folder / "int8.onnx")
        card = self.graph.card.model_copy(update={"kept_float": float_nodes(network)})
        card.write(folder / "model.json")
        return card


_DROP, _BOUND = "_drop", "_drop_upper95"
"""How the gate calls a drop, and its bound, which `select` alone is too small to show."""
_CHANGED = ("fp32.onnx", "int8.onnx", "model.json", "golden", "chain.json", "evidence.json", SEAL)
"""Parts of a Graph that a repaired one has of its own; the chain of hops led to another int8.onnx, and is left out."""


@dataclass(frozen=True)
class Tried:
    """A network that was built. spent: limits on size and speed that it breaks. short: on accuracy, on `select`."""

    step: RepairStep
    spent: tuple[str, ...]
    short: tuple[str, ...]


def returned(ways: Ways) -> tuple[Returned, ...]:
    """The same as a report tells it."""
    return tuple(Returned(layers=group, way=way) for group, way in ways.items())
