/* SPDX-License-Identifier: MIT */
/*
 * filter.c - which topics two topic filters have in common
 *
 * Both questions are answered level by level, as topic.c matches. A level may be any text, and
 * filters name finitely many. So of the topics of a filter with one number of levels there is
 * one that has in the place of each + a level that no filter names. A filter that matches this
 * topic has a wildcard there too, and matches all of them. So several filters cover the topics
 * of one length only if one of them does, and the lengths can be looked at one by one.
 */
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#include "daemon/mqtt/packet.h"

/* Walks the levels of a filter. */
struct filter_level {
    const char *at;
    size_t size;
    bool has_ended; /* there is none left: at and size are of none */
};

static struct filter_level filter_first(const char *filter)
{
    return (struct filter_level){.at = filter, .size = strcspn(filter, "/")};
}

static void filter_next(struct filter_level *level)
{
    const char *end = level->at + level->size;

    if (*end == '/')
        *level = filter_first(end + 1);
    else
        *level = (struct filter_level){.at = end, .has_ended = true};
}

static bool filter_level_is(const struct filter_level *level, char wildcard)
{
    return level->size == 1 && *level->at == wildcard;
}

static bool filter_levels_are_equal(const struct filter_level *a, const struct filter_level *b)
{
    return a->size == b->size && memcmp(a->at, b->at, a->size) == 0;
}

/* No wildcard at the front matches a leading $ [MQTT-4.7.2-1]. */
static bool filter_hides(const char *filter, const char *other)
{
    return (*filter == '+' || *filter == '#') && *other == '$';
}

/* The same topics, all of which have as many levels as the filter has before its #, or more: no
 * topic is empty. */
static const char *filter_without_empty(const char *filter)
{
    if (strcmp(filter, "#") == 0)
        return "+/#";
    return strcmp(filter, "/#") == 0 ? "/+/#" : filter;
}

/* The levels before a #, or all. */
static size_t filter_count(const char *filter, bool *ret_has_hash)
{
    struct filter_level level = filter_first(filter);
    size_t count = 0;

    for (; !level.has_ended && !filter_level_is(&level, '#'); filter_next(&level))
        count++;
    *ret_has_hash = !level.has_ended;
    return count;
}

/* Does @cover match all topics of @count levels that @filter matches? It matches some. */
static bool filter_covers_length(const char *cover, const char *filter, size_t count)
{
    struct filter_level wide = filter_first(cover);
    struct filter_level narrow = filter_first(filter);

    if (filter_hides(cover, filter))
        return false;
    for (size_t i = 0; i < count; i++) {
        if (filter_level_is(&wide, '#'))
            return true;
        if (wide.has_ended)
            return false;
        /* From its # on @narrow stays: any level may be there. */
        if (!filter_level_is(&wide, '+') && !filter_levels_are_equal(&wide, &narrow))
            return false;
        filter_next(&wide);
        if (!filter_level_is(&narrow, '#'))
            filter_next(&narrow);
    }
    return wide.has_ended || filter_level_is(&wide, '#'); /* "a/#" also matches "a" */
}

bool packet_filter_is_covered(const char *filter, char *const *covers, size_t cover_count)
{
    bool has_hash;
    size_t count, i;

    filter = filter_without_empty(filter);
    count = filter_count(filter, &has_hash);
    do { /* ends: without a # each filter covers one length */
        bool is_endless = false;

        for (i = 0; i < cover_count; i++) {
            if (!filter_covers_length(covers[i], filter, count))
                continue;
            (void)filter_count(covers[i], &is_endless);
            break;
        }
        if (i == cover_count)
            return false;
        if (is_endless) /* what is longer, too */
            return true;
        count++;
    } while (has_hash);
    return true;
}

bool packet_filters_meet(const char *a, const char *b)
{
    struct filter_level left = filter_first(filter_without_empty(a));
    struct filter_level right = filter_first(filter_without_empty(b));

    if (filter_hides(a, b) || filter_hides(b, a))
        return false;
    while (!left.has_ended && !right.has_ended) {
        if (filter_level_is(&left, '#') || filter_level_is(&right, '#'))
            return true;
        if (!filter_level_is(&left, '+') && !filter_level_is(&right, '+') &&
            !filter_levels_are_equal(&left, &right))
            return false;
        filter_next(&left);
        filter_next(&right);
    }
    return (left.has_ended && right.has_ended) || filter_level_is(&left, '#') ||
           filter_level_is(&right, '#');
}
