# make demo  sets everything up and shows a supervised call, without an account
# make test  sets everything up and passes every check; of these, make tests is the tests of our own, and make foreign those
#            with Pipecat, LiveKit and the MCP clients of others, as far as they can be installed
# make install  does the set-up alone, into .venv
# make bots  installs Pipecat and LiveKit agents into .venv-bots, for tests with real bots (tests do it by themselves)
# make clients  installs foreign MCP clients into .venv-clients, for tests with them (tests do it by themselves)
# make bench-link  measures what supervision costs a bot
# make chaos  breaks 50 chats on purpose, then a hub with 200 bots, and counts what came of it (SEED=, CHATS=,
#             BOTS_AT_ONCE=, SECONDS=)
# make pressure  shows what a flood, and a client that stops reading, cost (SECONDS=)
# make fuzz  follows coverage to what breaks the decoder or the record (SECONDS=, SEED=)
# make soak  shows that nothing grows while 100 chats come and go (MINUTES=)
# make mutants  puts faults into the code and lists those that no test notices (FILES=, MINUTES=)
# make test-all  runs the tests on every Python that is installed, one with the lowest versions; make smoke some of them
# make lowest  writes constraints-lowest.txt anew, after a change of the versions in pyproject.toml
# make dist  builds a release into dist/ and tries it
# make bench  measures everything beside what one would use instead, in 10 minutes; make bench-quick the ratios that matter
# make evals  plays the simulated calls with a model as the supervisor, and scores it (OPENAI_BASE_URL, OPENAI_API_KEY,
#             EVALS_MODEL; CALLS=)
# make docs  writes the pages that are made from the code; make views measures what an agent reads

VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

SEED :=
CHATS := 50
BOTS_AT_ONCE := 200
SECONDS := 30
MINUTES := 10
CALLS :=
FILES :=
VERSIONS :=

.PHONY: install bots clients demo test foreign test-all smoke lowest format lint types tests chaos pressure soak fuzz mutants \
	docs views bench bench-quick bench-link evals dist clean

install: $(INSTALLED)

$(INSTALLED): pyproject.toml constraints.txt scripts/install.sh
	sh scripts/install.sh $(VENV)
	touch $@

# Other people's voice bots, which are heavy; the tests that need them are skipped where they cannot be installed.
BOTS := .venv-bots

bots: $(BOTS)/.installed

$(BOTS)/.installed: $(INSTALLED) scripts/install_bots.sh
	sh scripts/install_bots.sh $(BOTS)

# Other people's MCP clients, one environment for each list in tests/clients; skipped like the bots.
CLIENTS := .venv-clients

clients: $(INSTALLED)
	sh scripts/install_clients.sh $(CLIENTS) $(basename $(notdir $(wildcard tests/clients/*.txt)))

bench-link: $(BOTS)/.installed
	$(BOTS)/bin/python -m benchmarks.link

demo: $(INSTALLED)
	$(BIN)/evi-mcp demo

test: $(INSTALLED)
	@$(MAKE) --no-print-directory lint types tests foreign
	@echo "for information, whatever it says:"
	-$(BIN)/python -m benchmarks --quick

lint: $(INSTALLED)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/python scripts/gen_docs.py --check

types: $(INSTALLED)
	$(BIN)/mypy

# Two workers for each core, since most tests wait for something. Those marked `alone` measure, so they come after the
# others, one at a time.
WORKERS := $(shell expr 2 '*' $$(getconf _NPROCESSORS_ONLN))

tests: $(INSTALLED)
	rm -f .coverage .coverage.*
	$(BIN)/coverage run -m pytest -m 'not alone and not foreign' --numprocesses $(WORKERS) --dist worksteal --durations 10
	$(BIN)/coverage run -m pytest -m alone --durations 10
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

# With bots and clients of others. Each environment is made once; what cannot be installed is skipped, with the reason.
foreign: $(INSTALLED)
	$(BIN)/python -m pytest -m foreign --numprocesses $(WORKERS) --dist worksteal --durations 10

chaos: $(INSTALLED)
	$(BIN)/python -m tests.chaos $(if $(SEED),--seed $(SEED)) --chats $(CHATS) --seconds $(SECONDS)
	$(BIN)/python -m tests.chaos.hub $(if $(SEED),--seed $(SEED)) --bots $(BOTS_AT_ONCE) --seconds $(SECONDS)

pressure: $(INSTALLED)
	$(BIN)/python -m tests.chaos.pressure --seconds $(SECONDS)

soak: $(INSTALLED)
	$(BIN)/python -m tests.chaos.soak --minutes $(MINUTES)

# With the fuzzer, which is there for Linux only; nothing else needs it.
$(VENV)/.fuzz: $(INSTALLED)
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[fuzz]'
	touch $@

fuzz: SECONDS := 60
fuzz: $(VENV)/.fuzz
	$(BIN)/python -m tests.fuzz --seconds $(SECONDS) $(if $(SEED),--seed $(SEED))

# With the tool that changes the code; nothing else needs it.
$(VENV)/.mutants: $(INSTALLED)
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[mutants]'
	touch $@

mutants: $(VENV)/.mutants
	$(BIN)/python -m pytest -q tests/mutants
	$(BIN)/python -m tests.mutants --minutes $(MINUTES) $(FILES)

# An environment for each Python, in .venvs (VERSIONS= for some of them, such as 3.13).
test-all: $(INSTALLED)
	$(BIN)/python scripts/test_all.py $(VERSIONS)

smoke: $(INSTALLED)
	$(BIN)/python scripts/test_all.py --smoke $(VERSIONS)

lowest: $(INSTALLED)
	$(BIN)/python scripts/lowest.py

# The archive and the wheel of a release, and a call that the wheel supervises.
dist: $(INSTALLED)
	PYTHON=$(BIN)/python sh scripts/dist.sh

format: $(INSTALLED)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: $(INSTALLED)
	$(BIN)/python scripts/gen_docs.py

views: $(INSTALLED)
	$(BIN)/python scripts/measure_views.py

# With Hume's SDK, which is measured too; nothing else needs it.
$(VENV)/.bench: $(INSTALLED)
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[bench]'
	touch $@

bench: $(VENV)/.bench
	$(BIN)/python -m benchmarks

bench-quick: $(INSTALLED)
	$(BIN)/python -m benchmarks --quick

evals: $(INSTALLED)
	$(BIN)/python -m evals $(CALLS)

clean:
	rm -rf $(VENV) $(BOTS) $(CLIENTS) .venvs .mypy_cache .pytest_cache .ruff_cache .hypothesis .coverage .coverage.* \
		*.egg-info build dist
