# The driver for tests/pretend: all of it, with tests/pretend/libdevmapper.c for libdevmapper.  `make pretend` builds it.
.PHONY: pretend
pretend: $(BUILD)/tests/pretend/plinth

PRETEND_OBJECTS := $(BUILD)/tests/pretend/libdevmapper.o $(BUILD)/tests/pretend/device_mapper_task.o

# The check that the control node is device-mapper's.
$(BUILD)/tests/pretend/device_mapper_task.o: pool/device_mapper_task.c
	@mkdir -p $(@D)
	$(call say,CC) $(CC) $(CPPFLAGS) -Dfstat=pretend_fstat $(CFLAGS) $(WARNINGS) -MMD -MP -c -o $@ $<

$(BUILD)/tests/pretend/plinth: $(PRETEND_OBJECTS) $(filter-out $(BUILD)/pool/device_mapper_task.o,$(OBJECTS))
	$(call say,LINK) $(CXX) $(if $(SANITIZE),$(filter-out -static%,$(LDFLAGS)) -fsanitize=$(SANITIZE),$(LDFLAGS)) -o $@ $^ $(filter-out -ldevmapper,$(LIBRARIES))

.SECONDARY: $(PRETEND_OBJECTS)
-include $(PRETEND_OBJECTS:.o=.d)
