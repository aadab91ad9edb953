/* SPDX-License-Identifier: MIT */
/*
 * test_verb_check.c - tests of `mqtt-spool check`: sound spools, damaged ones, and what
 * the audit file adds
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <jansson.h>
#include <sys/stat.h>
#include <sysexits.h>

#include "cli/cli.h"
#include "store/spool.h"
#include "tests/support/history_fixture.h"
#include "tests/support/spool_fixture.h"
#include "tests/support/tool_fixture.h"

#define WELL       EX_OK
#define WRONG      1
#define PAGE_BYTES 4096

static struct tool tool;
static char audit_path[256];

static int setup_history(void **state)
{
    struct fixture *f;
    char folder[256];

    if (setup(state) != 0)
        return -1;
    f = *state;
    memset(&tool, 0, sizeof(tool));
    (void)snprintf(folder, sizeof(folder), "%s/log", f->directory);
    if (mkdir(folder, 0700) != 0)
        return -1;
    (void)snprintf(audit_path, sizeof(audit_path), "%s/log/audit.jsonl", f->directory);
    use_no_segments(f); /* rows are changed by SQL */
    reopen_spool(f);
    make_history(f);
    return 0;
}

static void use_config(const struct fixture *f, const char *audit_file, const char *more)
{
    static char path[256];
    char text[1024];

    (void)snprintf(text, sizeof(text),
                   "spool: { directory = \"%s\"; };\naudit: { file = \"%s\"; %s };\n"
                   "uplink: { brokers = ( \"tcp://h:1\" ); };\n",
                   f->directory, audit_file, more);
    tool.config_path = tool_write(path, f->directory, "log/x.conf", text);
}

static int check(void)
{
    int code = TOOL_RUN(&tool, cli_check, "check");

    assert_string_equal(tool.err, "");
    return code;
}

/* @form has %s for @path as often as it takes. */
static void run_command(const char *form, const char *path)
{
    char command[1024] = "";
    const char *at;

    while ((at = strstr(form, "%s")) != NULL) {
        (void)strncat(command, form, (size_t)(at - form));
        (void)strcat(command, path);
        form = at + 2;
    }
    (void)strcat(command, form);
    assert_int_equal(system(command), 0);
}

/* The page of the finding, and the same as JSON. */
static void expect_finding(const char *part, const char *text, const char *remedy)
{
    json_error_t error;
    json_t *root, *finding;
    char line[1024];

    assert_int_equal(check(), WRONG);
    assert_contains(tool.out, "\nverdict   NOT WELL: ");
    (void)snprintf(line, sizeof(line), "          %s: %s", part, text);
    assert_contains(tool.out, line);
    (void)snprintf(line, sizeof(line), "          -> %s", remedy);
    assert_contains(tool.out, line);
    assert_int_equal(TOOL_RUN(&tool, cli_check, "check", "--json"), WRONG);
    root = json_loads(tool.out, 0, &error);
    assert_non_null(root);
    assert_string_equal(json_string_value(json_object_get(root, "verdict")), "wrong");
    finding = json_array_get(json_object_get(root, "finding_list"), 0);
    assert_string_equal(json_string_value(json_object_get(finding, "part")), part);
    assert_contains(json_string_value(json_object_get(finding, "text")), text);
    assert_contains(json_string_value(json_object_get(finding, "remedy")), remedy);
    json_decref(root);
}

static void a_sound_spool_is_well(void **state)
{
    struct fixture *f = *state;

    export_history(f, audit_path, 7);
    close_spool(f);
    use_config(f, audit_path, "");
    assert_int_equal(check(), WELL);
    assert_contains(tool.out,
                    ", the daemon is stopped\n"
                    "          3 messages, outcomes up to 7, up to 7 in the audit file\n"
                    "audit     ");
    assert_contains(tool.out, "verdict   all is well\n");
    assert_lacks(tool.out, "note ");
    assert_int_equal(TOOL_RUN(&tool, cli_check, "check", "--json"), WELL);
    assert_string_equal(
        tool.out,
        "{\"verdict\":\"sound\",\"running\":false,\"audit_checked\":true,\"messages\":3,"
        "\"last_seq\":7,\"exported_seq\":7,\"audit_first_seq\":1,\"audit_last_seq\":7,"
        "\"damaged_files\":0,\"findings\":0,\"finding_list\":[]}\n");
}

static void it_may_be_checked_while_the_daemon_runs(void **state)
{
    struct fixture *f = *state;

    export_history(f, audit_path, 4);
    use_config(f, audit_path, "");
    assert_int_equal(check(), WELL);
    assert_contains(tool.out, ", the daemon runs\n");
    assert_contains(tool.out, "outcomes up to 7, up to 4 in the audit file");
}

static void with_a_directory_alone_no_audit_file_is_compared(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(TOOL_RUN(&tool, cli_check, "check", "--directory", f->directory), WELL);
    assert_contains(tool.out, "audit     no audit file was compared\n");
    export_history(f, audit_path, 7);
    use_config(f, audit_path, "");
    assert_int_equal(TOOL_RUN(&tool, cli_check, "check", "--directory", f->directory), WELL);
    assert_contains(tool.out, "up to 7 in the audit file\n");
    use_config(f, "", "");
    assert_int_equal(check(), WELL);
    assert_contains(tool.out, "audit     no audit file is written (audit.file = \"\")\n");
}

static void a_wrong_ledger_is_a_finding(void **state)
{
    struct fixture *f = *state;

    tamper(f, "UPDATE lane SET accepted = 12");
    use_config(f, "", "");
    expect_finding("ledger", "", "keep a copy of the spool's folder, then restart the daemon");
    close_spool(f);
    expect_finding("ledger", "", "keep a copy of the spool's folder, then start the daemon");
}

static void a_message_that_is_not_what_was_stored_is_a_finding(void **state)
{
    struct fixture *f = *state;

    tamper(f, "UPDATE message SET payload = CAST('other' AS BLOB)");
    close_spool(f);
    use_config(f, "", "");
    expect_finding("database", "", "nothing to do for it: when its turn comes");
    assert_contains(tool.out, "\"findings\":3");
    assert_int_equal(check(), WRONG);
    assert_contains(tool.out, "-> nothing to do");
    assert_lacks(strstr(tool.out, "-> nothing") + 2, "-> "); /* once for all three */
}

static void outcomes_and_ids_have_their_own_part(void **state)
{
    struct fixture *f = *state;

    use_config(f, "", "");
    tamper(f, "DELETE FROM outcome WHERE seq = 6");
    expect_finding("outcomes", "", "keep a copy of the spool's folder, then restart");
    tamper(f, "INSERT INTO outcome SELECT 6, 5, lane, time, ended_at, outcome, reason, code, "
              "attempts, uid, qos, bytes, accepted, age_ms, client, topic, ref FROM outcome "
              "WHERE seq = 7");
    expect_finding("ids", "", "keep a copy of the spool's folder and report it");
}

/* Pages that are no longer what they were; the log, which has them all again, is gone. */
static void damage_pages(struct fixture *f, long from, long count)
{
    char path[256];
    FILE *file;

    assert_int_equal(spool_checkpoint(f->spool), 0);
    close_spool(f);
    (void)snprintf(path, sizeof(path), "%s/spool.db-wal", f->directory);
    (void)unlink(path);
    (void)snprintf(path, sizeof(path), "%s/spool.db", f->directory);
    file = fopen(path, "r+");
    assert_non_null(file);
    assert_int_equal(fseek(file, from * PAGE_BYTES, SEEK_SET), 0);
    for (long i = 0; i < count * PAGE_BYTES; i++)
        assert_int_equal(fputc(0xA5, file), 0xA5);
    assert_int_equal(fclose(file), 0);
}

static void damaged_pages_are_a_finding(void **state)
{
    struct fixture *f = *state;

    export_history(f, audit_path, 7);
    damage_pages(f, 1, 64);
    use_config(f, audit_path, "");
    expect_finding("database", "", "delete nothing, put back what was moved away");
    (void)check();
    assert_contains(tool.out, "it cannot be read: what it holds is not known\n");
    assert_contains(tool.out, "NOT WELL: 1 finding\n");
}

static void a_database_of_which_nothing_reads_is_a_finding(void **state)
{
    struct fixture *f = *state;

    damage_pages(f, 0, 64);
    use_config(f, "", "");
    expect_finding("database", "", "delete nothing");
}

static void the_database_of_another_program_is_a_finding(void **state)
{
    struct fixture *f = *state;

    close_spool(f);
    run_command("rm %s/spool.db*", f->directory);
    tamper(f, "CREATE TABLE theirs (x)");
    use_config(f, "", "");
    expect_finding("database", "", "the daemon does not start with it and changes nothing");
}

static void a_missing_line_of_the_audit_file_is_a_finding(void **state)
{
    struct fixture *f = *state;

    export_history(f, audit_path, 7);
    run_command("sed -i 3d %s", audit_path);
    use_config(f, audit_path, "");
    assert_int_equal(check(), WRONG);
    assert_contains(tool.out, "NOT WELL: 2 findings");
    assert_contains(tool.out, "audit.jsonl:3: seq jumps from 2 to 4: 1 line is missing\n");
    assert_contains(tool.out, "audit: delivered: 3 in the files");
    assert_contains(tool.out, "-> see mqtt-spool audit for all of it");
}

static void a_file_ahead_of_the_database_has_its_own_remedy(void **state)
{
    struct fixture *f = *state;

    close_spool(f);
    run_command("cd %s && mkdir old && cp -a spool.* old/", f->directory);
    open_spool(f);
    append_many(f, 1);
    (void)deliver_all(f);
    export_history(f, audit_path, 11);
    close_spool(f);
    run_command("cd %s && rm spool.* && mv old/* .", f->directory);
    use_config(f, audit_path, "");
    assert_int_equal(check(), WRONG);
    assert_contains(tool.out, "the files go to seq 11, but the database only to 7");
    assert_contains(tool.out,
                    "restored from an older copy: stop the daemon, move the file away");
}

/* What it lacks is one finding, and not one for each sum that differs. */
static void a_database_that_lost_commits_is_not_compared_with_the_file(void **state)
{
    struct fixture *f = *state;

    export_history(f, audit_path, 7);
    tamper(f, "DELETE FROM outcome WHERE seq > 4");
    tamper(f, "UPDATE spool SET exported_seq = 4");
    tamper(f, "UPDATE lane SET last_seq = 4, rejected = 0, evicted = 0, accepted = 7");
    use_config(f, audit_path, "");
    assert_int_equal(check(), WRONG);
    assert_contains(tool.out, "database: the newest commits are missing");
    assert_lacks(tool.out, "audit: ");
}

static void a_wrong_ledger_is_not_a_finding_of_the_audit_file_too(void **state)
{
    struct fixture *f = *state;

    export_history(f, audit_path, 7);
    tamper(f, "UPDATE lane SET accepted = 12");
    use_config(f, audit_path, "");
    assert_int_equal(check(), WRONG);
    assert_contains(tool.out, "ledger: ");
    assert_lacks(tool.out, "audit: ");
}

static void an_audit_file_that_is_gone_is_a_finding_once_it_was_written(void **state)
{
    struct fixture *f = *state;

    use_config(f, audit_path, "");
    assert_int_equal(check(), WELL); /* nothing was exported */
    export_history(f, audit_path, 4);
    assert_int_equal(unlink(audit_path), 0);
    expect_finding("audit", "the audit file is missing, though outcomes were written to it",
                   "find out what moved it away");
    char rotated[sizeof(audit_path) + 2];
    (void)snprintf(rotated, sizeof(rotated), "%s.1", audit_path);
    export_history(f, rotated, 4);
    assert_int_equal(check(), WELL); /* the daemon, which is here, has not got its HUP yet */
    close_spool(f);
    expect_finding("audit", "the audit file is missing, though outcomes were written to it",
                   "find out what moved it away");
}

static void another_thing_in_place_of_the_audit_file_is_a_finding(void **state)
{
    struct fixture *f = *state;

    use_config(f, audit_path, "");
    assert_int_equal(mkdir(audit_path, 0700), 0);
    expect_finding("audit", "the audit file is missing: a directory has its name",
                   "something else has its name: move it away");
    assert_int_equal(rmdir(audit_path), 0);
    assert_int_equal(mkfifo(audit_path, 0600), 0);
    expect_finding("audit",
                   "the audit file is missing: what has its name is not a regular file",
                   "something else has its name: move it away");
    use_config(f, "/nowhere/folder/audit.jsonl", "");
    expect_finding("audit", "the folder of the audit file is missing",
                   "make the folder of audit.file");
}

static void the_file_that_was_rotated_before_is_read_too(void **state)
{
    struct fixture *f = *state;

    export_history(f, audit_path, 7);
    run_command("head -n 3 %s > %s.1 && sed -i 1,3d %s", audit_path);
    use_config(f, audit_path, "");
    assert_int_equal(check(), WELL);
    assert_lacks(tool.out, "note ");
    run_command("mv %s.1 %s-20261101", audit_path);
    assert_int_equal(check(), WELL);
    assert_lacks(tool.out, "note "); /* dateext of logrotate */
    run_command("rm %s-20261101", audit_path);
    assert_int_equal(check(), WELL);
    assert_contains(tool.out,
                    "note      the audit file starts at seq 4, and no rotated one lies "
                    "beside it");
}

static void a_file_without_deliveries_is_compared_as_such(void **state)
{
    struct fixture *f = *state;

    export_history(f, audit_path, 7);
    run_command("sed -i 1,4d %s", audit_path);
    use_config(f, audit_path, "deliveries = false;");
    assert_int_equal(check(), WELL);
    assert_contains(tool.out, "up to 7 in the audit file");
    assert_lacks(tool.out, "note ");
}

static void files_moved_aside_are_a_note(void **state)
{
    struct fixture *f = *state;
    char path[256];

    (void)tool_write(path, f->directory, "spool.db.damaged-1", "x");
    use_config(f, "", "");
    (void)check();
    assert_contains(tool.out,
                    "note      damaged databases in the folder, moved aside by the daemon: 1");
}

static void more_findings_than_are_shown_are_counted(void **state)
{
    struct fixture *f = *state;

    export_history(f, audit_path, 7);
    run_command("for i in $(seq 30); do echo x; done >> %s", audit_path);
    use_config(f, audit_path, "");
    assert_int_equal(check(), WRONG);
    assert_contains(tool.out, "NOT WELL: 30 findings");
    assert_contains(tool.out, "          and 10 more\n");
}

static void what_cannot_be_checked_is_2(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(TOOL_RUN(&tool, cli_check, "check", "extra"), CLI_UNCHECKED);
    assert_contains(tool.err, "what is \"extra\"?");
    assert_int_equal(TOOL_RUN(&tool, cli_check, "check", "--directory", "/nowhere"),
                     CLI_UNCHECKED);
    assert_contains(tool.err, "there is no spool in /nowhere");
    tool.config_path = "/nowhere/x.conf";
    assert_int_equal(TOOL_RUN(&tool, cli_check, "check"), CLI_UNCHECKED);
    assert_contains(tool.err, "or give --directory DIR");
    (void)tool_write(audit_path, f->directory, "file", "");
    tool.config_path = NULL;
    assert_int_equal(TOOL_RUN(&tool, cli_check, "check", "--directory", audit_path),
                     CLI_UNCHECKED);
    assert_contains(tool.err, "is not a directory");
    assert_int_equal(TOOL_RUN(&tool, cli_check, "check", "--help"), EX_OK);
    assert_contains(tool.out, "Usage: mqtt-spool check");
}

static void a_database_that_is_gone_is_a_finding_unless_a_daemon_holds_it(void **state)
{
    struct fixture *f = *state;
    char path[256], status[256], config[1024];

    (void)snprintf(path, sizeof(path), "%s/spool.db", f->directory);
    assert_int_equal(unlink(path), 0);
    use_config(f, "", "");
    expect_finding("database", "", "delete nothing, put back what was moved away");
    (void)snprintf(status, sizeof(status),
                   "{\"pid\":%d,\"intake\":{\"refusing\":\"spool_moved\"}}", getpid());
    (void)tool_write(path, f->directory, "log/status.json", status);
    (void)snprintf(config, sizeof(config),
                   "spool: { directory = \"%s\"; };\nlisten: { socket = \"%s/log/p.sock\"; };\n"
                   "audit: { file = \"\"; };\nuplink: { brokers = ( \"tcp://h:1\" ); };\n",
                   f->directory, f->directory);
    (void)tool_write(path, f->directory, "log/x.conf", config);
    tool.config_path = path;
    expect_finding("database", "", "a daemon runs and holds the messages in its open files");
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup_history, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(a_sound_spool_is_well),
        CASE(it_may_be_checked_while_the_daemon_runs),
        CASE(with_a_directory_alone_no_audit_file_is_compared),
        CASE(a_wrong_ledger_is_a_finding),
        CASE(a_message_that_is_not_what_was_stored_is_a_finding),
        CASE(outcomes_and_ids_have_their_own_part),
        CASE(damaged_pages_are_a_finding),
        CASE(a_database_of_which_nothing_reads_is_a_finding),
        CASE(the_database_of_another_program_is_a_finding),
        CASE(a_missing_line_of_the_audit_file_is_a_finding),
        CASE(a_file_ahead_of_the_database_has_its_own_remedy),
        CASE(a_database_that_lost_commits_is_not_compared_with_the_file),
        CASE(a_wrong_ledger_is_not_a_finding_of_the_audit_file_too),
        CASE(an_audit_file_that_is_gone_is_a_finding_once_it_was_written),
        CASE(another_thing_in_place_of_the_audit_file_is_a_finding),
        CASE(the_file_that_was_rotated_before_is_read_too),
        CASE(a_file_without_deliveries_is_compared_as_such),
        CASE(files_moved_aside_are_a_note),
        CASE(more_findings_than_are_shown_are_counted),
        CASE(what_cannot_be_checked_is_2),
        CASE(a_database_that_is_gone_is_a_finding_unless_a_daemon_holds_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
