/* SPDX-License-Identifier: MIT */
/*
 * pages.h - the pages of a database that SQLite may no longer be able to read
 *
 * Reads the file format itself (https://sqlite.org/fileformat2.html): the
 * database file with the sound frames of its write-ahead log over it, table
 * b-trees from their root, and the leaf pages that no tree reaches any more.
 * Reads only; trusts no length, number or pointer.
 */
#ifndef MQTT_SPOOLD_STORE_SALVAGE_PAGES_H
#define MQTT_SPOOLD_STORE_SALVAGE_PAGES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/view.h"
#include "store/salvage/survey.h"

enum { PAGES_BYTES = 4096, PAGES_FIELDS_MAX = 24 };

enum pages_wal {
    PAGES_WAL_NONE,  /* the database file alone */
    PAGES_WAL_SOUND, /* up to the last whole commit before the first unsound frame: as SQLite */
    PAGES_WAL_ALL,   /* and the commits behind it */
};

struct pages {
    int fd;                      /* of the database, -1: there is none */
    int wal_fd;                  /* -1: there is none */
    const struct survey *survey; /* places that are known to be bad read as zeros */
    int error;                   /* sticky: another block could not be read */
    uint32_t count;
    uint64_t *frames; /* by page: where in the WAL its newest image is, 0: not there */
    uint8_t *flags;
    bool are_all_uncertain;  /* frames are lost, of unknown pages */
    unsigned commits_beyond; /* commits behind the first unsound frame */
    uint8_t *payload;        /* a record that spans pages */
    size_t payload_size;
};

enum pages_kind { PAGES_LOST, PAGES_NULL, PAGES_NUMBER, PAGES_TEXT, PAGES_BLOB, PAGES_REAL };

struct pages_field {
    enum pages_kind kind;
    int64_t number;
    struct view bytes;
};

/* A row. Its fields are valid during the callback only. */
struct pages_row {
    int64_t rowid;
    uint32_t page;
    unsigned cell;
    bool is_uncertain; /* it may be one that was deleted: an old image, or reached by no tree */
    size_t field_count;
    struct pages_field fields[PAGES_FIELDS_MAX]; /* PAGES_LOST: could not be read */
};

/* Return: 0 to continue; anything else ends the walk and is returned by it. */
typedef int pages_row_fn(void *userdata, const struct pages_row *row);

/*
 * Opens "spool.db" and its -wal in the folder; a file that is missing counts as empty.
 * @survey: borrowed until pages_close(); NULL: no place is known to be bad
 *
 * If a block cannot be read that is not among the bad ones, this and what follows fail: it may
 * be readable the next time.
 */
MUST_CHECK int pages_open(struct pages *pages,
                          int directory_fd,
                          enum pages_wal use,
                          const struct survey *survey);
void pages_close(struct pages *pages);

/* How many are not on the list of free pages. */
uint64_t pages_in_use(const struct pages *pages);

/* Forgets which pages the walks have reached. */
void pages_restart(struct pages *pages);
MUST_CHECK int pages_walk(struct pages *pages, uint32_t root, pages_row_fn *fn, void *userdata);
/* Rows of leaf pages that no walk reached and that are not on the list of free pages. */
MUST_CHECK int pages_orphans(struct pages *pages, pages_row_fn *fn, void *userdata);
/* One row again, by its place. */
MUST_CHECK int
pages_one(struct pages *pages, uint32_t page, unsigned cell, pages_row_fn *fn, void *userdata);
/* The header of page 1 is SQLite's, with this application id. */
bool pages_application_id(struct pages *pages, uint32_t *ret);

#endif
