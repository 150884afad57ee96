"""TensorRT: what NVIDIA's own parser makes of our ONNX files, and engines for desktop GPUs built ahead of time.

parser: an ONNX file → a network definition of TensorRT. layers: the definition as data. lift, settle: back to our own
network. engine: the definition → an engine file for named generations of GPUs, on a machine without one.

Tried with tensorrt-rtx 1.7.1. `pip install tensorrt-rtx-cu13` brings its own libraries and nothing else: 95 MB to
download, 235 MiB installed; the module is called `tensorrt_rtx`. It parses and builds without a GPU and without a
driver, and runs nothing there.
"""
