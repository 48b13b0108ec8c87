# Every target works in a fresh clone. `make help` lists them.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

export KANTALOUPE_CACHE ?= $(HOME)/.cache/kantaloupe
# One target folder for all clones: a fresh one builds only our own crates.
export CARGO_TARGET_DIR ?= $(KANTALOUPE_CACHE)/target
export PATH := $(KANTALOUPE_CACHE)/bin:$(PATH)

FUZZ_TARGETS := allocation answer assertion enroll exposition inventory link mig path quantity register session terminal token vendor_json websocket
FUZZ_SECONDS ?= 60
# Arguments for the test programs, such as a test's name: make test-e2e ARGS=exec
ARGS ?=

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: tools
tools: ## Install what a build needs and is missing
	scripts/install.sh build

# --- what people run

.PHONY: demo
demo: tools ## Gateway, cluster, helm install, kubectl through the tunnel; Ctrl-C removes it all (DEMO_ONCE=1 ends by itself)
	scripts/demo.sh

.PHONY: test
test: test-unit test-e2e ## All tests; needs root on Linux for the test clusters

.PHONY: test-unit
test-unit: tools ## Unit and integration tests, and the fuzz corpus; needs no root
	cargo test --locked --workspace --exclude kantaloupe-tests -- $(ARGS)

.PHONY: test-e2e
test-e2e: tools testbed ## Tests on real clusters; needs root
	cargo build --locked -p kantaloupe-gateway -p kantaloupe-agent --bins
	tests/preflight.sh $(CARGO_TARGET_DIR)/debug/kantaloupe-agent
	cargo test --locked -p kantaloupe-tests -- $(ARGS)

.PHONY: test-preflight
test-preflight: tools ## Preflight on a sound platform and on each seeded fault, against a real API server; needs no root
	scripts/install.sh go
	cargo build --locked -p kantaloupe-agent --bins
	tests/preflight.sh $(CARGO_TARGET_DIR)/debug/kantaloupe-agent

.PHONY: test-trust
test-trust: tools ## What must not work, against gateway, agent and a real API server (docs/security.md); needs no root
	scripts/install.sh go
	tests/testbed/prepare.sh kubernetes kube-apiserver-1.36 kubectl etcd helm
	cargo build --locked -p kantaloupe-gateway -p kantaloupe-agent --bins
	cargo test --locked -p kantaloupe-tests --test negative --test rights --test hostile_gateway -- $(ARGS)

.PHONY: testbed
testbed: ## Build and cache the programs of the test clusters
	scripts/install.sh go
	tests/testbed/prepare.sh

.PHONY: bench
bench: tools ## Measure; prints a table and writes target/bench/report.json
	scripts/install.sh go bench
	tests/testbed/prepare.sh bench-apiserver
	cargo build --locked --release -p kantaloupe-gateway -p kantaloupe-agent -p kantaloupe-tests --bins
	PATH="$$PATH:/usr/sbin" $(CARGO_TARGET_DIR)/release/bench $(ARGS) # nginx is there

# --- checks

.PHONY: ci
ci: fmt-check lint deny sbom docs chart test bench-once ## All that has to pass; .ci/run calls it

.PHONY: bench-once
bench-once: ## Every benchmark once: that it runs, not what it says
	$(MAKE) bench ARGS="--runs 1"

.PHONY: fmt
fmt: ## Format the code
	cargo fmt --all
	cargo fmt --manifest-path fuzz/libfuzzer/Cargo.toml

.PHONY: fmt-check
fmt-check: ## Check the format
	cargo fmt --all --check
	cargo fmt --manifest-path fuzz/libfuzzer/Cargo.toml --check

.PHONY: lint
lint: tools ## Clippy, warnings are errors
	cargo clippy --locked --workspace --all-targets -- -D warnings

.PHONY: deny
deny: ## Banned crates, licenses, sources
	scripts/install.sh deny
	cargo deny --log-level error check --hide-inclusion-graph bans licenses sources

# Not part of ci: the RustSec database is fetched from the network, which build machines may not reach.
.PHONY: deny-advisories
deny-advisories: ## Known vulnerabilities and unmaintained crates
	scripts/install.sh deny
	cargo deny check advisories

.PHONY: docs
docs: tools ## API documentation, warnings are errors
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --workspace --no-deps

.PHONY: docs-generate
docs-generate: ## Write docs/checks/*.md from the registry of check codes
	cargo run --locked -p kantaloupe-checks --example generate-docs

.PHONY: chart
chart: ## Lint and check the Helm chart; needs no cluster
	scripts/install.sh go
	tests/testbed/prepare.sh helm
	tests/chart.sh

.PHONY: chart-package
chart-package: ## Pack the Helm chart into target/chart; the same commit gives the same bytes
	scripts/install.sh go
	tests/testbed/prepare.sh helm
	PATH="$(KANTALOUPE_CACHE)/testbed/bin:$$PATH" scripts/chart-package.sh

.PHONY: sbom
sbom: tools ## Bills of materials of the images (CycloneDX) into target/sbom, checked against cargo tree
	scripts/sbom.sh

.PHONY: mutants
mutants: tools ## Weaken one line of security at a time and see a test turn red (ARGS: only those that match)
	scripts/mutants.sh $(ARGS)

.PHONY: fuzz-corpus
fuzz-corpus: tools ## Fuzz targets on the corpus and on seeded mutations (FUZZ_ROUNDS, FUZZ_SEED), stable Rust
	cargo test --locked -p kantaloupe-fuzz

.PHONY: fuzz
fuzz: ## libFuzzer, FUZZ_SECONDS for each of FUZZ_TARGETS; nightly Rust
	scripts/install.sh fuzz
	for target in $(FUZZ_TARGETS); do \
	  mkdir -p "$(KANTALOUPE_CACHE)/fuzz-corpus/$$target"; \
	  CARGO_TARGET_DIR=$(KANTALOUPE_CACHE)/fuzz-target cargo +nightly fuzz run --fuzz-dir fuzz/libfuzzer "$$target" \
	    "$(KANTALOUPE_CACHE)/fuzz-corpus/$$target" "fuzz/corpus/$$target" -- -max_total_time=$(FUZZ_SECONDS) -max_len=8192 -print_final_stats=1; \
	done
