# Everything is made and kept in .venv (the environment, tools' caches) and RAG_PLATFORM_HOME
# (state: documents, catalog, vectors, Dagster's own); nothing is written elsewhere.

SHELL := /bin/sh
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

VENV := .venv
BIN := $(VENV)/bin
CACHES := $(CURDIR)/$(VENV)/cache

RAG_PLATFORM_HOME ?= .rag_platform
# Absolute, whatever folder a process of ours starts in.
override RAG_PLATFORM_HOME := $(if $(filter /%,$(RAG_PLATFORM_HOME)),,$(CURDIR)/)$(RAG_PLATFORM_HOME)
DAGSTER_HOME ?= $(RAG_PLATFORM_HOME)/dagster
DAGSTER_PORT ?= 3000
export RAG_PLATFORM_HOME DAGSTER_HOME

export RUFF_CACHE_DIR := $(CACHES)/ruff
export MYPY_CACHE_DIR := $(CACHES)/mypy
export HYPOTHESIS_STORAGE_DIRECTORY := $(CACHES)/hypothesis
export DO_NOT_TRACK := 1
# Importing without bytecode takes seconds; another project's modules are not ours to import.
unexport PYTHONDONTWRITEBYTECODE PYTHONPATH PYTHONHOME

.PHONY: help demo dev test lint format typecheck lock clean-state

help: ## Show what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(VENV)/.default ## Two weeks of a real documentation folder, made searchable
	@"$(BIN)/rag-platform" demo

# Before several processes share it: DAGSTER_HOME with dagster.yaml, its databases, its pools.
MAKE_INSTANCE := from rag_platform.defs.operations.launch import instance; \
	from rag_platform.settings import load; instance(load()).__enter__()

dev: $(VENV)/.default ## Dagster's UI, daemon, schedules and sensors on http://127.0.0.1:3000
	@"$(BIN)/python" -c "$(MAKE_INSTANCE)"
	@"$(BIN)/dagster" dev --workspace workspace.yaml --host 127.0.0.1 --port $(DAGSTER_PORT)

test: $(VENV)/.dev ## The whole test suite
	@"$(BIN)/pytest" -o cache_dir="$(CACHES)/pytest"

lint: $(VENV)/.dev ## Formatting and lint rules
	@"$(BIN)/ruff" format --check .
	@"$(BIN)/ruff" check .

format: $(VENV)/.dev ## Rewrite the code to the formatting and lint rules
	@"$(BIN)/ruff" check --fix .
	@"$(BIN)/ruff" format .

typecheck: $(VENV)/.dev ## Types
	@"$(BIN)/mypy"

# An upgrade of everything: make lock LOCK_FLAGS=--upgrade
COMPILE = "$(BIN)/uv" pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-annotate --no-strip-extras --custom-compile-command 'make lock' $(LOCK_FLAGS)

lock: $(VENV)/.made ## Remake the lock files from pyproject.toml
	"$(BIN)/pip" install --quiet --upgrade uv
	echo 'setuptools>=77' | $(COMPILE) pyproject.toml - --output-file requirements.lock
	echo 'setuptools>=77' | $(COMPILE) pyproject.toml - --extra dev --constraint requirements.lock \
		--output-file requirements-dev.lock
	echo 'setuptools>=77' | $(COMPILE) pyproject.toml - --extra postgres --extra kubernetes --extra celery \
		--constraint requirements.lock --output-file deploy/requirements.lock

clean-state: $(VENV)/.default ## Throw the state folder away; the next demo starts from nothing
	@"$(BIN)/rag-platform" reset --yes

# The environment. A stamp says which lock is installed in full.

# A lock names every package with its hash, so pip has nothing to resolve.
PIP_INSTALL := "$(BIN)/pip" --disable-pip-version-check install --quiet
# The build tools come from the lock, so this fetches nothing.
OURSELVES := $(PIP_INSTALL) --no-deps --no-build-isolation --editable . \
	&& rm -rf rag_platform.egg-info build

$(VENV)/.default: requirements.lock pyproject.toml $(VENV)/.made
	@echo "Installing requirements.lock into $(VENV); the first time this takes a minute or two."
	@$(PIP_INSTALL) --no-deps --require-hashes --requirement requirements.lock && $(OURSELVES)
	@touch $@

$(VENV)/.dev: requirements-dev.lock pyproject.toml $(VENV)/.made
	@echo "Installing requirements-dev.lock into $(VENV); the first time this takes a minute or two."
	@$(PIP_INSTALL) --no-deps --require-hashes --requirement requirements-dev.lock && $(OURSELVES)
	@touch $(VENV)/.default $@

$(VENV)/.made:
	@for python in "$${PYTHON:-python3}" python3.13 python3.12 python3.11 none; do \
		"$$python" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' \
			2>/dev/null && break; \
	done; \
	if [ "$$python" = none ]; then \
		echo "No Python 3.11 or newer with venv found: $$(python3 --version 2>&1)." \
			"Install python3 and python3-venv, or name one: make PYTHON=/path/to/python3.12 ..." >&2; \
		exit 1; \
	fi; \
	echo "Making $(VENV) with $$("$$python" --version)"; \
	"$$python" -m venv $(VENV)
	@touch $@
