# `make` alone lists the chores. Two of them are all a newcomer needs: `make demo` and `make test`.
#
#   PYTHON=python3.12      the interpreter .venv is made from (3.11 or newer)
#   VENV=.venv             where it is made
#   CARGO_TARGET_DIR=…     where Rust builds, if several clones should share what is compiled
#   CONFIG=… PURCHASES=…   the configuration of the orders-* and the run-* chores
#   WORKERS=6              processes the Python tests are shared among; 0 for one, with a debugger
#   KILLS=200 DURATION=…   when the torture ends: after so many kills, or so many seconds; ROWS=… rows at least
#   SEED=…                 the plan it plays; TORTURE="--json FILE …" more options, TORTURE=--help lists them
#   BENCH="--rounds 3 …"   options of the benchmark; BENCH=--help lists them

PYTHON ?= python3
VENV ?= .venv
TARGET := $(or $(CARGO_TARGET_DIR),target)
CONFIG ?= configs/orders_stream.yml
PURCHASES ?= configs/purchases.yml
# More than processors, here and for the Rust tests: most tests wait for a service most of the time.
WORKERS ?= 6
export RUST_TEST_THREADS ?= 4
# A process that dies takes the run with it: replaced, it may leave the others waiting for ever.
PYTEST = "$(BIN)/pytest" -n $(WORKERS) --max-worker-restart 0

BIN := $(abspath $(VENV))/bin
# Apart from .venv: it holds what foodstream is compared with, and a release build.
BENCH_VENV ?= .venv-bench
BENCH_BIN := $(abspath $(BENCH_VENV))/bin
BENCH ?=
# An interpreter switched on in the shell must not decide where things go; maturin and pyo3 both look at this.
export VIRTUAL_ENV := $(abspath $(VENV))
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# Python compiles a module when it is first imported, and most of them never are.
export PIP_COMPILE := 0
# Cargo uses every processor, whatever jobs make was given.
export CARGO_MAKEFLAGS :=

# pyo3 is compiled anew whenever one of these differs from the last time, so clippy must say what maturin says.
PYO3 = PYO3_BUILD_EXTENSION_MODULE=1 PYO3_PYTHON="$(BIN)/python" PYTHON_SYS_EXECUTABLE="$(BIN)/python" \
	PYO3_CONFIG_FILE="$$(ls -t "$(abspath $(TARGET))"/maturin/pyo3-config-*.txt | head -n 1)" \
	PYO3_ENVIRONMENT_SIGNATURE="$$("$(BIN)/python" -c 'import struct, sys; \
	print("cpython-%d.%d-%dbit" % (*sys.version_info[:2], struct.calcsize("P") * 8))')"

# OpenSSL alone is a third of what is compiled for the demo. Where the system's can be compiled against, demo and tests
# take that; what is built to be used (`make wheel`, pip) holds its own.
DEV := $(shell pkg-config --atleast-version=3 openssl 2>/dev/null && echo OPENSSL_NO_VENDOR=1)

# Of pyproject.toml, a line each.
requirements = $(BIN)/python -c 'import tomllib; project = tomllib.load(open("pyproject.toml", "rb")); \
	extras = project["project"]["optional-dependencies"]; print(*$(1), sep="\n")'

.DEFAULT_GOAL := help
.PHONY: help demo demo-purchases test compile-tests test-rust test-python torture bench bench-stages docs docs-site lint pyright format \
	deny coverage build wheel sdist clean toolchain \
	orders-producer orders-consumer up down setup-env install quickstart start-kafka stop-kafka run-producer \
	run-consumer

help: ## list the chores
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

demo: $(VENV)/.tools ## the whole walk on a real PostgreSQL and Kafka, about a minute; leaves nothing behind
	@$(MAKE) --no-print-directory --jobs 2 $(VENV)/.fetched build
	@$(BIN)/foodstream demo

demo-purchases: build ## a thousand purchase events in three batches, totals checked; leaves nothing behind
	@$(BIN)/foodstream purchases demo

# Compiled first: what is tested beside the compiler waits for it. The tests' compiler runs beside what waits for the
# network; the extension's comes after both, as it needs the one and reuses what the other has compiled.
test: ## Rust tests and Python tests, on real services
	@$(MAKE) --no-print-directory --jobs 2 $(VENV)/.installed $(VENV)/.fetched compile-tests
	@$(MAKE) --no-print-directory build
	$(DEV) $(BIN)/python tests/with_services.py -- $(BIN)/python tests/side_by_side.py -- \
		cargo test --locked -- $(PYTEST)

compile-tests: | toolchain
	$(DEV) cargo test --locked --no-run

test-rust: $(VENV)/.tools ## only the Rust tests
	$(DEV) $(BIN)/python tests/with_services.py -- cargo test --locked

test-python: build $(VENV)/.installed ## only the Python tests
	$(BIN)/python tests/with_services.py -- $(PYTEST)

torture: build $(VENV)/.installed ## kills and every other fault under load, then the proof; a ledger (KILLS=200, DURATION=, SEED=)
	@PYTHONPATH=tests $(BIN)/python -m torture $(if $(SEED),--seed $(SEED)) $(if $(KILLS),--kills $(KILLS)) \
		$(if $(DURATION),--duration $(DURATION)) $(if $(ROWS),--rows $(ROWS)) $(TORTURE)

bench: $(BENCH_VENV)/.built ## foodstream beside PySpark, polars, psycopg, Debezium, kcat (BENCH="--rounds 3 --kind narrow")
	@PYTHONPATH=benches $(BENCH_BIN)/python -m compare $(BENCH)

bench-stages: | toolchain ## how long each stage takes, by row (criterion)
	cargo bench --locked --package foodstream-stages

# clippy after the build, since it reuses what the build has compiled; both feature sets, as some code is in one only.
lint: build $(VENV)/.installed ## formatting, clippy, ruff, mypy, and cargo deny if it is installed
	cargo fmt --all --check
	$(DEV) cargo clippy --locked --workspace --all-targets -- -D warnings
	@echo cargo clippy --locked --lib --features python,failpoints -- -D warnings
	@$(DEV) $(PYO3) cargo clippy --locked --lib --features python,failpoints -- -D warnings
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy tests/python examples/*.py docs/*.py
	@if command -v cargo-deny >/dev/null; then cargo deny --locked check bans licenses sources; \
	else echo 'cargo deny is not installed; its bans and licences are also checked by tests/python/test_packaging.py'; fi

# Advisories only here: they come from the network, and a new one must not fail the tests of unchanged code.
deny: ## licences, advisories, one Arrow (cargo install --locked cargo-deny)
	cargo deny --locked check

# Apart from lint: it takes half a minute of a core, and brings a Node of its own.
pyright: build $(VENV)/.installed ## types once more, with pyright (basedpyright, which is installed when first asked for)
	@test -x $(BIN)/basedpyright || $(BIN)/pip install --quiet 'basedpyright>=1.40,<2'
	$(BIN)/basedpyright

format: $(VENV)/.installed ## format all code
	cargo fmt --all
	$(BIN)/ruff check --fix-only --quiet .
	$(BIN)/ruff format .

coverage: $(VENV)/.tools ## lines the Rust tests reach (cargo install cargo-llvm-cov)
	$(DEV) $(BIN)/python tests/with_services.py -- cargo llvm-cov --locked

docs: build ## write the pages of docs/ that are made from the stub and the schema
	$(BIN)/python docs/generate.py

docs-site: $(VENV)/.installed ## docs/ as a site in dist/site; a link that leads nowhere fails
	$(BIN)/mkdocs build --strict --quiet --site-dir dist/site

build: $(VENV)/.built ## .venv with foodstream in it, not optimised (`make wheel` is)

wheel: $(VENV)/.tools ## a release wheel in dist/, for any Linux with a C library as old as this one's needs
	$(BIN)/maturin build --release --out dist

sdist: $(VENV)/.tools ## the sources in dist/, as pip builds them
	$(BIN)/maturin sdist --out dist

up: build ## PostgreSQL and Kafka on this machine, until `make down`
	@$(BIN)/foodstream local up

down: build ## stop them; the data stays
	@$(BIN)/foodstream local down

orders-producer: build ## publish orders until Ctrl-C (CONFIG=file)
	@$(BIN)/foodstream producer --config $(CONFIG)

orders-consumer: build ## write orders to the lake until Ctrl-C (CONFIG=file)
	@$(BIN)/foodstream consumer --config $(CONFIG)

setup-env: $(VENV)/.installed ## .venv with the tools, without foodstream

install: build ## the same as build

quickstart: build ## check what the purchase pipeline needs (PURCHASES=file)
	@$(BIN)/foodstream purchases check --config $(PURCHASES)

start-kafka: up ## the same as up

stop-kafka: down ## the same as down

run-producer: build ## generate purchase events until Ctrl-C (PURCHASES=file)
	@$(BIN)/foodstream purchases produce --config $(PURCHASES)

run-consumer: build ## stream purchase totals until Ctrl-C (PURCHASES=file)
	@$(BIN)/foodstream purchases run --config $(PURCHASES)

# The data of a local stack and the lake stay: `foodstream local reset` deletes the one, nobody the other.
clean: ## delete what was built here
	rm -rf $(VENV) $(BENCH_VENV) target dist python/foodstream/_core.*.so .mypy_cache .pytest_cache .ruff_cache
	find python tests scripts benches -name __pycache__ -type d -prune -exec rm -rf {} +

# Everything that is missing in one go, with what it is for.
toolchain:
	@missing=; need() { command -v "$$1" >/dev/null || { echo "missing: $$1, $$2" >&2; missing=1; }; }; \
	need cargo 'the Rust toolchain, 1.95 or newer'; \
	need cc 'a C compiler, for librdkafka'; \
	need make 'GNU make, for librdkafka'; \
	need perl 'for the OpenSSL inside librdkafka'; \
	"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
		{ echo 'missing: Python 3.11 or newer; name one with PYTHON=' >&2; missing=1; }; \
	"$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null || \
		{ echo 'missing: the venv module of Python (package python3-venv on Debian)' >&2; missing=1; }; \
	test -z "$$missing"

# What builds foodstream and runs it beside real services, without the package itself, which maturin builds.
$(VENV)/.tools: pyproject.toml | toolchain
	@test -x $(BIN)/python || "$(PYTHON)" -m venv $(VENV)
	@$(call requirements,project["build-system"]["requires"] + extras["local"]) > $(VENV)/tools.txt
	$(BIN)/pip install --quiet --requirement $(VENV)/tools.txt
	@touch $@

# Kafka itself, which is no package. Where it cannot be had now, whoever needs it first says why.
$(VENV)/.fetched: $(VENV)/.tools
	@PYTHONPATH=python $(BIN)/python -c 'from foodstream._stack import runtime; runtime.kafka_jars()' 2>/dev/null || :
	@touch $@

# All extras: what tests it, and what the chores of work on the code need.
$(VENV)/.installed: $(VENV)/.tools
	@$(call requirements,[each for extra in extras.values() for each in extra]) > $(VENV)/requirements.txt
	$(BIN)/pip install --quiet --requirement $(VENV)/requirements.txt
	@touch $@

# With the dev profile, the one of `cargo test`, so that the dependencies are compiled once for both; and with the
# failpoints, at which the fault harness kills it: a build of their own would cost as much again. `make wheel` has none.
$(VENV)/.built: $(VENV)/.tools Cargo.toml Cargo.lock $(shell find src -type f 2>/dev/null)
	$(DEV) $(BIN)/maturin develop --quiet --features python,failpoints
	@touch $@

$(BENCH_VENV)/.installed: benches/compare/requirements.txt | toolchain
	@test -x $(BENCH_BIN)/python || "$(PYTHON)" -m venv $(BENCH_VENV)
	$(BENCH_BIN)/pip install --quiet 'maturin>=1.16,<2'
	PYTHONPATH=benches $(BENCH_BIN)/python -m compare.packages benches/compare/requirements.txt
	@touch $@

# The second installation is for a wheel of a version that is there already, which pip would leave alone.
$(BENCH_VENV)/.built: $(BENCH_VENV)/.installed Cargo.toml Cargo.lock pyproject.toml $(shell find src -type f) $(shell find python -name '*.py')
	@rm -rf $(BENCH_VENV)/wheel
	VIRTUAL_ENV=$(abspath $(BENCH_VENV)) $(BENCH_BIN)/maturin build --quiet --release --out $(BENCH_VENV)/wheel
	$(BENCH_BIN)/pip install --quiet "$$(ls $(BENCH_VENV)/wheel/*.whl)[local]"
	$(BENCH_BIN)/pip install --quiet --force-reinstall --no-deps $(BENCH_VENV)/wheel/*.whl
	@touch $@
