# What developers and CI call. Needs git, make, a Rust toolchain and a C compiler; the rest is
# found or fetched by scripts/.
#
# Which tests need servers is decided by where they stand: those in src/ need none, those in
# crates/*/tests/ may need PostgreSQL and Redis. A missing server fails, it never skips.

CARGO ?= cargo
# The same flags everywhere, so that nothing is compiled twice.
WORKSPACE := --workspace --locked
TARGET_DIR := $(or $(CARGO_TARGET_DIR),target)

.DEFAULT_GOAL := help
.PHONY: help run check test test-runtime test-integration-runtime test-openapi coverage bench-accept \
	bench-execute bench-history bench-start bench-schedule bench-workloads soak-schedules soak-workloads \
	soak-replacements docs test-docs test-k8s test-compose images base-images

help: ## List what can be made
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-26s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: ## Build the release binary and start it with the example workflow
	$(CARGO) build --release --locked -p millrace -p millrace-example-pricing
	@scripts/run

check: ## Formatting, lints, protos, dependencies and licences
	@scripts/check

test: ## All tests: unit, integration (real PostgreSQL and Redis), documentation
	@scripts/tool tests
	$(CARGO) test $(WORKSPACE) --no-run
	scripts/with-services $(CARGO) test $(WORKSPACE) --no-fail-fast

test-runtime: ## Unit tests only: no servers, in seconds
	$(CARGO) test $(WORKSPACE) --lib --bins --no-run
	env -u DATABASE_URL -u REDIS_URL $(CARGO) test $(WORKSPACE) --lib --bins --no-fail-fast

test-integration-runtime: ## Integration tests only, on real PostgreSQL and Redis
	@scripts/tool tests
	$(CARGO) test $(WORKSPACE) --test '*' --no-run
	scripts/with-services $(CARGO) test $(WORKSPACE) --test '*' --no-fail-fast

test-openapi: ## Every call of /api/openapi.json, with made-up and derived values: some minutes
	MILLRACE_OPENAPI=thorough $(CARGO) test --locked -p millrace --test openapi -- --nocapture

docs: ## Make the documents that are made from the code
	MILLRACE_WRITE_DOCS=1 $(CARGO) test $(WORKSPACE) --test configuration_document --test access the_document

test-docs: ## Execute the commands of README and docs, each document against a fresh `millrace dev`
	$(CARGO) build --release --locked -p millrace -p millrace-example-pricing
	scripts/test-docs

test-k8s: ## Render the Kubernetes manifests; check them against schemas, Pod Security and our rules
	@scripts/test-k8s

test-compose: ## All of it in containers: from nothing, with a runtime killed under load
	@scripts/test-compose

# Arguments of the images that are set in the environment, as `make base-images` prints them.
BASES := $(foreach name,RUST_IMAGE SERVER_IMAGE NODE_IMAGE JOBS,$(if $($(name)),--build-arg $(name)))

images: ## Build both images, on bases such as RUST_IMAGE from the environment
	docker build $(BASES) --target server -t millrace:dev .
	docker build $(BASES) --target orchestrator -t millrace-orchestrator:dev .

base-images: ## Stand-ins for the base images, where none can be pulled (root, debootstrap)
	@scripts/base-images

coverage: ## Line coverage of all tests; fails under 85 %
	@scripts/coverage

soak-schedules: ## 100,000 fires over three runtimes with kills and skewed clocks (needs `faketime`)
	$(CARGO) test $(WORKSPACE) --test soak_schedules --no-run
	MILLRACE_SOAK_FIRES=$(or $(FIRES),100000) scripts/with-services --postgres-only \
	  $(CARGO) test $(WORKSPACE) --test soak_schedules -- --nocapture
	MILLRACE_SOAK_SCHEDULES=10000 $(CARGO) test $(WORKSPACE) --lib hourly_schedules_are_spread -- --nocapture
	$(CARGO) test $(WORKSPACE) --lib a_schedule_with_long_runs -- --ignored

soak-workloads: ## Services at full size: 100 under kill -9, 1,000 cycles and cuts, 500 starts on 100 ports
	$(CARGO) test $(WORKSPACE) --test workloads --test service_logs --no-run
	MILLRACE_SOAK_WORKLOADS=100 MILLRACE_SOAK_CYCLES=1000 MILLRACE_SOAK_CUTS=1000 \
	MILLRACE_SOAK_LINE=104857600 MILLRACE_SOAK_POOL=100 MILLRACE_SOAK_JUDGE=1 \
	$(CARGO) test $(WORKSPACE) --test workloads --test service_logs -- --nocapture --test-threads=1

soak-replacements: ## 50 blue-green replacements under 500 requests a second
	$(CARGO) build --release --locked -p millrace -p millrace-bench
	$(TARGET_DIR)/release/millrace-bench --binary $(TARGET_DIR)/release/millrace replacements

bench-accept: ## Webhook accepts per second, as a ratio against pgbench
	$(CARGO) build --release --locked -p millrace -p millrace-bench
	scripts/with-services --postgres-only $(TARGET_DIR)/release/millrace-bench --binary $(TARGET_DIR)/release/millrace accept

bench-execute: ## Executions per second, of one step and of three calls
	$(CARGO) build --release --locked -p millrace -p millrace-bench
	scripts/with-services --postgres-only $(TARGET_DIR)/release/millrace-bench --binary $(TARGET_DIR)/release/millrace execute

bench-schedule: ## One instance with 1,000,000 schedules: memory, cost of a tick, start lag
	$(CARGO) build --release --locked -p millrace -p millrace-bench
	scripts/with-services --postgres-only $(TARGET_DIR)/release/millrace-bench --binary $(TARGET_DIR)/release/millrace schedule

bench-history: ## Pages and scheduling over 5 million ended executions
	$(CARGO) build --release --locked -p millrace -p millrace-bench
	scripts/with-services --postgres-only $(TARGET_DIR)/release/millrace-bench --binary $(TARGET_DIR)/release/millrace history

bench-start: ## Time from start to ready, and idle memory
	$(CARGO) build --release --locked -p millrace -p millrace-bench
	$(TARGET_DIR)/release/millrace-bench --binary $(TARGET_DIR)/release/millrace start

bench-workloads: ## Services side by side with PM2 (npm) and supervisord (apt): starts, respawns, lines, memory
	$(CARGO) build --release --locked -p millrace -p millrace-bench
	$(TARGET_DIR)/release/millrace-bench --binary $(TARGET_DIR)/release/millrace workloads --pm2 "$$(scripts/tool pm2)"
