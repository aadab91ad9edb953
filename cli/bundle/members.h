/* SPDX-License-Identifier: MIT */
/*
 * members.h - what goes into a bundle, in memory until all of it is known
 *
 * Every text from outside passes through the scrubber on its way in, whatever it is. What was
 * left out, or replaced, is noted for the MANIFEST.
 */
#ifndef MQTT_SPOOLD_CLI_BUNDLE_MEMBERS_H
#define MQTT_SPOOLD_CLI_BUNDLE_MEMBERS_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/attr.h"
#include "base/view.h"
#include "cli/bundle/archive.h"
#include "cli/bundle/scrub.h"
#include "cli/bundle/topics.h"
#include "daemon/config/config.h"

enum {
    MEMBERS_MAX = 128,
    NOTES_MAX = 64,
    NOTE_MAX = 512,
    MEMBER_BYTES_MAX = 8 << 20, /* of one */
};

struct member {
    char name[ARCHIVE_NAME_MAX + 1];
    char what[NOTE_MAX];
    char *data; /* owned */
    size_t size;
    unsigned long removed; /* how many places of it */
};

struct note {
    char outside[NOTE_MAX]; /* a text from outside, which may have a secret; "": none */
    char text[NOTE_MAX];
};

struct bundle {
    const char *config_path;
    const struct config *config; /* NULL: not readable */
    const char *socket;          /* NULL: not known */
    uint64_t log_lines;
    uint64_t audit_lines;
    struct scrub scrub;
    struct topics topics;
    struct member members[MEMBERS_MAX]; /* in the order of the archive */
    size_t count;
    unsigned long removed; /* of scrub.removed, those in these members */
    struct note notes[NOTES_MAX];
    size_t note_count;
};

/* Adds @data, scrubbed. @what: one line for the MANIFEST. */
void bundle_add(struct bundle *bundle, const char *name, const char *what, struct view data);
/* The same without the scrubber: @data has been through one. */
void bundle_add_scrubbed(struct bundle *bundle,
                         const char *name,
                         const char *what,
                         struct view data);
/* A line of the MANIFEST. @outside: what it is of, such as a path, for the scrubber; NULL: the
 * line has nothing from outside. */
void bundle_note(struct bundle *bundle, const char *outside, const char *format, ...)
    PRINTF_LIKE(3, 4);
/* Reads a regular file of at most MEMBER_BYTES_MAX; NULL: noted. To be freed. */
char *bundle_read(struct bundle *bundle, const char *path, size_t *ret_size);
/* Adds the MANIFEST, as the first one. Return: 0; -ENOMEM. */
MUST_CHECK int bundle_add_manifest(struct bundle *bundle);
void bundle_done(struct bundle *bundle);

/* The parts; each adds its members, or notes why not. */
void part_add_config(struct bundle *bundle);
void part_add_status(struct bundle *bundle);
void part_add_files(struct bundle *bundle);
void part_add_audit(struct bundle *bundle);
void part_add_log(struct bundle *bundle);
void part_add_versions(struct bundle *bundle);
/* Before all others: what the scrubber searches for. */
void part_load_secrets(struct bundle *bundle);

#endif
