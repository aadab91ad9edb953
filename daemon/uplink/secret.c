/* SPDX-License-Identifier: MIT */
/*
 * secret.c - a password in a file of its own
 *
 * Invariant: no text that is returned has a part of the password.
 */
#include "daemon/uplink/secret.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/read_full.h"
#include "base/regular.h"

int secret_read(const char *path, struct secret *secret)
{
    AUTO_CLOSE int fd = regular_openat(AT_FDCWD, path, O_RDONLY, 0);
    ssize_t n;

    secret->size = 0;
    if (fd < 0)
        return fd;
    n = read_full(fd, secret->text, SECRET_MAX + 1);
    if (n < 0)
        return (int)n;
    secret->size = (size_t)n;
    if (secret->size > 0 && secret->text[secret->size - 1] == '\n')
        secret->size--;
    secret->text[secret->size] = '\0';
    return secret->size > SECRET_MAX ? -EFBIG : 0;
}

static bool secret_is_blank(char c)
{
    return c == ' ' || c == '\t';
}

const char *secret_flaw(const struct secret *secret)
{
    static const char mark[] = "\xEF\xBB\xBF";
    const char *text = secret->text;
    size_t size = secret->size;

    if (size == 0)
        return "is empty";
    if (size >= 3 && memcmp(text, mark, 3) == 0)
        return "begins with a byte order mark (BOM), which is sent as a part of the password";
    if (text[size - 1] == '\r')
        return "ends with CR LF: the CR is sent as a part of the password";
    if (text[size - 1] == '\n')
        return "ends with more than one line end: all but the last are sent as a part of the "
               "password";
    if (memchr(text, '\n', size))
        return "has more than one line: all of it is sent as the password";
    if (secret_is_blank(text[0]) || secret_is_blank(text[size - 1]))
        return "begins or ends with a blank, which is sent as a part of the password";
    return NULL;
}
