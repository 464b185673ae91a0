# tests/lvm/device_mapper.c: a cmocka program for user-mode Linux.  `make lvm-device-mapper` builds it.
.PHONY: lvm-device-mapper
lvm-device-mapper: $(BUILD)/tests/lvm/device_mapper

$(BUILD)/tests/lvm/device_mapper: $(BUILD)/tests/lvm/device_mapper.o $(BUILD)/tests/unit/disk_fixture.o \
  $(filter-out $(BUILD)/main.o,$(OBJECTS))
	$(call say,LINK) $(CXX) $(if $(SANITIZE),$(filter-out -static%,$(LDFLAGS)) -fsanitize=$(SANITIZE),$(LDFLAGS)) -o $@ $^ $(LIBRARIES) -lcmocka

.SECONDARY: $(BUILD)/tests/lvm/device_mapper.o
-include $(BUILD)/tests/lvm/device_mapper.d
