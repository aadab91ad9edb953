/* SPDX-License-Identifier: MIT */
/*
 * test_main.c - tests of the program: which verb runs, with which arguments, and what
 * becomes of its exit code
 *
 * The verbs are fakes; main() is compiled as tool_main().
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sysexits.h>

#include <cmocka.h>

#include "cli/cli.h"
#include "tests/support/tool_fixture.h"

static struct tool tool;

static struct {
    const char *verb;
    const char *config_path;
    char words[128];
    const char *prints;
    int code;
} called;

int tool_main(int argc, char **argv);

static int take_call(const char *verb, const struct cli *cli, int argc, char **argv)
{
    called.verb = verb;
    called.config_path = cli->config_path;
    called.words[0] = '\0';
    for (int i = 0; i < argc; i++) {
        (void)strcat(called.words, " ");
        (void)strcat(called.words, argv[i]);
    }
    assert_null(argv[argc]);
    assert_int_equal(optind, 0);
    if (called.prints)
        puts(called.prints);
    return called.code;
}

int cli_publish(const struct cli *cli, int argc, char **argv)
{
    return take_call("publish", cli, argc, argv);
}

int cli_status(const struct cli *cli, int argc, char **argv)
{
    return take_call("status", cli, argc, argv);
}

int cli_failures(const struct cli *cli, int argc, char **argv)
{
    return take_call("failures", cli, argc, argv);
}

int cli_audit(const struct cli *cli, int argc, char **argv)
{
    return take_call("audit", cli, argc, argv);
}

int cli_check(const struct cli *cli, int argc, char **argv)
{
    return take_call("check", cli, argc, argv);
}

int cli_report(const struct cli *cli, int argc, char **argv)
{
    return take_call("report", cli, argc, argv);
}

static int program(const struct cli *cli, int argc, char **argv)
{
    (void)cli;
    return tool_main(argc, argv);
}

static int setup(void **state)
{
    (void)state;
    memset(&tool, 0, sizeof(tool));
    memset(&called, 0, sizeof(called));
    return 0;
}

static void each_verb_runs_with_its_own_arguments(void **state)
{
    static const char *const verbs[] = {"publish", "status", "failures",
                                        "audit",   "check",  "report"};

    (void)state;
    for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++) {
        char words[64];

        called.code = EX_TEMPFAIL;
        assert_int_equal(TOOL_RUN(&tool, program, "mqtt-spool", verbs[i], "--json", "x"),
                         EX_TEMPFAIL);
        assert_string_equal(called.verb, verbs[i]);
        (void)snprintf(words, sizeof(words), " %s --json x", verbs[i]);
        assert_string_equal(called.words, words);
        assert_null(called.config_path);
    }
}

static void the_configuration_stands_before_the_verb(void **state)
{
    static const char *const forms[][3] = {{"-c", "a.conf", "status"},
                                           {"--config", "a.conf", "status"},
                                           {"-ca.conf", "status", NULL}};

    (void)state;
    for (size_t i = 0; i < 3; i++) {
        /* The path is of the call, so it is looked at by being there. */
        assert_int_equal(
            TOOL_RUN(&tool, program, "mqtt-spool", forms[i][0], forms[i][1], forms[i][2]),
            EX_OK);
        assert_string_equal(called.words, " status");
        assert_non_null(called.config_path);
    }
}

static void help_of_a_verb_is_the_verb_with_the_option(void **state)
{
    (void)state;
    assert_int_equal(TOOL_RUN(&tool, program, "mqtt-spool", "help", "audit"), EX_OK);
    assert_string_equal(called.words, " audit --help");
}

static void help_lists_the_verbs_and_the_exit_codes(void **state)
{
    static const char *const forms[] = {"--help", "-h", "help"};

    (void)state;
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(TOOL_RUN(&tool, program, "mqtt-spool", forms[i]), EX_OK);
        assert_contains(tool.out, "Usage: mqtt-spool [-c FILE] VERB");
        assert_contains(tool.out, "  failures   ");
        assert_contains(tool.out, "75 try again, 77 not allowed, 78 configuration");
        assert_string_equal(tool.err, "");
    }
    assert_int_equal(TOOL_RUN(&tool, program, "mqtt-spool", "help", "help"), EX_OK);
    assert_int_equal(TOOL_RUN(&tool, program, "mqtt-spool", "help", "--help"), EX_OK);
    assert_contains(tool.out, "Usage: mqtt-spool");
    assert_null(called.verb);
}

static void the_version_is_that_of_the_build(void **state)
{
    (void)state;
    assert_int_equal(TOOL_RUN(&tool, program, "mqtt-spool", "--version"), EX_OK);
    assert_string_equal(tool.out, "mqtt-spool " SPOOLD_VERSION "\n");
}

static void without_a_verb_the_verbs_are_listed_as_an_error(void **state)
{
    (void)state;
    assert_int_equal(TOOL_RUN(&tool, program, "mqtt-spool"), EX_USAGE);
    assert_contains(tool.err, "no verb given\nVerbs:\n  publish ");
    assert_string_equal(tool.out, "");
}

static void an_unknown_verb_is_named(void **state)
{
    (void)state;
    assert_int_equal(TOOL_RUN(&tool, program, "mqtt-spool", "sttaus"), EX_USAGE);
    assert_contains(tool.err, "unknown verb \"sttaus\"\nVerbs:\n");
    assert_int_equal(TOOL_RUN(&tool, program, "mqtt-spool", "help", "x"), EX_USAGE);
    assert_contains(tool.err, "unknown verb \"x\"");
}

static void wrong_global_options_are_usage(void **state)
{
    (void)state;
    assert_int_equal(TOOL_RUN(&tool, program, "mqtt-spool", "-x", "status"), EX_USAGE);
    assert_contains(tool.err, "wrong option \"-x\"");
    assert_int_equal(TOOL_RUN(&tool, program, "mqtt-spool", "-c"), EX_USAGE);
    assert_contains(tool.err, "the option \"-c\" needs a value");
    assert_null(called.verb);
}

/* That it is printed once only is seen by test_cli, so one case here may look at the text. */
static void an_output_that_cannot_be_written_makes_a_success_a_failure(void **state)
{
    (void)state;
    tool.output = "/dev/full";
    called.prints = "text";
    assert_int_equal(TOOL_RUN(&tool, program, "mqtt-spool", "status"), EX_UNAVAILABLE);
    assert_contains(tool.err, "cannot write the output: No space left on device");
    assert_int_equal(TOOL_RUN(&tool, program, "mqtt-spool", "check"), CLI_UNCHECKED);
    assert_int_equal(TOOL_RUN(&tool, program, "mqtt-spool", "publish"), EX_UNAVAILABLE);
    assert_int_equal(TOOL_RUN(&tool, program, "mqtt-spool", "failures"), EX_UNAVAILABLE);
    assert_int_equal(TOOL_RUN(&tool, program, "mqtt-spool", "audit"), EX_UNAVAILABLE);
    called.code = EX_DATAERR;
    assert_int_equal(TOOL_RUN(&tool, program, "mqtt-spool", "audit"), EX_DATAERR);
    called.code = 1;
    assert_int_equal(TOOL_RUN(&tool, program, "mqtt-spool", "check"), 1);
    assert_int_equal(TOOL_RUN(&tool, program, "mqtt-spool", "--version"), EX_UNAVAILABLE);
    assert_int_equal(TOOL_RUN(&tool, program, "mqtt-spool", "--help"), EX_UNAVAILABLE);
}

static int without_standard_input(const struct cli *cli, int argc, char **argv)
{
    int code;

    (void)close(STDIN_FILENO);
    code = program(cli, argc, argv);
    assert_true(fcntl(STDIN_FILENO, F_GETFD) >= 0);
    assert_int_equal(fcntl(STDIN_FILENO, F_GETFL) & O_ACCMODE, O_WRONLY); /* a read fails */
    return code;
}

static int without_standard_output(const struct cli *cli, int argc, char **argv)
{
    int code;

    (void)close(STDOUT_FILENO);
    code = program(cli, argc, argv);
    assert_int_equal(fcntl(STDOUT_FILENO, F_GETFL) & O_ACCMODE, O_RDONLY); /* a write fails */
    return code;
}

static void a_closed_standard_descriptor_is_no_place_for_a_file(void **state)
{
    (void)state;
    assert_int_equal(TOOL_RUN(&tool, without_standard_input, "mqtt-spool", "status"), EX_OK);
    called.prints = "text";
    assert_int_equal(TOOL_RUN(&tool, without_standard_output, "mqtt-spool", "status"),
                     EX_UNAVAILABLE);
}

#define CASE(name) cmocka_unit_test_setup(name, setup)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(each_verb_runs_with_its_own_arguments),
        CASE(the_configuration_stands_before_the_verb),
        CASE(help_of_a_verb_is_the_verb_with_the_option),
        CASE(help_lists_the_verbs_and_the_exit_codes),
        CASE(the_version_is_that_of_the_build),
        CASE(without_a_verb_the_verbs_are_listed_as_an_error),
        CASE(an_unknown_verb_is_named),
        CASE(wrong_global_options_are_usage),
        CASE(an_output_that_cannot_be_written_makes_a_success_a_failure),
        CASE(a_closed_standard_descriptor_is_no_place_for_a_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
