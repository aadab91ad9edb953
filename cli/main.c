/* SPDX-License-Identifier: MIT */
/*
 * main.c - mqtt-spool: the operator's and the script's tool
 *
 * Global options, then a verb with its own. The exit codes are those of
 * sysexits.h and part of the contract: a script decides by them whether to try
 * again (75), to correct its data (65) or to call an operator (69, 77, 78).
 * Only check answers a question: 0 yes, 1 no, 2 not known.
 */
#include "cli/cli.h"
#include "daemon/config/config.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

struct verb {
    const char *name;
    int (*run)(const struct cli *cli, int argc, char **argv);
    int write_error_code; /* exit code if all went well, but the output cannot be written */
    const char *summary;
};

static const struct verb verbs[] = {
    {"publish", cli_publish, EX_UNAVAILABLE,
     "hand messages to the daemon and wait until they are on disk"},
    {"status", cli_status, EX_UNAVAILABLE, "what the daemon does and what the spool holds"},
    {"metrics", cli_metrics, EX_UNAVAILABLE, "the status as metrics of Prometheus"},
    {"failures", cli_failures, EX_UNAVAILABLE,
     "messages that did not reach the broker, and why"},
    {"audit", cli_audit, EX_UNAVAILABLE,
     "verify audit files: every message has exactly one outcome"},
    {"check", cli_check, CLI_UNCHECKED,
     "verify the spool and the audit file: is everything as it should be?"},
    {"report", cli_report, EX_UNAVAILABLE, "the history of the spool as one page of HTML"},
    {"list", cli_list, EX_UNAVAILABLE, "which messages are spooled, or kept aside"},
    {"show", cli_show, EX_UNAVAILABLE, "one message with all that it has"},
    {"shape", cli_shape, EX_UNAVAILABLE, "count, bytes and age of what is spooled, by topic"},
    {"export", cli_export, EX_UNAVAILABLE, "messages as lines of JSON, for import"},
    {"import", cli_import, EX_UNAVAILABLE, "publish what export wrote"},
    {"flush", cli_flush, EX_UNAVAILABLE, "connect and send now"},
    {"hold", cli_hold, EX_UNAVAILABLE, "stop sending, of everything or of one lane"},
    {"release", cli_release, EX_UNAVAILABLE, "resume sending"},
    {"drop", cli_drop, EX_UNAVAILABLE, "end messages: outcome dropped"},
    {"requeue", cli_requeue, EX_UNAVAILABLE, "send again what was rejected and is kept aside"},
    {"log-level", cli_log_level, EX_UNAVAILABLE, "how much the daemon logs"},
    {"doctor", cli_doctor, CLI_UNCHECKED,
     "what is wrong on the way of a message, and what to do"},
    {"bundle", cli_bundle, EX_UNAVAILABLE, "one file for a bug report, without secrets"},
    {"rotate", cli_rotate, EX_UNAVAILABLE, "the daemon opens its audit file again"},
};

#define VERB_COUNT (sizeof(verbs) / sizeof(verbs[0]))

static const struct verb *find_verb(const char *name)
{
    for (size_t i = 0; i < VERB_COUNT; i++) {
        if (strcmp(verbs[i].name, name) == 0)
            return &verbs[i];
    }
    return NULL;
}

static void print_verbs(FILE *stream)
{
    fputs("Verbs:\n", stream);
    for (size_t i = 0; i < VERB_COUNT; i++)
        fprintf(stream, "  %-10s %s\n", verbs[i].name, verbs[i].summary);
    fputs("  help       this page, or `help VERB` for one verb\n", stream);
}

/* @code, unless it is EX_OK and what was printed did not get out: all of it, also what was
 * written before, because a stream forgets what it could not write. */
static int finish(int code, int write_error_code)
{
    int error = fflush(stdout) == 0 ? 0 : errno;

    if (error == 0 && !ferror(stdout))
        return code;
    (void)cli_report_write_error(error); /* the exit code is the verb's */
    return code == EX_OK ? write_error_code : code;
}

/* Where one of the three was closed, the next file that is opened would get its number, and the
 * output would go there. In its place a descriptor that cannot do what it is asked for. */
static bool keep_standard_descriptors(void)
{
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
        int mode = fd == STDIN_FILENO ? O_WRONLY : O_RDONLY;

        if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", mode) != fd)
            return false;
    }
    return true;
}

static int print_help(void)
{
    fputs("Usage: mqtt-spool [-c FILE] VERB [OPTION]...\n\n", stdout);
    print_verbs(stdout);
    fputs("\nOptions:\n"
          "  -c FILE, --config FILE\n"
          "             configuration of the daemon\n"
          "             (default " CONFIG_DEFAULT_PATH ")\n"
          "  --help     this page\n"
          "  --version  the version\n"
          "\nExit codes: 0 done, 64 usage, 65 bad data, 69 unavailable (an output that\n"
          "cannot be written, too), 75 try again, 77 not allowed, 78 configuration;\n"
          "of check and doctor: 0, 1 and 2, see their pages.\n",
          stdout);
    return finish(EX_OK, EX_UNAVAILABLE);
}

static int unknown_verb(const char *name)
{
    cli_error("unknown verb \"%s\"", name);
    print_verbs(stderr);
    return EX_USAGE;
}

static int run(const struct verb *verb, const struct cli *cli, int argc, char **argv)
{
    return finish(verb->run(cli, argc, argv), verb->write_error_code);
}

static int run_help(const struct cli *cli, int argc, char **argv)
{
    char option[] = "--help";
    char *arguments[] = {NULL, option, NULL};
    const struct verb *verb;

    if (argc < 2 || strcmp(argv[1], "help") == 0 || strcmp(argv[1], "--help") == 0)
        return print_help();
    verb = find_verb(argv[1]);
    if (!verb)
        return unknown_verb(argv[1]);
    arguments[0] = argv[1];
    return run(verb, cli, 2, arguments);
}

static int run_verb(const struct cli *cli, int argc, char **argv)
{
    const struct verb *verb;

    if (argc == 0) {
        cli_error("no verb given");
        print_verbs(stderr);
        return EX_USAGE;
    }
    optind = 0; /* the verb scans its own arguments from the start */
    if (strcmp(argv[0], "help") == 0)
        return run_help(cli, argc, argv);
    verb = find_verb(argv[0]);
    return verb ? run(verb, cli, argc, argv) : unknown_verb(argv[0]);
}

int main(int argc, char **argv)
{
    static const struct option options[] = {
        {"config", required_argument, NULL, 'c'},
        {"help", no_argument, NULL, 'h'},
        {"version", no_argument, NULL, 'V'},
        {NULL, 0, NULL, 0},
    };
    struct cli cli = {0};
    int option;

    if (!keep_standard_descriptors())
        return EX_UNAVAILABLE; /* there is no stream to report it on */
    while ((option = getopt_long(argc, argv, "+:c:hV", options, NULL)) != -1) {
        switch (option) {
        case 'c':
            cli.config_path = optarg;
            break;
        case 'h':
            return print_help();
        case 'V':
            puts("mqtt-spool " SPOOLD_VERSION);
            return finish(EX_OK, EX_UNAVAILABLE);
        default:
            return cli_invalid_option("", option, argv);
        }
    }
    return run_verb(&cli, argc - optind, argv + optind);
}
