/* SPDX-License-Identifier: MIT */
/*
 * cli.c - what the verbs share: errors with their remedies, configuration, spool
 *
 * What keeps the tool from its work wherever it runs (no file, no right, another
 * version) is reported here alone, so that all verbs print the same text and exit
 * with the same code.
 */
#include "cli/cli.h"

#include "base/clock.h"
#include "base/read_full.h"
#include "base/regular.h"
#include "base/text.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <jansson.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define ERROR_LINE_MAX  (3 * PATH_MAX)
#define STATUS_READ_MAX (1024 * 1024)

static char status_file[PATH_MAX]; /* of the daemon; "": not long_options */

/* The line may have arguments, file names and texts of libraries: all of it is printed in the
 * visible form of text.h. */
PRINTF_LIKE(1, 0) static void print_error(const char *format, va_list arguments)
{
    char text[ERROR_LINE_MAX];
    int error = errno; /* of %m */

    (void)fflush(stdout); /* so that both streams stay in order if they are one file */
    errno = error;
    text_vformat(text, sizeof(text), format, arguments);
    fputs("mqtt-spool: ", stderr);
    text_put(stderr, text);
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

int cli_invalid_option(const char *verb, int option, char **argv)
{
    const char letter[] = {'-', (char)optopt, '\0'};
    bool has_letter = optopt != 0 && optopt >= SCHAR_MIN && optopt <= UCHAR_MAX;
    const char *name = has_letter ? letter : argv[optind - 1];

    if (option == ':')
        return cli_usage(verb, "the option \"%s\" needs a value", name);
    return cli_usage(verb, "wrong option \"%s\"", name);
}

int cli_misplaced_config(const char *verb)
{
    return cli_usage(verb, "-c and --config stand before the verb: mqtt-spool -c FILE %s ...",
                     verb);
}

int cli_help(const char *text)
{
    fputs(text, stdout);
    return EX_OK;
}

int cli_report_write_error(int error)
{
    static bool is_reported;

    if (!is_reported)
        cli_error("cannot write the output: %s",
                  error != 0 ? strerror(error) : "a write before the last one failed");
    is_reported = true;
    return EX_UNAVAILABLE;
}

int cli_open_json(struct json *json, size_t size, char **ret)
{
    char *memory = malloc(size);

    if (!memory) {
        cli_error("out of memory");
        return EX_UNAVAILABLE;
    }
    json_init(json, memory, size);
    json_open_object(json, NULL);
    *ret = memory;
    return EX_OK;
}

int cli_print_json(struct json *json)
{
    json_raw(json, "\n");
    if (json->failed) {
        cli_error("the result is larger than the memory for it");
        return EX_UNAVAILABLE;
    }
    if (fwrite(json->start, 1, json_used(json), stdout) == json_used(json))
        return EX_OK;
    return cli_report_write_error(errno);
}

static int store_option(const char *verb, const struct cli_option *option, const char *text)
{
    if (option->flag)
        *option->flag = true;
    if (option->text)
        *option->text = text;
    if (option->number && !cli_parse_number(text, 1, INT64_MAX, option->number))
        return cli_usage(verb, "--%s is a number from 1 on, not \"%s\"", option->name, text);
    return CLI_CONTINUE;
}

int cli_parse(
    const char *verb, const char *help, const struct cli_option *options, int argc, char **argv)
{
    enum { FIRST = 256 }; /* no character */
    struct option long_options[CLI_OPTIONS_MAX + 3] = {0};
    int code = CLI_CONTINUE;
    int count = 0;
    int option;

    for (; options[count].name; count++) {
        assert(count < CLI_OPTIONS_MAX);
        long_options[count] = (struct option){
            .name = options[count].name,
            .has_arg = options[count].flag ? no_argument : required_argument,
            .val = FIRST + count,
        };
    }
    long_options[count] = (struct option){.name = "help", .has_arg = no_argument, .val = 'h'};
    long_options[count + 1] =
        (struct option){.name = "config", .has_arg = optional_argument, .val = 'c'};
    while (code == CLI_CONTINUE &&
           (option = getopt_long(argc, argv, ":hc", long_options, NULL)) != -1) {
        if (option == 'h')
            code = cli_help(help);
        else if (option == 'c')
            code = cli_misplaced_config(verb);
        else if (option < FIRST)
            code = cli_invalid_option(verb, option, argv);
        else
            code = store_option(verb, &options[option - FIRST], optarg);
    }
    return code;
}

int cli_parse_all(
    const char *verb, const char *help, const struct cli_option *options, int argc, char **argv)
{
    int code = cli_parse(verb, help, options, argc, argv);

    if (code == CLI_CONTINUE && optind < argc)
        return cli_usage(verb, "what is \"%s\"?", argv[optind]);
    return code;
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
    if (result == 0) {
        cli_set_socket((*ret)->listen.socket);
        return EX_OK;
    }
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

void cli_set_socket(const char *socket)
{
    const char *slash = strrchr(socket, '/');
    int folder = slash ? (int)(slash - socket) + 1 : 0;
    int n = snprintf(status_file, sizeof(status_file), "%.*sstatus.json", folder, socket);

    if (n < 0 || (size_t)n >= sizeof(status_file))
        status_file[0] = '\0';
}

bool cli_spool_is_moved(void)
{
    AUTO_CLOSE int fd = regular_openat(AT_FDCWD, status_file, O_RDONLY, 0);
    AUTO_FREE char *text = malloc(STATUS_READ_MAX);
    bool is_moved, is_alive;
    json_int_t pid;
    json_t *root;

    if (fd < 0 || !text)
        return false;
    ssize_t size = read_full(fd, text, STATUS_READ_MAX);
    if (size <= 0)
        return false;
    root = json_loadb(text, (size_t)size, 0, NULL);
    const char *why =
        json_string_value(json_object_get(json_object_get(root, "intake"), "refusing"));
    is_moved = why && strcmp(why, "spool_moved") == 0;
    pid = json_integer_value(json_object_get(root, "pid"));
    is_alive = pid > 0 && pid <= INT_MAX && (kill((pid_t)pid, 0) == 0 || errno == EPERM);
    json_decref(root);
    return is_moved && is_alive;
}

#define DAMAGED_REMEDY                                                                         \
    "delete nothing, and put back what was moved away: the daemon, when it starts, keeps the " \
    "damaged files, goes on with what can be read of them and records the rest as damaged"

static int report_not_allowed(const char *directory)
{
    cli_error("may not read the spool in %s: run this as root or as the user of the service "
              "(sudo mqtt-spool ...)",
              directory);
    return EX_NOPERM;
}

static bool is_missing(int result)
{
    return result == -ENOENT || result == -ENOTDIR || result == SPOOL_E_ABSENT ||
           result == SPOOL_E_DAMAGED;
}

int cli_report_open_error(const char *directory, int result)
{
    struct stat st;

    if (is_missing(result) && cli_spool_is_moved()) {
        cli_error("the spool is no longer in %s: " CLI_MOVED_REMEDY, directory);
        return EX_UNAVAILABLE;
    }
    if (stat(directory, &st) == 0 && !S_ISDIR(st.st_mode)) {
        cli_error(
            "%s is not a directory: name the folder that spool.db is in, or move that file away",
            directory);
        return EX_UNAVAILABLE;
    }
    if (!cli_may_read(directory) && errno == EACCES)
        return report_not_allowed(directory);
    switch (result) {
    case -EACCES:
    case -EPERM:
        return report_not_allowed(directory);
    case -ENOENT:
    case SPOOL_E_ABSENT:
        cli_error(
            "there is no spool in %s: it was moved, unmounted or removed (look for spool_moved "
            "in the log before you start the daemon: it would begin an empty one), or the "
            "daemon never ran with this directory (start it: systemctl start mqtt-spoold), or "
            "-c or --directory names the wrong place",
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
        cli_error("the spool in %s is damaged: %s; " DAMAGED_REMEDY, directory,
                  spool_open_error());
        return EX_DATAERR;
    case SPOOL_E_FOREIGN:
        cli_error("there is no spool in %s: %s; the daemon does not start with it and changes "
                  "nothing: " CLI_FOREIGN_REMEDY,
                  directory, spool_open_error());
        return EX_DATAERR;
    default:
        cli_error("cannot open the spool in %s: %s", directory, spool_open_error());
        return EX_UNAVAILABLE;
    }
}

int cli_open_spool(const char *directory, struct spool **ret)
{
    int result = spool_open_reader(directory, ret);

    return result == 0 ? EX_OK : cli_report_open_error(directory, result);
}

int cli_report_read_error(const struct spool *spool, int error)
{
    if (error == SPOOL_E_BUSY || error == -EBUSY) {
        cli_error("the spool is locked just now; try again");
        return EX_TEMPFAIL;
    }
    if (error == -EBADMSG) {
        cli_error("the spool is damaged: %s; " DAMAGED_REMEDY, spool_error(spool));
        return EX_DATAERR;
    }
    cli_error("cannot read the spool: %s",
              error == -ENOMEM ? "out of memory" : spool_error(spool));
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
    (void)text_show(text, size, from, strlen(from));
    return text;
}

/* "Z", or hours and minutes ahead of UTC; false when it is neither. */
static bool parse_offset(const char *text, int64_t *ret_ms)
{
    static const char form[] = "dd:dd";
    int hours, minutes;

    *ret_ms = 0;
    if ((*text == 'Z' || *text == 'z') && text[1] == '\0')
        return true;
    if ((*text != '+' && *text != '-') || strlen(text + 1) != strlen(form))
        return false;
    for (size_t i = 0; form[i] != '\0'; i++) {
        if (form[i] == 'd' ? text[i + 1] < '0' || text[i + 1] > '9' : text[i + 1] != form[i])
            return false;
    }
    hours = (text[1] - '0') * 10 + text[2] - '0';
    minutes = (text[4] - '0') * 10 + text[5] - '0';
    *ret_ms = (int64_t)(hours * 60 + minutes) * (*text == '-' ? -60000 : 60000);
    return hours < 24 && minutes < 60;
}

bool cli_parse_time(const char *text, int64_t *ret_wall_ms)
{
    char whole[] = "0000-00-00T00:00:00.000Z"; /* the one form that the clock knows */
    const size_t seconds = strlen("0000-00-00T00:00:00");
    size_t digits = 0;
    int64_t wall_ms, offset_ms;

    if (strlen(text) <= seconds)
        return false;
    memcpy(whole, text, seconds);
    if (whole[10] == 't')
        whole[10] = 'T';
    text += seconds;
    if (*text == '.') {
        digits = strspn(++text, "0123456789");
        if (digits < 1 || digits > 9)
            return false;
        memcpy(whole + seconds + 1, text, digits < 3 ? digits : 3);
    }
    if (!parse_offset(text + digits, &offset_ms) || !clock_parse(whole, &wall_ms))
        return false;
    *ret_wall_ms = wall_ms - offset_ms;
    return true;
}
