"""Convert an ONNX file with onnx2tf; run inside its environment by `tflite.py`.

    python onnx2tf_convert.py {float,per-channel,per-tensor} NETWORK.onnx IMAGES.npy OUT.tflite

NETWORK.onnx takes float pixels: onnx2tf cannot calibrate an input of bytes ("Got value of type FLOAT32 but expected
type UINT8"). float: as it is. The others: int8, weights, activations, inputs and outputs, from what the network does on
the images, with scales as they say.

The last line of standard output is JSON: the seconds it took, or why it failed.
"""

import json
import shutil
import sys
import tempfile
import time
from pathlib import Path

FILES = {"float": "*_float32.tflite", "per-channel": "*_full_integer_quant.tflite"}
FILES["per-tensor"] = FILES["per-channel"]
NO_MEAN, NO_DEVIATION = [[[[0.0, 0.0, 0.0]]]], [[[[1.0, 1.0, 1.0]]]]
"""The images are what the network takes."""


def convert(mode: str, network: Path, images: Path, out: Path) -> dict[str, float]:
    """Write `out` and tell the seconds.

    onnx2tf writes a whole family of files and stops at the first it cannot; the one wanted counts wherever it is there.
    """
    begin = time.perf_counter()
    import onnx2tf

    imported = time.perf_counter()
    quantized = mode != "float"
    with tempfile.TemporaryDirectory() as folder:
        try:
            onnx2tf.convert(
                input_onnx_file_path=str(network),
                output_folder_path=folder,
                batch_size=1,
                non_verbose=True,
                output_integer_quantized_tflite=quantized,
                quant_type=mode if quantized else "per-channel",
                custom_input_op_name_np_data_path=[["image", str(images), NO_MEAN, NO_DEVIATION]]
                if quantized
                else None,
            )
        finally:
            for path in Path(folder).glob(FILES[mode]):
                shutil.copyfile(path, out)
    return {"import": imported - begin, "convert": time.perf_counter() - imported}


def cause(error: BaseException) -> BaseException:
    """The first of a chain of errors: onnx2tf's last one says only that it failed."""
    return error if error.__cause__ is None else cause(error.__cause__)


if __name__ == "__main__":
    try:
        answer: dict[str, object] = {"seconds": convert(sys.argv[1], *map(Path, sys.argv[2:]))}
    except (Exception, SystemExit) as error:  # noqa: BLE001 -- whatever a peer raises is its answer
        first = cause(error)
        answer = {"failed": f"{type(first).__name__}: {first}"}
    print(json.dumps(answer))
