# Commands for people and CI. `make` alone lists them.

.DEFAULT_GOAL := help
.PHONY: help run build test lint lint-fast stack prebuilt compose-check fuzz bench bench-short bench-servers real-text

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: ## start Tally on ./data, writes on 8080, reads on 3000
	cargo run --release --locked

build: ## compile the workspace and its tests in debug mode
	cargo build --workspace --all-targets --locked

test: ## build the workspace and run all tests; those on real servers need a Docker engine, and are skipped without
	@set -a; [ ! -f target/stack.env ] || . ./target/stack.env; cargo test --workspace --locked --no-fail-fast

lint: lint-fast ## formatting, clippy and documentation without warnings
	cargo clippy --workspace --all-targets --locked -- -D warnings
# The examples make cargo select the features that it selects for clippy, so that no dependency is compiled again.
	RUSTDOCFLAGS='-D warnings' cargo doc --workspace --no-deps --lib --bin tally --examples --locked --quiet

lint-fast: ## what can be checked without compiling
	scripts/lint-dockerignore
	cargo fmt --all --check

stack: ## a Docker engine, Compose and images of the servers, unless they are there already (Debian, as root)
	scripts/stack

prebuilt: ## the image tally:local from programs that cargo builds here, where no registry has the image of Rust (after make stack)
	scripts/prebuilt

compose-check: ## start the composition, run the demo and the scenario suite against it, remove it
	scripts/compose-check

fuzz: ## run a fuzzing client for OpenAPI against both ports (installs schemathesis below target/)
	scripts/fuzz-api

bench: ## measure Tally beside its limit on this machine; writes bench/results.json, bench/plots and the tables of README and docs/performance.md
	cargo build --release --locked --workspace --bins
	target/release/bench embedded
	target/release/bench growth
	target/release/bench rebuild

bench-short: ## every load of the bench for a moment, with its answers checked, in debug mode
	cargo build --locked --workspace --bins
	target/debug/bench short

bench-servers: ## measure Tally on the real servers beside bare programs on them; writes the same files (needs make stack)
	cargo build --release --locked --workspace --bins --examples
	target/release/bench servers

real-text: ## load real quotations into a running Tally and compare every message and some hundreds of searches
	scripts/real-text
