# One list of commands. Each only calls the plain command beside it, which works without make too.
# Options go through ARGS, as in: make up ARGS="--port 9000"

PYTHON ?= python3
.DEFAULT_GOAL := help
.PHONY: help up down test check bench openapi reference train lock install clean

help: ## this list
	@awk -F':.*## ' '/^[a-z]+:.*## / {printf "make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

up: ## install what is missing and start the whole house: python3 tools/bootstrap.py up
	@$(PYTHON) tools/bootstrap.py up $(ARGS)

down: ## stop it: python3 tools/bootstrap.py down
	@$(PYTHON) tools/bootstrap.py down

test: ## run every test: python3 tools/bootstrap.py test
	@$(PYTHON) tools/bootstrap.py test $(ARGS)

check: ## format, lint, types, imports, dependencies, contract, tests: python3 tools/bootstrap.py check
	@$(PYTHON) tools/bootstrap.py check $(ARGS)

bench: ## measure every figure: python3 tools/bootstrap.py bench
	@$(PYTHON) tools/bootstrap.py bench $(ARGS)

openapi: ## write contract/openapi.json from the code: python3 tools/bootstrap.py openapi
	@$(PYTHON) tools/bootstrap.py openapi

reference: ## write docs/reference from the code: .venv/bin/python tools/write_reference.py
	@.venv/bin/python tools/write_reference.py

train: ## rebuild the detection model: .venv/bin/python -m train.injection
	@.venv/bin/python -m train.injection --data ../shared/data/prompt_injection --seed 20261101 $(ARGS)

lock: ## rewrite the hash locks: python3 tools/bootstrap.py lock
	@$(PYTHON) tools/bootstrap.py lock

install: ## install what development needs, start nothing: python3 tools/bootstrap.py install
	@$(PYTHON) tools/bootstrap.py install

clean: ## remove what was installed or built here: python3 tools/bootstrap.py clean
	@$(PYTHON) tools/bootstrap.py clean
