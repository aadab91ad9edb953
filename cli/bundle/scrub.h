/* SPDX-License-Identifier: MIT */
/*
 * scrub.h - takes secrets out of a text
 *
 * Two nets: the secrets that this gateway has (its passwords, the lines of its key) are
 * searched for as they are, wherever they may have come from; and what looks like a secret is
 * removed by its form: user and query of a URL, private keys in PEM form, and the value after
 * a word such as "password=". An empty value stays.
 */
#ifndef MQTT_SPOOLD_CLI_BUNDLE_SCRUB_H
#define MQTT_SPOOLD_CLI_BUNDLE_SCRUB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "base/view.h"
#include "cli/bundle/topics.h"

#define SCRUB_REMOVED "(removed)"

enum {
    SCRUB_SECRETS_MAX = 256,
    SCRUB_FILES_MAX = 32,
    SCRUB_LEAST = 4 /* bytes; a shorter one would be found in every text */
};

struct scrub {
    struct view secrets[SCRUB_SECRETS_MAX]; /* owned copies, the longest first */
    size_t count;
    bool is_first[256];           /* of a secret */
    char *files[SCRUB_FILES_MAX]; /* owned; names of files that hold secrets */
    size_t file_count;
    struct topics *topics; /* NULL: topics are shown */
    unsigned long removed; /* how many places */
};

/* Copies @secret. One that is too short, or is known, is not kept. */
void scrub_add(struct scrub *scrub, struct view secret);
/* Copies the name of a file whose content is a secret, once. */
void scrub_add_file(struct scrub *scrub, struct view path);
/* Wipes the copies. */
void scrub_done(struct scrub *scrub);
/* Writes @text without its secrets. */
void scrub_put(struct scrub *scrub, FILE *to, struct view text);
/* Is this the name of a setting whose value is a secret? Not if it names a file. */
bool scrub_is_secret_name(struct view name);
/* Is it that of a setting that names a file with a secret? */
bool scrub_is_secret_file_name(struct view name);
/* Is it one whose value is a topic, a filter or a part of one? */
bool scrub_is_topic_name(struct view name);

#endif
