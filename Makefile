# What a user calls. Each target sets up what it needs: a virtual environment in .venv from requirements.lock.
.DEFAULT_GOAL := help
.PHONY: help setup demo test study dev check demo-model bench lock clean

PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
export DAGSTER_HOME := $(CURDIR)/orchestration/instance
export HF_HUB_DISABLE_TELEMETRY := 1
export GX_ANALYTICS_ENABLED := false
export PYTHONWARNINGS := ignore::DeprecationWarning

help: ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

$(VENV)/installed: requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(0 if (3, 11) <= sys.version_info < (3, 13) else f"Python 3.11 or 3.12 is needed, this is {sys.version.split()[0]}; call make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --quiet --disable-pip-version-check --requirement requirements.lock
	@touch $@

setup: $(VENV)/installed ## the virtual environment

demo: setup ## run the embedded study and print the path of its report
	@$(RUN) -m orchestration.run demo

study: setup ## run any study: make study STUDY=<name or path.yaml>
	@test -n "$(STUDY)" || { echo "Say which study: make study STUDY=<name in orchestration/studies, or path.yaml>"; exit 2; }
	@$(RUN) -m orchestration.run "$(STUDY)"

dev: setup ## the Dagster UI and the reports, on this machine only
	@$(RUN) -m orchestration.serve

test: setup ## the tests
	@$(RUN) -m pytest

check: setup ## exactly what CI runs: format, lint, types, import rules, tests
	$(RUN) -m ruff format --check .
	$(RUN) -m ruff check .
	$(RUN) -m mypy assets reports orchestration tests benchmarks
	$(VENV)/bin/lint-imports
	$(RUN) -m pytest

bench: setup ## throughput of the one pass beside other ways to count, start-up, neuron patching; writes docs/benchmarks.md
	$(RUN) -m benchmarks.throughput
	$(RUN) -m benchmarks.overhead
	$(RUN) -m benchmarks.neuron_patching

demo-model: setup ## train the embedded model and write its corpus again (minutes)
	$(RUN) -m orchestration.studies.demo.build

lock: ## write requirements.lock anew from pyproject.toml
	rm -rf .venv-lock && $(PYTHON) -m venv .venv-lock
	.venv-lock/bin/python -m pip install --quiet torch==2.13.0
	.venv-lock/bin/python -m pip install --quiet '.[dev]'
	{ echo "# Every package of the product and its tools, exactly. Made by: make lock"; \
	  .venv-lock/bin/python -m pip list --format=freeze --exclude-editable | grep -viE '^(neuron-atlas|pip|setuptools|wheel)==' | sed 's/+cpu$$//'; } > requirements.lock
	rm -rf .venv-lock build

clean: ## remove outputs and run history, not the environment
	rm -rf data orchestration/instance/history orchestration/instance/storage orchestration/instance/schedules
