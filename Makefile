# Holdfast.  `make` builds, `make check` tests, `make demo` shows; `make help` lists the rest.
#
# A source file belongs to the program by lying in one of ROOMS: nothing is listed here.  Everything but cmd/main.c goes into
# libholdfast.a, from which the program and every unit test are linked.

BUILD ?= build
PREFIX ?= /usr/local
DESTDIR ?=
V ?= 0
WERROR ?= 1

ifeq ($(origin CC),default)
CC := gcc
endif
CFLAGS ?= -O2 -g
PKG_CONFIG ?= pkg-config
INSTALL ?= install
PKGS := libpq libarchive libzstd libcrypto jansson libfyaml libcurl libxml-2.0

ROOMS ?= base orchestrator/engine orchestrator/postgres orchestrator/stack orchestrator/steps storage storage/archive storage/age \
	storage/drivers drills cmd

WARNINGS := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wvla -Wformat=2 -Wundef -Wpointer-arith \
	-Wcast-qual
ifeq ($(WERROR),1)
WARNINGS += -Werror -Wno-error=cast-qual
endif

# Asked for when first used, so that targets which install the packages work before they are there.
lazy = $(eval $1 := $$(shell $2))$($1)
PKG_CFLAGS = $(call lazy,PKG_CFLAGS,$(PKG_CONFIG) --cflags $(PKGS) | sed 's/-I/-isystem /g')
PKG_LIBS = $(call lazy,PKG_LIBS,$(PKG_CONFIG) --libs $(PKGS))
NPROC = $(call lazy,NPROC,nproc)

ifeq ($(SANITIZE),address)
HARDEN := -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer
else ifeq ($(SANITIZE),thread)
HARDEN := -fsanitize=thread -fno-omit-frame-pointer
else ifeq ($(SANITIZE),fuzzer)
HARDEN := -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer
FUZZ_MAIN := -fsanitize=fuzzer
else
HARDEN := -D_FORTIFY_SOURCE=2 -fstack-protector-strong
endif
HF_CPPFLAGS = -D_GNU_SOURCE -I. $(PKG_CFLAGS) $(CPPFLAGS)
HF_CFLAGS = -std=gnu11 -pthread $(WARNINGS) $(HARDEN) $(CFLAGS)
HF_LDFLAGS = -pthread $(HARDEN) -Wl,--as-needed $(LDFLAGS)
HF_LIBS = $(PKG_LIBS) -ls3 -lm

ifeq ($(V),1)
Q :=
say = @:
else
Q := @
say = @printf '  %-7s %s\n'
endif
SUBMAKE = +$(Q)$(MAKE) --no-print-directory
# One job a processor, unless the caller has said how many.
PAR = $(if $(filter -j%,$(MAKEFLAGS)),,-j$(NPROC))

SRCS := $(foreach room,$(ROOMS),$(wildcard $(room)/*.c))
LIB_SRCS := $(filter-out cmd/main.c,$(SRCS))
LIB_OBJS := $(LIB_SRCS:%.c=$(BUILD)/obj/%.o) $(BUILD)/obj/gen/plans.o
MAIN_OBJ := $(patsubst %.c,$(BUILD)/obj/%.o,$(wildcard cmd/main.c))
LIB := $(BUILD)/libholdfast.a
BIN := $(if $(MAIN_OBJ),$(BUILD)/holdfast)
PLANS := $(sort $(wildcard orchestrator/plans/*.yaml))

UNIT_SRCS := $(wildcard tests/unit/test_*.c)
UNIT_HELPER_SRCS := $(filter-out $(UNIT_SRCS),$(wildcard tests/unit/*.c))
UNIT_BINS := $(UNIT_SRCS:tests/unit/%.c=$(BUILD)/tests/%)
UNIT_HELPER_OBJS := $(UNIT_HELPER_SRCS:%.c=$(BUILD)/obj/%.o)
# What scripts need beside the program: shim_*.c is preloaded, any other .c is a program of its own.
SHIM_SRCS := $(wildcard tests/integration/shim_*.c tests/crash/shim_*.c tests/bench/shim_*.c)
SHIMS := $(SHIM_SRCS:tests/%.c=$(BUILD)/tests/%.so)
HELPER_SRCS := $(filter-out $(SHIM_SRCS),$(wildcard tests/integration/*.c tests/crash/*.c tests/bench/*.c))
HELPERS := $(HELPER_SRCS:tests/%.c=$(BUILD)/tests/%)
TEST_SRCS := $(UNIT_SRCS) $(UNIT_HELPER_SRCS) $(SHIM_SRCS) $(HELPER_SRCS)
FUZZ_SRCS := $(wildcard tests/fuzz/*.c)
FUZZ_TARGETS := $(patsubst tests/fuzz/fuzz_%.c,%,$(wildcard tests/fuzz/fuzz_*.c))
FUZZ_BINS := $(FUZZ_TARGETS:%=$(BUILD)/tests/fuzz_%)
# Seconds of each target.
FUZZ_SECONDS ?= 60
executable = $(shell for f in $(sort $(wildcard $1)); do if [ -x "$$f" ]; then echo "$$f"; fi; done)

# What a test script sees of the build.
TEST_ENV = HOLDFAST="$(abspath $(BUILD))/holdfast" HOLDFAST_BUILD="$(abspath $(BUILD))"
RUN_TESTS = $(TEST_ENV) tests/lib/run-tests
# Tests side by side: most of them wait for a server most of the time.
LANES ?= $(shell nproc)

.PHONY: all help bootstrap check check-built programs unit integration crash stacks bench demo fuzz fuzz-programs asan \
	asan-built tsan tsan-built lint tidy format install clean FORCE
.SECONDARY:
.DELETE_ON_ERROR:

all: $(LIB) $(BIN)

help:
	@printf '%s\n' 'all          the program, in $$BUILD (build)' \
		'check        unit, integration and a short form of the crash tests' \
		'unit, integration, crash   each alone; crash in its full form' \
		'stacks       upgrades, rollbacks and rotations with the real software of the stacks, which is installed from npm' \
		'asan         unit and integration tests under the address and undefined-behaviour sanitizers' \
		'tsan         unit tests, a backup and a restore under the thread sanitizer' \
		'fuzz         damaged and hostile input by libFuzzer, FUZZ_SECONDS (60) for each target' \
		'demo         a backup, a disaster and a proven restore on a throwaway server' \
		'bench        speed and memory beside the peers' \
		'lint         clang-format, clang-tidy, shellcheck, who includes whom;  format: rewrite what clang-format minds' \
		'install      DESTDIR, PREFIX (/usr/local);  clean' \
		'' 'V=1 shows the commands; WERROR=0 lets warnings pass; ROOMS="base storage" builds these alone'

bootstrap:
	$(Q)scripts/bootstrap --quiet

# --- compiling ---------------------------------------------------------------------------------------------------------------

$(BUILD)/obj/%.o: %.c Makefile
	@mkdir -p $(@D)
	$(say) CC $<
	$(Q)$(CC) $(HF_CPPFLAGS) $(HF_CFLAGS) -MMD -MP -c -o $@ $<

$(BUILD)/obj/gen/%.o: $(BUILD)/gen/%.c Makefile
	@mkdir -p $(@D)
	$(Q)$(CC) $(HF_CPPFLAGS) $(HF_CFLAGS) -MMD -MP -c -o $@ $<

# Lists that change only when a file comes or goes: a removed file must not live on in the library or the table.
$(BUILD)/gen/objects.list $(BUILD)/gen/plans.list: FORCE
	@mkdir -p $(@D)
	@printf '%s\n' $(if $(findstring plans,$@),$(PLANS),$(LIB_OBJS) $(UNIT_HELPER_OBJS)) > $@.tmp; \
		if cmp -s $@.tmp $@; then rm -f $@.tmp; else mv $@.tmp $@; fi

$(BUILD)/gen/plans.c: $(PLANS) $(BUILD)/gen/plans.list Makefile
	@{ printf '#include "orchestrator/plans/embedded.h"\n\n'; \
	for f in $(PLANS); do n=$$(basename $$f .yaml); \
		printf 'static const char plan_%s[] = {\n' "$$(printf %s $$n | tr -c 'a-zA-Z0-9' _)"; \
		od -An -v -tx1 $$f | sed 's/ \(..\)/0x\1,/g'; printf '0};\n'; done; \
	printf '\nconst struct embedded_plan embedded_plans[] = {\n'; \
	for f in $(PLANS); do n=$$(basename $$f .yaml); c=plan_$$(printf %s $$n | tr -c 'a-zA-Z0-9' _); \
		printf '\t{"%s", %s, sizeof(%s) - 1},\n' $$n $$c $$c; done; \
	printf '\t{0},\n};\nconst size_t embedded_plans_count = %d;\n' $(words $(PLANS)); } > $@

$(LIB): $(LIB_OBJS) $(BUILD)/gen/objects.list
	$(say) AR $@
	$(Q)rm -f $@
	$(Q)$(AR) rcs $@ $(LIB_OBJS)

$(BUILD)/holdfast: $(MAIN_OBJ) $(LIB)
	$(say) LD $@
	$(Q)$(CC) $(HF_LDFLAGS) -o $@ $(MAIN_OBJ) $(LIB) $(HF_LIBS)

# A library too: a test takes of the helpers only what it uses.
$(BUILD)/libunit.a: $(UNIT_HELPER_OBJS) $(BUILD)/gen/objects.list
	$(Q)rm -f $@
	$(Q)$(AR) rcs $@ $(UNIT_HELPER_OBJS)

$(BUILD)/tests/test_%: $(BUILD)/obj/tests/unit/test_%.o $(BUILD)/libunit.a $(LIB)
	@mkdir -p $(@D)
	$(say) LD $@
	$(Q)$(CC) $(HF_LDFLAGS) -o $@ $< $(BUILD)/libunit.a $(LIB) $(HF_LIBS) -lcmocka

$(HELPERS): $(BUILD)/tests/%: $(BUILD)/obj/tests/%.o $(BUILD)/libunit.a $(LIB)
	@mkdir -p $(@D)
	$(say) LD $@
	$(Q)$(CC) $(HF_LDFLAGS) -o $@ $< $(BUILD)/libunit.a $(LIB) $(HF_LIBS)

# With a main of its own that goes through the corpus, or with libFuzzer's.
FUZZ_MAIN ?= $(BUILD)/obj/tests/fuzz/corpus.o
$(BUILD)/tests/fuzz_s3: HF_LDFLAGS += -Wl,--wrap=s3_ask
$(FUZZ_BINS): $(BUILD)/tests/fuzz_%: $(BUILD)/obj/tests/fuzz/fuzz_%.o $(BUILD)/obj/tests/fuzz/support.o \
		$(BUILD)/obj/tests/fuzz/corpus.o $(LIB)
	@mkdir -p $(@D)
	$(say) LD $@
	$(Q)$(CC) $(HF_LDFLAGS) -o $@ $< $(BUILD)/obj/tests/fuzz/support.o $(FUZZ_MAIN) $(LIB) $(HF_LIBS)

# Never sanitized: a preloaded library must not bring a runtime of its own.
$(SHIMS): $(BUILD)/tests/%.so: tests/%.c Makefile
	@mkdir -p $(@D)
	$(say) SHIM $@
	$(Q)$(CC) -D_GNU_SOURCE -I. -std=gnu11 $(WARNINGS) -O2 -g -fPIC -shared -pthread -o $@ $< -ldl

# --- testing -----------------------------------------------------------------------------------------------------------------

programs: all $(UNIT_BINS) $(FUZZ_BINS) $(SHIMS) $(HELPERS)

check: bootstrap
	$(SUBMAKE) $(PAR) programs
	$(SUBMAKE) check-built

check-built:
	@$(TEST_ENV) tests/lib/rgw.sh run tests/lib/run-tests --lanes $(LANES) --env CRASH=short $(call executable,tests/crash/*.sh) \
		$(call executable,tests/integration/*.sh) $(UNIT_BINS) $(FUZZ_BINS)

unit: $(UNIT_BINS)
	@$(RUN_TESTS) $(UNIT_BINS)

integration: all $(SHIMS) $(HELPERS)
	@$(RUN_TESTS) $(call executable,tests/integration/*.sh)

# With the real software of the stacks, which the tests install from npm into BUILD/npm.
stacks: all
	@$(RUN_TESTS) --lanes $(LANES) $(call executable,tests/stacks/*.sh)

crash: all $(SHIMS) $(HELPERS)
	@$(RUN_TESTS) --show --limit 7200 --env CRASH=full $(call executable,tests/crash/*.sh tests/integration/remote_faults.sh)

# Each in a build of its own.
asan: SANITIZER := address
tsan: SANITIZER := thread
asan tsan: bootstrap
	$(SUBMAKE) $(PAR) BUILD=$(BUILD)/$@ SANITIZE=$(SANITIZER) CFLAGS='-O1 -g' programs
	$(SUBMAKE) BUILD=$(BUILD)/$@ SANITIZE=$(SANITIZER) CFLAGS='-O1 -g' $@-built

asan-built:
	@$(RUN_TESTS) --limit 900 $(UNIT_BINS) $(FUZZ_BINS) $(call executable,tests/integration/*.sh)

# The driver forks and runs threads in the child: told to go on.
tsan-built:
	@$(RUN_TESTS) --limit 900 --env TSAN_OPTIONS=die_after_fork=0 $(UNIT_BINS) tests/integration/roundtrip.sh

# By libFuzzer, in a build of its own; FUZZ_TARGETS="tree s3" runs these alone.
fuzz: bootstrap
	$(SUBMAKE) $(PAR) BUILD=$(BUILD)/fuzz SANITIZE=fuzzer CC=clang WERROR=0 CFLAGS='-O1 -g' fuzz-programs
	@BUILD=$(BUILD)/fuzz tests/fuzz/run $(FUZZ_SECONDS) $(FUZZ_TARGETS)

fuzz-programs: $(FUZZ_BINS)

bench: bootstrap
	$(SUBMAKE) $(PAR) all $(HELPERS)
	@$(TEST_ENV) tests/bench/run

demo: bootstrap
	$(SUBMAKE) $(PAR) all
	@$(TEST_ENV) scripts/demo

# --- reading -----------------------------------------------------------------------------------------------------------------

FORMATTED = $(foreach d,$(ROOMS) orchestrator/plans tests/unit tests/integration tests/crash tests/bench tests/fuzz,\
	$(wildcard $d/*.[ch]))
SCRIPTS = $(shell grep -lE '^\#!.*\b(ba)?sh\b' -r scripts tests .ci --include='*' 2>/dev/null; ls tests/lib/*.sh 2>/dev/null)
TIDIED = $(patsubst %.c,$(BUILD)/lint/%.tidy,$(SRCS) $(TEST_SRCS) $(FUZZ_SRCS))

lint: bootstrap
	$(say) FORMAT
	$(Q)clang-format --dry-run -Werror $(FORMATTED)
	$(say) LAYERS
	$(Q)scripts/layers
	$(say) SHELL
	$(Q)shellcheck -x -P SCRIPTDIR -P tests/lib $(sort $(SCRIPTS))
	$(SUBMAKE) $(PAR) tidy

tidy: $(TIDIED)

# After the compiler, whose dependency file tells when a file must be read again.
$(BUILD)/lint/%.tidy: $(BUILD)/obj/%.o .clang-tidy
	@mkdir -p $(@D)
	$(say) TIDY $*.c
	$(Q)clang-tidy --quiet $*.c -- $(HF_CPPFLAGS) -std=gnu11 2>$@.log || { cat $@.log; exit 1; }
	@touch $@

format:
	$(Q)clang-format -i $(FORMATTED)

# --- installing --------------------------------------------------------------------------------------------------------------

install: all
	$(INSTALL) -d $(DESTDIR)$(PREFIX)/bin
	$(INSTALL) -m 755 $(BUILD)/holdfast $(DESTDIR)$(PREFIX)/bin/holdfast
	$(Q)for f in $(wildcard docs/man/*.[1-8]); do d=$(DESTDIR)$(PREFIX)/share/man/man$${f##*.}; \
		$(INSTALL) -d $$d && $(INSTALL) -m 644 $$f $$d/ || exit 1; done
	$(Q)for f in $(wildcard scripts/completion/holdfast.bash); do d=$(DESTDIR)$(PREFIX)/share/bash-completion/completions; \
		$(INSTALL) -d $$d && $(INSTALL) -m 644 $$f $$d/holdfast || exit 1; done
	$(Q)for f in $(wildcard scripts/systemd/*.service scripts/systemd/*.timer); do d=$(DESTDIR)$(PREFIX)/lib/systemd/system; \
		$(INSTALL) -d $$d && $(INSTALL) -m 644 $$f $$d/ || exit 1; done

clean:
	$(Q)rm -rf $(BUILD)

-include $(LIB_OBJS:.o=.d) $(MAIN_OBJ:.o=.d) $(patsubst %.c,$(BUILD)/obj/%.d,$(TEST_SRCS) $(FUZZ_SRCS))
