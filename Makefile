# The commands of the course. Each sets up what it needs first; nothing but Python 3.10 or newer is assumed.
PYTHON ?= python3
BIN := .venv/bin
# TORCH_BACKEND=cpu (or auto, cu128, ...) asks uv for another build of torch than the package index has; the CPU build saves 4 GB.
TORCH_BACKEND ?=
BACKEND_FLAG := $(if $(TORCH_BACKEND),--torch-backend=$(TORCH_BACKEND),)
# With the exact torch of constraints.txt a chosen backend may not exist, so the pin of torch is left to uv then.
PINS := $(if $(TORCH_BACKEND),.venv/pins.txt,constraints.txt)

export COURSE_DATASET ?= strokes

.PHONY: help setup browser course test lab notebooks pretrained constraints clean

help:
	@echo "make course      run every notebook on the embedded data, write browsable pages to build/course/"
	@echo "make test        run every test, every notebook among them"
	@echo "make lab         open the course in JupyterLab"
	@echo "make setup       only set up .venv"
	@echo "make notebooks   execute the notebooks and write their outputs back (authors)"
	@echo "make pretrained  train all shipped weights again (authors; COURSE_DATA must hold MNIST)"

setup: .venv/ready

.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "Python 3.10 or newer is needed, this is " + sys.version)'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	grep -vE '^(torch|torchvision|nvidia-|triton|cuda-)' constraints.txt > .venv/pins.txt
	$(BIN)/uv pip install --python $(BIN)/python --constraint $(PINS) $(BACKEND_FLAG) --editable '.[test]'
	touch $@

course: setup
	$(BIN)/course run-notebooks --out build/course

# One process a core with one thread each; a file's tests stay together, because a notebook is one file.
test: setup browser
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadfile

# A headless Chromium opens the homework's report in the tests. Where none can be installed those tests are skipped, and say why.
browser: setup
	@$(BIN)/python tests/browsers.py \
	|| { [ "$$(id -u)" = 0 ] && apt-get update -qq && xargs apt-get install -y -qq --no-install-recommends < tests/debian-packages.txt; } \
	|| echo "no Chromium here: the tests that open the report in a browser are skipped (Debian: see tests/debian-packages.txt)"

lab: setup
	$(BIN)/course lab

notebooks: setup
	$(BIN)/course run-notebooks --out build/course --refresh

pretrained: setup
	$(BIN)/python benchmarks/train_pretrained.py

constraints:
	$(BIN)/uv pip compile --universal --python-version 3.10 --all-extras --no-header --no-annotate pyproject.toml --output-file constraints.txt

clean:
	rm -rf .venv build runs data/cache
