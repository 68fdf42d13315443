PYTHON ?= python3
BIN := .venv/bin

.PHONY: train test test-all lint benchmark

train: .venv/ready
	$(BIN)/python train.py

# Threads that spin while they wait would take the cores from the other worker. Each worker begins with a half of the
# tests in their order, so that what a module's tests share is made once, and takes over what the other has left.
test: lint
	OMP_WAIT_POLICY=PASSIVE $(BIN)/pytest -n 2 --dist worksteal -m "not slow"

test-all: lint
	OMP_WAIT_POLICY=PASSIVE $(BIN)/pytest -n 2 --dist worksteal

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
