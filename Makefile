# Two commands for newcomers: `make demo` and `make test`. Both install first, once.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help install demo test test-fast check fmt docs clean

help: ## Show these targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

install: $(INSTALLED) ## Make .venv and install what the lock names

$(INSTALLED): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "error: $$($(PYTHON) --version) found, Python 3.11 or later expected. Use make PYTHON=python3.11"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet -r requirements.lock
	$(BIN)/pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@

demo: install ## Phantom scans in, a mixed dataset and a picture out (demo/)
	$(BIN)/factory demo --out demo

test: install ## Every test
	$(BIN)/python -m pytest

test-fast: install ## Tests that start no Ray cluster and take no 10 s
	$(BIN)/python -m pytest -m "not ray and not slow"

check: install ## Lint, format, types, layers, docs
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/python -m jobs.reference --check docs
	$(BIN)/python -m sphinx -W --keep-going -n -q docs build/docs

fmt: install ## Format, sort imports, rewrite the reference pages
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/python -m jobs.reference docs

docs: install ## The docs as a site (build/docs)
	$(BIN)/python -m sphinx -W --keep-going -n -q docs build/docs
	@echo "open build/docs/index.html"

clean: ## Remove the virtual environment, caches and the demo
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis demo build *.egg-info
