PYTHON ?= python3
BIN := .venv/bin
# Threads that spin while they wait would take the cores from the other worker. Each worker starts with half of the
# tests in their order, so that what a module's tests share is made once, and takes over what the other has left.
PYTEST := OMP_WAIT_POLICY=PASSIVE $(BIN)/pytest -n 2 --dist worksteal

.DEFAULT_GOAL := help
.PHONY: help train test test-slow test-all test-floors attack lint docs demo wheel benchmark clean

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

train: .venv/train.ready ## train and test on built-in data, and write a report (five minutes on two cores)
	$(BIN)/python train.py

test: lint ## check style and types, then test the behaviour of everything (minutes)
	$(PYTEST) -m "not slow"

test-slow: .venv/dev.ready .venv/ray.ready ## the exhaustive tests alone: fresh processes, compilations, whole experiments
	$(PYTEST) -m slow

test-all: test test-slow ## both

test-floors: .venv-floors/ready ## test with the oldest versions that pyproject.toml allows
	NUMBA_CACHE_DIR=$(CURDIR)/.venv-floors/kernels OMP_WAIT_POLICY=PASSIVE .venv-floors/bin/pytest -n 2 --dist worksteal -m "not slow" -W default

attack: .venv/dev.ready ## attack everything that reads what others send, and count (under half an hour)
	OMP_WAIT_POLICY=PASSIVE $(BIN)/python -m tests.attack

lint: .venv/dev.ready ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: .venv/docs.ready ## build the documentation into site/, strictly
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

demo: .venv/dev.ready ## build the page that refines masks without a server into build/page (needs npm)
	$(BIN)/python -m spatialprop.demo.build build/page

wheel: .venv/dev.ready ## build the wheel and the source distribution into dist/
	$(BIN)/python -m build --outdir dist .

benchmark: .venv/dev.ready ## measure the operator (eight minutes on two idle cores)
	$(BIN)/python benchmarks/propagation.py

clean: ## delete what was built, but neither .venv nor any results
	rm -rf build dist site .mypy_cache .pytest_cache .ruff_cache .hypothesis src/*.egg-info
	find src tests benchmarks docs examples -name __pycache__ -prune -exec rm -rf {} +

# uv, unlike pip, can take the lowest version of every requirement. What these need in turn is as new as usual.
.venv-floors/ready: pyproject.toml
	@test -x .venv-floors/bin/python || $(PYTHON) -m venv .venv-floors
	@.venv-floors/bin/pip install --quiet --disable-pip-version-check uv
	@.venv-floors/bin/uv pip install --quiet --python .venv-floors/bin/python --resolution lowest-direct --editable ".[dev]"
	@touch $@

# One stamp for each extra that a target needs: train, dev, docs or ray. Without --no-compile pip would compile every module
# of every package, which takes twice as long as installing them; Python compiles those that are imported.
.venv/%.ready: pyproject.toml .ci/constraints.txt
	@echo "Setting up .venv for $*: about a minute, once"
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-compile \
		--constraint .ci/constraints.txt --editable ".[$*]"
	@touch $@
