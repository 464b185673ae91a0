/*
 * What a person types: `plinth volume`, `plinth snapshot`, `plinth pool` and `plinth demo`.
 *
 * These commands are a CSI client: they work with any CSI driver's socket and know of this one only what it says
 * through CSI.  (The exceptions work on the storage itself: `pool adopt`, `volume import`, `volume release`.)  Each
 * gets its own name as argv[0] and returns the exit status: 0 done, 1 the driver or the system refused (the gRPC code
 * and a sentence are on standard error), 2 a mistake on the command line.
 */
#pragma once

int cli_volume(int argc, char **argv);
int cli_snapshot(int argc, char **argv);
int cli_pool(int argc, char **argv);
int cli_demo(int argc, char **argv);
