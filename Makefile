# Two commands: `make ask` answers a question about a long document, `make test` runs the tests.
# Both install what they need into $(VENV).
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
# The build of torch to install; any from 2.6 on works.
TORCH ?= torch==2.13.0
# The oldest transformers that is supported, tested by `make lowest`.
LOWEST = 5.19.0
# The tests of `make quick`: the spine, and what is cheap around it.
QUICK = tests/chunking tests/compression tests/documents tests/engines tests/reading \
	tests/model/test_adapters.py tests/model/test_modeling.py tests/model/test_processing.py \
	tests/test_pair.py tests/test_extending.py tests/evaluation/test_metrics.py
Q ?= How are default parameter values evaluated?
export Q
PIP = $(BIN)/python -m pip install --quiet --disable-pip-version-check
REFERENCE = $(VENV)/python-reference.txt

.PHONY: ask install dev check quick test lowest bench answers docs clean

# Read the Python language reference (about 110,000 tokens) with the default pair, and ask it.
ask: install
	@$(BIN)/python examples/python_reference.py > $(REFERENCE)
	@$(BIN)/e2llm ask $(REFERENCE) --question "$$Q"

install: $(VENV)/.installed
dev: $(VENV)/.dev

$(VENV)/.installed: pyproject.toml Makefile e2llm/pairs/smol/requirements.txt
	@echo "Installing into $(VENV) (torch and transformers are large: a few minutes the first time) ..."
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) "$(TORCH)"
	@$(PIP) -e ".[smol,documents]"
	@$(BIN)/e2llm models --fetch
	@touch $@

$(VENV)/.dev: $(VENV)/.installed
	@$(PIP) -e ".[dev]"
	@touch $@

# Format, lint, types, and the order of the layers (contracts of import-linter in pyproject.toml).
check: dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo --no-cache

# What a change should pass before it is committed: the checks, and the tests of the spine.
quick: check
	$(BIN)/pytest -n 2 -m "not slow and not smol" $(QUICK)

test: dev
	$(BIN)/pytest -n 2

# The tests that touch transformers, with the oldest version of it that is supported, in an
# environment of their own.
lowest:
	@$(PYTHON) -m venv $(VENV)-lowest
	@$(VENV)-lowest/bin/python -m pip install --quiet --disable-pip-version-check "$(TORCH)"
	@$(VENV)-lowest/bin/python -m pip install --quiet --disable-pip-version-check -e ".[dev]" transformers==$(LOWEST)
	$(VENV)-lowest/bin/pytest -n 2 -m "not smol" tests/model tests/engines tests/compression tests/reading \
		tests/test_pair.py

# Speed and memory of the default pair on this machine; nothing else should run meanwhile.
bench: dev
	$(BIN)/python bench/read_and_ask.py

# Forty questions about the Python reference, asked with the pair's defaults and judged: minutes.
answers: install
	$(BIN)/python bench/reference_answers.py

# Write the pages that are made from the code, and build the site into build/site.
docs: $(VENV)/.docs
	$(BIN)/python docs/generate.py
	$(BIN)/mkdocs build --strict

$(VENV)/.docs: $(VENV)/.dev
	@$(PIP) -e ".[docs]"
	@touch $@

# Draw the figures of the documentation from bench/results.
.PHONY: figures
figures: dev
	$(BIN)/python docs/figures.py

clean:
	rm -rf $(VENV) $(VENV)-lowest build *.egg-info
