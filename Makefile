.DEFAULT_GOAL := help
.PHONY: help setup demo up test test-integration bench flamegraph check gen lock clean

PYTHON ?= python3
BIN := .venv/bin
# The machine's uv, or one fetched by pip into a folder of its own.
UV = $(shell command -v uv 2>/dev/null || echo .venv/uv/bin/uv)
INSTALL = $(UV) pip install --quiet --python $(BIN)/python \
	--constraint requirements.lock --build-constraint requirements.lock
SOURCES := pyproject.toml protos/pyproject.toml requirements.lock
PROTOS := $(shell find protos/tact -name '*.proto' 2>/dev/null | sort)
# The suites that open real PostgreSQL, Redis or NATS, told by what they import.
SERVERS := archives|crowds|databases|decision_logs|event_stores|own_servers|pasts|profile_stores|redises|streams
INTEGRATION = $(shell grep -lE '^(from|import) ($(SERVERS))\b' tests/contract/*.py tests/integration/*.py)

help: ## list every target
	@grep -E '^[a-z-]+:.*##' Makefile | sed -E 's/:.*## /\t/' | expand -t 18

setup: .venv/installed-dev ## install everything that a developer needs into .venv

demo: .venv/installed-demo ## train and decide on public data; the last line of output is JSON
	@$(BIN)/tact demo

up: .venv/installed-demo ## run all services in one process
	@$(BIN)/tact up

# APART=1 leaves out the files that make test-integration runs, where both are run side by side.
test: .venv/installed-test ## run the tests; needs no server
	@$(BIN)/python -m pytest $(if $(APART),$(INTEGRATION:%=--ignore=%))

test-integration: .venv/installed-test ## run the contract suites on real PostgreSQL, Redis and NATS; skips nothing
	@TACT_REQUIRE_SERVERS=1 TACT_PARITY_STREAMS=10000 $(BIN)/python -m pytest --refuse-skips $(INTEGRATION)

bench: .venv/installed-test ## measure decisions and stores against bare ones, in one run of about twelve minutes
	@PYTHONPATH=tests $(BIN)/python -m bench

flamegraph: setup ## sample where Tact spends its time under load, into .tact/flamegraph.svg
	@PYTHONPATH=tests $(BIN)/python -m bench --flame .tact/flamegraph.svg

check: setup ## what CI runs: linters, types, contract, generated files, then the tests
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/lint-imports
	@$(BIN)/mypy
	@cd protos && ../$(BIN)/buf lint
	@$(MAKE) --no-print-directory .check-generated
	@$(BIN)/tact playbook check playbooks/*/
	@$(BIN)/tact playbook test playbooks/*/ --mutate
	@$(MAKE) --no-print-directory test

gen: setup ## regenerate the stubs from the protos
	@find protos/gen/python -name '*_pb2*' -delete
	@$(call generate,$(CURDIR)/protos/gen/python)

lock: setup ## resolve requirements.lock anew from pyproject.toml
	@$(UV) pip compile --quiet --universal --generate-hashes --no-header --all-extras \
		--no-emit-package tact-nba --no-emit-package tact-protos --python-version 3.11 \
		--output-file requirements.lock pyproject.toml

clean: ## remove the environment and all state of the demo
	@rm -rf .venv .tact

# Writes the stubs into an absolute folder.
define generate
cd protos && PATH="../$(BIN):$$PATH" python -m grpc_tools.protoc -I . \
	--python_out="$(1)" --grpc_python_out="$(1)" \
	--mypy_out="quiet:$(1)" --mypy_grpc_out="quiet:$(1)" $(PROTOS:protos/%=%)
endef

.PHONY: .check-generated
.check-generated:
	@fresh="$$(mktemp -d)" && trap 'rm -rf "$$fresh"' EXIT && mkdir "$$fresh/tact" \
		&& touch "$$fresh/tact/py.typed" && ($(call generate,$$fresh)) \
		&& diff -r -x __pycache__ protos/gen/python "$$fresh" \
		|| (echo "the generated stubs are stale: run make gen" >&2; exit 1)

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| (echo "Python 3.11 or newer is needed; set PYTHON=" >&2; exit 1)
	@$(PYTHON) -m venv .venv

.venv/installed-%: .venv/bin/python $(SOURCES)
	@command -v uv >/dev/null 2>&1 || test -x .venv/uv/bin/uv \
		|| ($(PYTHON) -m venv .venv/uv && .venv/uv/bin/python -m pip install --quiet uv)
	@$(INSTALL) --editable '.[$*]'
	@touch $@
