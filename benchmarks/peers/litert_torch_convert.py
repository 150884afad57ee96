"""Convert a torch program with litert-torch and ai-edge-quantizer; run inside their environment by `tflite.py`.

    python litert_torch_convert.py {float,calibrated,scales} PROGRAM.pt2 IMAGES.npy OUT.tflite

float: as it is. calibrated: then quantized to int8 from what the network does on the images, weights, activations,
inputs and outputs. scales: a program that already holds quantization keeps its own.

The last line of standard output is JSON: the seconds each step took, or why it failed.
"""

import json
import sys
import time
from pathlib import Path

import numpy as np

INPUT = "args_0"
"""What litert-torch calls the first input."""


def convert(program: Path, out: Path, *, scales: bool) -> dict[str, float]:
    """Write `out` and tell the seconds of importing and converting."""
    begin = time.perf_counter()
    import litert_torch
    import torch
    import torchao.quantization.pt2e  # noqa: F401 -- defines the operators of a program that holds quantization
    from litert_torch.quantize import pt2e_quantizer
    from litert_torch.quantize.quant_config import QuantConfig

    imported = time.perf_counter()
    exported = torch.export.load(program)
    config = None
    if scales:
        # Only this setting makes the converter fuse quantize-dequantize pairs; without it they stay in the file.
        symmetric = pt2e_quantizer.get_symmetric_quantization_config(is_per_channel=True, is_dynamic=False)
        config = QuantConfig(pt2e_quantizer=pt2e_quantizer.PT2EQuantizer().set_global(symmetric))
    module, inputs = exported.module(), exported.example_inputs[0]
    litert_torch.convert(module, inputs, quant_config=config).export(str(out))
    return {"import": imported - begin, "convert": time.perf_counter() - imported}


def calibrate(floats: Path, images: Path, out: Path) -> dict[str, float]:
    """Quantize a float file to int8 by the images, float32 [N, S, S, 3], and tell the seconds."""
    begin = time.perf_counter()
    from ai_edge_quantizer import quantizer, recipe

    worker = quantizer.Quantizer(str(floats), recipe.static_wi8_ai8())
    samples = [{INPUT: image[None]} for image in np.load(images)]
    ranges = worker.calibrate({"serving_default": samples}, num_threads=1)
    worker.quantize(ranges).export_model(str(out), overwrite=True)
    return {"calibrate": time.perf_counter() - begin}


def main(mode: str, program: Path, images: Path, out: Path) -> dict[str, float]:
    """Convert as `mode` says."""
    if mode != "calibrated":
        return convert(program, out, scales=mode == "scales")
    floats = out.with_suffix(".float.tflite")
    return convert(program, floats, scales=False) | calibrate(floats, images, out)


if __name__ == "__main__":
    try:
        answer: dict[str, object] = {"seconds": main(sys.argv[1], *map(Path, sys.argv[2:]))}
    except Exception as error:  # noqa: BLE001 -- whatever a peer raises is its answer, to be shown beside the others
        answer = {"failed": f"{type(error).__name__}: {error}"}
    print(json.dumps(answer))
