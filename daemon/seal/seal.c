/* SPDX-License-Identifier: MIT */
/*
 * seal.c - the chain of seals: adds lines, writes the next seal
 *
 * Invariant: chain->hash is that of all that came since the seal with chain->digest.
 */
#include "daemon/seal/seal.h"

#include <assert.h>
#include <string.h>

#include "base/clock.h"
#include "base/json.h"

static const char seal_alphabet[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/* What a chain begins with, instead of the digest of a seal. */
static const uint8_t seal_zeros[SHA256_SIZE];

void seal_begin(struct seal_chain *chain)
{
    seal_resume(chain, 0, seal_zeros);
}

void seal_resume(struct seal_chain *chain,
                 uint64_t number,
                 const uint8_t digest[static SHA256_SIZE])
{
    chain->number = number;
    memcpy(chain->digest, digest, sizeof(chain->digest));
    sha256_begin(&chain->hash);
    chain->lines = 0;
    chain->bytes = 0;
}

static void seal_mark(struct seal_chain *chain)
{
    uint8_t digest[SHA256_SIZE];

    if (chain->lines < SEAL_MARKS_MAX) {
        sha256_digest(&chain->hash, digest);
        chain->marks[chain->lines] = seal_alphabet[digest[0] & 63];
    }
    chain->lines++;
}

void seal_add(struct seal_chain *chain, struct view text)
{
    chain->bytes += text.size;
    while (text.size > 0) {
        const uint8_t *newline = memchr(text.data, '\n', text.size);
        size_t size = newline ? (size_t)(newline - text.data) + 1 : text.size;

        sha256_add(&chain->hash, text.data, size);
        if (newline)
            seal_mark(chain);
        text.data += size;
        text.size -= size;
    }
}

void seal_hex(const uint8_t digest[static SHA256_SIZE], char ret[static SEAL_HEX_MAX])
{
    static const char digits[] = "0123456789abcdef";

    for (size_t i = 0; i < SHA256_SIZE; i++) {
        ret[2 * i] = digits[digest[i] >> 4];
        ret[2 * i + 1] = digits[digest[i] & 15];
    }
    ret[2 * SHA256_SIZE] = '\0';
}

static size_t seal_mark_count(const struct seal_chain *chain)
{
    return chain->lines < SEAL_MARKS_MAX ? (size_t)chain->lines : SEAL_MARKS_MAX;
}

static void seal_write_members(struct json *json,
                               const struct seal_chain *chain,
                               const struct seal_facts *facts)
{
    char text[CLOCK_TEXT_MAX > SEAL_HEX_MAX ? CLOCK_TEXT_MAX : SEAL_HEX_MAX];

    json_open_object(json, NULL);
    json_unsigned(json, "seal", facts->why ? 1 : chain->number + 1);
    clock_format(facts->time_ms, text);
    json_text(json, "time", text);
    json_unsigned(json, "seq", facts->seq);
    json_unsigned(json, "lines", facts->why ? 0 : chain->lines);
    if (facts->why)
        json_text(json, "starts", facts->why);
    if (facts->has_prev && !facts->why) {
        seal_hex(chain->digest, text);
        json_text(json, "prev", text);
    }
    if (!facts->why && chain->lines > 0)
        json_bytes(json, "marks", chain->marks, seal_mark_count(chain));
    json_raw(json, ",\"sha256\":\"");
}

/* @sealed: of the line itself. */
static void seal_digest(const struct seal_chain *chain,
                        bool starts,
                        struct view sealed,
                        uint8_t ret[static SHA256_SIZE])
{
    struct sha256 hash = chain->hash;

    if (starts)
        sha256_begin(&hash);
    sha256_add(&hash, sealed.data, sealed.size);
    sha256_add(&hash, starts ? seal_zeros : chain->digest, SHA256_SIZE);
    sha256_digest(&hash, ret);
}

void seal_write(const struct seal_chain *chain,
                const struct seal_facts *facts,
                struct seal_text *ret)
{
    char hex[SEAL_HEX_MAX];
    struct json json;

    json_init(&json, ret->line, sizeof(ret->line));
    seal_write_members(&json, chain, facts);
    seal_digest(chain, facts->why != NULL, view_of(ret->line, json_used(&json)), ret->digest);
    seal_hex(ret->digest, hex);
    json_raw(&json, hex);
    json_raw(&json, "\"}\n");
    assert(!json.failed); /* SEAL_LINE_MAX has room for all of it */
    ret->size = json_used(&json);
    ret->number = facts->why ? 1 : chain->number + 1;
}

void seal_note(struct seal_chain *chain, const struct seal_text *text)
{
    seal_resume(chain, text->number, text->digest);
}

void seal_expect(const struct seal_chain *chain,
                 const struct seal *seal,
                 uint8_t ret[static SHA256_SIZE])
{
    seal_digest(chain, seal->why.size > 0, seal->sealed, ret);
}
