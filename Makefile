# Everything a developer or the CI runs. `make help` lists it.

CARGO ?= cargo
PERSON ?= w007

.PHONY: help demo build test check unit integration fuzz-build fuzz bench instructions

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "%-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: ## replays a week of an example person, one sentence for each mode change
	@$(CARGO) run --release --locked --quiet -- replay --explain --user $(PERSON) tests/data/golden/people.ndjson \
	  | sed -n 's/.*"kind":"switched".*"text":"\([^"]*\)".*/\1/p'

build: ## the program, optimised
	$(CARGO) build --release --locked

test: check unit integration fuzz-build ## everything that must pass

check: ## formatting, lints, documentation
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps --document-private-items --locked

unit: ## the crates' own tests, properties included
	$(CARGO) test --workspace --exclude biometric-bridge --locked
	$(CARGO) test --lib --bins --locked

integration: ## the program as a user meets it
	$(CARGO) test --test it --locked

fuzz-build: ## the fuzz targets compile
	$(CARGO) check --manifest-path neuros/fuzz/Cargo.toml --locked

RUNS ?= 10000000
fuzz: ## hostile messages; needs a nightly compiler and `cargo install cargo-fuzz` (RUNS=10000000)
	neuros/fuzz/seed.sh
	cd neuros && $(CARGO) +nightly fuzz run decode -- -runs=$(RUNS) -max_len=4096 -seed=1

bench: ## decode, step and replay, beside a yardstick
	$(CARGO) bench -p bench --locked

instructions: ## instructions for each event of the hot path; needs valgrind
	bench/instructions.sh
