"""What was measured, as values: a section that is absent was not measured, and the gate must know.

A figure that is undefined (a metric of one class only, a clock the board does not tell) is None, never nan or zero, so
that it can be written as JSON and can never be mistaken for a good value.
"""

import dataclasses
import math
from collections.abc import Mapping
from typing import Annotated, Literal, TypeAlias

from pydantic import BeforeValidator, Field, model_validator

from edgeskin.contract.model import Frozen
from edgeskin.targets.base import Placement, Precision


def _none_for_nan(value: object) -> object:
    return None if isinstance(value, float) and math.isnan(value) else value


Measured: TypeAlias = Annotated[float | None, BeforeValidator(_none_for_nan)]
"""A figure, or None where it is undefined or was not measured; nan becomes None."""
Positive: TypeAlias = Annotated[
    Annotated[float, Field(gt=0, allow_inf_nan=False)] | None, BeforeValidator(_none_for_nan)
]
"""A time, a rate or a ratio, or None likewise: one of nothing, less or without end is no figure."""
Interval: TypeAlias = tuple[Measured, Measured]
"""Lower and upper end."""
Point: TypeAlias = tuple[Measured, Measured]
"""Of a curve: x and y."""
Count: TypeAlias = Annotated[int, Field(ge=0)]
Share: TypeAlias = Annotated[float, Field(ge=0, le=1)]

MetadataGiven: TypeAlias = Literal["real", "unknown"]
"""What a network with a metadata input was given: the fields of the table, or nothing known of anybody."""

Form: TypeAlias = Literal["fp32", "fp16", "int8", "int8-float16", "w8a16"]
"""The function that an artifact computes. `int8-float16`: the integers of int8 with float16 in between, whose roundings
tip many of them. `w8a16`: int8's weights, and activations that are not quantized at all."""

Verified: TypeAlias = Literal["device", "parser", "graph"]
"""Who answered for an artifact: a device; or, where no engine of the machine runs it, our executor on what the engine's
own parser (`parser`), or edgeskin alone (`graph`), made of its saved bytes."""

RELEASE_SAMPLES = 1024
"""So many, at least, has a release figure."""
_ROUNDING = 1e-6
"""So far apart may be two numbers that are meant to be equal."""

TO_ARTIFACT = "→ artifact"
"""How the name of the chain's last hop ends."""


class MetricFigure(Frozen):
    """One accuracy metric of the float and the int8 network on the same images.

    int8: the network that ships, whatever its precision. ci95: percentile bootstrap interval of int8; float_ci95: of
    float.
    drop: how much worse int8 is, in the metric's own unit; positive is worse, also where lower is better (ECE).
    drop_upper95: one-sided 95 % upper bound of the drop from the paired bootstrap.
    smallest_detectable_drop: 1.645 × the standard error of the paired drop; a smaller one could not have been shown.
    n: images that count for this metric.
    """

    float: Measured
    int8: Measured
    ci95: Interval | None = None
    float_ci95: Interval | None = None
    drop: Measured = None
    drop_upper95: Measured = None
    smallest_detectable_drop: Measured = None
    n: Count

    @model_validator(mode="after")
    def _is_possible(self) -> "MetricFigure":
        ends = (*(self.ci95 or ()), *(self.float_ci95 or ()))
        if any(value is not None and not abs(value) <= 1 + _ROUNDING for value in (self.float, self.int8)):
            raise ValueError(f"float {self.float}, int8 {self.int8}: no metric is beyond 1")
        if any(end is not None and not math.isfinite(end) for end in ends):
            raise ValueError("an interval without end is no figure")
        if self.drop is not None and self.float is not None and self.int8 is not None:
            between = abs(self.float - self.int8)
            if not abs(abs(self.drop) - between) <= _ROUNDING:
                raise ValueError(f"drop {self.drop:g}, and between float and int8 are {between:g}")
        if self.smallest_detectable_drop is not None and not self.smallest_detectable_drop >= 0:
            raise ValueError(f"smallest_detectable_drop {self.smallest_detectable_drop:g} is less than none")
        return self

    def of_float(self) -> "MetricFigure":
        """The figure of an artifact that is the float network: the same value on both sides, and no drop."""
        none = 0.0 if self.float is not None else None
        return MetricFigure(
            float=self.float,
            int8=self.float,
            ci95=self.float_ci95,
            float_ci95=self.float_ci95,
            drop=none,
            drop_upper95=none,
            smallest_detectable_drop=none,
            n=self.n,
        )


def at_most_of(metrics: Mapping[str, MetricFigure], n: int) -> None:
    """Raises: ValueError where a metric counts more images than there are."""
    for name, figure in metrics.items():
        if figure.n > n:
            raise ValueError(f"{name} counts {figure.n} of {n} images")


class Confusion(Frozen):
    """Counts of a softmax head; rows are the truth, columns the prediction, both in the order of `labels`."""

    labels: tuple[str, ...]
    float: tuple[tuple[int, ...], ...]
    int8: tuple[tuple[int, ...], ...]


class SubgroupFigure(Frozen):
    """Accuracy on the cases that share one value of an attribute, such as sex = female.

    n: its cases. classes: how many of them are of which class, by head. metrics: by the names they have on all images.
    weakest: by metric, how many cases it rests on at its weakest: the positives of a sensitivity, the negatives of a
    specificity, the rarest class of an AUROC or a balanced accuracy, all that count of any other.
    """

    attribute: str
    value: str
    n: Count
    classes: dict[str, dict[str, Count]] = Field(default_factory=dict)
    metrics: dict[str, MetricFigure]
    weakest: dict[str, Count]

    @property
    def name(self) -> str:
        """Both words, such as `sex=female`."""
        return f"{self.attribute}={self.value}"

    def of_float(self) -> "SubgroupFigure":
        """Those of an artifact that is the float network, as `MetricFigure.of_float`."""
        return self.model_copy(update={"metrics": {name: figure.of_float() for name, figure in self.metrics.items()}})


class RocCurve(Frozen):
    """A yes-or-no head at every threshold, at most 101 points a network.

    Points are (1 − specificity, sensitivity), from (0, 0) to (1, 1). at_threshold: those of the threshold that the
    model card stores.
    """

    threshold: Share
    float: tuple[Point, ...]
    int8: tuple[Point, ...]
    float_at_threshold: Point
    int8_at_threshold: Point


class ReliabilityBin(Frozen):
    """Answers of about one probability: how many, their mean, and how often it came true; None where there are none."""

    n: Count
    probability: Measured
    happened: Measured


class Reliability(Frozen):
    """Whether probabilities come true, in the equal-width bins of the calibration error, from 0 to 1.

    Of a softmax head, the largest probability and whether it named the truth.
    """

    float: tuple[ReliabilityBin, ...]
    int8: tuple[ReliabilityBin, ...]


class JaccardCounts(Frozen):
    """How many images have a Jaccard in each of 20 equal-width bins from 0 to 1; the last one holds 1 itself."""

    float: tuple[Count, ...]
    int8: tuple[Count, ...]


class Curves(Frozen):
    """What a picture of the accuracy is drawn from.

    roc: by sigmoid head. reliability: by sigmoid and softmax head. jaccard: of the mask, image by image.
    """

    roc: dict[str, RocCurve] = Field(default_factory=dict)
    reliability: dict[str, Reliability] = Field(default_factory=dict)
    jaccard: JaccardCounts | None = None

    def of_float(self) -> "Curves":
        """Those of an artifact that is the float network: float's on both sides."""
        rocs = {
            name: one.model_copy(update={"int8": one.float, "int8_at_threshold": one.float_at_threshold})
            for name, one in self.roc.items()
        }
        reliability = {name: one.model_copy(update={"int8": one.float}) for name, one in self.reliability.items()}
        jaccard = self.jaccard and self.jaccard.model_copy(update={"int8": self.jaccard.float})
        return Curves(roc=rocs, reliability=reliability, jaccard=jaccard)


class WorstCase(Frozen):
    """A case that the network that ships answered badly: its image id, and how badly.

    score: the Jaccard of a mask; the probability that another head gave to the truth.
    """

    image_id: str
    score: Measured


class AccuracyReport(Frozen):
    """Accuracy on one split of one data set.

    form: of the network in the columns `int8`, None for int8 itself. metadata: what the network was given beside the
    image, None where it takes the image alone. inherited_from: date of the evidence entry this rests on, or None where
    it was measured in this run; inherited_sha256: that entry's checksum, None where it has none. data_list_sha256: hash
    of the sorted image ids. cautions: the words that must stand beside the figures.
    subgroups: by attribute and value, where the data set tells any. worst: the worst cases of each head, worst first.
    seen_in_training: ids of the images that were left out, each the same photograph as one that the network was trained
    on. weakest: as in `SubgroupFigure`, of all images; a metric that is not in it needs no class. These five are None
    where nobody looked, as in what an older edgeskin wrote.
    """

    dataset: str
    split: str
    form: Form | None = None
    metadata: MetadataGiven | None = None
    n: Count
    data_list_sha256: str
    metrics: dict[str, MetricFigure]
    confusion: dict[str, Confusion] = Field(default_factory=dict)
    cautions: tuple[str, ...] = ()
    inherited_from: str | None = None
    inherited_sha256: str | None = None
    subgroups: tuple[SubgroupFigure, ...] | None = None
    curves: Curves | None = None
    worst: dict[str, tuple[WorstCase, ...]] | None = None
    seen_in_training: tuple[str, ...] | None = None
    weakest: dict[str, Count] | None = None

    @model_validator(mode="after")
    def _of_its_images(self) -> "AccuracyReport":
        at_most_of(self.metrics, self.n)
        return self


class EngineGap(Frozen):
    """How far onnxruntime is from itself on one output, on the same inputs: the unit in which equivalence is measured.

    Both executions are right; they differ by single roundings, which snowball. At int8 and fp32 it is optimised against
    plain execution; where an artifact's form rounds to float16, execution with those roundings against without.
    mean_abs, max_abs: absolute difference of the probabilities. mask_disagreement: fraction of mask pixels
    that differ, None for an output that is no mask.
    """

    mean_abs: Measured
    max_abs: Measured
    mask_disagreement: Measured = None


class NumericsHop(Frozen):
    """One step of the chain compared on one tensor (an output of the network, unless said otherwise).

    name: the step, such as `int8.onnx → artifact`; the last step's name ends with `→ artifact`, and names the
    processor where it is not the default one, as `int8.onnx, gpu → artifact`. mean_abs, max_abs: absolute
    difference of the values (of the probabilities, for an output). mask_agreement: fraction of equal mask pixels,
    for a mask output. labels_equal: whether decisions agree wherever the reference decides clearly, for the other
    outputs. engine_gap: onnxruntime's own. equivalent: by the rule of `Equivalence`; None where the step is only
    shown (float and int8 are not meant to be equal).
    """

    name: str
    tensor: str
    mean_abs: Measured
    max_abs: Measured
    mask_agreement: Measured = None
    labels_equal: bool | None = None
    engine_gap: EngineGap | None = None
    equivalent: bool | None = None


class Equivalence(Frozen):
    """When two forms of a network compute the same: each limit is a constant, or `engine_gaps` times onnxruntime's own
    gap on that output where that is wider, but never beyond the `widest_…`.

    mask_agreement: at least this fraction of mask pixels is equal. mean_abs: the mean absolute difference of the
    probabilities. label_margin: decisions must agree where the reference's margin exceeds it. The widest limits stop an
    engine that is wrong in both executions, or wrong only when optimised, from excusing itself.
    """

    mask_agreement: Share = 0.999
    mean_abs: Share = 0.002
    label_margin: Share = 4 / 256
    engine_gaps: Annotated[float, Field(ge=0)] = 2.0
    widest_mask_agreement: Share = 0.995
    widest_mean_abs: Share = 0.01
    widest_label_margin: Share = 0.08

    def mask_agreement_limit(self, gap: EngineGap | None) -> float:
        """The smallest mask agreement that still counts as equal."""
        own = 1 - self.engine_gaps * ((gap and gap.mask_disagreement) or 0.0)
        return max(min(self.mask_agreement, own), self.widest_mask_agreement)

    def mean_abs_limit(self, gap: EngineGap | None) -> float:
        """The largest mean absolute difference that still counts as equal."""
        own = self.engine_gaps * ((gap and gap.mean_abs) or 0.0)
        return min(max(self.mean_abs, own), self.widest_mean_abs)

    def label_margin_limit(self, gap: EngineGap | None) -> float:
        """The margin of the reference above which a decision must be the same."""
        own = self.engine_gaps * ((gap and gap.max_abs) or 0.0)
        return min(max(self.label_margin, own), self.widest_label_margin)

    def holds(self, hop: NumericsHop) -> bool:
        """Whether one compared output is equivalent; what was not measured does not hold."""
        if hop.mean_abs is None or (hop.mask_agreement is None and hop.labels_equal is None):
            return False
        agrees = hop.mask_agreement is None or hop.mask_agreement >= self.mask_agreement_limit(hop.engine_gap)
        return agrees and hop.labels_equal is not False and hop.mean_abs <= self.mean_abs_limit(hop.engine_gap)


class Conditions(Frozen):
    """What the machine was like while a figure was taken; a pair is before and after, and what is not told is None.

    clock_mhz: of the fastest core. temperature_c: of the hottest sensor of the CPU. gpu_clock_mhz, gpu_temperature_c:
    of the first GPU. throttle_events: times that heat slowed the CPU since its start. throttled: what slowed the
    machine down behind the figure, in words. load_average: of the minute before. others_share: part of all cores'
    time that was spent on something else meanwhile, in other programs, the kernel or another guest of the same host.
    cool_down_s: how long it was given to cool down before. cooled: whether it then was as before the first figure,
    None where it was given no time or nobody tells.
    """

    clock_mhz: tuple[Measured, Measured] = (None, None)
    temperature_c: tuple[Measured, Measured] = (None, None)
    gpu_clock_mhz: tuple[Measured, Measured] = (None, None)
    gpu_temperature_c: tuple[Measured, Measured] = (None, None)
    throttle_events: tuple[Count | None, Count | None] = (None, None)
    throttled: tuple[str, ...] = ()
    load_average: Measured = None
    others_share: Share | None = None
    cool_down_s: Annotated[float, Field(ge=0)] = 0.0
    cooled: bool | None = None

    @property
    def newly_throttled(self) -> int | None:
        """How often heat slowed the CPU meanwhile, None where the system does not tell."""
        before, after = self.throttle_events
        return None if before is None or after is None else max(after - before, 0)


class Histogram(Frozen):
    """How many samples took how long: `counts[i]` of them from `edges_ms[i]` to `edges_ms[i + 1]`.

    At most 40 bins, of equal width up to the 99th percentile; the last holds what took longer, up to the maximum.
    """

    edges_ms: tuple[float, ...]
    counts: tuple[Count, ...]


class LatencyFigure(Frozen):
    """Wall time of one thing done again and again.

    name: what was timed (`model int8` and `model fp32`, of one pass; `model int8, gpu`, on another processor than the
    default; `model int8, batch 8`, of several pictures at once; `photo to findings`, of all that a photo takes).
    cv: coefficient of variation, which is standard deviation over mean. seconds: how long it was sampled. mode:
    `release` is ≥ 1024 samples and ≥ 60 s; `quick` is for work. batch: pictures in each run.
    """

    name: str
    threads: Annotated[int, Field(ge=1)]
    p50_ms: Positive
    p90_ms: Positive
    p99_ms: Positive
    mean_ms: Positive
    cv: Measured
    samples: Count
    seconds: Annotated[float, Field(ge=0)]
    mode: Literal["quick", "release"]
    batch: Annotated[int, Field(ge=1)] = 1
    histogram: Histogram | None = None
    conditions: Conditions | None = None

    @model_validator(mode="after")
    def _is_possible(self) -> "LatencyFigure":
        told = [time for time in (self.p50_ms, self.p90_ms, self.p99_ms) if time is not None]
        if not self.samples:
            raise ValueError(f"{self.name}: a time of no samples")
        if told != sorted(told):
            raise ValueError(
                f"{self.name}: p50, p90 and p99 must rise, and are {', '.join(f'{ms:g}' for ms in told)} ms"
            )
        if self.mode == "release" and self.samples < RELEASE_SAMPLES:
            raise ValueError(f"{self.name}: release figures have {RELEASE_SAMPLES} samples, this one {self.samples}")
        return self

    @property
    def pictures_per_s(self) -> float | None:
        """Throughput: pictures in a second of one run behind the other."""
        return None if not self.mean_ms else 1000 * self.batch / self.mean_ms


class ColdStart(Frozen):
    """From an artifact on disk to its first answer, each time in a process of its own; medians.

    load_ms: from Python, NumPy and edgeskin loaded to the artifact opened, its engine's library included.
    first_run_ms: of the run behind that. total_ms, slowest_ms: of both, the median and the slowest. All files were read
    before (the page cache is warm), so no disk is timed.
    """

    threads: Annotated[int, Field(ge=1)]
    load_ms: Positive
    first_run_ms: Positive
    total_ms: Positive
    slowest_ms: Positive
    starts: Annotated[int, Field(ge=1)]


class SpeedRatio(Frozen):
    """int8 against fp32 in one interleaved run.

    speedup_vs_fp32: median of fp32 time / int8 time, over pairs of both orders; above 1 int8 is faster. low, high: its
    95 % interval, by how far parts of the run differ; what lasted longer than the run (`conditions`) may make runs
    differ by more.
    """

    threads: Annotated[int, Field(ge=1)]
    speedup_vs_fp32: Positive
    low: Positive = None
    high: Positive = None
    pairs: Count
    conditions: Conditions | None = None


class MemoryFigure(Frozen):
    """Peak resident memory of loading the engine and running the artifact, above Python with NumPy and edgeskin.

    device_mib: what an accelerator with a memory of its own takes besides, None where there is none, or nobody tells.
    """

    peak_mib: Annotated[Annotated[float, Field(ge=0)] | None, BeforeValidator(_none_for_nan)]
    device_mib: Measured = None

    @property
    def total_mib(self) -> float | None:
        """Both together: on a Jetson they are one memory."""
        return None if self.peak_mib is None else self.peak_mib + (self.device_mib or 0.0)


class LayerFigure(Frozen):
    """One layer of a compiled engine, as `PlacedLayer`."""

    name: str
    type: str
    precision: str | None
    nodes: tuple[str, ...]


class PlacementFigure(Frozen):
    """Where the operators really ran, read from the engine.

    integer_convolutions: how many ran as integer kernels, None where the engine does not tell. float_operators: names
    of those left in float although the network quantizes them, None likewise. partitions: in how many parts a delegate
    took the network over, None where the engine has no delegates. undelegated: the operators it did not take;
    why_undelegated: in words, None where nobody knows. layers: those of a compiled engine.
    """

    provider: str
    convolutions: Count
    integer_convolutions: Count | None
    float_operators: tuple[str, ...] | None = ()
    partitions: Count | None = None
    undelegated: tuple[str, ...] = ()
    why_undelegated: str | None = None
    layers: tuple[LayerFigure, ...] = ()

    @staticmethod
    def of(placement: Placement) -> "PlacementFigure":
        """What an opened artifact says of itself, as a figure."""
        return PlacementFigure.model_validate(dataclasses.asdict(placement))

    @property
    def integer_fraction(self) -> float | None:
        """Fraction of the convolutions that ran as integer kernels; None for a network without any, or unknown."""
        if self.integer_convolutions is None or not self.convolutions:
            return None
        return self.integer_convolutions / self.convolutions


class DeviceFacts(Frozen):
    """The machine the figures belong to.

    flags: those that decide integer speed or exactness (avx2, avx_vnni, avx512_vnni, asimddp, …). engines: version of
    every engine used, by module name. board, gpu: what they call themselves. gpu_driver: of NVIDIA, or the release of a
    Jetson's system. power_mode: of a Jetson; fastest_power_mode: the one that leaves its GPU the highest clock.
    clocks_pinned: whether a Jetson's GPU keeps one clock. throttled: what slows the machine down, in words. What is
    not told is None.
    """

    cpu: str
    flags: tuple[str, ...] = ()
    cores: Annotated[int, Field(ge=1)]
    governor: str | None = None
    clock_mhz: Measured = None
    temperature_c: Measured = None
    os: str
    python: str
    engines: dict[str, str] = Field(default_factory=dict)
    board: str | None = None
    gpu: str | None = None
    gpu_driver: str | None = None
    gpu_temperature_c: Measured = None
    power_mode: str | None = None
    fastest_power_mode: str | None = None
    clocks_pinned: bool | None = None
    throttled: tuple[str, ...] = ()


class Measurements(Frozen):
    """Everything measured on one artifact; a section that is None (or empty) was not measured.

    verified: as `Verified`; figures that no device answered for are no device's. reads_back: whether the artifact's
    saved bytes, parsed again, are the very network it was built from. not_measured: why not, by the gate's name of the
    section, where somebody knows; of numerics, why no device computed them.
    """

    verified: Verified = "device"
    accuracy: AccuracyReport | None = None
    reads_back: bool | None = None
    numerics: tuple[NumericsHop, ...] = ()
    latency: tuple[LatencyFigure, ...] = ()
    speed: SpeedRatio | None = None
    cold_start: ColdStart | None = None
    size_mib: Measured = None
    memory: MemoryFigure | None = None
    placement: PlacementFigure | None = None
    device: DeviceFacts | None = None
    not_measured: dict[str, str] = Field(default_factory=dict)

    def model_latency(self, precision: Precision) -> LatencyFigure | None:
        """The time of the network alone at `precision`, by the processor that an app gets by default."""
        return next((figure for figure in self.latency if figure.name == f"model {precision}"), None)

    def at(self, threads: int) -> "Measurements":
        """The same without what was timed at another number of threads."""
        timed = tuple(figure for figure in self.latency if figure.threads == threads)
        if timed == self.latency:
            return self
        why = f"timed at other threads than the profile's. There: edgeskin attest BUNDLE --threads {threads}"
        return self.model_copy(
            update={"latency": timed, "speed": None, "not_measured": self.not_measured | {"latency": why}}
        )

    def overlaid(self, later: "Measurements") -> "Measurements":
        """The same, with what another machine measured later of the same bytes in the place of its own."""
        earlier = tuple(hop for hop in self.numerics if hop not in self.artifact_hops)
        sections = ("latency", "speed", "cold_start", "size_mib", "memory", "placement", "device")
        return self.model_copy(
            update={
                **{name: getattr(later, name) for name in sections if getattr(later, name)},
                "verified": later.verified if later.artifact_hops else self.verified,
                "numerics": (*earlier, *(later.numerics or self.artifact_hops)),
                "not_measured": self.not_measured | later.not_measured,
            }
        )

    @property
    def artifact_hops(self) -> tuple[NumericsHop, ...]:
        """The last step of the chain, output by output: the artifact against the network it was built from."""
        return tuple(hop for hop in self.numerics if hop.name.endswith(TO_ARTIFACT) and hop.equivalent is not None)

    @property
    def equivalent(self) -> bool | None:
        """Whether the artifact reads back and every judged hop is equivalent; None without a compared artifact."""
        if not self.artifact_hops or self.reads_back is None:
            return None
        return self.reads_back and all(hop.equivalent is not False for hop in self.numerics)

    @property
    def first_divergence(self) -> NumericsHop | None:
        """The first hop, and its first tensor, that is not equivalent."""
        return next((hop for hop in self.numerics if hop.equivalent is False), None)
