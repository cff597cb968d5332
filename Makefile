# Everything happens in .venv, which is made from pyproject.toml and made anew when that changes.
#   make PYTHON=python3.12 ...         another Python to run slimpack with (3.11 or newer)
#   make RUNTIME=python3.13 ...        another Lambda runtime to build the examples for

PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input
READY := .venv/.installed

# The first use replaces the variable by its value. A recipe is read after its prerequisites are made, so .venv is there.
RUNTIME ?= $(eval RUNTIME := $$(shell $(BIN)/python examples/runtime.py))$(RUNTIME)
# TensorFlow has wheels for these; the figures in the README are those of the first.
TENSORFLOW_RUNTIME ?= $(eval TENSORFLOW_RUNTIME := $$(shell $(BIN)/python examples/runtime.py python3.12 python3.13 python3.11))$(TENSORFLOW_RUNTIME)

PAGER := slimpack/pager
PAGER_OUTPUT ?= $(PAGER)
ZSTD := build/zstd
# Nothing of where and when it is built gets into the file: tests/test_pager.py compares it with the one in the tree.
PAGER_FLAGS := -std=c11 -O2 -g0 -fPIC -shared -fvisibility=hidden -ffunction-sections -fdata-sections \
  -fno-stack-protector -fno-sanitize=all -Wall -Wextra -Werror -isystem $(ZSTD) \
  -DZSTD_DISABLE_ASM=1 -DZSTD_TRACE=0 -DZSTDLIB_VISIBLE= -DZSTDERRORLIB_VISIBLE= -DZDICTLIB_VISIBLE= \
  -Wl,--gc-sections -Wl,-z,now -Wl,-z,relro -Wl,-z,nodelete -Wl,--version-script=$(PAGER)/exports.map -Wl,-soname,libslimpager.so.1 -s

# Debian systems with glibc 2.31, 2.36 and 2.41, for tests/test_glibc.py: unpacked only, nothing of them is installed.
ROOTS := $(addprefix build/roots/,bullseye-amd64 bookworm-amd64 trixie-amd64 bookworm-arm64)
AS_ROOT := $(if $(filter-out 0,$(shell id -u)),unshare --map-root-user)
# A process that insists on shadow stacks or on marked branch targets loads nothing that is not made for them.
PAGER_FLAGS_x86_64 := -fcf-protection=full
PAGER_FLAGS_aarch64 := -mbranch-protection=standard

# What fuzzing finds is kept in build/fuzz; what is worth keeping for good goes to tests/fuzz/corpus.
FUZZ := build/fuzz
FUZZ_SECONDS ?= 60
CLANG ?= clang
# Asking the processor what it can do, for each block, is slow in a virtual machine; so is tracing all comparisons.
FUZZ_FLAGS := -g -O2 -DDYNAMIC_BMI2=0 -DZSTD_DISABLE_ASM=1 -DZSTD_TRACE=0 -isystem $(ZSTD)

IRIS := examples/iris-knn
IRIS_MODEL := $(IRIS)/app/model.json
IRIS_RUN := --handler app.handler --event $(IRIS)/event.json --expect $(IRIS)/expected.json
DIGITS := examples/tensorflow-mnist
DIGITS_MODEL := $(DIGITS)/app/model.keras
DIGITS_RUN := --handler app.handler --event $(DIGITS)/event.json --expect $(DIGITS)/expected.json

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help pager fuzz roots demo demo-tensorflow models test test-quick test-suites test-all lint bench docs native wheel clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-16s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

roots: $(ROOTS) ## Unpack Debian systems of several releases, to run packed libraries in; needs debootstrap

$(ROOTS): build/roots/%:
	rm -rf $@.debs $@.part && mkdir -p $@.part
	$(AS_ROOT) debootstrap --download-only --variant=minbase --include=python3,libstdc++6 \
	  --arch=$(lastword $(subst -, ,$*)) $(firstword $(subst -, ,$*)) $(abspath $@.debs)
	for package in $@.debs/var/cache/apt/archives/*.deb; do dpkg-deb --extract $$package $@.part || exit 1; done
	rm -rf $@.debs && mv $@.part $@

demo: $(READY) $(IRIS_MODEL) ## Build the scikit-learn example, show its report, run its handler from the zip
	$(BIN)/slimpack build $(IRIS)/requirements.txt --source $(IRIS)/app --runtime $(RUNTIME) --output dist/iris-knn.zip \
	  $(IRIS_RUN)
	$(BIN)/slimpack invoke dist/iris-knn.zip $(IRIS_RUN)

demo-tensorflow: $(READY) $(DIGITS_MODEL) ## The same with TensorFlow, which fits since its libraries are packed
	$(BIN)/slimpack build $(DIGITS)/requirements.txt --source $(DIGITS)/app --runtime $(TENSORFLOW_RUNTIME) \
	  --output dist/tensorflow-mnist.zip $(DIGITS_RUN)
	$(BIN)/slimpack invoke dist/tensorflow-mnist.zip $(DIGITS_RUN)

models: $(IRIS_MODEL) $(DIGITS_MODEL) ## Train the models of the examples

$(IRIS_MODEL): $(IRIS)/train.py $(IRIS)/requirements.txt examples/prepare.py | $(READY)
	$(BIN)/python examples/prepare.py iris-knn --runtime $(RUNTIME)

$(DIGITS_MODEL): $(DIGITS)/train.py $(DIGITS)/requirements.txt $(DIGITS)/requirements-train.txt examples/prepare.py | $(READY)
	$(BIN)/python examples/prepare.py tensorflow-mnist --runtime $(TENSORFLOW_RUNTIME)

test: $(READY) models ## Run the tests, real builds of both examples included
	$(BIN)/pytest -m "not heavy"
	$(BIN)/pytest -m "heavy and not suites" tests/test_examples.py

test-quick: $(READY) ## Run the tests that need no network
	$(BIN)/pytest -m "not network and not heavy"

test-suites: $(READY) ## Run other packages' test suites with their libraries and modules packed, and real handlers; takes hours
	$(BIN)/pytest -m suites --log-cli-level info

test-all: $(READY) models ## Run all tests; downloads gigabytes
	$(BIN)/pytest

pager: $(READY) $(ZSTD)/zstd.c ## Build the pager for both architectures; needs the package index, no compiler
	@mkdir -p $(PAGER_OUTPUT)
	$(foreach machine,x86_64 aarch64, \
	  $(BIN)/python -m ziglang cc -target $(machine)-linux-gnu.2.17 $(PAGER_FLAGS) $(PAGER_FLAGS_$(machine)) \
	    -o $(PAGER_OUTPUT)/libslimpager-$(machine).so.1 $(PAGER)/pager.c $(PAGER)/memory.c $(ZSTD)/zstd.c &&) true

$(ZSTD)/zstd.c: $(PAGER)/zstd.txt | $(READY)
	rm -rf $(ZSTD) && mkdir -p $(ZSTD)
	$(PIP) download --quiet --require-hashes --no-deps --no-binary zstandard --dest $(ZSTD) --requirement $<
	tar --extract --gzip --file $(ZSTD)/zstandard-*.tar.gz --directory $(ZSTD) --strip-components 2 --wildcards '*/zstd/*'
	touch $@

fuzz: $(READY) $(FUZZ)/pager $(FUZZ)/atheris ## Fuzz the pager and the readers of ELF files, each FUZZ_SECONDS; needs clang
	mkdir -p $(addprefix $(FUZZ)/corpus/,pager plain packed pruned)
	$(FUZZ)/pager $(FUZZ)/corpus/pager tests/fuzz/corpus/pager \
	  -max_total_time=$(FUZZ_SECONDS) -max_len=512 -artifact_prefix=$(FUZZ)/pager-
	for target in plain packed pruned; do \
	  PYTHONPATH=$(FUZZ)/atheris:tests $(BIN)/python tests/fuzz/run.py $$target $(FUZZ)/corpus/$$target tests/fuzz/corpus/$$target \
	    -max_total_time=$(FUZZ_SECONDS) -max_len=6000 -timeout=20 -artifact_prefix=$(FUZZ)/$$target- || exit 1; \
	done

$(FUZZ)/pager: tests/fuzz/pager.c $(wildcard $(PAGER)/*.[ch]) $(FUZZ)/zstd.o
	$(CLANG) $(FUZZ_FLAGS) -fsanitize=address,undefined,fuzzer -fno-sanitize-coverage=trace-cmp \
	  -fno-sanitize-recover=undefined -o $@ $< $(FUZZ)/zstd.o

$(FUZZ)/zstd.o: $(ZSTD)/zstd.c
	@command -v $(CLANG) >/dev/null || { \
	  echo "make fuzz needs clang and its sanitizers (Debian: clang, libclang-rt-dev). Name one: make CLANG=clang-19 fuzz" >&2; \
	  exit 1; }
	@mkdir -p $(FUZZ)
	$(CLANG) $(FUZZ_FLAGS) -fsanitize=address,fuzzer-no-link -c -o $@ $<

$(FUZZ)/atheris: | $(READY)
	$(PIP) install --quiet --target $@ "atheris>=3.0,<4"

lint: $(READY) ## Check style, types and the layering of the modules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(READY) models ## Measure builds beside pip, strip and zip, cold starts beside a plain install, packed libraries beside plain ones, and expected starts beside real ones
	$(BIN)/python benchmarks/build.py
	$(BIN)/python benchmarks/start.py
	$(BIN)/python benchmarks/pack.py
	$(BIN)/python benchmarks/fit.py

docs: $(READY) ## Write the help of the program and the schema of manifests into docs/
	$(BIN)/python docs/generate.py

native: $(READY) ## Compile what is native, for both processors; the result is part of the tree
	$(BIN)/python -m slimpack.runtime.native.build

wheel: $(READY) ## Build slimpack's own wheel into dist/
	$(PIP) wheel --quiet --no-deps --wheel-dir dist .

clean: ## Remove what these targets have made
	rm -rf .venv dist build examples/*/build $(IRIS_MODEL) $(DIGITS_MODEL) $(DIGITS)/app/digits.png
	rm -rf .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "slimpack needs Python 3.11 or newer, and $(PYTHON) is not. Name one: make PYTHON=python3.12" >&2; exit 1; }
	@echo "Making .venv"
	@$(PYTHON) -m venv .venv
	@$(PIP) install --quiet --upgrade pip  # an old one knows no --group
	@$(PIP) install --quiet --editable . --group dev
	@touch $@
