# Every target installs what it misses (a C compiler, cmake, nginx, curl) with apt-get or dnf, and says what to do elsewhere.
# Rust comes from rustup or from packages; .ci/need checks its version.

.DEFAULT_GOAL := help
.PHONY: help demo test build release lint tidy generate deny fuzz bench bench-baseline bench-check bench-memory bench-swap
.PHONY: side-by-side idle overload soak doc tools clean

# rustup's folder is missing from the PATH of shells that were open when it was installed.
export PATH := $(PATH):$(HOME)/.cargo/bin

FUZZ_SECONDS ?= 600
SOAK_SECONDS ?= 1200

help: ## say what there is
	@echo "make TARGET, where TARGET is one of"
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-14s %s\n", $$1, $$2 }' Makefile

demo: ## run Portcullis with an upstream, an identity provider and a signed policy, on loopback
	@.ci/need rust cc cmake
	cargo run --package portcullis -- demo

test: ## run every test
	@.ci/need rust cc cmake kill
	@.ci/need --try nginx curl openssl sslyze chromium node
	@.ci/need --try provider
	@.ci/test

build: ## build for development
	@.ci/need rust cc cmake
	cargo build --workspace

release: ## build the binary as it is shipped: target/release/portcullis
	@.ci/need rust cc cmake
	cargo build --release --locked --package portcullis

lint: ## check formatting and run clippy
	@.ci/need rust rustfmt clippy cc cmake
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings

tidy: ## check dependencies, sizes, pages, links and settings, and that generated files are fresh
	@.ci/need rust cc cmake
	cargo xtask tidy
	cargo xtask generate --check

generate: ## write the files that are made from code
	@.ci/need rust cc cmake
	cargo xtask generate

deny: ## check licences, bans, sources and advisories with cargo-deny
	@.ci/need rust
	@.ci/deny --install

fuzz: ## run each fuzz target for FUZZ_SECONDS (600)
	@.ci/need rust cc c++ cmake
	@.ci/fuzz $(FUZZ_SECONDS)

bench: ## run the benches
	@.ci/need rust cc cmake
	cargo bench --package portcullis-benches

define count_programs
	@.ci/need rust cc cmake
	@.ci/need --try valgrind
	cargo build --profile count --locked --no-default-features --package portcullis --package portcullis-benches \
		--bin portcullis --bin pieces
endef

bench-check: ## count instructions with callgrind and compare them with benches/baseline.json
	$(count_programs)
	cargo run --locked --package portcullis-benches --bin instructions

bench-baseline: ## count instructions and record them in benches/baseline.json
	$(count_programs)
	cargo run --locked --package portcullis-benches --bin instructions -- --record

bench-memory: ## print what a bundle of 100,000 policies and ten million buckets hold
	@.ci/need rust cc cmake
	cargo run --release --locked --no-default-features --package portcullis-benches --bin memory

bench-swap: ## compare the 99th percentile with and without a new bundle every second
	@.ci/need rust cc cmake
	@.ci/need --try nginx h2load taskset
	cargo build --release --locked --package portcullis
	cargo run --locked --package portcullis-benches --bin swap

SIDE ?=

side-by-side: ## measure the shipped binary beside nginx, HAProxy and bare Pingora; SIDE="small guard --rounds 5" chooses
	@.ci/need rust cc cmake
	@.ci/need --try nginx haproxy wrk h2load taskset
	cargo build --release --locked --package portcullis
	cargo build --release --locked --no-default-features --package portcullis-benches --bin bare_pingora
	cargo run --locked --package portcullis-benches --bin side_by_side -- $(SIDE)

idle: ## measure the memory of 4,000 idle connections, three times
	@.ci/need rust cc cmake
	cargo build --release --locked --package portcullis
	PORTCULLIS_BINARY=target/release/portcullis cargo run --profile bench --package portcullis-e2e --bin soak -- idle

overload: ## measure what is left of capacity when twice as much is asked
	@.ci/need rust cc cmake
	cargo build --release --locked --package portcullis
	PORTCULLIS_BINARY=target/release/portcullis cargo run --profile bench --package portcullis-e2e --bin soak -- overload

soak: ## run at half capacity for SOAK_SECONDS (1200) and watch the memory
	@.ci/need rust cc cmake
	cargo build --release --locked --package portcullis
	PORTCULLIS_BINARY=target/release/portcullis cargo run --profile bench --package portcullis-e2e --bin soak -- soak --seconds $(SOAK_SECONDS)

doc: ## build the API documentation
	@.ci/need rust cc cmake
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps

tools: ## install everything that the other targets need
	@.ci/need rust rustfmt clippy cc c++ cmake kill
	@.ci/need --try nginx curl openssl sslyze chromium node
	@.ci/need --try provider

clean: ## remove what was built
	cargo clean
