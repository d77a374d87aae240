# The commands of the course. Each sets up what it needs first; nothing but Python 3.10 or newer is assumed.
PYTHON ?= python3
BIN := .venv/bin
# TORCH_BACKEND=cpu (or auto, cu128, ...) asks uv for another build of torch than the package index has; the CPU build saves 4 GB.
TORCH_BACKEND ?=
BACKEND_FLAG := $(if $(TORCH_BACKEND),--torch-backend=$(TORCH_BACKEND),)
# With the exact torch of constraints.txt a chosen backend may not exist, so the pin of torch is left to uv then.
PINS := $(if $(TORCH_BACKEND),.venv/pins.txt,constraints.txt)

# What `make floors` and `make colab` run: each room once, and two notebooks.
SMOKE := tests/base tests/data tests/models/test_models.py tests/metrics/test_metrics_distribution.py \
	tests/plotting/test_plotting.py tests/training tests/widgets/test_widgets.py tests/cli/test_cli.py \
	tests/homework/test_homework_schema.py tests/homework/test_homework_student.py \
	notebooks/00_start_here.ipynb notebooks/04_vae_on_digits.ipynb
# A version that uv finds or fetches, or the path of an interpreter.
FLOORS_PYTHON ?= 3.10
COLAB_PYTHON ?= 3.13

export COURSE_DATASET ?= strokes

.PHONY: help setup browser course test floors colab lab notebooks pretrained constraints clean

help:
	@echo "make course      run every notebook on the embedded data, write browsable pages to build/course/"
	@echo "make test        run every test, every notebook among them"
	@echo "make floors      run a smoke suite with the oldest packages that pyproject.toml allows (5 GB in build/floors)"
	@echo "make colab       a simulated Google Colab with its packages: sessions, notebooks whole, the smoke suite (5 GB in build/colab)"
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

# One process a core with one thread each; a file's tests stay together, because a notebook is one file. Files come in the order of
# collection: ordered by their number of tests, the longest ones (few tests, whole notebooks each) would come last, on one core.
test: setup browser
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder

# A headless Chromium opens pages in the tests, and prints the cheat sheet. Where none can be installed those tests are skipped, and say why.
browser: setup
	@$(BIN)/python tools/browser.py \
	|| { [ "$$(id -u)" = 0 ] && apt-get update -qq && xargs apt-get install -y -qq --no-install-recommends < tests/debian-packages.txt; } \
	|| echo "no Chromium here: the tests that open pages in a browser are skipped (Debian: see tests/debian-packages.txt)"

floors: setup
	$(BIN)/uv venv --clear --python $(FLOORS_PYTHON) build/floors
	$(BIN)/uv pip install --python build/floors/bin/python --resolution lowest-direct $(BACKEND_FLAG) --editable '.[test]'
	OMP_NUM_THREADS=1 build/floors/bin/python -m pytest $(SMOKE)

# First without the course and with nothing but what Colab has, so that the first cell has to clone and to install; then
# the smoke suite.
colab: setup
	$(BIN)/uv venv --clear --python $(COLAB_PYTHON) build/colab
	$(BIN)/uv pip install --python build/colab/bin/python $(BACKEND_FLAG) --requirement tests/colab-packages.txt
	COURSE_COLAB_PYTHON=build/colab/bin/python $(BIN)/python -m pytest tests/course/test_colab.py
	$(BIN)/uv pip install --python build/colab/bin/python $(BACKEND_FLAG) --constraint tests/colab-packages.txt --editable '.[test]'
	OMP_NUM_THREADS=1 build/colab/bin/python -m pytest $(SMOKE)

lab: setup
	$(BIN)/course lab

notebooks: setup
	$(BIN)/course run-notebooks --out build/course --refresh

pretrained: setup
	$(BIN)/python benchmarks/train_pretrained.py
	$(BIN)/python benchmarks/train_reader.py

constraints:
	$(BIN)/uv pip compile --universal --python-version 3.10 --all-extras --no-header --no-annotate pyproject.toml --output-file constraints.txt

clean:
	rm -rf .venv build runs data/cache
