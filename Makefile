# Each target makes what it needs by itself, in environments of its own beside this file: nothing else is touched.
# Another Python: make demo PYTHON=python3.12

PYTHON ?= python3
# Installed first and alone: a bare torch, as another package asks for it, pulls gigabytes of CUDA. What follows it, such as
# the index of CPU wheels, may be added: make test TORCH='torch==2.13.0 --index-url …'
TORCH ?= torch==2.13.0
# Real images are tested with where they are: EDGESKIN_DATA, or the folder beside the checkout.
EDGESKIN_DATA ?= $(abspath $(wildcard ../shared/data))

.PHONY: help demo test test-main test-pairs test-all test-core test-arm check clean python-fits

VERSION := $(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)
constraints = $(firstword $(wildcard .ci/constraints-$(1).txt) .ci/constraints-3.12.txt)
CONSTRAINTS := $(call constraints,$(VERSION))
DEMO := .venv-demo/.ready-$(VERSION)
DEV := .venv-dev/.ready-$(VERSION)
CORE := .venv-core/.ready-3.10

# -qq: pip's warnings about indexes are not the reader's business; its errors still show.
PIP := -m pip --disable-pip-version-check install -qq
# What a wheel is made of.
SOURCES := $(shell find edgeskin train/recipes train/families export/profiles export/release benchmarks/gates benchmarks/papers -type f ! -name '*.pyc')

help:
	@echo 'make demo    export the shipped network and screen a photo with it'
	@echo 'make test    run the tests'
	@echo 'make test-pairs  every two of encoder, heads and links together, trained, quantized and exported; make results on drawn photos'
	@echo 'make test-all    all of them, every encoder under every head and link too: an hour'
	@echo 'make test-arm    the TFLite file in its aarch64 build, emulated: Debian, 200 MB, minutes'
	@echo 'make results DATA=…  train and measure all that the README reports, from zero; QUICK=1: on drawn photos, minutes'
	@echo 'make check   formatting, lint, types, layering, documentation'
	@echo 'make clean   remove the environments and caches that the others made'

demo: $(DEMO)
	@.venv-demo/bin/edgeskin export --target onnx --out bundles/demo
	@.venv-demo/bin/edgeskin predict bundles/demo/golden/photos/00.png --bundle bundles/demo
	@echo 'The report: bundles/demo/report.md'

test: test-main test-core

test-main: CHOSEN := not pairs and not long and not product and not gpu
test-pairs: CHOSEN := pairs or long
test-all: CHOSEN := not gpu
test-main: SHARE := loadfile
test-pairs test-all: SHARE := worksteal

# One thread a worker: two workers with two threads each would fight for two cores.
test-main test-pairs test-all: export OMP_NUM_THREADS = 1
test-main test-pairs test-all: export EDGESKIN_DATA := $(EDGESKIN_DATA)
test-main test-pairs test-all: $(DEV)
	@$(if $(EDGESKIN_DATA),,echo 'no real images: set EDGESKIN_DATA to the parent of the data folders to test with them')
	@.venv-dev/bin/python -m pytest -q -n 2 --dist $(SHARE) \
	  -m '$(CHOSEN) and not device and not arm$(if $(EDGESKIN_DATA),, and not data)'

# Everything that must work where torch is not, on the oldest Python. pyenv's shim answers to python3.10 without being one.
PYTHON310 ?= $(firstword $(foreach python,python3.10 $(wildcard $(HOME)/.pyenv/versions/3.10.*/bin/python3.10),\
  $(shell $(python) -c 'import ensurepip, venv' 2>/dev/null && echo $(python))))
test-core:
	@if [ -n '$(PYTHON310)' ]; then $(MAKE) --no-print-directory test-core-3.10 PYTHON310='$(PYTHON310)'; \
	else echo 'skipped: the tests without torch on Python 3.10, because there is no python3.10 with venv here'; fi

.PHONY: test-core-3.10
test-core-3.10: $(CORE)
	@.venv-core/bin/python -m pytest -q -n 2 --dist loadfile -m 'not pairs and not long and not product and not gpu and not device and not arm and not data'

# The emulated side has the LiteRT of this one, so that nothing but the processor differs.
test-arm: $(DEV)
	@tests/arm/setup.sh .arm "ai-edge-litert==$$(.venv-dev/bin/python -c 'from importlib.metadata import version; print(version("ai-edge-litert"))')"
	@EDGESKIN_ARM=$(CURDIR)/.arm .venv-dev/bin/python -m pytest -q -m arm tests/targets/test_tflite_arm.py

# DATA: the parent of the data folders. WEIGHTS: the folder of the ImageNet start. benchmarks/results.py has the rest.
.PHONY: results
results: DATA = $(EDGESKIN_DATA)
results: WEIGHTS = $(firstword $(EDGESKIN_WEIGHTS) $(wildcard $(DATA)/weights $(DATA)/../weights))
results: $(DEV)
	@EDGESKIN_DATA='$(DATA)' EDGESKIN_WEIGHTS='$(WEIGHTS)' .venv-dev/bin/python benchmarks/results.py \
	  $(if $(QUICK),--quick) $(if $(SHOW),--show) $(if $(ONLY),--only '$(ONLY)') $(if $(FOLDS),--folds $(FOLDS))

check: $(DEV)
	@.venv-dev/bin/ruff format --check -q .
	@.venv-dev/bin/ruff check -q .
	@.venv-dev/bin/mypy --no-error-summary
	@.venv-dev/bin/lint-imports --no-cache --no-logo
	@.venv-dev/bin/python -m pytest -q tests/test_docs.py

clean:
	@rm -rf .venv-demo .venv-dev .venv-core bundles/demo build dist
	@rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

python-fits:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null || { \
	  echo "error: edgeskin needs Python 3.10 or newer; $(PYTHON) is $$($(PYTHON) --version 2>&1 | head -1)." \
	    'Name another: make PYTHON=python3.12 …' >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo 'error: $(PYTHON) cannot make environments. Install its venv module, on Debian: apt-get install python3-venv' >&2; exit 1; }

$(DEMO): pyproject.toml $(CONSTRAINTS) $(SOURCES) | python-fits
	@echo 'making .venv-demo: edgeskin with onnxruntime'
	@$(PYTHON) -m venv --clear .venv-demo
	@.venv-demo/bin/python $(PIP) -c $(CONSTRAINTS) '.[onnx]'
	@touch $@

$(DEV): pyproject.toml $(CONSTRAINTS) | python-fits
	@echo 'making .venv-dev: torch, the engines, and what tests and checks need; this takes minutes'
	@$(PYTHON) -m venv --clear .venv-dev
	@.venv-dev/bin/python $(PIP) 'pip>=25.1'
	@.venv-dev/bin/python $(PIP) $(TORCH)
	@.venv-dev/bin/python $(PIP) -c $(CONSTRAINTS) -e '.[train,onnx,tflite,coreml,search,sign]' --group test --group check --group judges
	@# Judges that ask for much that the tests need nothing of: torchvision, which the CPU build of torch has none of; jax.
	@.venv-dev/bin/python $(PIP) -c $(CONSTRAINTS) --no-deps grad-cam ttach mediapipe
	@touch $@

$(CORE): pyproject.toml .ci/constraints-3.10.txt
	@echo 'making .venv-core: Python 3.10 without torch'
	@$(PYTHON310) -m venv --clear .venv-core
	@.venv-core/bin/python $(PIP) 'pip>=25.1'
	@.venv-core/bin/python $(PIP) -c .ci/constraints-3.10.txt -e '.[onnx,tflite,coreml]' --group test
	@touch $@
