# Everything is done from here with CPython (3.11 or newer), make and git; the rest is installed into .venv with pip.
# Another interpreter: make test PYTHON=python3.12

PYTHON ?= python3
VENV := .venv
# The versions that the tests are run with: the newest torch, or constraints-oldest.txt.
CONSTRAINTS ?= constraints.txt
BIN := $(VENV)/bin
# Of the comparison of engines: the minutes after which no case begins, and where its files go.
MINUTES ?= 15
BENCHMARKS ?= results/benchmarks
# Of the tests on a GPU: processes at a time. Benchmarks run after them, alone.
WORKERS ?= auto
GOAL := $(or $(firstword $(MAKECMDGOALS)),test)

# Each stamp says that .venv was made from the present pyproject.toml and constraints.
RUN_STAMP := $(VENV)/.installed-run
DEV_STAMP := $(VENV)/.installed-dev
REFERENCE_STAMP := $(VENV)/.installed-reference

# The example plugin and the scripts behind the reference pages are not part of the package, so mypy is told of them.
TYPED := docs/generate.py docs/simulate.py docs/measure_costs.py docs/benchmarks.py plugins/ganbench-example/src

.DEFAULT_GOAL := help
.PHONY: help env quickstart test pytest test-oldest test-slow test-reference test-loggers benchmark gpu-check docs \
  docs-check format clean
.DELETE_ON_ERROR:

help: ## show these targets
	@grep -hE '^[a-z][a-z-]*:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 14

env: $(DEV_STAMP) ## make .venv with everything for development

quickstart: $(RUN_STAMP) ## make .venv and run the grid in grid.toml
	$(BIN)/ganbench run --grid grid.toml

test: $(DEV_STAMP) ## lint, types, documentation and the tests, except the slow ones
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy $(TYPED)
	$(BIN)/python docs/generate.py --check
	$(BIN)/python docs/benchmarks.py --check
	$(MAKE) pytest

pytest: $(DEV_STAMP)
	$(BIN)/python -m pytest -n 2 -m "not slow and not gpu and not loggers" --ignore tests/reference

test-oldest: ## the tests with the oldest torch that is supported, in an environment of its own
	$(MAKE) pytest VENV=.venv-oldest CONSTRAINTS=constraints-oldest.txt

test-slow: $(DEV_STAMP) ## the tests that take minutes
	$(BIN)/python -m pytest -n 2 -m "slow and not gpu and not loggers" --ignore tests/reference

test-reference: $(REFERENCE_STAMP) ## the tests against other libraries, which are installed first
	$(BIN)/python -m pytest -n 2 tests/reference

test-loggers: $(DEV_STAMP) ## the tests that write to TensorBoard, Weights & Biases (offline) and MLflow; installs them
	$(BIN)/python -m pip install --quiet -c $(CONSTRAINTS) -e ".[loggers]"
	$(BIN)/python -m pytest -m loggers

benchmark: $(DEV_STAMP) ## engines and steps against a hand-written loop, start-up, regularizers; asserts no time
	$(BIN)/python tests/benchmarks/engine_speed.py --device cpu --minutes $(MINUTES) -o $(BENCHMARKS)/cpu.json
	$(BIN)/python -m pytest tests/benchmarks --benchmark-enable --benchmark-only -m "not gpu"

gpu-check: $(DEV_STAMP) ## the tests and benchmarks that need a CUDA device
	@$(BIN)/python -c 'import sys, torch; sys.exit(0 if torch.cuda.is_available() else 1)' || \
	  { echo "gpu-check: torch finds no CUDA device on this machine, so nothing was checked" >&2; exit 1; }
	$(BIN)/python -m pytest -m gpu -n $(WORKERS) --maxschedchunk 1 --ignore tests/reference --ignore tests/benchmarks
	$(BIN)/python -m pytest -m gpu tests/benchmarks --benchmark-enable
	$(BIN)/python tests/benchmarks/engine_speed.py --device cuda --minutes $(MINUTES) -o $(BENCHMARKS)/gpu.json

docs: $(DEV_STAMP) ## write the reference pages from the code
	$(BIN)/python docs/generate.py

docs-check: $(DEV_STAMP) ## fail if a reference page is not what the code says
	$(BIN)/python docs/generate.py --check

format: $(DEV_STAMP) ## format the code and apply the linter's safe fixes
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean: ## remove .venv, caches and build outputs; runs in results/ are kept
	rm -rf $(VENV) .venv-oldest dist build .benchmarks .coverage
	find . -type d \( -name __pycache__ -o -name '.*_cache' -o -name .hypothesis \) -prune -exec rm -rf {} +

# -- the environment --------------------------------------------------------------------------------------------------

$(BIN)/pip:
	@command -v $(PYTHON) > /dev/null || \
	  { echo "There is no $(PYTHON) here. ganbench needs CPython 3.11 or newer: make $(GOAL) PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.implementation.name != "cpython" or sys.version_info < (3, 11))' || \
	  { echo "ganbench needs CPython 3.11 or newer, and $(PYTHON) is $$($(PYTHON) --version 2>&1)." >&2; \
	    echo "If another one is installed, name it: make $(GOAL) PYTHON=python3.12" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "On Debian and Ubuntu, install python3-venv first." >&2; exit 1; }

$(RUN_STAMP): pyproject.toml $(CONSTRAINTS) | $(BIN)/pip
	@echo "installing into $(VENV); the first time takes some minutes, most of them for torch"
	@$(BIN)/python -m pip install --quiet -c $(CONSTRAINTS) -e .
	@touch $@

# The development environment is the running one with more in it, so it counts as both.
$(DEV_STAMP): pyproject.toml $(CONSTRAINTS) | $(BIN)/pip
	@echo "installing into $(VENV); the first time takes some minutes, most of them for torch"
	@$(BIN)/python -m pip install --quiet -c $(CONSTRAINTS) -e ".[dev]"
	@touch $(RUN_STAMP) $@

$(REFERENCE_STAMP): $(DEV_STAMP)
	@$(BIN)/python -m pip install --quiet -c $(CONSTRAINTS) -e ".[dev,reference]"
	@touch $@
