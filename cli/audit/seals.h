/* SPDX-License-Identifier: MIT */
/*
 * seals.h - how far the seals of audit files hold
 *
 * Lines are added in the order of the files. What a seal does not confirm is reported
 * with the line at which the files begin to differ from what was sealed.
 *
 * Invariant: the memory does not depend on the files. Thread: the tool has one.
 */
#ifndef MQTT_SPOOLD_CLI_AUDIT_SEALS_H
#define MQTT_SPOOLD_CLI_AUDIT_SEALS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cli/audit/spans.h"
#include "daemon/seal/seal.h"
#include "daemon/seal/sha256.h"

/* Runs of seals that hold, and beginnings of chains, of which more are only counted. */
#define SEALS_RUNS_MAX   16
#define SEALS_STARTS_MAX 16
#define SEALS_TIME_MAX   32

struct seals_place {
    const char *file; /* borrowed from the arguments */
    uint64_t line;
};

/* A seal that was read. */
struct seals_seal {
    uint64_t number;
    struct seals_place place;
    char time[SEALS_TIME_MAX];
};

/* Seals that follow each other, and that nothing contradicts. */
struct seals_run {
    struct seals_seal first;
    struct seals_seal last;
    uint64_t lines; /* that they seal */
};

struct seals_start {
    struct seals_seal seal;
    char why[SEAL_WHY_MAX];
};

/* Seals that were kept elsewhere. */
struct far_seal {
    uint8_t digest[SHA256_SIZE];
    uint64_t number;
    uint64_t seq;
    uint64_t line;  /* of their file */
    bool is_found;  /* in the audit files */
    bool is_proved; /* and the lines before it were verified */
};

struct far_seals {
    const char *file; /* NULL: none was given */
    struct far_seal *seals;
    size_t count;
    size_t size;
    uint64_t found;
    uint64_t unproved; /* of them, what is before them is in no file given, or was changed */
    uint64_t older;    /* than the first line of the files */
    uint64_t missing;
};

struct seals {
    uint64_t every_ms;       /* audit.seal of the configuration; 0: none, or not known */
    struct seal_chain chain; /* behind the seal that was read last */
    bool is_chained;         /* there is one, and nothing since was unreadable */
    bool is_doubtful;        /* its own line was changed */
    bool is_first;           /* none was read so far: */
    uint64_t before;         /* then these are lines of files before this one */
    const char *before_file; /* the last of them */
    struct seals_seal last;
    struct seals_place places[SEAL_MARKS_MAX]; /* of the lines since then */
    bool is_run_open;
    uint64_t count;
    uint64_t held;     /* of these, nothing contradicts */
    uint64_t unsealed; /* lines that no seal covers, except those after the last one */
    uint64_t run_count;
    struct seals_run runs[SEALS_RUNS_MAX];
    uint64_t start_count;
    struct seals_start starts[SEALS_STARTS_MAX];
    struct spans numbers; /* of all seals */
    struct far_seals far;
};

#endif
