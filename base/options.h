/*
 * The command line: options as a table, from which they are read and from which --help is made, and commands as a
 * table.  A mistake is told on standard error and ends the program with status 2.
 */
#pragma once

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* One option.  `field` is where its value goes: an offset in the struct that the caller hands to options_read(). */
struct option {
    const char *name;        /* "node-id": --node-id VALUE or --node-id=VALUE */
    char letter;             /* 'o': also -o VALUE; 0: none */
    const char *value;       /* what --help calls the value: "NAME"; NULL: a flag without a value */
    const char *help;        /* sentences, without line breaks */
    const char *standard;    /* the value if nobody gives one, or NULL: then the field stays as the caller set it */
    const char *environment; /* a variable that gives the value, or NULL; the command line has precedence */
    size_t field;
    bool (*read)(const char *value, void *field, struct error *error); /* the error need not name the option */
};

/* Kinds of values, for `read`.  The text is borrowed: from argv, the environment or the table. */
bool option_text(const char *value, void *field, struct error *error);   /* const char *; not "" */
bool option_flag(const char *value, void *field, struct error *error);   /* bool; value is NULL */
bool option_size(const char *value, void *field, struct error *error);   /* int64_t bytes, "10Mi" */
bool option_number(const char *value, void *field, struct error *error); /* int64_t, not below zero */

/* The command line of one command. */
struct options {
    const char *command; /* "plinth node", as a person types it */
    const char *words;   /* names of the words beside options, for --help: "NAME [SIZE]"; NULL: none */
    size_t least, most;  /* how many words there must and may be */
    const char *purpose; /* what --help says first */
    const struct option *table;
    size_t count;
};

/*
 * Sets the fields of `target` from the defaults, the environment and the command line, in this order.  argv[0] is the
 * command.  Options and words may be mixed; "--" ends options.  On return argv[1], argv[2]... are the words, ended by
 * NULL.  Returns -1 to go on; else the status to exit with: 0 when --help was asked for and printed, 2 after a mistake
 * and its message.
 */
int options_read(const struct options *options, int argc, char **argv, void *target);

/* The steps of options_read(), for a command that has more sources.  INVALID_ARGUMENT names the option or variable. */
bool options_defaults(const struct options *options, void *target, struct error *error);
bool options_environment(const struct options *options, void *target, struct error *error);
bool options_arguments(const struct options *options, int argc, char **argv, void *target, struct error *error);

/* Sets one option by its name, as if it had been given; `from` says where, for the error ("the file x.yaml"). */
bool options_set(const struct options *options, const char *name, const char *value, const char *from, void *target,
                 struct error *error);

/* True if --help or -h is among the arguments, before a "--". */
bool options_want_help(int argc, char **argv);
void options_help(const struct options *options, FILE *to);

/* Tells a mistake on standard error, with where to find help; returns 2. */
int options_mistake(const char *command, const struct error *error);

/* A command: `run` gets its own name as argv[0] and returns the exit status. */
struct command {
    const char *name;
    const char *help; /* one line */
    int (*run)(int argc, char **argv);
};

/*
 * Runs the command that argv[1] names.  `program` is what a person has typed so far: "plinth", "plinth volume". --help,
 * -h and "help" list the table; an unknown or missing name is a mistake (2).
 */
int command_run(const char *program, const struct command *commands, size_t count, int argc, char **argv);
