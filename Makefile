# Every target sets up .venv by itself, from requirements.lock; the stamp makes the second call quick.
.DEFAULT_GOAL := help
.PHONY: help run serve check test test-all format docs lock clean

VENV := .venv
PY := $(VENV)/bin/python
STAMP := $(VENV)/.installed
PYTHON ?= python3
SEED ?= 0
PORT ?= 8000
# What `make run` starts: one held-out picture, asked in Contemplating mode; exits 1 on a wrong answer.
RUN ?= $(PY) examples/ask_sample.py --seed $(SEED)
PYTEST_ARGS ?=

help:  ## this list
	@sed -n 's/^\([a-z-]*\):.*  ## \(.*\)/  make \1\t\2/p' Makefile | expand -t 18

run: $(STAMP)  ## ask the sample question about a held-out picture (SEED=n: another picture)
	@$(RUN)

serve: $(STAMP)  ## serve nano on PORT (8000), OpenAI-compatible
	$(VENV)/bin/polymnia serve --port $(PORT)

check: $(STAMP)  ## format, lint, types, stale documents
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy
	$(PY) docs/check.py

test: $(STAMP)  ## all tests but those marked slow
	$(PY) -m pytest $(PYTEST_ARGS)

test-all: $(STAMP)  ## all tests
	$(PY) -m pytest -m "" $(PYTEST_ARGS)

format: $(STAMP)  ## rewrite the code in the project's format
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

docs: $(STAMP)  ## rewrite the documents that are printed by a command
	$(PY) docs/check.py --write

# torch is named with its version so that a CPU build kept on disk is preferred to the newest release.
lock:  ## resolve pyproject.toml anew and write requirements.lock
	rm -rf .venv-lock
	$(PYTHON) -m venv .venv-lock
	.venv-lock/bin/python -m pip install --quiet torch==2.13.0 -e ".[dev]"
	.venv-lock/bin/python -m pip freeze --all --exclude pip --exclude-editable | sed 's/+cpu$$//' > requirements.lock
	rm -rf .venv-lock

clean:  ## remove the environment and the caches
	rm -rf $(VENV) .venv-lock .mypy_cache .ruff_cache .pytest_cache .hypothesis

$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "Polymnia needs Python 3.11 or newer; name one with: make PYTHON=/path/to/python3.11 ..." >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "This Python cannot make virtual environments; on Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet --disable-pip-version-check -r requirements.lock
	$(PY) -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@
