/* plinth pool adopt */
#pragma once

int adopt_pool(int argc, char **argv);
