"""Run a .tflite file on cases, by a Python that has ai-edge-litert and nothing of edgeskin.

    python tests/arm/interpret.py MODEL.tflite INPUTS.npz OUTPUTS.npz [--plain]

One program for both sides of a comparison: this machine's Python, and an emulated one that `setup.sh` made.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType


def interpreter(model: Path, plain: bool) -> Any:
    """The model, ready to run on one thread: sums then have one order on every machine."""
    resolver = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES if plain else OpResolverType.AUTO
    made = Interpreter(str(model), num_threads=1, experimental_op_resolver_type=resolver)
    made.allocate_tensors()
    return made


def indices(made: Any) -> tuple[dict[str, int], dict[str, int]]:
    """Tensor by name, of inputs and of outputs: the signature's names, or the tensors' own where there is none."""
    if made.get_signature_list():
        signature = made.get_signature_runner()
        inputs, outputs = signature.get_input_details(), signature.get_output_details()
    else:
        inputs = {tensor["name"]: tensor for tensor in made.get_input_details()}
        outputs = {tensor["name"]: tensor for tensor in made.get_output_details()}
    return (
        {name: tensor["index"] for name, tensor in inputs.items()},
        {name: tensor["index"] for name, tensor in outputs.items()},
    )


def run(made: Any, cases: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Every output for every case, unchanged: integers stay integers.

    Shapes: the first axis is the case, so (cases, 224, 224, 3) for an input of (1, 224, 224, 3); outputs likewise.
    """
    inputs, outputs = indices(made)
    if set(cases) != set(inputs):
        raise SystemExit(f"error: the model takes {sorted(inputs)}; the cases hold {sorted(cases)}")
    counts = {len(stack) for stack in cases.values()}
    if len(counts) != 1 or counts == {0}:
        raise SystemExit(f"error: every input needs the same number of cases, at least one; there are {sorted(counts)}")
    results: dict[str, list[np.ndarray]] = {name: [] for name in outputs}
    for case in range(counts.pop()):
        for name, index in inputs.items():
            made.set_tensor(index, cases[name][case : case + 1])
        made.invoke()
        for name, index in outputs.items():
            results[name].append(made.get_tensor(index))
    return {name: np.concatenate(stack) for name, stack in results.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description="Run a .tflite file on cases.")
    parser.add_argument("model", type=Path)
    parser.add_argument("inputs", type=Path, help="a .npz with one array a model input, cases along the first axis")
    parser.add_argument("outputs", type=Path, help="the .npz to write, one array a model output")
    parser.add_argument("--plain", action="store_true", help="TFLite's own kernels, without XNNPACK")
    chosen = parser.parse_args()
    with np.load(chosen.inputs) as cases:
        results = run(interpreter(chosen.model, chosen.plain), dict(cases))
    np.savez(chosen.outputs, **results)


if __name__ == "__main__":
    main()
