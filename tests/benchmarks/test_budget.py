"""Which machine's figures count for a device, and what its budget adds to a gate."""

import math

import pytest
from pydantic import ValidationError

from edgeskin.benchmarks.budget import Budget, Ceiling, NamedDevice, of_device
from edgeskin.benchmarks.gate import Gate, judge
from edgeskin.benchmarks.measurements import DeviceFacts, Measurements, MemoryFigure, PlacementFigure

PI = NamedDevice(name="a Raspberry Pi 5", board="Raspberry Pi 5")
ON_A_PI = DeviceFacts(cpu="Raspberry Pi 5 Model B Rev 1.0", cores=4, os="Debian", python="3.11")
"""As it was written before the board was a fact of its own."""
GATE = Gate(
    speedup_vs_fp32_min=1.0,
    latency_p90_ms_max=20,
    size_mib_max=16,
    peak_memory_mib_max=512,
    integer_convolutions_min=0.9,
)
OPEN = {"latency", "memory", "placement"}
BUDGET = Budget(latency_p90_ms=Ceiling(at_most=15, source="a frame"), size_mib=Ceiling(at_most=16, source="a card"))


def by(measured: Measurements, facts: DeviceFacts | None) -> Measurements:
    return measured.model_copy(update={"device": facts})


def facts(**more: object) -> DeviceFacts:
    return DeviceFacts.model_validate({"cpu": "A CPU", "cores": 2, "os": "Linux", "python": "3.11", **more})


@pytest.mark.parametrize(
    ("device", "said", "same"),
    [
        ({"board": "Raspberry Pi 5"}, {"cpu": "Raspberry Pi 5 Model B Rev 1.0"}, True),
        ({"board": "Raspberry Pi 5"}, {"cpu": "Raspberry Pi 500 Rev 1.0"}, False),
        ({"board": "Raspberry Pi 5"}, {"cpu": "Raspberry Pi 4 Model B"}, False),
        ({"board": "Orin Nano"}, {"board": "NVIDIA Jetson Orin Nano Engineering Reference Developer Kit"}, True),
        ({"board": "Orin Nano"}, {"board": "NVIDIA Jetson AGX Orin", "cpu": "Orin Nano"}, False),
        ({"gpu": "RTX"}, {"gpu": "nvidia geforce rtx 4070"}, True),
        ({"gpu": "RTX"}, {"gpu": "NVIDIA H200"}, False),
        ({"gpu": "RTX"}, {"cpu": "RTX"}, False),
        ({"cpu": "Apple M2"}, {"cpu": "Apple M2 Pro"}, True),
        ({"os": "Android"}, {"os": "Android 14"}, True),
        ({"flag": "avx2"}, {"flags": ("avx2", "avx_vnni")}, True),
        ({"flag": "avx2"}, {"flags": ("asimddp",)}, False),
        ({"os": "Android", "cpu": "Kryo"}, {"os": "Android 14", "cpu": "Cortex"}, False),
    ],
)
def test_a_device_is_told_by_whole_words_that_the_machine_says_of_itself(
    device: dict[str, str], said: dict[str, object], same: bool
) -> None:
    assert NamedDevice(name="it", **device).is_that_of(by(Measurements(), facts(**said))) is same


def test_a_device_that_nothing_tells_is_refused() -> None:
    with pytest.raises(ValidationError, match="give board, gpu, cpu, os or flag"):
        NamedDevice(name="a phone")


def test_what_another_machine_measured_of_itself_does_not_count(measured: Measurements) -> None:
    told = of_device(measured, PI)
    assert (told.latency, told.speed, told.memory, told.placement) == ((), None, None, None)
    assert set(told.not_measured) == OPEN
    assert told.not_measured["memory"] == "only on A CPU, not on a Raspberry Pi 5. There: edgeskin attest BUNDLE"
    assert (told.accuracy, told.numerics, told.size_mib) == (measured.accuracy, measured.numerics, measured.size_mib)
    assert "a machine that is not named" in of_device(by(measured, None), PI).not_measured["latency"]


def test_everything_counts_on_the_device_and_where_none_is_named(measured: Measurements) -> None:
    assert of_device(measured, None) is measured
    there = by(measured, ON_A_PI)
    assert of_device(there, PI) is there


def test_what_was_never_measured_keeps_its_own_reason(measured: Measurements) -> None:
    absent = {"latency": (), "speed": None, "memory": None, "not_measured": {"latency": "no engine"}}
    told = of_device(measured.model_copy(update=absent), PI)
    assert told.not_measured["latency"] == "no engine"
    assert "memory" not in told.not_measured


def test_on_another_machine_a_promise_is_pending_or_failed_as_the_profile_says(measured, card) -> None:
    waiting = judge(measured, GATE, card, "int8", may_be_pending=OPEN, device=PI)
    assert (waiting.state, waiting.exit_code) == ("pending", 4)
    assert {promise.section for promise in waiting.in_state("pending")} == OPEN
    assert waiting.in_state("pending")[0].why_not.startswith("only on A CPU, not on a Raspberry Pi 5.")
    assert judge(measured, GATE, card, "int8", device=PI).exit_code == 3
    assert judge(by(measured, ON_A_PI), GATE, card, "int8", device=PI).exit_code == 0


def test_a_bad_figure_of_another_machine_fails_nothing(measured, card) -> None:
    slow = measured.model_copy(update={"latency": (measured.latency[0].model_copy(update={"p90_ms": 99.0}),)})
    assert judge(slow, GATE, card, "int8", may_be_pending=OPEN, device=PI).exit_code == 4
    assert judge(slow, GATE, card, "int8", may_be_pending=OPEN).exit_code == 3


def test_only_an_attestation_of_the_device_settles_a_promise(measured, card) -> None:
    there = by(measured, ON_A_PI)
    slow = there.model_copy(update={"latency": (there.latency[0].model_copy(update={"p90_ms": 99.0}),)})

    def judged(**attested: Measurements) -> int:
        return judge(measured, GATE, card, "int8", may_be_pending=OPEN, device=PI, attested=attested).exit_code

    assert judged(laptop=measured) == 4
    assert judged(pi=there) == 0
    assert judged(pi=there, laptop=measured) == judged(laptop=measured, pi=there) == 0
    assert judged(pi=slow) == 3
    done = judge(measured, GATE, card, "int8", may_be_pending=OPEN, device=PI, attested={"pi": there})
    assert {promise.attested_by for promise in done.promises if promise.section in OPEN} == {"pi"}


def test_a_device_that_made_the_bundle_is_not_undone_by_another_that_attests(measured, card) -> None:
    there = by(measured, ON_A_PI)
    verdict = judge(there, GATE, card, "int8", device=PI, attested={"laptop": measured})
    assert (verdict.exit_code, {promise.attested_by for promise in verdict.promises}) == (0, {None})


@pytest.mark.parametrize(
    ("gate", "budget", "limit", "source"), [(20, 15, 15, "a frame"), (10, 15, 10, None), (15, 15, 15, "a frame")]
)
def test_of_gate_and_budget_the_tighter_holds_and_a_budget_says_where_it_comes_from(
    measured, card, gate: float, budget: float, limit: float, source: str | None
) -> None:
    ceiling = Budget(latency_p90_ms=Ceiling(at_most=budget, source="a frame"))
    (promise,) = judge(measured, Gate(latency_p90_ms_max=gate), card, "int8", budget=ceiling).promises
    assert promise.limit == limit
    assert promise.sentence.endswith(f"at most {limit}" + (f" ({source})" if source else ""))


def test_a_budget_is_promised_where_the_gate_limits_nothing(measured, card) -> None:
    verdict = judge(measured, Gate(), card, "int8", budget=BUDGET)
    assert {promise.name: promise.limit for promise in verdict.promises} == {"latency_p90_ms": 15, "size_mib": 16}
    assert verdict.exit_code == 0
    over = judge(measured.model_copy(update={"size_mib": 17.0}), Gate(), card, "int8", budget=BUDGET)
    (promise,) = over.in_state("failed")
    assert promise.sentence == "17; must be at most 16 (a card)"


def test_an_unmeasured_budget_says_where_it_comes_from(measured, card) -> None:
    verdict = judge(measured, Gate(), card, "int8", budget=BUDGET, device=PI, may_be_pending=OPEN)
    (promise,) = verdict.in_state("pending")
    assert promise.sentence.startswith("not measured, and must be at most 15 (a frame): only on A CPU")
    assert promise.sentence.endswith("edgeskin attest BUNDLE")


def test_a_device_with_several_engines_counts_the_one_that_its_profile_names() -> None:
    """A desktop may have TensorRT beside TensorRT-RTX, and only one of them ran."""
    device = NamedDevice(name="an NVIDIA RTX GPU", gpu="RTX", engine="TensorRT-RTX")
    ran = {
        name: Measurements(
            device=facts(gpu="NVIDIA GeForce RTX 4070"),
            memory=MemoryFigure(peak_mib=1.0),
            placement=PlacementFigure(provider=f"{name} 1.7.1, RTX 4070", convolutions=1, integer_convolutions=1),
        )
        for name in ("TensorRT-RTX", "TensorRT")
    }
    assert of_device(ran["TensorRT-RTX"], device) == ran["TensorRT-RTX"]
    assert of_device(ran["TensorRT"], device).memory is None
    assert of_device(ran["TensorRT-RTX"].model_copy(update={"placement": None}), device).memory is None


def test_a_ceiling_without_end_is_a_mistake() -> None:
    with pytest.raises(ValidationError):
        Ceiling(at_most=math.inf, source="a wish")
