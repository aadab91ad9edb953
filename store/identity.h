/* SPDX-License-Identifier: MIT */
/*
 * identity.h - are the open files still the ones at the configured path?
 *
 * What was removed or renamed under a running process stays open and takes
 * writes as before, so each commit succeeds and none of it is found after a
 * restart. The only sign is that the path names another file, or none.
 *
 * A comparison costs one stat() of the directory and one of each file. If several
 * are gone, the most important one is reported.
 */
#ifndef MQTT_SPOOLD_STORE_IDENTITY_H
#define MQTT_SPOOLD_STORE_IDENTITY_H

#include <stdbool.h>
#include <sys/types.h>

#include "base/attr.h"
#include "store/spool.h"

#define LOCK_NAME "lock"

enum identity_file {
    IDENTITY_DIRECTORY,
    IDENTITY_DATABASE,
    IDENTITY_LOG,
    IDENTITY_MARK,
    IDENTITY_LOCK,
    IDENTITY_INDEX,
    IDENTITY_FILES
};

struct identity {
    const char *directory; /* borrowed: the configured path */
    struct identity_entry {
        int fd; /* borrowed, except those of log and index, which are only paths (O_PATH) */
        dev_t device;
        ino_t inode;
    } files[IDENTITY_FILES];
};

/* Nothing is open. */
void identity_init(struct identity *identity);
/*
 * identity_note() - remember what is open now
 * @fds: of directory, database, mark and lock; those of log and index are
 *       opened here, so that closing them releases no lock of SQLite
 *
 * Return: 0; negative errno.
 */
MUST_CHECK int
identity_note(struct identity *identity, const char *directory, const int fds[IDENTITY_FILES]);
void identity_done(struct identity *identity);

/*
 * identity_holds() - is everything where it was?
 *
 * Also true if the path cannot be examined: see identity.c.
 */
bool identity_holds(const struct identity *identity);
bool identity_holds_file(const struct identity *identity, enum identity_file file);
/* Was it noted? Log and index are not where the database is a symbolic link. */
bool identity_is_noted(const struct identity *identity, enum identity_file file);
/* What happened, after identity_holds() was false. */
void identity_describe(const struct identity *identity, struct spool_moved *ret);
/* Is it this file that has the file's usual name in the folder? */
bool identity_is_at(const struct identity *identity, enum identity_file file, int directory_fd);
/* Is it the same directory or file? */
bool identity_is(const struct identity *identity, enum identity_file file, int fd);
const char *identity_name(enum identity_file file);

#endif
