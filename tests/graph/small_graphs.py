"""A whole Graph folder of the small network, golden cases included, and rules that it can keep; needs no torch."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from raw_graphs import small

from edgeskin.benchmarks import latency, memory
from edgeskin.benchmarks.measurements import MemoryFigure
from edgeskin.contract.model import HeadSpec, ModelCard, Provenance
from edgeskin.data.cases import read_cases
from edgeskin.data.phantom import golden_photos
from edgeskin.export import golden
from edgeskin.graph.lint import float_tail
from edgeskin.graph.read import read
from edgeskin.graph.rewrite import rename, snap_biases
from edgeskin.graph.write import write_onnx
from edgeskin.targets.onnx import reference_session

SIZE = 32
PHOTOS = 6
GATE = """description = "What an untrained network can keep."
equivalent = true
size_mib_max = 16
peak_memory_mib_max = 4096
"""


def write_small_graph(folder: Path, data: Path) -> None:
    """A network with random weights, which claims to have held out the first nine of train of the folder `data`."""
    folder.mkdir()
    int8 = rename(snap_biases(read(small(size=SIZE).model())))
    write_onnx(int8, folder / "int8.onnx")
    write_onnx(rename(read(small(size=SIZE, quantized=False).model())), folder / "fp32.onnx")
    card = ModelCard(
        name="small",
        version="1",
        size=SIZE,
        heads=(
            HeadSpec(name="mask", kind="mask", labels=("lesion",), threshold=0.5),
            HeadSpec(name="diagnosis", kind="softmax", labels=("melanoma", "nevus", "seborrheic_keratosis")),
            HeadSpec(name="melanoma", kind="sigmoid", labels=("melanoma",), threshold=0.5),
        ),
        float_tail=tuple(node.name for node in float_tail(int8)),
        intended_use="Tests only.",
        licence="Apache-2.0",
        provenance=Provenance(
            recipe="small",
            recipe_sha256="0" * 64,
            data=("generic",),
            data_list_sha256="1" * 64,
            select_ids=tuple(case.image_id for case in read_cases(data).split("train")[:9]),
            seed=1,
            edgeskin_version="0",
        ),
    )
    card.write(folder / "model.json")
    in_float, in_int8 = (reference_session(folder / name) for name in ("fp32.onnx", "int8.onnx"))
    golden.write(folder / "golden", golden_photos(PHOTOS), card, in_float.run, in_int8.run)


@contextmanager
def hasty(memory_mib: float | None = None) -> Iterator[None]:
    """Three samples a figure, and no process for the memory where `memory_mib` tells it.

    These tests are about the journey; milliseconds and MiB have tests of their own.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(latency.EFFORTS, "quick", latency.Effort(warm_up=1, samples=3, seconds=0, cap_seconds=1))
        if memory_mib is not None:
            patch.setattr(memory, "measure", lambda *_, **__: MemoryFigure(peak_mib=memory_mib))
        yield


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, by relative path."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
