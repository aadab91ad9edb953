/* SPDX-License-Identifier: MIT */
/*
 * seal.h - seals: lines of the audit file by which a later change of it is noticed
 *
 *   {"seal":12,"time":"2026-11-01T12:35:00.004Z","seq":4812,"lines":57,
 *    "marks":"kZ0...","sha256":"4be1..."}
 *
 * (in one line). sha256 is the digest of all lines since the seal before it, of this line
 * up to and with the quote before the digest, and of the bytes of the digest before it. So
 * each seal depends on all before it, in its chain: a chain begins with a seal 1 that has no
 * lines, the reason in "starts", and a digest of zeros before it. The first seal of a file
 * also has "prev", the digest before it, so that a file is verified without the one before.
 *
 * Marks only help to find a place: one character a line, six bits of the digest of all
 * lines since the last seal up to that one. From the first line that was changed on they
 * differ, each by chance of 63 in 64.
 *
 * There is no key: who can write the file can write another chain. Seals that were kept
 * elsewhere prove against that.
 *
 * Pure: no files, no clock. Invariant: a line is text up to and with its line break.
 * Thread: any.
 */
#ifndef MQTT_SPOOLD_DAEMON_SEAL_SEAL_H
#define MQTT_SPOOLD_DAEMON_SEAL_SEAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/view.h"
#include "daemon/seal/sha256.h"

/* Lines beyond so many since the last seal have no mark. */
#define SEAL_MARKS_MAX 8192
/* Enough for any seal, with its line break. */
#define SEAL_LINE_MAX (SEAL_MARKS_MAX + 512)
#define SEAL_WHY_MAX  32
/* Why a chain starts that has no line before it in its file. */
#define SEAL_NEW_FILE "new_file"
/* A digest in hexadecimal, terminated. */
#define SEAL_HEX_MAX (2 * SHA256_SIZE + 1)

/* The newest seal, and what came after it. */
struct seal_chain {
    uint64_t number; /* 0: the chain has not begun */
    uint8_t digest[SHA256_SIZE];
    struct sha256 hash; /* of what came since */
    uint64_t lines;     /* since then */
    uint64_t bytes;     /* of them */
    char marks[SEAL_MARKS_MAX];
};

/* Without a seal: the next one is number 1. */
void seal_begin(struct seal_chain *chain);
/* The chain continues behind the seal @number with @digest. */
void seal_resume(struct seal_chain *chain,
                 uint64_t number,
                 const uint8_t digest[static SHA256_SIZE]);
/* More of the file. A line may come in pieces; it counts when its line break is there. */
void seal_add(struct seal_chain *chain, struct view text);

struct seal_facts {
    int64_t time_ms; /* wall clock, UTC */
    uint64_t seq;    /* of the last record so far */
    const char *why; /* a chain starts, for this reason: letters and _ ; NULL: it continues */
    bool has_prev;   /* with the digest before it */
};

/* A seal as a line, with its line break. */
struct seal_text {
    uint64_t number;
    size_t size;
    uint8_t digest[SHA256_SIZE];
    char line[SEAL_LINE_MAX];
};

/* Writes the next seal of @chain, which stays as it is until seal_note() says that the line
 * is in the file. */
void seal_write(const struct seal_chain *chain,
                const struct seal_facts *facts,
                struct seal_text *ret);
void seal_note(struct seal_chain *chain, const struct seal_text *text);

/* A seal that was read. The views are of the line. */
struct seal {
    uint64_t number;
    uint64_t seq;
    uint64_t lines;
    struct view time; /* RFC 3339 */
    struct view why;  /* empty: it starts no chain */
    struct view marks;
    bool has_prev;
    uint8_t prev[SHA256_SIZE];
    uint8_t digest[SHA256_SIZE];
    struct view sealed; /* what of the line itself is hashed */
};

/* Is @line, without its line break, meant to be a seal, sound or not? */
bool seal_is_line(const char *line, size_t size);
/* Return: false: it is no seal, or not as seal_write() writes them. */
MUST_CHECK bool seal_parse(const char *line, size_t size, struct seal *ret);
/* The digest that @seal, which was read behind @chain, ought to have. */
void seal_expect(const struct seal_chain *chain,
                 const struct seal *seal,
                 uint8_t ret[static SHA256_SIZE]);

void seal_hex(const uint8_t digest[static SHA256_SIZE], char ret[static SEAL_HEX_MAX]);
/* Lower case only. */
MUST_CHECK bool seal_parse_hex(struct view text, uint8_t ret[static SHA256_SIZE]);

#endif
