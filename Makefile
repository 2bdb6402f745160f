# `make demo` and `make test` are all a newcomer needs: each makes .venv first, once.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
BACKENDS := .venv-backends
SERVE := .venv-serve
POLARS_1 := .polars-1
# tests/conftest.py says which tests share a worker. How long each took is kept in durations/.
PYTEST = $(BIN)/python -m pytest --durations=40 --junit-xml=durations/$@.xml
TRITON := tests/serving/test_triton_*.py
TWO_WORKERS := -n 2 --dist loadgroup --no-loadscope-reorder

.PHONY: help map setup demo test test-fast test-nightly test-backends test-polars test-serve lint docs gallery format clean

help:
	@echo "make demo           synthetic click log -> features -> DLRM -> evaluation -> SavedModel (report/)"
	@echo "make test           the tests, the slow ones too"
	@echo "make test-nightly   the long proofs, which make test leaves out"
	@echo "make test-fast      the tests without the slow ones"
	@echo "make test-backends  JAX and PyTorch against TensorFlow (they get .venv-backends)"
	@echo "make test-polars    features under Polars 1, which cuDF needs (it gets .polars-1)"
	@echo "make test-serve     a running Triton, which reads arrays of NumPy 1 (it gets .venv-serve)"
	@echo "make lint           ruff, mypy and whether the map is up to date"
	@echo "make docs           the documentation as a site, in site/, with its links checked"
	@echo "make gallery        run the examples and the first pages, and keep what they print"
	@echo "make map            draw docs/architecture.svg, which package imports which"
	@echo "make setup          only make the virtual environment, .venv"

setup: $(VENV)/.installed

# The stamp is newer than pyproject.toml once everything in it, and Horovod, is installed: a second run installs nothing.
$(VENV)/.installed: pyproject.toml kerasrec/parallel/horovod_wheel.py
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "kerasrec needs Python 3.11 or later; set one with: make PYTHON=/path/to/python3.11"; exit 1; }
	@$(PYTHON) -c 'import ensurepip' \
	  || { echo "$(PYTHON) cannot make virtual environments: install your system's python3-venv package"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --editable '.[cpu,horovod,dev]'
	$(BIN)/python -m kerasrec.parallel.horovod_wheel
	@touch $@

demo: setup
	$(BIN)/kerasrec demo

test: setup
	$(PYTEST) $(TWO_WORKERS) -m "not nightly"

test-fast: setup
	$(PYTEST) $(TWO_WORKERS) -m "not slow and not nightly"

test-nightly: setup $(SERVE)/.installed
	$(PYTEST) $(TWO_WORKERS) -m nightly
	$(SERVE)/bin/python -m pytest $(TRITON) -m nightly

test-backends: setup $(BACKENDS)/.installed
	$(PYTEST) tests/backends

$(BACKENDS)/.installed: pyproject.toml | setup
	$(PYTHON) -m venv $(BACKENDS)
	$(BACKENDS)/bin/python -m pip install --quiet --upgrade pip
	$(BACKENDS)/bin/python -m pip install --editable '.[backends]'
	@touch $@

# What needs a server is skipped, with the reason, where this Python has no shared library.
test-serve: BIN := $(SERVE)/bin
test-serve: $(SERVE)/.installed
	$(PYTEST) $(TRITON) -m "not nightly"

$(SERVE)/.installed: pyproject.toml
	$(PYTHON) -m venv $(SERVE)
	$(SERVE)/bin/python -m pip install --quiet --upgrade pip
	$(SERVE)/bin/python -m pip install --editable '.[cpu,serve,test]'
	@touch $@

# Before the installed Polars on the path, so that the environment stays as it is. Left out is what builds no
# expressions of its own: the files of TensorFlow's implementation, clusters that are started by hand.
test-polars: setup $(POLARS_1)/.installed
	PYTHONPATH=$(CURDIR)/$(POLARS_1) $(PYTEST) $(TWO_WORKERS) tests/etl -m "not slow and not nightly" \
	  --ignore tests/etl/test_saved_model.py --ignore tests/etl/test_served_types.py \
	  --deselect tests/etl/test_cluster.py::test_the_death_of_a_worker_costs_a_retry

$(POLARS_1)/.installed: Makefile | setup
	rm -rf $(POLARS_1)
	$(BIN)/python -m pip install --quiet --target $(POLARS_1) 'polars>=1.35,<1.45'
	@touch $@

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python tools/draw_map.py --check

# Strict: a link, an anchor or a name that is not there fails.
docs: setup
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

gallery: setup
	$(BIN)/python tools/site/run_examples.py
	$(BIN)/python tools/site/run_pages.py docs/index.md docs/getting_started.md

map: setup
	$(BIN)/python tools/draw_map.py

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) $(BACKENDS) $(SERVE) $(POLARS_1) report site durations build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
