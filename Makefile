# The environment is built on first use and again when requirements.txt changes.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
RUN = .venv/bin/python

.PHONY: baseline evaluate test pages lint clean

baseline: .venv/ready
	$(RUN) run.py experiment=baseline

evaluate: .venv/ready
	$(RUN) run.py experiment=baseline mode=evaluate

# Three processes on two cores, since tests wait for the programs that they start. Files go to them in their order: by
# their number of tests, long ones would come last, to one process alone.
test: .venv/ready
	$(RUN) -m pytest -n 3 --dist loadfile --no-loadscope-reorder -m 'not alone' --ignore=tests/test_docs.py
	$(RUN) -m pytest -m alone $$(grep -rlF 'mark.alone' tests --include='test_*.py')

pages: .venv/ready
	$(RUN) -m pytest -n 2 tests/test_docs.py

lint: .venv/ready
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .

clean:
	rm -rf .venv runs prepared wandb

.venv/ready: requirements.txt
	$(PYTHON) -m venv .venv
	$(RUN) -m pip install --quiet --requirement requirements.txt
	touch $@
