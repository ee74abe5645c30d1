# make study   set-up, then the cross-task study on embedded images, with its report
# make test    set-up, then all tests          (make test STACK=openmmlab: second stack)
# make test-gpu    set-up, then the tests of layers, models and weights on a GPU
# make gpu-report  tests, benchmarks and a short study on a GPU, with a report
# make lint    set-up, then ruff and mypy
# make docs    set-up, then the pages, in docs/_build
# make pins    writes the versions that set-up installs, requirements/*.txt, anew
# make clean   removes what the targets made here; the cache of compiled wheels stays
#
# ARGS="..."   is passed on: make study ARGS="--seeds 5", make test ARGS="-k layers"
# PYTHON=...   interpreter to make the environment with (3.10 to 3.12)
# VENV=...     an environment of your own that has a stack already
# MMGCP_CACHE  where the compiled mmcv wheel is kept (default: ~/.cache/mmgcp)

SHELL := /bin/bash
STACK ?= onedl
ARGS ?=
PYTHON ?=
VENV ?=
EXTRAS ?= test

FOLDER := $(or $(VENV),$(if $(filter onedl,$(STACK)),.venv,.venv-$(STACK)))
RUN := $(FOLDER)/bin/python
ANY_PYTHON := $(firstword $(PYTHON) $(shell command -v python3 || command -v python))

.PHONY: help setup study test test-slurm test-gpu gpu-report lint docs pins clean

help:
	@sed -n '1,13s/^# \{0,1\}//p' Makefile

setup:
	@test -n "$(ANY_PYTHON)" || { echo "No python3 on PATH; install Python 3.10 to 3.12."; exit 1; }
	@"$(ANY_PYTHON)" tools/setup_env.py --stack "$(STACK)" --extras $(EXTRAS) \
	  $(if $(VENV),--venv "$(VENV)") $(if $(PYTHON),--python "$(PYTHON)")

study: setup
	@"$(RUN)" tools/study.py configs/studies/scenes.py $(SHORT) $(ARGS)
# They differ in the pooling alone. ARGS="--encoders ..." wins.
SHORT = --encoders gap-native isqrt

# Each worker has one thread: the tests are many and small.
test: setup
	@OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 "$(RUN)" -m pytest -n auto --dist worksteal $(ARGS)

test-slurm: setup
	@"$(RUN)" -m pytest tests/slurm $(ARGS)

# One process: several would share the memory of the GPU.
test-gpu: setup
	@"$(RUN)" -m pytest --device cuda $(ON_GPU) $(ARGS)
ON_GPU = tests/layers tests/models tests/weights tests/gpu

gpu-report:
	@"$(ANY_PYTHON)" tools/gpu_check.py $(ARGS)

lint: EXTRAS = dev
lint: setup
	@"$(RUN)" -m ruff check .
	@"$(RUN)" -m ruff format --check .
	@"$(RUN)" -m mypy

docs: EXTRAS = dev
docs: setup
	@"$(RUN)" -m sphinx -W --keep-going -q -b html docs docs/_build

# One file for Python 3.10 to 3.12; the second stack has 3.10 only.
PINS := -m uv pip compile pyproject.toml --extra dev --python-version 3.10 --upgrade \
  --no-annotate --no-emit-package mmgcp --custom-compile-command "make pins" --quiet
pins: export UV_PYTHON_DOWNLOADS = never
pins: setup
	"$(RUN)" $(PINS) --universal --extra onedl requirements/onedl.in -o requirements/onedl.txt
	"$(RUN)" $(PINS) --python-platform linux --extra openmmlab requirements/openmmlab.in \
	  --build-constraint requirements/openmmlab.in -o requirements/openmmlab.txt

clean:
	rm -rf .venv .venv-openmmlab docs/_build build dist *.egg-info mmgcp/.mim .pytest_cache .ruff_cache .mypy_cache
