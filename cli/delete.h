/* Deleting volumes and snapshots: the call and the two commands. */
#pragma once

#include "cli/session.h"

enum deletable { A_VOLUME, A_SNAPSHOT };

/* Deletes one; the driver's answer for one that is not there is success too. */
bool csi_delete(struct session *session, enum deletable kind, const char *id, struct error *error);

/* `plinth volume delete` and `plinth snapshot delete`. */
int delete_volume(int argc, char **argv);
int delete_snapshot(int argc, char **argv);
