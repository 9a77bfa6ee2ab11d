# Every verb of the project. `make` alone lists them.
PYTHON ?= python3
STUDY  ?= demo
ARGS   ?=
WORKERS ?= 2
BIN    := .venv/bin
READY  := .venv/.ready
REFEREE := .venv-referee/.ready
.DEFAULT_GOAL := help

.PHONY: help
help: ## list the verbs
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo '  STUDY=demo names another study, or its YAML file; ARGS="key=value --option" goes to the command'

.PHONY: setup
setup: $(READY) ## create .venv and install everything from requirements.lock

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; (3, 11) <= v <= (3, 13) or sys.exit("error: Python %d.%d found, expected 3.11 to 3.13; try: make PYTHON=python3.12 ..." % v)'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	VIRTUAL_ENV=.venv $(BIN)/uv pip install --quiet --compile-bytecode --require-hashes -r requirements.lock
	VIRTUAL_ENV=.venv $(BIN)/uv pip install --quiet --no-deps -e .
	touch $(READY)

.PHONY: demo
demo: $(READY) ## the whole way once, in minutes: icons, mixtures, CLIP, evaluation, report
	$(BIN)/clipgen sweep demo

.PHONY: test
test: $(READY) ## the default tests: no network, minutes
	$(BIN)/python -m pytest --numprocesses $(WORKERS) --dist loadfile --no-loadscope-reorder

.PHONY: test-slow
test-slow: $(READY) ## the tests that take longer
	$(BIN)/python -m pytest -m slow --numprocesses $(WORKERS) --maxschedchunk 1 --durations 20

.PHONY: test-dist
test-dist: $(READY) ## the tests in several processes that train one model
	$(BIN)/python -m pytest -m dist

.PHONY: test-gpu
test-gpu: $(READY) ## the tests that need a CUDA device
	$(BIN)/python -m pytest -m gpu

.PHONY: test-slurm
test-slurm: $(READY) ## the tests on a Slurm cluster, started here (Debian: slurm-wlm, munge; root)
	$(BIN)/python tests/slurm/packages.py
	$(BIN)/python -m pytest -m slurm $(or $(ARGS),tests/slurm)

.PHONY: test-browser
test-browser: $(READY) ## open the report in headless Chromium (Debian: chromium, chromium-driver)
	$(BIN)/python -m pytest -m browser

.PHONY: referee
referee: $(REFEREE) ## CLIP_benchmark scores exported models: do its numbers equal ours?
	STUDY=$(STUDY) $(BIN)/python -m pytest -m referee tests/referee

$(REFEREE): $(READY) tests/referee/requirements.txt tests/referee/environment.py
	$(BIN)/python tests/referee/environment.py .venv-referee

.PHONY: test-all
test-all: test test-slow test-dist test-slurm test-gpu test-browser ## all tests that this machine can run

.PHONY: lint
lint: $(READY) ## format, lint and type check
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

.PHONY: format
format: $(READY) ## put all files in the project's format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

.PHONY: data
data: $(READY) ## build a dataset: make data DATASET=icons-small
	$(BIN)/clipgen dataset build $(or $(DATASET),icons-small) $(ARGS)

.PHONY: splits
splits: $(READY) ## write a study's mixtures, and a page for each
	$(BIN)/clipgen split build $(STUDY) $(ARGS)
	$(BIN)/clipgen split show $(STUDY) $(ARGS)

.PHONY: sweep
sweep: $(READY) ## a study from its dataset to its report: make sweep STUDY=demo, or a YAML file
	$(BIN)/clipgen sweep $(STUDY) $(ARGS)

.PHONY: status
status: $(READY) ## where a study stands
	$(BIN)/clipgen status $(STUDY) $(ARGS)

.PHONY: report
report: $(READY) ## write a study's report
	$(BIN)/clipgen report $(STUDY) $(ARGS)

.PHONY: sharing
sharing: $(READY) ## what domains share, layer by layer: the trained runs' analyses, and the report
	$(BIN)/clipgen analyze $(STUDY) $(ARGS) && $(BIN)/clipgen report $(STUDY) $(ARGS)

.PHONY: circuits
circuits: sharing ## which parts carry classes, and what changing them does: the same analyses and report

.PHONY: binding
binding: $(READY) ## which colour goes with which object: controlled models, and a CLIP and a CLIPPO on scenes
	$(BIN)/clipgen coverage small
	$(BIN)/clipgen sweep binding $(ARGS)

.PHONY: clippo
clippo: $(READY) ## one tower or two: a CLIPPO and a CLIP on the same mixtures, from dataset to report
	$(BIN)/clipgen sweep clippo $(ARGS)

.PHONY: bench
bench: $(READY) ## every speed claim, measured: benchmarks/results/ (minutes, some GB of disk)
	$(BIN)/python benchmarks/splits.py $(ARGS)
	$(BIN)/python benchmarks/table.py $(ARGS)
	$(BIN)/python benchmarks/train_vs_openclip.py $(ARGS)
	$(BIN)/python benchmarks/many_runs.py $(ARGS)
	$(BIN)/python benchmarks/sweep.py $(ARGS)
	$(BIN)/python benchmarks/similarity.py $(ARGS)
	$(BIN)/python benchmarks/attribution.py $(ARGS)
	$(BIN)/python benchmarks/binding_controls.py $(ARGS)

.PHONY: bench-gpu
bench-gpu: $(READY) ## the speed claims about a CUDA device
	$(BIN)/python benchmarks/train_vs_openclip.py --device cuda $(ARGS)
	$(BIN)/python benchmarks/many_runs.py --device cuda $(ARGS)

.PHONY: audit
audit: $(READY) ## look for leaks in a study's mixtures
	$(BIN)/clipgen split audit $(STUDY) $(ARGS)

.PHONY: lock
lock: $(READY) ## compile requirements.lock from pyproject.toml
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --extra dev --generate-hashes --no-emit-index-url --no-annotate --custom-compile-command 'make lock' -o requirements.lock pyproject.toml

.PHONY: clean
clean: ## remove the environment and caches; data/ and runs/ stay
	rm -rf .venv .venv-referee .mypy_cache .pytest_cache .ruff_cache .hypothesis *.egg-info
