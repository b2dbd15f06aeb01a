# make demo  sets everything up and shows a supervised call, without an account
# make test  sets everything up and passes every check
# make install  does the set-up alone, into .venv

VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: install demo test format lint types tests docs views clean

install: $(INSTALLED)

$(INSTALLED): pyproject.toml constraints.txt scripts/install.sh
	sh scripts/install.sh $(VENV)
	touch $@

demo: $(INSTALLED)
	$(BIN)/evi-mcp demo

test: $(INSTALLED)
	@$(MAKE) --no-print-directory lint types tests
	$(BIN)/evi-mcp demo

lint: $(INSTALLED)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/python scripts/gen_docs.py --check

types: $(INSTALLED)
	$(BIN)/mypy

tests: $(INSTALLED)
	rm -f .coverage .coverage.*
	$(BIN)/coverage run -m pytest
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

format: $(INSTALLED)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: $(INSTALLED)
	$(BIN)/python scripts/gen_docs.py

views: $(INSTALLED)
	$(BIN)/python scripts/measure_views.py

clean:
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis .coverage .coverage.* *.egg-info build dist
