/* The commands of plinth, and nothing else. */
#include "base/fault.h"
#include "base/options.h"
#include "cli/cli.h"
#include "node/node.h"

#include <stdio.h>
#include <stdlib.h>

static int version(int argc, char **argv)
{
    (void)argc, (void)argv;
    puts("plinth " PLINTH_VERSION);
    return 0;
}

#ifdef PLINTH_FAULTS
static int faults(int argc, char **argv)
{
    size_t count;
    const struct fault_point *points = fault_points(&count);
    (void)argc, (void)argv;
    for (size_t i = 0; i < count; i++)
        puts(points[i].name);
    return 0;
}
#endif

static const struct command commands[] = {
    {"node", "serve the volumes of this node: the CSI driver", node_main},
    {"volume", "create, list, show, expand, publish, delete and import volumes", cli_volume},
    {"snapshot", "create, list, restore and delete snapshots", cli_snapshot},
    {"pool", "list the pools and their space", cli_pool},
    {"demo", "show a volume's whole life in a scratch directory", cli_demo},
#ifdef PLINTH_FAULTS
    {"faults", "list the fault points of this build, for tests", faults},
#endif
    {"version", "print the version", version},
};

int main(int argc, char **argv)
{
    setenv("LC_ALL", "C", 1); /* the tools we run speak as their manuals do: their words end up in our errors */
    return command_run("plinth", commands, sizeof commands / sizeof *commands, argc, argv);
}
