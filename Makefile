# make demo        the whole way of every event, on this machine alone
# make test        all tests, with the race detector: what CI runs
# make check       the tests and everything else that CI checks
# make bench       how fast it is beside the least that can be and what others do (a quarter of an hour)
# make soak        the simulations and the oracles in full (half an hour), the seeds printed
# make mutations   the simulations over deliberate faults: each has to be caught
# make compose-test  docker-compose.yml in the Docker engine of this machine
# make tools       what some tests need and Debian has: chromium, promtool, strace, nginx, node, tsc, mypy, PostgreSQL
# make build       bin/persat-bridge, static
# make fuzz        each fuzz target for FUZZSECONDS (30)
GO          ?= go
FUZZSECONDS ?= 30
VERSION     ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
# What Go itself would write into the binary; with -buildvcs=false in GOFLAGS it does not.
COMMIT      ?= $(shell c=$$(git rev-parse HEAD 2>/dev/null) && echo "$$c$$(git diff --quiet HEAD || echo +changes)")
LDFLAGS     := -s -w -X main.version=$(VERSION) -X main.builtFrom=$(COMMIT)

.PHONY: demo test check lint fuzz bench soak mutations build clean compose-test tools

demo:
	$(GO) run ./cmd/persat-bridge demo

test: tools
	$(GO) test -count=1 -run '^TestAllocations$$' ./cmd/persat-bridge
	$(GO) test -race -count=1 -timeout 20m -v -run '^TestSimulation$$' ./bridge/schedule ./bridge/integrity ./bridge/internal/sim
	$(GO) test -race -shuffle=on -timeout 20m -skip '^TestSimulation$$' ./cmd/persat-bridge ./bridge ./bridge/journal ./... # the longest first
	@command -v chromium >/dev/null || echo "SKIPPED, NOT TESTED: the status page (no chromium)"
	@command -v promtool >/dev/null || test -x bin/promtool || echo "SKIPPED, NOT TESTED: the alert rules (no promtool)"
	@command -v strace >/dev/null || echo "SKIPPED, NOT TESTED: a failing sync (no strace)"
	@command -v node >/dev/null && command -v tsc >/dev/null || echo "SKIPPED, NOT TESTED: the types for TypeScript (no node or tsc)"
	@ls /usr/lib/postgresql/*/bin/postgres >/dev/null 2>&1 || command -v postgres >/dev/null || echo "SKIPPED, NOT TESTED: the consumer on PostgreSQL (no postgres)"
	@command -v mypy >/dev/null || echo "SKIPPED, NOT TESTED: the types for Python (no mypy)"
	@command -v nginx >/dev/null || test -x /usr/sbin/nginx || echo "SKIPPED, NOT TESTED: a bridge behind nginx (no nginx)"
	@test -e /dev/loop-control || echo "SKIPPED, NOT TESTED: power cuts of NATS on a real disk (no loop device)"

check: lint test fuzz

lint:
	@unformatted=$$(gofmt -l $$(git ls-files '*.go')); test -z "$$unformatted" || { echo "not gofmt-ed: $$unformatted"; exit 1; }
	$(GO) vet ./...
	$(GO) tool staticcheck ./...
	$(GO) mod tidy -diff
	$(GO) mod verify

# Every fuzz target that there is, one after the other, in rounds of so many inputs
# until its time is over. Not with a time for -fuzztime: when that ends, go test now and then
# fails with "context deadline exceeded" and no input, because its coordinator sees
# its own deadline before its workers do (internal/fuzz, Go 1.26).
fuzz:
	@set -e; for package in $$($(GO) list ./...); do \
	  for target in $$($(GO) test -list '^Fuzz' $$package | grep '^Fuzz' || true); do \
	    echo "fuzz $$package $$target for $(FUZZSECONDS) s"; \
	    end=$$(($$(date +%s) + $(FUZZSECONDS))); \
	    while $(GO) test -run '^$$' -fuzz "^$$target$$" -fuzztime 30000x -fuzzminimizetime 20x $$package || exit 1; \
	      test $$(date +%s) -lt $$end; do :; done; \
	  done; \
	done

bench:
	$(GO) run ./cmd/bench

soak: tools
	$(GO) test -count=1 -timeout 30m -v -run '^TestSimulation$$' ./bridge/schedule -long
	$(GO) test -count=1 -timeout 30m -v -run '^TestSimulation$$' ./bridge/integrity -long
	$(GO) test -count=1 -timeout 60m -v -run 'Oracle|Backlog|Held|TooLarge' ./cmd/persat-bridge -long
	$(GO) test -count=1 -timeout 30m -v -run Oracle ./bridge/persat/examples/consumer -long
	$(GO) test -count=1 -timeout 60m -v -run '^Test(Simulation|Model)' ./bridge/internal/sim -long

mutations:
	$(GO) run ./internal/mutation

compose-test:
	$(GO) test ./cmd/persat-bridge -run '^TestCompose$$' -compose -count=1 -v -timeout 15m

# What lets some tests see, installed where that may be done: as root, with
# apt-get. Only promtool is unpacked of its package, which would start a server. The
# tests that want a tool say so and are skipped without it; in CI they fail.
tools:
	@if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  export DEBIAN_FRONTEND=noninteractive; missing=; \
	  command -v chromium >/dev/null || missing="$$missing chromium fonts-dejavu-core"; \
	  command -v strace >/dev/null || missing="$$missing strace"; \
	  command -v nginx >/dev/null || test -x /usr/sbin/nginx || missing="$$missing nginx-light"; \
	  command -v node >/dev/null || missing="$$missing nodejs"; \
	  command -v tsc >/dev/null || missing="$$missing node-typescript"; \
	  command -v mypy >/dev/null || missing="$$missing mypy"; \
	  ls /usr/lib/postgresql/*/bin/postgres >/dev/null 2>&1 || command -v postgres >/dev/null || missing="$$missing postgresql"; \
	  promtool=; command -v promtool >/dev/null || test -x bin/promtool || promtool=1; \
	  test -z "$$missing$$promtool" || echo "tools: installing$$missing$${promtool:+ promtool} with apt-get"; \
	  test -z "$$missing$$promtool" || apt-get update -qq >/dev/null 2>&1; \
	  test -z "$$missing" || apt-get install -y -qq --no-install-recommends $$missing >/dev/null 2>&1; \
	  test -z "$$promtool" || { mkdir -p bin; d=$$(mktemp -d); chmod 755 $$d; \
	    (cd $$d && apt-get download -qq prometheus && dpkg-deb -x prometheus_*.deb .) >/dev/null 2>&1 && cp $$d/usr/bin/promtool bin/; rm -rf $$d; }; \
	fi; true

build:
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/persat-bridge ./cmd/persat-bridge

clean:
	rm -rf bin artefacts
