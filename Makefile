# Two commands for newcomers: `make sweep` and `make test`. Everything else is below them.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
OUT ?= runs/maze-diversity
# The tables take hours and are made one by one; see docs/search_experts.md, docs/shop.md and docs/data.md.
TABLES := search_experts shop_scores level_audit
BENCHES := $(filter-out common __init__ $(TABLES),$(basename $(notdir $(wildcard benchmarks/*.py))))

.PHONY: help install install-test sweep test test-all check bench clean

help:  ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

$(VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -e .
	@touch $@

$(VENV)/.installed-test: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet -e '.[test]'
	@touch $@

install: $(VENV)/.installed  ## virtual environment with the project in it
install-test: $(VENV)/.installed-test  ## the same with the test tools

sweep: install  ## the main job: collect, sweep diversity, retrain, judge, report (about 10 minutes on 2 free cores)
	$(BIN)/gengap sweep maze-diversity --out $(OUT)

test: install-test check  ## everything a 2-core machine without GPU can run in 10 minutes
	$(BIN)/python -m pytest -m "not slow and not gpu" --durations=10

test-all: install-test check  ## the slow tests too
	$(BIN)/python -m pytest -m "not gpu" --durations=20

check: install-test  ## style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: install-test  ## every speed claim of docs/performance.md
	@for bench in $(BENCHES); do echo "== $$bench"; $(BIN)/python -m benchmarks.$$bench || exit 1; done

clean:  ## remove the virtual environment (runs/ stays)
	rm -rf $(VENV)
