# Warren. `make help` lists the targets.

SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help build demo run bench test race generate lint verify breaking tidy clean

VERSION ?= $(shell git describe --always --dirty 2>/dev/null || echo unknown)
COMMIT ?= $(shell git rev-parse HEAD 2>/dev/null)
BUILDINFO := github.com/warrenmq/warren/pkg/buildinfo
LDFLAGS := -s -w -X $(BUILDINFO).version=$(VERSION) -X $(BUILDINFO).commit=$(COMMIT)

# Each tool has a module file of its own in .tools, so that its dependencies
# stay out of the product's; `go tool` builds and caches it.
BUF := go tool -modfile=.tools/buf.mod buf
GOLANGCI := go tool -modfile=.tools/golangci-lint.mod golangci-lint
GOVULNCHECK := go tool -modfile=.tools/govulncheck.mod govulncheck

# The race detector needs a C compiler. What was translated from C, SQLite, it does not
# look at: that has locks of its own, and takes five times as long with it.
RACE := $(if $(shell command -v cc),-race -gcflags=modernc.org/sqlite/lib=-race=false -gcflags=modernc.org/libc=-race=false,)

help: ## list the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

build: ## build the binaries into bin/
	@mkdir -p bin
	CGO_ENABLED=0 go build -trimpath -ldflags '$(LDFLAGS)' -o bin/ ./services/gateway ./services/deadletter ./services/worker ./services/demo ./services/playground

demo: build ## start everything, run real tasks, check the results, stop everything
	@exec bin/playground demo --bin-dir bin

run: build ## leave the platform up on the default ports; Ctrl-C stops it
	@exec bin/playground run --bin-dir bin

# BENCHFLAGS are a command and flags of `bin/bench --help`, such as BENCHFLAGS='--rounds 3',
# 'tune --json tune.json' or 'scheduled --tasks 100000'.
bench: build ## measure Warren against the raw broker: rates, latencies, CPU
	CGO_ENABLED=0 go build -trimpath -ldflags '$(LDFLAGS)' -o bin/ ./services/bench
	@exec bin/bench --bin-dir bin $(BENCHFLAGS)

test: ## run every test against a RabbitMQ that the tests start themselves
	go test $(RACE) -timeout 20m $$(go list ./... | grep -v /services/e2e)
	go test -timeout 60m -count 1 ./services/e2e/...

race: ## run the tests of packages with the race detector
	go test -race -count 1 -timeout 30m $$(go list ./... | grep -v /services/e2e)

generate: deps ## generate code from proto/ into gen/
	$(BUF) lint
	rm -rf gen
	$(BUF) generate

# buf/validate/validate.proto and google/rpc/status.proto come with Go modules. The
# latter is in none that is still kept up, and has not changed for years.
.PHONY: deps
deps:
	@go mod download -modfile=.tools/googleapis.mod github.com/grpc-ecosystem/grpc-gateway
	@rm -rf .deps/googleapis && mkdir -p .deps/googleapis/google/rpc
	@cp --no-preserve=mode "$$(go list -modfile=.tools/googleapis.mod -m -f '{{.Dir}}' github.com/grpc-ecosystem/grpc-gateway)/third_party/googleapis/google/rpc/status.proto" .deps/googleapis/google/rpc/
	@go mod download -modfile=.tools/buf.mod github.com/bufbuild/protovalidate
	@rm -rf .deps/protovalidate && mkdir -p .deps/protovalidate
	@cp -r --no-preserve=mode "$$(go list -modfile=.tools/buf.mod -m -f '{{.Dir}}' github.com/bufbuild/protovalidate)/proto/protovalidate/buf" .deps/protovalidate/

lint: deps ## check protos, formatting and code
	$(BUF) lint
	@test -z "$$(gofmt -l $$(git ls-files '*.go'))" || { echo "not gofmt-ed:"; gofmt -l $$(git ls-files '*.go'); exit 1; }
	go vet ./...
	$(GOLANGCI) run

breaking: deps ## check the protos against the last commit that changed them
	@base=$$(git log -2 --format=%H -- proto | tail -1); \
	dir=$$(mktemp -d); trap 'rm -rf "$$dir"' EXIT; \
	git archive "$$base" buf.yaml proto | tar -x -C "$$dir"; mkdir -p "$$dir/.deps"; cp -r .deps/protovalidate .deps/googleapis "$$dir/.deps/"; \
	echo "buf breaking against $$base"; $(BUF) breaking --against "$$dir"

tidy: ## check that go.mod and go.sum are tidy
	go mod tidy -diff

verify: generate lint breaking tidy ## everything that needs no broker; generated code must be current
	@test -z "$$(git status --porcelain gen)" || { echo "gen/ is not current; commit what make generate made:"; git status --porcelain gen; exit 1; }
	@if ! $(GOVULNCHECK) ./... 2>.run-govulncheck; then \
	  if grep -q 'vuln.go.dev' .run-govulncheck; then echo "govulncheck was not run: its database can't be reached"; \
	  else cat .run-govulncheck; rm -f .run-govulncheck; exit 1; fi; fi; rm -f .run-govulncheck

clean: ## remove what was built; a platform's data in .run stay
	rm -rf bin .deps
