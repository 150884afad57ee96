"""Every state of a promise, and how they add up to an exit code; the limits are those of the design."""

import math
from pathlib import Path

import pytest

from edgeskin import shipped
from edgeskin.benchmarks import evidence
from edgeskin.benchmarks.gate import Drops, Gate, Limit, Section, Subgroups, Verdict, judge
from edgeskin.benchmarks.measurements import EngineGap, Measurements, MetricFigure, NumericsHop, SubgroupFigure
from edgeskin.contract.model import HeadSpec
from edgeskin.errors import EdgeskinError, RecipeError
from edgeskin.graph.folder import Graph

DEFAULT = Gate.read(shipped.folder("gates") / "default.toml")
SECTIONS: dict[Section, dict[str, object]] = {
    "accuracy": {"accuracy": None},
    "numerics": {"numerics": (), "reads_back": None},
    "latency": {"speed": None, "latency": ()},
    "size": {"size_mib": None},
    "memory": {"memory": None},
    "placement": {"placement": None},
}
"""What to take out of the measurements so that a section was not measured."""
FULL = DEFAULT.model_copy(update={"latency_p90_ms_max": 20.0, "floor": {"melanoma_auroc": 0.83}})


def without(measured: Measurements, section: Section) -> Measurements:
    return measured.model_copy(update=SECTIONS[section])


def inherited(measured: Measurements) -> Measurements:
    assert measured.accuracy is not None
    report = measured.accuracy.model_copy(update={"inherited_from": "2025-01-01"})
    return measured.model_copy(update={"accuracy": report})


def with_drop(measured: Measurements, metric: str, **values: float | None) -> Measurements:
    assert measured.accuracy is not None
    metrics = measured.accuracy.metrics
    changed = {**metrics, metric: metrics[metric].model_copy(update=values)}
    return measured.model_copy(update={"accuracy": measured.accuracy.model_copy(update={"metrics": changed})})


def states(verdict: Verdict, section: Section) -> set[str]:
    return {promise.state for promise in verdict.promises if promise.section == section}


def state_of(verdict: Verdict, name: str) -> str:
    (promise,) = (promise for promise in verdict.promises if promise.name == name)
    return promise.state


def test_everything_measured_and_good_passes(measured, card):
    verdict = judge(measured, FULL, card, "int8")
    assert {promise.state for promise in verdict.promises} == {"passed"}
    assert (verdict.state, verdict.exit_code) == ("passed", 0)


def test_the_default_gate_holds_the_limits_of_the_design():
    assert DEFAULT.drop == Drops(
        mask_jaccard=Limit(estimate=0.005, bound=0.01),
        auroc=Limit(estimate=0.005, bound=0.02),
        balanced_accuracy=Limit(estimate=0.01, bound=0.03),
        sensitivity=Limit(estimate=0.02, bound=0.05),
    )
    assert DEFAULT.equivalent


@pytest.mark.parametrize("section", SECTIONS)
def test_an_unmeasured_promise_fails(measured, card, section):
    verdict = judge(without(measured, section), FULL, card, "int8")
    assert states(verdict, section) == {"failed"}
    assert all("not measured" in promise.sentence for promise in verdict.in_state("failed"))
    assert (verdict.state, verdict.exit_code) == ("failed", 3)


@pytest.mark.parametrize("section", SECTIONS)
def test_an_unmeasured_promise_that_may_be_pending_is_pending(measured, card, section):
    verdict = judge(without(measured, section), FULL, card, "int8", may_be_pending={section})
    assert states(verdict, section) == {"pending"}
    assert (verdict.state, verdict.exit_code) == ("pending", 4)


@pytest.mark.parametrize("section", SECTIONS)
def test_what_was_measured_is_not_pending_because_it_might_be(measured, card, section):
    assert judge(measured, FULL, card, "int8", may_be_pending={section}).exit_code == 0


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("speedup_vs_fp32", {"speed": {"speedup_vs_fp32": 0.99}}),
        ("latency_p90_ms", {"latency": {"p90_ms": 20.1}}),
        ("size_mib", {"size_mib": 16.1}),
        ("peak_memory_mib", {"memory": {"peak_mib": 512.1}}),
        ("integer_convolutions", {"placement": {"integer_convolutions": 53}}),
    ],
)
def test_a_bad_measurement_fails_even_where_it_may_be_pending(measured, card, name, change):
    ((section, values),) = change.items()
    if isinstance(values, dict):
        old = getattr(measured, section)
        new = (old[0].model_copy(update=values),) if section == "latency" else old.model_copy(update=values)
    else:
        new = values
    verdict = judge(measured.model_copy(update={section: new}), FULL, card, "int8", may_be_pending=set(SECTIONS))
    assert [promise.name for promise in verdict.in_state("failed")] == [name]
    assert verdict.exit_code == 3


@pytest.mark.parametrize("broken", ["drop", "drop_upper95"])
@pytest.mark.parametrize(
    ("metric", "limit"),
    [
        ("mask_jaccard", {"drop": 0.005, "drop_upper95": 0.01}),
        ("melanoma_auroc", {"drop": 0.005, "drop_upper95": 0.02}),
        ("diagnosis_balanced_accuracy", {"drop": 0.01, "drop_upper95": 0.03}),
        ("melanoma_sensitivity", {"drop": 0.02, "drop_upper95": 0.05}),
    ],
)
def test_a_drop_passes_at_its_limit_and_fails_above_it(measured, card, metric, limit, broken):
    assert judge(with_drop(measured, metric, **limit), FULL, card, "int8").exit_code == 0
    above = {**limit, broken: limit[broken] + 1e-4}
    verdict = judge(with_drop(measured, metric, **above), FULL, card, "int8")
    assert [promise.name for promise in verdict.in_state("failed")] == [f"{metric}_{broken}"]


def test_a_drop_at_its_limit_passes_in_binary_arithmetic_too(measured, card):
    assert 0.85 - 0.83 > 0.02
    at_limit = with_drop(measured, "melanoma_sensitivity", drop=0.85 - 0.83)
    assert state_of(judge(at_limit, FULL, card, "int8"), "melanoma_sensitivity_drop") == "passed"


def test_an_undefined_bound_was_not_measured(measured, card):
    verdict = judge(with_drop(measured, "melanoma_auroc", drop_upper95=None), FULL, card, "int8")
    (promise,) = verdict.in_state("failed")
    assert promise.name == "melanoma_auroc_drop_upper95"
    assert "lack a class" in promise.sentence


def test_a_floor_is_held_by_the_network_that_ships(measured, card):
    gate = Gate(floor={"melanoma_auroc": 0.8345})  # float 0.835 is above, int8 0.834 is not
    assert judge(measured, gate, card, "int8").exit_code == 3


def test_a_floor_for_a_metric_that_is_not_there_fails_and_names_the_nearest(measured, card):
    (promise,) = judge(measured, Gate(floor={"melanom_auroc": 0.5}), card, "int8").promises
    assert promise.state == "failed"
    assert "did you mean melanoma_auroc?" in promise.sentence


def test_a_head_without_truth_is_named_and_not_another_metric(measured, card):
    others = {name: one for name, one in measured.accuracy.metrics.items() if not name.startswith("melanoma_")}
    accuracy = measured.accuracy.model_copy(update={"metrics": others})
    verdict = judge(measured.model_copy(update={"accuracy": accuracy}), FULL, card, "int8")
    untold = [one for one in verdict.in_state("failed") if one.name.startswith("melanoma_")]
    assert untold
    assert {one.why_not for one in untold} == {"none of these images has a truth for melanoma"}


def test_inherited_accuracy_counts_where_the_profile_accepts_it(measured, card):
    verdict = judge(inherited(measured), FULL, card, "int8", accept_inherited=True)
    assert states(verdict, "accuracy") == {"inherited"}
    assert (verdict.state, verdict.exit_code) == ("passed", 0)
    assert "2025-01-01" in verdict.in_state("inherited")[0].sentence


def test_inherited_accuracy_fails_where_the_profile_does_not_accept_it(measured, card):
    verdict = judge(inherited(measured), FULL, card, "int8")
    assert states(verdict, "accuracy") == {"failed"}
    assert {promise.measured for promise in verdict.in_state("failed")} == {None}
    assert "does not accept inherited accuracy" in verdict.in_state("failed")[0].sentence
    assert verdict.exit_code == 3


def test_inherited_accuracy_that_is_not_accepted_may_be_pending(measured, card):
    verdict = judge(inherited(measured), FULL, card, "int8", may_be_pending={"accuracy"})
    assert (states(verdict, "accuracy"), verdict.exit_code) == ({"pending"}, 4)


def test_inherited_accuracy_that_is_bad_fails(measured, card):
    bad = inherited(with_drop(measured, "mask_jaccard", drop=0.2))
    verdict = judge(bad, FULL, card, "int8", accept_inherited=True)
    assert [promise.name for promise in verdict.in_state("failed")] == ["mask_jaccard_drop"]


@pytest.mark.parametrize("equivalent", [False, None])
def test_evidence_is_worth_nothing_for_an_artifact_that_is_not_equivalent(measured, card, equivalent):
    hops = tuple(hop.model_copy(update={"equivalent": equivalent}) for hop in measured.numerics)
    unlike = inherited(measured.model_copy(update={"numerics": hops}))
    verdict = judge(unlike, Gate(drop=DEFAULT.drop), card, "int8", accept_inherited=True)
    assert states(verdict, "accuracy") == {"failed"}
    assert "equivalent" in verdict.promises[0].sentence


def test_evidence_is_worth_nothing_where_any_machine_diverged_even_if_the_gate_asks_no_equivalence(measured, card):
    gate = Gate(drop=Drops(auroc=Limit(estimate=0.005, bound=0.02)))
    told = inherited(measured)

    def with_hops(equivalent):
        hops = tuple(
            hop.model_copy(update={"equivalent": equivalent}) if hop in told.artifact_hops else hop
            for hop in told.numerics
        )
        return told.model_copy(update={"numerics": hops})

    def judged(report, device):
        return judge(report, gate, card, "int8", accept_inherited=True, attested={"a-mac": device}).state

    good, bad = with_hops(True), with_hops(False)
    assert judged(good, good) == "passed"
    assert judged(good, bad) == "failed"
    assert judged(bad, good) == "failed"


def test_failed_beats_pending(measured, card):
    open_and_bad = without(measured, "memory").model_copy(update={"size_mib": 99.0})
    verdict = judge(open_and_bad, FULL, card, "int8", may_be_pending={"memory"})
    assert {promise.state for promise in verdict.promises} == {"passed", "pending", "failed"}
    assert (verdict.state, verdict.exit_code) == ("failed", 3)


def test_a_gate_that_promises_nothing_is_not_passed(measured, card):
    verdict = judge(measured, Gate(), card, "int8", may_be_pending=set(SECTIONS), accept_inherited=True)
    assert (verdict.promises, verdict.state, verdict.exit_code) == ((), "failed", 3)


def test_a_gate_that_promises_nothing_of_this_network_is_not_passed(measured, card):
    mask_only = card.model_copy(update={"heads": card.heads[:1]})
    gate = Gate(drop=Drops(auroc=Limit(estimate=0.005, bound=0.02)))
    assert judge(measured, gate, mask_only, "int8").exit_code == 3


def test_a_new_head_is_promised_what_its_kind_is_promised(measured, card):
    wider = card.model_copy(
        update={"heads": (*card.heads, HeadSpec(name="symmetry", kind="sigmoid", labels=("yes",), threshold=0.5))}
    )
    verdict = judge(measured, Gate(drop=DEFAULT.drop), wider, "int8")
    assert {promise.name for promise in verdict.in_state("failed")} == {
        "symmetry_auroc_drop",
        "symmetry_auroc_drop_upper95",
        "symmetry_sensitivity_drop",
        "symmetry_sensitivity_drop_upper95",
    }


@pytest.mark.parametrize(
    ("names", "state", "sentence"),
    [
        ((), "passed", "0; is at most 0"),
        (("conv.3", "add.1"), "failed", "2; must be at most 0 (conv.3, add.1)"),
        (None, "failed", "not measured, and must be at most 0"),
    ],
)
def test_a_quantized_layer_that_runs_in_float_fails_and_is_named(measured, card, names, state, sentence):
    placement = measured.placement.model_copy(update={"float_operators": names})
    told = measured.model_copy(update={"placement": placement})
    (promise,) = judge(told, Gate(float_operators_max=0), card, "int8").promises
    assert (promise.name, promise.section, promise.state, promise.sentence) == (
        "float_operators",
        "placement",
        state,
        sentence,
    )
    assert judge(told, Gate(float_operators_max=0), card, "fp16").promises == ()


def test_memory_is_that_of_the_process_and_of_the_accelerator(measured, card):
    memory = measured.memory.model_copy(update={"device_mib": 30.0})
    (promise,) = judge(
        measured.model_copy(update={"memory": memory}), Gate(peak_memory_mib_max=100), card, "int8"
    ).promises
    assert (promise.measured, promise.state) == (117.0, "failed")


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"mask_agreement": 0.9989}, "mask_agreement"),
        ({"mean_abs": 0.0021}, "mean_probability_difference"),
        ({"labels_equal": False}, "outputs_with_other_decisions"),
    ],
)
def test_an_artifact_that_computes_something_else_fails_and_is_told_where(measured, card, change, name):
    index = 1 if name == "mask_agreement" else 3
    hops = list(measured.numerics)
    hops[index] = hops[index].model_copy(update={**change, "equivalent": False})
    verdict = judge(measured.model_copy(update={"numerics": tuple(hops)}), FULL, card, "int8")
    (promise,) = verdict.in_state("failed")
    assert promise.name == name
    assert f"diverges at int8.onnx → artifact, {hops[index].tensor}" in promise.sentence


def test_the_mean_difference_may_be_twice_what_onnxruntime_differs_from_itself(measured, card):
    hops = list(measured.numerics)
    hops[1] = hops[1].model_copy(update={"mean_abs": 0.0034, "engine_gap": EngineGap(mean_abs=0.0017, max_abs=0.01)})
    assert judge(measured.model_copy(update={"numerics": tuple(hops)}), FULL, card, "int8").exit_code == 0


def test_a_mask_is_held_against_onnxruntimes_own_disagreement(measured, card):
    hops = list(measured.numerics)
    gap = EngineGap(mean_abs=0, max_abs=0, mask_disagreement=0.0012)
    hops[1] = hops[1].model_copy(update={"mask_agreement": 0.9977, "engine_gap": gap})
    assert judge(measured.model_copy(update={"numerics": tuple(hops)}), FULL, card, "int8").exit_code == 0
    hops[1] = hops[1].model_copy(update={"mask_agreement": 0.9975})
    assert judge(measured.model_copy(update={"numerics": tuple(hops)}), FULL, card, "int8").exit_code == 3


def test_onnxruntimes_own_gap_excuses_no_artifact_beyond_the_widest_limits(measured, card):
    # An engine that is wrong when optimised, as one that saturates is, has a gap as wide as its error.
    hops = list(measured.numerics)
    gap = EngineGap(mean_abs=0.4, max_abs=0.9, mask_disagreement=0.9)
    hops[1] = hops[1].model_copy(update={"mask_agreement": 0.9949, "engine_gap": gap})
    hops[3] = hops[3].model_copy(update={"mean_abs": 0.0101, "engine_gap": gap})
    verdict = judge(measured.model_copy(update={"numerics": tuple(hops)}), FULL, card, "int8")
    names = {promise.name for promise in verdict.in_state("failed")}
    assert names == {"mask_agreement", "mean_probability_difference"}


@pytest.mark.parametrize(("reads_back", "sentence"), [(False, "must be at most 0"), (None, "not measured")])
def test_an_artifact_that_reads_back_as_another_network_fails(measured, card, reads_back, sentence):
    changed = measured.model_copy(update={"reads_back": reads_back})
    failed = {promise.name: promise.sentence for promise in judge(changed, FULL, card, "int8").in_state("failed")}
    assert sentence in failed["read_back_differences"]
    assert changed.equivalent is not True


def test_hops_that_never_reach_the_artifact_do_not_count_as_measured(measured, card):
    hop = NumericsHop(
        name="converted → int8.onnx", tensor="mask", mean_abs=0, max_abs=0, mask_agreement=1, equivalent=True
    )
    verdict = judge(measured.model_copy(update={"numerics": (hop,), "reads_back": None}), FULL, card, "int8")
    assert states(verdict, "numerics") == {"failed"}


def test_an_output_that_was_not_compared_fails_the_numerics(measured, card):
    verdict = judge(measured.model_copy(update={"numerics": measured.numerics[:-1]}), FULL, card, "int8")
    failed = verdict.in_state("failed")
    assert {promise.name for promise in failed} == {
        "mask_agreement",
        "mean_probability_difference",
        "outputs_with_other_decisions",
    }
    assert "not compared on melanoma" in failed[0].sentence


def test_speed_and_integer_kernels_are_not_asked_of_a_float_artifact(measured, card):
    names = {promise.name for promise in judge(measured, FULL, card, "fp32").promises}
    assert names.isdisjoint({"speedup_vs_fp32", "integer_convolutions"})
    assert "latency_p90_ms" in names


def test_a_gate_file_with_mistakes_names_them_all_with_the_nearest_key(tmp_path):
    path = tmp_path / "gate.toml"
    path.write_text(
        'size_mb_max = 3\nintegre_convolutions_min = 0.9\nequivalent = "often"\n'
        "[drop]\nmask_jacard = { estimate = 0.1, bound = 0.1 }\nauroc = { estimate = 1.5 }\n"
        "[floor]\nmelanoma_ece = 0.1\n[ceiling]\nmelanoma_auroc = 0.1\n[subgroup]\nminimum = 0\nflor = {}\n"
    )
    with pytest.raises(RecipeError) as caught:
        Gate.read(path)
    text = str(caught.value)
    for sentence in (
        "size_mb_max is not a known key; did you mean size_mib_max?",
        "integre_convolutions_min is not a known key; did you mean integer_convolutions_min?",
        "equivalent is 'often'",
        "drop.mask_jacard is not a known key; did you mean mask_jaccard?",
        "drop.auroc.estimate is 1.5",
        "drop.auroc.bound is missing",
        "write ceiling.melanoma_ece, or limit drop.ece",
        "write floor.melanoma_auroc",
        "subgroup.minimum is 0",
        "subgroup.flor is not a known key; did you mean floor?",
    ):
        assert sentence in text
    assert len(caught.value.problems) == 10


def test_a_dozen_images_are_no_measurement(measured, card):
    metrics = {name: one.model_copy(update={"n": 12}) for name, one in measured.accuracy.metrics.items()}
    few = with_accuracy(measured, metrics=metrics)
    verdict = judge(few, FULL, card, "int8")
    assert states(verdict, "accuracy") == {"failed"}
    assert "only 12 images count for it, and the gate demands 100 (minimum)" in verdict.in_state("failed")[0].sentence
    assert judge(few, FULL.model_copy(update={"minimum": 12}), card, "int8").exit_code == 0


def test_a_metric_that_rests_on_few_of_a_class_was_not_measured(measured, card):
    rare = with_accuracy(measured, weakest={"melanoma_auroc": 14, "melanoma_sensitivity": 15})
    verdict = judge(rare, FULL, card, "int8")
    failed = {promise.name: promise.sentence for promise in verdict.in_state("failed")}
    assert set(failed) == {"melanoma_auroc", "melanoma_auroc_drop", "melanoma_auroc_drop_upper95"}
    assert "only 14 images are of a class that it needs" in failed["melanoma_auroc"]
    assert judge(with_accuracy(measured, weakest=None), FULL, card, "int8").exit_code == 0


@pytest.mark.parametrize(
    ("name", "of_a_class"), [("default", 15), ("clinic", 15), ("iphone", 15), ("tensorrt", 15), ("photo", 8)]
)
def test_every_shipped_gate_demands_enough_images(name, of_a_class):
    gate = Gate.find(name)
    assert (gate.minimum, gate.minimum_per_class) == (100, of_a_class)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("size_mib_max = inf", "size_mib_max is inf"),
        ("latency_p90_ms_max = nan", "latency_p90_ms_max is nan"),
        ("drop.auroc = { estimate = 0.02, bound = 0.01 }", "drop.auroc: bound 0.01 is below estimate 0.02"),
    ],
)
def test_a_limit_that_limits_nothing_or_cannot_be_reached_is_a_mistake(tmp_path, line, words):
    path = tmp_path / "gate.toml"
    path.write_text(line)
    with pytest.raises(RecipeError, match=words):
        Gate.read(path)


def test_an_unknown_gate_is_told_which_are_shipped():
    with pytest.raises(EdgeskinError, match="default"):
        Gate.find("defalt")


# --- what other machines measured since ---

DEVICE_ONLY: tuple[Section, ...] = ("numerics", "latency", "memory", "placement")


@pytest.fixture
def by_bytes(measured) -> Measurements:
    """What is known where nothing runs the artifact."""
    absent = {"verified": "graph", "latency": (), "speed": None, "memory": None, "placement": None}
    return measured.model_copy(update=absent)


@pytest.fixture
def by_device(measured) -> Measurements:
    """What an attestation holds."""
    return measured.model_copy(update={"accuracy": None, "reads_back": None, "numerics": measured.numerics[1:]})


def merged(base: Measurements, card, **attested: Measurements) -> Verdict:
    return judge(base, FULL, card, "int8", may_be_pending=DEVICE_ONLY, attested=attested)


def test_a_device_must_compute_what_only_our_executor_computed(by_bytes, by_device, card):
    alone = merged(by_bytes, card)
    assert state_of(alone, "device_numerics") == "pending"
    assert state_of(alone, "mask_agreement") == "passed"
    assert alone.exit_code == 4
    assert state_of(judge(by_bytes, FULL, card, "int8"), "device_numerics") == "failed"
    assert "device_numerics" not in {promise.name for promise in merged(by_device, card).promises}
    done = merged(by_bytes, card, m2=by_device)
    assert {promise.state for promise in done.promises} == {"passed"}
    assert done.exit_code == 0
    told = {promise.name: promise.attested_by for promise in done.promises}
    assert (told["device_numerics"], told["latency_p90_ms"], told["size_mib"]) == ("m2", "m2", None)


def test_a_promise_that_one_machine_of_two_breaks_has_failed(measured, by_bytes, by_device, card):
    slow = by_device.model_copy(update={"latency": (by_device.latency[0].model_copy(update={"p90_ms": 20.1}),)})
    for base in (by_bytes, measured):
        for attested in ({"m2": by_device, "m1": slow}, {"m1": slow, "m2": by_device}):
            verdict = merged(base, card, **attested)
            (promise,) = verdict.in_state("failed")
            assert (promise.name, promise.attested_by, verdict.exit_code) == ("latency_p90_ms", "m1", 3)
            assert promise.sentence == "on m1: 20.1; must be at most 20"


def test_a_device_that_computes_something_else_fails_although_the_bytes_are_right(by_bytes, by_device, card):
    hops = list(by_device.numerics)
    hops[2] = hops[2].model_copy(update={"mean_abs": 0.2, "labels_equal": False, "equivalent": False})
    verdict = merged(by_bytes, card, gpu=by_device.model_copy(update={"numerics": tuple(hops)}), m2=by_device)
    failed = {promise.name for promise in verdict.in_state("failed")}
    assert failed == {"mean_probability_difference", "outputs_with_other_decisions", "device_numerics"}


def test_a_device_that_compared_only_some_outputs_settles_no_numerics(by_bytes, by_device, card):
    verdict = merged(by_bytes, card, m2=by_device.model_copy(update={"numerics": by_device.numerics[:-1]}))
    (promise,) = verdict.in_state("pending")
    assert promise.name == "device_numerics"
    assert "not compared on melanoma" in promise.sentence


def test_what_nobody_measured_stays_open_with_the_last_reason(by_bytes, by_device, card):
    reason = {"latency": "give the Graph folder"}
    verdict = merged(by_bytes, card, m2=by_device.model_copy(update={"speed": None, "not_measured": reason}))
    (promise,) = verdict.in_state("pending")
    assert promise.name == "speedup_vs_fp32"
    assert "give the Graph folder" in promise.sentence


def test_an_error_of_the_bytes_is_mended_by_no_device(by_bytes, by_device, card):
    verdict = merged(by_bytes.model_copy(update={"reads_back": False}), card, m2=by_device)
    assert state_of(verdict, "read_back_differences") == "failed"
    assert verdict.exit_code == 3


def test_what_was_timed_at_other_threads_is_left_out(measured):
    assert measured.at(1) == measured
    other = measured.at(4)
    assert (other.latency, other.speed, other.memory) == ((), None, measured.memory)
    assert "--threads 4" in other.not_measured["latency"]


def test_a_verdict_survives_json(measured, card):
    verdict = judge(measured, FULL, card, "int8")
    assert Verdict.model_validate_json(verdict.model_dump_json()) == verdict


# --- calibration, subgroups, and what cannot be measured ---


def with_accuracy(measured: Measurements, **changes: object) -> Measurements:
    return measured.model_copy(update={"accuracy": measured.accuracy.model_copy(update=changes)})


def with_metrics(measured: Measurements, **values: MetricFigure) -> Measurements:
    return with_accuracy(measured, metrics={**measured.accuracy.metrics, **values})


def group(attribute: str, value: str, figure: MetricFigure, weakest: int = 20) -> SubgroupFigure:
    return SubgroupFigure(
        attribute=attribute,
        value=value,
        n=figure.n,
        metrics={"melanoma_auroc": figure},
        weakest={"melanoma_auroc": weakest},
    )


GOOD = MetricFigure(float=0.81, int8=0.80, drop=0.01, drop_upper95=0.03, n=60)
BAD = MetricFigure(float=0.61, int8=0.60, drop=0.01, drop_upper95=0.03, n=60)
ASKED = Subgroups(floor={"melanoma_auroc": 0.7})


def of_subgroups(measured: Measurements, card, rules: Subgroups, *groups: SubgroupFigure, **options: object) -> Verdict:
    found = with_accuracy(measured, subgroups=groups, seen_in_training=())
    return judge(found, Gate(subgroup=rules), card, "int8", **options)


@pytest.mark.parametrize(("ece", "code"), [(0.1, 0), (0.1001, 3), (None, 3)])
def test_a_calibration_error_has_a_ceiling(measured, card, ece, code):
    told = with_metrics(measured, melanoma_ece=MetricFigure(float=0.05, int8=ece, n=150))
    assert judge(told, Gate(ceiling={"melanoma_ece": 0.1}), card, "int8").exit_code == code


def test_a_floor_holds_in_every_subgroup(measured, card):
    verdict = of_subgroups(measured, card, ASKED, group("sex", "female", GOOD), group("sex", "male", BAD))
    assert {promise.name: promise.state for promise in verdict.promises} == {
        "melanoma_auroc[sex=female]": "passed",
        "melanoma_auroc[sex=male]": "failed",
    }
    assert verdict.exit_code == 3


def test_a_drop_holds_in_every_subgroup(measured, card):
    rules = Subgroups(drop=Drops(auroc=Limit(estimate=0.02, bound=0.02)))
    verdict = of_subgroups(measured, card, rules, group("sex", "female", GOOD))
    assert {promise.name: promise.state for promise in verdict.promises} == {
        "melanoma_auroc_drop[sex=female]": "passed",
        "melanoma_auroc_drop_upper95[sex=female]": "failed",
    }


@pytest.mark.parametrize(
    ("few", "words"),
    [
        (group("sex", "male", BAD.model_copy(update={"n": 49})), "of 49 cases, fewer than 50"),
        (group("sex", "male", BAD, weakest=9), "of 9 cases of the rarest class, fewer than 10"),
        (group("sex", "male", BAD, weakest=1), "of 1 case of the rarest class, fewer than 10"),
    ],
)
def test_a_subgroup_of_too_few_cases_is_reported_and_not_judged(measured, card, few, words):
    verdict = of_subgroups(measured, card, ASKED, group("sex", "female", GOOD), few)
    (promise,) = verdict.in_state("reported")
    assert (promise.name, promise.measured) == ("melanoma_auroc[sex=male]", 0.60)
    assert words in promise.sentence
    assert "reported and not judged; it would have to be at least 0.7" in promise.sentence
    assert verdict.exit_code == 0


@pytest.mark.parametrize("reasons", [{}, {"accuracy"}])
def test_a_limit_of_which_no_subgroup_could_be_judged_was_not_measured(measured, card, reasons):
    few = group("sex", "male", BAD, weakest=9)
    for groups in ((few,), ()):
        verdict = of_subgroups(measured, card, ASKED, *groups, may_be_pending=reasons)
        assert state_of(verdict, "melanoma_auroc[any subgroup]") == ("pending" if reasons else "failed")
        assert verdict.exit_code == (4 if reasons else 3)


@pytest.mark.parametrize("date", [None, "2026-11-29"])
def test_accuracy_of_a_network_that_may_have_been_trained_on_the_images_does_not_count(measured, card, date):
    unknown = with_accuracy(measured, subgroups=(), seen_in_training=None, inherited_from=date)
    verdict = judge(unknown, FULL, card, "int8", accept_inherited=True)
    assert states(verdict, "accuracy") == {"failed"}
    assert "it is not known which images the network was trained on" in verdict.in_state("failed")[0].sentence
    known = with_accuracy(measured, subgroups=(), seen_in_training=(), inherited_from=date)
    assert judge(known, FULL, card, "int8", accept_inherited=True).exit_code == 0


def test_an_attribute_that_is_asked_for_must_be_told(measured, card):
    rules = ASKED.model_copy(update={"attributes": ("sex", "skin_type")})
    verdict = of_subgroups(measured, card, rules, group("sex", "female", GOOD), group("age", "0-29", BAD))
    assert {promise.name: promise.state for promise in verdict.promises} == {
        "melanoma_auroc[sex=female]": "passed",
        "melanoma_auroc[skin_type]": "failed",
    }
    assert "the data tell no attribute 'skin_type'. Known: sex, age" in verdict.in_state("failed")[0].sentence
    near = of_subgroups(
        measured, card, rules.model_copy(update={"attributes": ("seks",)}), group("sex", "female", GOOD)
    )
    assert near.promises[0].why_not == "the data tell no attribute 'seks'; did you mean 'sex'?"


def test_what_one_reason_left_unmeasured_is_told_in_one_line(measured, card):
    verdict = judge(
        measured.model_copy(update={"accuracy": None, "not_measured": {"accuracy": "no data"}}), FULL, card, "int8"
    )
    ((names, sentence),) = verdict.told("failed")
    assert sentence == "not measured: no data"
    assert names == f"{verdict.promises[0].name} and {len(verdict.in_state('failed')) - 1} more"
    assert verdict.trouble == f"\n  failed {names}: {sentence}"
    slow = judge(measured.model_copy(update={"size_mib": None, "memory": None}), FULL, card, "int8")
    assert [names for names, _ in slow.told("failed")] == ["size_mib", "peak_memory_mib"]  # nobody says why not


def test_evidence_without_subgroups_measured_none(measured, card):
    verdict = judge(inherited(measured), Gate(subgroup=ASKED), card, "int8", accept_inherited=True)
    (promise,) = verdict.promises
    assert (promise.name, promise.state) == ("melanoma_auroc[any subgroup]", "failed")
    assert "measured without subgroups" in promise.sentence


def test_what_is_only_reported_is_no_pass(measured, card):
    few = group("sex", "male", GOOD, weakest=1)
    mask_only = card.model_copy(update={"heads": card.heads[:1]})
    verdict = of_subgroups(measured, mask_only, ASKED, few)
    assert verdict.state == "failed"


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_passes_neither_floor_nor_ceiling_nor_drop(measured, card, value):
    wrong = MetricFigure(float=0.8, int8=0.8, n=150).model_copy(
        update={"int8": value, "drop": value, "drop_upper95": value}
    )
    told = with_metrics(measured, melanoma_auroc=wrong, melanoma_ece=wrong)
    limit = Limit(estimate=1, bound=1)
    for gate in (
        Gate(floor={"melanoma_auroc": 0}),
        Gate(ceiling={"melanoma_ece": 1}),
        Gate(drop=Drops(auroc=limit)),
        Gate(drop=Drops(ece=limit)),
    ):
        verdict = judge(told, gate, card, "int8")
        assert {promise.state for promise in verdict.promises if "diagnosis" not in promise.name} == {"failed"}
        assert all(promise.measured is None for promise in verdict.promises)


def test_figures_of_no_image_were_not_measured(measured, card):
    empty = {name: figure.model_copy(update={"n": 0}) for name, figure in measured.accuracy.metrics.items()}
    verdict = judge(with_accuracy(measured, metrics=empty, n=0), FULL, card, "int8")
    assert states(verdict, "accuracy") == {"failed"}
    assert {promise.measured for promise in verdict.promises if promise.section == "accuracy"} == {None}


@pytest.mark.parametrize("figure", [0.0, -3.0, math.inf])
def test_no_time_size_or_memory_is_nothing_or_less(measured, card, figure):
    wrong = measured.model_copy(
        update={
            "latency": (measured.latency[0].model_copy(update={"p90_ms": figure}),),
            "speed": measured.speed.model_copy(update={"speedup_vs_fp32": figure}),
            "size_mib": figure,
            "memory": measured.memory.model_copy(update={"peak_mib": figure}),
        }
    )
    verdict = judge(wrong, FULL, card, "int8")
    failed = {promise.name for promise in verdict.in_state("failed")}
    assert failed == {"latency_p90_ms", "speedup_vs_fp32", "size_mib", "peak_memory_mib"}
    assert all("is no measurement" in promise.sentence for promise in verdict.in_state("failed"))


@pytest.mark.parametrize(("split", "state"), [("train", "failed"), ("train+val", "failed"), ("select+val", "passed")])
def test_the_training_split_measures_nothing(measured, card, split, state):
    assert states(judge(with_accuracy(measured, split=split), FULL, card, "int8"), "accuracy") == {state}


@pytest.mark.parametrize(
    ("update", "state", "sentence"),
    [
        ({"partitions": 1, "undelegated": ()}, "passed", "0; is at most 0"),
        ({"partitions": 2, "undelegated": ("resize.1",)}, "failed", "1; must be at most 0 (resize.1)"),
        ({"partitions": None, "undelegated": ()}, "failed", "not measured"),
    ],
)
def test_operators_that_a_delegate_leaves_are_counted_and_named(measured, card, update, state, sentence):
    told = measured.model_copy(update={"placement": measured.placement.model_copy(update=update)})
    (promise,) = judge(told, Gate(undelegated_max=0), card, "int8").promises
    assert (promise.name, promise.state) == ("undelegated_operators", state)
    assert sentence in promise.sentence


@pytest.mark.parametrize(
    ("ratio", "low", "high", "state", "words"),
    [
        (1.66, 1.6, 1.8, "passed", ""),
        (1.66, 1.0, 1.8, "passed", ""),  # the limit itself is good enough
        (1.05, 0.9, 1.234, "passed", "1.05; is at least 1; its 95 % interval, 0.9 to 1.23, holds 1, so another run"),
        (0.99, 0.9, 1.1, "failed", "0.99; must be at least 1; its 95 % interval, 0.9 to 1.1, holds 1, so another run"),
        (0.99, 0.9, 0.9999, "failed", ""),
        (1.05, None, None, "passed", ""),
    ],
)
def test_a_speed_is_judged_by_its_median_and_says_where_its_interval_holds_the_limit(
    measured, card, ratio, low, high, state, words
):
    speed = measured.speed.model_copy(update={"speedup_vs_fp32": ratio, "low": low, "high": high})
    told = measured.model_copy(update={"speed": speed})
    (promise,) = judge(told, Gate(speedup_vs_fp32_min=1.0), card, "int8").promises
    assert promise.state == state
    assert promise.sentence.startswith(words)
    assert ("interval" in promise.sentence) is bool(words)


# --- what is shipped ---


def measured_on(release, dataset, metadata=None):
    """The evidence of a release, as if it had been measured now."""
    entry = evidence.find(release.evidence, release.sha256, "select+val", dataset, metadata=metadata)
    return Measurements(accuracy=entry.inherited("int8").model_copy(update={"inherited_from": None}))


def test_the_shipped_evidence_keeps_the_promises_of_the_clinic_gate():
    release = Graph.open(shipped.default_release())
    told = measured_on(release, "isic2017")
    clinic = Gate.find("clinic")
    verdict = judge(told, clinic, release.card, "int8")
    accuracy = [promise for promise in verdict.promises if promise.section == "accuracy"]
    assert {promise.name: promise.sentence for promise in accuracy if promise.state == "failed"} == {}
    judged = {promise.name for promise in accuracy if promise.state == "passed"}
    assert {"melanoma_ece", "melanoma_sensitivity[sex=female]", "mask_jaccard[artefact_ink=yes]"} <= judged
    assert any(promise.state == "reported" for promise in accuracy)


def test_the_shipped_evidence_keeps_the_promises_of_the_photo_gate():
    release = Graph.open(shipped.release(Path("clinic-2-photo")))
    told = measured_on(release, "pad_ufes_20", metadata="real")
    accuracy = [
        promise
        for promise in judge(told, Gate.find("photo"), release.card, "int8").promises
        if promise.section == "accuracy"
    ]
    assert {promise.name: promise.sentence for promise in accuracy if promise.state != "passed"} == {}
    assert {"melanoma_sensitivity_drop", "cancer_auroc_drop_upper95"} <= {promise.name for promise in accuracy}
    # Of too few melanomas for the gate of others.
    others = judge(told, DEFAULT, release.card, "int8").promises
    (refused,) = [promise for promise in others if promise.name == "melanoma_auroc_drop"]
    assert refused.state == "failed"
    assert "only 10 images are of a class that it needs" in refused.sentence


@pytest.mark.parametrize("form", ["int8", "int8-float16", "w8a16"])
@pytest.mark.parametrize("name", shipped.releases())
def test_every_form_of_a_release_has_evidence_so_that_no_target_lacks_it(name, form):
    release = Graph.open(shipped.release(Path(name)))
    told = None if release.card.metadata is None else "real"
    assert evidence.find(release.evidence, release.sha256, "select+val", metadata=told, form=form) is not None


def test_every_shipped_gate_asks_at_least_what_default_asks_of_accuracy():
    shipped_gates = sorted(shipped.folder("gates").glob("*.toml"))
    assert [path.stem for path in shipped_gates] == [
        *("accuracy", "clinic", "default", "iphone"),
        *("photo", "photo_iphone", "photo_tensorrt", "tensorrt"),
    ]
    for path in shipped_gates:
        gate = Gate.read(path)
        assert gate.drop == DEFAULT.drop, path
        assert gate.equivalent, path
        assert gate.description, path


def test_a_gate_says_only_what_it_asks_besides_another(tmp_path):
    ours = tmp_path / "ours.toml"
    ours.write_text('extends = "default"\nsize_mib_max = 3\n[drop]\nauroc = { estimate = 0.001, bound = 0.01 }\n')
    gate = Gate.read(ours)
    assert gate.size_mib_max == 3
    assert gate.drop == DEFAULT.drop.model_copy(update={"auroc": Limit(estimate=0.001, bound=0.01)})
    assert gate.speedup_vs_fp32_min == DEFAULT.speedup_vs_fp32_min
    (tmp_path / "default.toml").write_text("size_mib_max = 9\n")  # a file is named with its ending
    assert Gate.read(ours) == gate
    ours.write_text('extends = "default.toml"\n')
    assert Gate.read(ours) == Gate(size_mib_max=9)
    ours.write_text('extends = "defualt"\nsize = 3\n')
    with pytest.raises(
        RecipeError, match=r"extends 'defualt', but there is no file .*defualt, and none of the shipped"
    ):
        Gate.read(ours)
    ours.write_text("extends = 3\n")
    with pytest.raises(RecipeError, match="extends is 3; write the name of a file"):
        Gate.read(ours)
