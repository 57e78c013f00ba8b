# Every target makes .venv and installs what it needs: Python 3.11+ and make are enough.

.DEFAULT_GOAL := help
.PHONY: help demo test test-slow lint bench bench-page bench-check bench-repair bench-recipe docs clean

# The first Python that is new enough; say PYTHON=… to choose one.
PYTHON ?= $(shell for candidate in python3 python3.14 python3.13 python3.12 python3.11; do \
	if $$candidate -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; \
	then echo $$candidate; break; fi; done)
BIN := .venv/bin

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' Makefile

# The stamp is newer than pyproject.toml once everything in it is installed.
.venv/.installed: pyproject.toml
	@test -n "$(PYTHON)" || { echo "make: needs Python 3.11 or later; install it or say PYTHON=/path/to/python3" >&2; exit 2; }
	@test -x $(BIN)/pip || $(PYTHON) -m venv --clear .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[lab,redis,digitalocean,dev]'
	@touch $@

# What the benchmark's peers need besides: large, and not needed by anything else.
.venv/.bench-installed: .venv/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[bench]'
	@touch $@

demo: .venv/.installed ## a really damaged database, a killed scan, every duplicate
	$(BIN)/pgmend demo

test: .venv/.installed ## all tests but the slow ones
	$(BIN)/python -m pytest -n 3 -m "not slow"

test-slow: .venv/.installed ## the slow tests, and the growing ones at full length
	PGMEND_SLOW=1 $(BIN)/python -m pytest -n 2 -m "slow or grows"

lint: .venv/.installed ## ruff and mypy --strict
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: .venv/.bench-installed ## figures beside a floor and peers: make bench ROWS=50000000 KEEP=/var/tmp/bench OUTPUT=results.json
	$(BIN)/python -m benchmarks --rows $(or $(ROWS),1000000) $(if $(KEEP),--keep '$(KEEP)') $(if $(OUTPUT),--output '$(OUTPUT)')

RESULTS := docs/benchmarks/results.json
bench-page: .venv/.bench-installed ## benchmark and sweeps at 50 million rows, written to docs/benchmarks: an hour and a half
	$(BIN)/python -m benchmarks --rows $(or $(ROWS),50000000) --keep '$(or $(KEEP),/var/tmp/pgmend-benchmark)' --output $(RESULTS)
	$(BIN)/python -m benchmarks.sweeps --most $(or $(ROWS),50000000) --keep '$(or $(KEEP),/var/tmp/pgmend-benchmark)' --into $(RESULTS)
	$(BIN)/python -m benchmarks.page $(RESULTS) --into docs/benchmarks

bench-check: .venv/.installed ## has a scan become slower? ratios to the floor, as CI runs it
	$(BIN)/python -m benchmarks.regression

bench-repair: .venv/.installed ## repair and undo beside SQL written by hand: make bench-repair ROWS=1000000
	$(BIN)/python -m benchmarks.repair --rows $(or $(ROWS),5000000)

bench-recipe: .venv/.installed ## the recipe for Mastodon beside its predecessor's queries: make bench-recipe STATUSES=1000000
	$(BIN)/python -m benchmarks.recipe --statuses $(or $(STATUSES),5000000)
	$(BIN)/python -m benchmarks.recipe --statuses 200000 --rate 0.1

docs: .venv/.installed ## check that every page is linked and every link leads somewhere
	$(BIN)/python -m pytest -q tests/test_repository.py -k docs

clean: ## remove the environment and the caches
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist
