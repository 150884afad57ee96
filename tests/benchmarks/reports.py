"""Reports to compare, made without a network."""

from edgeskin.benchmarks.baseline import Subject
from edgeskin.benchmarks.gate import Gate, judge
from edgeskin.benchmarks.measurements import Measurements
from edgeskin.benchmarks.report import Report
from edgeskin.contract.model import ModelCard

GATE = Gate(equivalent=True, size_mib_max=16, peak_memory_mib_max=512)


def report_of(card: ModelCard, measured: Measurements, gate: Gate = GATE, **more: object) -> Report:
    """A report of these measurements, judged."""
    pending = more.pop("may_be_pending", ())
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
            "verdict": judge(measured, gate, card, "int8", may_be_pending=pending),
            **more,
        }
    )


def subject_of(report: Report, source: str = "a-report") -> Subject:
    """A report as one side of a comparison."""
    return Subject(source=source, report=report, measurements=report.measurements)
