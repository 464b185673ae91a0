/* The methods of csi.v1.Controller that controller/ implements; service.c lists them. */
#pragma once

#include "controller/controller.h"

#define CONTROLLER_METHOD(name) bool name(struct rpc_call *call, const void *message, void *answer, struct error *error)

CONTROLLER_METHOD(controller_create_volume);
CONTROLLER_METHOD(controller_delete_volume);
CONTROLLER_METHOD(controller_validate_capabilities);
CONTROLLER_METHOD(controller_list_volumes);
CONTROLLER_METHOD(controller_get_volume);
CONTROLLER_METHOD(controller_get_capacity);
CONTROLLER_METHOD(controller_expand_volume);
CONTROLLER_METHOD(controller_list_health);
CONTROLLER_METHOD(controller_get_health);
