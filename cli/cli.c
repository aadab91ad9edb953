/*
 * cli.c - what the verbs share: errors with their remedies, configuration, spool
 *
 * Every way in which the tool can be kept from its work by the place it runs in
 * (no file, no right, another version) is told here and once, so that all verbs
 * say the same and exit with the same code.
 */
#include "cli.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "daemon/clock.h"

PRINTF_LIKE(1, 0) static void print_error(const char *format, va_list arguments)
{
    (void)fflush(stdout); /* so that both streams stay in order where they are one file */
    fputs("mqtt-spool: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
}

void cli_error(const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    print_error(format, arguments);
    va_end(arguments);
}

int cli_usage(const char *verb, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    print_error(format, arguments);
    va_end(arguments);
    fprintf(stderr, "Try: mqtt-spool help %s\n", verb);
    return EX_USAGE;
}

int cli_help(const char *text)
{
    fputs(text, stdout);
    return EX_OK;
}

int cli_load_config(const struct cli *cli, const char *instead, struct config **ret)
{
    const char *path = cli->config_path ? cli->config_path : CONFIG_DEFAULT_PATH;
    char error[CONFIG_ERROR_MAX];
    int result;

    if (faccessat(AT_FDCWD, path, R_OK, AT_EACCESS) < 0) {
        int code = errno == EACCES ? EX_NOPERM : EX_CONFIG;

        cli_error(
            "cannot read the configuration %s: %s; name another one with -c FILE, or give %s",
            path, strerror(errno), instead);
        return code;
    }
    result = config_load(path, ret, error);
    if (result == 0)
        return EX_OK;
    if (result == -EINVAL)
        cli_error("%s", error);
    else
        cli_error("%s: %s", path, strerror(-result));
    return EX_CONFIG;
}

bool cli_may_read(const char *directory)
{
    return faccessat(AT_FDCWD, directory, R_OK | X_OK, AT_EACCESS) == 0;
}

static int say_not_allowed(const char *directory)
{
    cli_error("may not read the spool in %s: run this as root or as the user of the service "
              "(sudo mqtt-spool ...)",
              directory);
    return EX_NOPERM;
}

int cli_open_spool(const char *directory, struct spool **ret)
{
    int result;

    if (!cli_may_read(directory) && errno == EACCES)
        return say_not_allowed(directory);
    result = spool_open_reader(directory, ret);
    switch (result) {
    case 0:
        return EX_OK;
    case -EACCES:
    case -EPERM:
        return say_not_allowed(directory);
    case -ENOENT:
    case SPOOL_E_ABSENT:
        cli_error(
            "there is no spool in %s: either the daemon never ran with this directory (start "
            "it: systemctl start mqtt-spoold), or -c or --directory names the wrong place",
            directory);
        return EX_UNAVAILABLE;
    case SPOOL_E_BUSY:
        cli_error("the spool in %s is locked just now (%s); try again", directory,
                  spool_open_error());
        return EX_TEMPFAIL;
    case SPOOL_E_NEWER:
        cli_error("the spool in %s was written by a newer version (%s): update this program",
                  directory, spool_open_error());
        return EX_UNAVAILABLE;
    case SPOOL_E_DAMAGED:
        cli_error(
            "the spool in %s is damaged: %s; delete nothing: the daemon, when it starts, keeps "
            "the damaged files and goes on with what can be read of them",
            directory, spool_open_error());
        return EX_DATAERR;
    default:
        cli_error("cannot open the spool in %s: %s", directory, spool_open_error());
        return EX_UNAVAILABLE;
    }
}

int cli_spool_failed(const struct spool *spool, int error)
{
    if (error == SPOOL_E_BUSY || error == -EBUSY) {
        cli_error("the spool is locked just now; try again");
        return EX_TEMPFAIL;
    }
    cli_error("cannot read the spool: %s", spool_error(spool));
    return EX_UNAVAILABLE;
}

struct spool_time cli_now(void)
{
    struct clock_reading reading;

    clock_read(&reading);
    return (struct spool_time){
        .wall_ms = reading.wall_ms,
        .boot_ms = reading.boot_ms,
        .wall_credible = reading.synchronized,
    };
}

const char *cli_size(uint64_t bytes, char text[static CLI_SIZE_MAX])
{
    static const char *const units[] = {"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    double size = (double)bytes / 1024;
    size_t unit = 0;

    if (bytes < 1024) {
        (void)snprintf(text, CLI_SIZE_MAX, "%" PRIu64 " B", bytes);
        return text;
    }
    while (size >= 1024 && unit + 1 < sizeof(units) / sizeof(units[0])) {
        size /= 1024;
        unit++;
    }
    (void)snprintf(text, CLI_SIZE_MAX, "%.1f %s", size, units[unit]);
    return text;
}

bool cli_parse_number(const char *text, uint64_t minimum, uint64_t maximum, uint64_t *ret)
{
    unsigned long long number;

    if (*text == '\0' || text[strspn(text, "0123456789")] != '\0')
        return false;
    errno = 0;
    number = strtoull(text, NULL, 10);
    if (errno != 0 || number < minimum || number > maximum)
        return false;
    *ret = number;
    return true;
}

const char *cli_printable(char *text, size_t size, const char *from)
{
    size_t used = 0;

    for (; *from != '\0' && used + 3 < size; from++) {
        unsigned char byte = (unsigned char)*from;

        /* U+0080 to U+009F, C2 80 to C2 9F, are control characters to a terminal too. */
        if (byte == 0xC2 && ((unsigned char)from[1] & 0xE0) == 0x80) {
            text[used++] = '?';
            from++;
        } else {
            text[used++] = byte < 0x20 || byte == 0x7F ? '?' : *from;
        }
    }
    text[used] = '\0';
    return text;
}
