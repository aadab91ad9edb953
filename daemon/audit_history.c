/*
 * audit_history.c - see audit_history.h
 *
 * Only the head of a line is looked at, up to the lane: record_write() puts
 * nothing there that a producer can choose, so no text of a topic can pass for
 * one of these members. Lines that are longer than the buffer go by in pieces;
 * what does not begin like a line of ours is passed over.
 */
#include "audit_history.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HISTORY_LINE_MAX 4096
#define HISTORY_WORD_MAX 256

/* The text of a member, without escapes: neither outcomes nor lanes have any that matter. */
static bool take_word(const char *line, const char *name, char word[static HISTORY_WORD_MAX])
{
    const char *at = strstr(line, name);

    if (!at)
        return false;
    at += strlen(name);
    size_t size = strcspn(at, "\"");
    if (size >= HISTORY_WORD_MAX || at[size] != '"')
        return false;
    memcpy(word, at, size);
    word[size] = '\0';
    return true;
}

static bool take_line(const char *line, char *lane, struct spool_ended *ret)
{
    char outcome[HISTORY_WORD_MAX];
    const char *id = strstr(line, "\"id\":");

    if (!id || !take_word(line, "\"outcome\":\"", outcome) ||
        !take_word(line, "\"lane\":\"", lane) || !spool_outcome_parse(outcome, &ret->outcome))
        return false;
    ret->id = strtoull(id + strlen("\"id\":"), NULL, 10);
    ret->lane = lane;
    return ret->id > 0;
}

/* The seq of a line whose end may be beyond the buffer. */
static bool take_seq(const char *line, uint64_t *ret)
{
    static const char start[] = "{\"seq\":";
    char *end;

    if (strncmp(line, start, sizeof start - 1) != 0)
        return false;
    *ret = strtoull(line + sizeof start - 1, &end, 10);
    return *ret > 0 && *ret < INT64_MAX && *end == ',';
}

static int read_file(const char *name, spool_ended_fn *fn, void *context)
{
    FILE *file = fopen(name, "re");
    char line[HISTORY_LINE_MAX];
    char lane[HISTORY_WORD_MAX];
    bool begins = true;
    int r = 0;

    if (!file)
        return 0; /* nothing is known from there */
    while (r == 0 && fgets(line, sizeof line, file)) {
        struct spool_ended ended;
        bool is_whole = strchr(line, '\n') != NULL;

        if (begins && (is_whole || strlen(line) == sizeof line - 1) &&
            take_seq(line, &ended.seq) && take_line(line, lane, &ended))
            r = fn(context, &ended);
        begins = is_whole;
    }
    (void)fclose(file); /* only read from */
    return r;
}

int audit_history_each(const char *file, spool_ended_fn *fn, void *context)
{
    AUTO_FREE char *rotated = NULL;

    if (*file == '\0')
        return 0;
    if (asprintf(&rotated, "%s.1", file) < 0) {
        rotated = NULL;
        return -ENOMEM;
    }
    int r = read_file(rotated, fn, context);
    return r == 0 ? read_file(file, fn, context) : r;
}
