/* Copying the bytes of one member of a making, by a job.  For snapshot/ only. */
#pragma once

#include "snapshot/making.h"
#include "transfer/job.h"

/* Copies from where the record says; tells the job and the log how far it is, and the record if it can be resumed. */
bool copying_run(struct job *job, struct member *member, struct error *error);

/* Lets go what was read, and the cut with it, whatever it comes to: a failure is logged, the next start repairs it. */
void copying_close(struct member *member);
