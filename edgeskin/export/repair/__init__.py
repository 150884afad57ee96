"""Repair: when int8 fails its gate, the layers that cause the error go back to float, one group at a time.

Layers that share a scale are one group. A group's error alone is that of the float network in which nothing but this
group is as int8 has it; by it they are ranked, because it shows every wrong layer, also behind another wrong one. What
an int8 network gives back where the group alone is in float is shown beside it, and is hidden there.

Error is the mean difference of the probabilities from those of the float network, and of a mask besides the share of
pixels that are decided otherwise; the mean over the heads. It needs no truth.

Images are for two things. Layers are chosen on `select`, which training held out for choices, or on the golden cases
where no data is given. How many are enough the gate says, on the profile's split, `select+val`: it is only asked once
the drops on `select` alone, as onnxruntime computes int8, are small enough, so that validation images are looked at as
seldom as can be, and every look stands in the trade. Test images are never looked at. Without data no accuracy is
known, so layers are returned as long as one of them stands out, and the gate says that accuracy was not measured.

What comes out is a Graph folder of its own, beside the bundle, with another hash: no evidence counts for it but what
the gate measured on data with onnxruntime, which is appended to its own.
"""

import shlex
import tempfile
from pathlib import Path

from edgeskin.benchmarks import device, evidence
from edgeskin.benchmarks.evidence import EvidenceEntry
from edgeskin.benchmarks.repaired import FILE, LayerError, Repair, RepairStep
from edgeskin.benchmarks.report import Report
from edgeskin.data.duplicates import Progress
from edgeskin.data.sets import open_like
from edgeskin.errors import EdgeskinError
from edgeskin.export import journey
from edgeskin.export.evaluate import Say, silent
from edgeskin.export.journey import Exported
from edgeskin.export.profile import Profile
from edgeskin.export.repair.candidates import MOST, Candidates, Ways, returned
from edgeskin.export.repair.images import is_worse
from edgeskin.graph.folder import Graph
from edgeskin.graph.island import Group, float_nodes

STANDS_OUT = 0.005
"""The least error that is worth a layer where no gate asks: 2.5 times what two engines may differ by. On clinic-1 no
group of int8 gives back more than 0.0033, and a scale eight times too small costs 0.03 to 0.3."""
PATIENCE = 3
"""How many groups in a row may give nothing back: of two wrong layers in a row, the first alone may show nothing."""


def graph_beside(out: Path) -> Path:
    """Where the repaired Graph of a bundle stands."""
    return out.with_name(f"{out.name}-graph")


def export(
    graph: Graph,
    profile: Profile,
    out: Path,
    *,
    data: Path | None = None,
    say: Say = silent,
    progress: Progress = silent,
) -> Exported:
    """As `journey.export`; where the gate then fails by accuracy, the same of a network with layers back in float.

    The repaired Graph folder stands at `graph_beside(out)`.

    Raises: EdgeskinError for another precision than int8, or where something else stands in that place; as
    `journey.export`.
    """
    if profile.precision != "int8":
        raise EdgeskinError(
            f"--repair returns layers of int8 to float, and {profile.precision} was asked for. Leave it out"
        )
    place = graph_beside(out)
    if place.exists() and not (place / FILE).is_file():
        raise EdgeskinError(f"{place}: stands where the repaired Graph belongs and is none. Move it away")
    done = journey.export(graph, profile, out, data=data, say=say, progress=progress)
    reason = _beyond_repair(done.report, given=data is not None)
    if reason is not None:
        say(f"nothing is repaired: {reason}")
        return done
    if data is None:
        say("no accuracy without data: layers are chosen without it, and the gate cannot judge them. Give --data")
    labelled = None if data is None else open_like(data, graph.card.provenance.data)
    with tempfile.TemporaryDirectory(prefix="edgeskin-") as scratch:
        candidates = Candidates(graph, profile, Path(scratch), labelled, say, progress)
        return _Repairing(candidates, done, place, data).run()


def _beyond_repair(report: Report, *, given: bool) -> str | None:
    """Why layers in float would not help, or None. given: whether data was."""
    failed = report.verdict.in_state("failed")
    if not failed:
        return "the gate did not fail" if report.verdict.promises else "the gate promises nothing of this network"
    others = [promise.name for promise in failed if promise.section != "accuracy"]
    if others:
        return f"{', '.join(others)} failed, and layers in float do not mend that"
    if given and all(promise.measured is None for promise in failed):
        return f"{', '.join(promise.name for promise in failed)} cannot be measured on this data"
    return None


class _Repairing:
    """One repair under way: groups by rank, each tried on top of those before.

    done: the bundle as it is now. place: for the repaired Graph. data: what the gate judges accuracy on, if anything.
    """

    def __init__(self, candidates: Candidates, done: Exported, place: Path, data: Path | None) -> None:
        self._candidates, self._done, self._place, self._data = candidates, done, place, data
        self._ranking: tuple[LayerError, ...] = ()
        self._steps: list[RepairStep] = []
        self._exported: Ways = {}

    def run(self) -> Exported:
        """The bundle of the best network that was found, or the one there was."""
        candidates, judging = self._candidates, self._data is not None
        least = 0.0 if judging else STANDS_OUT
        candidates.say(f"ranking layers on {candidates.images.words}")
        self._ranking = candidates.ranking()
        start = candidates.tried({}).step
        self._steps.append(start.model_copy(update={"judged": self._done.verdict.state}))
        best: Ways = {}
        chosen, idle = list[Group](), 0
        stopped = f"{min(MOST, len(self._ranking))} groups of layers were tried"
        for one in self._ranking[:MOST]:
            chosen.append(one.layers)
            ways = candidates.settled(chosen, least)
            if not is_worse(candidates.errors(best), candidates.errors(ways), least):
                idle += 1
                if idle == PATIENCE:
                    stopped = "no further layer gives anything back" if judging else "no further layer stands out"
                    break
                continue
            idle = 0
            tried = candidates.tried(ways)
            self._steps.append(tried.step)
            candidates.say(f"in float: {'; '.join(each.sentence for each in tried.step.returned)}")
            candidates.say(f"error {tried.step.error:.4g} (mean difference from float)")
            if tried.spent:
                stopped = f"one more group would break {', '.join(tried.spent)}"
                break
            best = ways
            if judging and not tried.short:
                self._export(best, "the drops are small enough where layers are chosen, and the gate was asked")
                reason = _beyond_repair(self._done.report, given=True)
                if reason is not None:
                    stopped = reason
                    break
        if best != self._exported:
            self._export(best, stopped)
        passed = self._done.verdict.state == "passed"
        candidates.say("repaired: the gate passed" if passed else f"stopped: {stopped}")
        if judging and self._exported:
            candidates.say(f"Its other targets: {self._next()}")
        return self._done

    def _next(self) -> str:
        """How its other targets are exported. What the gate measured is evidence where it is what `evaluate` measures:
        the answers of onnxruntime.
        """
        graph, profile = Graph.open(self._place), self._candidates.profile
        place, out = shlex.quote(str(self._place)), shlex.quote(str(self._done.folder))
        export = f"edgeskin export --from {place} --target all --out {out}-all"
        report = self._done.report.measurements.accuracy
        if profile.target == "onnx" and report is not None and report.inherited_from is None:
            evidence.append(graph.evidence, EvidenceEntry.of(report, graph.sha256, device.engine_versions()))
            return export
        return f"edgeskin evaluate {place} --data {shlex.quote(str(self._data))} --split {profile.split} && {export}"

    def _export(self, ways: Ways, stopped: str) -> None:
        """Write the repaired Graph, and export it in the place of the bundle."""
        candidates = self._candidates
        repair = Repair(
            images=candidates.images.words,
            n=len(candidates.images.image),
            ranking=self._ranking,
            steps=tuple(self._steps),
            returned=returned(ways),
            kept_float=float_nodes(candidates.network(ways)),
            stopped=stopped,
        )
        graph = candidates.write(self._place, ways, repair)
        candidates.say(f"repaired Graph: {self._place}")
        self._done = journey.export(
            graph,
            candidates.profile,
            self._done.folder,
            data=self._data,
            say=candidates.say,
            progress=candidates.progress,
        )
        self._exported = ways
        self._steps[-1] = self._steps[-1].model_copy(update={"judged": self._done.verdict.state})
