# CI calls these targets and nothing else; each one alone works on an empty machine.
PYTHON ?= python3
BIN := .venv/bin
NAME ?= sudoku
ARGS ?=

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help install demo test check format bench proto wire clean

help:  ## show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: .venv/.installed  ## make .venv and install everything into it

.venv/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(None if (3, 11) <= sys.version_info[:2] < (3, 14) else "Basin needs Python 3.11, 3.12 or 3.13; say which: make PYTHON=python3.11")'
	test -x $(BIN)/pip || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install torch==2.13.0 -c constraints.txt
	$(BIN)/python -m pip install -e '.[dev]' -c constraints.txt
	$(BIN)/python -m engine || echo 'kernels not compiled ahead: the first solve will take longer'
	touch $@

demo: install  ## start a reasoner and two module hosts, ask them questions
	$(BIN)/python examples/demo.py

test: install  ## run the tests, on two cores but for the clock's; ARGS=-x passes options to pytest
	$(BIN)/python -m pytest -n 2 --dist loadfile -m 'not clock' $(ARGS)
	$(BIN)/python -m pytest -m clock $(ARGS)

check: install  ## format, lint, types, layers, generated code, the wire
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python proto/generate.py --check
	$(BIN)/python proto/check.py

format: install  ## put the code into its one form
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: install  ## run one benchmark: make bench NAME=sudoku
	$(BIN)/basin bench $(NAME) --json

proto: install  ## generate services/v1 from proto/
	$(BIN)/python proto/generate.py

wire: install  ## renew proto/baseline.binpb after a break of the wire that is meant
	$(BIN)/python proto/check.py --renew

clean:  ## remove caches and build products; .venv stays
	rm -rf build dist *.egg-info .pytest_cache .ruff_cache .mypy_cache .hypothesis .import_linter_cache
	find . -path ./.venv -prune -o -type d -name __pycache__ -exec rm -rf {} +
