/*
 * main.c - mqtt-spool: the operator's and the script's tool
 *
 * Global options, then a verb with its own. The exit codes are those of
 * sysexits.h and part of the contract: a script decides by them whether to try
 * again (75), to mend its data (65) or to call somebody (69, 77, 78).
 */
#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "cli.h"

struct verb {
    const char *name;
    int (*run)(const struct cli *cli, int argc, char **argv);
    const char *summary;
};

static const struct verb verbs[] = {
    {"publish", cli_publish, "hand messages to the daemon and wait until they are on disk"},
    {"status", cli_status, "what the daemon does and what the spool holds"},
    {"failures", cli_failures, "messages that did not reach the broker, and why"},
    {"audit", cli_audit, "verify audit files: every message has exactly one outcome"},
    {"check", cli_check, "verify the spool and the audit file: is everything as it should be?"},
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

static void print_help(void)
{
    fputs("Usage: mqtt-spool [-c FILE] VERB [OPTION]...\n\n", stdout);
    print_verbs(stdout);
    fputs("\nOptions:\n"
          "  -c FILE    configuration of the daemon (default " CONFIG_DEFAULT_PATH ")\n"
          "  --help     this page\n"
          "  --version  the version\n"
          "\nExit codes: 0 done, 64 usage, 65 bad data, 69 unavailable, 75 try again, 77 not\n"
          "allowed, 78 configuration.\n",
          stdout);
}

static int unknown_verb(const char *name)
{
    cli_error("unknown verb \"%s\"", name);
    print_verbs(stderr);
    return EX_USAGE;
}

static int run_help(const struct cli *cli, int argc, char **argv)
{
    char option[] = "--help";
    char *arguments[] = {NULL, option, NULL};
    const struct verb *verb;

    if (argc < 2 || strcmp(argv[1], "help") == 0) {
        print_help();
        return EX_OK;
    }
    verb = find_verb(argv[1]);
    if (verb == NULL)
        return unknown_verb(argv[1]);
    arguments[0] = argv[1];
    return verb->run(cli, 2, arguments);
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
    return verb ? verb->run(cli, argc, argv) : unknown_verb(argv[0]);
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
    int code;

    while ((option = getopt_long(argc, argv, "+c:hV", options, NULL)) != -1) {
        switch (option) {
        case 'c':
            cli.config_path = optarg;
            break;
        case 'h':
            print_help();
            return EX_OK;
        case 'V':
            puts("mqtt-spool " SPOOLD_VERSION);
            return EX_OK;
        default:
            return cli_usage("", "wrong option before the verb");
        }
    }
    code = run_verb(&cli, argc - optind, argv + optind);
    if (fflush(stdout) != 0 && code == EX_OK) {
        cli_error("cannot write the output: %m");
        code = EX_UNAVAILABLE;
    }
    return code;
}
