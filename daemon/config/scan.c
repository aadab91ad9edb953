/* SPDX-License-Identifier: MIT */
/*
 * scan.c - what libconfig takes wrong in silence, found before it reads
 *
 * libconfig 1.5, which Debian 12 has, stores a number above 32 bits without an
 * L modulo 2^32: max_bytes = 5000000000 would be 705 MB and nobody is told.
 * And where @include names a folder, its scanner ends the whole process with
 * exit(2), as it does on a read error. So each file is read here first, by a
 * scanner that knows as much of the syntax as is needed to tell a number from
 * a name, a text and a comment, and follows @include as libconfig does: at the
 * start of a line, relative to the folder of the main file.
 *
 * A key that stands twice libconfig refuses itself, but without its name; so the
 * names of the groups that are open are kept, as many as fit.
 *
 * What this scanner does not understand it leaves to libconfig to refuse.
 */
#include "daemon/config/table.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/read_full.h"
#include "base/regular.h"

#define SCAN_KEYS_MAX  256
#define SCAN_DEPTH_MAX 16

/* The keys of the groups that are open now, the outermost first. */
struct scan_keys {
    struct scan_key {
        char name[CONFIG_PATH_MAX];
    } keys[SCAN_KEYS_MAX];
    unsigned count;
    unsigned groups[SCAN_DEPTH_MAX]; /* where each begins in keys */
    unsigned depth;                  /* may be more than has room: then nothing is compared */
    bool no_memory;                  /* is why a file was not read */
};

struct scan {
    const char *file;
    const char *folder;
    const char *at;
    unsigned line;
    unsigned depth;
    bool line_start; /* nothing but blanks since the last newline */
    char *error;
    struct scan_keys *keys; /* shared by all files */
};

static bool scan_text(struct scan *scan);

static bool is_name(char c)
{
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
           c == '_' || c == '-' || c == '*';
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* False, for the caller to return. */
static bool PRINTF_LIKE(2, 3) refuse(const struct scan *scan, const char *format, ...)
{
    size_t used =
        (size_t)snprintf(scan->error, CONFIG_ERROR_MAX, "%s:%u: ", scan->file, scan->line);
    va_list arguments;

    if (used < CONFIG_ERROR_MAX) {
        va_start(arguments, format);
        (void)vsnprintf(scan->error + used, CONFIG_ERROR_MAX - used, format, arguments);
        va_end(arguments);
    }
    return false;
}

static const char *read_all(int fd, char *text)
{
    ssize_t got = read_full(fd, text, CONFIG_FILE_MAX + 1);

    if (got < 0)
        return strerror((int)-got);
    if ((size_t)got > CONFIG_FILE_MAX)
        return "is larger than 1 MiB, which no configuration is";
    text[got] = '\0';
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
    why = read_all(fd, text);
    if (!why) {
        *ret_text = text;
        text = NULL;
    }
    return why;
}

static void skip_comment(struct scan *scan)
{
    bool block = scan->at[0] == '/' && scan->at[1] == '*';

    if (!block) {
        scan->at += strcspn(scan->at, "\n");
        return;
    }
    for (scan->at += 2; *scan->at != '\0'; scan->at++) {
        if (scan->at[0] == '*' && scan->at[1] == '/') {
            scan->at += 2;
            return;
        }
        scan->line += *scan->at == '\n';
    }
}

static void skip_string(struct scan *scan)
{
    for (scan->at++; *scan->at != '\0' && *scan->at != '"'; scan->at++) {
        if (scan->at[0] == '\\' && scan->at[1] != '\0')
            scan->at++;
        scan->line += *scan->at == '\n';
    }
    scan->at += *scan->at == '"';
}

/* A float is left alone: no key takes one, and libconfig reads it right. */
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
    while (is_name(*scan->at) || *scan->at == '.' || *scan->at == '+')
        scan->at++;
    if (!hex && (*end == '.' || *end == 'e' || *end == 'E'))
        return true;
    if (errno == 0 && number <= (wide ? (unsigned long long)INT64_MAX : INT32_MAX))
        return true;
    return refuse(
        scan,
        "the number %.*s is too large; write a size with its unit, such as \"5G\", or "
        "put an L behind a count",
        (int)(end - start < 32 ? end - start : 32), start);
}

static void open_group(struct scan_keys *keys)
{
    if (++keys->depth < SCAN_DEPTH_MAX)
        keys->groups[keys->depth] = keys->count;
}

static void close_group(struct scan_keys *keys)
{
    if (keys->depth == 0)
        return;
    if (keys->depth < SCAN_DEPTH_MAX)
        keys->count = keys->groups[keys->depth];
    keys->depth--;
}

/* The last key before each group that is open is its name; a lane has that of the list. */
static bool refuse_second(const struct scan *scan, const char *name)
{
    const struct scan_keys *keys = scan->keys;
    char path[SCAN_DEPTH_MAX * (CONFIG_PATH_MAX + 1)] = "";

    for (unsigned i = 1; i <= keys->depth; i++) {
        if (keys->groups[i] == 0)
            continue;
        (void)strcat(path, keys->keys[keys->groups[i] - 1].name);
        (void)strcat(path, ".");
    }
    return refuse(scan, "%s%s: stands here for the second time; keep one of the two", path,
                  name);
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
            return refuse_second(scan, key.name);
    }
    if (keys->count < SCAN_KEYS_MAX)
        keys->keys[keys->count++] = key;
    return true;
}

/* A name is a key where it begins a setting; elsewhere it is true or false. */
static bool scan_name(struct scan *scan)
{
    const char *name = scan->at;

    while (is_name(*scan->at))
        scan->at++;
    size_t size = (size_t)(scan->at - name);
    for (;;) {
        if (scan->at[0] == '#' ||
            (scan->at[0] == '/' && (scan->at[1] == '/' || scan->at[1] == '*')))
            skip_comment(scan);
        else if (*scan->at == ' ' || *scan->at == '\t' || *scan->at == '\r')
            scan->at++;
        else
            break;
    }
    return *scan->at == '=' || *scan->at == ':' ? scan_key(scan, name, size) : true;
}

static bool scan_include(struct scan *scan)
{
    const char *quote = scan->at + strspn(scan->at, " \t");
    const char *name = quote + (*quote == '"');
    size_t size = strcspn(name, "\"\n");
    char path[PATH_MAX];
    AUTO_FREE char *text = NULL;
    struct scan inner = {.file = path, .folder = scan->folder, .line = 1, .line_start = true};
    const char *why;

    scan->at = name + size + (name[size] == '"');
    /* libconfig has the words for these: no quotes, a backslash in the name. */
    if (*quote != '"' || name[size] != '"' || memchr(name, '\\', size) != NULL)
        return true;
    /* Left to libconfig, two lines that include their own file would be scanned for ever. */
    if (scan->depth >= CONFIG_DEPTH_MAX)
        return refuse(scan, "@include: files include files more than %d deep",
                      CONFIG_DEPTH_MAX);
    /* libconfig puts the folder in front of any name: it would look for folder//etc/... */
    if (*name == '/')
        return refuse(scan,
                      "@include: \"%.*s\" must be a name in the folder of the main file, "
                      "which is put in front of it",
                      (int)size, name);
    if (snprintf(path, sizeof(path), "%s/%.*s", scan->folder, (int)size, name) >= PATH_MAX)
        return refuse(scan, "@include: %s", strerror(ENAMETOOLONG));
    why = config_read_text(path, &text);
    scan->keys->no_memory = why == config_no_memory;
    if (why)
        return refuse(scan, "@include: %s: %s", path, why);
    inner.at = text;
    inner.depth = scan->depth + 1;
    inner.error = scan->error;
    inner.keys = scan->keys;
    return scan_text(&inner);
}

/* One token from @scan->at on. */
static bool scan_token(struct scan *scan)
{
    static const char include[] = "@include";
    char c = *scan->at;
    bool line_start = scan->line_start;

    scan->line_start = c == '\n' || (line_start && (c == ' ' || c == '\t'));
    if (c == '#' || (c == '/' && (scan->at[1] == '/' || scan->at[1] == '*'))) {
        skip_comment(scan);
    } else if (c == '"') {
        skip_string(scan);
    } else if (is_digit(c)) {
        return scan_number(scan);
    } else if (line_start && strncmp(scan->at, include, sizeof(include) - 1) == 0) {
        scan->at += sizeof(include) - 1;
        return scan_include(scan);
    } else if (c != '-' && is_name(c)) {
        return scan_name(scan);
    } else {
        if (c == '{')
            open_group(scan->keys);
        else if (c == '}')
            close_group(scan->keys);
        scan->line += c == '\n';
        scan->at++;
    }
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
        .line_start = true,
        .error = error,
        .keys = &keys,
    };

    if (scan_text(&scan))
        return 0;
    return keys.no_memory ? -ENOMEM : -EINVAL;
}
