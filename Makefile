# The two commands of a newcomer are `make run` and `make test`; both do the set-up themselves.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

# What is run once at full size, beside the faults.
LONG := tests/producers/gateway/test_generated_requests.py tests/deploy/test_composed.py tests/end_to_end/test_after_restore.py \
  tests/end_to_end/test_backup.py tests/end_to_end/test_backup_faults.py tests/end_to_end/test_debian_servers.py \
  tests/end_to_end/test_examples.py tests/end_to_end/test_point_in_time.py tests/end_to_end/test_roles.py tests/end_to_end/test_tls.py

.DEFAULT_GOAL := help
.PHONY: help setup run test test-faults lint format docs bench clean

help: ## List the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

setup: $(STAMP) ## Make the virtual environment in .venv, pinned

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or later is needed: set PYTHON=..."; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || ( [ "$$(id -u)" = 0 ] && apt-get install -y -q python3-venv ) \
	  || { echo "Python's venv module is needed: apt-get install python3-venv"; exit 1; }
	@echo "Setting up $(VENV); this takes about half a minute and is done once."
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@

run: setup ## Start everything on this machine and store 10,000 real reports; Ctrl-C stops it
	@exec $(BIN)/penstock up --demo

test: setup lint ## Check the style, the types and the layers, and run all tests
	$(BIN)/python -m pytest -n auto --dist loadfile

test-faults: setup ## Run the tests that inject faults at full size, three times; takes about 40 minutes
	for run in 1 2 3; do PENSTOCK_TEST_FULL=1 $(BIN)/python -m pytest -rA -n 2 --dist loadfile tests/recovery tests/end_to_end/test_outbox.py tests/deploy/monitoring/test_live.py || exit 1; done
	PENSTOCK_TEST_FULL=1 $(BIN)/python -m pytest -rA -n 2 --dist loadfile $(LONG)

lint: setup ## Check the style, the types and the layers
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

format: setup ## Put the code into its style
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: setup ## Write the generated pages and schemas anew
	$(BIN)/python -m docs.generate

bench: setup ## Measure against COPY of the same rows, and jobs with gates against jobs without, side by side
	$(BIN)/python -m benchmarks.ingest
	$(BIN)/python -m benchmarks.gates

clean: ## Remove the virtual environment and what tools left behind
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis build dist
