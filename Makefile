# Each target does its own set-up in .venv; nothing has to be installed by hand.
VENV ?= .venv
BIN := $(VENV)/bin
# Everything that pip must look at again when it changes.
METADATA := setup.cfg setup.py pyproject.toml

.PHONY: help run test lint format bench reference clean

help:
	@echo "make run     the quickstart: gateway on 127.0.0.1:8080, admin on 127.0.0.1:9900, two demo services"
	@echo "make test    every test, with branch coverage (ARGS='-k name' for some)"
	@echo "make lint    ruff, mypy --strict, documents that render and are up to date"
	@echo "make bench   CPU per request beside nginx, HAProxy, Caddy, Envoy and Fastify (ARGS='--only relay')"
	@echo "make format  ruff format and its safe fixes"
	@echo "make reference  write docs/ that are generated from the code again"
	@echo "make clean   remove $(VENV) and everything built"

$(VENV)/.run: $(METADATA)
	@test -x $(BIN)/python || tools/venv $(VENV)
	@echo "installing suuupra-gateway into $(VENV) (once) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e .
	@touch $@

$(VENV)/.dev: $(METADATA) $(VENV)/.run
	@echo "installing the tools for tests and lint into $(VENV) (once) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[test,lint,docs]'
	@touch $@

run: $(VENV)/.run
	@exec $(BIN)/python -m suuupra_gateway.quickstart

test: $(VENV)/.dev
	@tools/servers
	@tools/test $(BIN) $(ARGS)

lint: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy suuupra_gateway tests/typing
	$(BIN)/python -m tests.reference --check
	$(BIN)/python -m pytest -q tests/test_documents.py
	$(BIN)/towncrier build --draft --version next >/dev/null

format: $(VENV)/.dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(VENV)/.dev
	@tools/servers --bench
	@$(BIN)/python -m tests.bench $(ARGS)

reference: $(VENV)/.dev
	$(BIN)/python -m tests.reference

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage .coverage.*
