# make demo: install, run the quickstart, compare it with the committed results.
# make test: install, lint, type-check, run the whole test suite.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
OVERRIDES ?=
DEMO := results/quickstart/fresh

.PHONY: demo test install lint clean

install: $(VENV)/.installed

$(VENV)/.created:
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(f"Python 3.11 or newer is needed, this is {v[0]}.{v[1]}; set PYTHON=python3.11") if v < (3, 11) else None'
	$(PYTHON) -m venv $(VENV)
	touch $@

$(VENV)/.installed: $(VENV)/.created pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	touch $@

$(VENV)/.installed-test: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[test,tensorboard,harness,ray]'
	touch $@

# The demo trains into a store of its own, so that it never reprints what is committed.
demo: install
	$(BIN)/ablate run recipes/quickstart.yaml $(OVERRIDES) --store .ablate/demo/store --results $(DEMO)
	@$(BIN)/ablate report $(DEMO) --against results/quickstart; test $$? -le 1  # 1 says that verdicts differ

lint: $(VENV)/.installed-test
	$(BIN)/ruff check ablate encoders tests
	$(BIN)/ruff format --check ablate encoders tests
	$(BIN)/mypy

test: lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --durations=15

clean:
	rm -rf $(VENV) .ablate build dist *.egg-info
