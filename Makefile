# Everything a target needs it installs itself, into .venv, from the pinned set in deploy/.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.DEFAULT_GOAL := help
.PHONY: compiled test-compiled air-gapped gameday mesh example peers requirements screenshots scan tokens examples trail helm lint fuzz-admin fuzz-rest dist test-oldest conformance differential fuzz proto help hostile demo test check docs fmt bench outage chaos limits budgets metering soak clean image-digests

help: ## Show this help
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

demo: $(READY) ## Watch a real Envoy allow, deny and forget a key; with Chromium, pictures of the console
	@$(BIN)/authz dev --check --ephemeral
	@$(BIN)/python -m tests.support.console.screenshots --if-possible .screenshots

test: $(READY) ## Run every test against a real Envoy and a real Valkey, three files at a time (WORKERS)
	@$(BIN)/pytest --numprocesses $(or $(WORKERS),3) --dist loadfile --no-loadscope-reorder

test-oldest: $(READY) ## Run the requests of the system tests through the oldest Envoy (VERSION)
	@TEST_ENVOY=$(or $(VERSION),$$($(BIN)/python -c 'from tests.support.envoy_versions import OLDEST; print(OLDEST)')) \
	  $(BIN)/pytest -q tests/system/test_envoy.py -k 'not grpcio'

compiled: $(READY) ## Compile the hot path into .compiled, a tree beside this one (needs a C compiler)
	@$(BIN)/python -m tests.support.compiled_tree .compiled

# The same tests as without a compiler, of the modules that are compiled and of those around them;
# and that the sidecars which they start are compiled.
COMPILED_TESTS := tests/core tests/flows tests/rpc/check tests/rpc/h2 tests/telemetry/test_observer.py \
  tests/storage/test_encoding.py tests/storage/test_altered_records.py tests/system/test_compiled.py \
  tests/deploy/test_compiled_wheel.py
test-compiled: compiled ## Run the tests of the hot path with its compiled modules (WORKERS)
	@cd .compiled && PYTHONPATH=$(CURDIR)/.compiled $(BIN)/python -m pytest -q --numprocesses $(or $(WORKERS),3) $(COMPILED_TESTS)

lint: $(READY) ## Format, lint, types, architecture
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo

check: lint ## The same, the docs, which are also a part of `make test`, and images without a digest
	@$(BIN)/python -m tests.support.deploy.image_digests --check
	@$(BIN)/pytest -q --numprocesses 2 tests/docs

docs: $(READY) ## Write the generated parts of the pages, and build the site into .site
	@$(BIN)/python -m tests.support.docs.pages
	@NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --config-file deploy/site/mkdocs.yml
	@echo "the site is in .site; open .site/index.html, or with the search: python3 -m http.server --directory .site"

helm: $(READY) ## Write the generated files of the Helm chart; lint and render it (needs helm)
	@$(BIN)/python -m tests.support.deploy.chart
	@$(BIN)/pytest -q -rs tests/deploy/test_chart.py tests/deploy/test_helm*.py

mesh: $(READY) ## Our manifests on a real kube-apiserver, istiod and Envoy Gateway, with requests (builds once, an hour; PART, BUILD=no)
	@$(BIN)/python -m tests.mesh $(if $(PART),--part "$(PART)") $(if $(filter no,$(BUILD)),--no-build)

dist: $(READY) ## Build sdist and wheel into dist, the same bytes on every machine (COMPILED=1: and one for this platform)
	@$(BIN)/python -m hatchling build --directory dist
	@$(if $(filter-out no,$(COMPILED)),$(BIN)/python -m tests.support.compiled_tree --wheel dist,true)
	@cd dist && sha256sum envoy_authz-*

fmt: $(READY) ## Format the code and mend what the linter can
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

peers: compiled ## Measure the gate, pure and compiled, beside a server in Go and Envoy's own filter (needs Go; RECORD=--record keeps the figures)
	@$(BIN)/python -m tests.bench.peers --compiled .compiled $(RECORD)

bench: $(READY) ## Measure the hot path, transports, Envoy, the link, revocations, lists, imports, start-up, memory, admin API, console
	@$(BIN)/python -m tests.bench.check_hot
	@$(BIN)/python -m tests.bench.connection_hot
	@$(BIN)/python -m tests.bench.transport
	@$(BIN)/python -m tests.bench.h2load
	@$(BIN)/python -m tests.bench.through_envoy
	@$(BIN)/python -m tests.bench.link
	@$(BIN)/python -m tests.bench.revocation
	@$(BIN)/python -m tests.bench.propagation
	@$(BIN)/python -m tests.bench.rolling
	@$(BIN)/python -m tests.bench.listing
	@$(BIN)/python -m tests.bench.memory
	@$(BIN)/python -m tests.bench.collector
	@$(BIN)/python -m tests.bench.import_keys
	@$(BIN)/python -m tests.bench.start_up
	@$(BIN)/python -m tests.bench.telemetry
	@$(BIN)/python -m tests.bench.flood
	@$(BIN)/python -m tests.bench.limits
	@$(BIN)/python -m tests.bench.budgets
	@$(BIN)/python -m tests.bench.charge_once
	@$(BIN)/python -m tests.bench.admin_api
	@$(BIN)/python -m tests.bench.usage
	@$(BIN)/python -m tests.bench.console
	@$(BIN)/python -m tests.bench.tokens
	@$(BIN)/python -m tests.bench.scan
	@$(BIN)/python -m tests.bench.leak

outage: $(READY) ## A bulk update while a sidecar stands still, a minute without the store (about 3 minutes)
	@$(BIN)/python -m tests.bench.burst
	@$(BIN)/python -m tests.bench.outage

# The faults of a cluster are played twice: one run judges keys, the other one limits and usage.
CHAOS = --seconds $(or $(SECONDS),60) $(if $(SEED),--seed $(SEED))
ON_CLUSTER = $(CHAOS) $(if $(SERVER),--server $(SERVER))
chaos: $(READY) ## Break everything for a minute, under load, and judge every answer (SECONDS, SEED, CLUSTER=1, SERVER)
	@$(BIN)/python -m tests.chaos $(if $(CLUSTER),--cluster $(ON_CLUSTER),$(CHAOS))
	@$(if $(CLUSTER),$(BIN)/python -m tests.counting $(ON_CLUSTER),true)

limits: $(READY) ## Eight processes spend from the same limits, killed and paused; never over (SECONDS)
	@$(BIN)/python -m tests.spending --seconds $(or $(SECONDS),30)

budgets: $(READY) ## Play 10,000 random histories of budgets against a model, and 200 requests at a time (HISTORIES)
	@$(BIN)/python -m tests.spending.budget_histories $(or $(HISTORIES),10000)
	@$(BIN)/python -m tests.spending.budget_simulation

budgets-real: $(READY) ## Use up budgets through Envoy, two sidecars and a meter, with 0, 5 and 100 % of the usage lost (about 6 minutes)
	@$(BIN)/python -m tests.spending.real_budgets $(RECORD)

metering: $(READY) ## Count usage through a real Envoy while everything fails; counted = answered (SECONDS, SEED)
	@$(BIN)/python -m tests.metering --seconds $(or $(SECONDS),60) $(if $(SEED),--seed $(SEED))

scan: $(READY) ## Search 1 GiB of noise for keys and a history of 100,000 objects for planted ones (MIB, OBJECTS)
	@$(BIN)/python -m tests.bench.scan --mib $(or $(MIB),1024) --objects $(or $(OBJECTS),100000)

gameday: $(READY) ## Two keys leak: found, reported, revoked or rotated, and the holder moved; prints the times (TO)
	@$(BIN)/python -m tests.system.gameday --to $(or $(TO),post-mortem.md)

soak: $(READY) ## A million Checks, one in a hundred cancelled: what the memory does (CALLS, TRANSPORT)
	@$(BIN)/python -m tests.soak --transport $(or $(TRANSPORT),fast) --calls $(or $(CALLS),1000000)

hostile: $(READY) ## Ten thousand hostile requests through two Envoys: none allowed, no key seen (REQUESTS each)
	@HOSTILE_REQUESTS=$(or $(REQUESTS),5000) $(BIN)/pytest -q -s tests/system/test_hostile.py

tokens: $(READY) ## Try 100,000 bad tokens: none is accepted (VARIANTS, SEED)
	@$(BIN)/python -m tests.core.tokens.attacks --variants $(or $(VARIANTS),100000) --seed $(or $(SEED),1)

conformance: $(READY) ## h2spec against the fast transport; says how to get h2spec
	@$(BIN)/python -m tests.rpc.h2.conformance

fuzz: $(READY) ## Throw made-up clients at the fast transport's connection for a minute (SECONDS)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check \
	  --constraint deploy/constraints.txt --editable '.[fuzz]'
	@$(BIN)/python -m tests.rpc.h2.fuzz .fuzz -max_total_time=$(or $(SECONDS),60)

differential: $(READY) ## Made-up requests through Envoy to four frameworks: none gets around a rule (N, SEED)
	@$(BIN)/python -m tests.differential.fuzz --requests $(or $(N),50000) --seed $(or $(SEED),1)

air-gapped: $(READY) ## Install without the internet, as the run book says (downloads every package)
	@$(BIN)/pytest -q -rs tests/deploy/air_gapped.py

requirements: ## Write the packages of the image with their hashes (deploy/requirements.txt)
	@$(PYTHON) -m venv .requirements
	@.requirements/bin/python -m pip install --quiet --disable-pip-version-check uv==0.13.9
	@deploy/requirements.sh .requirements/bin/uv

example: $(READY) ## Play an example of docs/examples: NAME=saas, internal, devices, webhooks, downloads or llm
	@$(BIN)/python -m tests.support.docs.example $(or $(NAME),saas)

image-digests: $(READY) ## Ask the registries for the digests of the images of others, and write them into deploy/
	@$(BIN)/python -m tests.support.deploy.image_digests

examples: $(READY) ## Run the examples of docs/admin-api.md, also that in Go (needs go, grpcurl, curl and jq)
	@$(BIN)/pytest -q -rs tests/rpc/admin/test_example.py tests/rpc/admin/go_example.py

screenshots: $(READY) ## Take the screenshots of docs/console.md anew (needs Chromium)
	@$(BIN)/python -m tests.support.console.screenshots

proto: $(READY) ## Generate the modules of our messages anew
	@$(BIN)/python proto/generate.py

fuzz-admin: $(READY) ## Made-up calls of the admin API, and kill -9 during creates (CALLS, TRIALS; half an hour)
	@$(BIN)/python -m tests.rpc.admin.fuzz --calls $(or $(CALLS),20000)
	@$(BIN)/python -m tests.rpc.admin.kills --trials $(or $(TRIALS),300)

trail: $(READY) ## 100,000 audit entries of two writers over a failover: no false finding (ROWS; minutes)
	@$(BIN)/python -m tests.bench.audit --rows $(or $(ROWS),100000)

fuzz-rest: $(READY) ## Requests that schemathesis makes from the OpenAPI document, 10 minutes (SECONDS, SEED)
	@$(PYTHON) -m venv .fuzz-rest
	@.fuzz-rest/bin/python -m pip install --quiet --disable-pip-version-check schemathesis==4.32.5
	@$(BIN)/python -m tests.rpc.admin.rest.fuzz .fuzz-rest/bin/schemathesis \
	  --seconds $(or $(SECONDS),600) --seed $(or $(SEED),1)

clean: ## Remove what the other targets made
	@find authz -name '*.so' -delete && rm -f *__mypyc.*.so
	rm -rf $(VENV) .compiled .screenshots .requirements .fuzz .fuzz-rest .differential .site .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

$(READY): pyproject.toml deploy/constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "authz needs Python 3.11 or newer; name it with make PYTHON=python3.11"; exit 2; }
	@echo "installing into $(VENV) (once)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check \
	  --constraint deploy/constraints.txt --editable '.[demo,test]'
	@touch $@
