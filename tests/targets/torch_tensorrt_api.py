"""What torch_tensorrt 2.13.0 has of what we call, and a stand-in that has no more than that.

Source: its wheel, torch_tensorrt/dynamo/_compiler.py, _Input.py, dynamo/debug/_Debugger.py and
dynamo/conversion/_ConverterRegistry.py. The stand-in compiles nothing: torch answers in the place of an engine.
"""

import json
import logging
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from types import ModuleType, SimpleNamespace
from typing import Any

import torch
from torch import fx, nn

VERSION = "2.13.0"
COMPILE = frozenset(
    {
        "arg_inputs", "kwarg_inputs", "device", "disable_tf32", "assume_dynamic_shape_support", "sparse_weights",
        "engine_capability", "num_avg_timing_iters", "workspace_size", "dla_sram_size", "dla_local_dram_size",
        "dla_global_dram_size", "truncate_double", "require_full_compilation", "min_block_size", "torch_executed_ops",
        "torch_executed_modules", "pass_through_build_failures", "max_aux_streams", "version_compatible",
        "optimization_level", "use_python_runtime", "use_fast_partitioner", "enable_experimental_decompositions",
        "dryrun", "hardware_compatible", "timing_cache_path", "lazy_engine_init", "cache_built_engines",
        "reuse_cached_engines", "engine_cache_dir", "engine_cache_size", "custom_engine_cache", "use_fp32_acc",
        "refit_identical_engine_weights", "strip_engine_weights", "immutable_weights", "enable_weight_streaming",
        "tiling_optimization_level", "l2_limit_for_tiling", "offload_module_to_cpu", "use_distributed_mode_trace",
        "enable_autocast", "autocast_low_precision_type", "autocast_excluded_nodes", "autocast_excluded_ops",
        "autocast_max_output_threshold", "autocast_max_depth_of_reduction", "autocast_calibration_dataloader",
        "cpu_memory_budget", "enable_resource_partitioning", "dynamically_allocate_resources", "decompose_attention",
        "attn_bias_is_causal", "fallback_data_dependent_ops",
    }
)  # fmt: skip
"""The keywords of `dynamo.compile`; there is no precision among them: the program's own types are kept."""
INPUT = frozenset(
    {"shape", "min_shape", "opt_shape", "max_shape", "dtype", "format", "tensor_domain", "torch_tensor", "name"}
)
DEBUGGER = frozenset(
    {
        "log_level", "capture_fx_graph_before", "capture_fx_graph_after", "save_engine_profile", "profile_format",
        "engine_builder_monitor", "logging_dir", "save_layer_info",
    }
)  # fmt: skip
CONVERTER = frozenset(
    {
        "enabled", "capability_validator", "priority", "supports_dynamic_shapes", "requires_output_allocator",
        "requires_native_multidevice",
    }
)  # fmt: skip


def _demand(known: frozenset[str], given: dict[str, Any]) -> None:
    unknown = sorted(set(given) - known)
    if unknown:
        raise TypeError(f"torch_tensorrt {VERSION} has no keyword {', '.join(unknown)}")


class Input:
    def __init__(self, **given: Any) -> None:
        _demand(INPUT, given)
        self.given = given


class Debugger:
    """It takes the root logger over, as its dictConfig does."""

    def __init__(self, **given: Any) -> None:
        _demand(DEBUGGER, given)

    def __enter__(self) -> None:
        logging.getLogger().handlers[:] = [logging.StreamHandler()]
        logging.getLogger().setLevel(logging.ERROR)

    def __exit__(self, *error: object) -> None:
        pass


class Engine(nn.Module):
    """What stands where TorchTensorRTModule does."""

    def __init__(self, inner: nn.Module, layers: list[dict[str, object]]) -> None:
        super().__init__()
        self.inner = inner
        self.layers = layers

    def forward(self, *given: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return self.inner(*given)

    def get_layer_info(self) -> str:
        return json.dumps({"Layers": self.layers})


class StandIn(ModuleType):
    """The module. asked: the keywords of each compilation. converters: what was registered, by operator.

    error: what compiling raises. layers: what an engine says of itself. left: whether one operator stays in torch.
    """

    def __init__(self) -> None:
        super().__init__("torch_tensorrt")
        self.__spec__ = ModuleSpec("torch_tensorrt", None)
        self.__version__ = VERSION
        self.asked: list[dict[str, Any]] = []
        self.programs: list[torch.export.ExportedProgram] = []
        self.converters: dict[object, Callable[..., Any]] = {}
        self.error: Exception | None = None
        self.layers: list[dict[str, object]] = []
        self.left = False
        self.Input = Input
        self.dynamo = SimpleNamespace(
            compile=self._compile,
            Debugger=Debugger,
            conversion=SimpleNamespace(
                dynamo_tensorrt_converter=self._register,
                converter_utils=SimpleNamespace(get_trt_tensor=_tensor),
            ),
        )

    def _register(self, key: object, **given: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        _demand(CONVERTER, given)

        def add(function: Callable[..., Any]) -> Callable[..., Any]:
            self.converters[key] = function
            return function

        return add

    def _compile(self, program: torch.export.ExportedProgram, inputs: object = None, **given: Any) -> fx.GraphModule:
        _demand(COMPILE, given)
        self.asked.append(given)
        self.programs.append(program)
        if self.error is not None:
            raise self.error
        root = nn.Module()
        root.add_module("_run_on_acc_0", Engine(program.module(), self.layers))
        graph = fx.Graph()
        image = graph.placeholder("image")
        answers = graph.call_module("_run_on_acc_0", (image,))
        if self.left:
            answers = graph.call_function(torch.ops.aten.detach.default, (answers,))
        graph.output(answers)
        return fx.GraphModule(root, graph)


def _tensor(context: Any, value: Any, name: str) -> Any:
    """As converter_utils.get_trt_tensor: what is stored becomes a constant, anything else is one already."""
    if not isinstance(value, torch.Tensor):
        return value
    context.kept.append(value.numpy())
    return context.net.add_constant(tuple(value.shape), context.kept[-1]).get_output(0)
