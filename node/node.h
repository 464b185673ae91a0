/*
 * `plinth node`: the CSI driver of one machine.  It starts and ends everything else, and serves CSI's Identity and Node
 * services, the kubelet's plugin registration and grpc.health.v1.
 *
 * node/ mounts and grows what is there.  It makes, formats and removes no volume.
 */
#pragma once

/* Runs until SIGTERM or SIGINT; returns the exit status. */
int node_main(int argc, char **argv);
