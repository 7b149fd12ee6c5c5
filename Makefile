# Thermocline: every task of the project. `make help` lists them.
SHELL := /bin/sh
BIN := node_modules/.bin
# NODE=24 runs the tests on the binary of the npm package `node` of that major (or full) version, installed once under .cache/.
# Not by npx: the project refuses packages with unlisted install scripts, and that one has a script.
NODE ?=
ifneq ($(NODE),)
NODE_HOME := $(CURDIR)/.cache/node-$(NODE)
NODE_READY := $(NODE_HOME)/.ready
# On the PATH too, so that a program started as `node` is the same one.
NODE_RUN = PATH="$(NODE_HOME)/node_modules/node/bin:$$PATH" node
else
NODE_RUN = node
endif
JEST = $(NODE_RUN) node_modules/jest/bin/jest.js

.DEFAULT_GOAL := help

help: ## List the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-16s %s\n", $$1, $$2}'

node_modules/.ready: package.json package-lock.json .npmrc
	@echo "installing packages (npm ci) ..." >&2
	@npm ci --no-progress
	@touch $@

install: node_modules/.ready ## Install the packages of the lock file

dist/.built: node_modules/.ready tsconfig.json tsconfig.build.json $(shell find src -name '*.ts' 2>/dev/null)
	@echo "building dist/ ..." >&2
	@rm -rf dist
	@$(BIN)/tsc -p tsconfig.build.json
	@chmod +x dist/main.js
	@touch $@

build: dist/.built ## Compile src/ to dist/ (the command is dist/main.js)

run: dist/.built ## Start the server with embedded stores under ./data
	@node dist/main.js serve

$(NODE_READY):
	@echo "installing Node $(NODE) ..." >&2
	@mkdir -p $(NODE_HOME)
	@echo '{"private":true,"allowScripts":{"node":true}}' > $(NODE_HOME)/package.json
	@cd $(NODE_HOME) && npm install --no-progress --no-fund --no-audit --loglevel=error node@$(NODE) >&2
	@touch $@

test: dist/.built $(NODE_READY) ## Run all tests against real embedded stores (NODE=24 for another Node)
	@$(JEST)

unit: node_modules/.ready $(NODE_READY) ## Run the unit tests only
	@$(JEST) test/unit

interop: dist/.built $(NODE_READY) ## Run the Go Collector, telemetrygen, grpcurl, arrow-go, the Python SDK, pyarrow and ADBC against the server (needs go, python3)
	@$(JEST) --config jest.interop.config.js

soak: dist/.built $(NODE_READY) ## Faults for MINUTES=10 under load, 100,000 schedules, power loss (SEED=n repeats, PARTS=kills,schedules,points,server-points,power)
	@$(NODE_RUN) -r ./test/support/run-typescript.cjs test/soak/main.ts --minutes '$(MINUTES)' --seed '$(SEED)' --rate '$(RATE)' --parts '$(PARTS)'

demotion-show: dist/.built $(NODE_READY) ## Demote ROWS=10000000 metric rows of 5 days under load and KILLS=20 kills; both tiers add up at every moment (SEED=n)
	@$(NODE_RUN) -r ./test/support/run-typescript.cjs test/soak/demotion/main.ts --rows '$(ROWS)' --kills '$(KILLS)' --seed '$(SEED)'

test-timescale: dist/.built ## Run the PostgreSQL suites against PostgreSQL 17 with TimescaleDB and pg_partman (needs root and Debian's mirror)
	@node test/timescale/run.mjs

bench-query: dist/.built ## Times of questions over both tiers (ROWS=20000000), with the stores' plans in docs/query-plans.md
	@node bench/run.cjs bench/query.ts --rows $(or $(ROWS),20000000) --plans docs/query-plans.md

deploy: node_modules/.ready $(NODE_READY) ## Check the images, compose, the Helm chart (with real helm) and the examples
	@$(JEST) test/deploy

format: node_modules/.ready ## Format the sources in place
	@$(BIN)/biome check --write --linter-enabled=false .

check: node_modules/.ready ## Format, lint, types, layering, dead code, interface files, unit tests
	@$(BIN)/biome check --linter-enabled=false .
	@$(BIN)/oxlint --type-aware --deny-warnings
	@$(BIN)/tsc -p tsconfig.json
	@$(BIN)/depcruise src test bench
	@$(BIN)/knip
	@$(BIN)/buf lint
	@$(BIN)/buf breaking --against proto/thermocline.binpb
	@$(JEST) test/unit

clean: ## Remove build output (keeps ./data)
	rm -rf dist coverage node_modules/.ready

.PHONY: help install build run test unit test-timescale interop soak demotion-show bench-query deploy format check clean
