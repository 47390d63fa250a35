# Needs Python 3.10 or newer and make; everything else goes into .venv.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet --constraint constraints.txt
WORKERS ?= 2

.DEFAULT_GOAL := help
.PHONY: help demo test test-slow lint bench readme gold clean

help:
	@echo "make demo    summaries of ResNet-50, ViT-B/16 and Llama-3-8B from their configurations, without weights"
	@echo "make test    every test and doctest but those over whole zoos, which make test-slow runs"
	@echo "make lint    ruff, mypy --strict, import contracts"
	@echo "make bench   speed and memory beside their floors and the peers"
	@echo "make readme  write the example outputs in the READMEs anew"
	@echo "make gold    write the expected outputs of the text renderers anew, to be read before they are committed"

.venv/bin/python:
	$(PYTHON) -m venv .venv

# Each stamp says which part of the environment is up to date.
.venv/.torch: pyproject.toml constraints.txt | .venv/bin/python
	$(PIP) --editable '.[torch,hub,plot,html]'
	@touch $@

# The model zoos lie in a folder of their own, which tests/conftest.py adds, and without dependencies: torchvision's
# wheel is compiled for one build of torch, and transformers does not import beside one that fits another.
ZOO := torchvision timm pillow diffusers peft accelerate torchao \
       certifi charset_normalizer idna importlib_metadata psutil requests urllib3 zipp
.venv/.dev: .venv/.torch
	$(PIP) --editable '.[torch,hub,plot,html,dev]'
	$(PIP) --upgrade --no-deps --target .venv/zoo $(ZOO)
	@touch $@

# Pages are tested in the system's Chromium: playwright's own would be another download of its size.
.venv/.browser: .venv/.dev
	@command -v chromium chromium-browser google-chrome google-chrome-stable >/dev/null \
	  || { command -v apt-get >/dev/null && [ "$$(id -u)" = 0 ] && apt-get update -qq && apt-get install -y -qq chromium; } \
	  || { echo "make: no Chromium to test pages in; install the package chromium"; exit 1; }
	@touch $@

# The peers are compared with where they can be installed; a benchmark says which ones it found.
.venv/.peers: .venv/.dev
	-$(PIP) torchinfo
	-$(PIP) fvcore
	@touch $@

demo: .venv/.torch
	$(BIN)/numel summary examples/resnet-50 -i 'f32[1,3,224,224]' --depth 3
	$(BIN)/numel summary examples/vit-b-16 -i 'f32[1,3,224,224]' --depth 3
	$(BIN)/numel summary examples/llama-3-8b -i 'i64[1,512]' --depth 3

test: .venv/.browser
	$(BIN)/python -m pytest -q -n $(WORKERS) -m 'not slow'

test-slow: .venv/.dev
	$(BIN)/python -m pytest -q -n $(WORKERS) -m slow

lint: .venv/.dev
	$(BIN)/ruff check src tests benchmarks examples
	$(BIN)/mypy --strict src
	$(BIN)/lint-imports

bench: .venv/.peers
	@for script in benchmarks/bench_*.py; do echo "== $$script"; $(BIN)/python $$script || exit 1; done

readme: .venv/.dev
	NUMEL_GOLD=write $(BIN)/python -m pytest -q tests/docs -k readme

gold: .venv/.dev
	NUMEL_GOLD=write $(BIN)/python -m pytest -q tests/unit/test_gold.py

clean:
	rm -rf .venv build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
