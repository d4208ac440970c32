# Each target makes the environment that it needs, from nothing but Python and make.
#
#   make test ARGS="tests/fundamentals -k retry"
#   make demo ARGS=--once
#   make bench ARGS="matching flush-dramatiq"
#   make env PYTHON=python3.13

PYTHON ?= python3
ARGS ?=
MINUTES ?= 5
SEED ?= 1
EVENTS ?= 1000

# A `.venv` that somebody else has made stays as it is: then ours is another.
OURS := $(wildcard .venv/.ours .venv/.made)
VENV := $(if $(OURS),.venv,$(if $(wildcard .venv),.venv-make,.venv))
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip -qq --disable-pip-version-check
export PIP_ROOT_USER_ACTION := ignore
export NO_MKDOCS_2_WARNING := 1

# Tests start hundreds of processes; where none may keep its bytecode, each compiles everything anew.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

# The environment grows in three steps, one after the other even under `make -j`, since pip cannot share it.

$(VENV)/.made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11 …")'
	@mkdir -p $(VENV) && touch $(VENV)/.ours
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) install --upgrade "pip>=25.1"
	@touch $@

$(VENV)/.test: pyproject.toml | $(VENV)/.made
	@echo "Installing what the tests and the demo need into $(VENV)"
	@$(PIP) install --editable . --group test
	@touch $@

$(VENV)/.check: pyproject.toml | $(VENV)/.test
	@echo "Installing what the checks need into $(VENV)"
	@$(PIP) install --editable . --group check
	@touch $@

.PHONY: env
env: $(VENV)/.test $(VENV)/.check ## Make the environment for everything else, in .venv

.PHONY: demo
demo: $(VENV)/.test ## Start a broker, a web app and workers, and print the URL (ARGS=--once: send, check, exit)
	@$(BIN)/python -m examples.demo $(ARGS)

# As many tests at once as tests/conftest.py says; who has nothing left to do takes over from the others.
IN_PARALLEL := --numprocesses auto --dist worksteal

.PHONY: test
test: $(VENV)/.test ## Run the test suite with a Valkey of its own (ARGS=… goes to pytest: -n 0 -x)
	@$(BIN)/python -m pytest $(IN_PARALLEL) $(ARGS)

.PHONY: coverage
coverage: $(VENV)/.test ## Run the test suite, and fail where it reaches less of the package than pyproject.toml asks for
	@$(BIN)/coverage erase
	@$(BIN)/coverage run -m pytest $(IN_PARALLEL) $(ARGS)
	@$(BIN)/coverage combine --quiet
	@$(BIN)/coverage report

.PHONY: matrix
matrix: $(VENV)/.check ## Run the test suite on every Python, with the oldest and newest dependencies (ARGS=--list)
	@$(BIN)/nox $(ARGS)

.PHONY: check
check: lint types pyright floors site workflows ## Lint, format, types, floors and doors, and the documentation

.PHONY: lint types pyright floors site
lint: $(VENV)/.check
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
types: $(VENV)/.check
	@$(BIN)/mypy
pyright: $(VENV)/.check types  # whose cache its mypy needs: side by side, each would look through everything
	@$(BIN)/python -m tests.typing
floors: $(VENV)/.check
	@$(BIN)/lint-imports
site: $(VENV)/.check
	@$(BIN)/zensical build --strict > .zensical.log 2>&1 || (cat .zensical.log; exit 1)
	@$(BIN)/python -m tests.site

.PHONY: workflows
workflows: $(VENV)/.check ## Check workflows, forms and the compose file against their schemas, and for what could be stolen
	@$(BIN)/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
	@$(BIN)/check-jsonschema --builtin-schema vendor.github-issue-forms .github/ISSUE_TEMPLATE/[!c]*.yml
	@$(BIN)/check-jsonschema --builtin-schema vendor.dependabot .github/dependabot.yml
	@$(BIN)/check-jsonschema --builtin-schema vendor.compose-spec docker-compose.yml
	@$(BIN)/zizmor --quiet --offline .github

.PHONY: dist
dist: $(VENV)/.test ## Build wheel and source distribution, and check them as for a release (TAG=v1.0.0)
	@rm -rf dist
	@$(BIN)/python -m hatchling build --directory dist
	@$(BIN)/python -m twine check --strict dist/*
	@$(BIN)/python -m tests.distribution dist $(if $(TAG),--tag $(TAG))

.PHONY: format
format: $(VENV)/.test $(VENV)/.check ## Mend what can be mended without thinking
	@$(BIN)/ruff check --fix-only .
	@$(BIN)/ruff format .

.PHONY: surface
surface: $(VENV)/.test ## Freeze the public surface as it is now, for its diff to be read
	@$(BIN)/python -m tests.public_surface

.PHONY: reference
reference: $(VENV)/.test ## Renew the tables of settings, variables and commands in the documentation
	@$(BIN)/python -m tests.reference

.PHONY: screenshots
screenshots: $(VENV)/.test ## Take the pictures of the console for the documentation, with the system's Chromium
	@$(BIN)/python -m tests.console.screenshots

.PHONY: docs
docs: $(VENV)/.test $(VENV)/.check ## Serve the documentation, and rebuild it while you write
	@$(BIN)/zensical serve $(ARGS)

.PHONY: pages
pages: $(VENV)/.test $(VENV)/.check ## Measure each page of the documentation in Chromium, at three widths
	@$(BIN)/zensical build --strict > .zensical.log 2>&1 || (cat .zensical.log; exit 1)
	@$(BIN)/python -m tests.site --browser

# The one mkdocs.yml serves both: whoever prefers Material, or has to go back to it, can.
.PHONY: material
material: $(VENV)/.test $(VENV)/.check ## Build the documentation by Material for MkDocs instead, strictly
	@$(BIN)/mkdocs --quiet build --strict

# As many rows at once as tests/faults/conftest.py says; the next one goes to whoever is free.
AT_ONCE := --numprocesses auto --dist load --maxschedchunk 1
UNDER_FAULTS := tests/contract tests/handlers/task_queue tests/storage

# A target only once it has something to run; the CI looks whether it is there.
FAULTS := $(wildcard tests/faults/test_*.py)
ifneq ($(FAULTS),)
.PHONY: faults
faults: $(VENV)/.test ## Run the fault suite: real servers, real processes, real kills (EVENTS=100 for each row)
	@rm -rf .faults
	@FASTAPI_EVENTS_FAULTS_EVENTS=$(EVENTS) $(BIN)/python -m pytest tests/faults $(AT_ONCE) $(ARGS)

.PHONY: fault-table
fault-table: $(VENV)/.test ## Write what `make faults` has measured into docs/faults.md
	@$(BIN)/python -m tests.faults.table

.PHONY: seeds
seeds: $(VENV)/.test ## Run the tests of task queues and stores among late and repeated calls (SEED=1)
	@$(BIN)/python -m pytest $(UNDER_FAULTS) $(IN_PARALLEL) --fault-seed $(SEED) $(ARGS)

.PHONY: soak
soak: $(VENV)/.test ## Run steady traffic for MINUTES (5) on each engine and broker; nothing may grow
	@FASTAPI_EVENTS_SOAK_MINUTES=$(MINUTES) $(BIN)/python -m pytest tests/faults/test_30_steady_traffic.py -s $(ARGS)

.PHONY: chaos
chaos: $(VENV)/.test ## Run overlapping faults, drawn from SEED (1), for MINUTES (5) on each engine and broker
	@FASTAPI_EVENTS_CHAOS_SEEDS="$(SEED)" FASTAPI_EVENTS_CHAOS_MINUTES=$(MINUTES) $(BIN)/python -m pytest tests/faults/test_38_chaos.py -v $(ARGS)
endif

.PHONY: bench
bench: $(VENV)/.test ## Measure it side by side with the peers, in most of an hour (ARGS=--quick: some minutes)
	@$(BIN)/python -m benchmarks $(ARGS)

.PHONY: clean
clean: ## Remove the environment and everything that was generated
	@rm -rf $(VENV) .venv-bench .bench site dist build .cache .zensical.log .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis .valkey .faults .nox .coverage*
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST)) \
		| grep -v '^make faults$(if $(FAULTS),!)'
