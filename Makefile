# Run `make help`.

PYTHON ?= python3
VENV := .venv/bin
PEERS := litellm chainlit open-webui

.DEFAULT_GOAL := help

help: ## Say what there is
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  %-12s %s\n", $$1, $$2}'

install: ## Make the virtual environment
	$(PYTHON) -m venv .venv
	$(VENV)/pip install -q -c constraints.txt -e '.[test]'

run: ## Serve the demo site
	$(VENV)/python manage.py llmapp serve --demo

test: ## Run the tests that need no processes and no browser
	$(VENV)/python -m pytest -m "not acceptance and not browser"

test-all: ## Run all tests, those that take long too
	$(VENV)/python -m pytest -m ""

soak: ## Run the full forms of the tests of load, on files and on servers: half an hour
	$(VENV)/python -m pytest -n 0 -s -m long tests/acceptance/load
	LLMAPP_TEST_STACK=server $(VENV)/python -m pytest -n 0 -s -m long tests/acceptance/load

matrix: ## Run all tests on every Python and Django that is promised and is here
	$(PYTHON) scripts/matrix.py $(ARGS)

crash-matrix: ## Kill, pause and end every process at every point of a run, and write docs/crash-matrix.md
	$(VENV)/python -m tests.acceptance.crash $(ARGS)

lint: ## Look for faults in style
	$(VENV)/ruff check .
	$(VENV)/ruff format --check .

format: ## Mend what can be mended
	$(VENV)/ruff check --fix .
	$(VENV)/ruff format .

types: ## Check the types
	$(VENV)/mypy

messages: ## Collect what people read, and compile the translations
	cd llmapp && ../$(VENV)/django-admin makemessages --all --no-location --no-wrap
	cd llmapp && ../$(VENV)/django-admin compilemessages

bench-peers: $(PEERS:%=benchmarks/peers/%/installed) ## Install what the benchmarks compare us with, each on its own

# torch comes first: its build for the CPU where pip finds one, and not several GB for a GPU.
benchmarks/peers/%/installed: benchmarks/peers-%.txt
	$(PYTHON) -m venv --clear $(@D)
	$(@D)/bin/pip install -q --upgrade pip
	! grep -q '^torch' $< || $(@D)/bin/pip install -q $$(grep '^torch' $<)
	$(@D)/bin/pip install -q -r $<
	touch $@

constraints: ## Write down the exact versions that are installed
	( head -1 constraints.txt; $(VENV)/pip freeze --exclude-editable --exclude build --exclude pyproject_hooks ) > constraints.new
	mv constraints.new constraints.txt

diagram: ## Print the picture for docs/architecture.md
	@$(VENV)/python -m llmapp.core.diagram

ci: ## Do what has to pass, in this checkout
	.ci/run

.PHONY: help install run test test-all soak crash-matrix matrix lint format types messages bench-peers constraints diagram ci
