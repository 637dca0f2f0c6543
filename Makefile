# The GANSeg companion. `make help` lists the targets; README.md explains them.

SCALE    ?= laptop
DATA     ?= synthetic-bird
DATA_DIR ?=
SEED     ?= 0
CORES    ?= $(shell nproc 2>/dev/null || sysctl -n hw.ncpu 2>/dev/null || echo 1)
THREADS  ?= 0
RESULTS  ?=
PROFILE  ?= profiles/default
PYTHON   ?= >=3.11,<3.14
PORT     ?= 8000

VENV  := .venv
BIN   := $(CURDIR)/$(VENV)/bin
MADE  := $(VENV)/.made-from-lock
# What is tested, stored in notebooks/ or reproduced depends on no run but its own: a results folder apart.
USUAL     := DATA=synthetic-bird DATA_DIR= SEED=0
CHECKED   := SCALE=tiny $(USUAL) RESULTS=_build/checked
STORED    := SCALE=laptop $(USUAL) RESULTS=_build/committed/results
REPRODUCED ?= _build/reproduced

# uv from the path, or one of our own in .uv (a folder target needs no virtual environment and no root).
UV    := $(shell uv --version >/dev/null 2>&1 && echo uv || echo .uv/bin/uv)
# Packages are imported once for a program and what it calls by `python book/warm.py`, which stands for `python`.
SERVE := $(if $(GANSEG_WARM),,python -m book warm)
WARM  := $(SERVE) python book/warm.py -m
# Workers of pytest, which start so, too.
SPREAD := --dist loadscope --tx '$(CORES)*popen//python=python book/warm.py'
GRAPH  = snakemake $(1) --workflow-profile $(PROFILE) --cores $(CORES)
MAKE_  = $(MAKE) --no-print-directory
# $(call TIMED,PART,COMMAND): how long a part took is told at the end of all; the graph adds its own parts.
TIMES := _build/times
TIMED  = start=$$(date +%s) && $(2) && echo "$(1): $$(( $$(date +%s) - start )) s" >> $(TIMES)
ifeq ($(MAKELEVEL),0)
$(shell mkdir -p _build && : > $(TIMES))
endif

export OUTER_PATH := $(or $(value OUTER_PATH),$(value PATH))
export PATH := $(BIN):$(value PATH)
# Settings reach the graph in the environment, as they were typed: no shell reads them again.
export GANSEG_SCALE := $(value SCALE)
export GANSEG_DATA := $(value DATA)
export GANSEG_DATA_DIR := $(value DATA_DIR)
export GANSEG_SEED := $(value SEED)
export GANSEG_THREADS := $(value THREADS)
GIVEN := $(or $(value RESULTS),$(value GANSEG_RESULTS),results)
export GANSEG_RESULTS := $(if $(filter /% ~%,$(firstword $(GIVEN))),,$(CURDIR)/)$(GIVEN)
# Memory in large pages, where the C library is glibc: small steps are mostly memory traffic.
export GLIBC_TUNABLES ?= glibc.malloc.hugetlb=1
# Whatever environment the caller has active, this project uses its own.
unexport VIRTUAL_ENV PYTHONPATH PYTHONHOME CONDA_PREFIX
# Python is started some hundred times: without compiled modules each start would take twice as long.
unexport PYTHONDONTWRITEBYTECODE
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

.PHONY: help book test pytest checked nbval lint env models experiments reproduce notebooks-run notebooks links launch lock serve clean dry-run

help: ## list the targets
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' Makefile
	@echo "parameters: SCALE=tiny|laptop|gpu|paper DATA=NAME (see: ganseg data list)"
	@echo "            DATA_DIR=folder SEED=0 CORES=all THREADS=auto RESULTS=results PROFILE=profiles/default PYTHON=3.12"

book: env ## execute the notebooks on the shipped runs, train what is missing, build the book
	$(WARM) $(call GRAPH,book)
	@cat $(TIMES)
	@echo "The book is ready. Open file://$$PWD/_build/html/index.html (or: make serve)"

test: env ## pytest, and beside it nbval over the notebooks at scale tiny
	$(SERVE) $(MAKE_) -j 2 pytest checked
	@cat $(TIMES)

pytest:
	$(call TIMED,pytest,OMP_NUM_THREADS=1 python -m pytest $(SPREAD) --no-loadscope-reorder tests)

checked:
	@$(MAKE_) nbval $(CHECKED) > _build/nbval.log 2>&1; status=$$?; cat _build/nbval.log; exit $$status

nbval: models
	python -m book copies notebooks _build/checked/notebooks -p scale=$(SCALE)
	$(call TIMED,nbval,OMP_NUM_THREADS=1 $(WARM) pytest $(SPREAD) -p no:cacheprovider \
	  --nbval --nbval-kernel-name python3 _build/checked/notebooks)

lint: env ## check style and format of the code (ruff; settings in pyproject.toml)
	ruff check
	ruff format --check

env: $(MADE) ## make the environment .venv from requirements.lock

$(MADE): requirements.lock pyproject.toml
	$(if $(filter-out uv,$(UV)),@$(MAKE_) $(UV))
	@echo "Making the environment in $(VENV)"
	$(UV) venv --quiet --clear --python "$(PYTHON)" $(VENV)
	$(call TIMED,environment,$(UV) pip sync --quiet --python $(VENV) --require-hashes requirements.lock)
	$(UV) pip install --quiet --python $(VENV) --no-deps --no-build-isolation --offline -e .
	@touch $@

.uv/bin/uv:
	@PATH=$$OUTER_PATH python3 -m pip --version >/dev/null 2>&1 || { echo "make: needs uv, or python3 with pip"; exit 1; }
	PATH=$$OUTER_PATH python3 -m pip install --quiet --disable-pip-version-check --root-user-action=ignore --target .uv "uv>=0.5"

models: env ## train what the notebooks read and is not there
	$(WARM) $(call GRAPH,models)

experiments: env ## the same, and above scale tiny what the ledger of claims asks for: many hours
	$(WARM) $(call GRAPH,experiments)

reproduce: env ## train every model of the notebooks afresh; print published, own, difference, spread over seeds
	$(MAKE_) models RESULTS="$(REPRODUCED)"
	python -m book compare "$(REPRODUCED)" --published "$$GANSEG_RESULTS" --scale "$$GANSEG_SCALE"

notebooks-run: env ## execute the notebooks into results/SCALE/notebooks
	$(WARM) $(call GRAPH,notebooks)

dry-run: env ## list what `make book` would run, and why
	$(call GRAPH,book --dry-run)

notebooks: ## refresh the outputs stored in notebooks/: scale laptop, executed on the committed runs
	rm -rf _build/committed && mkdir -p _build/committed
	git archive HEAD results | tar -x -C _build/committed
	$(MAKE_) notebooks-run $(STORED)
	python -m book store notebooks _build/committed/results/laptop/notebooks

links: notebooks-run ## check the book's links to other hosts (needs the network)
	python -m book build . --results "$$GANSEG_RESULTS" --scale "$$GANSEG_SCALE" --builder linkcheck

launch: env ## write the branch that Colab and Binder open into _build/launch
	rm -rf _build/launch && mkdir -p _build/launch
	git archive HEAD | tar -x -C _build/launch
	python -m book launch _build/launch

lock: | $(filter-out uv,$(UV)) ## resolve pyproject.toml into requirements.lock (needs the network)
	$(UV) pip compile pyproject.toml --quiet --upgrade --universal --generate-hashes --python-version 3.11 \
	  --extra book --extra test --no-emit-index-url --no-emit-find-links \
	  --custom-compile-command "make lock" --output-file requirements.lock

serve: ## show the book on http://localhost:PORT
	python -m http.server --bind 127.0.0.1 --directory _build/html $(PORT)

clean: ## remove the environment and everything that a build made (results stay)
	rm -rf $(VENV) .uv _build .snakemake build *.egg-info .pytest_cache .ruff_cache
