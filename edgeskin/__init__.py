"""edgeskin: skin-lesion screening networks, trained, quantized, exported through ONNX, and gated.

Importing the package loads no engine: torch, onnx and onnxruntime are reached when a function that needs them runs.
"""

__version__ = "0.1.0"

__all__ = ["__version__"]
