# The commands of this repository. Each target's line after ## is its help.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
export GOTOOLCHAIN ?= local
# go-zero, which a guide of docs/ calls through surecall, compiles half of Kubernetes without this.
export GOFLAGS ?= -tags=no_k8s

# FUZZTIME is how long each fuzz target runs in `make fuzz`.
FUZZTIME ?= 10s
# BENCH selects the benchmarks of `make bench`, BENCHTIME how long each runs.
BENCH ?= .
BENCHTIME ?= 1s

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: check
check: ## fast look while working: vet and short unit tests of the root module, no race detector
	go vet ./...
	go test -short ./...
	@echo
	@echo "check: LEFT OUT: the race detector, long tests, all nested modules (real Consul, real"
	@echo "check: LEFT OUT: processes), and lint. 'make lint test' runs them all."

# SOAK is how long `make soak` runs. E2E_SOAK_SEED in the environment replays one.
SOAK ?= 10m

.PHONY: soak
soak: ## random joins, leaves, kills, stops and agent restarts for SOAK (10m); the seed is printed
	@CONSUL_BIN=$$(scripts/tool.sh consul) SURECALL_REQUIRE_CONSUL=1 E2E_SOAK_TIME=$(SOAK) \
		go test -C e2e -race -count=1 -v -timeout 24h -run '^TestSoak$$' .

.PHONY: test
test: ## everything with -race: the root module, then each nested module, with the real Consul
	@scripts/test.sh

.PHONY: lint
lint: ## golangci-lint, gofmt, vet and tidy in each module, and the rules of house taste
	@scripts/lint.sh

.PHONY: bench
bench: ## benchmarks of the root module and of otel, with their allocations (BENCH, BENCHTIME)
	go test -run '^$$' -bench '$(BENCH)' -benchmem -benchtime $(BENCHTIME) ./...
	go test -C otel -run '^$$' -bench '$(BENCH)' -benchmem -benchtime $(BENCHTIME) ./...

.PHONY: fuzz
fuzz: ## each fuzz target for FUZZTIME (10s)
	@scripts/fuzz.sh $(FUZZTIME)

.PHONY: consul
consul: ## build the Consul that the tests run, and print its path
	@scripts/tool.sh consul
