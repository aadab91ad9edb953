/* SPDX-License-Identifier: MIT */
/*
 * publish_payload.c - the payload of a single message: an argument, a file or
 * standard input
 */
#include "cli/verbs/publish-private.h"

#include "base/bytes.h"
#include "base/cleanup.h"
#include "base/read_full.h"
#include "base/view.h"
#include "cli/cli.h"

#include <errno.h>
#include <fcntl.h>
#include <mqtt_protocol.h>
#include <stdint.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

/* The whole of @fd; more than an MQTT packet has room for is reported and refused. */
static int read_whole(int fd, const char *name, struct bytes *bytes)
{
    for (;;) {
        size_t left = bytes->cap - bytes_used(bytes);
        size_t size = left < 65536 ? left : 65536;
        uint8_t *memory;
        ssize_t got;

        if (left == 0) {
            cli_error("%s is larger than an MQTT message can be (%u bytes)", name,
                      MQTT_MAX_PAYLOAD);
            return EX_DATAERR;
        }
        if (bytes_reserve(bytes, size, &memory) < 0) {
            cli_error("out of memory while reading %s", name);
            return EX_UNAVAILABLE;
        }
        got = read_full(fd, memory, size);
        if (got < 0) {
            cli_error("cannot read %s: %s", name, strerror((int)-got));
            return EX_UNAVAILABLE;
        }
        bytes_commit(bytes, (size_t)got);
        if ((size_t)got < size)
            return EX_OK;
    }
}

int publish_read_payload(const struct publish_options *options,
                         struct bytes *bytes,
                         struct view *ret)
{
    AUTO_CLOSE int fd = -1;
    int code;

    switch (options->source) {
    case PUBLISH_TEXT:
        *ret = (struct view){(const uint8_t *)options->text_or_file,
                             strlen(options->text_or_file)};
        return EX_OK;
    case PUBLISH_FILE:
        fd = open(options->text_or_file, O_RDONLY | O_CLOEXEC);
        if (fd < 0) {
            code = errno == EACCES ? EX_NOPERM : EX_UNAVAILABLE;
            cli_error("cannot open %s: %m", options->text_or_file);
            return code;
        }
        code = read_whole(fd, options->text_or_file, bytes);
        break;
    case PUBLISH_INPUT:
        code = read_whole(STDIN_FILENO, "standard input", bytes);
        break;
    case PUBLISH_NOTHING:
    case PUBLISH_LINES:
    case PUBLISH_IMPORT:
    default:
        return EX_OK;
    }
    *ret = bytes_view(bytes);
    return code;
}
