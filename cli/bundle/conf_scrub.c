/* SPDX-License-Identifier: MIT */
/*
 * conf_scrub.c - takes secrets out of a file in the form of libconfig
 *
 * Invariant: of the value of a secret setting only brackets and separators are written.
 */
#include "cli/bundle/conf_scrub.h"

#include "base/view.h"
#include "cli/bundle/scrub.h"
#include "cli/bundle/topics.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

struct conf_text {
    struct scrub *scrub;
    FILE *to;
    struct view rest;
    struct view key;    /* the setting whose value is read */
    int depth;          /* of brackets */
    int secret_depth;   /* all brackets from this depth on are a secret; 0: none */
    bool is_shown_once; /* the replacement of this value was written */
    bool is_whole;
};

static bool is_secret(const struct conf_text *conf)
{
    return conf->secret_depth > 0 || (conf->key.size > 0 && scrub_is_secret_name(conf->key));
}

static void take(struct conf_text *conf, size_t size)
{
    conf->rest = view_skip(conf->rest, size);
}

/* It is also searched for in the other texts: an error may repeat it. */
static void put_removed(struct conf_text *conf, struct view value)
{
    if (!view_is(value, "true") && !view_is(value, "false"))
        scrub_add(conf->scrub, value);
    if (!conf->is_shown_once)
        fputs("\"" SCRUB_REMOVED "\"", conf->to);
    conf->is_shown_once = true;
    conf->scrub->removed++;
}

/* Bytes of the comment at the start; 0: none. SIZE_MAX: it does not end. */
static size_t comment_size(struct view text)
{
    bool is_line =
        text.data[0] == '#' || (text.size > 1 && text.data[0] == '/' && text.data[1] == '/');
    const char *end;

    if (is_line) {
        end = memchr(text.data, '\n', text.size);
        return end ? (size_t)(end - view_chars(text)) : text.size;
    }
    if (text.size < 2 || text.data[0] != '/' || text.data[1] != '*')
        return 0;
    end = memmem(text.data + 2, text.size - 2, "*/", 2);
    return end ? (size_t)(end - view_chars(text)) + 2 : SIZE_MAX;
}

/* With both quotes; SIZE_MAX: it does not end. */
static size_t string_size(struct view text)
{
    for (size_t i = 1; i < text.size; i++) {
        if (text.data[i] == '\\')
            i++;
        else if (text.data[i] == '"')
            return i + 1;
    }
    return SIZE_MAX;
}

/* A file is named by an absolute path; anything else in its place may be the secret itself. */
static bool is_misplaced(const struct conf_text *conf, struct view string)
{
    struct view end = view_of_text("_file");
    bool is_file = conf->key.size >= end.size &&
                   view_equals(view_skip(conf->key, conf->key.size - end.size), end);

    return is_file && string.size > 2 && string.data[1] != '/' && string.data[1] != '%';
}

static void put_string(struct conf_text *conf, struct view string)
{
    char name[TOPICS_NAME_MAX];

    if (view_is(string, "\"\"")) {
        fwrite(string.data, 1, string.size, conf->to);
    } else if (is_secret(conf) || is_misplaced(conf, string)) {
        put_removed(conf, view_of(string.data + 1, string.size - 2));
    } else if (conf->scrub->topics && scrub_is_topic_name(conf->key)) {
        topics_name(conf->scrub->topics, view_chars(string) + 1, string.size - 2, name);
        fprintf(conf->to, "\"%s\"", name);
    } else {
        if (string.size > 2 && scrub_is_secret_file_name(conf->key))
            scrub_add_file(conf->scrub, view_of(string.data + 1, string.size - 2));
        scrub_put(conf->scrub, conf->to, string);
    }
}

static bool is_word(uint8_t c)
{
    return isalnum(c) || c == '_' || c == '-' || c == '*' || c == '.' || c == '+';
}

/* A name, or a value without quotes. */
static void take_word(struct conf_text *conf)
{
    size_t size = 1;
    size_t sign;

    while (size < conf->rest.size && is_word(conf->rest.data[size]))
        size++;
    for (sign = size; sign < conf->rest.size && isspace(conf->rest.data[sign]);)
        sign++;
    if (sign < conf->rest.size &&
        (conf->rest.data[sign] == '=' || conf->rest.data[sign] == ':')) {
        conf->key = view_of(conf->rest.data, size);
        conf->is_shown_once = false;
        fwrite(conf->rest.data, 1, size, conf->to);
    } else if (is_secret(conf)) {
        put_removed(conf, view_of(conf->rest.data, size));
    } else {
        scrub_put(conf->scrub, conf->to, view_of(conf->rest.data, size));
    }
    take(conf, size);
}

static void take_sign(struct conf_text *conf)
{
    uint8_t sign = conf->rest.data[0];

    if (sign == '\0') {
        take(conf, 1);
        return;
    }
    if (strchr("{([", sign)) {
        conf->depth++;
        if (conf->secret_depth == 0 && is_secret(conf))
            conf->secret_depth = conf->depth;
    } else if (strchr("})]", sign)) {
        if (conf->depth == conf->secret_depth)
            conf->secret_depth = 0;
        conf->depth -= conf->depth > 0;
    } else if (sign == ';') {
        conf->key.size = 0;
    }
    if (strchr("{}()[]=:;,", sign) || isspace(sign) || !is_secret(conf))
        fputc(sign, conf->to);
    take(conf, 1);
}

static void take_next(struct conf_text *conf)
{
    size_t comment = comment_size(conf->rest);
    size_t string = conf->rest.data[0] == '"' ? string_size(conf->rest) : 0;

    if (comment == SIZE_MAX || string == SIZE_MAX) {
        conf->is_whole = false;
        conf->rest.size = 0;
    } else if (comment > 0) {
        take(conf, comment);
    } else if (string > 0) {
        put_string(conf, view_of(conf->rest.data, string));
        take(conf, string);
    } else if (is_word(conf->rest.data[0])) {
        take_word(conf);
    } else {
        take_sign(conf);
    }
}

bool conf_scrub(struct scrub *scrub, FILE *to, struct view text)
{
    struct conf_text conf = {.scrub = scrub, .to = to, .rest = text, .is_whole = true};

    while (conf.rest.size > 0)
        take_next(&conf);
    return conf.is_whole;
}
