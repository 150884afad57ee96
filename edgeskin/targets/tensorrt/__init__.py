"""TensorRT for Jetson and desktop GPUs: what ships are the graphs and how to build them; an engine is a cache.

target: the way in. deploy: the folder that a board builds from; lint, generations: what each version takes. parser,
layers, lift, names, settle: what NVIDIA's own parser makes of our files, back as our network. runtime: TensorRT on this
machine. cache: its engines; placement: what is in one; session: run it. configuration: what every engine is built
with; ahead: engines of TensorRT-RTX, built for desktop GPUs on a machine without any.

Tried with tensorrt-rtx 1.7.1. `pip install tensorrt-rtx-cu13` brings its own libraries and nothing else: 95 MB to
download, 235 MiB installed; the module is called `tensorrt_rtx`. It parses and builds without a GPU and without a
driver, and runs nothing there.
"""
