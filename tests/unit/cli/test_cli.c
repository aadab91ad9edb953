/* SPDX-License-Identifier: MIT */
/*
 * test_cli.c - tests of what the verbs share: arguments, numbers and times, configuration,
 * spool
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdbool.h>
#include <sysexits.h>

#include "base/json.h"
#include "cli/cli.h"
#include "daemon/config/config.h"
#include "store/spool.h"
#include "tests/support/access_fake.h"
#include "tests/support/spool_fixture.h"
#include "tests/support/tool_fixture.h"

static struct tool tool;

static bool malloc_fails;

void *__real_malloc(size_t size);
void *__wrap_malloc(size_t size);

void *__wrap_malloc(size_t size)
{
    return malloc_fails ? NULL : __real_malloc(size);
}

struct values {
    bool flag;
    const char *text;
    uint64_t number;
};

static struct values values;
static bool only_options;

/* A verb that does no more than look at its arguments. */
static int parse_verb(const struct cli *cli, int argc, char **argv)
{
    const struct cli_option options[] = {
        {.name = "flag", .flag = &values.flag},
        {.name = "text", .text = &values.text},
        {.name = "number", .number = &values.number},
        {.name = NULL},
    };

    (void)cli;
    values = (struct values){0};
    return only_options ? cli_parse_all("verb", "The page.\n", options, argc, argv)
                        : cli_parse("verb", "The page.\n", options, argc, argv);
}

static void options_go_where_they_belong(void **state)
{
    (void)state;
    only_options = true;
    assert_int_equal(TOOL_RUN(&tool, parse_verb, "verb"), CLI_CONTINUE);
    assert_false(values.flag);
    assert_int_equal(TOOL_RUN(&tool, parse_verb, "verb", "--flag", "--text", "", "--number=18"),
                     CLI_CONTINUE);
    assert_true(values.flag);
    assert_non_null(values.text);
    assert_int_equal(values.number, 18);
    assert_string_equal(tool.err, "");
}

static void help_is_printed_on_standard_output(void **state)
{
    (void)state;
    assert_int_equal(TOOL_RUN(&tool, parse_verb, "verb", "--help"), EX_OK);
    assert_string_equal(tool.out, "The page.\n");
    assert_string_equal(tool.err, "");
    assert_int_equal(TOOL_RUN(&tool, parse_verb, "verb", "-h"), EX_OK);
    assert_string_equal(tool.out, "The page.\n");
}

static void wrong_options_are_named_and_the_help_is_shown_where_to_find(void **state)
{
    (void)state;
    only_options = true;
    assert_int_equal(TOOL_RUN(&tool, parse_verb, "verb", "--nonsense"), EX_USAGE);
    assert_string_equal(tool.err,
                        "mqtt-spool: wrong option \"--nonsense\"\nTry: mqtt-spool help verb\n");
    assert_int_equal(TOOL_RUN(&tool, parse_verb, "verb", "-x"), EX_USAGE);
    assert_contains(tool.err, "wrong option \"-x\"");
    assert_int_equal(TOOL_RUN(&tool, parse_verb, "verb", "--text"), EX_USAGE);
    assert_contains(tool.err, "the option \"--text\" needs a value");
    assert_int_equal(TOOL_RUN(&tool, parse_verb, "verb", "--flag=3"), EX_USAGE);
    assert_contains(tool.err, "wrong option \"--flag=3\"");
    assert_string_equal(tool.out, "");
}

static void the_configuration_is_an_option_of_the_tool(void **state)
{
    (void)state;
    assert_int_equal(TOOL_RUN(&tool, parse_verb, "verb", "-c", "x"), EX_USAGE);
    assert_contains(tool.err,
                    "-c and --config stand before the verb: mqtt-spool -c FILE verb ...");
    assert_int_equal(TOOL_RUN(&tool, parse_verb, "verb", "--config=x"), EX_USAGE);
    assert_contains(tool.err, "stand before the verb");
}

static void a_number_is_one_from_1_on(void **state)
{
    static const char *const wrong[] = {"0",
                                        "-1",
                                        "+1",
                                        " 1",
                                        "1 ",
                                        "1x",
                                        "",
                                        "0x10",
                                        "9223372036854775808",
                                        "99999999999999999999"};

    (void)state;
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        assert_int_equal(TOOL_RUN(&tool, parse_verb, "verb", "--number", wrong[i]), EX_USAGE);
        assert_contains(tool.err, "--number is a number from 1 on, not \"");
        assert_contains(tool.err, wrong[i]);
    }
    assert_int_equal(TOOL_RUN(&tool, parse_verb, "verb", "--number", "9223372036854775807"),
                     CLI_CONTINUE);
    assert_int_equal(values.number, INT64_MAX);
}

static void an_argument_too_many_is_named(void **state)
{
    (void)state;
    only_options = true;
    assert_int_equal(TOOL_RUN(&tool, parse_verb, "verb", "extra"), EX_USAGE);
    assert_contains(tool.err, "what is \"extra\"?");
    only_options = false;
    assert_int_equal(TOOL_RUN(&tool, parse_verb, "verb", "extra"), CLI_CONTINUE);
}

/* An argument, too, comes from outside. */
static void a_message_shows_control_characters_as_escapes(void **state)
{
    (void)state;
    only_options = true;
    assert_int_equal(TOOL_RUN(&tool, parse_verb, "verb", "a\x1b[2J\xe2\x80\xae"), EX_USAGE);
    assert_contains(tool.err, "what is \"a\\x1B[2J\\u{202E}\"?");
}

static void a_number_within_its_range(void **state)
{
    uint64_t number = 7;

    (void)state;
    assert_true(cli_parse_number("0", 0, 5, &number));
    assert_int_equal(number, 0);
    assert_true(cli_parse_number("005", 0, 5, &number));
    assert_int_equal(number, 5);
    assert_false(cli_parse_number("6", 0, 5, &number));
    assert_false(cli_parse_number("1", 2, 5, &number));
    assert_int_equal(number, 5);
    assert_true(cli_parse_number("18446744073709551615", 0, UINT64_MAX, &number));
    assert_true(number == UINT64_MAX);
    assert_false(cli_parse_number("18446744073709551616", 0, UINT64_MAX, &number));
}

static int64_t time_of(const char *text)
{
    int64_t wall_ms = -1;

    if (!cli_parse_time(text, &wall_ms))
        return INT64_MIN;
    return wall_ms;
}

static void a_time_is_rfc_3339(void **state)
{
    const int64_t noon = INT64_C(1793534400000); /* 2026-11-01T12:00:00Z */

    (void)state;
    assert_int_equal(time_of("2026-11-01T12:00:00Z"), noon);
    assert_int_equal(time_of("2026-11-01t12:00:00z"), noon);
    assert_int_equal(time_of("2026-11-01T12:00:00.5Z"), noon + 500);
    assert_int_equal(time_of("2026-11-01T12:00:00.123456789Z"), noon + 123);
    assert_int_equal(time_of("2026-11-01T13:00:00+01:00"), noon);
    assert_int_equal(time_of("2026-11-01T06:30:00.25-05:30"), noon + 250);
    assert_int_equal(time_of("2026-11-01T12:00:00+00:00"), noon);
}

static void what_is_not_rfc_3339_is_no_time(void **state)
{
    static const char *const wrong[] = {
        "",
        "2026-11-01",
        "2026-11-01T12:00:00",
        "2026-11-01 12:00:00Z",
        "2026-13-01T12:00:00Z",
        "2026-11-01T24:00:00Z",
        "2026-11-01T12:00:60Z",
        "2026-11-01T12:00:00.Z",
        "2026-11-01T12:00:00.1234567890Z",
        "2026-11-01T12:00:00+1:00",
        "2026-11-01T12:00:00+24:00",
        "2026-11-01T12:00:00+01:60",
        "2026-11-01T12:00:00+01x00",
        "2026-11-01T12:00:00+0a:00",
        "2026-11-01T12:00:00Zx",
        "2026-11-01T12:00:00*01:00",
        "1969-12-31T23:59:59Z",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        if (time_of(wrong[i]) != INT64_MIN)
            fail_msg("\"%s\" is taken for a time", wrong[i]);
    }
}

static void a_size_has_the_unit_that_people_read(void **state)
{
    char text[CLI_SIZE_MAX];

    (void)state;
    assert_string_equal(cli_size(0, text), "0 B");
    assert_string_equal(cli_size(1023, text), "1023 B");
    assert_string_equal(cli_size(1024, text), "1.0 KiB");
    assert_string_equal(cli_size(1536 * 1024, text), "1.5 MiB");
    assert_string_equal(cli_size(UINT64_C(3) << 30, text), "3.0 GiB");
    assert_string_equal(cli_size(UINT64_MAX, text), "16.0 EiB");
}

static void a_printable_text_is_cut_where_the_memory_ends(void **state)
{
    char text[8];

    (void)state;
    assert_string_equal(cli_printable(text, sizeof(text), "a\tb"), "a\\x09b");
    assert_string_equal(cli_printable(text, sizeof(text), "1234567890"), "1234567");
}

static int print_small_json(const struct cli *cli, int argc, char **argv)
{
    char memory[64];
    struct json json;

    (void)cli, (void)argv;
    json_init(&json, memory, argc > 1 ? 8 : sizeof(memory));
    json_open_object(&json, NULL);
    json_text(&json, "verdict", "sound");
    json_close_object(&json);
    return cli_print_json(&json);
}

static void an_object_is_one_line(void **state)
{
    (void)state;
    assert_int_equal(TOOL_RUN(&tool, print_small_json, "verb"), EX_OK);
    assert_string_equal(tool.out, "{\"verdict\":\"sound\"}\n");
}

static void an_object_that_does_not_fit_is_an_error_and_not_half_an_object(void **state)
{
    (void)state;
    assert_int_equal(TOOL_RUN(&tool, print_small_json, "verb", "small"), EX_UNAVAILABLE);
    assert_string_equal(tool.out, "");
    assert_contains(tool.err, "the result is larger than the memory for it");
}

static void an_object_has_memory_of_its_own(void **state)
{
    char *memory = NULL;
    struct json json;

    (void)state;
    assert_int_equal(cli_open_json(&json, 16, &memory), EX_OK);
    json_close_object(&json);
    assert_int_equal(json_used(&json), 2);
    assert_memory_equal(memory, "{}", 2);
    free(memory);
}

static int open_json_without_memory(const struct cli *cli, int argc, char **argv)
{
    char *memory = NULL;
    struct json json;
    int code;

    (void)cli, (void)argc, (void)argv;
    malloc_fails = true;
    code = cli_open_json(&json, 16, &memory);
    malloc_fails = false;
    assert_null(memory);
    return code;
}

static void an_object_without_memory_is_reported(void **state)
{
    (void)state;
    assert_int_equal(TOOL_RUN(&tool, open_json_without_memory, "verb"), EX_UNAVAILABLE);
    assert_contains(tool.err, "out of memory");
}

static int print_unbuffered(const struct cli *cli, int argc, char **argv)
{
    int code;

    (void)setvbuf(stdout, NULL, _IONBF, 0);
    code = print_small_json(cli, argc, argv);
    (void)cli_report_write_error(0);
    (void)setvbuf(stdout, NULL, _IOLBF, 0);
    return code;
}

static void an_output_that_cannot_be_written_is_reported_once(void **state)
{
    (void)state;
    tool.output = "/dev/full";
    assert_int_equal(TOOL_RUN(&tool, print_unbuffered, "verb"), EX_UNAVAILABLE);
    assert_string_equal(tool.err,
                        "mqtt-spool: cannot write the output: No space left on device\n");
}

static int load_config(const struct cli *cli, int argc, char **argv)
{
    static const char *const needed[] = {"spool.directory", NULL};
    AUTO_CONFIG struct config *config = NULL;

    (void)argc, (void)argv;
    return cli_load_config(cli, needed, "--directory DIR", &config);
}

static void a_configuration_that_is_not_there_is_named_with_what_to_give(void **state)
{
    (void)state;
    tool.config_path = "/nowhere/spoold.conf";
    assert_int_equal(TOOL_RUN(&tool, load_config, "verb"), EX_CONFIG);
    assert_contains(tool.err,
                    "cannot read the configuration /nowhere/spoold.conf: No such file "
                    "or directory; name another one with -c FILE, or give "
                    "--directory DIR");
}

static char default_socket[160];

static int fall_back(const struct cli *cli, int argc, char **argv)
{
    enum cli_fallback when =
        strcmp(argv[1], "listening") == 0 ? CLI_IF_LISTENING : CLI_IF_RUNNING;

    (void)cli, (void)argc;
    return cli_fall_back(default_socket, when, atoi(argv[2]), "x.conf:2: an error") ? EX_OK
                                                                                    : EX_CONFIG;
}

static void
without_a_configuration_the_default_socket_is_used_if_a_daemon_runs_there(void **state)
{
    struct fixture *f = *state;
    char path[256], text[64], wanted[320];

    (void)snprintf(default_socket, sizeof(default_socket), "%s/p.sock", f->directory);
    assert_int_equal(TOOL_RUN(&tool, fall_back, "verb", "running", "78"), EX_CONFIG);
    assert_int_equal(TOOL_RUN(&tool, fall_back, "verb", "listening", "78"), EX_CONFIG);
    assert_string_equal(tool.err, "");
    (void)tool_write(path, f->directory, "p.sock", "");
    assert_int_equal(TOOL_RUN(&tool, fall_back, "verb", "running", "78"), EX_CONFIG);
    assert_int_equal(TOOL_RUN(&tool, fall_back, "verb", "listening", "78"), EX_OK);
    (void)snprintf(
        wanted, sizeof(wanted),
        "warning: x.conf:2: an error; the daemon does not start again with that. The "
        "default socket %s is used\n",
        default_socket);
    assert_contains(tool.err, wanted);
    (void)snprintf(text, sizeof(text), "{\"pid\":%d}", (int)getpid());
    (void)tool_write(path, f->directory, "status.json", text);
    assert_int_equal(TOOL_RUN(&tool, fall_back, "verb", "running", "77"), EX_OK);
    (void)snprintf(
        wanted, sizeof(wanted),
        "warning: x.conf:2: an error. The daemon that runs with the default socket %s (process %d) is asked\n",
        default_socket, (int)getpid());
    assert_contains(tool.err, wanted);
}

static int find_socket(const struct cli *cli, int argc, char **argv)
{
    static const char *const needed[] = {"listen.socket", NULL};
    AUTO_CONFIG struct config *config = NULL;
    const char *socket = NULL;
    int code =
        cli_find_socket(cli, needed, "--socket PATH", CLI_IF_LISTENING, &config, &socket);

    (void)argc, (void)argv;
    if (socket)
        puts(socket);
    return code;
}

static void the_socket_is_that_of_the_configuration_and_with_a_wrong_one_none(void **state)
{
    struct fixture *f = *state;
    char path[256];

    tool.config_path = tool_write(path, f->directory, "x.conf",
                                  "uplink: { brokers = ( \"tcp://h:1\" ); };\n"
                                  "listen: { socket = \"/x/p.sock\"; };\n");
    assert_int_equal(TOOL_RUN(&tool, find_socket, "verb"), EX_OK);
    assert_string_equal(tool.out, "/x/p.sock\n");
    assert_string_equal(tool.err, "");
    tool.config_path = tool_write(path, f->directory, "x.conf", "listen {\n");
    assert_int_equal(TOOL_RUN(&tool, find_socket, "verb"), EX_CONFIG);
    assert_string_equal(tool.out, "");
    assert_contains(tool.err, "; correct that, or do without the file: give --socket PATH\n");
    assert_null(cli_find_default_daemon(path));
}

static void a_wrong_configuration_is_named_with_its_line(void **state)
{
    struct fixture *f = *state;
    char path[256];

    tool.config_path = tool_write(path, f->directory, "x.conf",
                                  "uplink: { brokers = ( \"tcp://h:1\" ); };\nspol: {};\n");
    assert_int_equal(TOOL_RUN(&tool, load_config, "verb"), EX_CONFIG);
    assert_contains(tool.err, "x.conf:2");
    assert_contains(tool.err, "; correct that, or do without the file: give --directory DIR\n");
    tool.config_path = f->directory;
    assert_int_equal(TOOL_RUN(&tool, load_config, "verb"), EX_CONFIG);
    assert_contains(tool.err, f->directory);
}

static void an_error_in_another_key_is_a_warning(void **state)
{
    struct fixture *f = *state;
    char path[256];

    tool.config_path = tool_write(
        path, f->directory, "x.conf",
        "uplink: { brokers = ( \"tcp://h:1\" ); };\nlisten: { max_clients = 0; };\n");
    assert_int_equal(TOOL_RUN(&tool, load_config, "verb"), EX_OK);
    assert_contains(tool.err, "warning: ");
    assert_contains(tool.err,
                    "x.conf:2: listen.max_clients: 0 is out of range, 1 to 65536; the "
                    "daemon does not start with this file");
}

static void a_right_configuration_is_loaded(void **state)
{
    struct fixture *f = *state;
    char path[256];

    tool.config_path =
        tool_write(path, f->directory, "x.conf", "uplink: { brokers = ( \"tcp://h:1\" ); };\n");
    assert_int_equal(TOOL_RUN(&tool, load_config, "verb"), EX_OK);
    assert_string_equal(tool.err, "");
}

/* argv[1]: the folder; argv[2]: the result of the opening. */
static int open_failed(const struct cli *cli, int argc, char **argv)
{
    (void)cli;
    assert_int_equal(argc, 3);
    return cli_report_open_error(argv[1], atoi(argv[2]));
}

static void expect_open_failure(const char *folder, int result, int code, const char *part)
{
    char number[16];

    (void)snprintf(number, sizeof(number), "%d", result);
    assert_int_equal(TOOL_RUN(&tool, open_failed, "verb", folder, number), code);
    assert_contains(tool.err, part);
    assert_contains(tool.err, folder);
}

static void each_reason_why_a_spool_does_not_open_has_its_code_and_its_remedy(void **state)
{
    struct fixture *f = *state;

    expect_open_failure(f->directory, SPOOL_E_ABSENT, EX_UNAVAILABLE,
                        "start it: systemctl start mqtt-spoold");
    expect_open_failure(f->directory, -ENOENT, EX_UNAVAILABLE, "there is no spool in");
    expect_open_failure(f->directory, -EACCES, EX_NOPERM, "run this as root");
    expect_open_failure(f->directory, -EPERM, EX_NOPERM, "run this as root");
    expect_open_failure(f->directory, SPOOL_E_BUSY, EX_TEMPFAIL, "try again");
    expect_open_failure(f->directory, SPOOL_E_NEWER, EX_UNAVAILABLE, "update this program");
    expect_open_failure(f->directory, SPOOL_E_DAMAGED, EX_DATAERR, "delete nothing");
    expect_open_failure(f->directory, SPOOL_E_FOREIGN, EX_DATAERR, "name another directory");
    expect_open_failure(f->directory, -EIO, EX_UNAVAILABLE, "cannot open the spool in");
}

static void what_may_not_be_read_is_not_allowed(void **state)
{
    struct fixture *f = *state;
    char path[256];

    access_fails = true;
    tool.config_path = tool_write(path, f->directory, "x.conf", "");
    assert_int_equal(TOOL_RUN(&tool, load_config, "verb"), EX_NOPERM);
    assert_contains(tool.err, "Permission denied; run this as root (sudo mqtt-spool ...), name "
                              "another one with -c FILE");
    expect_open_failure(f->directory, SPOOL_E_ABSENT, EX_NOPERM, "run this as root or as the");
    assert_false(cli_may_read(f->directory));
}

static void a_file_in_place_of_the_folder_is_named(void **state)
{
    struct fixture *f = *state;
    char path[256];

    (void)tool_write(path, f->directory, "file", "");
    expect_open_failure(path, -ENOTDIR, EX_UNAVAILABLE, "is not a directory: name the folder");
}

static int open_spool_verb(const struct cli *cli, int argc, char **argv)
{
    AUTO_SPOOL struct spool *spool = NULL;

    (void)cli, (void)argc;
    return cli_open_spool(argv[1], &spool);
}

static void a_spool_opens_and_an_empty_folder_does_not(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(TOOL_RUN(&tool, open_spool_verb, "verb", f->directory), EX_UNAVAILABLE);
    open_spool(f);
    assert_int_equal(TOOL_RUN(&tool, open_spool_verb, "verb", f->directory), EX_OK);
    assert_string_equal(tool.err, "");
}

static int spool_failed(const struct cli *cli, int argc, char **argv)
{
    AUTO_SPOOL struct spool *spool = NULL;

    (void)cli, (void)argc;
    assert_int_equal(cli_open_spool(argv[1], &spool), EX_OK);
    return cli_report_read_error(spool, atoi(argv[2]));
}

static void expect_read_failure(const struct fixture *f, int error, int code, const char *part)
{
    char number[16];

    (void)snprintf(number, sizeof(number), "%d", error);
    assert_int_equal(TOOL_RUN(&tool, spool_failed, "verb", f->directory, number), code);
    assert_contains(tool.err, part);
}

static void each_failure_of_a_read_has_its_code(void **state)
{
    struct fixture *f = *state;

    open_spool(f);
    expect_read_failure(f, SPOOL_E_BUSY, EX_TEMPFAIL, "locked just now; try again");
    expect_read_failure(f, -EBUSY, EX_TEMPFAIL, "locked just now; try again");
    expect_read_failure(f, -EBADMSG, EX_DATAERR, "the spool is damaged");
    expect_read_failure(f, -ENOMEM, EX_UNAVAILABLE, "out of memory");
    expect_read_failure(f, -EIO, EX_UNAVAILABLE, "mqtt-spool: cannot read the spool: ");
}

static bool holds_with(struct fixture *f, int pid, const char *rest)
{
    char path[256], text[256], socket[256];

    (void)snprintf(text, sizeof(text), "{\"pid\":%d%s", pid, rest);
    (void)tool_write(path, f->directory, "status.json", text);
    (void)snprintf(socket, sizeof(socket), "%s/publish.sock", f->directory);
    cli_set_socket(socket);
    return cli_spool_is_moved();
}

static void a_daemon_that_runs_may_hold_the_spool_in_its_open_files(void **state)
{
    struct fixture *f = *state;
    char path[256];
    static const char moved[] = ",\"intake\":{\"refusing\":\"spool_moved\"}}";

    assert_true(holds_with(f, getpid(), moved));
    expect_open_failure(f->directory, SPOOL_E_ABSENT, EX_UNAVAILABLE,
                        "do not end it, and start no other one");
    expect_open_failure(f->directory, -EIO, EX_UNAVAILABLE, "cannot open the spool");
    assert_false(holds_with(f, INT32_MAX, moved)); /* no process has it */
    assert_false(holds_with(f, 0, moved));         /* kill(0) would mean the group */
    assert_false(holds_with(f, getpid(), ",\"intake\":{\"refusing\":\"disk\"}}"));
    assert_false(holds_with(f, getpid(), "}"));
    assert_false(holds_with(f, getpid(), "no JSON"));
    (void)tool_write(path, f->directory, "status.json", "");
    assert_false(cli_spool_is_moved());
}

static void without_a_status_file_no_daemon_holds_the_spool(void **state)
{
    struct fixture *f = *state;
    static char long_path[5000];

    assert_true(holds_with(f, getpid(), ",\"intake\":{\"refusing\":\"spool_moved\"}}"));
    cli_set_socket("/nowhere/publish.sock");
    assert_false(cli_spool_is_moved());
    memset(long_path, 'x', sizeof(long_path) - 1);
    long_path[0] = '/';
    long_path[4500] = '/';
    cli_set_socket(long_path);
    assert_false(cli_spool_is_moved());
}

static int setup_case(void **state)
{
    memset(&tool, 0, sizeof(tool));
    access_fails = false;
    cli_set_socket("/nowhere/publish.sock");
    return setup_closed(state);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup_case, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(options_go_where_they_belong),
        CASE(help_is_printed_on_standard_output),
        CASE(wrong_options_are_named_and_the_help_is_shown_where_to_find),
        CASE(the_configuration_is_an_option_of_the_tool),
        CASE(a_number_is_one_from_1_on),
        CASE(an_argument_too_many_is_named),
        CASE(a_message_shows_control_characters_as_escapes),
        CASE(a_number_within_its_range),
        CASE(a_time_is_rfc_3339),
        CASE(what_is_not_rfc_3339_is_no_time),
        CASE(a_size_has_the_unit_that_people_read),
        CASE(a_printable_text_is_cut_where_the_memory_ends),
        CASE(an_object_is_one_line),
        CASE(an_object_that_does_not_fit_is_an_error_and_not_half_an_object),
        CASE(an_object_has_memory_of_its_own),
        CASE(an_object_without_memory_is_reported),
        CASE(an_output_that_cannot_be_written_is_reported_once),
        CASE(a_configuration_that_is_not_there_is_named_with_what_to_give),
        CASE(what_may_not_be_read_is_not_allowed),
        CASE(without_a_configuration_the_default_socket_is_used_if_a_daemon_runs_there),
        CASE(the_socket_is_that_of_the_configuration_and_with_a_wrong_one_none),
        CASE(a_wrong_configuration_is_named_with_its_line),
        CASE(an_error_in_another_key_is_a_warning),
        CASE(a_right_configuration_is_loaded),
        CASE(each_reason_why_a_spool_does_not_open_has_its_code_and_its_remedy),
        CASE(a_file_in_place_of_the_folder_is_named),
        CASE(a_spool_opens_and_an_empty_folder_does_not),
        CASE(each_failure_of_a_read_has_its_code),
        CASE(a_daemon_that_runs_may_hold_the_spool_in_its_open_files),
        CASE(without_a_status_file_no_daemon_holds_the_spool),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
