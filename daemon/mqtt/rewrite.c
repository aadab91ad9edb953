/* SPDX-License-Identifier: MIT */
/*
 * rewrite.c - another topic made of the levels of a topic
 *
 * Filter and topic are walked level by level for each reference, so that nothing has to be
 * kept of the match.
 *
 * Invariant: a result has no wildcard and no control character, because neither a topic nor a
 * target has one.
 */
#include "daemon/mqtt/rewrite.h"

#include <stdbool.h>
#include <string.h>

#include "base/cursor.h"
#include "daemon/mqtt/packet.h"

#define REWRITE_REST 0 /* the number of {#} */

/* One reference, "{1}" or "{#}". Return: its bytes; 0: @text does not begin with one. */
static size_t reference_parse(const char *text, unsigned *ret_number)
{
    unsigned number = 0;
    size_t digits;

    if (strncmp(text, "{#}", 3) == 0) {
        *ret_number = REWRITE_REST;
        return 3;
    }
    if (text[0] != '{' || text[1] == '0')
        return 0;
    digits = strspn(text + 1, "0123456789");
    if (digits == 0 || digits > 3 || text[1 + digits] != '}')
        return 0;
    for (size_t i = 1; i <= digits; i++)
        number = number * 10 + (unsigned)(text[i] - '0');
    *ret_number = number;
    return digits + 2;
}

static unsigned filter_count(const char *filter, char wildcard)
{
    unsigned count = 0;

    for (; *filter != '\0'; filter++)
        count += *filter == wildcard;
    return count;
}

const char *rewrite_check(const char *filter, const char *target)
{
    unsigned plus = filter_count(filter, '+');
    unsigned rest = filter_count(filter, '#');
    unsigned number;

    for (const char *at = target; *at != '\0'; at++) {
        size_t size;

        if (*at == '+')
            return "must not hold the wildcard +: write {1} for the level that the first + "
                   "matches";
        if (*at != '{') {
            if (*at == '#')
                return "must not hold the wildcard #: write {#} for what # matches";
            continue;
        }
        size = reference_parse(at, &number);
        if (size == 0)
            return "must not hold { but in {1}, {2} and so on, and in {#}";
        if (number == REWRITE_REST ? rest == 0 : number > plus)
            return "must refer to wildcards of its filter only: {1} is what its first + "
                   "matches, {2} its second, and {#} what its # matches";
        at += size - 1;
    }
    if (packet_topic_is_of_broker(target))
        return "must not begin with $SYS/: a broker keeps these topics for itself";
    if (!packet_text_is_forwardable(view_of_text(target)))
        return "must not hold control characters";
    return target[0] != '\0' ? NULL : "must not be empty";
}

/* Where the level at @at ends. */
static const uint8_t *level_end(const uint8_t *at, const uint8_t *end)
{
    const uint8_t *slash = memchr(at, '/', (size_t)(end - at));

    return slash ? slash : end;
}

/* What the reference stands for. False: # matched no level. */
static bool capture(const char *filter, struct view topic, unsigned number, struct view *ret)
{
    const uint8_t *at = topic.data;
    const uint8_t *end = topic.data + topic.size;

    for (;;) {
        const uint8_t *level = level_end(at, end);

        if (*filter == '#') {
            *ret = view_of(at, (size_t)(end - at));
            return true;
        }
        if (*filter == '+' && number != REWRITE_REST && --number == 0) {
            *ret = view_of(at, (size_t)(level - at));
            return true;
        }
        filter += strcspn(filter, "/");
        if (level == end || *filter == '\0')
            return false;
        filter++;
        at = level + 1;
    }
}

size_t rewrite_topic(
    const char *filter, const char *target, struct view topic, uint8_t *memory, size_t size)
{
    struct writer writer;

    writer_init(&writer, memory, size);
    while (*target != '\0') {
        struct view level;
        unsigned number;
        size_t reference = reference_parse(target, &number);

        if (reference == 0) {
            writer_u8(&writer, (uint8_t)*target++);
            continue;
        }
        target += reference;
        if (capture(filter, topic, number, &level))
            writer_bytes(&writer, level.data, level.size);
        else if (writer.at > writer.start && writer.at[-1] == '/')
            writer.at--;
    }
    return writer.failed ? 0 : writer_used(&writer);
}
