/* SPDX-License-Identifier: MIT */
/*
 * sealing.c - which lines of the audit file wait for a seal, and what chain it continues
 *
 * A process that dies leaves lines behind the last seal: they are read again, and the
 * chain continues, because a torn line at the end was in no seal. A seal that a power
 * cut took was not synced, and so not published; the one before it is continued.
 */
#include "daemon/audit/sealing.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/read_full.h"
#include "base/regular.h"
#include "daemon/seal/sha256.h"

enum sealing_found { SEALING_FOUND, SEALING_FOUND_NONE, SEALING_FOUND_NOT_READ };

/* The end of a file. */
struct sealing_window {
    char *text;
    size_t size;
    bool is_whole; /* it is the whole file */
};

void sealing_set(struct sealing *sealing, int64_t every_ms, bool is_awaited)
{
    sealing->is_awaited = is_awaited;
    if (every_ms == 0 || sealing->every_ms == 0) {
        /* Lines were, or will be, written without being added. */
        sealing->is_known = false;
        sealing->newest.size = 0;
        sealing->is_unsynced = false;
        sealing->now = (struct sealing_state){0};
        seal_begin(&sealing->now.chain);
        sealing->synced = sealing->now;
    }
    sealing->every_ms = every_ms;
}

/* ---- reading ---- */

static bool sealing_read(struct sealing_window *window, int fd, off_t size)
{
    off_t from = size > (off_t)SEALING_READ_MAX ? size - (off_t)SEALING_READ_MAX : 0;

    window->size = (size_t)(size - from);
    window->is_whole = from == 0;
    window->text = malloc(window->size + 1);
    return window->text &&
           read_full_at(fd, window->text, window->size, from) == (ssize_t)window->size;
}

/* The last seal of the window, if it is one, with its line break. */
static struct view sealing_last(const struct sealing_window *window)
{
    size_t end = window->size;

    while (end > 0 && window->text[end - 1] == '\n') {
        const char *before = memrchr(window->text, '\n', end - 1);
        size_t start = before ? (size_t)(before - window->text) + 1 : 0;

        if (!before && !window->is_whole)
            break;
        if (seal_is_line(window->text + start, end - start))
            return view_of(window->text + start, end - start);
        end = start;
    }
    return view_of(NULL, 0);
}

static enum sealing_found sealing_resume(struct sealing *sealing,
                                         const struct sealing_window *window,
                                         struct sealing_state *ret)
{
    struct view line = sealing_last(window);
    const char *end = window->text + window->size;
    struct seal seal;

    if (line.size == 0)
        return SEALING_FOUND_NONE;
    const char *text = view_chars(line), *rest = text + line.size;
    if (line.size > SEAL_LINE_MAX || !seal_parse(text, line.size - 1, &seal))
        return SEALING_FOUND_NOT_READ;
    seal_resume(&ret->chain, seal.number, seal.digest);
    seal_add(&ret->chain, view_of(rest, (size_t)(end - rest)));
    sealing->newest.number = seal.number;
    sealing->newest.size = line.size;
    memcpy(sealing->newest.digest, seal.digest, sizeof(seal.digest));
    memcpy(sealing->newest.line, text, line.size);
    return SEALING_FOUND;
}

/* The file that was rotated. */
static enum sealing_found
sealing_resume_rotated(struct sealing *sealing, const char *name, struct sealing_state *ret)
{
    AUTO_CLOSE int fd = regular_openat(AT_FDCWD, name, O_RDONLY, 0);
    struct sealing_window window = {0};
    enum sealing_found found = SEALING_FOUND_NOT_READ;
    struct stat st;

    if (fd < 0 || fstat(fd, &st) < 0)
        return SEALING_FOUND_NONE;
    if (sealing_read(&window, fd, st.st_size))
        found = sealing_resume(sealing, &window, ret);
    free(window.text);
    return found;
}

/* What the end of the file says; of a short file without a seal, that of the one before it. */
static enum sealing_found sealing_resume_file(
    struct sealing *sealing, int fd, off_t size, const char *rotated, struct sealing_state *ret)
{
    struct sealing_window window = {0};
    enum sealing_found found = SEALING_FOUND_NOT_READ;

    if (sealing_read(&window, fd, size)) {
        found = sealing_resume(sealing, &window, ret);
        if (found == SEALING_FOUND_NONE && window.is_whole) {
            found = sealing_resume_rotated(sealing, rotated, ret);
            if (found == SEALING_FOUND) {
                ret->needs_prev = ret->chain.lines == 0;
                seal_add(&ret->chain, view_of(window.text, window.size));
            }
        }
    }
    free(window.text);
    return found;
}

static const char *sealing_why(enum sealing_found found, bool is_missing, bool is_empty)
{
    if (is_missing)
        return SEALING_MISSING;
    if (found == SEALING_FOUND_NOT_READ)
        return SEALING_UNREADABLE;
    if (found == SEALING_FOUND_NONE)
        return is_empty ? SEALING_NEW_FILE : SEALING_NO_SEAL;
    return NULL;
}

static bool sealing_is_same(const struct seal_chain *a, const struct seal_chain *b)
{
    uint8_t since_a[SHA256_SIZE], since_b[SHA256_SIZE];

    sha256_digest(&a->hash, since_a);
    sha256_digest(&b->hash, since_b);
    return a->number == b->number && a->lines == b->lines &&
           memcmp(a->digest, b->digest, sizeof(a->digest)) == 0 &&
           memcmp(since_a, since_b, sizeof(since_a)) == 0;
}

/* The first file since seals are written: what it holds is continued. */
static void
sealing_adopt(struct sealing *sealing, int fd, off_t size, const char *rotated, bool is_missing)
{
    struct sealing_state *now = &sealing->now;
    enum sealing_found found = sealing_resume_file(sealing, fd, size, rotated, now);
    const char *why = sealing_why(found, is_missing, size == 0);

    now->has_news = now->chain.lines > 0;
    now->due_ms = 0; /* they may have waited long */
    if (why)
        sealing_restart(sealing, why);
}

/* Is the file at which the chain ended still the same? An empty one continues it. */
static void sealing_compare(
    struct sealing *sealing, int fd, off_t size, const char *rotated, bool is_missing)
{
    struct sealing_state *now = &sealing->now;
    struct seal_text newest = sealing->newest;
    struct sealing_state found = {0};

    if (now->why)
        return;
    if (is_missing) {
        sealing_restart(sealing, SEALING_MISSING);
        return;
    }
    if (size == 0) {
        now->needs_prev = now->chain.lines == 0;
        return;
    }
    bool is_same = sealing_resume_file(sealing, fd, size, rotated, &found) == SEALING_FOUND &&
                   sealing_is_same(&found.chain, &now->chain);
    sealing->newest = newest;
    if (!is_same)
        sealing_restart(sealing, SEALING_OTHER);
}

void sealing_open(
    struct sealing *sealing, int fd, off_t size, const char *rotated, bool is_missing)
{
    if (sealing->every_ms == 0)
        return;
    if (sealing->is_known)
        sealing_compare(sealing, fd, size, rotated, is_missing);
    else
        sealing_adopt(sealing, fd, size, rotated, is_missing);
    sealing->is_known = true;
    sealing->synced = sealing->now;
    sealing->is_unsynced = false;
}

void sealing_restart(struct sealing *sealing, const char *why)
{
    if (sealing->every_ms == 0)
        return;
    sealing->now = (struct sealing_state){.why = why};
    seal_begin(&sealing->now.chain);
    sealing->synced = sealing->now;
    sealing->newest.size = 0;
    sealing->is_unsynced = false;
}

/* ---- lines ---- */

void sealing_add(struct sealing *sealing, struct view lines, bool has_news, int64_t now_boot_ms)
{
    if (sealing->every_ms == 0)
        return;
    seal_add(&sealing->now.chain, lines);
    if (has_news && !sealing->now.has_news) {
        sealing->now.has_news = true;
        sealing->now.due_ms = now_boot_ms + sealing->every_ms;
    }
}

void sealing_rewind(struct sealing *sealing)
{
    sealing->now = sealing->synced;
    if (sealing->is_unsynced)
        sealing->newest.size = 0;
    sealing->is_unsynced = false;
}

void sealing_note_sync(struct sealing *sealing)
{
    sealing->synced = sealing->now;
    sealing->is_unsynced = false;
}

/* ---- seals ---- */

bool sealing_waits(const struct sealing *sealing)
{
    return sealing->every_ms > 0 && sealing->now.chain.lines > 0;
}

bool sealing_is_due(const struct sealing *sealing, int64_t now_boot_ms)
{
    return sealing_waits(sealing) && sealing->now.has_news &&
           now_boot_ms >= sealing->now.due_ms;
}

bool sealing_is_full(const struct sealing *sealing)
{
    return sealing_waits(sealing) && (sealing->now.chain.lines >= SEALING_LINES_MAX ||
                                      sealing->now.chain.bytes >= SEALING_BYTES_MAX);
}

void sealing_write(const struct sealing *sealing,
                   int64_t time_ms,
                   uint64_t seq,
                   struct seal_text *ret)
{
    const struct seal_facts facts = {
        .time_ms = time_ms,
        .seq = seq,
        .why = sealing->now.why,
        .has_prev = sealing->now.needs_prev,
    };

    seal_write(&sealing->now.chain, &facts, ret);
}

void sealing_note_written(struct sealing *sealing,
                          const struct seal_text *text,
                          int64_t now_boot_ms)
{
    seal_note(&sealing->now.chain, text);
    sealing->now.why = NULL;
    sealing->now.needs_prev = false;
    sealing->now.has_news = false;
    sealing->newest = *text;
    sealing->is_unsynced = true;
    sealing->unsynced_since_ms = now_boot_ms;
}

int64_t sealing_due_sync_ms(const struct sealing *sealing, int64_t wait_ms)
{
    if (wait_ms > sealing->every_ms)
        wait_ms = sealing->every_ms;
    return sealing->is_unsynced && sealing->is_awaited ? sealing->unsynced_since_ms + wait_ms
                                                       : INT64_MAX;
}

struct view sealing_newest(const struct sealing *sealing)
{
    return sealing->is_unsynced || sealing->newest.size == 0
               ? view_of(NULL, 0)
               : view_of(sealing->newest.line, sealing->newest.size - 1);
}
