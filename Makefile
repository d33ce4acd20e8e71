# Isthmus: `make help` lists what there is. Nothing but Python 3.11 to 3.13 is needed to start.

.DEFAULT_GOAL := help
SHELL := /bin/sh
VENV := .venv
BIN := $(VENV)/bin

# TensorFlow: notices off, and the same rounding on every processor.
export TF_CPP_MIN_LOG_LEVEL ?= 2
export TF_ENABLE_ONEDNN_OPTS ?= 0
export MPLBACKEND ?= Agg
export PYTHONUNBUFFERED = 1

# Test processes at a time, and further words for pytest: make test JOBS=4 PYTEST="-k codec"
JOBS ?= 2
PYTEST ?=

C_SOURCES := $(shell find templates host -name '*.[ch]' | sort)

.PHONY: help demo test check format bench fuzz fuzz-c fuzz-kernels digits lock tools venv clean soak mqtt-kill bottleneck-figures
.PHONY: check-ruff check-format check-types check-c

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 20

demo: $(VENV)/.demo.stamp ## set up .venv (pip packages only) and run the main job on the digits; CODEC=near-lossless or bottleneck
	$(BIN)/isthmus demo $(if $(CODEC),--codec $(CODEC))

# Ray's native code beside every other library of the tests in one process ends it at times: its
# tests have a process of their own. 5: PYTEST chose none of them.
test: venv tools check ## set up .venv and the system tools, then every check and test
	$(BIN)/python -m pytest -m ray $(PYTEST) || [ $$? -eq 5 ]
	$(BIN)/python -m pytest -m "not ray" -n $(JOBS) --dist loadfile $(PYTEST)

check: check-ruff check-format check-types check-c ## formatters, linters and types, as CI runs them

check-ruff: venv
	$(BIN)/ruff check .

check-format: venv
	$(BIN)/ruff format --check .

check-types: venv
	$(BIN)/mypy

check-c: venv
	$(BIN)/clang-format --dry-run -Werror $(C_SOURCES)

format: venv ## let the formatters rewrite the sources
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/clang-format -i $(C_SOURCES)

bench: venv ## measure everything again and write benchmarks/RESULTS.md
	$(BIN)/python benchmarks/run.py

bottleneck-figures: venv ## train and measure the bottlenecks of benchmarks/bottleneck.py that are missing
	$(BIN)/python -m benchmarks.bottleneck

soak: venv tools ## the server under 2,000 simulated devices for SECONDS (default ten minutes)
	$(BIN)/python -m benchmarks.server_soak --seconds $(or $(SECONDS),600)

mqtt-kill: venv tools ## 10,000 frames over MQTT while the server is killed 20 times
	$(BIN)/python -m benchmarks.mqtt_kill

fuzz: venv ## damaged frames against C and Python, CASES of them (default ten million)
	$(BIN)/python tests/fuzz/frames.py --cases $(or $(CASES),10000000) $(if $(RECORD),--record)

fuzz-c: venv tools ## the codec in C under libFuzzer, CASES executions of each fuzzer (default ten million)
	$(BIN)/python tests/fuzz/fuzz_c.py --runs $(or $(CASES),10000000) $(if $(RECORD),--record)

fuzz-kernels: venv tools ## random layers in every build of the kernels, CASES of them (default 20,000)
	$(BIN)/python tests/kernels/fuzz_kernels.py --cases $(or $(CASES),20000) $(if $(RECORD),--record)

digits: venv ## train the embedded digits network again
	$(BIN)/python examples/digits/train.py

lock: ## resolve the dependencies again (UPGRADE=1 takes newer versions)
	sh tools/lock.sh

tools: ## install the system tools of the tests where that can be done
	@sh tools/system_tools.sh

venv: $(VENV)/.dev.stamp ## set up .venv with the test extras

$(VENV)/.demo.stamp: requirements/demo.lock pyproject.toml
	@sh tools/make_venv.sh requirements/demo.lock
	@touch $@

$(VENV)/.dev.stamp: requirements/dev.lock pyproject.toml
	@sh tools/make_venv.sh requirements/dev.lock
	@touch $@

clean: ## remove .venv and everything that was made
	rm -rf $(VENV) build dist demo-out .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find host generator tests benchmarks examples -name __pycache__ -type d -prune -exec rm -rf {} +
