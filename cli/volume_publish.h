/* `plinth volume publish` and `plinth volume unpublish`. */
#pragma once

int volume_publish(int argc, char **argv);
int volume_unpublish(int argc, char **argv);
