# chromaseal: `make` tells what there is; `make demo` and `make test` set up all they need.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# A test server whose pins do not go with ours has an environment of its own.
MINISTACK := .venv-ministack
MINISTACK_STAMP := $(MINISTACK)/.installed

.DEFAULT_GOAL := help
.PHONY: help setup demo test tests shared tests-alone check style types format lock test-whole test-receipts bench-receipts test-replicate test-kills bench-layers bench-latency bench-batch bench-crowd costs image soak bench-verify bench-damage corpus simulate simulate-planted clean

help: ## what there is
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1	\2/' | expand -t 24

$(STAMP): locks/requirements.lock pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing the pinned packages into $(VENV) ..."
	@$(BIN)/python -m pip install --disable-pip-version-check --quiet --require-hashes -r locks/requirements.lock
	@$(BIN)/python -m pip install --disable-pip-version-check --quiet --no-deps --no-build-isolation -e .
	@touch $@

$(MINISTACK_STAMP): locks/ministack.lock
	@test -x $(MINISTACK)/bin/python || $(PYTHON) -m venv $(MINISTACK)
	@echo "installing the pinned packages into $(MINISTACK) ..."
	@$(MINISTACK)/bin/python -m pip install --disable-pip-version-check --quiet --require-hashes -r locks/ministack.lock
	@touch $@

setup: $(STAMP) $(MINISTACK_STAMP) ## make .venv and .venv-ministack with everything pinned in locks/
	@echo "chromaseal is $(BIN)/chromaseal; \". $(BIN)/activate\" lets a shell find it without the path"

demo: $(STAMP) ## render sample receipts, ingest them, search them
	@$(BIN)/python -m bench.demo

test: setup style ## every check: format, lint, types, import contracts, tests
	@$(MAKE) --no-print-directory tests
	@$(MAKE) --no-print-directory tests-alone

# One process more than the two processors that make test is meant for, because tests also wait: for disks, servers, time.
tests: $(STAMP)
	@echo "types and contracts, and the tests by three processes, side by side ..."
	@$(MAKE) --no-print-directory --jobs=2 --output-sync=line types shared

shared: $(STAMP)
	@$(BIN)/python -m pytest --numprocesses=3 --dist=loadgroup --no-loadscope-reorder -m "not alone"

# What has two processes of its own, or says how long something takes.
tests-alone: $(STAMP)
	@$(BIN)/python -m pytest -s -m alone

check: style types ## format, lint, types and import contracts only

style: $(STAMP)
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/ruff check --quiet .

types: $(STAMP)
	@$(BIN)/mypy
	@PYTHONPATH=. $(BIN)/lint-imports --no-logo

format: $(STAMP) ## format and mend what a linter can
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

lock: $(STAMP) ## pin the newest allowed versions again
	@$(BIN)/python locks/lock.py

test-whole: $(STAMP) ## the slow tests with all their cases, of which make test runs a part: takes hours
	@CHROMASEAL_WHOLE=1 $(BIN)/python -m pytest -s -m slow

test-receipts: $(STAMP) ## the tests over real receipts with all of them, not a part
	@CHROMASEAL_WHOLE=1 $(BIN)/python -m pytest -m slow tests/integration/test_real_receipts.py tests/receipts

bench-receipts: $(STAMP) ## accuracy and seconds per step over ../shared/receipts
	@$(BIN)/python -m bench.receipts

test-replicate: $(STAMP) ## 500 publishes of a directory that an application keeps writing
	@CHROMASEAL_PUBLISHES=500 $(BIN)/python -m pytest -s -m slow tests/integration/test_replicate.py
	@CHROMASEAL_LIVE_COPIES=500 $(BIN)/python -m pytest -s -m slow tests/integration/test_live_copies.py

test-kills: $(STAMP) ## 100 kills of an ingest
	@CHROMASEAL_KILLS=100 $(BIN)/python -m pytest -s -m slow tests/faults/test_killed_ingest.py

bench-layers: $(STAMP) ## publishing and fetching versions, beside restic, rclone and boto3
	@$(BIN)/python -m bench.layers

bench-latency: $(STAMP) ## from a run being written to a reader having it, step by step
	@$(BIN)/python -m bench.latency

bench-batch: $(STAMP) ## many waiting runs in one version, beside ChromaDB alone
	@$(BIN)/python -m bench.batch

bench-crowd: $(STAMP) ## 32 processes that publish to one collection at once
	@$(BIN)/python -m bench.crowd

image: setup ## build the functions' image with docker or buildah, measure it, and run every function in it
	@$(BIN)/python -m bench.image

costs: setup ## what a receipt costs on AWS, counted in the emulator, and its page in docs/
	@$(BIN)/python -m bench.costs

soak: $(STAMP) ## a fleet on real servers that is killed, stopped and restarted for 10 minutes, or SECONDS
	@$(BIN)/python -m bench.soak --seconds $(or $(SECONDS),600)

simulate: $(STAMP) ## new seeds of the simulation until stopped, or for SECONDS
	@SECONDS_TO_SIMULATE=$(or $(SECONDS),inf) $(BIN)/python -m chromaseal.testing.simulation

simulate-planted: $(STAMP) ## which planted mistakes the simulation finds, and their page in docs/
	@$(BIN)/python docs/generate_simulation.py

corpus: $(STAMP) ## the whole corruption corpus, and its page in docs/
	@PYTHONPATH=. $(BIN)/python docs/generate_corpus.py

bench-verify: $(STAMP) ## what each level of verification takes
	@$(BIN)/python -m bench.verify

bench-damage: $(STAMP) ## the corpus beside chromadb-ops and chroma vacuum, and its page in docs/
	@$(BIN)/python -m bench.peers_on_damage

clean: ## remove what was built, and both environments
	rm -rf $(VENV) $(MINISTACK) demo build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
