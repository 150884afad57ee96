"""A report in which everything was measured: what every form of the report must be able to show."""

import math

from edgeskin.benchmarks.gate import Gate, Limit, judge
from edgeskin.benchmarks.measurements import (
    ColdStart,
    Conditions,
    Confusion,
    Curves,
    Histogram,
    JaccardCounts,
    LatencyFigure,
    Measurements,
    MetricFigure,
    Reliability,
    ReliabilityBin,
    RocCurve,
    SubgroupFigure,
    WorstCase,
)
from edgeskin.benchmarks.repaired import LayerError, Repair, RepairStep, Returned
from edgeskin.benchmarks.report import Report
from edgeskin.benchmarks.size import LayerSize
from edgeskin.contract.model import ModelCard

GATE = Gate.model_validate(
    {
        "equivalent": True,
        "size_mib_max": 3,
        "peak_memory_mib_max": 512,
        "latency_p90_ms_max": 20,
        "floor": {"melanoma_auroc": 0.8},
        "drop": {"mask_jaccard": Limit(estimate=0.005, bound=0.01), "auroc": Limit(estimate=0.005, bound=0.02)},
    }
)

REPAIR = Repair(
    images="200 images of select",
    n=200,
    ranking=tuple(
        LayerError(layers=(f"encoder_{i}_conv",), alone=0.08 / (i + 1), given_back=0.01 / (i + 1)) for i in range(18)
    ),
    steps=(
        RepairStep(error=0.12, size_mib=2.7, speedup_vs_fp32=1.5, drops={"mask_jaccard": 0.05}, judged="failed"),
        RepairStep(
            returned=(Returned(layers=("encoder_0_conv",), way="weights"),),
            in_float=3,
            error=0.03,
            size_mib=2.9,
            speedup_vs_fp32=1.4,
            drops={"mask_jaccard": 0.004},
            judged="passed",
        ),
    ),
    returned=(Returned(layers=("encoder_0_conv",), way="weights"),),
    kept_float=("encoder_0_conv", "encoder_0_add", "encoder_0_relu"),
    stopped="the gate passes",
)


def whole(measured: Measurements) -> Measurements:
    """The same measurements with every section filled."""
    assert measured.accuracy is not None
    metrics = dict(measured.accuracy.metrics)
    for name in ("melanoma_ece", "diagnosis_ece", "mask_dice", "mask_pixel_sensitivity"):
        metrics[name] = MetricFigure(float=0.11, int8=0.12, ci95=(0.1, 0.15), drop=0.01, drop_upper95=0.02, n=150)
    accuracy = measured.accuracy.model_copy(
        update={
            "metrics": metrics,
            "confusion": {
                "diagnosis": Confusion(
                    labels=("melanoma", "nevus", "seborrheic_keratosis"),
                    float=((19, 9, 2), (6, 68, 4), (4, 7, 31)),
                    int8=((18, 10, 2), (6, 69, 3), (4, 8, 30)),
                )
            },
            "curves": Curves(
                roc={"melanoma": _roc()},
                reliability={"melanoma": Reliability(float=_bins(0.02), int8=_bins(0.05))},
                jaccard=JaccardCounts(
                    float=tuple(int(70 * math.exp(-(((i - 16.5) / 3) ** 2))) for i in range(20)),
                    int8=tuple(int(68 * math.exp(-(((i - 16.2) / 3) ** 2))) for i in range(20)),
                ),
            ),
            "subgroups": tuple(
                _subgroup(attribute, value, n)
                for attribute, value, n in (
                    ("sex", "female", 71),
                    ("sex", "male", 79),
                    ("age", "0-29", 9),
                    ("age", "30-49", 44),
                    ("age", "50-69", 61),
                    ("age", "70+", 36),
                )
            ),
            "worst": {
                "mask": tuple(WorstCase(image_id=f"ISIC_{i:07d}", score=0.03 * i) for i in range(12)),
                "melanoma": tuple(WorstCase(image_id=f"ISIC_{40 + i:07d}", score=0.01 * i) for i in range(12)),
            },
            "seen_in_training": (),
        }
    )
    return measured.model_copy(
        update={
            "accuracy": accuracy,
            "latency": tuple(
                _timed(name, threads, ms)
                for name, threads, ms in (("model int8", 1, 9.9), ("model int8", 2, 5.6), ("model fp32", 1, 14.4))
            ),
            "cold_start": ColdStart(
                threads=1, load_ms=212.0, first_run_ms=19.0, total_ms=231.0, slowest_ms=260.0, starts=5
            ),
        }
    )


def report(card: ModelCard, measured: Measurements, **more: object) -> Report:
    """A report of these measurements, judged."""
    return Report.model_validate(
        {
            "name": card.name,
            "version": card.version,
            "target": "onnx",
            "precision": "int8",
            "artifact": "model.onnx",
            "artifact_sha256": "2" * 64,
            "graph_sha256": "3" * 64,
            "profile": "desktop",
            "gate": "default",
            "measurements": measured,
            "verdict": judge(measured, GATE, card, "int8", may_be_pending=("memory",)),
            "cautions": ("times scatter",),
            "next_commands": (("Predict", "edgeskin predict photo.jpg --bundle bundles/phantom-onnx-int8"),),
            "layer_sizes": tuple(
                LayerSize(name=f"encoder_{i}_expand_conv", kind="Conv", parameters=900 * i, size_kib=0.9 * i)
                for i in range(1, 40)
            ),
            "repair": REPAIR,
            **more,
        }
    )


def _roc() -> RocCurve:
    xs = [i / 100 for i in range(101)]
    return RocCurve(
        threshold=0.4,
        float=tuple((x, x**0.3) for x in xs),
        int8=tuple((x, x**0.33) for x in xs),
        float_at_threshold=(0.2, 0.2**0.3),
        int8_at_threshold=(0.21, 0.21**0.33),
    )


def _bins(bias: float) -> tuple[ReliabilityBin, ...]:
    middles = [(i + 0.5) / 15 for i in range(15)]
    return tuple(
        ReliabilityBin(n=0, probability=None, happened=None)
        if i == 12
        else ReliabilityBin(n=40 - 2 * i, probability=middle, happened=max(0.0, middle - bias * (1 + i / 5)))
        for i, middle in enumerate(middles)
    )


def _subgroup(attribute: str, value: str, n: int) -> SubgroupFigure:
    def figure(value: float) -> MetricFigure:
        return MetricFigure(float=value, int8=value - 0.01, ci95=(value - 0.08, value + 0.05), n=n)

    return SubgroupFigure(
        attribute=attribute,
        value=value,
        n=n,
        classes={"melanoma": {"no": n - n // 5, "yes": n // 5}},
        metrics={"melanoma_auroc": figure(0.8 + n / 900), "mask_jaccard": figure(0.7 + n / 900)},
        weakest={"melanoma_auroc": n // 5, "mask_jaccard": n},
    )


def _timed(name: str, threads: int, ms: float) -> LatencyFigure:
    width = 0.1 * ms / 9.9
    counts = tuple(int(160 * math.exp(-(((i - 6) / 5) ** 2))) + 1 for i in range(39))
    return LatencyFigure(
        name=name,
        threads=threads,
        p50_ms=ms,
        p90_ms=ms * 1.06,
        p99_ms=ms * 1.3,
        mean_ms=ms * 1.01,
        cv=0.03,
        samples=sum(counts) + 11,
        seconds=60.0,
        mode="release",
        histogram=Histogram(
            edges_ms=(*(ms - 0.6 * ms / 9.9 + width * i for i in range(40)), ms * 2.4), counts=(*counts, 11)
        ),
        conditions=Conditions(
            clock_mhz=(3100.0, 2900.0), temperature_c=(51.0, 63.0), load_average=0.4, others_share=0.02
        ),
    )
