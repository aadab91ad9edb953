/* SPDX-License-Identifier: MIT */
/*
 * part_audit.c - the newest lines of the audit file
 *
 * A line has no payload. Of its members only those that are known here are taken: what a
 * producer gave a message (ref, a user property) is not needed to find a fault.
 */
#include "base/cleanup.h"
#include "base/read_full.h"
#include "base/regular.h"
#include "base/view.h"
#include "base/zero_tail.h"
#include "cli/bundle/members.h"
#include "cli/cli.h"
#include "daemon/config/config.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { TAIL_BYTES = 2 << 20 };

static const char *const members[] = {
    "seq",       "time",         "outcome", "reason",  "id",       "lane",          "client",
    "uid",       "topic",        "qos",     "bytes",   "accepted", "age_ms",        "attempts",
    "code",      "from",         "pruned",  "admin",   "ids",      "id_count",      "user",
    "all",       "level",        "matched", "dropped", "requeued", "older_than_ms", "in_flight",
    "cut_short", "error",        "seal",    "starts",  "lines",    "marks",         "prev",
    "sha256",    "requeued_from"};

static bool is_known(const char *name)
{
    for (size_t i = 0; i < sizeof(members) / sizeof(members[0]); i++) {
        if (strcmp(members[i], name) == 0)
            return true;
    }
    return false;
}

/* Return: how many members were left out. */
static unsigned put_line(FILE *to, json_t *line)
{
    json_t *kept = json_object();
    unsigned left_out = 0;
    const char *name;
    json_t *value;
    char *text;

    json_object_foreach(line, name, value)
    {
        if (!is_known(name))
            left_out++;
        else
            (void)json_object_set(kept, name, value); /* without memory the line lacks it */
    }
    text = json_dumps(kept, JSON_COMPACT | JSON_ENSURE_ASCII);
    if (text)
        fprintf(to, "%s\n", text);
    free(text);
    json_decref(kept);
    return left_out;
}

/* The start of the last @lines lines. */
static struct view last_lines(struct view text, uint64_t lines)
{
    size_t at = text.size > 0 && text.data[text.size - 1] == '\n' ? text.size - 1 : text.size;

    for (uint64_t i = 0; i < lines && at > 0; i++) {
        const char *found = memrchr(text.data, '\n', at);

        at = found ? (size_t)(found - view_chars(text)) : 0;
    }
    return at > 0 ? view_skip(text, at + 1) : text;
}

static void put_lines(struct bundle *bundle, FILE *to, struct view text)
{
    unsigned unreadable = 0;
    unsigned left_out = 0;

    while (text.size > 0) {
        const char *end = memchr(text.data, '\n', text.size);
        size_t size = end ? (size_t)(end - view_chars(text)) : text.size;
        json_t *line = json_loadb(view_chars(text), size, 0, NULL);

        if (json_is_object(line))
            left_out += put_line(to, line);
        else
            unreadable++;
        json_decref(line);
        text = view_skip(text, end ? size + 1 : size);
    }
    if (left_out > 0)
        bundle_note(bundle, NULL,
                    "audit.jsonl: %u member%s left out that producers gave (ref), or "
                    "that this version does not know; seals of such lines do not hold here",
                    left_out, cli_plural(left_out));
    if (unreadable > 0)
        bundle_note(bundle, NULL, "audit.jsonl: %u line%s left out, not JSON", unreadable,
                    cli_plural(unreadable));
}

/* Without zeros behind them. Return: bytes at the end of the file, after a first line that is
 * cut; negative errno. */
static ssize_t read_tail(struct bundle *bundle, const char *path, char *to)
{
    AUTO_CLOSE int fd = regular_openat(AT_FDCWD, path, O_RDONLY, 0);
    struct stat st;
    off_t from, end;
    ssize_t size;
    int result;

    if (fd < 0)
        return fd;
    if (fstat(fd, &st) < 0)
        return -errno;
    result = zero_tail_begin(fd, st.st_size, &end);
    if (result < 0)
        return result;
    if (end < st.st_size)
        bundle_note(bundle, path,
                    "left out, %jd zero bytes with which it ends, from byte %jd on: a start of "
                    "the daemon cuts them",
                    (intmax_t)(st.st_size - end), (intmax_t)end);
    from = end > TAIL_BYTES ? end - TAIL_BYTES : 0;
    size = read_full_at(fd, to, (size_t)(end - from), from);
    if (size > 0 && from > 0) {
        const char *newline = memchr(to, '\n', (size_t)size);
        size_t cut = newline ? (size_t)(newline - to) + 1 : (size_t)size;

        memmove(to, to + cut, (size_t)size - cut);
        size -= (ssize_t)cut;
    }
    return size;
}

void part_add_audit(struct bundle *bundle)
{
    AUTO_FREE char *tail = malloc(TAIL_BYTES);
    AUTO_FREE char *text = NULL;
    size_t text_size = 0;
    const char *path = bundle->config ? bundle->config->audit.file : "";
    ssize_t size;
    FILE *to;

    if (path[0] == '\0') {
        bundle_note(bundle, NULL,
                    "audit.jsonl: left out, no audit file is configured or known");
        return;
    }
    size = tail ? read_tail(bundle, path, tail) : -ENOMEM;
    if (size < 0) {
        bundle_note(bundle, path, "left out, %s", regular_error((int)size));
        return;
    }
    to = open_memstream(&text, &text_size);
    if (!to)
        return;
    put_lines(bundle, to, last_lines(view_of(tail, (size_t)size), bundle->audit_lines));
    if (fclose(to) == 0)
        bundle_add(bundle, "audit.jsonl", "the newest outcome records",
                   view_of(text, text_size));
}
