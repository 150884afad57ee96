"""A program of MIL as the bytes of a package's two files.

coremltools' passes are not run. They were made for graphs of other frameworks, and one of them,
`common::int_op_canonicalization`, drops a change of scale between two quantizations without a word: heads were wrong by
0.08. What a program needs is written by lowering; `PASSES` names what is left to the library.
"""

import contextlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edgeskin.errors import TargetError
from edgeskin.graph.ir import Network
from edgeskin.optional import require
from edgeskin.targets.coreml.lower.site import fixed
from edgeskin.targets.coreml.package import WEIGHT_FILE

PASSES: tuple[str, ...] = ()
"""The library's passes that run over a program, by name."""


def convert(program: Any, network: Network) -> tuple[Any, bytes]:
    """The specification, as a message of protobuf, and the file of weights.

    Raises: TargetError where the library gives inputs or outputs other names than the network's.
    """
    tools = require("coremltools")
    inputs = [
        tools.ImageType(name=name, shape=shape, color_layout=tools.colorlayout.RGB)
        if len(shape) == 4
        else tools.TensorType(name=name, shape=shape)
        for name, shape in ((name, fixed(network.tensors[name])) for name in network.inputs)
    ]
    with _quietly():
        made = tools.convert(
            program,
            source="milinternal",
            convert_to="mlprogram",
            minimum_deployment_target=tools.target.iOS17,
            compute_precision=tools.precision.FLOAT32,  # lowering wrote what is to be float16
            inputs=inputs,
            pass_pipeline=tools.PassPipeline(pass_names=list(PASSES), pipeline_name="edgeskin"),
            skip_model_load=True,
        )
    specification = made.get_spec()
    named = [each.name for each in (*specification.description.input, *specification.description.output)]
    if named != [*network.inputs, *network.outputs]:
        raise TargetError(
            f"Core ML takes no inputs and outputs called {', '.join(network.inputs)} and {', '.join(network.outputs)}; "
            f"it made them {', '.join(named)}. Give the heads other names"
        )
    weights = Path(made.weights_dir) / WEIGHT_FILE
    return specification, weights.read_bytes() if weights.exists() else b""


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Without the library's progress bars; errors are exceptions."""
    with contextlib.redirect_stderr(io.StringIO()):
        yield
