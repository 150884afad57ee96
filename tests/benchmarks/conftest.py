"""A model card and a full set of good measurements, shared by the tests of judging and reporting."""

import pytest

from edgeskin.benchmarks.measurements import (
    AccuracyReport,
    DeviceFacts,
    LatencyFigure,
    Measurements,
    MemoryFigure,
    MetricFigure,
    NumericsHop,
    PlacementFigure,
    SpeedRatio,
)
from edgeskin.contract.model import HeadSpec, ModelCard, Provenance


@pytest.fixture
def card() -> ModelCard:
    return ModelCard(
        name="phantom",
        version="1",
        size=64,
        heads=(
            HeadSpec(name="mask", kind="mask", labels=("lesion",), threshold=0.5),
            HeadSpec(name="diagnosis", kind="softmax", labels=("melanoma", "nevus", "seborrheic_keratosis")),
            HeadSpec(name="melanoma", kind="sigmoid", labels=("melanoma",), threshold=0.4),
        ),
        intended_use="tests",
        licence="Apache-2.0",
        provenance=Provenance(
            recipe="phantom",
            recipe_sha256="0" * 64,
            data=("phantom",),
            data_list_sha256="0" * 64,
            seed=1,
            edgeskin_version="0",
        ),
    )


def figure(in_float: float, in_int8: float) -> MetricFigure:
    drop = in_float - in_int8
    return MetricFigure(
        float=in_float,
        int8=in_int8,
        ci95=(in_int8 - 0.03, in_int8 + 0.03),
        float_ci95=(in_float - 0.03, in_float + 0.03),
        drop=drop,
        drop_upper95=drop + 0.004,
        smallest_detectable_drop=0.004,
        n=150,
    )


@pytest.fixture
def measured() -> Measurements:
    """Everything measured, everything good."""
    hop = "int8.onnx → artifact"
    return Measurements(
        reads_back=True,
        accuracy=AccuracyReport(
            dataset="phantom",
            split="val",
            n=150,
            data_list_sha256="1" * 64,
            metrics={
                "mask_jaccard": figure(0.766, 0.765),
                "melanoma_auroc": figure(0.835, 0.834),
                "melanoma_sensitivity": figure(0.80, 0.79),
                "diagnosis_balanced_accuracy": figure(0.74, 0.735),
            },
            cautions=("phantoms are not skin",),
        ),
        numerics=(
            NumericsHop(name="fp32.onnx → int8.onnx", tensor="mask", mean_abs=0.01, max_abs=0.3, mask_agreement=0.98),
            NumericsHop(name=hop, tensor="mask", mean_abs=0.001, max_abs=0.1, mask_agreement=0.9999, equivalent=True),
            NumericsHop(name=hop, tensor="diagnosis", mean_abs=0.001, max_abs=0.1, labels_equal=True, equivalent=True),
            NumericsHop(name=hop, tensor="melanoma", mean_abs=0.001, max_abs=0.1, labels_equal=True, equivalent=True),
        ),
        latency=(
            LatencyFigure(
                name="model int8",
                threads=1,
                p50_ms=9.9,
                p90_ms=10.4,
                p99_ms=12.0,
                mean_ms=10.0,
                cv=0.03,
                samples=1024,
                seconds=60.0,
                mode="release",
            ),
        ),
        speed=SpeedRatio(threads=1, speedup_vs_fp32=1.47, low=1.45, high=1.49, pairs=500),
        size_mib=3.1,
        memory=MemoryFigure(peak_mib=87.0),
        placement=PlacementFigure(provider="CPUExecutionProvider", convolutions=60, integer_convolutions=58),
        device=DeviceFacts(cpu="A CPU", cores=2, os="Linux", python="3.11", engines={"onnxruntime": "1.31"}),
    )
