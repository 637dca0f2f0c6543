# The GANSeg companion. `make help` lists the targets; README.md explains them.

SCALE    ?= tiny
DATA     ?= synthetic-bird
DATA_DIR ?=
SEED     ?= 0
CORES    ?= $(shell nproc 2>/dev/null || sysctl -n hw.ncpu 2>/dev/null || echo 1)
THREADS  ?= 0
RESULTS  ?= $(or $(GANSEG_RESULTS),results)
PROFILE  ?= profiles/default
PYTHON   ?= >=3.11,<3.14
PORT     ?= 8000
WORKERS  ?= auto

VENV  := .venv
BIN   := $(CURDIR)/$(VENV)/bin
MADE  := $(VENV)/.made-from-lock
# A scale or data set named by the user is shown even where a better scale was run.
ASKED := $(filter command environment%,$(origin SCALE) $(origin DATA))
SHOW  ?= $(if $(ASKED),$(SCALE),best)
# What is stored in notebooks/ depends on no run but its own: a results folder apart, defaults for everything.
CHECKED := $(CURDIR)/_build/checked
STORED  := SCALE=tiny DATA=synthetic-bird DATA_DIR= SEED=0 RESULTS=$(CHECKED)

# uv from the path, or one of our own in .uv (a folder target needs no virtual environment and no root).
UV    := $(shell uv --version >/dev/null 2>&1 && echo uv || echo .uv/bin/uv)
# $(call GRAPH,TARGET): the target stands first, for --config takes every word after it.
GRAPH  = snakemake $(1) --workflow-profile $(PROFILE) --cores $(CORES) \
         --config scale=$(SCALE) data="$(DATA)" data_dir="$(DATA_DIR)" seed=$(SEED) \
         results="$(RESULTS)" threads=$(THREADS) show=$(SHOW)

export PATH := $(BIN):$(PATH)
export GANSEG_RESULTS := $(abspath $(RESULTS))
# Memory in large pages, where the C library is glibc: small steps are mostly memory traffic.
export GLIBC_TUNABLES ?= glibc.malloc.hugetlb=1
# Whatever environment the caller has active, this project uses its own.
unexport VIRTUAL_ENV PYTHONPATH PYTHONHOME CONDA_PREFIX
# Python is started some hundred times: without compiled modules each start would take twice as long.
unexport PYTHONDONTWRITEBYTECODE
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

.PHONY: help book test lint env experiments notebooks-run notebooks links launch lock serve clean dry-run

help: ## list the targets
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' Makefile
	@echo "parameters: SCALE=tiny|laptop|gpu|paper DATA=NAME (see: ganseg data list)"
	@echo "            DATA_DIR=folder SEED=0 CORES=all THREADS=auto RESULTS=results PROFILE=profiles/default PYTHON=3.12"

book: env ## train what is missing, execute the notebooks, build the book
	$(call GRAPH,book)
	@echo "The book is ready. Open file://$(CURDIR)/_build/html/index.html (or: make serve)"

test: env ## pytest, then nbval over the notebooks at scale tiny
	OMP_NUM_THREADS=1 python -m pytest -n $(WORKERS) --dist loadscope tests
	$(MAKE) --no-print-directory experiments $(STORED)
	OMP_NUM_THREADS=1 GANSEG_RESULTS=$(CHECKED) python -m pytest -n $(WORKERS) --dist loadscope -p no:cacheprovider \
	  --nbval --nbval-kernel-name python3 notebooks

lint: env ## check style and format of the code (ruff; settings in pyproject.toml)
	ruff check
	ruff format --check

env: $(MADE) ## make the environment .venv from requirements.lock

$(MADE): requirements.lock pyproject.toml | $(filter-out uv,$(UV))
	$(UV) venv --quiet --clear --python "$(PYTHON)" $(VENV)
	$(UV) pip sync --quiet --python $(VENV) --require-hashes requirements.lock
	$(UV) pip install --quiet --python $(VENV) --no-deps --no-build-isolation --offline -e .
	@touch $@

.uv/bin/uv:
	@python3 -m pip --version >/dev/null 2>&1 || { echo "make: needs uv, or python3 with pip"; exit 1; }
	python3 -m pip install --quiet --disable-pip-version-check --root-user-action=ignore --target .uv "uv>=0.5"

experiments: env ## train what the notebooks, and above scale tiny the ledger, need and is not there
	$(call GRAPH,experiments)

notebooks-run: env ## execute the notebooks into results/SCALE/notebooks
	$(call GRAPH,notebooks)

dry-run: env ## list what `make book` would run, and why
	$(call GRAPH,book --dry-run)

notebooks: ## refresh the outputs stored in notebooks/ from executions at scale tiny
	$(MAKE) --no-print-directory notebooks-run $(STORED)
	python -m book store notebooks $(CHECKED)/tiny/notebooks

links: notebooks-run ## check the book's links to other hosts (needs the network)
	python -m book build . --results $(RESULTS) --prefer $(SHOW) --builder linkcheck

launch: env ## write the branch that Colab and Binder open into _build/launch
	rm -rf _build/launch
	python -m book launch _build/launch

lock: | $(filter-out uv,$(UV)) ## resolve pyproject.toml into requirements.lock (needs the network)
	$(UV) pip compile pyproject.toml --quiet --upgrade --universal --generate-hashes --python-version 3.11 \
	  --extra book --extra test --no-emit-index-url --no-emit-find-links \
	  --custom-compile-command "make lock" --output-file requirements.lock

serve: ## show the book on http://localhost:PORT
	python -m http.server --bind 127.0.0.1 --directory _build/html $(PORT)

clean: ## remove the environment and everything that a build made (results stay)
	rm -rf $(VENV) .uv _build .snakemake build *.egg-info .pytest_cache .ruff_cache
