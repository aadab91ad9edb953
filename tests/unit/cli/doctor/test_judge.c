/* SPDX-License-Identifier: MIT */
/*
 * test_judge.c - what the doctor finds in a status object
 */
#include <setjmp.h> /* cmocka needs these three before it */
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "cli/doctor/findings.h"
#include "cli/doctor/judge.h"
#include "cli/doctor/record.h"

#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { FINDINGS = 16, PAGE = 8192 };

static const char *const results[] = {"ok", "warning", "failed", "skipped"};

/* What is found, a line each: "result seen -> remedy". @members are added to a good object. */
static const char *judge(const char *members)
{
    static char page[PAGE];
    static const char good[] =
        "{'time': '2026-11-01T12:00:00.000Z', 'intake': {'refusing': ''},"
        "'link': {'state': 'online', 'last_error': null, 'remedy': null, 'all_held': false},"
        "'spool': {'messages': 0, 'disk_short': ''}, 'audit': {'healthy': true, 'error': ''},"
        "'ledger': {'balanced': true}}";
    char text[PAGE];
    json_t *status, *more;
    struct doctor_record record;
    int ends[2];

    for (int i = 0; i < 2; i++) {
        (void)snprintf(text, sizeof(text), "%s", i == 0 ? good : members);
        for (char *at = text; (at = strchr(at, '\'')) != NULL;)
            *at = '"';
        *(i == 0 ? &status : &more) = json_loads(text, 0, NULL);
    }
    assert_non_null(status);
    assert_non_null(more);
    assert_int_equal(json_object_update_recursive(status, more), 0);
    assert_int_equal(pipe2(ends, O_CLOEXEC | O_NONBLOCK), 0);
    struct doctor_work work = {.pipe_fd = ends[1], .step = DOCTOR_DAEMON, .target = ""};
    doctor_judge_status(&work, status);
    page[0] = '\0';
    while (read(ends[0], &record, sizeof(record)) == (ssize_t)sizeof(record)) {
        size_t size = strlen(page);

        (void)snprintf(page + size, sizeof(page) - size, "%s %s -> %s\n",
                       results[record.finding.result], record.finding.seen,
                       record.finding.remedy);
    }
    assert_int_equal(close(ends[0]), 0);
    assert_int_equal(close(ends[1]), 0);
    json_decref(status);
    json_decref(more);
    return page;
}

/* One of the lines has all of this. */
static void assert_found(const char *page, const char *result_and_seen, const char *remedy)
{
    const char *at = strstr(page, result_and_seen);
    const char *end = at ? strchr(at, '\n') : NULL;
    const char *found = at ? strstr(at, remedy) : NULL;

    if (!found || !end || found > end)
        fail_msg("no \"%s\" with \"%s\" in:\n%s", result_and_seen, remedy, page);
}

static void a_good_status_has_one_finding(void **state)
{
    (void)state;
    assert_string_equal(judge("{}"), "ok its link is online, 0 messages are spooled -> \n");
    assert_string_equal(judge("{'spool': {'messages': 1}}"),
                        "ok its link is online, 1 message is spooled -> \n");
}

static void each_cause_of_refusing_is_a_failure_with_its_remedy(void **state)
{
    (void)state;
    assert_found(judge("{'intake': {'refusing': 'disk'}}"), "failed new messages are refused",
                 "make room on the disk of the spool (docs/disk.md)");
    assert_found(
        judge("{'intake': {'refusing': 'disk'}, 'spool': {'disk_short': 'x (EDQUOT)'}}"),
        "failed new messages are refused: too little disk space: x", "quota");
    assert_found(judge("{'intake': {'refusing': 'audit_waiting'}}"),
                 "failed new messages are refused: too many records", "audit.file writable");
    assert_found(judge("{'intake': {'refusing': 'database_locked'}}"),
                 "failed new messages are refused: another program", "fuser");
    assert_found(judge("{'intake': {'refusing': 'spool_moved'}}"),
                 "failed new messages are refused: the spool's files", "do not end the daemon");
    assert_found(judge("{'intake': {'refusing': 'of a later version'}}"),
                 "failed new messages are refused: of a later version", "docs/status.md");
    assert_found(judge("{'spool': {'disk_short': 'disk full (ENOSPC)'}}"),
                 "failed new messages may evict old ones, for want of disk space: disk full",
                 "make room on the disk of the spool (docs/disk.md)");
    assert_found(judge("{'spool': {'disk_short': '17896 KiB are free, of which disk_reserve',"
                       "'disk_free_bytes': 16986931, 'disk_reserve_bytes': 16777216}}"),
                 "failed new messages may evict old ones, for want of disk space: 16.2 MiB "
                 "free, of which spool.disk_reserve keeps 16.0 MiB; a third",
                 "make room on the disk of the spool (docs/disk.md)");
}

static void a_full_lane_is_a_failure_or_holds_its_producers_back(void **state)
{
    const char *page;

    (void)state;
    page = judge("{'lanes': [{'name': 'default', 'full': true, 'messages': 2,"
                 "'max_messages': 2, 'when_full': 'refuse'}, {'name': 'a', 'full': true,"
                 "'messages': 1, 'max_messages': 5, 'bytes': 1024, 'max_bytes': 1024,"
                 "'when_full': 'block', 'held': true}]}");
    assert_found(page, "failed lane default is full and refuses new messages: 2 of 2 messages",
                 "raise retention.max_messages");
    assert_found(page, "warning lane a is full and holds its producers back",
                 "release it (mqtt-spool release), or raise its max_bytes");
    assert_found(page, "warning an operator holds lane a", "mqtt-spool release --lane a");
    assert_null(
        strstr(judge("{'lanes': [{'name': 'a', 'full': null, 'held': false}]}"), "lane"));
}

#define EVICTING                                                                               \
    "'full': false, 'messages': 100, 'max_messages': 100, 'bytes': 500, 'max_bytes': 1024,"    \
    "'when_full': 'evict-oldest'"

static void a_lane_that_evicts_is_a_warning(void **state)
{
    const char *page;

    (void)state;
    assert_found(
        judge("{'lanes': [{'name': 'small', " EVICTING ", 'ledger': {'evicted': 150}}]}"),
        "warning lane small is full (100 of 100 messages): each new message evicts the "
        "oldest one, 150 were evicted so far",
        "mqtt-spool failures names them; bring the link back, or raise its max_messages "
        "and reload (systemctl reload mqtt-spoold, or HUP)");
    page = judge("{'lanes': [{'name': 'default', " EVICTING ", 'held': true}]}");
    assert_found(
        page, "warning lane default is full (100 of 100 messages): each new",
        "release it (mqtt-spool release), or raise retention.max_messages and reload (systemctl reload mqtt-spoold, or HUP)");
    assert_null(strstr(page, "so far"));
    assert_null(strstr(page, "failures"));
    /* One more of their size has no room. */
    assert_found(judge("{'lanes': [{'name': 'a', " EVICTING ", 'messages': 2, 'bytes': 700}]}"),
                 "warning lane a is full (700 B of 1.0 KiB)", "max_bytes");
    assert_null(
        strstr(judge("{'lanes': [{'name': 'a', " EVICTING ", 'messages': 99}]}"), "lane"));
    /* Nothing comes to a lane that is no longer configured. */
    assert_null(
        strstr(judge("{'lanes': [{'name': 'a', " EVICTING ", 'configured': false}]}"), "lane"));
    /* No daemon runs, so nothing comes. */
    assert_null(
        strstr(judge("{'lanes': [{'name': 'a', " EVICTING ", 'full': null}]}"), "lane"));
}

static void an_error_of_the_link_counts_until_the_next_acknowledgement(void **state)
{
    (void)state;
    assert_found(judge("{'link': {'last_error': 'refused', 'remedy': 'ask', 'acknowledged': '',"
                       "'last_error_time': '2026-11-01T11:00:00.000Z'},"
                       "'spool': {'messages': 3}}"),
                 "warning its link is online, 3 messages are spooled; last error: refused",
                 "ask");
    assert_found(
        judge("{'link': {'last_error': 'refused', 'remedy': 'ask',"
              "'acknowledged': '2026-11-01T11:59:59.000Z',"
              "'last_error_time': '2026-11-01T11:00:00.000Z'},"
              "'spool': {'messages': 3}}"),
        "ok its link is online, 3 messages are spooled; last error, which is over: refused",
        "-> \n");
    assert_found(judge("{'link': {'last_error': 'refused', 'remedy': 'ask', 'acknowledged': '',"
                       "'last_error_time': '2026-11-01T11:00:00.000Z'}}"),
                 "ok its link is online, 0 messages", "-> \n");
    assert_found(judge("{'link': {'last_error': 'refused', 'remedy': 'ask',"
                       "'refused_waiting': 2, 'acknowledged': '2026-11-01T11:59:59.000Z',"
                       "'last_error_time': '2026-11-01T11:00:00.000Z'},"
                       "'spool': {'messages': 3}}"),
                 "warning its link is online, 3 messages are spooled, 2 of them refused by the "
                 "broker at the last try; last error: refused",
                 "-> ask\n");
    assert_found(judge("{'link': {'state': 'connecting'}}"), "warning its link is connecting",
                 "mqtt-spool status");
    assert_found(judge("{'link': {'state': 'connecting', 'last_error': 'refused',"
                       "'remedy': 'ask', 'next_attempt': '2026-11-01T12:01:52.000Z'}}"),
                 "warning its link is connecting, 0 messages are spooled; last error: refused",
                 "-> ask; next attempt in 1 min 52 s; at once: mqtt-spool flush");
    assert_found(judge("{'link': {'held': true}}"), "failed nothing is sent",
                 "make room on the disk of the spool (docs/disk.md)");
}

static void what_an_operator_holds_is_released_and_no_old_error_mended(void **state)
{
    const char *page;

    (void)state;
    page = judge("{'link': {'state': 'held', 'all_held': true, 'last_error': 'old',"
                 "'remedy': 'of the old error', 'acknowledged': ''},"
                 "'spool': {'messages': 3}, 'lanes': [{'name': 'a', 'held': true}]}");
    assert_found(page, "warning an operator holds all lanes", "mqtt-spool release\n");
    assert_null(strstr(page, "of the old error"));
    assert_null(strstr(page, "--lane"));
    page = judge("{'link': {'state': 'connecting', 'all_held': true, 'last_error': 'refused',"
                 "'remedy': 'ask'}}");
    assert_found(page, "warning an operator holds all lanes", "mqtt-spool release\n");
    assert_found(page, "warning its link is connecting", "ask");
}

static void an_audit_file_that_is_not_written_is_a_failure(void **state)
{
    (void)state;
    assert_found(judge("{'audit': {'healthy': false, 'error': 'No space left on device',"
                       "'waiting': 1, 'max_waiting': 1000}}"),
                 "failed the audit file is not written: No space left on device; 1 of at most "
                 "1000 records wait",
                 "make room on the disk of audit.file");
    assert_found(judge("{'audit': {'waiting': 500, 'max_waiting': 1000}}"),
                 "warning 500 of at most 1000 records wait", "disk");
    assert_null(strstr(
        judge("{'audit': {'healthy': null, 'waiting': 499, 'max_waiting': 1000}}"), "record"));
}

static void what_was_refused_rejected_or_damaged_is_a_warning(void **state)
{
    (void)state;
    assert_found(judge("{'producers': {'messages_refused': 1,"
                       "'refused_time': '2026-11-01T11:59:57.000Z'}}"),
                 "warning 1 message was refused since the start, the newest 3 s ago",
                 "mqtt-spool status");
    assert_null(strstr(judge("{'producers': {'messages_refused': 2,"
                             "'refused_time': '2026-11-01T11:00:00.000Z'}}"),
                       "refused"));
    assert_found(judge("{'rejected': {'messages': 1}}"),
                 "warning the broker rejected 1 message that is kept aside",
                 "mqtt-spool failures");
    assert_found(judge("{'spool': {'damaged_files': 2}}"),
                 "warning 2 damaged databases were moved aside", "docs/damage.md");
    assert_found(judge("{'ledger': {'balanced': false}}"), "failed the ledger does not balance",
                 "mqtt-spool check");
}

static void what_a_hup_has_not_applied_is_a_warning(void **state)
{
    (void)state;
    assert_found(
        judge("{'configuration': {'restart_keys': 'listen.mode,uplink.window'}}"),
        "warning a restart is needed: a reload does not change listen.mode,uplink.window",
        "systemctl restart mqtt-spoold");
    assert_found(judge("{'configuration': {'refused': 'file'}}"),
                 "warning the last reload changed nothing: the configuration had an error",
                 "--test-config");
    assert_found(judge("{'configuration': {'refused': 'lanes'}}"),
                 "warning the last reload left lanes and retention as they were",
                 "names of older lanes");
}

static void a_status_of_other_types_is_no_fault(void **state)
{
    (void)state;
    assert_string_equal(judge("{'lanes': 7, 'intake': [], 'audit': null, 'ledger': 1,"
                              "'spool': {'messages': -1}, 'producers': 'x'}"),
                        "ok its link is online, 0 messages are spooled -> \n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_good_status_has_one_finding),
        cmocka_unit_test(each_cause_of_refusing_is_a_failure_with_its_remedy),
        cmocka_unit_test(a_full_lane_is_a_failure_or_holds_its_producers_back),
        cmocka_unit_test(a_lane_that_evicts_is_a_warning),
        cmocka_unit_test(an_error_of_the_link_counts_until_the_next_acknowledgement),
        cmocka_unit_test(what_an_operator_holds_is_released_and_no_old_error_mended),
        cmocka_unit_test(an_audit_file_that_is_not_written_is_a_failure),
        cmocka_unit_test(what_was_refused_rejected_or_damaged_is_a_warning),
        cmocka_unit_test(what_a_hup_has_not_applied_is_a_warning),
        cmocka_unit_test(a_status_of_other_types_is_no_fault),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
