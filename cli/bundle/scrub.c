/* SPDX-License-Identifier: MIT */
/*
 * scrub.c - takes secrets out of a text
 */
#include "cli/bundle/scrub.h"

#include "base/view.h"
#include "cli/bundle/topics.h"

#include <ctype.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define BEGIN_PEM "-----BEGIN "
#define KEY_PEM   "PRIVATE KEY-----"
#define END_PEM   "-----END "

static bool has_part(struct view name, const char *part)
{
    size_t size = strlen(part);

    for (size_t i = 0; i + size <= name.size; i++) {
        if (strncasecmp(view_chars(name) + i, part, size) == 0)
            return true;
    }
    return false;
}

static bool has_end(struct view name, const char *end)
{
    size_t size = strlen(end);

    return name.size >= size &&
           strncasecmp(view_chars(name) + name.size - size, end, size) == 0;
}

/* As a word of its own or at the end of one: not in "passed". */
static bool has_pass(struct view name)
{
    static const char pass[] = "pass";
    size_t size = strlen(pass);

    for (size_t i = 0; i + size <= name.size; i++) {
        if (strncasecmp(view_chars(name) + i, pass, size) == 0 &&
            (i + size == name.size || !isalpha(name.data[i + size])))
            return true;
    }
    return false;
}

bool scrub_is_secret_name(struct view name)
{
    static const char *const parts[] = {
        "passw",  "passphrase", "passcode", "passkey",   "secret",        "token",
        "psk",    "credential", "username", "user_name", "authorization", "authorisation",
        "apikey", "api_key",    "api-key",  "private"};

    if (has_end(name, "_file"))
        return false;
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        if (has_part(name, parts[i]))
            return true;
    }
    return has_pass(name) || view_is(name, "key") || view_is(name, "pwd");
}

bool scrub_is_secret_file_name(struct view name)
{
    return has_end(name, "_file") && (has_part(name, "pass") || has_part(name, "key") ||
                                      has_part(name, "secret") || has_part(name, "token"));
}

bool scrub_is_topic_name(struct view name)
{
    return has_part(name, "topic") || has_part(name, "filter") || has_part(name, "prefix") ||
           view_is(name, "publish") || view_is(name, "map");
}

static bool is_known(const struct scrub *scrub, struct view secret)
{
    for (size_t i = 0; i < scrub->count; i++) {
        if (view_equals(scrub->secrets[i], secret))
            return true;
    }
    return false;
}

void scrub_add(struct scrub *scrub, struct view secret)
{
    size_t at = scrub->count;
    void *copy;

    if (secret.size < SCRUB_LEAST || scrub->count == SCRUB_SECRETS_MAX ||
        is_known(scrub, secret))
        return;
    copy = malloc(secret.size);
    if (!copy)
        return;
    memcpy(copy, secret.data, secret.size);
    for (; at > 0 && scrub->secrets[at - 1].size < secret.size; at--)
        scrub->secrets[at] = scrub->secrets[at - 1];
    scrub->secrets[at] = view_of(copy, secret.size);
    scrub->count++;
    scrub->is_first[secret.data[0]] = true;
}

void scrub_add_file(struct scrub *scrub, struct view path)
{
    for (size_t i = 0; i < scrub->file_count; i++) {
        if (view_is(path, scrub->files[i]))
            return;
    }
    if (scrub->file_count == SCRUB_FILES_MAX)
        return;
    scrub->files[scrub->file_count] = strndup(view_chars(path), path.size);
    scrub->file_count += scrub->files[scrub->file_count] != NULL;
}

void scrub_done(struct scrub *scrub)
{
    for (size_t i = 0; i < scrub->file_count; i++)
        free(scrub->files[i]);
    scrub->file_count = 0;
    for (size_t i = 0; i < scrub->count; i++) {
        explicit_bzero((void *)(uintptr_t)scrub->secrets[i].data, scrub->secrets[i].size);
        free((void *)(uintptr_t)scrub->secrets[i].data);
    }
    scrub->count = 0;
}

static bool begins(struct view text, const char *with)
{
    size_t size = strlen(with);

    return text.size >= size && memcmp(text.data, with, size) == 0;
}

/* Bytes of a secret at the start of @text; 0: none. */
static size_t match_secret(const struct scrub *scrub, struct view text)
{
    if (!scrub->is_first[text.data[0]])
        return 0;
    for (size_t i = 0; i < scrub->count; i++) {
        if (text.size >= scrub->secrets[i].size &&
            memcmp(text.data, scrub->secrets[i].data, scrub->secrets[i].size) == 0)
            return scrub->secrets[i].size;
    }
    return 0;
}

/* Bytes of a private key at the start of @text, up to its end or that of the text. */
static size_t match_key(struct view text)
{
    const char *kind, *end, *line_end;

    if (!begins(text, BEGIN_PEM))
        return 0;
    line_end = memchr(text.data, '\n', text.size);
    kind = memmem(text.data, text.size, KEY_PEM, strlen(KEY_PEM));
    if (!kind || (line_end && kind > line_end))
        return 0;
    end = memmem(text.data, text.size, END_PEM, strlen(END_PEM));
    end = end ? memmem(end, text.size - (size_t)(end - view_chars(text)), KEY_PEM,
                       strlen(KEY_PEM))
              : NULL;
    return end ? (size_t)(end - view_chars(text)) + strlen(KEY_PEM) : text.size;
}

/* Up to the path or the query of a URL. */
static size_t authority_size(struct view text, size_t size)
{
    size_t at = 0;

    while (at < size && text.data[at] != '/' && text.data[at] != '?')
        at++;
    return at;
}

static size_t url_size(struct view text)
{
    size_t size = 0;

    while (size < text.size && !isspace(text.data[size]) &&
           !strchr("\"'<>),;", text.data[size]))
        size++;
    return size;
}

/* What stands behind "://": the user goes, and the query. Return: bytes that were handled. */
static size_t put_url(struct scrub *scrub, FILE *to, struct view text)
{
    size_t size = url_size(text);
    const char *query = memchr(text.data, '?', size);
    size_t path = query ? (size_t)(query - view_chars(text)) : size;
    const char *at = memrchr(text.data, '@', authority_size(text, size));

    if (at) {
        fputs(SCRUB_REMOVED, to);
        scrub->removed++;
    }
    fwrite(at ? at : view_chars(text), 1, path - (at ? (size_t)(at - view_chars(text)) : 0),
           to);
    if (query) {
        fputs("?" SCRUB_REMOVED, to);
        scrub->removed++;
    }
    return size;
}

static bool is_word(uint8_t c)
{
    return isalnum(c) || c == '_' || c == '-' || c == '.';
}

/* Bytes of a value, with its quotes; 0: it is none, or an object whose members are. */
static size_t value_size(struct view text)
{
    size_t size = 1;

    if (text.size == 0 || text.data[0] == '{' || text.data[0] == '[')
        return 0;
    if (text.data[0] != '"') {
        size = 0;
        while (size < text.size && !isspace(text.data[size]) &&
               !strchr("\",;})]", text.data[size]))
            size++;
        return size;
    }
    while (size < text.size && text.data[size] != '"' && text.data[size] != '\n')
        size += text.data[size] == '\\' && size + 1 < text.size ? 2 : 1;
    return size < text.size && text.data[size] == '"' ? size + 1 : size;
}

static void put_value(struct scrub *scrub, FILE *to, struct view value, bool is_topic)
{
    bool is_quoted = value.data[0] == '"';
    char name[TOPICS_NAME_MAX];

    if (view_is(value, "\"\"")) {
        fwrite(value.data, 1, value.size, to);
        return;
    }
    if (!is_topic) {
        fprintf(to, is_quoted ? "\"%s\"" : "%s", SCRUB_REMOVED);
        scrub->removed++;
        return;
    }
    topics_name(scrub->topics, view_chars(value) + is_quoted,
                value.size - (is_quoted && value.size > 1 ? 2 : 0), name);
    fprintf(to, is_quoted ? "\"%s\"" : "%s", name);
}

/* Bytes between a word and its value: "=", ":" with blanks and quotes of JSON; 0: none. */
static size_t sign_size(struct view text)
{
    size_t size = 0;

    while (size < text.size && (text.data[size] == '"' || text.data[size] == ' ') && size < 2)
        size++;
    if (size == text.size || (text.data[size] != '=' && text.data[size] != ':'))
        return 0;
    for (size++; size < text.size && text.data[size] == ' ';)
        size++;
    return size;
}

/* A whole word, and the value behind it if that must not be shown. Return: bytes handled. */
static size_t put_word(struct scrub *scrub, FILE *to, struct view text)
{
    size_t size = 0;
    size_t sign, value;

    while (size < text.size && is_word(text.data[size]) &&
           match_secret(scrub, view_skip(text, size)) == 0)
        size++;
    sign = sign_size(view_skip(text, size));
    fwrite(text.data, 1, size, to);
    bool is_secret = scrub_is_secret_name(view_of(text.data, size));
    bool is_topic = scrub->topics && scrub_is_topic_name(view_of(text.data, size));
    if (sign == 0 || size + sign >= text.size || (!is_secret && !is_topic))
        return size;
    value = value_size(view_skip(text, size + sign));
    if (value == 0)
        return size;
    fwrite(text.data + size, 1, sign, to);
    put_value(scrub, to, view_of(text.data + size + sign, value), !is_secret);
    return size + sign + value;
}

void scrub_put(struct scrub *scrub, FILE *to, struct view text)
{
    while (text.size > 0) {
        size_t secret = match_secret(scrub, text);
        size_t used = secret > 0 ? secret : match_key(text);

        if (used > 0) {
            fputs(SCRUB_REMOVED, to);
            scrub->removed++;
        } else if (begins(text, "://")) {
            fputs("://", to);
            used = 3 + put_url(scrub, to, view_skip(text, 3));
        } else if (is_word(text.data[0])) {
            used = put_word(scrub, to, text);
        } else {
            fputc(text.data[0], to);
            used = 1;
        }
        text = view_skip(text, used);
    }
}
