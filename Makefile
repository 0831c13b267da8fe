# Two commands matter: `make demo` and `make test`. Both need root on Debian or Ubuntu, Python 3.11 and make; they bring the rest.

PYTHON ?= python3
# which releases of the Python packages: locked, or the newest or oldest that pyproject.toml allows (make test LOCK=newest)
LOCK ?= locked
VENV := $(if $(filter locked,$(LOCK)),.venv,.venv-$(LOCK))
BIN := $(VENV)/bin
UV := .venv-uv
export PATH := $(CURDIR)/$(BIN):$(PATH)

# Debian's packages; what apt-get prints is shown only when it fails
install = { echo "$@: installing $(1)" >&2; log=$$(mktemp); export DEBIAN_FRONTEND=noninteractive; \
	{ apt-get -qq update; apt-get -qq install -y --no-install-recommends $(1); } >$$log 2>&1 9>&- || { cat $$log >&2; exit 1; }; \
	rm -f $$log; }

.PHONY: demo hub test quick soak lint bench conformance-matrix upstream lock compat engine image proxy browser guest clean

demo: engine image proxy $(VENV)/hub  ## prove three users' limits on a real hub
	@$(BIN)/python -m demo

hub: export PORT ?= 8000
hub: engine image proxy $(VENV)/hub  ## the same hub, left running to log in to
	@$(BIN)/python -m demo --keep

PYTEST := $(BIN)/pytest --durations=30 --durations-min=5

test: engine image proxy browser guest $(VENV)/dev lint  ## all but the soak, on the real engine: side by side, then what must be alone
	@failed=0; \
	$(PYTEST) -n 3 -m "not alone and not soak" || failed=1; \
	$(PYTEST) -m "alone and not soak" || failed=1; \
	exit $$failed

quick: $(VENV)/dev lint  ## unit tests, without an engine
	@$(BIN)/pytest -n 2 -m "not alone and not soak" tests/unit

soak: engine image proxy guest $(VENV)/dev  ## what takes long and seldom finds anything; about an hour
	@failed=0; \
	$(PYTEST) -m soak || failed=1; \
	$(MAKE) upstream || failed=1; \
	$(MAKE) conformance-matrix || failed=1; \
	exit $$failed

lint: $(VENV)/dev
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/pylint -sn spawner_limits

bench: $(VENV)/dev image  ## what a policy, a spawn and a change cost; 1 where a target is missed
	@missed=0; for one in policy spawn apply; do $(BIN)/python -m benchmarks.$$one || missed=1; done; exit $$missed

conformance-matrix: $(VENV)/dev  ## the conformance suite in guests with old and new engines, and where they differ
	@$(BIN)/python tests/guest/matrix.py reports/matrix

upstream: engine image proxy $(VENV)/dev  ## dockerspawner's own tests, with its class and with ours, compared
	@$(BIN)/python tests/upstream/compare.py

lock: $(UV)/uv  ## renew every lock file: exact versions and hashes of all Python packages that these commands install
	@$(UV)/bin/python requirements/lock.py --upgrade

compat: engine image proxy $(VENV)/dev  ## the tests that packages matter to, with the newest and the oldest allowed
	@$(MAKE) --no-print-directory LOCK=newest .venv-newest/dev
	@$(MAKE) --no-print-directory LOCK=oldest .venv-oldest/dev
	@$(BIN)/python tests/compat/compare.py

engine:
	@docker/engine.sh

image: engine
	@docker/build.sh

# Debian's python3 leaves ensurepip to a package of its own
$(BIN)/python $(UV)/bin/python:
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || $(call install,python3-venv)
	@$(PYTHON) -m venv $(@:/bin/python=)

# Wheels only: building an sdist fetches what no lock names. A lock is complete, so pip need not resolve (older ones can't,
# with extras and hashes); `pip check` proves that it is. -qq: an index that is not there is no matter, an error is shown.
pip_install = pip install -qq --disable-pip-version-check --no-deps --only-binary :all: --require-hashes -r $(filter %.txt,$^)

$(VENV)/hub $(VENV)/dev: pyproject.toml $(BIN)/python
	@echo "environment: installing Python packages into $(VENV)" >&2
	@$(BIN)/$(pip_install)
	@$(BIN)/pip install -q --disable-pip-version-check --no-index --no-deps --no-build-isolation -e .
	@told=$$($(BIN)/pip check) || { echo "$$told" >&2; exit 1; }
	@$(BIN)/spawner-limits --version >/dev/null
	@touch $@

ifeq ($(LOCK),locked)
$(VENV)/hub: requirements/hub.txt
$(VENV)/dev: requirements/dev.txt
else
$(VENV)/hub $(VENV)/dev: $(VENV)/$(LOCK).txt
endif

# asked of the index each time, and written only when it differs
$(VENV)/$(LOCK).txt: always $(BIN)/python $(UV)/uv
	@$(UV)/bin/python requirements/lock.py $(LOCK) $@.new
	@cmp -s $@.new $@ && rm $@.new || mv $@.new $@

always:

$(UV)/uv: requirements/uv.txt $(UV)/bin/python
	@$(UV)/bin/$(pip_install)
	@touch $@

# the hub's proxy: the original in JavaScript, because the one in Python holds the spawn page's progress back to its end
proxy:
	@command -v configurable-http-proxy >/dev/null || $(call install,node-configurable-http-proxy)

browser:
	@command -v chromium >/dev/null || $(call install,chromium)

guest: $(VENV)/dev  ## hosts that this one is not, of Debian's stable, for the tests: systemd, cgroup v2 and v1, with swap
	@tests/guest/build.sh trixie systemd v2 v2-root v1

clean:
	rm -rf .venv .venv-* reports dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
