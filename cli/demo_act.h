/* The steps of the demo.  Each does one thing through CSI and checks, by itself, that it is so. */
#pragma once

#include "cli/demo_driver.h"
#include "cli/demo_scene.h"
#include "cli/publish.h"

/* A volume of the demo. */
struct actor {
    const char *name;
    struct publication publication; /* its id is NULL while the volume does not exist */
};

struct demo {
    struct scene scene;
    struct demo_driver driver;
    struct session session;
    struct actor first, restored, clone;
    const char *snapshot; /* id */
    long memory;          /* KiB, of the driver, the most */
};

/* Prepares the scene and says where it is.  demo_end() in any case; it takes everything down. */
bool demo_begin(struct demo *demo, const char *parent, struct error *error);
bool demo_end(struct demo *demo, struct error *error);

bool demo_start(struct demo *demo, struct error *error);
bool demo_create(struct demo *demo, struct error *error);
bool demo_publish(struct demo *demo, struct error *error);
bool demo_write(struct demo *demo, struct error *error);
bool demo_snapshot(struct demo *demo, struct error *error);
bool demo_change(struct demo *demo, struct error *error);
bool demo_restore(struct demo *demo, struct error *error);
bool demo_see_restored(struct demo *demo, struct error *error);
bool demo_expand(struct demo *demo, struct error *error);
bool demo_clone(struct demo *demo, struct error *error);
bool demo_see_clone(struct demo *demo, struct error *error);
bool demo_unpublish(struct demo *demo, struct error *error);
bool demo_delete(struct demo *demo, struct error *error);
bool demo_see_nothing(struct demo *demo, struct error *error);
bool demo_stop(struct demo *demo, struct error *error);
