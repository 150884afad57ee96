"""Engines that are imported when used, never before."""

import importlib
import importlib.util
import logging
from types import ModuleType

from edgeskin.errors import MissingDependencyError

EXTRA_OF = {
    "torch": "train",
    "torchao": "train",
    "safetensors": "train",
    "tensorboard": "train",
    "onnxscript": "train",
    "onnx": "onnx",
    "onnxruntime": "onnx",
    "ai_edge_litert": "tflite",
    "tflite_runtime": "tflite-runtime",
    "tflite": "tflite",
    "flatbuffers": "tflite",
    "coremltools": "coreml",
    "tensorrt_rtx": "tensorrt-rtx",
    "torch_tensorrt": "torch-tensorrt",
    "model_signing": "sign",
    "OpenSSL": "sign",
    "cryptography": "sign",
    "cyclonedx": "sign",
    "packageurl": "sign",
    "sklearn": "analysis",
    "optuna": "search",
}
"""The extra of pyproject.toml that brings each optional module."""

_NOISY = {
    # GPU kernels for other machines do not load here; nothing of ours uses them.
    "torchao": ("torchao", "torch.utils._pytree"),
    # Models cannot be run on any system but macOS, and newer versions of what it can convert from are untested; nothing
    # of ours asks for either. Where torch is installed, it imports that.
    "coremltools": ("coremltools", "torchao", "torch.utils._pytree"),
    # It misses ModelOpt, without which int8 goes through converters of ours.
    "torch_tensorrt": ("torch_tensorrt",),
}
"""What each module's import announces by logging, to nobody's use."""


def available(module: str) -> bool:
    """Whether `module` can be imported here, found without importing it."""
    return importlib.util.find_spec(module.partition(".")[0]) is not None


def missing(*modules: str) -> str | None:
    """One sentence that names the first of `modules` that is absent and how to get it, or None."""
    for module in modules:
        if not available(module):
            package = module.partition(".")[0]
            extra = EXTRA_OF[package]
            return f"{package} is not installed. Install it with: pip install 'edgeskin[{extra}]'"
    return None


def demand(*modules: str) -> None:
    """Raises: MissingDependencyError where one of `modules` is absent. Nothing is ever installed for the user."""
    sentence = missing(*modules)
    if sentence is not None:
        raise MissingDependencyError(sentence)
    for module in modules:
        for noisy in _NOISY.get(module.partition(".")[0], ()):
            logging.getLogger(noisy).setLevel(logging.ERROR)


def require(module: str) -> ModuleType:
    """Import an optional module. Raises: MissingDependencyError, with the command that installs it."""
    demand(module)
    return importlib.import_module(module)
