PYTHON ?= python3
BIN := .venv/bin

.PHONY: train test lint benchmark

train: .venv/ready
	$(BIN)/python train.py

test: lint
	$(BIN)/pytest -n 2

lint: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

benchmark: .venv/ready
	$(BIN)/python benchmarks/propagation.py

.venv/ready: pyproject.toml .ci/constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --constraint .ci/constraints.txt --editable ".[dev]"
	touch $@
