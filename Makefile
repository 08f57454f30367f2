# make demo        the whole way of every event, on this machine alone
# make test        all tests, with the race detector: what CI runs
# make check       the tests and everything else that CI checks
# make bench       how fast it is beside the least that can be and what others do (a quarter of an hour)
# make soak        the simulations and the oracles in full (half an hour), the seeds printed
# make mutations   the simulations over deliberate faults: each has to be caught
# make compose-test  docker-compose.yml in the Docker engine of this machine
# make tools       what some tests need and Debian has: chromium, promtool, strace, nginx, node, tsc, mypy, rpm, PostgreSQL
# make build       bin/persat-bridge, static
# make release-snapshot  archives, .deb, .rpm, checksums and SBOMs in dist/, as a release has them
# make package-test  installs, upgrades and removes the .deb and the .rpm over a copy of this system's root
# make fuzz        each fuzz target for FUZZSECONDS (30)
GO          ?= go
FUZZSECONDS ?= 30
FUZZINPUTS ?= 30000
# Of a release. Any other build says of itself what it is: see version.go.
VERSION     ?= $(shell git describe --tags --exact-match --dirty 2>/dev/null | sed 's/^v//')
NEXT        := $(shell sed -n 's/^const next = "\(.*\)"$$/\1/p' cmd/persat-bridge/version.go)
# What Go itself would write into the binary; with -buildvcs=false in GOFLAGS it does not.
COMMIT      ?= $(shell c=$$(git rev-parse HEAD 2>/dev/null) && echo "$$c$$(git diff --quiet HEAD || echo +changes)")
LDFLAGS     := -s -w -X main.version=$(VERSION) -X main.builtFrom=$(COMMIT)

# Built here once, into bin/: the newest that this Go and the module proxy make.
GORELEASER  := goreleaser-v2.15.1
NFPM        := nfpm-v2.45.2

# A module of its own: the types of Kubernetes' API are not the product's dependencies.
KUBERNETES  := cmd/persat-bridge/deploy/kubernetes

.PHONY: demo test check lint fuzz bench soak mutations build clean compose-test tools completions release release-snapshot package-test

demo:
	$(GO) run ./cmd/persat-bridge demo

# Without vet, which lint runs.
test: tools
	$(GO) test -vet=off -count=1 -run '^TestAllocations$$' ./cmd/persat-bridge
	$(GO) test -vet=off -race -count=1 -timeout 20m -v -run '^TestSimulation$$' ./bridge/schedule ./bridge/integrity ./bridge/internal/sim
	$(GO) test -vet=off -race -shuffle=on -parallel 4 -timeout 40m -skip '^TestSimulation$$' ./cmd/persat-bridge ./bridge ./bridge/journal ./... # the longest first
	cd $(KUBERNETES) && $(GO) test -vet=off -count=1 ./... # nothing in it is concurrent: no race detector
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
	cd $(KUBERNETES) && $(GO) vet ./... && $(GO) tool staticcheck ./... && $(GO) mod tidy -diff && $(GO) mod verify

# Every fuzz target that there is, one after the other, in rounds of FUZZINPUTS until its
# time is over. Not with a time for -fuzztime: when that ends, a fuzz test now and then fails
# with "context deadline exceeded" and no input, because its coordinator sees its own
# deadline before its workers do (internal/fuzz, Go 1.26). A package is linked once, as "go
# test -fuzz" links it for each round.
fuzz:
	@set -e; dir=$$(mktemp -d); trap 'rm -rf "$$dir"' EXIT; found=$$($(GO) env GOCACHE)/fuzz; module=$$($(GO) list -m); \
	for package in $$(grep -rl --include='*_test.go' '^func Fuzz' . | xargs -n1 dirname | sort -u); do \
	  $(GO) test -vet=off -ldflags '-s -w' -c -fuzz . -o "$$dir/fuzz.test" $$package; \
	  for target in $$(grep -ho '^func Fuzz[A-Za-z0-9_]*' $$package/*_test.go | cut -c6-); do \
	    echo "fuzz $$package $$target for $(FUZZSECONDS) s"; \
	    end=$$(($$(date +%s) + $(FUZZSECONDS))); \
	    while (cd $$package && "$$dir/fuzz.test" -test.run '^$$' -test.fuzz "^$$target$$" -test.fuzztime $(FUZZINPUTS)x \
	        -test.fuzzminimizetime 20x -test.fuzzcachedir "$$found/$$module/$${package#./}") || exit 1; \
	      test $$(date +%s) -lt $$end; do :; done; \
	  done; \
	done

bench:
	$(GO) run ./cmd/bench

soak: tools
	$(GO) test -count=1 -timeout 30m -v -run '^TestSimulation$$' ./bridge/schedule -long
	$(GO) test -count=1 -timeout 30m -v -run '^TestSimulation$$' ./bridge/integrity -long
	$(GO) test -count=1 -timeout 60m -v -run 'Oracle|Backlog|Held|TooLarge|RollingRestart' ./cmd/persat-bridge -long
	$(GO) test -count=1 -timeout 30m -v -run Oracle ./bridge/persat/examples/consumer -long
	$(GO) test -count=1 -timeout 60m -v -run '^Test(Simulation|Model)' ./bridge/internal/sim -long

mutations:
	$(GO) run ./internal/mutation

compose-test:
	$(GO) test -vet=off ./cmd/persat-bridge -run '^TestCompose$$' -compose -count=1 -v -timeout 25m

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
	  test -x /lib/systemd/systemd || missing="$$missing systemd"; \
	  command -v rpm >/dev/null || missing="$$missing rpm"; \
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

completions: build
	@mkdir -p bin/completions
	@for shell in bash zsh fish powershell; do \
	  bin/persat-bridge completion $$shell >bin/completions/persat-bridge.$$shell || exit 1; \
	done

bin/$(GORELEASER):
	GOBIN=$(CURDIR)/bin CGO_ENABLED=0 $(GO) install -ldflags '-s -w' github.com/goreleaser/goreleaser/v2@$(GORELEASER:goreleaser-%=%)
	mv bin/goreleaser $@

bin/$(NFPM):
	GOBIN=$(CURDIR)/bin CGO_ENABLED=0 $(GO) install -ldflags '-s -w' github.com/goreleaser/nfpm/v2/cmd/nfpm@$(NFPM:nfpm-%=%)
	mv bin/nfpm $@

release-snapshot: bin/$(GORELEASER)
	bin/$(GORELEASER) check
	COMMIT=$(COMMIT) SNAPSHOT=$(NEXT)-dev+$$(git rev-parse --short=7 HEAD) bin/$(GORELEASER) release --snapshot --clean
	@echo "release-snapshot: no images, which need base images and a registry: see .github/workflows/release.yml"

# Of the workflow, which has a tag and a token.
release: bin/$(GORELEASER)
	COMMIT=$(COMMIT) bin/$(GORELEASER) release --clean --release-notes "$(RELEASE_NOTES)"

package-test: bin/$(NFPM) completions tools
	$(GO) test -vet=off ./cmd/persat-bridge/deploy/packages -run '^TestPackages$$' -nfpm $(CURDIR)/bin/$(NFPM) -count=1 -v -timeout 15m

clean:
	rm -rf bin dist artefacts
