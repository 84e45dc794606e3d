# Strongroom. `make` alone lists the targets; `make up` starts everything.
#
# The only things asked of the machine: Python >= 3.11 with venv, make, bash and a package index.
# Everything made here lies in .venv, so any number of clones can work side by side.

SHELL := /bin/bash
.SHELLFLAGS := -o pipefail -c
.DEFAULT_GOAL := help
.SUFFIXES:
MAKEFLAGS += --no-print-directory --no-builtin-rules

# Yours to change: make up PORT=9000 HOME_DIR=/srv/strongroom ARGS='--database-url ...'
PYTHON   ?= python3
PORT     ?= 8080
HOME_DIR ?= .strongroom
ARGS     ?=
# Of `make test`. Each keeps less than half a core busy: most of the time it waits for others.
PROCESSES ?= 3

# A caller's Python settings must not leak into ours: another PYTHONPATH or virtual environment
# would put foreign packages in front, and pip's target settings would install elsewhere.
unexport PYTHONPATH PYTHONHOME PYTHONSTARTUP PYTHONUSERBASE VIRTUAL_ENV __PYVENV_LAUNCHER__
unexport PIP_TARGET PIP_PREFIX PIP_ROOT PIP_USER PIP_REQUIRE_VIRTUALENV PIP_CONSTRAINT
unexport PIP_BUILD_CONSTRAINT PIP_REQUIREMENT PIP_NO_BINARY PIP_ONLY_BINARY PIP_QUIET PIP_VERBOSE
unexport PIP_NO_DEPS PIP_DRY_RUN PIP_IGNORE_INSTALLED PIP_PYTHON PIP_REPORT
export PYTHONNOUSERSITE := 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_NO_INPUT := 1
export PIP_ROOT_USER_ACTION := ignore

.PHONY: help up test test-all fuzz faults walks seeded storm bench lint docs lock localstripe browser \
  foreign-verifier toxiproxy clean install install-dev

help: ## this list
	@echo 'Strongroom, a payments backend that is secure by design.'; echo
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 26
	@echo; echo 'make up PORT=$(PORT) HOME_DIR=$(HOME_DIR) ARGS=…   other port, other data, more options'

up: install ## start everything on this machine (Ctrl-C stops it)
	@exec .venv/bin/strongroom up --home '$(HOME_DIR)' --port '$(PORT)' $(ARGS)

test: install-dev ## run the tests, the long ones left out (ARGS='-k name' chooses)
	@exec .venv/bin/pytest --short -n $(PROCESSES) --dist loadfile --no-loadscope-reorder $(ARGS)

test-all: install-dev ## run all tests, one after the other, for most of an hour
	@exec .venv/bin/pytest $(ARGS)

fuzz: install-dev ## random walks through the API by Schemathesis (ARGS='--cases 50000')
	@exec .venv/bin/python -m tests.fuzz $(ARGS)

faults: install-dev ## every point of the flows of money × every fault (ARGS='--flow sale@stripe')
	@exec .venv/bin/python -m tests.faults.points $(ARGS)

walks: install-dev ## random walks over payments while processes are killed (ARGS='--kills 1000')
	@exec .venv/bin/python -m tests.faults.walks $(ARGS)

seeded: install-dev ## put bugs into copies of the product: each must fail its test (ARGS='--bug NAME')
	@exec .venv/bin/python -m tests.faults.seeded $(ARGS)

storm: install-dev ## webhooks by the million, duplicated and shuffled (ARGS='--deliveries 50000')
	@exec .venv/bin/python -m tests.faults.storm $(ARGS)

bench: install-dev ## measure, print a table, write bench/results/latest.json
	@exec .venv/bin/python -m bench $(ARGS)

lint: install-dev ## ruff check, ruff format --check, mypy --strict
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check .
	@.venv/bin/mypy --strict $(wildcard src tests bench conftest.py)

docs: install-dev ## write the tables of docs/errors.md and docs/gateways.md anew
	@.venv/bin/python -m strongroom.http.reference.errors_page docs/errors.md
	@.venv/bin/python -m tests.conformance docs/gateways.md

localstripe: ## install another Stripe server, which one smoke test starts
	@tools/localstripe '$(PYTHON)'

browser: ## install Chromium by apt, for the tests of the checkout page
	@tools/browser

foreign-verifier: ## build the verifier of the log that rests on code of others; needs Go
	@tools/foreign-verifier

toxiproxy: ## build the server that makes bad networks for one of the tests; needs Go
	@tools/toxiproxy

clean: ## remove the virtual environment and caches; data in .strongroom stays
	@rm -rf .venv .venv-lock .venv-localstripe .venv-go .venv-toxiproxy .make-lock build dist src/*.egg-info \
	  .mypy_cache .pytest_cache .ruff_cache .hypothesis
	@find src tests bench -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null; true
	@test ! -e .strongroom || echo 'Kept: .strongroom (your data). Remove it by hand if you mean it.'

install:
	@tools/install requirements.lock runtime '$(PYTHON)'

install-dev:
	@tools/install requirements-dev.lock dev '$(PYTHON)'

lock: ## after a change of dependencies: write the lock files anew
	@tools/lock '$(PYTHON)'
