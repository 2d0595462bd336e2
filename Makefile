# Every target needs only Python 3.11+ and make; scripts/bootstrap.py makes .venv and fills it.
PYTHON ?= python3
BOOTSTRAP = $(PYTHON) scripts/bootstrap.py
PY = .venv/bin/python

# Compiled modules stay in the clone: without them each of the hundreds of processes of a test run, and each start of
# the product, compiles Django anew, which takes two thirds of its time.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help up install dev test check format lock assets screenshots bench bench-quick chaos sweep simulate clean

help: ## Show the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' Makefile

up: ## Start Signalbox in one process (PORT, HOST, SIGNALBOX_HOME, SIGNALBOX_ADMIN_PASSWORD)
	@$(BOOTSTRAP) up

install: ## Make .venv with what Signalbox runs on, and the front-end assets
	@$(BOOTSTRAP) install

dev: ## The same with what developers need
	@$(BOOTSTRAP) install --dev

test: dev ## Run every test on SQLite, on PostgreSQL with Redis, and against real processes (ARGS="-k name")
	@$(PY) scripts/suite.py $(ARGS)

check: dev ## Format check, lint, types, import rules, migrations, unit tests (ARGS=--no-tests: without these)
	@$(PY) scripts/check.py $(ARGS)

format: dev ## Format the code and sort its imports
	@$(PY) -m ruff format .
	@$(PY) -m ruff check --fix-only --quiet .

lock: ## Write requirements/*.txt anew from pyproject.toml (needs uv)
	@$(PYTHON) scripts/lock.py $(ARGS)

assets: dev ## Copy the front-end libraries of package-lock.json to static/vendor
	@$(PY) scripts/assets.py

screenshots: dev ## Photograph every page into docs/, both sizes, light and dark
	@$(PY) scripts/screenshots.py $(ARGS)

bench: dev ## Measure all that docs/performance.md shows: about five hours on two quiet cores (ARGS="orders report")
	@$(PY) -m benchmarks.whole $(ARGS)

bench-quick: dev ## Measure the order workload beside raw Celery: about three minutes, written to var/benchmark
	@$(PY) -m benchmarks $(ARGS)

sweep: dev ## Kill a process at every hit of every failpoint and recount (PAIRS=1: a second kill in each recovery)
	@$(PY) -m tests.sweep --setup postgresql $(if $(PAIRS),--pairs,--in-turn 12) $(ARGS)
	@$(PY) -m tests.sweep --setup rabbitmq $(if $(PAIRS),--pairs,--in-turn 12) $(ARGS)
	@$(PY) -m tests.sweep --setup roles $(ARGS)
	@$(PY) -m tests.sweep --setup embedded $(if $(PAIRS),--pairs,--in-turn 12) $(ARGS)

chaos: dev ## Real faults against real processes, then a recount (MINUTES=60 SEED=1 BROKER=rabbitmq)
	@$(PY) -m tests.chaos --minutes $(or $(MINUTES),5) $(if $(SEED),--seed $(SEED)) $(if $(BROKER),--broker $(BROKER)) $(ARGS)

simulate: dev ## Play seeds of the simulated system (SEEDS=100000), or one again (SEED=n ARGS=--trace)
	@$(PY) -m tests.simulation $(if $(SEED),--seed $(SEED),--seeds $(or $(SEEDS),2000)) $(ARGS)

clean: ## Remove the environment, assets and caches; the data directory stays
	@rm -rf .venv node_modules static/vendor staticfiles .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
