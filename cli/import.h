/* plinth volume import and release, for volume.c.  They work on the storage itself: no driver takes part. */
#pragma once

int volume_import(int argc, char **argv);
int volume_release(int argc, char **argv);
