/* SPDX-License-Identifier: MIT */
/*
 * scan.c - finds what libconfig misreads without an error, before it reads
 *
 * libconfig 1.5, which Debian 12 has, stores a number above 32 bits without an
 * L modulo 2^32: max_bytes = 5000000000 would become 705 MB without an error.
 * A number with a leading zero is decimal to it, and octal to 1.7 of Debian 13.
 * And if @include names a folder, its scanner ends the whole process with
 * exit(2), as it does on a read error. So each file is read here first, by a
 * scanner that knows enough of the syntax to distinguish a number from a name, a
 * text and a comment, and follows @include as libconfig does: at the start of a
 * line, relative to the folder of the main file.
 *
 * libconfig itself refuses a duplicate key, but without its name; so the names in
 * the open groups are kept, as many as fit.
 *
 * What this scanner does not understand is left to libconfig to refuse.
 */
#include "daemon/config/table.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/read_full.h"
#include "base/regular.h"
#include "base/text.h"
#include "daemon/config/config.h"

#define SCAN_KEYS_MAX   256
#define SCAN_NUMBER_MAX 32 /* digits of a number that an error shows */
#define SCAN_DEPTH_MAX  16

/* The keys of the groups that are open, the outermost first. */
struct scan_keys {
    struct scan_key {
        char name[CONFIG_PATH_MAX];
    } keys[SCAN_KEYS_MAX];
    unsigned count;
    unsigned groups[SCAN_DEPTH_MAX]; /* index in keys of the first of each */
    unsigned depth;                  /* may exceed SCAN_DEPTH_MAX: then nothing is compared */
    bool has_no_memory;              /* a file was not read for lack of memory */
};

struct scan {
    const char *file;
    const char *folder;
    const char *at;
    unsigned line;
    unsigned depth;
    bool is_line_start; /* only blanks since the last newline */
    char *error;
    struct scan_keys *keys; /* shared by all files */
};

static bool scan_text(struct scan *scan);

static bool scan_is_name(char c)
{
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
           c == '_' || c == '-' || c == '*';
}

static bool scan_is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* False, for the caller to return. */
static bool PRINTF_LIKE(2, 3) scan_refuse(const struct scan *scan, const char *format, ...)
{
    char why[CONFIG_ERROR_MAX];
    va_list arguments;

    va_start(arguments, format);
    text_vformat(why, sizeof(why), format, arguments);
    va_end(arguments);
    text_format(scan->error, CONFIG_ERROR_MAX, "%s:%u: %s", scan->file, scan->line, why);
    return false;
}

static const char *scan_read_all(int fd, char *text)
{
    ssize_t got = read_full(fd, text, CONFIG_FILE_MAX + 1);

    if (got < 0)
        return strerror((int)-got);
    if ((size_t)got > CONFIG_FILE_MAX)
        return "is larger than 1 MiB, which no configuration is";
    text[got] = '\0';
    if (strncmp(text, "\xEF\xBB\xBF", 3) == 0)
        return "begins with a byte order mark (BOM): save it as UTF-8 without one";
    return strlen(text) == (size_t)got ? NULL : "holds a NUL byte: is it a text file?";
}

const char config_no_memory[] = "out of memory";

const char *config_read_text(const char *path, char **ret_text)
{
    AUTO_CLOSE int fd = regular_openat(AT_FDCWD, path, O_RDONLY, 0);
    AUTO_FREE char *text = NULL;
    const char *why;

    if (fd < 0)
        return regular_error(fd);
    text = malloc(CONFIG_FILE_MAX + 2);
    if (!text)
        return config_no_memory;
    why = scan_read_all(fd, text);
    if (!why) {
        char *fitted = realloc(text, strlen(text) + 1);

        *ret_text = fitted ? fitted : text; /* a failed realloc() keeps the block */
        text = NULL;
    }
    return why;
}

/* False: it does not end. */
static bool scan_skip_comment(struct scan *scan)
{
    unsigned first = scan->line;
    bool block = scan->at[0] == '/' && scan->at[1] == '*';

    if (!block) {
        scan->at += strcspn(scan->at, "\n");
        return true;
    }
    for (scan->at += 2; *scan->at != '\0'; scan->at++) {
        if (scan->at[0] == '*' && scan->at[1] == '/') {
            scan->at += 2;
            return true;
        }
        scan->line += *scan->at == '\n';
    }
    scan->line = first;
    return scan_refuse(scan, "the comment that begins here does not end: put */ behind it");
}

static bool scan_skip_string(struct scan *scan)
{
    unsigned first = scan->line;

    for (scan->at++; *scan->at != '\0' && *scan->at != '"'; scan->at++) {
        if (scan->at[0] == '\\' && scan->at[1] != '\0')
            scan->at++;
        scan->line += *scan->at == '\n';
    }
    if (*scan->at == '"') {
        scan->at++;
        return true;
    }
    scan->line = first;
    return scan_refuse(scan, "the text that begins here does not end: put a \" behind it");
}

static int scan_shown(const char *start, const char *end)
{
    return (int)(end - start < SCAN_NUMBER_MAX ? end - start : SCAN_NUMBER_MAX);
}

/* @end: behind the digits. */
static bool scan_refuse_octal(const struct scan *scan, const char *start, const char *end)
{
    const char *meant = start;

    while (*meant == '0' && meant + 1 < end)
        meant++;
    return scan_refuse(
        scan,
        "the number %.*s has a leading zero, with which it is octal to some "
        "versions of libconfig and decimal to others; write %.*s%s, or a mode in "
        "quotes",
        scan_shown(start, end), start, scan_shown(meant, end), meant, *end == 'L' ? "L" : "");
}

/* A float is skipped: no key takes one, and libconfig reads it correctly. */
static bool scan_number(struct scan *scan)
{
    bool hex = scan->at[0] == '0' && (scan->at[1] == 'x' || scan->at[1] == 'X');
    const char *start = scan->at;
    unsigned long long number;
    char *end;
    bool wide;

    errno = 0;
    number = strtoull(start, &end, hex ? 16 : 10);
    wide = *end == 'L';
    scan->at = end;
    while (scan_is_name(*scan->at) || *scan->at == '.' || *scan->at == '+')
        scan->at++;
    if (!hex && (*end == '.' || *end == 'e' || *end == 'E'))
        return true;
    if (!hex && *start == '0' && end - start > 1)
        return scan_refuse_octal(scan, start, end);
    if (errno == 0 && number <= (wide ? (unsigned long long)INT64_MAX : INT32_MAX))
        return true;
    return scan_refuse(
        scan,
        "the number %.*s is too large; write a size with its unit, such as \"5G\", or "
        "put an L behind a count",
        scan_shown(start, end), start);
}

static void scan_open_group(struct scan_keys *keys)
{
    if (++keys->depth < SCAN_DEPTH_MAX)
        keys->groups[keys->depth] = keys->count;
}

static void scan_close_group(struct scan_keys *keys)
{
    if (keys->depth == 0)
        return;
    if (keys->depth < SCAN_DEPTH_MAX)
        keys->count = keys->groups[keys->depth];
    keys->depth--;
}

/* The last key before an open group is its name; a lane has that of the list. */
static bool scan_refuse_second(const struct scan *scan, const char *name)
{
    const struct scan_keys *keys = scan->keys;
    char path[SCAN_DEPTH_MAX * (CONFIG_PATH_MAX + 1)] = "";

    for (unsigned i = 1; i <= keys->depth; i++) {
        if (keys->groups[i] != 0)
            text_append(path, sizeof(path), "%s.", keys->keys[keys->groups[i] - 1].name);
    }
    return scan_refuse(scan, "%s%s: is set twice; keep one of the two", path, name);
}

static bool scan_key(struct scan *scan, const char *name, size_t size)
{
    struct scan_keys *keys = scan->keys;
    struct scan_key key = {""};

    if (size >= sizeof(key.name) || keys->depth >= SCAN_DEPTH_MAX)
        return true;
    memcpy(key.name, name, size);
    for (unsigned i = keys->groups[keys->depth]; i < keys->count; i++) {
        if (strcmp(keys->keys[i].name, key.name) == 0)
            return scan_refuse_second(scan, key.name);
    }
    if (keys->count < SCAN_KEYS_MAX)
        keys->keys[keys->count++] = key;
    return true;
}

/* "a.b.c" is the name of a key everywhere but in the file: there it is a: { b: { c = ...; }; };
 * @size: that of the path. */
static bool scan_refuse_path(const struct scan *scan, const char *path, size_t size)
{
    char groups[3 * CONFIG_PATH_MAX] = "";
    char ends[3 * CONFIG_PATH_MAX] = "";

    for (size_t i = 0; i < size; i++) {
        if (path[i] == '.') {
            text_append(groups, sizeof(groups), ": { ");
            text_append(ends, sizeof(ends), " };");
        } else
            text_append(groups, sizeof(groups), "%c", path[i]);
    }
    return scan_refuse(scan, "%.*s: a group has braces: %s = ...;%s", (int)size, path, groups,
                       ends);
}

/* Dots between names; libconfig refuses any others. */
static bool scan_is_path(const char *path, size_t size)
{
    for (size_t i = 1; i < size; i++) {
        if (path[i] == '.' && (path[i - 1] == '.' || i + 1 == size))
            return false;
    }
    return size < CONFIG_PATH_MAX;
}

/* A name is a key if it begins a setting; otherwise it is true or false. */
static bool scan_name(struct scan *scan)
{
    const char *name = scan->at;
    size_t path_size = 0;

    while (scan_is_name(*scan->at))
        scan->at++;
    while (scan_is_name(name[path_size]) || name[path_size] == '.')
        path_size++;
    if (*scan->at == '.' && scan_is_path(name, path_size))
        return scan_refuse_path(scan, name, path_size);
    size_t size = (size_t)(scan->at - name);
    for (;;) {
        if (scan->at[0] == '#' ||
            (scan->at[0] == '/' && (scan->at[1] == '/' || scan->at[1] == '*'))) {
            if (!scan_skip_comment(scan))
                return false;
        } else if (*scan->at == ' ' || *scan->at == '\t' || *scan->at == '\r')
            scan->at++;
        else
            break;
    }
    return *scan->at == '=' || *scan->at == ':' ? scan_key(scan, name, size) : true;
}

static bool scan_included(struct scan *scan, const char *path, const char *text)
{
    struct scan inner = *scan;

    inner.file = path;
    inner.at = text;
    inner.line = 1;
    inner.is_line_start = true;
    inner.depth++;
    return scan_text(&inner);
}

static bool scan_include(struct scan *scan)
{
    const char *quote = scan->at + strspn(scan->at, " \t");
    const char *name = quote + (*quote == '"');
    size_t size = strcspn(name, "\"\n");
    char path[PATH_MAX];
    AUTO_FREE char *text = NULL;
    const char *why;

    scan->at = name + size + (name[size] == '"');
    /* libconfig reports these errors: no quotes, a backslash in the name. */
    if (*quote != '"' || name[size] != '"' || memchr(name, '\\', size) != NULL)
        return true;
    /* libconfig would scan two lines that include their own file for ever. */
    if (scan->depth >= CONFIG_DEPTH_MAX)
        return scan_refuse(scan, "@include: files include files more than %d deep",
                           CONFIG_DEPTH_MAX);
    /* libconfig puts the folder in front of any name: it would open folder//etc/... */
    if (*name == '/')
        return scan_refuse(scan,
                           "@include: \"%.*s\" must be a name in the folder of the main file, "
                           "which is put in front of it",
                           (int)size, name);
    if (snprintf(path, sizeof(path), "%s/%.*s", scan->folder, (int)size, name) >= PATH_MAX)
        return scan_refuse(scan, "@include: %s", strerror(ENAMETOOLONG));
    why = config_read_text(path, &text);
    scan->keys->has_no_memory = why == config_no_memory;
    if (why)
        return scan_refuse(scan, "@include: %s: %s", path, why);
    assert(text); /* NULL only with an error */
    return scan_included(scan, path, text);
}

/* One token from @scan->at on. */
static bool scan_token(struct scan *scan)
{
    static const char include[] = "@include";
    char c = *scan->at;
    bool is_line_start = scan->is_line_start;

    scan->is_line_start = c == '\n' || (is_line_start && (c == ' ' || c == '\t'));
    if (c == '#' || (c == '/' && (scan->at[1] == '/' || scan->at[1] == '*')))
        return scan_skip_comment(scan);
    if (c == '"')
        return scan_skip_string(scan);
    if (c == '\'')
        return scan_refuse(scan, "a text stands in double quotes, as in \"refuse\"");
    if (scan_is_digit(c))
        return scan_number(scan);
    if (is_line_start && strncmp(scan->at, include, sizeof(include) - 1) == 0) {
        scan->at += sizeof(include) - 1;
        return scan_include(scan);
    }
    if (c != '-' && scan_is_name(c))
        return scan_name(scan);
    if (c == '{')
        scan_open_group(scan->keys);
    else if (c == '}')
        scan_close_group(scan->keys);
    scan->line += c == '\n';
    scan->at++;
    return true;
}

static bool scan_text(struct scan *scan)
{
    while (*scan->at != '\0') {
        if (!scan_token(scan))
            return false;
    }
    return true;
}

int config_scan(const char *file,
                const char *folder,
                const char *text,
                char error[static CONFIG_ERROR_MAX])
{
    struct scan_keys keys = {.count = 0};
    struct scan scan = {
        .file = file,
        .folder = folder,
        .at = text,
        .line = 1,
        .is_line_start = true,
        .error = error,
        .keys = &keys,
    };

    if (scan_text(&scan))
        return 0;
    return keys.has_no_memory ? -ENOMEM : -EINVAL;
}
