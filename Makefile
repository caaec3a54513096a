# Commands for people and CI. `make` alone lists them.

.DEFAULT_GOAL := help
.PHONY: help run build test lint lint-fast stack prebuilt image-check compose-check monitoring-check clients-check browser-check dist fuzz bench bench-short bench-servers real-text

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
	scripts/lint-compose
	cargo fmt --all --check

stack: ## a Docker engine, Compose and images of the servers, unless they are there already (Debian, as root)
	scripts/stack

prebuilt: ## both images from programs that cargo builds here, where no registry has the image of Rust (after make stack)
	scripts/prebuilt

image-check: ## make the image of tally, run it, play the demo, remove it
	scripts/image-check

compose-check: ## start the composition, run the demo and the scenario suite against it, remove it
	scripts/compose-check

monitoring-check: ## check the rules and alerts of examples/monitoring with promtool
	scripts/monitoring-check

clients-check: ## generate clients in TypeScript, Python and Go from the documents of both ports, and play the demo with each (installs generators below target/)
	scripts/clients-check

browser-check: ## the chat page of examples/chat and the pages of both ports in a headless Chromium (installs it with apt-get, and what drives it below target/)
	scripts/browser-check

dist: ## an archive of tally with completions and checksums in dist/, for this kind of machine
	scripts/dist

fuzz: ## run a fuzzing client for OpenAPI against both ports (installs schemathesis below target/)
	scripts/fuzz-api

bench: ## measure Tally beside its limit on this machine; writes bench/results.json, bench/plots and the tables of README and docs/performance.md
	cargo build --release --locked --workspace --bins
	target/release/bench embedded
	target/release/bench growth
	target/release/bench rebuild
	target/release/bench feed
	target/release/bench access

bench-short: ## every load of the bench for a moment, with its answers checked, in debug mode
	cargo build --locked --workspace --bins
	target/debug/bench short

bench-servers: ## measure Tally on the real servers beside bare programs on them; writes the same files (needs make stack)
	cargo build --release --locked --workspace --bins --examples
	target/release/bench servers
	target/release/bench feed --servers
	target/release/bench access --servers

real-text: ## load real quotations into a running Tally and compare every message and some hundreds of searches
	scripts/real-text
