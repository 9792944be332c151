# opsauth: what people type. "make help" lists it.

SHELL      := /bin/bash
CC         ?= cc
MAKEFLAGS  += --no-builtin-rules
ROOT       := $(CURDIR)
BUILD      ?= $(ROOT)/build

# an nginx source tree; Debian's nginx-dev by default
NGINX_SRC       ?= /usr/share/nginx/src
# configure arguments for a source tree other than Debian's
NGINX_CONFIGURE ?= --with-compat --with-http_ssl_module --with-http_v2_module \
                   --with-http_realip_module --with-http_auth_request_module \
                   --with-threads
# further compiler flags for module, command and unit tests; for the module alone;
# for the linker
OPT             ?= -O2 -g
MODULE_OPT      ?=
LD_OPT          ?=

PREFIX     ?= /usr
DESTDIR    ?=
MODULESDIR ?= /usr/lib/nginx/modules

WARN     := -Wall -Wextra -Werror -Wno-unused-parameter
HARDEN   := -fstack-protector-strong -D_FORTIFY_SOURCE=2
LDFLAGS  ?= -Wl,-z,relro -Wl,-z,now
# the module as a whole, where compiler and linker can: a request goes through
# small functions in many files. LTO= turns it off
LTO      ?= $(shell d=$$(mktemp -d) && echo 'int one;' \
                | $(CC) -flto=auto -fPIC -shared -x c - -o $$d/one.so 2>/dev/null \
                && echo -flto=auto; rm -rf "$$d")
NGX_OPT  := $(OPT) $(HARDEN) $(WARN) -Wno-missing-field-initializers
CFLAGS_C := -std=c11 -D_GNU_SOURCE $(OPT) $(HARDEN) $(WARN) -MMD -MP

MODULE   := $(BUILD)/ngx_http_opsauth_module.so
CLI      := $(BUILD)/opsauth

CORE_SRC := $(wildcard src/core/*.c)
CORE_OBJ := $(CORE_SRC:src/%.c=$(BUILD)/obj/%.o)
CLI_SRC  := $(wildcard src/cli/*.c)
CLI_OBJ  := $(CLI_SRC:src/%.c=$(BUILD)/obj/%.o)
MOD_SRC  := ngx_http_opsauth_module.c config src/module.map $(wildcard src/core/*.[ch] \
            src/redis/*.[ch] src/shm/*.[ch] src/http/*.[ch] src/oauth/*.[ch])

.PHONY: all module cli unit deps deps-build interop demo demo-stop test check stress soak \
        binary asan built-in test-asan test-valgrind test-modes matrix fuzz fuzzers \
        bench compare install uninstall static deb dist release-check clean help

all: module cli

help:
	@echo "make             build/ngx_http_opsauth_module.so and build/opsauth"
	@echo "make demo        install what is needed, build, start Redis, a backend and nginx"
	@echo "make demo-stop   stop what make demo started"
	@echo "make test        install what is needed, build, run the whole test suite"
	@echo "make check       run the test suite, installing nothing (T=\"t/x.t ...\" for some)"
	@echo "make test-asan   the suite with AddressSanitizer, UBSan and an nginx without pools"
	@echo "make test-valgrind  the suite under valgrind, with such an nginx, too"
	@echo "make test-modes  the suite by reload, with poll, in one process, built in (MODES=poll)"
	@echo "make matrix      the suite with other versions of nginx, Redis, Valkey (ROWS=debian13-redis)"
	@echo "make fuzz        every parser with libFuzzer (FUZZ_SECONDS=60 for each, FUZZ=\"jws ...\")"
	@echo "make stress      the bound on stale answers, for long (STRESS_SECONDS=600)"
	@echo "make soak        everything at once, for an hour (SOAK_SECONDS=3600)"
	@echo "make bench       install what is needed, build, measure against plain proxying"
	@echo "make compare     the same against what one would take instead: Lua, auth_request, njs"
	@echo "make static      an nginx with the module built in (NGINX_SRC must be a full tree)"
	@echo "make install     install module, command, man page, documentation (DESTDIR, PREFIX)"
	@echo "make uninstall   remove what make install put there"
	@echo "make deb         a Debian package, for the nginx of this Debian (docs/install.md)"
	@echo "make dist        a tarball of what is committed"
	@echo "make release-check  is this tree fit to be released? (ALL=1: package and image, too)"
	@echo "make clean       remove build/"
	@echo
	@echo "NGINX_SRC=DIR    build against this nginx source tree instead of Debian's nginx-dev"
	@echo "BENCH=--quick    arguments for bench/run and bench/compare, see bench/README.md"
	@echo "CC=clang         another compiler; OPT='-O0 -g' other flags"

module: $(MODULE)
cli: $(CLI)

# --- what is missing is named with the package that brings it ---------------

$(BUILD)/.tools: | $(BUILD)
	@missing=; \
	need() { echo "$$2" | $(CC) -E -x c - >/dev/null 2>&1 || missing="$$missing $$1"; }; \
	command -v $(CC) >/dev/null || { echo "no compiler $(CC): apt-get install gcc make" >&2; exit 1; }; \
	need libhiredis-dev '#include <hiredis/hiredis.h>'; \
	need libssl-dev     '#include <openssl/evp.h>'; \
	need libjansson-dev '#include <jansson.h>'; \
	need libpcre2-dev   "$$(printf '#define PCRE2_CODE_UNIT_WIDTH 8\n#include <pcre2.h>')"; \
	if [ ! -f $(NGINX_SRC)/auto/module ]; then \
	    if [ $(NGINX_SRC) = /usr/share/nginx/src ]; then missing="$$missing nginx-dev"; \
	    else echo "NGINX_SRC=$(NGINX_SRC) is no nginx source tree (no auto/module there)" >&2; exit 1; fi; \
	fi; \
	if [ -n "$$missing" ]; then \
	    echo "missing on this machine; on Debian: apt-get install$$missing" >&2; exit 1; \
	fi
	@touch $@

$(BUILD):
	@mkdir -p $@

# --- the module: nginx's own configure and make ------------------------------

$(BUILD)/nginx/Makefile: config Makefile $(sort $(dir $(MOD_SRC))) | $(BUILD)/.tools
	@.ci/configure-nginx "$(NGINX_SRC)" "$(BUILD)/nginx" dynamic "$(CC)" "$(NGX_OPT) $(LTO)" "$(LTO) $(LDFLAGS) $(LD_OPT)" $(NGINX_CONFIGURE)
	@touch $@

$(MODULE): $(BUILD)/nginx/Makefile $(MOD_SRC)
	@$(MAKE) -s --no-print-directory -C $(NGINX_SRC) -f $(BUILD)/nginx/Makefile modules \
	    CC="$(strip $(CC) $(MODULE_OPT))"
	@cp $(BUILD)/nginx/ngx_http_opsauth_module.so $@.new && mv $@.new $@
	@echo "built $@"

# the program that belongs to the module, where NGINX_SRC is a full tree
binary: $(BUILD)/nginx/nginx

$(BUILD)/nginx/nginx: $(BUILD)/nginx/Makefile
	@$(MAKE) -s --no-print-directory -C $(NGINX_SRC) -f $(BUILD)/nginx/Makefile binary
	@touch $@
	@echo "built $@"

static: $(BUILD)/static/nginx

$(BUILD)/static/Makefile: config Makefile $(sort $(dir $(MOD_SRC))) | $(BUILD)/.tools
	@.ci/configure-nginx "$(NGINX_SRC)" "$(BUILD)/static" static "$(CC)" "$(NGX_OPT)" "$(LDFLAGS) $(LD_OPT)" $(NGINX_CONFIGURE)
	@touch $@

$(BUILD)/static/nginx: $(BUILD)/static/Makefile $(MOD_SRC)
	@$(MAKE) -s --no-print-directory -C $(NGINX_SRC) -f $(BUILD)/static/Makefile binary
	@touch $@
	@echo "built $@"

# --- core, command, unit tests -----------------------------------------------

$(BUILD)/obj/core/%.o: src/core/%.c | $(BUILD)/.tools
	@mkdir -p $(@D)
	@$(CC) $(CFLAGS_C) -Isrc/core -c $< -o $@

$(BUILD)/obj/cli/%.o: src/cli/%.c | $(BUILD)/.tools
	@mkdir -p $(@D)
	@$(CC) $(CFLAGS_C) -Isrc/core -Isrc/cli -c $< -o $@

$(CLI): $(CORE_OBJ) $(CLI_OBJ)
	@$(CC) $(OPT) $(LDFLAGS) -o $@ $^ -lhiredis -ljansson -lpcre2-8 -lssl -lcrypto
	@echo "built $@"

# written by the command from its own tables; it must run on this machine
PAGES := $(addprefix $(BUILD)/,opsauth.1 opsauth.bash _opsauth)

$(BUILD)/opsauth.1: $(CLI)
	@$(CLI) man > $@.new && mv $@.new $@

$(BUILD)/opsauth.bash: $(CLI)
	@$(CLI) completion bash > $@.new && mv $@.new $@

$(BUILD)/_opsauth: $(CLI)
	@$(CLI) completion zsh > $@.new && mv $@.new $@

# t/unit/oa_*.c use the core alone; t/unit/ngx_*.c a file of src/shm or
# src/redis with nginx's headers. All with AddressSanitizer and UBSan.

ASAN     := -fsanitize=address -fno-omit-frame-pointer
UBSAN    := -fsanitize=undefined -fno-sanitize-recover=undefined
SAN      := $(ASAN) $(UBSAN)
UNIT_SRC := $(wildcard t/unit/*.c)
UNIT_BIN := $(UNIT_SRC:t/unit/%.c=$(BUILD)/unit/%)
UNIT_OBJ := $(CORE_SRC:src/core/%.c=$(BUILD)/unit/obj/%.o)
NGX_INC  := -I$(NGINX_SRC)/src/core -I$(NGINX_SRC)/src/event -I$(NGINX_SRC)/src/event/modules \
            -I$(NGINX_SRC)/src/event/quic -I$(NGINX_SRC)/src/os/unix -I$(BUILD)/nginx \
            -Isrc/core -Isrc/shm -Isrc/redis -Isrc/oauth

unit: $(UNIT_BIN)

.SECONDARY: $(UNIT_OBJ)

$(BUILD)/unit/obj/%.o: src/core/%.c | $(BUILD)/.tools
	@mkdir -p $(@D)
	@$(CC) -std=c11 -D_GNU_SOURCE -O1 -g $(WARN) $(SAN) -MMD -MP -Isrc/core -c $< -o $@

$(BUILD)/unit/oa_%: t/unit/oa_%.c $(UNIT_OBJ) $(wildcard t/unit/*.h)
	@$(CC) -std=c11 -D_GNU_SOURCE -O1 -g $(WARN) $(SAN) -Isrc/core -It/unit $< $(UNIT_OBJ) -lcrypto -o $@

$(BUILD)/unit/ngx_%: t/unit/ngx_%.c $(wildcard t/unit/*.h) $(wildcard src/core/* src/shm/* src/redis/* src/oauth/*_script.*) \
                   | $(BUILD)/nginx/Makefile
	@mkdir -p $(@D)
	@$(CC) -D_GNU_SOURCE -O1 -g $(WARN) $(SAN) -It/unit $(NGX_INC) $< -lhiredis -lcrypto -lpthread -o $@

-include $(CORE_OBJ:.o=.d) $(CLI_OBJ:.o=.d) $(UNIT_OBJ:.o=.d)

# libFuzzer is clang's
FUZZ_CC ?= clang

# --- demo, tests --------------------------------------------------------------

deps-build:
	@.ci/packages build

deps:
	@.ci/packages build test
	@$(MAKE) --no-print-directory interop

# OAuth software from npm, for t/63-oauth-interop.t
interop: $(BUILD)/interop/node_modules/.package-lock.json

$(BUILD)/interop/node_modules/.package-lock.json: t/interop/package-lock.json
	@mkdir -p $(BUILD)/interop
	@cp t/interop/package.json t/interop/package-lock.json $(BUILD)/interop/
	@echo "installing: npm packages of t/interop"
	@cd $(BUILD)/interop && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error
	@touch $@

demo:
	@.ci/packages build demo
	@$(MAKE) --no-print-directory all
	@conf-examples/demo/start "$(BUILD)"

demo-stop:
	@conf-examples/demo/stop "$(BUILD)"

test: deps
	@$(MAKE) --no-print-directory check

# with some files, of different parts, also in a configuration that came by a reload
HUP_T := $(patsubst %,t/%.t,13-identity 25-feed 60-oauth-token 65-rates)

check: all unit $(if $(shell command -v $(FUZZ_CC)),fuzzers)
	@status=0; \
	$(if $(T),,t/modes hup -- $(HUP_T) || status=1; echo '--- the suite';) \
	t/run $(T) || status=1; \
	exit $$status
	@[ -n "$(T)" ] || .ci/tests-passed mark "$(BUILD)"

# --- fuzzing: t/fuzz/NAME.c is a target, t/fuzz/corpus/NAME what it starts from ----

FUZZ_SECONDS ?= 60
FUZZ_SRC     := $(wildcard t/fuzz/*.c)
FUZZ_BIN     := $(FUZZ_SRC:t/fuzz/%.c=$(BUILD)/fuzz/%)
FUZZ_OBJ     := $(CORE_SRC:src/core/%.c=$(BUILD)/fuzz/obj/%.o)
# targets that need nginx's headers
FUZZ_NGX     := $(addprefix $(BUILD)/fuzz/,resp table)
FUZZ_FLAGS   := -std=gnu11 -D_GNU_SOURCE -O1 -g $(WARN) -Wno-unused-function $(SAN)

fuzzers: $(FUZZ_BIN)

.SECONDARY: $(FUZZ_OBJ)

$(BUILD)/fuzz/obj/%.o: src/core/%.c | $(BUILD)/.tools
	@mkdir -p $(@D)
	@$(FUZZ_CC) $(FUZZ_FLAGS) -fsanitize=fuzzer-no-link -MMD -MP -Isrc/core -c $< -o $@

$(FUZZ_NGX): $(BUILD)/fuzz/%: t/fuzz/%.c t/fuzz/fuzz.h $(wildcard t/unit/*.h src/shm/* src/redis/*) \
             | $(BUILD)/nginx/Makefile
	@mkdir -p $(@D)
	@$(FUZZ_CC) $(FUZZ_FLAGS) -fsanitize=fuzzer -It/fuzz -It/unit $(NGX_INC) $< -lhiredis -lcrypto -o $@

$(BUILD)/fuzz/%: t/fuzz/%.c t/fuzz/fuzz.h $(wildcard t/unit/*.h) $(FUZZ_OBJ)
	@$(FUZZ_CC) $(FUZZ_FLAGS) -fsanitize=fuzzer -It/fuzz -It/unit -Isrc/core $< $(FUZZ_OBJ) -lcrypto -o $@

-include $(FUZZ_OBJ:.o=.d)

fuzz: fuzzers
	@BUILD="$(BUILD)" FUZZ_SECONDS="$(FUZZ_SECONDS)" t/fuzz/run $(FUZZ)

# --- the suite in other ways, see docs/testing.md --------------------------------

# nginx's whole source; Debian's nginx-dev has no more than headers
NGINX_FULL ?= $(BUILD)/nginx-source

$(BUILD)/nginx-source/auto/module:
	@.ci/nginx-source "$(BUILD)/nginx-source"
	@touch $@

# an nginx whose pools give every piece of memory a block of its own
POOLLESS := -DNGX_DEBUG_PALLOC=1
FULL      = $(MAKE) --no-print-directory NGINX_SRC="$(NGINX_FULL)" LTO= HARDEN= \
            NGINX_CONFIGURE="$(NGINX_CONFIGURE) --with-http_addition_module \
                --with-poll_module --error-log-path=stderr"

# UBSan for what is ours alone: nginx passes NULL to memcpy(), and more
asan: $(NGINX_FULL)/auto/module
	+@$(FULL) BUILD="$(BUILD)/asan" OPT="-O1 -g $(ASAN) $(UBSAN)" cli
	+@$(FULL) BUILD="$(BUILD)/asan" OPT="-O1 -g $(ASAN) $(POOLLESS)" LD_OPT="$(ASAN)" \
	    MODULE_OPT="$(UBSAN)" binary module

built-in: $(NGINX_FULL)/auto/module
	+@$(FULL) BUILD="$(BUILD)/built-in" OPT="-O1 -g $(POOLLESS)" static

test-asan: deps
	@$(MAKE) --no-print-directory all unit asan
	@BUILD="$(BUILD)" t/modes asan -- $(T)

test-valgrind: deps
	@.ci/packages valgrind
	@$(MAKE) --no-print-directory all unit built-in
	@BUILD="$(BUILD)" t/modes valgrind -- $(T)

test-modes: deps
	@$(MAKE) --no-print-directory all unit built-in
	@BUILD="$(BUILD)" t/modes $(or $(MODES),hup poll single static) -- $(T)

# needs root and debootstrap; what has to be named is described in .ci/matrix
matrix: deps
	@BUILD="$(BUILD)" T="$(T)" .ci/matrix $(ROWS)

# the same as in the suite, but there for 20 seconds
stress: all
	@STRESS_SECONDS=$(or $(STRESS_SECONDS),600) t/run -v t/51-stress.t

# the same as in the suite, but there for 8 seconds; the figures as Markdown
soak: all
	@mkdir -p "$(BUILD)/soak"; rm -f "$(BUILD)/soak/SUMMARY.md"; \
	SOAK_SECONDS=$(or $(SOAK_SECONDS),3600) SOAK_SUMMARY="$(BUILD)/soak/SUMMARY.md" \
	    t/run t/54-soak.t; status=$$?; \
	[ ! -f "$(BUILD)/soak/SUMMARY.md" ] || cat "$(BUILD)/soak/SUMMARY.md"; exit $$status

bench:
	@.ci/packages build bench
	@$(MAKE) --no-print-directory module
	@BUILD="$(BUILD)" bench/run $(BENCH)

compare:
	@.ci/packages build bench
	@$(MAKE) --no-print-directory module
	@BUILD="$(BUILD)" bench/compare $(BENCH)

# --- install --------------------------------------------------------------------

DOCDIR := $(DESTDIR)$(PREFIX)/share/doc/opsauth

install: all $(PAGES)
	install -d $(DESTDIR)$(MODULESDIR) $(DESTDIR)$(PREFIX)/bin \
	    $(DESTDIR)$(PREFIX)/share/man/man1 \
	    $(DESTDIR)$(PREFIX)/share/bash-completion/completions \
	    $(DESTDIR)$(PREFIX)/share/zsh/vendor-completions \
	    $(DESTDIR)$(PREFIX)/share/nginx/modules-available \
	    $(DOCDIR)/docs $(DOCDIR)/conf-examples/demo
	install -m 644 $(MODULE) $(DESTDIR)$(MODULESDIR)/
	install -m 755 $(CLI) $(DESTDIR)$(PREFIX)/bin/opsauth
	install -m 644 $(BUILD)/opsauth.1 $(DESTDIR)$(PREFIX)/share/man/man1/
	install -m 644 $(BUILD)/opsauth.bash \
	    $(DESTDIR)$(PREFIX)/share/bash-completion/completions/opsauth
	install -m 644 $(BUILD)/_opsauth $(DESTDIR)$(PREFIX)/share/zsh/vendor-completions/
	echo 'load_module modules/ngx_http_opsauth_module.so;' \
	    > $(DESTDIR)$(PREFIX)/share/nginx/modules-available/mod-http-opsauth.conf
	install -m 644 README.md LICENSE CHANGELOG.md $(DOCDIR)/
	install -m 644 docs/*.md docs/*.json $(DOCDIR)/docs/
	install -m 644 conf-examples/*.conf $(DOCDIR)/conf-examples/
	install -m 644 conf-examples/demo/*.in $(DOCDIR)/conf-examples/demo/

uninstall:
	rm -f $(DESTDIR)$(MODULESDIR)/ngx_http_opsauth_module.so \
	    $(DESTDIR)$(PREFIX)/bin/opsauth \
	    $(DESTDIR)$(PREFIX)/share/man/man1/opsauth.1 \
	    $(DESTDIR)$(PREFIX)/share/bash-completion/completions/opsauth \
	    $(DESTDIR)$(PREFIX)/share/zsh/vendor-completions/_opsauth \
	    $(DESTDIR)$(PREFIX)/share/nginx/modules-available/mod-http-opsauth.conf
	rm -rf $(DOCDIR)

# --- releases --------------------------------------------------------------------

deb:
	@.ci/packages build deb
	@.ci/build-deb "$(BUILD)"

dist: | $(BUILD)
	@v=opsauth-$$(.ci/version) && \
	git archive --prefix=$$v/ HEAD | gzip -9n > $(BUILD)/$$v.tar.gz && \
	echo "built $(BUILD)/$$v.tar.gz"

release-check:
	@.ci/release-check $(if $(ALL),--all) "$(BUILD)"

clean:
	rm -rf $(BUILD)
