# Everything a developer or the CI runs. `make help` lists it.

CARGO ?= cargo
# Of the whole workspace, so that everything is built once: a package by itself has other features of its dependencies.
TEST = $(CARGO) test --workspace --locked

.PHONY: chart chart-update help demo build test check unit integration chaos chaos-defects restarts fuzz-build fuzz simulation defects bench bench-quick bench-compare bench-engine soak instructions instructions-check servers vault-check deny secrets

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "%-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: ## the whole service on recorded people, nothing to set up (DEMO="--once --speed 4": options of the command)
	$(CARGO) run --release --locked --quiet -- demo $(DEMO)

build: ## the program, optimised
	$(CARGO) build --release --locked

# What is quick to fail comes first.
test: check fuzz-build unit defects instructions-check integration ## everything that must pass

check: ## formatting, lints, documentation
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps --document-private-items --locked

unit: ## the crates' own tests, properties included
	$(TEST) --lib --bins --test lanes --test properties

SEEDS ?= 5000
simulation: ## whole histories of the lanes with faults, from seeds (SEEDS=5000)
	SIMULATION_SEEDS=$(SEEDS) $(CARGO) test --release --locked -p actors --test lanes simulation::what -- --nocapture

defects: ## each deliberate defect must be noticed by the simulation
	$(TEST) --features actors/defects --test lanes every_deliberate -- --nocapture

servers: ## installs the servers and clients that the tests talk to (ALLOW_MISSING=1: as far as they can be had)
	@tests/servers/install.sh $(if $(ALLOW_MISSING),--allow-missing)

# Most of these tests wait for servers more than they compute.
AT_A_TIME ?= $(shell echo $$(($$(nproc) * 3 / 2)))
integration: servers ## the program as a user meets it, with real servers (ALLOW_MISSING=1: skips tests whose server is missing)
	$(if $(ALLOW_MISSING),BRIDGE_ALLOW_MISSING_SERVERS=1 )$(TEST) --test it -- --test-threads $(AT_A_TIME)

# The short form of it, 20 kills, is one of the integration tests.
CHAOS_KILLS ?= 200
CHAOS_MINUTES ?= 45
chaos: servers ## three instances, 200 kills and every other fault, half an hour (CHAOS_SEED=, CHAOS_KILLS=, CHAOS_MINUTES=)
	CHAOS_KILLS=$(CHAOS_KILLS) CHAOS_MINUTES=$(CHAOS_MINUTES) \
		$(TEST) --test it whatever_goes_wrong -- --nocapture

CHAOS_DEFECT ?=
chaos-defects: servers ## the service with deliberate defects, one after the other: chaos, or the search for leaks, must notice each (CHAOS_DEFECT=, CHAOS_SEED=)
	$(if $(CHAOS_DEFECT),CHAOS_DEFECT=$(CHAOS_DEFECT) )$(TEST) --features biometric-bridge/defects \
		--test it -- each_deliberate_defect what_a_defect_leaks_is_found --nocapture

restarts: servers ## rolling restarts of three instances, on a machine that does nothing else: nobody waits for two seconds
	RESTARTS_ALONE=1 $(TEST) --test it rolling -- --nocapture --test-threads 1

chart: servers ## the Helm chart alone: lint, templates, unit tests, schemas, rules (part of `make integration`)
	$(TEST) --test it deployment::chart

chart-update: servers ## what the chart carries of the rest of the project, its schema and its README
	@charts/update.sh

VAULT ?=
vault-check: servers ## the service with a real Vault (VAULT=/path/of/vault; CONTRIBUTING.md says where to get one)
	@test -x "$(VAULT)" || { echo "there is no program VAULT=$(VAULT); CONTRIBUTING.md says where to get one"; exit 1; }
	BRIDGE_VAULT="$(abspath $(VAULT))" $(TEST) --test it service::vault

fuzz-build: ## the fuzz targets compile
	$(CARGO) check --manifest-path neuros/fuzz/Cargo.toml --locked

RUNS ?= 10000000
fuzz: ## hostile messages; needs a nightly compiler and `cargo install cargo-fuzz` (RUNS=10000000)
	neuros/fuzz/seed.sh
	cd neuros && $(CARGO) +nightly fuzz run decode -- -runs=$(RUNS) -max_len=4096 -seed=1

# The service and what measures it, built together so that both are of one state.
MEASURE_BUILD = $(CARGO) build --release --locked -p biometric-bridge -p bench --bin biometric-bridge
MEASURE = $(or $(CARGO_TARGET_DIR),target)/release

bench: servers ## the whole service with Kafka and PostgreSQL, one table, ten minutes (ARGS="--parts drains"; ARGS=--help)
	$(MEASURE_BUILD) --bin bench
	$(MEASURE)/bench run $(ARGS)

bench-quick: servers ## the same in two minutes: shows that it works
	$(MEASURE_BUILD) --bin bench
	$(MEASURE)/bench run --quick $(ARGS)

bench-compare: ## what changed between the tables of two runs (A=before.json B=after.json)
	@$(CARGO) run --release --locked --quiet -p bench --bin bench -- compare $(A) $(B)

bench-engine: ## decode, step and replay in detail, beside a yardstick
	$(CARGO) bench -p bench-engine --locked

soak: servers ## half an hour at 20,000 events/s; fails when memory or open files move (ARGS=--help)
	$(MEASURE_BUILD) --bin soak
	$(MEASURE)/soak $(ARGS)

instructions: servers ## instructions for each event of the hot path
	bench/engine/instructions.sh

instructions-check: servers ## fails when they are more than bench/engine/instructions.limits (ALLOW_MISSING=1: skipped without valgrind)
	bench/engine/instructions.sh --check $(if $(ALLOW_MISSING),--allow-missing)

# Minutes to install, and their advice comes from the internet: the workflow runs both for every change, `make test` neither.
ADVISORIES ?= if-reachable
deny: ## licences, sources and doubles of all crates, and known vulnerabilities where their data base can be reached (ADVISORIES=required)
	@command -v cargo-deny > /dev/null || { echo "cargo-deny is missing: cargo install cargo-deny --version 0.20.2 --locked"; exit 69; }
	$(CARGO) deny --locked check bans licenses sources
	@if $(CARGO) deny --locked fetch db > /dev/null 2>&1; then \
		$(CARGO) deny --locked check advisories; \
	else \
		echo "advisories: NOT CHECKED, for https://github.com/rustsec/advisory-db cannot be reached from here"; \
		test "$(ADVISORIES)" != required; \
	fi

secrets: ## whether a secret was ever committed (gitleaks)
	@command -v gitleaks > /dev/null || { echo "gitleaks is missing: go install github.com/zricethezav/gitleaks/v8@v8.30.1"; exit 69; }
	gitleaks git --no-banner --redact .
