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

.PHONY: help up test bench lint lock clean install install-dev

help: ## this list
	@echo 'Strongroom, a payments backend that is secure by design.'; echo
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 18
	@echo; echo 'make up PORT=$(PORT) HOME_DIR=$(HOME_DIR) ARGS=…   other port, other data, more options'

up: install ## start everything on this machine (Ctrl-C stops it)
	@exec .venv/bin/strongroom up --home '$(HOME_DIR)' --port '$(PORT)' $(ARGS)

test: install-dev ## run all tests (ARGS='-k name' chooses)
	@exec .venv/bin/pytest $(ARGS)

bench: install-dev ## measure, print a table, write bench/results/latest.json
	@exec .venv/bin/python -m bench $(ARGS)

lint: install-dev ## ruff check, ruff format --check, mypy --strict
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check .
	@.venv/bin/mypy --strict $(wildcard src tests bench conftest.py)

clean: ## remove the virtual environment and caches; data in .strongroom stays
	@rm -rf .venv .venv-lock .make-lock build dist src/*.egg-info \
	  .mypy_cache .pytest_cache .ruff_cache .hypothesis
	@find src tests bench -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null; true
	@test ! -e .strongroom || echo 'Kept: .strongroom (your data). Remove it by hand if you mean it.'

install:
	@$(call installed,requirements.lock,runtime)

install-dev:
	@$(call installed,requirements-dev.lock,dev)

# $(call installed,LOCK,KIND): .venv holds what LOCK says.
#
# .venv/.stamp-KIND keeps what the environment was made from: the lock's and pyproject's content
# and the place (a moved clone has scripts that point to nowhere). Equal: nothing to do. The dev
# environment holds the runtime's packages, so its stamp is written for both.
define installed
stamp="$$( { pwd; cat $(1) pyproject.toml; } | sha256sum )"; \
if [ "$$(cat .venv/.stamp-$(2) 2>/dev/null)" = "$$stamp" ] && .venv/bin/python -IS -c '' 2>/dev/null; \
then exit 0; fi; \
set -e; \
exec 9>.make-lock; ! command -v flock >/dev/null || flock 9; \
if [ "$$(cat .venv/.stamp-$(2) 2>/dev/null)" = "$$stamp" ] && .venv/bin/python -IS -c '' 2>/dev/null; \
then exit 0; fi; \
if [ -z "$$HOME" ] || [ ! -w "$$HOME" ]; then export HOME="$$PWD/.venv" PIP_NO_CACHE_DIR=1; fi; \
place="$$(cat .venv/.place 2>/dev/null || pwd)"; \
if [ "$$place" != "$$PWD" ] || ! .venv/bin/python -m pip --version >/dev/null 2>&1; then \
  python=; \
  for candidate in '$(PYTHON)' $(if $(filter python3,$(PYTHON)),python3.13 python3.12 python3.11); do \
    if "$$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; \
    then python="$$candidate"; break; fi; \
  done; \
  if [ -z "$$python" ]; then \
    echo 'Strongroom needs Python 3.11 or later and found none: $(PYTHON) is' \
      "$$('$(PYTHON)' --version 2>&1 | head -n 1)." >&2; \
    echo 'On Debian or Ubuntu: apt-get install python3-venv make' >&2; \
    echo 'Elsewhere: make PYTHON=/path/to/python3' >&2; exit 1; \
  fi; \
  if ! "$$python" -c 'import venv, ensurepip' 2>/dev/null; then \
    echo "$$python cannot make virtual environments: its venv module is missing." >&2; \
    echo 'On Debian or Ubuntu: apt-get install python3-venv make' >&2; exit 1; \
  fi; \
  echo "==> making .venv with $$("$$python" --version 2>&1)"; \
  rm -rf .venv; "$$python" -m venv .venv; \
fi; \
pwd >.venv/.place; \
total=$$(grep -c '^[a-z0-9].*==' $(1)); count=0; \
echo "==> installing $$total packages from $(1), each checked by its hash"; \
.venv/bin/python -m pip install --progress-bar off --require-hashes --only-binary :all: -r $(1) 2>&1 \
| { log=.venv/install.log; : >$$log; started=$$SECONDS; \
  while IFS= read -r line; do \
    printf '%s\n' "$$line" >>$$log; \
    case "$$line" in \
      Collecting*|'Requirement already'*) count=$$((count + 1)); name="$${line#Collecting }"; \
        name="$${name#Requirement already satisfied: }"; name="$${name%% *}"; \
        if [ -t 1 ]; then printf '\r\033[K    %d/%d %s' $$count $$total "$$name"; \
        elif [ $$((count % 10)) = 0 ]; then printf '    %d/%d\n' $$count $$total; fi;; \
      'Installing collected'*) [ ! -t 1 ] || printf '\r\033[K'; echo '    unpacking';; \
      ERROR*|'    '*Expected*|'    '*Got*) [ ! -t 1 ] || printf '\r\033[K'; echo "    $$line" >&2;; \
    esac; \
  done; echo "    $$((SECONDS - started)) s"; } \
|| { echo 'Installation failed; .venv/install.log has all of it.' >&2; exit 1; }; \
.venv/bin/python -m pip install --quiet --no-index --no-deps --no-build-isolation -e . 9>&-; \
printf '%s\n' "$$stamp" >.venv/.stamp-$(2); \
if [ $(2) = dev ]; then \
  { pwd; cat requirements.lock pyproject.toml; } | sha256sum >.venv/.stamp-runtime; fi
endef

# For who changes a dependency; the tool's own version is fixed, so a lock can be made again alike.
compile = .venv-lock/bin/pip-compile --quiet --generate-hashes --allow-unsafe --strip-extras \
  --build-deps-for editable --no-header --no-emit-index-url --no-emit-trusted-host \
  --no-emit-find-links --no-emit-options --pip-args '--only-binary :all:'

lock: ## after a change of dependencies in pyproject.toml: write both lock files anew
	@test -x .venv-lock/bin/pip-compile || { $(PYTHON) -m venv .venv-lock \
	  && .venv-lock/bin/pip install --quiet pip-tools==7.6.2; }
	@echo '==> resolving (minutes: the hash of every wheel is asked for)'
	@for lock in requirements.lock requirements-dev.lock; do \
	  extra=; about='What Strongroom runs on, and the build backend of its own package.'; \
	  if [ $$lock = requirements-dev.lock ]; then \
	    extra='--extra dev --constraint requirements.lock'; \
	    about='Everything in requirements.lock, and what the tests and the lint need.'; fi; \
	  grep -v '^#' $$lock >.venv-lock/$$lock || true; \
	  $(compile) $$extra --output-file .venv-lock/$$lock pyproject.toml || exit 1; \
	  { echo "# $$about"; \
	    echo '# Made by `make lock` from pyproject.toml: do not edit. Wheels only, every file by its hash:'; \
	    echo "#   pip install --require-hashes --only-binary :all: -r $$lock"; \
	    grep -v 'considered to be unsafe' .venv-lock/$$lock; } >$$lock; \
	done
