"""What became better or worse beyond noise; the fixture's figures have intervals of ± 0.03 and drops of ± 0.004."""

import pytest
from reports import report_of, subject_of

from edgeskin import __version__
from edgeskin.benchmarks.baseline import Subject
from edgeskin.benchmarks.compare import Compared, Row, compare
from edgeskin.benchmarks.gate import Gate
from edgeskin.benchmarks.measurements import ColdStart, Conditions, Measurements, MetricFigure
from edgeskin.errors import EdgeskinError


@pytest.fixture
def old(card, measured) -> Subject:
    return subject_of(report_of(card, measured))


@pytest.fixture
def against(card, old):
    """`against(measurements)` compares them with the fixture's."""

    def run(new: Measurements, gate: Gate | None = None, **more: object) -> Compared:
        return compare(old, subject_of(report_of(card, new, *([gate] if gate else []), **more)))

    return run


def row(found: Compared, name: str) -> Row:
    (one,) = (row for row in found.rows if row.name == name)
    return one


def with_metric(measured: Measurements, name: str, **changes: object) -> Measurements:
    accuracy = measured.accuracy
    metrics = accuracy.metrics | {name: accuracy.metrics[name].model_copy(update=changes)}
    return measured.model_copy(update={"accuracy": accuracy.model_copy(update={"metrics": metrics})})


def with_accuracy(measured: Measurements, **changes: object) -> Measurements:
    return measured.model_copy(update={"accuracy": measured.accuracy.model_copy(update=changes)})


def on(measured: Measurements, **changes: object) -> Measurements:
    return measured.model_copy(update={"device": measured.device.model_copy(update=changes)})


def timed(measured: Measurements, **changes: object) -> Measurements:
    figures = tuple(figure.model_copy(update=changes) for figure in measured.latency)
    return measured.model_copy(update={"latency": figures})


def test_a_report_beside_itself_is_all_the_same(against, measured):
    found = against(measured)
    assert {row.outcome for row in found.rows} == {"same"}
    assert found.exit_code == 0
    assert {row.part for row in found.rows} == {
        *("promise", "accuracy", "numerics", "latency", "size", "memory", "placement")
    }


# Four metrics: z = Φ⁻¹(1 − 0.025 / 4) = 2.4977; the drop's standard error is 0.004 / 1.645 on both sides.
# Noise: 2.4977 × √2 × 0.0024316 = 0.008589.
@pytest.mark.parametrize(
    ("change", "outcome"), [(-0.0085, "same"), (-0.0087, "worse"), (0.0085, "same"), (0.0087, "better")]
)
def test_of_one_float_network_on_the_same_images_the_drops_tell_the_noise(against, measured, change, outcome):
    was = measured.accuracy.metrics["mask_jaccard"].int8
    found = row(against(with_metric(measured, "mask_jaccard", int8=was + change)), "mask_jaccard")
    assert found.outcome == outcome
    assert found.noise == pytest.approx(0.008589, abs=2e-6)


# Other images: the intervals' standard error is 0.03 / 1.96; noise 2.4977 × √2 × 0.015306 = 0.054066.
@pytest.mark.parametrize(("change", "outcome"), [(-0.0535, "same"), (-0.0545, "worse")])
def test_on_other_images_the_intervals_tell_the_noise(against, measured, change, outcome):
    was = measured.accuracy.metrics["mask_jaccard"].int8
    new = with_accuracy(with_metric(measured, "mask_jaccard", int8=was + change), data_list_sha256="9" * 64)
    found = row(against(new), "mask_jaccard")
    assert (found.outcome, found.reason) == (outcome, "other images")
    assert found.noise == pytest.approx(0.054066, abs=2e-5)


def test_another_float_network_on_the_same_images_takes_the_intervals_too(against, measured):
    found = row(against(with_metric(measured, "mask_jaccard", float=0.80)), "mask_jaccard")
    assert found.reason == "same images, other float network"
    assert found.noise > 0.05


def test_a_larger_calibration_error_is_worse(card, measured):
    ece = MetricFigure(float=0.05, int8=0.05, smallest_detectable_drop=0.002, n=150)
    old, new = (
        with_accuracy(measured, metrics={"melanoma_ece": ece.model_copy(update={"int8": value})})
        for value in (0.05, 0.07)
    )
    found = compare(subject_of(report_of(card, old)), subject_of(report_of(card, new)))
    assert row(found, "melanoma_ece").outcome == "worse"


def test_without_an_interval_a_difference_says_nothing(against, measured):
    bare = with_metric(measured, "mask_jaccard", int8=0.5, smallest_detectable_drop=None)
    found = row(against(bare), "mask_jaccard")
    assert (found.outcome, found.reason) == ("not comparable", "no interval")


def test_a_figure_that_became_undefined_or_is_gone_is_worse(against, measured):
    found = row(against(with_metric(measured, "melanoma_auroc", int8=None)), "melanoma_auroc")
    assert (found.outcome, found.reason) == ("worse", "not measured any more, or undefined")
    less = {name: one for name, one in measured.accuracy.metrics.items() if name != "melanoma_auroc"}
    assert row(against(with_accuracy(measured, metrics=less)), "melanoma_auroc").outcome == "worse"


def test_a_figure_that_is_new_is_neither(card, measured, old):
    less = {name: one for name, one in measured.accuracy.metrics.items() if name != "melanoma_auroc"}
    found = compare(subject_of(report_of(card, with_accuracy(measured, metrics=less))), old)
    assert row(found, "melanoma_auroc").outcome == "not comparable"


@pytest.mark.parametrize("changes", [{"split": "test"}, {"dataset": "ham10000"}, {"metadata": "unknown"}])
def test_another_split_is_not_compared(against, measured, changes):
    found = against(with_accuracy(measured, **changes))
    (accuracy,) = (row for row in found.rows if row.part == "accuracy")
    assert accuracy.outcome == "not comparable"
    assert accuracy.reason.startswith(f"another {next(iter(changes))}: ")


@pytest.mark.parametrize(
    "changes", [{"cpu": "Another"}, {"flags": ("avx2",)}, {"gpu": "A GPU"}, {"power_mode": "15W"}, {"cores": 8}]
)
def test_times_and_memory_of_another_machine_are_never_compared(against, measured, changes):
    found = against(on(timed(measured, p50_ms=99.0), **changes))
    parts = {row.part for row in found.rows if row.outcome != "not comparable"}
    assert not parts & {"memory", "placement"}
    assert {row.name for row in found.rows if row.part == "latency" and row.outcome != "not comparable"} <= {
        "speedup_vs_fp32"
    }
    assert "another machine" in row(found, "latency, memory, placement").reason


def test_a_ratio_is_compared_between_machines_of_the_same_instructions_only(against, measured):
    slower = measured.model_copy(update={"speed": measured.speed.model_copy(update={"speedup_vs_fp32": 1.1})})
    found = row(against(on(slower, cpu="Another")), "speedup_vs_fp32")
    assert (found.outcome, found.reason) == ("worse", "another machine with the same instructions")
    assert row(against(on(slower, flags=("avx2",))), "speedup_vs_fp32").outcome == "not comparable"
    unnamed = slower.model_copy(update={"device": None})
    assert row(against(unnamed), "speedup_vs_fp32").outcome == "not comparable"


def test_a_ratio_beside_other_work_is_not_compared(against, measured):
    """Two exports of one network, a minute apart on a busy machine, gave 2.49 and 1.55."""
    for share, outcome in ((0.05, "worse"), (0.52, "not comparable")):
        busy = measured.speed.model_copy(update={"speedup_vs_fp32": 1.1, "conditions": Conditions(others_share=share)})
        found = row(against(measured.model_copy(update={"speed": busy})), "speedup_vs_fp32")
        assert found.outcome == outcome
    assert found.reason == "other work took 52% of all cores' time"


# sd 0.03 × 10 ms on both sides: 1.96 × √2 × 0.3 = 0.83 ms; a tenth of 9.9 ms is wider.
@pytest.mark.parametrize(("p50_ms", "outcome"), [(10.8, "same"), (11.0, "worse"), (8.8, "better")])
def test_a_time_differs_beyond_the_scatter_of_its_samples_and_a_tenth(against, measured, p50_ms, outcome):
    assert row(against(timed(measured, p50_ms=p50_ms)), "model int8, p50 ms, threads: 1").outcome == outcome


def test_times_that_scatter_are_not_compared(against, measured):
    found = row(against(timed(measured, p50_ms=99.0, cv=0.4)), "model int8, p50 ms, threads: 1")
    assert (found.outcome, found.reason) == ("not comparable", "times scatter by 40%, more than 10%")


def test_times_of_a_machine_that_was_slowed_down_are_not_compared(against, measured):
    hot = timed(measured, p50_ms=99.0, conditions=Conditions(throttled=("heat",)))
    assert row(against(hot), "model int8, p50 ms, threads: 1").reason == "slowed down by heat"


def test_a_cold_start_is_compared_by_the_slowest_of_its_starts(card, measured):
    def started(total: float) -> Subject:
        cold = ColdStart(threads=1, load_ms=50, first_run_ms=50, total_ms=total, slowest_ms=total + 20, starts=5)
        return subject_of(report_of(card, measured.model_copy(update={"cold_start": cold})))

    outcomes = [row(compare(started(100), started(new)), "cold start, ms").outcome for new in (128, 129)]
    assert outcomes == ["same", "worse"]


@pytest.mark.parametrize(("size_mib", "outcome"), [(3.12, "same"), (3.14, "worse"), (3.0, "better")])
def test_a_size_has_no_noise_but_a_percent(against, measured, size_mib, outcome):
    found = against(measured.model_copy(update={"size_mib": size_mib}))
    assert [row.outcome for row in found.rows if row.part == "size"] == [outcome]


def test_an_operator_that_fell_back_to_float_is_named(against, measured):
    place = measured.placement.model_copy(update={"float_operators": ("conv_7",), "integer_convolutions": 57})
    found = against(measured.model_copy(update={"placement": place}))
    assert row(found, "float_operators").reason == "now in float: conv_7"
    assert {"float_operators", "integer_convolutions"} <= {row.name for row in found.of("worse")}
    assert found.exit_code == 3


def test_a_hop_that_diverges_now_is_worse_and_rounding_is_not(against, measured):
    *hops, last = measured.numerics
    rounded = (*hops, last.model_copy(update={"mean_abs": 0.0019}))
    assert not against(measured.model_copy(update={"numerics": rounded})).of("worse")
    diverging = (*hops, last.model_copy(update={"equivalent": False, "labels_equal": False}))
    found = row(against(measured.model_copy(update={"numerics": diverging})), "int8.onnx → artifact, melanoma")
    assert (found.outcome, found.reason) == ("worse", "equivalent → diverges")


def promise(found: Compared, name: str) -> Row:
    (one,) = (row for row in found.rows if row.part == "promise" and row.name == name)
    return one


def test_a_broken_promise_is_worse_and_a_looser_gate_does_not_mend_it(against, measured):
    loose = Gate(equivalent=True, size_mib_max=64, peak_memory_mib_max=512)
    found = promise(against(measured.model_copy(update={"size_mib": 20.0}), loose), "size_mib")
    assert found.outcome == "worse"
    assert found.reason == "passed → failed, at most 16; its limit is now 64, and passed"


def test_a_stricter_gate_makes_nothing_worse(against, measured):
    strict = Gate(equivalent=True, size_mib_max=1, peak_memory_mib_max=512)
    found = against(measured, strict)
    assert not found.of("worse")
    assert promise(found, "size_mib").reason == "passed → passed, at most 16; its limit is now 1, and failed"


def test_what_is_not_measured_any_more_is_worse_for_one_target_and_open_for_another(against, measured):
    less = measured.model_copy(update={"memory": None})
    worse = promise(against(less, may_be_pending=("memory",)), "peak_memory_mib")
    assert (worse.outcome, worse.reason) == ("worse", "passed → pending, at most 512")
    other = promise(against(less, may_be_pending=("memory",), target="coreml"), "peak_memory_mib")
    assert (other.outcome, other.reason) == ("not comparable", "measured in OLD alone")


def test_a_promise_that_is_gone_is_said(against, measured):
    gone = promise(against(measured, Gate(size_mib_max=16)), "peak_memory_mib")
    assert (gone.outcome, gone.reason) == ("not comparable", "no longer promised")


def test_what_an_attestation_measured_is_compared_with_the_same_phones(card, measured):
    phone = on(timed(measured, p50_ms=20.0), cpu="A phone")
    base = subject_of(report_of(card, measured))
    old = base.model_copy(update={"attested": {"phone": phone}})
    new = base.model_copy(update={"attested": {"phone-2027": timed(phone, p50_ms=30.0)}})
    found = compare(old, new)
    assert [row.name for row in found.of("worse")] == ["model int8, p50 ms, threads: 1 on phone-2027"]


def test_two_precisions_are_compared_in_what_both_have(card, measured, old):
    figures = tuple(one.model_copy(update={"name": "model fp16", "p50_ms": 30.0}) for one in measured.latency)
    place = measured.placement.model_copy(update={"integer_convolutions": 0})
    less = {name: one for name, one in measured.accuracy.metrics.items() if name != "melanoma_auroc"}
    half = with_accuracy(measured, metrics=less).model_copy(update={"latency": figures, "placement": place})
    found = compare(old, subject_of(report_of(card, half, precision="fp16")))
    assert [row.name for row in found.of("worse")] == ["model, p50 ms, threads: 1"]
    assert not [row for row in found.rows if row.part == "placement"]
    assert [row.reason for row in found.rows if row.name == "hops"] == ["another form has other ones"]
    assert row(found, "melanoma_auroc").reason == "measured in OLD alone"


def test_what_changed_besides_is_told(against, measured):
    new = on(measured, engines={"onnxruntime": "1.32", "numpy": "2"}, python="3.12")
    assert against(new, edgeskin_version="9.9").changed == (
        *(f"edgeskin {__version__} → 9.9", "python 3.11 → 3.12", "onnxruntime 1.31 → 1.32"),
    )
    assert against(measured).changed == ()


def test_where_nothing_can_be_compared_that_is_no_pass(measured):
    latency = Measurements(latency=measured.latency, device=measured.device)
    other = on(latency, cpu="Another")
    with pytest.raises(
        EdgeskinError, match=r"^a and b: nothing of them can be compared: .*another machine: other CPU$"
    ):
        compare(Subject(source="a", measurements=latency), Subject(source="b", measurements=other))
    with pytest.raises(EdgeskinError, match="neither holds a figure"):
        compare(Subject(source="a", measurements=Measurements()), Subject(source="b", measurements=Measurements()))
