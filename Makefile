# The two commands are `make demo` and `make test`. Both set up the compiler for guests first,
# which takes a moment when that is done already.

GUEST_TOOLCHAIN_DIR ?= $(or $(XDG_DATA_HOME),$(HOME)/.local/share)/everstep/guest-toolchain
EVERSTEP_GUEST_CARGO ?= $(GUEST_TOOLCHAIN_DIR)/bin/guest-cargo
export GUEST_TOOLCHAIN_DIR EVERSTEP_GUEST_CARGO

.PHONY: help demo test build guests toolchain lint bench sim chaos

help:
	@echo 'make demo    run a workflow on a server that is killed and restarted on the way'
	@echo 'make test    run every test'
	@echo 'make build   build the everstep program'
	@echo 'make guests  build the example workflows'
	@echo 'make lint    check format, lints and the purity of the core'
	@echo 'make sim     simulate SEEDS=10000 histories with faults, or show the one of SEED=123'
	@echo 'make chaos   kill, stop and cut servers, hosts and Redis for SECONDS=120 and check every promise'
	@echo 'make bench   print the speed of the sequential and the fleet workload'

demo: toolchain build
	scripts/demo.sh

# nextest runs every test in a process of its own; without it, cargo's own runner does.
test: guests
	if cargo nextest --version >/dev/null 2>&1; \
	then cargo nextest run --workspace; \
	else cargo test --workspace; fi

build:
	cargo build --workspace --bins

guests: toolchain
	cd examples && "$(EVERSTEP_GUEST_CARGO)" build --release --target wasm32-wasip2

toolchain:
	scripts/setup-guest-toolchain.sh

# A core that compiles for a guest can hold no thread, socket or database.
lint: toolchain
	cargo fmt --all --check
	cd examples && cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	"$(EVERSTEP_GUEST_CARGO)" check -p everstep-core --target wasm32-wasip2

bench:
	cargo run --release -p everstep -- bench sequential
	cargo run --release -p everstep -- bench fleet

# Deterministic simulation: so many seeds from FIRST on, or one alone with its trace. See docs/reliability.md.
SEEDS ?= 10000
FIRST ?= 1
sim:
	cargo build --quiet --workspace --bin sim
	"$${CARGO_TARGET_DIR:-target}/debug/sim" $(if $(SEED),--seed $(SEED),--seeds $(SEEDS) --first $(FIRST)) \
		$(if $(DEFECT),--defect $(DEFECT))

# Real processes and real faults, for so long in each scenario. See docs/reliability.md.
SECONDS ?= 120
SCENARIO ?= all
chaos: toolchain
	cargo build --quiet --workspace --bins
	"$${CARGO_TARGET_DIR:-target}/debug/chaos" --seconds $(SECONDS) --scenario $(SCENARIO) --seed "$(SEED)"
