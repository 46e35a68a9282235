# Everything goes through .venv, made on first use; after that nothing here touches the network.
#   make serve [PORT=8000]     the server and its viewer
#   make test [PORT=... JOBS=2] all tests; what is skipped is named with its reason
#   make soak                  the load and fault tests with their full counts; half an hour on an otherwise idle machine
#   make lint                  ruff and mypy --strict
#   make train | weights | evaluate | bench [ARGS="..."]

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

VENV := .venv
BIN := $(VENV)/bin
# A stamp is named after the checksum of what it stands for: touching a file or checking it out anew installs nothing.
SUM = $(shell cksum < $(1) | cut -d' ' -f1)
RUN_STAMP := $(VENV)/.run-$(call SUM,pyproject.toml)
DEV_STAMP := $(VENV)/.dev-$(call SUM,pyproject.toml)
NPM_STAMP := node_modules/.installed-$(call SUM,package-lock.json)
TORCH ?= 2.13.0
JOBS ?= 2

.PHONY: help serve install test soak lint format train weights evaluate bench clean viewer-library

help:
	@sed -n 's/^#   //p' Makefile

$(BIN)/python:
	@for python in "$${PYTHON:-python3}" python3.11 python3.12 python3.13 python3.14; do \
	  if "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	    echo "making $(VENV) with $$("$$python" --version)"; exec "$$python" -m venv $(VENV); \
	  fi; \
	done; echo "Python 3.11 or newer is needed: install it, or name it with PYTHON=/path/to/python3." >&2; exit 1

# torch comes first, by itself: without an NVIDIA GPU its CPU build, which spares gigabytes of CUDA libraries.
$(RUN_STAMP): | $(BIN)/python
	@if ! $(BIN)/python -m pip show --quiet torch 2>/dev/null; then \
	  if command -v nvidia-smi >/dev/null && nvidia-smi >/dev/null 2>&1; then \
	    $(BIN)/python -m pip install --quiet torch; \
	  else \
	    $(BIN)/python -m pip install --quiet "torch==$(TORCH)+cpu" 2>/dev/null \
	    || $(BIN)/python -m pip install --quiet --index-url https://download.pytorch.org/whl/cpu torch \
	    || $(BIN)/python -m pip install --quiet torch; \
	  fi; \
	fi
	$(BIN)/python -m pip install --quiet --editable .
	@rm -f $(VENV)/.run-*; touch $@

$(DEV_STAMP): | $(RUN_STAMP)
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	@# Only its models of the OGC's schemas are used (tests/peers/test_ogc_models.py), and they need nothing more.
	$(BIN)/python -m pip install --quiet --no-deps 'titiler-core>=2.4,<3'
	@rm -f $(VENV)/.dev-*; touch $@

# Without npm, or with npm and no network, the viewer takes the same version from a CDN.
viewer-library:
	@if [ ! -e $(NPM_STAMP) ]; then \
	  if ! command -v npm >/dev/null; then echo "npm is not installed: the viewer loads MapLibre GL from a CDN."; \
	  elif npm ci --no-audit --no-fund --loglevel=error; then touch $(NPM_STAMP); \
	  else echo "npm ci failed: the viewer loads MapLibre GL from a CDN."; fi; \
	fi

install: $(RUN_STAMP) viewer-library

serve: install
	@exec $(BIN)/metaearth serve --port $(or $(PORT),8000) $(ARGS)

test: $(DEV_STAMP) viewer-library
	@# Two files at a time: half of the time is spent waiting for servers and browsers. Each computes in one thread: two with
	@# two each are slower than one after the other.
	PORT=$(PORT) OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} $(BIN)/python -m pytest -rs -n $(JOBS) --dist loadfile $(ARGS)

soak: $(DEV_STAMP)
	METAEARTH_TEST_FULL=1 $(BIN)/python -m pytest -rs -s tests/load tests/test_seed.py $(ARGS)

lint: $(DEV_STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --strict

format: $(DEV_STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

train evaluate: $(RUN_STAMP)
	@exec $(BIN)/metaearth $@ $(ARGS)

weights: $(RUN_STAMP)
	@exec $(BIN)/python -m model.training.recipe $(ARGS)

bench: $(DEV_STAMP)
	@exec $(BIN)/python -m bench $(ARGS)

clean:
	rm -rf $(VENV) node_modules tests/out .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find server model cache tests bench -name __pycache__ -type d -prune -exec rm -rf {} +
