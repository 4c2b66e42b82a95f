# Two commands on a fresh machine with python3 (3.11 to 3.13), python3-venv, git and make:
#   make demo   sets itself up and runs the main job on the embedded default model
#   make test   sets itself up and passes the tests
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
DEMO := demo
MODEL := $(DEMO)/artifacts/malaria-mobilenetv2-96

.PHONY: demo test lint types bench docs clean

$(VENV)/.ready: pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(None if (3, 11) <= v <= (3, 13) else "edge-sdk needs Python 3.11 to 3.13, this is %d.%d: set PYTHON=" % v)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable '.[convert,dev]'
	@touch $@

demo: $(VENV)/.ready
	rm -rf $(DEMO)
	$(BIN)/edge-sdk simulate $(DEMO)/cells --count 300
	$(BIN)/edge-sdk convert --to float32 --to int8 --to w4a8 --data $(DEMO)/cells --out $(DEMO)/artifacts
	$(BIN)/edge-sdk benchmark $(MODEL)-int8 --profile rpi4 --profile rpi5 --profile pixel3
	$(BIN)/edge-sdk classify $(MODEL)-int8 $(DEMO)/cells/Parasitized > $(DEMO)/parasitized.txt
	$(BIN)/edge-sdk classify $(MODEL)-int8 $(DEMO)/cells/Uninfected > $(DEMO)/uninfected.txt
	@head -n 3 $(DEMO)/parasitized.txt $(DEMO)/uninfected.txt

test: $(VENV)/.ready
	$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile

lint: $(VENV)/.ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.ready
	$(BIN)/mypy

bench: $(VENV)/.ready
	$(BIN)/python benchmarks/startup.py
	$(BIN)/python benchmarks/classifier_overhead.py
	$(BIN)/python benchmarks/convert_time.py

docs: $(VENV)/.ready
	$(BIN)/python tools/generate_docs.py

clean:
	rm -rf $(VENV) $(DEMO)
