/* SPDX-License-Identifier: MIT */
/*
 * seal_parse.c - a line of a file as the seal that it is
 *
 * Nothing in a seal is chosen by a producer, and none of its texts has a quote, so a
 * member is found by its name. Members that are not known are passed over.
 */
#include "base/view.h"
#include "daemon/seal/seal.h"
#include "daemon/seal/sha256.h"

#include <string.h>

#define SEAL_START  "{\"seal\":"
#define SEAL_DIGEST ",\"sha256\":\""
#define SEAL_END    "\"}"

bool seal_is_line(const char *line, size_t size)
{
    return size >= sizeof(SEAL_START) - 1 &&
           memcmp(line, SEAL_START, sizeof(SEAL_START) - 1) == 0;
}

static int seal_nibble(uint8_t digit)
{
    if (digit >= '0' && digit <= '9')
        return digit - '0';
    return digit >= 'a' && digit <= 'f' ? digit - 'a' + 10 : -1;
}

bool seal_parse_hex(struct view text, uint8_t ret[static SHA256_SIZE])
{
    uint8_t digest[SHA256_SIZE];

    if (text.size != 2 * SHA256_SIZE)
        return false;
    for (size_t i = 0; i < SHA256_SIZE; i++) {
        int high = seal_nibble(text.data[2 * i]), low = seal_nibble(text.data[2 * i + 1]);

        if (high < 0 || low < 0)
            return false;
        digest[i] = (uint8_t)(high << 4 | low);
    }
    memcpy(ret, digest, sizeof(digest));
    return true;
}

/* What follows @name in @line; empty: it is not there. */
static struct view seal_find(struct view line, const char *name)
{
    const uint8_t *at = memmem(line.data, line.size, name, strlen(name));

    if (!at)
        return view_of(NULL, 0);
    at += strlen(name);
    return view_of(at, line.size - (size_t)(at - line.data));
}

static bool seal_parse_number(struct view text, uint64_t *ret)
{
    uint64_t number = 0;
    size_t digits = 0;

    while (digits < text.size && text.data[digits] >= '0' && text.data[digits] <= '9') {
        if (number > (INT64_MAX - 9) / 10)
            return false;
        number = number * 10 + (uint64_t)(text.data[digits++] - '0');
    }
    if (digits == 0 || digits == text.size || text.data[digits] != ',')
        return false;
    *ret = number;
    return true;
}

/* Up to the next quote. */
static struct view seal_parse_text(struct view text)
{
    const uint8_t *quote = text.size > 0 ? memchr(text.data, '"', text.size) : NULL;

    return quote ? view_of(text.data, (size_t)(quote - text.data)) : view_of(NULL, 0);
}

bool seal_parse(const char *line, size_t size, struct seal *ret)
{
    const size_t tail = 2 * SHA256_SIZE + sizeof(SEAL_END) - 1;
    const size_t digest = sizeof(SEAL_DIGEST) - 1;
    struct view whole = view_of(line, size), prev;
    struct seal seal = {0};

    if (!seal_is_line(line, size) || size < sizeof(SEAL_START) - 1 + digest + tail ||
        memcmp(line + size - (sizeof(SEAL_END) - 1), SEAL_END, sizeof(SEAL_END) - 1) != 0 ||
        memcmp(line + size - tail - digest, SEAL_DIGEST, digest) != 0)
        return false;
    seal.sealed = view_of(line, size - tail);
    if (!seal_parse_hex(view_of(line + size - tail, 2 * SHA256_SIZE), seal.digest) ||
        !seal_parse_number(seal_find(whole, SEAL_START), &seal.number) || seal.number == 0 ||
        !seal_parse_number(seal_find(whole, ",\"seq\":"), &seal.seq) ||
        !seal_parse_number(seal_find(whole, ",\"lines\":"), &seal.lines))
        return false;
    seal.time = seal_parse_text(seal_find(whole, ",\"time\":\""));
    seal.why = seal_parse_text(seal_find(whole, ",\"starts\":\""));
    seal.marks = seal_parse_text(seal_find(whole, ",\"marks\":\""));
    prev = seal_parse_text(seal_find(whole, ",\"prev\":\""));
    seal.has_prev = prev.size > 0;
    if (seal.time.size == 0 || (seal.has_prev && !seal_parse_hex(prev, seal.prev)))
        return false;
    *ret = seal;
    return true;
}
