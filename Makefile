# Everything a person or CI does here. `make` prints this help.
.DEFAULT_GOAL := help
MAKEFLAGS += --warn-undefined-variables --no-print-directory
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
PORT ?= 3000
ENV ?= dev
APPLY ?=
# `RETAIL_ENV=ci make demo` runs what runs in production, on emulators of S3 and Snowflake. To them
# a statement is much more work than to DuckDB, so the demo is a short one.
RETAIL_ENV ?= local
ifeq ($(RETAIL_ENV),ci)
EMULATORS := $(BIN)/python -m retail_platform_tests.emulators
DEMO := --days 8 --lines-per-day 20
else
EMULATORS :=
DEMO :=
endif
LOCK = $(BIN)/uv pip compile --quiet --generate-hashes --no-emit-index-url --no-header --universal --python-version 3.11
# Every run starts processes. Where bytecode is not kept, each of them compiles all libraries anew:
# measured, 14 s instead of 8 s until the first line of the project runs.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help
help: ## Show this help
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 17

# The environment is built anew when the locked requirements change.
$(INSTALLED): requirements-dev.txt pyproject.toml
	@echo "Installing into $(VENV) (about a minute the first time)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install --quiet --disable-pip-version-check uv==0.13.8
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements-dev.txt
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps -e .
	@touch $@

.PHONY: setup
setup: $(INSTALLED) ## Install what is missing into .venv

.PHONY: dev
dev: setup ## Start UI and daemon on 127.0.0.1:3000 with demo files (PORT=...)
	@$(BIN)/retail dev --port $(PORT)

.PHONY: demo
demo: setup ## The same headless and one-shot: files in, marts out, totals compared (RETAIL_ENV=ci: on emulators)
	@RETAIL_HOME=$$(mktemp -d) $(EMULATORS) $(BIN)/retail demo $(DEMO)

.PHONY: test
test: setup ## Run the tests
	@$(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder

.PHONY: format
format: setup ## Format the code
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

.PHONY: lint
lint: setup lint-duckdb lint-snowflake ## Format, lint, SQL of both engines, import rules, versions of contracts
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/lint-imports
	@$(BIN)/retail contracts check

# The same files as both engines read them. Two targets, so that `check` has them side by side.
SQLFLUFF = $(BIN)/sqlfluff lint --nocolor --disable-progress-bar --processes 1
SQL = dbt_project/models dbt_project/tests retail_platform_tests/example_feed

.PHONY: lint-duckdb lint-snowflake
lint-duckdb: setup
	@$(SQLFLUFF) $(SQL)

lint-snowflake: setup
	@$(SQLFLUFF) --config .ci/snowflake.sqlfluff $(SQL)

.PHONY: types
types: setup ## Check types
	@$(BIN)/mypy

.PHONY: validate
validate: setup ## dbt parse and Dagster definitions, as every process loads them
	@RETAIL_HOME=$$(mktemp -d) $(BIN)/retail validate

.PHONY: check
check: setup ## Everything CI runs
	@$(MAKE) --jobs=2 --output-sync=target lint validate
	@$(MAKE) --jobs=2 types test

.PHONY: holidays
holidays: setup ## Write the public holidays that dim_date knows anew
	@$(BIN)/python -m retail_platform.transform.public_holidays

.PHONY: markets
markets: setup ## Write the countries that dim_geography knows anew
	@$(BIN)/python -m retail_platform.transform.markets

.PHONY: snowflake-setup
snowflake-setup: setup ## Render and plan the set-up of a Snowflake account (ENV=..., APPLY=1)
	@$(BIN)/retail snowflake-setup render --env $(ENV)
	@$(BIN)/retail snowflake-setup plan --env $(ENV)
	@if [ "$(APPLY)" = 1 ]; then $(BIN)/retail snowflake-setup apply --env $(ENV); fi

.PHONY: bench
bench: setup ## Measure against a plain script and dlt + dbt (takes long)
	@$(BIN)/python -m retail_platform_tests.benchmarks.backlog

# What runs in production is what was tested: the same versions in both files.
.PHONY: lock
lock: setup ## Compile the hash-locked requirement files
	@$(LOCK) --extra dev pyproject.toml -o requirements-dev.txt
	@$(LOCK) --constraint requirements-dev.txt pyproject.toml -o requirements.txt

.PHONY: clean
clean: ## Delete the local lake, warehouse and Dagster state (.retail)
	@rm -rf .retail
