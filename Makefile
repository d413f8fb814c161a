# SPDX-License-Identifier: MIT
# The short way to everything; Meson does the work. BUILD=dir builds elsewhere, SUITES="--suite NAME" tests less;
# PREFIX=dir and DESTDIR=dir say where to install.

BUILD ?= build
CLANG_FORMAT ?= clang-format

# the sanitizers' shadow memory may collide with a randomized address space
NO_ASLR := $(shell setarch -R true 2>/dev/null && echo setarch -R)
# Many tests sleep or wait for each other, so half as many again as there are CPUs run at once.
TEST = meson test --num-processes $(shell expr $$(nproc) + $$(nproc) / 2) --print-errorlogs -C

.PHONY: build demo check nightly check-32 check-clients check-debian sim bench asan tsan clang cross tidy drawing \
	install uninstall clean format deps
build: $(BUILD)/build.ninja
	ninja -C $(BUILD)

$(BUILD)/build.ninja:
	meson setup $(BUILD)

deps:
	scripts/install-deps

# what the demo needs and no more: in the build of everything if there is one, or else in one without the tests
DEMO_BUILD = $(if $(wildcard $(BUILD)/build.ninja),$(BUILD),$(BUILD)-demo)
demo:
	scripts/install-deps --demo
	test -e $(DEMO_BUILD)/build.ninja || meson setup -Dtests=false $(DEMO_BUILD)
	ninja -C $(DEMO_BUILD) faultline libfaultline-preload.so examples/lazy-snapshot
	scripts/demo $(DEMO_BUILD)

check: deps
	$(MAKE) build
	status=0; $(TEST) $(BUILD) $(SUITES) || status=1; scripts/check-32 $(SUITES) || status=1; exit $$status

# what takes long: every program that runs for a time goes on for NIGHTLY seconds, all suites under the sanitizers,
# and the explorer beyond its bounds
NIGHTLY = 60
nightly: deps
	$(MAKE) build
	status=0; \
	STRESS_SECONDS=$(NIGHTLY) $(TEST) $(BUILD) --timeout-multiplier 10 --suite stress || status=1; \
	FAULT_PASSES=3 $(TEST) $(BUILD) --timeout-multiplier 10 --suite fault || status=1; \
	STRESS_SECONDS=$(NIGHTLY) $(MAKE) asan || status=1; \
	STRESS_SECONDS=$(NIGHTLY) $(MAKE) tsan || status=1; \
	for s in fault store borders; do $(MAKE) sim BOUND=4 RANDOM=0 SCENARIO="$$s*" || status=1; done; \
	$(MAKE) sim RANDOM=200000 SEED=$$(date +%s) || status=1; \
	$(MAKE) sim FAILURES=1 RANDOM=200000 SEED=$$(date +%s) || status=1; \
	exit $$status

# the library as a 32-bit program has it
check-32: deps
	scripts/check-32 $(SUITES)

# large programs as clients, which are not installed for the other tests; the results have a log of their own
check-clients:
	scripts/install-deps --clients
	$(MAKE) build
	$(TEST) $(BUILD) --suite large --logbase clients

# the engine under a scheduler: every schedule within the bound (tests/sim/sim.c says which), then RANDOM more from
# SEED on; with FAILURES=1 also those in which one allocation or host call fails
RANDOM = 20000
SEED = 1
sim: build
	$(BUILD)/tests/sim/sim $(if $(BOUND),--bound $(BOUND)) $(if $(FAILURES),--failures $(FAILURES)) \
		--random $(RANDOM) --seed $(SEED) --scenario '$(or $(SCENARIO),*)'

bench: build
	bench/run $(BUILD) $(if $(AGAINST),--against $(AGAINST))

# clang's runtimes are linked in whole, which lets the interposed functions stand before theirs
SAN_CC ?= clang
asan: OPTIONS = -Dchecks=true -Db_sanitize=address,undefined -Db_lundef=false
tsan: OPTIONS = -Dchecks=true -Db_sanitize=thread -Db_lundef=false
asan tsan:
	test -e $(BUILD)-$@/build.ninja || CC=$(SAN_CC) meson setup $(OPTIONS) $(BUILD)-$@
	$(NO_ASLR) $(if $(SUITES),true,ninja -C $(BUILD)-$@) # what the suites need is built by meson
	$(NO_ASLR) $(TEST) $(BUILD)-$@ --timeout-multiplier 5 $(SUITES)

# a second compiler's warnings
clang:
	test -e $(BUILD)-clang/build.ninja || CC=clang meson setup $(BUILD)-clang
	ninja -C $(BUILD)-clang

cross:
	scripts/check-cross

# the drawing of imports in docs/architecture.md
drawing: build
	scripts/draw-imports $(BUILD)

tidy: build
	scripts/check-tidy --deep $(BUILD)

# DEBIAN="bookworm trixie" says which; DEBIAN_DIR=dir keeps the bare roots
DEBIAN =
check-debian:
	scripts/check-debian $(DEBIAN)

# the library and the command, without the tests; a build of its own, for the prefix is compiled in
PREFIX = /usr/local
export PREFIX DESTDIR
install:
	scripts/install $(BUILD)-install

uninstall:
	scripts/install --remove $(BUILD)-install

clean:
	rm -rf $(BUILD) $(BUILD)-demo $(BUILD)-install $(BUILD)-asan $(BUILD)-tsan $(BUILD)-clang build-32

format:
	git ls-files '*.[ch]' | xargs $(CLANG_FORMAT) -i
