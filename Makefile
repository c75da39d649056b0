# The two commands of the README, and what stands behind them.
#
# VENV=DIR      puts the environment elsewhere.
# PYTHON=PROG   takes another Python (the lock is for 3.11, 3.12 and 3.13).
# TORCH=cpu     takes PyTorch's builds without GPU libraries, from PyTorch's own index.
VENV ?= .venv
PYTHON ?= python3
BIN := $(VENV)/bin
LOCK := prt_bench/_builtin/requirements.lock
# Which versions are installed: those of the lock, each held to its digests.
VERSIONS ?= --require-hashes --constraints $(LOCK)
INSTALL := $(BIN)/uv pip install --quiet --python $(BIN)/python
PROJECT := --no-deps --no-build-isolation --editable .
ifeq ($(TORCH),cpu)
# The lock knows the digests of PyPI's builds alone; these two come from PyTorch's index, in the lock's versions.
INSTALL_TORCH = $(INSTALL) --torch-backend cpu --no-verify-hashes --constraints $(LOCK) torch torchvision
VERSIONS += --excludes $(VENV)/excluded.txt
endif
# Kept bytecode halves the time that a process takes to start.
PYTEST := PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder
# One package of the lock with its digests, as a requirements file.
locked = awk '/^[^ ]/ { wanted = /^$(1)==/ } wanted' $(LOCK)

.PHONY: demo test suite quick lint lock newest oldest clean

demo: $(VENV)/.installed
	$(BIN)/prt-bench run
	@echo "open leaderboard/site/index.html"

test: lint suite

suite: $(VENV)/.installed-test
	$(PYTEST)

# What one runs between two edits: all but what trains for long, starts many processes or opens a browser.
quick: $(VENV)/.installed-test
	$(PYTEST) -m "not slow"

lint: $(VENV)/.installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Writes the lock anew, with the newest versions that pyproject.toml allows.
lock: $(BIN)/uv
	$(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --extra test --generate-hashes \
	  --custom-compile-command "make lock" --output-file $(LOCK) pyproject.toml

# The suite on the newest and on the oldest versions that pyproject.toml allows, in environments of their own.
newest:
	rm -f .venv-newest/.installed .venv-newest/.installed-test
	$(MAKE) .venv-newest/.installed-test VENV=.venv-newest VERSIONS=--upgrade
	.venv-newest/bin/uv pip list --python .venv-newest/bin/python --outdated
	$(MAKE) suite VENV=.venv-newest VERSIONS=--upgrade

oldest:
	rm -rf .venv-oldest
	$(MAKE) suite VENV=.venv-oldest VERSIONS="--resolution lowest-direct"

$(BIN)/uv: $(LOCK)
	$(PYTHON) -m venv $(VENV)
	$(call locked,uv) > $(VENV)/uv.txt
	$(BIN)/python -m pip install --quiet --require-hashes --requirement $(VENV)/uv.txt
	@touch $@

$(VENV)/.installed: $(BIN)/uv pyproject.toml $(LOCK)
	@printf 'torch\ntorchvision\n' > $(VENV)/excluded.txt
	$(INSTALL) $(VERSIONS) --requirements pyproject.toml
	$(INSTALL_TORCH)
	$(INSTALL) $(PROJECT)
	@touch $@

$(VENV)/.installed-test: $(BIN)/uv pyproject.toml $(LOCK)
	@printf 'torch\ntorchvision\n' > $(VENV)/excluded.txt
	$(INSTALL) $(VERSIONS) --compile-bytecode --requirements pyproject.toml --extra test
	$(INSTALL_TORCH)
	$(INSTALL) $(PROJECT)
	@touch $@ $(VENV)/.installed

clean:
	rm -rf $(VENV) .venv-newest .venv-oldest leaderboard/results leaderboard/costs leaderboard/site
