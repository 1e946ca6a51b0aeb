# Two commands are all that a newcomer needs: `make run` and `make test`.
# Everything is installed into .venv; a target installs again only when its inputs changed.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PORT ?= 8000
INSTALLED := $(VENV)/.installed
INSTALLED_DEV := $(VENV)/.installed-dev
INSTALLED_BENCH := $(VENV)/.installed-bench

.DEFAULT_GOAL := help
.PHONY: help run test compare check format lint types architecture bench lock clean

help: ## print the targets
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or later is needed; say which: make PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -m venv $(VENV) || \
	  { rm -rf $(VENV); echo "venv failed; on Debian and Ubuntu: apt install python3-venv"; exit 1; }

$(INSTALLED): $(BIN)/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[reference]'
	@touch $@

$(INSTALLED_DEV): $(BIN)/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@ $(INSTALLED)

$(INSTALLED_BENCH): $(INSTALLED_DEV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,bench]'
	@touch $@

run: $(INSTALLED) ## serve the reference migration: providers, database, both apps, one base URL
	@exec $(BIN)/python -m reference.run --port $(PORT)

# One process a core; a file's tests stay together, for many share a running gateway.
test: $(INSTALLED_DEV) ## run every test that this machine can run, and say what is skipped and why
	$(BIN)/python -m pytest -n auto --dist loadfile $(ARGS)

compare: $(INSTALLED) ## send corpora/ to both reference apps, and fail where a client would notice
	$(BIN)/python -m reference.compare $(ARGS)

check: format lint types architecture test ## what CI runs

format: $(INSTALLED_DEV) ## fail where the code is not formatted
	$(BIN)/ruff format --check .

lint: $(INSTALLED_DEV) ## ruff
	$(BIN)/ruff check .

types: $(INSTALLED_DEV) ## mypy, strict
	$(BIN)/mypy

architecture: $(INSTALLED_DEV) ## the floors: lower ones never import higher ones
	$(BIN)/lint-imports

bench: $(INSTALLED_BENCH) ## benchmarks on real servers, as ratios measured side by side; writes benchmarks/RESULTS.md
	$(BIN)/python -m benchmarks $(ARGS)

lock: ## renew constraints.txt from pyproject.toml (needs uv)
	uv pip compile --quiet --universal --python-version 3.11 --upgrade --no-header --no-annotate \
	  --no-emit-index-url --all-extras pyproject.toml -o constraints.txt

clean: ## remove what the targets above have made
	rm -rf $(VENV) var .gateway .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
