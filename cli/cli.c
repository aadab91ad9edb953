/* SPDX-License-Identifier: MIT */
/*
 * cli.c - what the verbs share: error messages, options, output
 *
 * A message is one line on standard error, with what to do about it.
 */
#include "cli/cli.h"

#include "base/attr.h"
#include "base/text.h"

#include <assert.h>
#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#define ERROR_LINE_MAX (3 * PATH_MAX)

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

static bool errors_are_silent;

void cli_silence_errors(bool is_silent)
{
    errors_are_silent = is_silent;
}

void cli_error(const char *format, ...)
{
    va_list arguments;

    if (errors_are_silent)
        return;
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

static bool is_change_noted;

void cli_note_change(void)
{
    is_change_noted = true;
}

int cli_report_write_error(int error)
{
    static bool is_reported;

    if (!is_reported)
        cli_error("cannot write the output: %s%s",
                  error != 0 ? strerror(error) : "a write before the last one failed",
                  is_change_noted ? "; the daemon did what was asked" : "");
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
    return option->take ? option->take(option->userdata, verb, text) : CLI_CONTINUE;
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
