# SPDX-FileCopyrightText: the multimesh.istio authors
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Every target is one call. The Python environments come from pinned requirements and are made on first use.

PYTHON ?= python3
MESHES ?= east west
MESH ?= east
PROGRAM ?= supervisor
MAIN = $(PYTHON) -m tests.env run main --

.DEFAULT_GOAL := help
.PHONY: help demo test unit lint types sanity matrix molecule e2e fuzz bench soak \
	lab lab-down lab-status lab-logs changelog pins clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## /{printf "  %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: ## two meshes from nothing, federated, with a call in both directions
	@$(MAIN) python -m tests.demo

test: ## everything below that checks something; fails if anything failed or was skipped
	@$(MAIN) python -m tests.run

unit: ## unit tests, seconds
	@$(MAIN) python -m tests.run unit

lint: ## ruff, yamllint, ansible-lint, changelog, licence marks
	@$(MAIN) python -m tests.run lint

types: ## mypy
	@$(MAIN) python -m tests.run types

sanity: ## ansible-test sanity
	@$(MAIN) python -m tests.run sanity

matrix: ## unit tests, render and syntax on the oldest and the newest ansible-core
	@$(MAIN) python -m tests.run oldest newest

molecule: ## every role alone, and site, on the lab
	@$(MAIN) python -m tests.run molecule

e2e: ## end-to-end tests on the lab
	@$(MAIN) python -m tests.run api e2e load

fuzz: ## 5,000 spoiled bundles, judged by the collection and by Go, OpenSSL and Envoy
	@$(MAIN) python -m tests.run fuzz

bench: ## measurements, written to docs/bench.md; some of them, for example: make bench PART=compute
	@PART="$(PART)" $(MAIN) python -m tests.bench

soak: ## the long runs: load, kill points, fuzz
	@$(MAIN) python -m tests.run soak

lab: ## real clusters, for example: make lab MESHES="east west north"
	@$(MAIN) python -m tests.lab up $(MESHES)

lab-down: ## remove the lab
	@$(MAIN) python -m tests.lab down

lab-status: ## what of the lab runs
	@$(MAIN) python -m tests.lab status

lab-logs: ## the log of one program, for example: make lab-logs MESH=east PROGRAM=kubelet
	@$(MAIN) python -m tests.lab logs $(MESH) $(PROGRAM)

changelog: ## check the changelog fragments
	@$(MAIN) antsibull-changelog lint

pins: ## resolve tests/requirements/*.in anew
	@for name in main oldest newest; do $(PYTHON) -m tests.env pin $$name || exit; done

clean: ## remove what tests left in this checkout; the cache stays
	@rm -rf build tests/output .mypy_cache .pytest_cache .ruff_cache .hypothesis .ansible
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
