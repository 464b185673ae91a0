# Unit tests: each tests/unit/test_*.c is a cmocka program, linked with the whole project but main.o and with what the
# tests share (the other files here).  `make unit` builds and runs them all, `make unit TESTS=wire` one of them.

UNIT_NAMES := $(if $(TESTS),$(TESTS:%=test_%),$(basename $(notdir $(wildcard tests/unit/test_*.c))))
UNIT_PROGRAMS := $(UNIT_NAMES:%=$(BUILD)/tests/unit/%)
UNIT_SHARED := $(patsubst %.c,$(BUILD)/%.o,$(filter-out tests/unit/test_%,$(wildcard tests/unit/*.c)))
UNIT_OBJECTS := $(filter-out $(BUILD)/main.o,$(OBJECTS)) $(UNIT_SHARED)

.PHONY: unit
unit: $(UNIT_PROGRAMS)
	tests/unit/run $^

$(BUILD)/tests/unit/test_%: $(BUILD)/tests/unit/test_%.o $(UNIT_OBJECTS)
	$(CXX) $(if $(SANITIZE),$(filter-out -static%,$(LDFLAGS)) -fsanitize=$(SANITIZE),$(LDFLAGS)) -o $@ $^ $(LIBRARIES) -lcmocka

.SECONDARY: $(UNIT_PROGRAMS:%=%.o) $(UNIT_SHARED)
-include $(wildcard $(BUILD)/tests/unit/*.d)
