# What a user calls. Each target sets up what it needs: a virtual environment in .venv from requirements.lock.
.DEFAULT_GOAL := help
.PHONY: help setup setup-tools setup-operations setup-kernels local-cluster cluster demo test study text neuron export across diff dev check demo-model bench bench-study retention faults mutants lock clean

PYTHON ?= python3
VENV := .venv
# What pip would add for an extra of pyproject.toml to what is installed already.
BEYOND = .venv-lock/bin/python -m pip install --dry-run --quiet --report - '.[$(1)]' | .venv-lock/bin/python -c 'import json, sys; print(*sorted((one["metadata"]["name"] + "==" + one["metadata"]["version"] for one in json.load(sys.stdin)["install"] if one["metadata"]["name"] != "neuron-atlas"), key=str.lower), sep="\n")'
RUN := $(VENV)/bin/python
DAGSTER_HOME ?= $(CURDIR)/orchestration/instance
export DAGSTER_HOME
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

setup: $(VENV)/installed ## the virtual environment: what running studies needs

$(VENV)/tools: $(VENV)/installed requirements-tools.lock
	$(RUN) -m pip install --quiet --disable-pip-version-check --requirement requirements-tools.lock
	@touch $@

setup-tools: $(VENV)/tools ## what the tests, the checks and the dg command need beside it

$(VENV)/operations: $(VENV)/installed requirements-operations.lock
	$(RUN) -m pip install --quiet --disable-pip-version-check --requirement requirements-operations.lock
	@touch $@

setup-operations: $(VENV)/operations ## what clusters and PostgreSQL need beside it (docs/deployment.md)

$(VENV)/kernels: $(VENV)/installed requirements-kernels.lock
	$(RUN) -m pip install --quiet --disable-pip-version-check --requirement requirements-kernels.lock
	@touch $@

setup-kernels: $(VENV)/kernels ## Triton, so that the tests of the GPU kernels run in its interpreter

demo: setup ## run the embedded study and print the path of its report
	@$(RUN) -m orchestration.run demo

study: setup ## run any study: make study STUDY=<name or path.yaml>
	@test -n "$(STUDY)" || { echo "Say which study: make study STUDY=<name in orchestration/studies, or path.yaml>"; exit 2; }
	@$(RUN) -m orchestration.run "$(STUDY)"

# As they were given: a text may hold quotes and $, which neither make nor the shell may read.
override TEXT := $(value TEXT)
export STUDY TEXT NEURONS NEURON OUT

text: setup ## what a study's model makes of a text: make text STUDY=demo TEXT="..." [NEURONS="L1 N3, L2 N7"]
	@test -n "$$STUDY" && test -n "$$TEXT" || { echo 'Say which study and what text: make text STUDY=<name or path.yaml> TEXT="..."'; exit 2; }
	@$(RUN) -m orchestration.try_text --neurons="$$NEURONS" -- "$$STUDY" "$$TEXT"

neuron: setup ## all that a study's tables hold of one neuron, as JSON: make neuron STUDY=demo NEURON=L2-N144
	@test -n "$$STUDY" && test -n "$$NEURON" || { echo 'Say which study and which neuron: make neuron STUDY=<name or path.yaml> NEURON=L2-N144'; exit 2; }
	@$(RUN) -m orchestration.neuron -- "$$STUDY" "$$NEURON"

export: setup ## neurons as files that tools of automated interpretability read: make export STUDY=demo OUT=<new folder> [NEURONS="L1 N3, L2 N7"]
	@test -n "$$STUDY" && test -n "$$OUT" || { echo 'Say which study and where to: make export STUDY=<name or path.yaml> OUT=<new folder>'; exit 2; }
	@$(RUN) -m orchestration.export --neurons="$$NEURONS" -- "$$STUDY" "$$OUT"

across: setup ## compare all models that were run: make across [STUDIES="more.yaml files.yaml"]
	@$(RUN) -m orchestration.across $(STUDIES)

diff: setup ## what changed between two studies of models of one shape: make diff A=<study> B=<study>
	@test -n "$(A)" -a -n "$(B)" || { echo "Say which two studies: make diff A=<name in orchestration/studies, or path.yaml> B=<another>"; exit 2; }
	@$(RUN) -m orchestration.study_difference "$(A)" "$(B)"

dev: setup ## the Dagster UI and the reports, on this machine only
	@$(RUN) -m orchestration.serve

local-cluster: setup-operations ## two Ray workers and the Dagster UI on this machine, to try a cluster
	@DAGSTER_HOME=$(CURDIR)/deployment/local-cluster $(RUN) -m orchestration.cluster.local

cluster: setup ## run a study on a cluster that is up, a run for each shard: make cluster STUDY=<name>
	@test -n "$(STUDY)" || { echo "Say which study: make cluster STUDY=<name in the deployment's folder of studies>"; exit 2; }
	@$(RUN) -m orchestration.cluster.run "$(STUDY)"

WORKERS ?= 2
# A file of tests at a time on each of WORKERS=2 processes, which have a thread each: two processes of two threads would hinder each other.
TESTS := OMP_NUM_THREADS=1 POLARS_MAX_THREADS=1 $(RUN) -m pytest --numprocesses $(WORKERS) --dist loadfile --no-loadscope-reorder

test: setup-tools ## the tests but the slow ones, before every commit: a few minutes
	@$(TESTS) -m "not slow"

check: setup-tools ## exactly what CI runs: format, lint, types, import rules, all tests
	$(RUN) -m ruff format --check .
	$(RUN) -m ruff check .
	$(RUN) -m mypy assets reports orchestration tests benchmarks
	$(VENV)/bin/lint-imports
	$(TESTS) --durations 20

KILLS ?= 100
SEED ?= 1

faults: setup-tools ## kill a run KILLS=100 times at moments of SEED=1, then damage, full disks, cut downloads, hostile input
	$(RUN) -m tests.faults.kills --kills $(KILLS) --seed $(SEED)
	$(RUN) -m pytest tests/faults tests/hostile tests/assets/test_store.py tests/assets/test_study.py tests/assets/claims/test_claims.py \
	  tests/assets/corpus/test_corpus_documents.py tests/orchestration/test_history.py tests/orchestration/test_changes.py

MUTANTS ?= 60

mutants: setup-tools ## small faults put into MUTANTS=60 places by SEED=1: how many do the nearest tests notice?
	@$(RUN) -m tests.mutants --mutants $(MUTANTS) --seed $(SEED)

bench: setup ## throughput of the one pass beside other ways to count, start-up, neuron patching; writes docs/benchmarks.md
	$(RUN) -m benchmarks.throughput
	$(RUN) -m benchmarks.throughput --gated --arms ac
	$(RUN) -m benchmarks.overhead
	$(RUN) -m benchmarks.neuron_patching

bench-study: setup ## a whole cold study beside the bare model, stage by stage (an hour): make bench-study [ARGS="study.yaml"]
	$(RUN) -m benchmarks.whole_study $(ARGS)

retention: setup ## what old runs, left outputs and copies could be freed; make retention ARGS=--delete frees it
	@$(RUN) -m orchestration.upkeep.retention $(ARGS)

demo-model: setup ## train the embedded model and write its corpus again (minutes)
	$(RUN) -m orchestration.studies.demo.build

lock: ## write the lock files anew from pyproject.toml
	rm -rf .venv-lock && $(PYTHON) -m venv .venv-lock
	.venv-lock/bin/python -m pip install --quiet torch==2.13.0
	.venv-lock/bin/python -m pip install --quiet .
	{ echo "# Every package that a study runs with, exactly. Made by: make lock"; \
	  .venv-lock/bin/python -m pip list --format=freeze --exclude-editable | grep -viE '^(neuron-atlas|pip|setuptools|wheel)==' | sed 's/+cpu$$//'; } > requirements.lock
	{ echo "# What the tests, the checks and the dg command need beyond requirements.lock, exactly. Made by: make lock"; $(call BEYOND,tools); } > requirements-tools.lock
	{ echo "# What a deployment on several machines needs beyond requirements.lock, exactly. Made by: make lock"; $(call BEYOND,operations); } > requirements-operations.lock
	{ echo "# What the tests of the GPU kernels need beyond requirements.lock, exactly. Made by: make lock"; $(call BEYOND,kernels); } > requirements-kernels.lock
	rm -rf .venv-lock build

clean: ## remove outputs and run history, not the environment
	rm -rf data orchestration/instance/history orchestration/instance/storage orchestration/instance/schedules
	rm -rf deployment/local-cluster/history deployment/local-cluster/storage deployment/local-cluster/schedules
