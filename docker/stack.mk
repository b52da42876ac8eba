# The daily handling of a stack: STACK=demo or STACK=compose, by default the one that runs, else demo.
# All of it is `python -m stack VERB`, which stack.ps1 calls on Windows.

# The embedded stack goes on in .venv by itself; that in containers needs nothing of it.
STACK_PYTHON = $(firstword $(wildcard .venv/bin/python) python3)

.PHONY: env up ps logs check trigger verify rollups doctor smoke backup restore down reset destroy
env: ## write .env with random secrets for the stack in containers
up: ## start the stack and wait until it is well (this and the next: STACK=demo|compose)
ps: ## what runs, and where
logs: ## follow all logs (BUNDLE=1: an archive for support, without secrets)
check: ## signs of life of every part
trigger: ## start a run by hand, show the last ten
verify: ## counts, freshness, rules, and whether data arrives
rollups: ## the counted sales against the facts; counts anew what is wrong
doctor: ## name what disagrees and what repairs it; changes nothing
smoke: ## a scheduled run to its end, every row compared (demo: on a stack of its own)
backup: ## the business database into backups/, while the stream goes on
restore: ## FILE=, else the newest backup, in its place; goes on from its offset
down: ## stop the stack, keep what it stored
reset: ## delete what it stored and start anew (DATA=1: only raw events); YES=1 does not ask
destroy: ## stop it and delete what it stored; YES=1 does not ask

env up ps logs check trigger verify rollups doctor smoke backup restore down reset destroy:
	@$(STACK_PYTHON) -m stack $@

.PHONY: compose-test
compose-test: .venv/.stamp-requirements ## the stack in containers for real: faults, restarts, backup, browser
	@$(PY) -m pytest tests/compose --timeout 1800
