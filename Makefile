# Plinth.  `make` builds build/plinth; see README.md for the other targets.
#   DEBUG=1                            no optimisation, assertions
#   SANITIZE=address,undefined|thread  into build-<value>/, with fault points
#   FAULTS=1                           into build-faults/: fault points compiled in (base/fault.h), for the tests
#   CC=clang                           any C11 compiler with GNU extensions

VERSION := 0.1.0
PREFIX ?= /usr/local
CC ?= cc
CXX ?= g++
PROTOC ?= protoc
PKG_CONFIG ?= pkg-config

BUILD := build$(if $(SANITIZE),-$(SANITIZE))$(if $(FAULTS),-faults)$(if $(DEBUG),-debug)

# --- what is compiled

HOUSE := base rpc filesystem pool transfer snapshot controller node cli
SOURCES := main.c $(foreach folder,$(HOUSE),$(wildcard $(folder)/*.c))
PROTOS := csi health registration
WELL_KNOWN := google/protobuf/timestamp google/protobuf/wrappers
GENERATED := $(addprefix $(BUILD)/proto/,$(addsuffix .pb-c.c,$(PROTOS) $(WELL_KNOWN)))
OBJECTS := $(SOURCES:%.c=$(BUILD)/%.o) $(GENERATED:%.c=%.o)

# --- how

# One short line for each step; V=1 shows the whole command.
say = $(if $(V),,@printf '  %-7s %s\n' $(1) $@;)

PACKAGES := libprotobuf-c jansson libcyaml libmicrohttpd blkid mount libcrypto devmapper
WARNINGS := -Wall -Wextra -Wshadow -Wvla -Wformat=2 -Werror
HARDENING := -fPIE -fstack-protector-strong -fstack-clash-protection -fcf-protection -D_FORTIFY_SOURCE=2
OPTIMISE := $(if $(DEBUG),-O0,-O2 $(if $(SANITIZE),,$(HARDENING))) -g
CPPFLAGS += -D_GNU_SOURCE -DPLINTH_VERSION='"$(VERSION)"' -I. -I$(BUILD)/proto $(if $(FAULTS)$(SANITIZE),-DPLINTH_FAULTS)
CFLAGS += -std=gnu11 $(OPTIMISE) -ffunction-sections -fdata-sections -fvisibility=hidden -fno-common -pthread \
  $(if $(SANITIZE),-fsanitize=$(SANITIZE) -fno-omit-frame-pointer) $(shell $(PKG_CONFIG) --cflags $(PACKAGES))

# gRPC is linked statically: it halves the resident memory (docs/house.md, "Memory").  grpc_unsecure has no TLS, which a
# unix socket does not need; what else it needs is only listed for grpc (Debian 12).
GRPC := $(shell $(PKG_CONFIG) --static --libs-only-l grpc | sed 's/-lgrpc /-lgrpc_unsecure /' | tr ' ' '\n' | \
  grep -vE '^-l(ssl|crypto|pthread|dl|m|rt|z|cares|re2|systemd|c)$$' | awk '!seen[$$0]++')
LDFLAGS += -pie -Wl,--gc-sections -Wl,-z,relro,-z,now -Wl,--as-needed -static-libstdc++ -static-libgcc
LIBRARIES := -Wl,-Bstatic -lprotobuf-c -Wl,--start-group $(GRPC) -lcares -lre2 -lz -Wl,--end-group -Wl,-Bdynamic \
  -ljansson -ldevmapper -lcyaml -lmicrohttpd -lblkid -lmount -lcrypto -lpthread -ldl -lm

.PHONY: all
all: $(BUILD)/plinth

# Generated sources are kept.
.SECONDARY:

# gRPC core is C++ inside, so the C++ compiler links.  TSan and ASan runtimes must not be mixed with a static libgcc.
$(BUILD)/plinth: $(OBJECTS)
	$(call say,LINK) $(CXX) $(if $(SANITIZE),$(filter-out -static%,$(LDFLAGS)) -fsanitize=$(SANITIZE),$(LDFLAGS)) -o $@ $^ $(LIBRARIES)

$(BUILD)/%.o: %.c $(GENERATED:%.c=%.h)
	@mkdir -p $(@D)
	$(call say,CC) $(CC) $(CPPFLAGS) $(CFLAGS) $(WARNINGS) -MMD -MP -c -o $@ $<

# What protobuf-c generates is not ours to warn about.
$(BUILD)/proto/%.o: $(BUILD)/proto/%.c
	$(call say,CC) $(CC) $(CPPFLAGS) $(CFLAGS) -MMD -MP -c -o $@ $<

$(BUILD)/proto/%.pb-c.c $(BUILD)/proto/%.pb-c.h: proto/%.proto
	@mkdir -p $(@D)
	$(call say,PROTOC) $(PROTOC) --c_out=$(BUILD)/proto -Iproto -I/usr/include $(notdir $<)

$(BUILD)/proto/google/protobuf/%.pb-c.c $(BUILD)/proto/google/protobuf/%.pb-c.h:
	@mkdir -p $(@D)
	$(call say,PROTOC) $(PROTOC) --c_out=$(BUILD)/proto -I/usr/include google/protobuf/$*.proto

# csi.pb-c.h includes the header of descriptor.proto, for its options; nothing of it is linked.
$(OBJECTS): | $(GENERATED:%.c=%.h) $(BUILD)/proto/google/protobuf/descriptor.pb-c.h

-include $(OBJECTS:.o=.d)

-include $(wildcard tests/*/*.mk)

# --- what is run.  These install what they need (Debian, as root) and build first.

INSTALL_PACKAGES := tests/lab/install-packages

.PHONY: demo check check-lvm check-power-loss check-kubernetes check-kubernetes-lvm bench bench-lvm lint format
demo:
	$(INSTALL_PACKAGES) tests/lab/packages-build
	$(MAKE) all
	build/plinth demo

check:
	$(INSTALL_PACKAGES) tests/lab/packages-build tests/lab/packages-check tests/lab/packages-uml
	tests/run

# The power of a whole machine is cut in the middle of everything, 200 times; COUNT=n: n times.
check-power-loss:
	$(INSTALL_PACKAGES) tests/lab/packages-build tests/lab/packages-check tests/lab/packages-uml
	$(MAKE) FAULTS=1
	tests/lvm/power-loss $(or $(COUNT),200)

# All tests of the lvm and disk pools on real LVM, csi-sanity on them, and the same code under TSan with a pretended lvm.
check-lvm:
	$(INSTALL_PACKAGES) tests/lab/packages-build tests/lab/packages-check tests/lab/packages-uml
	tests/run --lvm

# A cluster on this machine, and claims of a pool of files in it.
check-kubernetes:
	$(INSTALL_PACKAGES) tests/lab/packages-build tests/lab/packages-kubernetes tests/lab/packages-uml
	$(MAKE) all
	tests/kubernetes/run --files

# The same on a second node, in user-mode Linux, with a thin and a thick pool of LVM.
check-kubernetes-lvm:
	$(INSTALL_PACKAGES) tests/lab/packages-build tests/lab/packages-kubernetes tests/lab/packages-uml
	$(MAKE) all
	tests/kubernetes/run --lvm

# PEER=path/to/hostpathplugin measures csi-driver-host-path beside us; without it there are no ratios.
bench:
	$(INSTALL_PACKAGES) tests/lab/packages-build tests/lab/packages-check
	$(MAKE) all
	tests/bench/run

# The lvm pool, in user-mode Linux.  LVMD=path/to/lvmd METAL=path/to/csi-driver-lvm measures these peers beside us.
bench-lvm:
	$(INSTALL_PACKAGES) tests/lab/packages-build tests/lab/packages-check tests/lab/packages-uml
	$(MAKE) all
	tests/bench/run-lvm

lint:
	$(INSTALL_PACKAGES) tests/lab/packages-build tests/lab/packages-check
	$(MAKE) all
	tests/lint/run

# For tests/lint: how a C file is compiled.
.PHONY: print-compile-flags
print-compile-flags:
	@echo $(CPPFLAGS) $(filter-out -fcf-protection -fstack-clash-protection,$(CFLAGS)) $(WARNINGS)

format:
	clang-format -i $$(git ls-files '*.c' '*.h')

.PHONY: install clean
install: all
	install -D -m 755 $(BUILD)/plinth $(DESTDIR)$(PREFIX)/sbin/plinth
	install -d $(DESTDIR)$(PREFIX)/share/man/man8
	install -m 644 docs/man/*.8 $(DESTDIR)$(PREFIX)/share/man/man8

clean:
	rm -rf build build-*
