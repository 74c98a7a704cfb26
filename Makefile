# make demo   the main job: compare four losses on scikit-learn's digits, and print where the report is
# make test   what CI runs: lint, types, tests
# make help   all recipes
.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# no user site, no surprise from the caller's Python environment
export PYTHONNOUSERSITE = 1
unexport PYTHONPATH

CLI_DOCS = $(BIN)/python -m typer lossproof.cli utils docs --name lossproof --title "Command line"

.PHONY: help demo test lint types unit docs generate certificates bench bench-peers bench-losses bench-stack bench-starts bench-scaling bench-whole bench-engines bench-advice bench-large bench-likelihoods bench-calibrate accuracy soundness soundness-nightly browser clean

help: ## show this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

# the source is compiled as packages are: where Python may not write bytecode, each process would compile it again
define install
$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, this is " + sys.version)'
test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e ".[$(1)]"
$(BIN)/python -m compileall -q src
touch $(VENV)/.run $@
endef

$(VENV)/.run: pyproject.toml constraints.txt
	$(call install,torch)

$(VENV)/.dev: pyproject.toml constraints.txt
	$(call install,dev)

$(VENV)/.bench: pyproject.toml constraints.txt
	$(call install,bench)

browser: ## install Chromium through apt where it is missing (the browser test needs it)
	@command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null \
	  || { echo "installing chromium"; s=$$(test "$$(id -u)" = 0 || echo sudo); $$s apt-get update -qq && $$s apt-get install -y -qq chromium >/dev/null; }

demo: $(VENV)/.run ## compare BCE, MSE, MAE and log-cosh on digits; prints where the report is
	$(BIN)/lossproof compare digits

test: $(VENV)/.dev browser ## what CI runs: lint, types and unit, side by side
	$(MAKE) --no-print-directory -j 3 lint types unit

lint: $(VENV)/.dev ## ruff, and that the generated kernels are not stale
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python -m lossproof.lower.generate --check
	diff <($(CLI_DOCS)) docs/cli.md || { echo "docs/cli.md is stale: run make docs"; exit 1; }

types: $(VENV)/.dev ## mypy, strict on formula, catalogue and lower
	$(BIN)/mypy

unit: $(VENV)/.dev browser ## pytest, doctests included, warnings as errors
	OMP_NUM_THREADS=1 $(BIN)/pytest -q -n 3 --dist loadfile --no-loadscope-reorder

docs: $(VENV)/.dev ## write docs/cli.md from the program
	$(CLI_DOCS) > docs/cli.md

generate: $(VENV)/.dev ## write the catalogue's torch kernels anew
	$(BIN)/python -m lossproof.lower.generate

certificates: $(VENV)/.run ## certify the catalogue anew; writes certificates/
	$(BIN)/python -m lossproof.prove.generate

soundness: $(VENV)/.dev ## 200 random losses, certified and judged by an independent oracle
	$(BIN)/python benchmarks/soundness.py --count 200

soundness-nightly: $(VENV)/.dev ## 2,000 random losses in two processes, about 40 minutes; writes docs/soundness.md
	$(BIN)/python benchmarks/soundness.py --count 2000 --jobs 2 --write

bench: $(VENV)/.run ## a member beside a bare torch loop and its matrix products; writes docs/performance.md
	$(BIN)/python benchmarks/training.py

bench-peers: $(VENV)/.bench ## pythae, Keras and a DataLoader loop beside a member; writes docs/performance.md
	$(BIN)/python benchmarks/peers.py $(if $(DATA),--data $(DATA))

bench-losses: $(VENV)/.dev ## speed of the losses beside torch, Keras and optax; writes docs/performance.md
	$(BIN)/python benchmarks/losses.py

bench-stack: $(VENV)/.run ## members side by side beside one member; writes docs/performance.md
	$(BIN)/python benchmarks/stack.py

bench-starts: $(VENV)/.run ## how long the program takes to start; writes docs/performance.md
	$(BIN)/python benchmarks/starts.py

bench-scaling: $(VENV)/.dev ## time and memory against members, pixels, images, workers; writes docs/performance.md
	$(BIN)/python benchmarks/scaling.py

bench-whole: $(VENV)/.run ## comparisons with their report, DATA=folder with MNIST; writes docs/performance.md
	$(BIN)/python benchmarks/whole.py $(if $(DATA),--data $(DATA))

bench-engines: $(VENV)/.dev ## what engines cost; writes docs/sweeps.md
	$(BIN)/python benchmarks/engines.py --write docs/sweeps.md

bench-advice: $(VENV)/.run ## how good the advice is, DATA=folder of sets; writes docs/advice.md
	$(BIN)/python benchmarks/advice.py --data $(or $(DATA),data) && $(BIN)/python benchmarks/advice.py --write

bench-large: $(VENV)/.run ## memory and time on 20 GB and 100,000 pictures, made for it; writes docs/performance.md
	$(BIN)/python benchmarks/large.py

bench-likelihoods: $(VENV)/.run ## losses in bits per pixel on each set, DATA=folder of sets; writes docs/likelihoods.md
	$(BIN)/python benchmarks/likelihoods.py --data $(or $(DATA),data)

bench-calibrate: $(VENV)/.run ## a step with --calibrate over a plain one, DATA=folder of MNIST
	$(BIN)/python benchmarks/calibrate.py --data $(or $(DATA),data/mnist)

accuracy: $(VENV)/.dev ## error of every loss in every target, in ulp; writes docs/accuracy.md
	$(BIN)/python benchmarks/accuracy.py

clean: ## remove the environment and caches
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis
