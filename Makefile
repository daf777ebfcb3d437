# The two commands of a newcomer are `make run` and `make test`; both do the set-up themselves.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# Tests wait for other processes half of their time, so one more than there are processors.
TEST_PROCESSES ?= $(shell echo $$(( $$(nproc) + 1 )))
# The systems that are measured against have requirements of their own.
BENCH_VENV := .venv-bench
BENCH_STAMP := $(BENCH_VENV)/.installed
# Tools that look at the project from outside, in an environment of their own.
AUDIT := $(VENV)/audit
# What the image is made of; its digest of today is looked up.
BASE ?= python:3.11-slim-bookworm
IMAGE ?= penstock:0.1.0
COMPOSE := PENSTOCK_IMAGE=$(IMAGE) docker compose --file deploy/compose/compose.yaml

# What is run once at full size, beside the faults.
LONG := tests/producers/gateway/test_generated_requests.py tests/deploy/test_composed.py tests/end_to_end/test_after_restore.py \
  tests/end_to_end/test_backup.py tests/end_to_end/test_backup_faults.py tests/end_to_end/test_debian_servers.py \
  tests/end_to_end/test_examples.py tests/end_to_end/test_point_in_time.py tests/end_to_end/test_roles.py tests/end_to_end/test_tls.py

.DEFAULT_GOAL := help
.PHONY: help setup run test test-faults lint format docs bench bench-full audit sbom image smoke clean

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
	$(BIN)/python -m pytest -n $(TEST_PROCESSES) --dist loadfile

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

bench: setup ## Measure Penstock, COPY and plain dramatiq side by side, in five minutes or so
	$(BIN)/python -m benchmarks.compared --short

bench-full: $(BENCH_STAMP) ## Measure against all other job systems, in .venv-bench; BENCH="--only a,b" measures some parts
	$(BENCH_VENV)/bin/python -m benchmarks.compared $(BENCH)

$(BENCH_STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -m venv $(BENCH_VENV)
	@$(BENCH_VENV)/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[bench]'
	@touch $@

$(AUDIT)/.installed: .github/audit.txt
	@$(PYTHON) -m venv $(AUDIT)
	@$(AUDIT)/bin/python -m pip install --quiet --disable-pip-version-check --requirement .github/audit.txt
	@touch $@

audit: $(AUDIT)/.installed ## Ask for known weaknesses of what constraints.txt pins, and look at the workflows
	$(AUDIT)/bin/pip-audit --strict --disable-pip --no-deps --requirement constraints.txt
	$(AUDIT)/bin/zizmor --offline .github

sbom: $(AUDIT)/.installed ## Write what production is made of to build/sbom.cdx.json
	rm -rf build/sbom
	$(PYTHON) -m venv --without-pip build/sbom
	$(AUDIT)/bin/python -m pip --python build/sbom/bin/python install --quiet --disable-pip-version-check \
	  --constraint constraints.txt '.[gateway,sidecar,otel]'
	rm -rf build/lib build/bdist.*
	$(AUDIT)/bin/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible \
	  --output-file build/sbom.cdx.json build/sbom/bin/python

image: ## Build the image; needs docker with buildx
	digest=$$(docker buildx imagetools inspect $(BASE) --format '{{.Manifest.Digest}}') && \
	  docker build --file deploy/image/Dockerfile --tag $(IMAGE) \
	    --build-arg PYTHON_IMAGE="$(BASE)@$$digest" --build-arg REVISION="$$(git rev-parse HEAD)" .

smoke: ## Start the image with Compose, send a real batch through it and look at all of it; needs docker
	$(PYTHON) deploy/compose/make_secrets.py > /dev/null
	$(COMPOSE) up --detach --wait gateway worker scheduler sidecar
	$(COMPOSE) run --rm release verify --smoke
	$(COMPOSE) down

clean: ## Remove the virtual environment and what tools left behind
	rm -rf $(VENV) $(BENCH_VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis build dist
