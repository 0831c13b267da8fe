# Two commands matter: `make demo` and `make test`. Both need root on Debian or Ubuntu, Python 3.11 and make; they bring the rest.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: demo hub test lint engine image browser clean

demo: engine image $(VENV)/demo  ## prove three users' limits on a real hub
	@$(BIN)/python -m demo

hub: engine image $(VENV)/demo  ## the same hub, left running to log in to
	@$(BIN)/python -m demo --keep

test: engine image $(VENV)/dev browser lint  ## everything, on the real engine
	@$(BIN)/pytest

lint: $(VENV)/dev
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy
	@$(BIN)/lint-imports

engine:
	@docker/engine.sh

image: engine
	@docker/build.sh

# Debian's python3 leaves ensurepip to a package of its own
$(BIN)/python:
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { apt-get -qq update && apt-get -qq install -y python3-venv; }
	@$(PYTHON) -m venv $(VENV)

$(VENV)/demo $(VENV)/dev: pyproject.toml $(BIN)/python
	@echo "environment: installing $(@F) dependencies into $(VENV)" >&2
	@$(BIN)/pip install -q --disable-pip-version-check -e '.[$(@F)]'
	@touch $@

browser:
	@command -v chromium >/dev/null || { apt-get -qq update && apt-get -qq install -y --no-install-recommends chromium; }

clean:
	rm -rf $(VENV) reports dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
