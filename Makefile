# Everything here needs only Python 3.11, 3.12 or 3.13 on the PATH: the first call makes .venv.
# Another Python: make PYTHON=/path/to/python3.12 test

.DEFAULT_GOAL := help
.PHONY: help demo test test-slow gpu soak versions lint format bench docs docs-slow docs-full notebooks clean

# The newest that runs, as the newest JAX is the fastest (a shim of pyenv may be there and not run);
# TensorFlow has no wheels beyond 3.13.
SUPPORTED := import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))
PYTHON ?= $(shell for python in python3.13 python3.12 python3.11 python3 python; do \
	$$python -c '$(SUPPORTED)' 2>/dev/null \
	&& echo $$python && break; done)

# Data sets lie here beside the checkout, where there are any; a setting of your own goes before it.
export ZOO_DATA_DIR ?= $(abspath $(wildcard ../shared/data))

BIN := .venv/bin
READY := .venv/ready
BENCH_READY := .venv/bench-ready
DOCS_READY := .venv/docs-ready

help:
	@echo "make demo        train a small classifier and use it"
	@echo "make test        the tests, in minutes (one file: .venv/bin/python -m pytest FILE)"
	@echo "make test-slow   the slow tests too (under 40 minutes)"
	@echo "make gpu         the tests for accelerators, on an NVIDIA GPU (ACCELERATOR=tpu: on a TPU)"
	@echo "make soak        random faults and inputs, for hours: before a release"
	@echo "make versions    the tests with the oldest and the newest packages: before a release"
	@echo "make lint        formatting, lint, types (make format: mend the formatting)"
	@echo "make bench       speed and accuracy beside fastText"
	@echo "make docs        the site, in docs/_build/html (docs-slow: run its notebooks and slow blocks)"
	@echo "make notebooks   the notebooks as .ipynb, in build/notebooks"
	@echo "make clean       remove .venv and everything built"

demo: $(READY)
	@$(BIN)/python examples/demo.py

# A worker takes a core and up to 3 GB. Each takes whole files, since the tests of a file share programs.
WORKERS ?= 2
PYTEST := $(BIN)/python -m pytest --numprocesses $(WORKERS) --dist loadfile

test: $(READY)
	$(PYTEST)

test-slow: $(READY)
	$(PYTEST) --slow

ACCELERATOR ?= cuda

gpu: $(READY)
	JAX_PLATFORMS=$(ACCELERATOR) $(BIN)/python -m pytest -m gpu

soak: $(READY)
	$(BIN)/python -m pytest --soak -m soak

versions: $(READY)
	$(BIN)/python tests/versions.py

lint: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(BENCH_READY)
	$(BIN)/python benchmarks/text_classification.py

# The site is built without a network; a warning is an error. What its notebooks print is taken from
# build/notebook-cache, which docs-slow (few steps, minutes) and docs-full (as published) fill.
# One notebook at a time, since each takes all cores.
SPHINX := $(BIN)/sphinx-build -q -W --keep-going docs docs/_build/html -d docs/_build/doctrees

docs: $(DOCS_READY)
	$(SPHINX) -j 2
	@echo "docs/_build/html/index.html"

docs-slow: $(DOCS_READY)
	ZOO_DOCS=execute ZOO_DOCS_FAST=1 $(SPHINX)
	$(BIN)/python -m pytest --slow tests/docs

docs-full: $(DOCS_READY)
	ZOO_DOCS=execute $(SPHINX)

notebooks: $(DOCS_READY)
	@mkdir -p build/notebooks
	@for notebook in examples/notebooks/*.md; do \
		$(BIN)/jupytext --quiet --output build/notebooks/$$(basename $$notebook .md).ipynb $$notebook || exit 1; \
	done

clean:
	rm -rf .venv build dist docs/_build docs/notebooks *.egg-info .mypy_cache .pytest_cache .ruff_cache

# A .venv that is there keeps its Python: two in one folder would be neither.
$(READY): pyproject.toml setup.py constraints.txt
	@test -n "$(PYTHON)" || { echo "needs Python 3.11, 3.12 or 3.13 on the PATH (or make PYTHON=...)" >&2; exit 2; }
	@echo "Setting up .venv: some minutes, once" >&2
	@$(BIN)/python -c 'import pip; $(SUPPORTED)' 2>/dev/null || $(PYTHON) -m venv --clear .venv
	@$(BIN)/python -m pip install -qq --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

$(DOCS_READY): $(READY)
	@echo "Setting up the packages for the site: a minute, once" >&2
	@$(BIN)/python -m pip install -qq --disable-pip-version-check -c constraints.txt -e '.[dev,docs]'
	@touch $@

# Of the peers in the extra [bench] only this one: the others are gigabytes.
$(BENCH_READY): $(READY)
	@$(BIN)/python -m pip install -qq --disable-pip-version-check -c constraints.txt fasttext
	@touch $@
