/* SPDX-License-Identifier: MIT */
/*
 * far.c - seals that were kept elsewhere, against those of the audit files
 *
 * The broker's side keeps what audit.seal_topic published: one seal a line, in whatever
 * order its members are. Each must be in the files, if these begin before it: a chain that
 * was written anew has other digests, and files whose end was cut lack some.
 */
#include "cli/audit/check.h"

#include "base/cleanup.h"
#include "base/view.h"
#include "cli/audit/seals.h"
#include "cli/cli.h"
#include "cli/lines.h"
#include "daemon/seal/seal.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#define FAR_LINE_MAX ((size_t)64 * 1024)
#define FAR_MAX      ((size_t)4 * 1024 * 1024) /* seals: one a minute for seven years */

static int far_compare(const void *a, const void *b)
{
    const struct far_seal *left = a, *right = b;

    return memcmp(left->digest, right->digest, sizeof(left->digest));
}

void audit_find_far(struct audit_check *check, const struct seal *seal, bool is_proved)
{
    struct far_seals *far = &check->seals.far;
    struct far_seal wanted;
    size_t low = 0, high = far->count;

    memcpy(wanted.digest, seal->digest, sizeof(wanted.digest));
    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (far_compare(&far->seals[middle], &wanted) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    for (; low < far->count && far_compare(&far->seals[low], &wanted) == 0; low++) {
        far->seals[low].is_found = true;
        far->seals[low].is_proved |= is_proved;
    }
}

static bool far_parse(const struct line *line, struct far_seal *ret)
{
    json_error_t error;
    json_t *object = json_loadb(line->text, line->size, JSON_REJECT_DUPLICATES, &error);
    const json_t *number = json_object_get(object, "seal");
    const json_t *seq = json_object_get(object, "seq");
    const char *digest = json_string_value(json_object_get(object, "sha256"));
    bool is_seal = digest && json_is_integer(number) && json_is_integer(seq) &&
                   seal_parse_hex(view_of_text(digest), ret->digest);

    if (is_seal) {
        ret->number = (uint64_t)json_integer_value(number);
        ret->seq = (uint64_t)json_integer_value(seq);
    }
    json_decref(object);
    return is_seal;
}

/* Return: EX_OK; EX_UNAVAILABLE or EX_DATAERR, reported. */
static int far_add(struct far_seals *far, const struct far_seal *seal)
{
    if (far->count == FAR_MAX) {
        cli_error("%s has more than %zu seals", far->file, FAR_MAX);
        return EX_DATAERR;
    }
    if (far->count == far->size) {
        size_t size = far->size == 0 ? 256 : 2 * far->size;
        struct far_seal *grown = realloc(far->seals, size * sizeof(*grown));

        if (!grown) {
            cli_error("out of memory while reading %s", far->file);
            return EX_UNAVAILABLE;
        }
        far->seals = grown;
        far->size = size;
    }
    far->seals[far->count++] = *seal;
    return EX_OK;
}

static int far_read_lines(struct far_seals *far, struct lines *lines)
{
    struct far_seal seal = {0};
    struct line line;
    int code = EX_OK, r;

    while (code == EX_OK && (r = lines_next(lines, &line)) != 0) {
        seal.line++;
        if (r < 0) {
            cli_error("cannot read %s:%" PRIu64 ": %s", far->file, seal.line, strerror(-r));
            return EX_UNAVAILABLE;
        }
        if (far_parse(&line, &seal))
            code = far_add(far, &seal);
        else {
            cli_error("%s:%" PRIu64 " is no seal: one JSON object a line, as it was published",
                      far->file, seal.line);
            code = EX_DATAERR;
        }
    }
    return code;
}

int audit_read_far(struct audit_check *check, const char *file)
{
    AUTO_CLOSE int fd = open(file, O_RDONLY | O_CLOEXEC);
    struct lines lines;

    check->seals.far.file = file;
    if (fd < 0) {
        int code = errno == EACCES ? EX_NOPERM : EX_UNAVAILABLE;

        cli_error("cannot open the seals %s: %m", file);
        return code;
    }
    lines_init(&lines, fd, FAR_LINE_MAX);
    int code = far_read_lines(&check->seals.far, &lines);
    lines_done(&lines);
    if (check->seals.far.count > 0)
        qsort(check->seals.far.seals, check->seals.far.count, sizeof(*check->seals.far.seals),
              far_compare);
    return code;
}

void audit_compare_far(struct audit_check *check)
{
    struct far_seals *far = &check->seals.far;
    const struct far_seal *first = NULL;

    for (size_t i = 0; i < far->count; i++) {
        const struct far_seal *seal = &far->seals[i];

        if (seal->is_found) {
            far->found++;
            far->unproved += !seal->is_proved;
        } else if (seal->seq < check->first_seq)
            far->older++;
        else {
            far->missing++;
            if (!first || seal->line < first->line)
                first = seal;
        }
    }
    if (first)
        audit_add_problem_at(
            check, far->file, first->line,
            "this seal (%" PRIu64 ", of seq %" PRIu64 ") was published, and is "
            "not in the audit files%s: their end was cut, a file is missing, or "
            "they were written anew",
            first->number, first->seq, far->missing > 1 ? ", nor are others after it" : "");
}

void audit_free_far(struct audit_check *check)
{
    free(check->seals.far.seals);
}
