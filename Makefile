# Two commands for newcomers: `make demo` and `make test`. Both install first, once.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# Processes that test, each with its own Ray cluster of some 2 GB; the tests of a file stay together.
TEST_PROCESSES ?= 2
INSTALLED := $(VENV)/.installed
# The 3D page of `factory view` is drawn by NiiVue, which npm has.
NIIVUE := jobs/view/page/niivue.js
NIIVUE_VERSION := 0.69.0
NIIVUE_SHA256 := 47b896b77ec4a5be3ef1949c33ad393b6f45629921f326c279000bcf51bdb4af
IS_NIIVUE := $(BIN)/python -c 'import hashlib, pathlib, sys; file = pathlib.Path(sys.argv[1]); \
	sys.exit(not file.is_file() or hashlib.sha256(file.read_bytes()).hexdigest() != "$(NIIVUE_SHA256)")'

export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help install niivue demo test test-fast check fmt docs clean

help: ## Show these targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

install: $(INSTALLED) niivue ## Make .venv and install what the lock names

$(INSTALLED): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "error: $$($(PYTHON) --version) found, Python 3.11 or later expected. Use make PYTHON=python3.11"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet -r requirements.lock
	$(BIN)/pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@

niivue: $(INSTALLED) ## Bring NiiVue, for the 3D page of factory view
	@$(IS_NIIVUE) $(NIIVUE) || { rm -f $(NIIVUE) && mkdir -p build \
		&& npm pack --silent --pack-destination build @niivue/niivue@$(NIIVUE_VERSION) >/dev/null \
		&& tar -xzOf build/niivue-niivue-$(NIIVUE_VERSION).tgz package/dist/niivue.umd.js >build/niivue.js; } \
		|| { echo "warning: npm brought no NiiVue $(NIIVUE_VERSION); factory view goes without its 3D page"; exit 0; }; \
		test -e $(NIIVUE) || { $(IS_NIIVUE) build/niivue.js && mv build/niivue.js $(NIIVUE); } \
		|| { echo "error: NiiVue $(NIIVUE_VERSION) of npm has another digest than the Makefile says; it is not used"; exit 1; }

demo: install ## Phantom scans in, a mixed dataset and a picture out (demo/)
	$(BIN)/factory demo --out demo

test: install ## Every test
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(TEST_PROCESSES) --dist loadfile

test-fast: install ## Tests that start no Ray cluster and take no 10 s
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(TEST_PROCESSES) --dist loadfile -m "not ray and not slow"

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
